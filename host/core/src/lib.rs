//! What every other crate of the host agrees on: ids, the call model, events, errors, and the ports (traits) that
//! adapters implement.
//!
//! This crate does no IO, spawns nothing and knows no runtime: a port's asynchronous methods return boxed futures
//! ([`BoxFuture`]) or are polled. It knows no adapter.

pub mod call;
pub mod capability;
pub mod dial;
pub mod error;
pub mod event;
pub mod fake;
pub mod http;
pub mod ids;
pub mod media;
pub mod metering;
pub mod outbound;
pub mod recording;
pub mod store;
pub mod telephony;
pub mod tenant_file;
pub mod verbs;
pub mod wire;

pub use call::{CallInfo, CallState, Direction, EndReason, HangupCause};
pub use capability::{Capabilities, Capability};
pub use dial::DialNarrowing;
pub use error::CallError;
pub use event::{Event, EventSink, EventType};
pub use http::{CallHttp, Http, HttpOut};
pub use ids::{BridgeId, CallId, HandlerName, PlaybackId, RecordingId, SnoopId, TenantId};
pub use media::{AudioSink, AudioSource, Frame, MediaLink};
pub use metering::{CallRecord, MeterSink, Usage};
pub use outbound::{DialOutcome, DialRequest, DialTarget, Dialled, Dialler, Trace};
pub use recording::{OpenRecording, RecordingDesk};
pub use telephony::{Bridge, Exchange, Leg, LegEvent, LegEvents, NewLeg, Refusal, Snoop, Switchboard};

/// An owned future that a port's method returns; `Send`, because calls move between worker threads.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
