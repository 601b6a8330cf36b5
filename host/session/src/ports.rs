//! What a host's calls need from outside of telephony and handlers: ports, of which the composition root gives those
//! that are configured. What is missing is `not-configured` for the handlers that ask for it.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value};
use voxtra_core::store::KeyValueStore;
use voxtra_core::verbs::{AnsweredBy, BatchRequest, BatchStatus};
use voxtra_core::{
    AudioSource, BoxFuture, CallError, CallInfo, Event, EventSink, HandlerName, HttpOut, MeterSink, RecordingDesk,
    TenantId,
};

use crate::canary::CanaryWatcher;

/// Everything that a [`crate::Host`] is given beside its handlers and routes.
#[derive(Clone)]
pub struct HostPorts {
    /// Where events go.
    pub sink: Arc<dyn EventSink>,
    /// Who keeps recordings.
    pub desk: Option<Arc<dyn RecordingDesk>>,
    /// The tenants' key-value space.
    pub store: Option<Arc<dyn KeyValueStore>>,
    /// The tenants' own prompts.
    pub prompts: Option<Arc<dyn TenantPrompts>>,
    /// Dispatch rules, asked in this order before the static routes; the first ones, see [`crate::Host::set_rules`].
    pub rules: Vec<Arc<dyn RoutingRules>>,
    /// What looks at events before they leave: each after the other, in this order; the first ones, see
    /// [`crate::Host::set_filters`].
    pub filters: Vec<Arc<dyn EventFilters>>,
    /// Who runs batches of calls.
    pub batches: Option<Arc<dyn Batches>>,
    /// Who hears whether a machine has answered.
    pub machine_listener: Option<Arc<dyn MachineListener>>,
    /// Who keeps the record of what each call has used up.
    pub meter: Option<Arc<dyn MeterSink>>,
    /// Who sends handlers' HTTP. One request is not waited for longer than 2 min.
    pub http: Option<Arc<dyn HttpOut>>,
    /// Who is told when a version on trial is withdrawn or has proved itself.
    pub canary: Option<Arc<dyn CanaryWatcher>>,
}

impl HostPorts {
    /// Events and nothing else.
    pub fn new(sink: Arc<dyn EventSink>) -> Self {
        Self {
            sink,
            desk: None,
            store: None,
            prompts: None,
            rules: Vec::new(),
            filters: Vec::new(),
            batches: None,
            machine_listener: None,
            meter: None,
            http: None,
            canary: None,
        }
    }
}

impl From<Arc<dyn EventSink>> for HostPorts {
    fn from(sink: Arc<dyn EventSink>) -> Self {
        Self::new(sink)
    }
}

impl<S: EventSink + 'static> From<Arc<S>> for HostPorts {
    fn from(sink: Arc<S>) -> Self {
        Self::new(sink)
    }
}

/// A prompt that the host plays itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptAudio {
    /// Signed 16-bit little-endian mono, complete.
    pub pcm: Bytes,
    /// Its rate: the one that was asked for.
    pub rate_hz: u32,
}

/// The tenants' own prompts.
pub trait TenantPrompts: Send + Sync {
    /// A prompt's audio at a rate (one of [`voxtra_core::media::LINK_RATES_HZ`]). The name is the handler's: `NAME` of
    /// `file:NAME` (letters, digits, `-`, `_`, `.` and `/`; never `..`, never absolute), or the whole of an `https:`
    /// address, which this side checks against what the operator allows, before anything is fetched. How much it reads,
    /// and how long it takes, is this side's to limit; after 15 s it is not waited for any more.
    fn open<'a>(
        &'a self,
        tenant: &'a TenantId,
        name: &'a str,
        rate_hz: u32,
    ) -> BoxFuture<'a, Result<PromptAudio, CallError>>;
}

/// What a dispatch rule has decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The tenant's handler that takes the call. One that is not there counts as a failure of the rule.
    pub handler: HandlerName,
    /// Becomes the call's metadata.
    pub metadata: Vec<(String, String)>,
}

/// A dispatch rule, or several that act as one.
pub trait RoutingRules: Send + Sync {
    /// Whether this tenant's calls are asked about. Never blocks.
    fn applies(&self, tenant: &TenantId) -> bool;

    /// Decides on a call that has come in; `route` in its information is empty. `None`: the next rule, or the static
    /// routes, decide. An error is skipped and counted, and so is one that takes longer than 200 ms; all rules together
    /// get 500 ms. Runs on the control runtime: guest code has to be put elsewhere.
    fn decide<'a>(
        &'a self,
        tenant: &'a TenantId,
        call: &'a CallInfo,
    ) -> BoxFuture<'a, Result<Option<Decision>, String>>;
}

/// What becomes of an event.
#[derive(Debug, Clone, PartialEq)]
pub enum FilterVerdict {
    /// It leaves as it is.
    Keep,
    /// It leaves with these data.
    Change(Map<String, Value>),
    /// It does not leave.
    Drop,
}

/// Middleware around the events that leave the host.
pub trait EventFilters: Send + Sync {
    /// Whether this tenant's events are filtered. Asked for each event; never blocks.
    fn applies(&self, tenant: &TenantId) -> bool;

    /// Why it cannot be asked for now, in a sentence; `None`: it can. Events wait 5 s for it and do not leave without it. Never
    /// blocks.
    fn absent(&self) -> Option<String> {
        None
    }

    /// Judges one event. Those of one call come in order, one at a time. An event does not leave when the answer is an
    /// error, or comes after more than 1 s: it is dropped and counted. Runs on the control runtime: guest code has to be
    /// put elsewhere.
    fn filter<'a>(&'a self, event: &'a Event) -> BoxFuture<'a, Result<FilterVerdict, String>>;
}

/// Who runs batches of calls for handlers. A tenant sees its own batches only.
pub trait Batches: Send + Sync {
    /// Begins one; returns its id. Rows that are no good are refused all together, each with its sentence.
    fn start<'a>(&'a self, tenant: &'a TenantId, batch: BatchRequest) -> BoxFuture<'a, Result<String, CallError>>;

    /// How it stands.
    fn status<'a>(&'a self, tenant: &'a TenantId, id: &'a str) -> BoxFuture<'a, Result<BatchStatus, CallError>>;

    /// Begins no more of its calls.
    fn cancel<'a>(&'a self, tenant: &'a TenantId, id: &'a str) -> BoxFuture<'a, Result<(), CallError>>;
}

/// Who hears whether a person or a machine has answered.
pub trait MachineListener: Send + Sync {
    /// Listens from the answer on, until it knows or gives up. Not waited for longer than 20 s.
    fn listen(&self, source: Arc<dyn AudioSource>, rate_hz: u32) -> BoxFuture<'_, AnsweredBy>;
}
