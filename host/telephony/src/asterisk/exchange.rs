//! One application of this PBX as a place where legs are placed and joined.

use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use voxtra_ari::{AriError, Originate};
use voxtra_core::telephony::{Bridge, Exchange, LegEnd, PlacedLeg};
use voxtra_core::{BoxFuture, CallError, CallId, HangupCause, Leg, LegEvents};

use super::app::App;
use super::error::to_call_error;
use super::leg::{AsteriskLeg, LegShared, Placed, Seed};
use super::leg_task::{COMMANDS_MAX, LegInbox, LegInput, LegTask};
use super::media_leg::RETRY_AFTER;
use super::{bridge, names, stored};

/// The argument with which a placed leg enters our application, so that it is never taken for a new call.
pub(super) const PLACED_ARGUMENT: &str = "voxtra-placed";
/// The longest that a leg may ring.
const RING_MAX_S: u64 = 3600;
/// How much longer the PBX is told to wait than the host waits: the host's clock decides.
const PBX_WAITS_MORE_S: u64 = 2;

/// See the module.
pub(super) struct AsteriskExchange {
    app: Arc<App>,
    runtime: Handle,
}

impl AsteriskExchange {
    /// To be called on the adapter's runtime.
    pub(super) fn new(app: Arc<App>) -> Self {
        Self { app, runtime: Handle::current() }
    }

    async fn place(&self, leg: &PlacedLeg, events: Arc<dyn LegEvents>) -> Result<Arc<dyn Leg>, CallError> {
        let call = request(&self.app, leg)?;
        let app = &self.app;
        let entering = app.enter()?;
        let Ok(place) = Arc::clone(&app.core.places).try_acquire_owned() else {
            return Err(CallError::LimitExceeded("too many calls are up at this PBX; try again later".to_owned()));
        };
        if app.registry.has_leg(leg.id.as_str()) {
            return Err(CallError::InvalidArgument(format!("the call {} has been placed already", leg.id)));
        }
        let seed = Seed {
            channel: leg.id.to_string(),
            technology: leg.endpoint.split('/').next().unwrap_or_default().to_owned(),
            answered: false,
            placed: Some(Placed { ring_timeout: leg.ring_timeout, into_dialplan: leg.into_dialplan.clone() }),
        };
        let (inbox, inputs) = LegInbox::new(Arc::clone(&app.core.counters.dropped_inputs));
        // Until it is answered it is in nobody's application.
        inbox.set_away(true);
        let (commands, asked) = mpsc::channel(COMMANDS_MAX);
        let shared = Arc::new(LegShared::new(seed, Arc::clone(app), inbox, place));
        let handle = self.runtime.enter();
        let placed = Arc::new(AsteriskLeg::new(Arc::clone(&shared), commands));
        drop(handle);
        // Known before it is asked for: its first event may come before the answer.
        app.registry.add_leg(Arc::clone(&shared));
        drop(entering);
        self.runtime.spawn(LegTask::new(Arc::clone(&shared), events, inputs, asked).run());
        let (reply, accepted) = oneshot::channel();
        self.runtime.spawn(ask(shared, call, Arc::clone(&placed), reply));
        accepted.await.unwrap_or(Err(CallError::HungUp))?;
        Ok(placed)
    }
}

/// Places the leg, and hangs it up if nobody waits for it any more. Holds the leg, as dropping it before the PBX has
/// answered would hang up what is not there yet.
async fn ask(
    shared: Arc<LegShared>,
    call: Originate,
    placed: Arc<AsteriskLeg>,
    reply: oneshot::Sender<Result<(), CallError>>,
) {
    let outcome = shared.app.client.originate(&call).await;
    match outcome {
        Ok(_) => {
            tracing::info!(call = %shared.call, app = shared.app.name, endpoint = call.endpoint, "call placed");
            // Dropped below when nobody takes it, which hangs it up.
            let _ = reply.send(Ok(()));
        }
        Err(error) => {
            if error.transient() {
                // It may be carried out later all the same.
                sleep(RETRY_AFTER).await;
            }
            let taken = matches!(error, AriError::Conflict { .. });
            if taken {
                // The id is that of a channel that is up: not ours to hang up.
                shared.abandon();
            } else {
                shared.dismiss(HangupCause::Normal);
            }
            let why = match error {
                AriError::Server { status: 500, .. } | AriError::Conflict { .. } | AriError::BadRequest { .. } => {
                    CallError::Telephony(format!(
                        "the PBX cannot call {}: {error}; check that the endpoint exists there",
                        call.endpoint
                    ))
                }
                other => match to_call_error("placing the call", other) {
                    CallError::HungUp => CallError::Telephony(format!("the PBX cannot call {}", call.endpoint)),
                    other => other,
                },
            };
            let _ = reply.send(Err(why));
        }
    }
    drop(placed);
}

/// The request for a leg, when every part of it may be passed on.
fn request(app: &App, leg: &PlacedLeg) -> Result<Originate, CallError> {
    let id = leg.id.as_str();
    if !names::dialplan_name(id) || names::is_media(id) {
        return Err(CallError::InvalidArgument(
            "the id of a call to be placed has letters, digits and -, _ and . only, at most 79".to_owned(),
        ));
    }
    names::check_endpoint(&leg.endpoint)?;
    names::check_caller_id(&leg.caller_id)?;
    for (name, value) in &leg.variables {
        names::check_variable(name, value)?;
    }
    if let Some(place) = &leg.into_dialplan {
        for part in [&place.context, &place.extension] {
            if !part.is_empty() && !names::dialplan_name(part) {
                return Err(CallError::InvalidArgument(format!("{part:?} is no place in the dialplan")));
            }
        }
        if place.context.is_empty() && app.options().transfer_context.is_none() {
            return Err(CallError::InvalidArgument(
                "a placed call has no context of its own; name the one in which it goes on".to_owned(),
            ));
        }
        if !place.context.is_empty() && !app.options().allows(&place.context) {
            return Err(CallError::Denied(format!(
                "calls may not be sent to the context {}; name one that the operator allows",
                place.context
            )));
        }
    }
    let seconds = leg.ring_timeout.as_secs().clamp(1, RING_MAX_S).saturating_add(PBX_WAITS_MORE_S);
    let mut call = Originate::to_app(&leg.endpoint, &app.name).channel_id(id);
    call.app_args = Some(PLACED_ARGUMENT.to_owned());
    call.caller_id = (!leg.caller_id.is_empty()).then(|| leg.caller_id.clone());
    call.timeout_s = i32::try_from(seconds).ok();
    // Without it, such a channel runs at 192 kHz and costs ten times as much.
    let local = leg.endpoint.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("local/"));
    call.formats = local.then(|| "slin".to_owned());
    call.variables = leg.variables.iter().cloned().collect();
    Ok(call)
}

/// What the Q.850 cause of a leg that was never answered means. SIP's codes are turned into these by Asterisk (its
/// `hangup_sip2cause`).
pub(super) fn not_answered(cause: i64, text: &str) -> LegEnd {
    match cause {
        17 => LegEnd::NotAnswered(HangupCause::Busy),
        // No user responding, no answer, subscriber absent, recovery on timer expiry.
        18 | 19 | 20 | 102 => LegEnd::NotAnswered(HangupCause::NoAnswer),
        // Rejected; or hung up, which is the same before an answer.
        0 | 16 | 21 | 31 => LegEnd::NotAnswered(HangupCause::Rejected),
        // No circuit, out of order for now, congestion, no such circuit, no resource.
        34 | 38 | 41 | 42 | 44 | 47 => LegEnd::NotAnswered(HangupCause::Congestion),
        _ => {
            let text: String = text.chars().filter(|c| !c.is_control()).take(80).collect();
            LegEnd::Failed(format!("the call could not be put through: {text} (cause {cause})"))
        }
    }
}

impl Exchange for AsteriskExchange {
    fn name(&self) -> &str {
        &self.app.core.options.name
    }

    fn app(&self) -> &str {
        &self.app.name
    }

    fn originate<'a>(
        &'a self,
        leg: &'a PlacedLeg,
        events: Arc<dyn LegEvents>,
    ) -> BoxFuture<'a, Result<Arc<dyn Leg>, CallError>> {
        Box::pin(self.place(leg, events))
    }

    fn has_leg<'a>(&'a self, id: &'a CallId) -> BoxFuture<'a, Result<bool, CallError>> {
        Box::pin(async move {
            match self.app.client.get_channel(&self.app.channel_of(id)).await {
                Ok(_) => Ok(true),
                Err(error) if error.gone() => Ok(false),
                Err(error) => Err(to_call_error("asking the PBX for the call", error)),
            }
        })
    }

    fn create_bridge(&self) -> BoxFuture<'_, Result<Arc<dyn Bridge>, CallError>> {
        Box::pin(async {
            let _entering = self.app.enter()?;
            bridge::create(&self.app, &self.runtime).await
        })
    }

    fn fetch_recording<'a>(
        &'a self,
        stored_name: &'a str,
        to: &'a Path,
    ) -> BoxFuture<'a, Result<Option<u64>, CallError>> {
        Box::pin(stored::fetch(&self.app, stored_name, to))
    }

    fn delete_recording<'a>(&'a self, stored_name: &'a str) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(async move {
            names::check_stored_name(stored_name)?;
            match self.app.client.delete(&["recordings", "stored", stored_name], &[]).await {
                Ok(_) => Ok(()),
                Err(error) if error.gone() => Ok(()),
                Err(error) => Err(to_call_error("deleting the recording", error)),
            }
        })
    }
}

/// A placed leg was answered: it goes where it was placed for.
pub(super) async fn answered(shared: &Arc<LegShared>) -> Result<(), String> {
    let Some(place) = shared.placed.as_ref().and_then(|placed| placed.into_dialplan.as_ref()) else { return Ok(()) };
    let options = shared.app.options();
    let context = match place.context.is_empty() {
        false => place.context.clone(),
        true => options.transfer_context.clone().unwrap_or_default(),
    };
    let extension = if place.extension.is_empty() { "s".to_owned() } else { place.extension.clone() };
    let priority = place.priority.max(1);
    let went = async {
        super::handover::check_exists(shared, &context, &extension, priority).await?;
        // Its end would not be told otherwise.
        shared.app.subscribe(&shared.channel).await.map_err(|e| to_call_error("placing the call", e))?;
        let place = super::handover::place_of(context, extension, priority);
        let gone_on = shared.app.client.continue_in_dialplan(&shared.channel, &place).await;
        gone_on.map_err(|e| to_call_error("placing the call", e))
    };
    went.await.map_err(|error: CallError| {
        shared.inbox.post(LegInput::Failed(error.to_string()));
        error.to_string()
    })
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn causes_are_told_apart() {
        assert_eq!(not_answered(17, ""), LegEnd::NotAnswered(HangupCause::Busy));
        assert_eq!(not_answered(19, ""), LegEnd::NotAnswered(HangupCause::NoAnswer));
        assert_eq!(not_answered(21, ""), LegEnd::NotAnswered(HangupCause::Rejected));
        assert_eq!(not_answered(34, ""), LegEnd::NotAnswered(HangupCause::Congestion));
        assert!(matches!(not_answered(1, "Unallocated"), LegEnd::Failed(why) if why.contains("Unallocated")));
    }
}
