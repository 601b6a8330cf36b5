//! A hidden ear, and mouth, at a leg: a channel that Asterisk ties to the leg's.
//!
//! One task a snoop owns its channel from the request to the end, so nothing of it is left behind whoever stops
//! waiting. It ends with the leg, also when that is handed on and lives.

use std::sync::Arc;

use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};
use voxtra_ari::{AriError, HangupReason};
use voxtra_core::telephony::Snoop;
use voxtra_core::verbs::{Sides, SnoopOptions};
use voxtra_core::{BoxFuture, CallError, MediaLink, SnoopId};

use super::app::App;
use super::leg::LegShared;
use super::line::AudioLine;
use super::media_leg::{MediaSlot, RETRY_AFTER};
use super::playing::{On, play_to_end};
use super::registry::MediaState;

/// What a snoop's verbs and its task share.
pub(super) struct SnoopShared {
    pub(super) id: SnoopId,
    pub(super) line: Arc<AudioLine>,
    stop: watch::Sender<bool>,
}

/// See [`Sides`]: Asterisk's words are the same, and mean the same, seen from the channel.
fn word(sides: Sides) -> &'static str {
    match sides {
        Sides::None => "none",
        Sides::In => "in",
        Sides::Out => "out",
        Sides::Both => "both",
    }
}

/// Asks for a snoop channel of this id, and waits until it can be used. Whoever calls has noted it in the registry, and
/// takes it down whatever this returns.
pub(super) async fn ask_for_channel(
    app: &App,
    spied: &str,
    id: &str,
    options: SnoopOptions,
    mut state: watch::Receiver<MediaState>,
) -> Result<(), AriError> {
    let body = json!({ "spy": word(options.spy), "whisper": word(options.whisper), "app": app.name });
    app.client.post(&["channels", spied, "snoop", id], &[], Some(&body)).await?;
    let limit = app.core.options.limits.media_setup;
    match timeout(limit, state.wait_for(|state| *state != MediaState::Asked)).await {
        Ok(Ok(state)) if *state == MediaState::Ready => Ok(()),
        _ => Err(AriError::NotFound { call: "the snoop channel".to_owned(), message: "it did not start".to_owned() }),
    }
}

/// Takes a snoop channel down; one whose request may still be carried out is looked for once more.
pub(super) async fn take_down_channel(app: &App, id: &str, uncertain: bool) {
    let mut outcome = app.client.hangup(id, HangupReason::Normal).await;
    if uncertain || outcome.as_ref().is_err_and(AriError::transient) {
        sleep(RETRY_AFTER).await;
        outcome = app.client.hangup(id, HangupReason::Normal).await;
    }
    if let Err(error) = outcome {
        tracing::warn!(snoop = id, %error, "a snoop could not be taken down at the PBX");
    }
    app.registry.remove_media(id);
}

/// Sets a snoop up at a leg.
pub(super) async fn start(
    leg: &Arc<LegShared>,
    options: SnoopOptions,
    runtime: &Handle,
) -> Result<Arc<dyn Snoop>, CallError> {
    if options.spy == Sides::None && options.whisper == Sides::None {
        return Err(CallError::InvalidArgument(
            "a snoop that neither listens nor speaks is of no use; set spy or whisper".to_owned(),
        ));
    }
    let id = leg.app.names.new_snoop();
    let label = format!("{} (snoop)", leg.call);
    let shared = Arc::new(SnoopShared {
        id: SnoopId::from(id.as_str()),
        line: AudioLine::new(Arc::clone(&leg.app), id, label, None),
        stop: watch::Sender::new(false),
    });
    let (reply, ready) = oneshot::channel();
    let (lives, done) = watch::channel(());
    let task = Task { leg: Arc::clone(leg), shared: Arc::clone(&shared), options, _lives: lives };
    runtime.spawn(task.run(reply));
    let snoop = AsteriskSnoop { shared, done, runtime: runtime.clone() };
    ready.await.unwrap_or(Err(CallError::HungUp))?;
    Ok(Arc::new(snoop))
}

struct Task {
    leg: Arc<LegShared>,
    shared: Arc<SnoopShared>,
    options: SnoopOptions,
    _lives: watch::Sender<()>,
}

impl Task {
    async fn run(self, reply: oneshot::Sender<Result<(), CallError>>) {
        let (app, id) = (&self.leg.app, self.shared.id.as_str());
        let state = app.registry.add_media(id);
        let asked = ask_for_channel(app, &self.leg.channel, id, self.options, state.clone()).await;
        let uncertain = asked.as_ref().is_err_and(AriError::transient);
        match asked {
            Ok(()) => {
                app.registry.add_snoop(Arc::clone(&self.shared));
                tracing::info!(call = %self.leg.call, snoop = id, "snoop set up");
                if reply.send(Ok(())).is_ok() {
                    self.until_over(state).await;
                }
                app.registry.remove_snoop(id);
                self.shared.line.slot.close_for_good().await;
                take_down_channel(app, id, false).await;
                tracing::info!(call = %self.leg.call, snoop = id, "snoop gone");
            }
            Err(error) => {
                let error = self.leg.verb_error("the snoop", error);
                take_down_channel(app, id, uncertain).await;
                let _ = reply.send(Err(error));
            }
        }
    }

    async fn until_over(&self, mut state: watch::Receiver<MediaState>) {
        let (mut stop, mut ended) = (self.shared.stop.subscribe(), self.leg.ended.subscribe());
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => {}
            _ = ended.wait_for(Option::is_some) => {}
            _ = state.wait_for(|state| *state == MediaState::Gone) => {}
        }
    }
}

struct AsteriskSnoop {
    shared: Arc<SnoopShared>,
    /// Ends with the task.
    done: watch::Receiver<()>,
    runtime: Handle,
}

impl Snoop for AsteriskSnoop {
    fn id(&self) -> &SnoopId {
        &self.shared.id
    }

    fn open_media(&self, rate_hz: u32) -> BoxFuture<'_, Result<MediaLink, CallError>> {
        Box::pin(async move {
            if self.shared.line.is_in_room().await {
                return Err(CallError::Telephony(
                    "this snoop is in a bridge, which has its audio; take the bridge down first".to_owned(),
                ));
            }
            MediaSlot::open(&self.shared.line, rate_hz, &self.runtime).await
        })
    }

    fn close_media(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.shared.line.slot.close())
    }

    fn play<'a>(&'a self, media: &'a [String]) -> BoxFuture<'a, Result<(), CallError>> {
        let line = &self.shared.line;
        Box::pin(play_to_end(&line.app, On::Channel(&line.channel), media, &self.runtime))
    }

    fn stop(&self) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(async move {
            self.shared.stop.send_replace(true);
            let mut done = self.done.clone();
            while done.changed().await.is_ok() {}
            Ok(())
        })
    }
}

impl Drop for AsteriskSnoop {
    fn drop(&mut self) {
        self.shared.stop.send_replace(true);
    }
}

/// What of a snoop goes into a bridge.
pub(super) fn line_for_bridge(app: &App, snoop: &SnoopId) -> Result<Arc<AudioLine>, CallError> {
    let Some(shared) = app.registry.snoop(snoop.as_str()) else { return Err(CallError::HungUp) };
    if shared.line.slot.is_open() {
        return Err(CallError::Telephony("this snoop's audio is open; close it first".to_owned()));
    }
    Ok(Arc::clone(&shared.line))
}
