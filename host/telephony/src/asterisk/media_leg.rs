//! A call's audio at the PBX: an external media channel, a bridge with the call in it, and the socket.
//!
//! One task an opening owns all three from the first request to the last, so whatever fails, and whoever stops
//! waiting, nothing is left behind at the PBX: a request that is under way is waited for before what it made is taken
//! down. The socket is closed first: Asterisk can wait for a frame with the channel locked, and would then answer
//! nothing about it.

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};
use uuid::Uuid;
use voxtra_ari::audiosocket::Expectation;
use voxtra_ari::media_ws::MediaOptions;
use voxtra_ari::{AriError, BridgeType, Channel, ExternalMedia, HangupReason};
use voxtra_core::media::LINK_RATES_HZ;
use voxtra_core::{CallError, MediaLink};

use super::adapter::Transport;
use super::error::to_call_error;
use super::line::AudioLine;
use super::registry::MediaState;
use crate::media::{AttachedMedia, MediaEvents};

/// The variable by which `chan_websocket` names the connection that it waits for.
const CONNECTION_ID: &str = "MEDIA_WEBSOCKET_CONNECTION_ID";
/// How errors begin.
const DOING: &str = "opening audio";
/// Wait before something that could not be taken down is tried once more; also how late a request that timed out may
/// still be carried out.
pub(super) const RETRY_AFTER: Duration = Duration::from_millis(500);

/// A leg's audio, as its verbs see it.
#[derive(Debug, Default)]
pub(super) struct MediaSlot {
    state: Mutex<Slot>,
}

#[derive(Debug, Default)]
enum Slot {
    /// None was opened, or the last one may be on its way out.
    #[default]
    Free,
    Taken(Opening),
    /// The leg is over: none can be opened any more.
    Over(Option<Opening>),
}

/// One opening, from outside of its task.
#[derive(Debug, Clone)]
struct Opening {
    close: Arc<watch::Sender<bool>>,
    /// Ends with the task.
    done: watch::Receiver<()>,
}

impl Opening {
    fn is_done(&self) -> bool {
        self.done.has_changed().is_err()
    }

    /// Its task's own limits bound this.
    async fn done(&self) {
        let mut done = self.done.clone();
        while done.changed().await.is_ok() {}
    }
}

impl MediaSlot {
    /// Opens the leg's audio. Dropping the future takes down what was set up so far.
    pub(super) async fn open(shared: &Arc<AudioLine>, rate_hz: u32, runtime: &Handle) -> Result<MediaLink, CallError> {
        let Some(format) = format_of(rate_hz) else {
            return Err(CallError::InvalidArgument(format!(
                "{rate_hz} Hz is not a rate of a call's audio; use one of {LINK_RATES_HZ:?}"
            )));
        };
        loop {
            let before = match shared.slot.take(shared, rate_hz, format, runtime)? {
                Taken::New(link) => return link.await.unwrap_or(Err(CallError::HungUp)),
                Taken::Busy(before) => before,
            };
            if !*before.close.borrow() {
                return Err(CallError::Telephony("this call's audio is open already; close it first".to_owned()));
            }
            before.done().await;
        }
    }

    fn take(
        &self,
        shared: &Arc<AudioLine>,
        rate_hz: u32,
        format: &'static str,
        runtime: &Handle,
    ) -> Result<Taken, CallError> {
        let mut state = self.state();
        match &*state {
            Slot::Over(_) => return Err(CallError::HungUp),
            Slot::Taken(opening) if !opening.is_done() => return Ok(Taken::Busy(opening.clone())),
            Slot::Taken(_) | Slot::Free => {}
        }
        let (reply, link) = oneshot::channel();
        let (close, closing) = watch::channel(false);
        let (task_lives, done) = watch::channel(());
        let task = Task { shared: Arc::clone(shared), rate_hz, format, closing, _lives: task_lives };
        runtime.spawn(task.run(reply));
        *state = Slot::Taken(Opening { close: Arc::new(close), done });
        Ok(Taken::New(link))
    }

    /// Closes what is open and returns when nothing of it is left at the PBX.
    pub(super) async fn close(&self) {
        let opening = match &*self.state() {
            Slot::Taken(opening) | Slot::Over(Some(opening)) => opening.clone(),
            Slot::Free | Slot::Over(None) => return,
        };
        opening.close.send_replace(true);
        opening.done().await;
    }

    /// As [`MediaSlot::close`]; none can be opened afterwards.
    pub(super) async fn close_for_good(&self) {
        self.leg_is_over();
        self.close().await;
    }

    /// Begins to close what is open; none can be opened any more.
    pub(super) fn leg_is_over(&self) {
        let mut state = self.state();
        let opening = match std::mem::take(&mut *state) {
            Slot::Free => None,
            Slot::Taken(opening) => Some(opening),
            Slot::Over(opening) => opening,
        };
        if let Some(opening) = &opening {
            opening.close.send_replace(true);
        }
        *state = Slot::Over(opening);
    }

    /// Whether what it belongs to is over.
    pub(super) fn is_over(&self) -> bool {
        matches!(*self.state(), Slot::Over(_))
    }

    /// Whether audio is open, or being opened.
    pub(super) fn is_open(&self) -> bool {
        matches!(&*self.state(), Slot::Taken(opening) if !opening.is_done() && !*opening.close.borrow())
    }

    /// What an opening that is closed before it is open comes to.
    fn why_closed(&self) -> CallError {
        match &*self.state() {
            Slot::Over(_) => CallError::HungUp,
            Slot::Free | Slot::Taken(_) => failed(&"it was closed meanwhile"),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, Slot> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Taken {
    New(oneshot::Receiver<Result<MediaLink, CallError>>),
    Busy(Opening),
}

/// The owner of one opening.
struct Task {
    shared: Arc<AudioLine>,
    rate_hz: u32,
    format: &'static str,
    closing: watch::Receiver<bool>,
    _lives: watch::Sender<()>,
}

/// What there may be at the PBX.
struct Parts {
    channel: String,
    bridge: String,
    /// A request timed out: what it asked for may come to be later.
    uncertain: bool,
    attached: Option<AttachedMedia>,
}

/// What the PBX has agreed to.
enum Asked {
    /// It connects to the host.
    WillConnect(Expectation),
    /// The host connects to it.
    ToBeConnectedTo(Box<Channel>),
}

/// Told by the media thread.
struct Lost(watch::Sender<bool>);

impl MediaEvents for Lost {
    fn lost(&self) {
        self.0.send_replace(true);
    }

    fn dtmf(&self, _digit: char, _duration_ms: u32) {
        // The same key comes as an event of the call's own channel.
    }
}

impl Task {
    async fn run(self, mut reply: oneshot::Sender<Result<MediaLink, CallError>>) {
        let began = Instant::now();
        let app = Arc::clone(&self.shared.app);
        let counters = &app.core.counters;
        let mut parts =
            Parts { channel: app.names.new_media(), bridge: app.names.new_bridge(), uncertain: false, attached: None };
        let state = app.registry.add_media(&parts.channel);
        app.registry.add_bridge(&parts.bridge);
        let (lost, is_lost) = watch::channel(false);

        let outcome = self.set_up(&mut parts, state.clone(), lost, &mut reply).await;
        let call = &self.shared.label;
        let opened = match outcome {
            Ok(link) => {
                counters.media_opened.fetch_add(1, Relaxed);
                let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                tracing::info!(%call, rate_hz = self.rate_hz, took_ms, "audio open");
                reply.send(Ok(link)).is_ok()
            }
            Err(error) => {
                counters.media_failed.fetch_add(1, Relaxed);
                tracing::warn!(%call, %error, "audio could not be opened");
                // Answered when nothing is left, so that the next attempt starts from nothing.
                self.take_down(parts).await;
                let _ = reply.send(Err(error));
                return;
            }
        };
        if opened && !self.closed_or_lost(state, is_lost).await {
            tracing::info!(%call, "audio lost");
            self.shared.media_lost();
        }
        self.take_down(parts).await;
        tracing::info!(call = %self.shared.label, "audio closed");
    }

    /// Waits until somebody wants it closed (true) or it is gone (false).
    async fn closed_or_lost(&self, mut state: watch::Receiver<MediaState>, mut lost: watch::Receiver<bool>) -> bool {
        let mut closing = self.closing.clone();
        tokio::select! {
            biased;
            _ = closing.wait_for(|close| *close) => true,
            _ = lost.wait_for(|lost| *lost) => false,
            _ = state.wait_for(|state| *state == MediaState::Gone) => false,
        }
    }

    async fn set_up(
        &self,
        parts: &mut Parts,
        state: watch::Receiver<MediaState>,
        lost: watch::Sender<bool>,
        reply: &mut oneshot::Sender<Result<MediaLink, CallError>>,
    ) -> Result<MediaLink, CallError> {
        let mut closing = self.closing.clone();
        // Not cut short: a request that is under way makes its thing whether or not it is waited for, and only what
        // there is can be taken down.
        let asked = self.ask(parts).await?;
        tokio::select! {
            biased;
            _ = closing.wait_for(|close| *close) => Err(self.shared.slot.why_closed()),
            () = reply.closed() => Err(CallError::HungUp),
            link = self.join(parts, asked, state, lost) => link,
        }
    }

    /// Asks the PBX for its side of the connection.
    async fn ask(&self, parts: &mut Parts) -> Result<Asked, CallError> {
        let core = &self.shared.app.core;
        if core.transport(&self.shared.app.client).await? == Transport::WebSocket {
            let media = ExternalMedia::websocket_server(self.format, false).channel_id(&parts.channel);
            let channel = self.ask_for_channel(parts, &media).await;
            return Ok(Asked::ToBeConnectedTo(Box::new(channel.map_err(|e| self.failed(e))?)));
        }
        let listener = core.listener().await.map_err(|e| CallError::NotConfigured(e.to_string()))?;
        let uuid = Uuid::new_v4();
        // Expected before the PBX is asked: it connects while it is being asked.
        let expected = listener.server.expect_within(uuid, core.options.limits.media_setup).map_err(|e| failed(&e))?;
        let media = ExternalMedia::audiosocket(&listener.advertised, self.format, uuid).channel_id(&parts.channel);
        match self.ask_for_channel(parts, &media).await {
            Ok(_) => Ok(Asked::WillConnect(expected)),
            Err(AriError::Server { status: 500, .. }) => Err(CallError::Telephony(format!(
                "the PBX could not connect its audio to the host at {}; set media.audiosocket_advertise to an address that it can reach",
                listener.advertised
            ))),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Makes the connection and puts call and media into the bridge.
    async fn join(
        &self,
        parts: &mut Parts,
        asked: Asked,
        state: watch::Receiver<MediaState>,
        lost: watch::Sender<bool>,
    ) -> Result<MediaLink, CallError> {
        let threads = &self.shared.app.core.threads;
        // Attached before it is bridged: from here on it is sent something every 20 ms.
        let attached = match asked {
            Asked::WillConnect(expected) => {
                let connection = expected.await.map_err(|e| failed(&e))?;
                threads.attach_audiosocket(connection, self.rate_hz, Arc::new(Lost(lost))).map_err(|e| failed(&e))?
            }
            Asked::ToBeConnectedTo(channel) => {
                let url = self.url_of(&channel).await?;
                let mut options = MediaOptions::default();
                options.connect_timeout = self.shared.app.core.options.limits.media_setup;
                let core = &self.shared.app.core;
                let turn = timeout(options.connect_timeout, core.connects.acquire()).await;
                let turn = turn.map_err(|_| failed(&"too many media connections are being made; try again"))?;
                let _turn = turn.map_err(|e| failed(&e))?;
                let connected = threads.connect_websocket(&url, options, self.rate_hz, Arc::new(Lost(lost))).await;
                connected.map_err(|e| failed(&e))?
            }
        };
        let link = attached.link.clone();
        parts.attached = Some(attached);
        self.bridge(parts, state).await?;
        Ok(link)
    }

    /// Where a WebSocket media channel waits.
    async fn url_of(&self, channel: &Channel) -> Result<String, CallError> {
        let client = &self.shared.app.client;
        let id = match channel.variable(CONNECTION_ID) {
            Some(id) => Some(id.to_owned()),
            None => client.get_variable(&channel.id, CONNECTION_ID).await.map_err(|e| self.failed(e))?,
        };
        let id = id.ok_or_else(|| failed(&format!("the PBX's media channel has no {CONNECTION_ID}")))?;
        client.media_url(&id).map_err(|e| self.failed(e))
    }

    /// Asks for the media channel and, at the same time, for the bridge.
    async fn ask_for_channel(&self, parts: &mut Parts, media: &ExternalMedia) -> Result<Channel, AriError> {
        let client = &self.shared.app.client;
        let (channel, bridge) = tokio::join!(
            client.external_media(media),
            client.create_bridge(&parts.bridge, BridgeType::Mixing, "voxtra"),
        );
        parts.uncertain =
            [channel.as_ref().err(), bridge.as_ref().err()].into_iter().flatten().any(AriError::transient);
        bridge?;
        channel
    }

    /// Puts call and media into the bridge, as soon as the media channel can be.
    async fn bridge(&self, parts: &Parts, mut state: watch::Receiver<MediaState>) -> Result<(), CallError> {
        let limit = self.shared.app.core.options.limits.media_setup;
        let ready = timeout(limit, state.wait_for(|state| *state != MediaState::Asked)).await;
        match ready.map(|state| state.map(|state| *state)) {
            Ok(Ok(MediaState::Ready)) => {}
            Ok(_) => return Err(failed(&"the PBX ended its media channel")),
            Err(_) => {
                let limit_ms = limit.as_millis();
                return Err(failed(&format!("the PBX did not start its media channel within {limit_ms} ms")));
            }
        }
        self.shared.join_audio(&parts.channel, &parts.bridge).await.map_err(|e| self.failed(e))
    }

    fn failed(&self, error: AriError) -> CallError {
        if self.shared.slot.is_over() { CallError::HungUp } else { to_call_error(DOING, error) }
    }

    /// Takes down whatever there is, the socket first.
    async fn take_down(&self, parts: Parts) {
        let app = &self.shared.app;
        if let Some(attached) = &parts.attached {
            attached.close().await;
        }
        self.shared.audio_leaves(&parts.channel).await;
        let remove = async || {
            app.client.hangup(&parts.channel, HangupReason::Normal).await?;
            app.client.destroy_bridge(&parts.bridge).await
        };
        let mut outcome = remove().await;
        if parts.uncertain || outcome.as_ref().is_err_and(AriError::transient) {
            sleep(RETRY_AFTER).await;
            outcome = remove().await;
        }
        if let Err(error) = outcome {
            // Found and taken down when the connection stands again.
            tracing::warn!(call = %self.shared.label, %error, "audio could not be taken down at the PBX");
        }
        app.registry.remove_media(&parts.channel);
        app.registry.remove_bridge(&parts.bridge);
    }
}

fn failed(why: &dyn fmt::Display) -> CallError {
    CallError::Telephony(format!("{DOING} failed: {why}"))
}

/// Asterisk's name for signed linear audio at a rate.
fn format_of(rate_hz: u32) -> Option<&'static str> {
    match rate_hz {
        8_000 => Some("slin"),
        16_000 => Some("slin16"),
        24_000 => Some("slin24"),
        48_000 => Some("slin48"),
        _ => None,
    }
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn every_rate_of_a_link_has_a_format() {
        assert!(LINK_RATES_HZ.into_iter().all(|rate_hz| format_of(rate_hz).is_some()));
        assert_eq!(format_of(44_100), None);
    }
}
