//! What the PBX has against what the host has, after events may have been lost.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::sleep;
use voxtra_ari::{AriError, Channel, ChannelState, HangupReason};

use super::app::App;
use super::exchange::PLACED_ARGUMENT;
use super::leg_task::LegInput;
use super::names;
use super::options::UnknownCalls;

/// How often the list is asked for before the next regular comparison has to do.
const LIST_ATTEMPTS: u32 = 5;
/// Wait between two.
const LIST_RETRY_AFTER: Duration = Duration::from_millis(300);
/// The dialplan application in which a channel is while it is ours.
const STASIS: &str = "Stasis";

/// How much is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// The host's calls only: while the connection stands nothing unknown can have come.
    KnownOnly,
    /// Also what the PBX has and the host does not know.
    Everything,
}

/// Ends here what is gone there; with [`Scope::Everything`] also ends there what nobody here knows.
pub(super) async fn reconcile(app: &Arc<App>, scope: Scope) {
    // Before the list is asked for: what comes later cannot be missing in it.
    let legs = app.registry.legs();
    let media = app.registry.media();
    if scope == Scope::KnownOnly && legs.is_empty() && media.is_empty() {
        return;
    }
    let Some(channels) = list(app).await else { return };
    let by_id: HashMap<&str, &Channel> = channels.iter().map(|c| (c.id.as_str(), c)).collect();

    for (id, inbox) in &legs {
        match by_id.get(id.as_str()) {
            None => inbox.post(LegInput::Failed(
                "the PBX does not have this call any more: it was restarted, or the call ended while it could not be reached"
                    .to_owned(),
            )),
            Some(_) if inbox.is_away() => {}
            Some(channel) if channel.dialplan.app_name != STASIS => inbox.post(LegInput::Left),
            Some(channel) if scope == Scope::Everything => {
                if channel.state == ChannelState::Up {
                    inbox.post(LegInput::Answered);
                }
                inbox.post(LegInput::CheckPlayback);
            }
            Some(_) => {}
        }
    }
    for id in media.iter().filter(|id| !by_id.contains_key(id.as_str())) {
        // One that is being asked for is not there yet; its own limit looks after it.
        app.registry.set_media_gone_if_ready(id);
    }
    if scope == Scope::Everything {
        end_unknown(app, &channels).await;
    }
}

async fn end_unknown(app: &Arc<App>, channels: &[Channel]) {
    let bridges = app.client.list_bridges().await.unwrap_or_default();
    let suspicious = channels.iter().any(|c| is_unknown(app, c));
    let unknown_bridges: Vec<&str> = bridges
        .iter()
        .map(|b| b.id.as_str())
        .filter(|id| app.names.owns_bridge(id) && !app.registry.has_bridge(id))
        .collect();
    if !suspicious && unknown_bridges.is_empty() {
        return;
    }
    // What has just come is unknown only until its first event is read.
    sleep(app.core.options.limits.unknown_grace).await;
    let Some(channels) = list(app).await else { return };
    for channel in channels.iter().filter(|c| is_unknown(app, c)) {
        if app.core.options.unknown_calls == UnknownCalls::Adopt && may_be_adopted(channel) {
            tracing::warn!(app = app.name, channel = channel.id, name = channel.name, "an unknown call is taken");
            app.adopt(channel.clone());
            continue;
        }
        tracing::warn!(app = app.name, channel = channel.id, name = channel.name, "an unknown channel is hung up");
        app.core.counters.orphans.fetch_add(1, Relaxed);
        report(app, &channel.id, app.client.hangup(&channel.id, HangupReason::Normal).await);
    }
    for bridge in unknown_bridges.into_iter().filter(|id| !app.registry.has_bridge(id)) {
        tracing::warn!(app = app.name, bridge, "an unknown bridge is taken down");
        app.core.counters.orphans.fetch_add(1, Relaxed);
        report(app, bridge, app.client.destroy_bridge(bridge).await);
    }
}

/// Whether a channel is ours to look after and nobody does.
fn is_unknown(app: &App, channel: &Channel) -> bool {
    if names::is_media(&channel.id) {
        return app.names.owns_media(&channel.id) && !app.registry.has_media(&channel.id);
    }
    let place = &channel.dialplan;
    let ours = place.app_name == STASIS && place.app_data.split(',').next() == Some(app.name.as_str());
    ours && app.core.options.unknown_calls != UnknownCalls::Leave && !app.registry.has_leg(&channel.id)
}

/// Calls that came to us; not those that were placed.
fn may_be_adopted(channel: &Channel) -> bool {
    !names::is_media(&channel.id) && channel.dialplan.app_data.split(',').nth(1) != Some(PLACED_ARGUMENT)
}

async fn list(app: &App) -> Option<Vec<Channel>> {
    for attempt in 1..=LIST_ATTEMPTS {
        match app.client.list_channels().await {
            Ok(channels) => return Some(channels),
            Err(error) if attempt == LIST_ATTEMPTS => {
                tracing::warn!(app = app.name, %error, "the PBX's channels could not be listed");
            }
            Err(_) => sleep(LIST_RETRY_AFTER).await,
        }
    }
    None
}

fn report(app: &App, what: &str, outcome: Result<(), AriError>) {
    if let Err(error) = outcome {
        tracing::warn!(app = app.name, what, %error, "it could not be taken down");
    }
}
