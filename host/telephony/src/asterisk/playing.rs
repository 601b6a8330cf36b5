//! Prompts that are played to their end on a bridge or a snoop, with somebody waiting for it.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout;
use voxtra_ari::{AriError, Play};
use voxtra_core::CallError;

use super::app::App;
use super::error::to_call_error;
use super::names;
use super::player::one_by_one;
use super::registry::Listener;

/// What is played on.
#[derive(Debug, Clone, Copy)]
pub(super) enum On<'a> {
    Channel(&'a str),
    Bridge(&'a str),
}

/// Plays the list to its end. Dropping the future stops it.
pub(super) async fn play_to_end(
    app: &Arc<App>,
    on: On<'_>,
    media: &[String],
    runtime: &Handle,
) -> Result<(), CallError> {
    names::check_media(media)?;
    for medium in media.iter().cloned().flat_map(one_by_one) {
        let playback = names::new_playback();
        let (sender, over) = oneshot::channel();
        app.registry.add_playback(&playback, Listener::Waiting(sender));
        let mut guard =
            StopWhenDropped { app: Arc::clone(app), playback: playback.clone(), runtime: runtime.clone(), armed: true };
        start(app, on, &playback, &medium).await.map_err(|e| to_call_error("playing", e))?;
        let outcome = until_over(app, &playback, over).await;
        guard.armed = false;
        outcome.map_err(|why| {
            CallError::Telephony(if why.is_empty() {
                format!("Asterisk could not play {medium:?}; check that it exists there in a format it reads")
            } else {
                format!("Asterisk could not play {medium:?}: {why}")
            })
        })?;
    }
    Ok(())
}

async fn start(app: &App, on: On<'_>, playback: &str, medium: &str) -> Result<(), AriError> {
    match on {
        On::Channel(channel) => app.client.play(channel, &Play::new(playback, medium)).await.map(drop),
        On::Bridge(bridge) => {
            let body = serde_json::json!({ "media": [medium] });
            app.client.post(&["bridges", bridge, "play", playback], &[], Some(&body)).await.map(drop)
        }
    }
}

/// Asterisk says nothing about the end of some, so it is asked now and then.
async fn until_over(app: &App, playback: &str, mut over: oneshot::Receiver<Result<(), String>>) -> Result<(), String> {
    loop {
        match timeout(app.core.options.limits.playback_check, &mut over).await {
            Ok(outcome) => return outcome.unwrap_or(Ok(())),
            Err(_) => match app.client.get_playback(playback).await {
                Err(error) if error.gone() => {
                    app.registry.take_playback(playback);
                    return Ok(());
                }
                _ => {}
            },
        }
    }
}

struct StopWhenDropped {
    app: Arc<App>,
    playback: String,
    runtime: Handle,
    armed: bool,
}

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        self.app.registry.take_playback(&self.playback);
        let (app, playback) = (Arc::clone(&self.app), std::mem::take(&mut self.playback));
        self.runtime.spawn(async move {
            // It goes with its channel or bridge if this fails.
            let _ = app.client.stop_playback(&playback).await;
        });
    }
}
