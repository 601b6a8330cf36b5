//! Events to the operator's own servers, at least once, whatever happens to the host.
//!
//! ```text
//! emit -> outbox (in the database, with the group's commit) -> per target: a few requests at one time -> gone
//!                                                           \-> refused, or tried often enough -> dead letter
//! ```
//!
//! Bodies, headers and the signature are those of Voxtra 0.3; what is new stands beside them. No 4xx is tried again, 408 and
//! 429 neither, as in 0.3. The events of one call reach a target in their order, one after the other: one that has to be
//! tried again holds up those of its own call until it is through or dead, and nobody else's. (A target that fails with some
//! 500 calls at one time gets no more begun: it is down. A dead letter that is sent again comes behind what its call has
//! waiting.) An event may come twice, when the receiver's answer was lost or the host died before it was noted:
//! `X-Voxtra-Event-Id` tells.
//!
//! A call that was up when the host died ends with the next start, once: see [`WebhookSink::lost_calls`].
//!
//! | header | value |
//! | --- | --- |
//! | `Content-Type` | `application/json` |
//! | `User-Agent` | `voxtra-webhook/1` |
//! | `X-Voxtra-Event` | the event's type, such as `call.ended` |
//! | `X-Voxtra-Event-Id` | its id; the same whenever it is sent again |
//! | `X-Voxtra-Session-Id` | the call's id |
//! | `X-Voxtra-Signature` | with a secret: lower-case hexadecimal HMAC-SHA256 of the body |
//! | `X-Voxtra-Timestamp` | the time of this attempt, in seconds since 1970 |
//! | `X-Voxtra-Signature-V2` | with a secret: `t=SECONDS,v1=HEX`, the HMAC-SHA256 of `SECONDS.BODY`; `SECONDS` is that time, so that a receiver can refuse what is old |
//!
//! The first six are Voxtra 0.3's.

mod letters;
mod open_calls;
mod outbox;
mod request;
mod sink;
mod target;
mod window;
mod worker;

pub use letters::{Letter, LetterState, Letters};
pub use outbox::{OutboxError, OutboxOptions};
pub(crate) use request::chain;
pub use request::http_client;
pub use sink::{WebhookSink, WebhookStats};
pub use target::{Secret, TargetError, WebhookTarget};
