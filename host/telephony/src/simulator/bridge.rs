//! The host's handle on a bridge, and what is played to all in it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at};
use voxtra_core::{BoxFuture, Bridge, BridgeId, CallError, CallId, PlaybackId, SnoopId};

use super::ear::{Ear, Heard};
use super::exchange::Floor;
use super::leg::{Verb, ask, check_media};
use super::mixer::{Mixer, Seat};
use super::options::MAX_CALL;
use super::snoop::SnoopVerb;
use super::{FRAME, LINE_FRAME_SAMPLES, LineFrame};

/// See the module. Dropping it takes the bridge down.
pub(super) struct SimulatedBridge {
    mixer: Arc<Mixer>,
    floor: Arc<Floor>,
}

impl SimulatedBridge {
    pub(super) fn new(id: BridgeId, floor: Arc<Floor>) -> Self {
        Self { mixer: Mixer::new(id), floor }
    }

    async fn announce(&self, media: &[String]) -> Result<(), CallError> {
        check_media(media)?;
        let mut seat = self.mixer.sit(None, None)?;
        let mut ear = Ear::default();
        ear.play(PlaybackId::from("announcement"), media.to_vec(), Duration::ZERO);
        let mut ticks = interval_at(Instant::now() + FRAME, FRAME);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut begins = Duration::ZERO;
        let mut playing = Announced { mixer: &self.mixer, media: None };
        loop {
            ticks.tick().await;
            if let Some(outcome) = self.announce_frame(&mut ear, &mut seat, begins, &mut playing)? {
                return outcome.map_err(CallError::Telephony);
            }
            begins += FRAME;
        }
    }

    /// 20 ms of it; its outcome when it is over.
    fn announce_frame(
        &self,
        ear: &mut Ear,
        seat: &mut Seat,
        begins: Duration,
        playing: &mut Announced<'_>,
    ) -> Result<Option<Result<(), String>>, CallError> {
        let mut frame: LineFrame = [0; LINE_FRAME_SAMPLES];
        let mut over = None;
        ear.hear(self.floor.sounds(), &mut frame, begins, |heard| match heard {
            Heard::Started { media, at } => playing.begin(media, at),
            Heard::Ended { media, at, outcome } => playing.end(&media, at, &outcome),
            Heard::Finished { outcome, .. } => over = Some(outcome),
        });
        if seat.exchange(&frame).is_none() {
            self.mixer.check_there()?;
        }
        Ok(over)
    }
}

/// The entry that plays; when it is dropped, its end is told.
struct Announced<'a> {
    mixer: &'a Mixer,
    media: Option<String>,
}

impl Announced<'_> {
    fn begin(&mut self, media: String, at: Duration) {
        self.mixer.tell(&media, || Heard::Started { media: media.clone(), at });
        self.media = Some(media);
    }

    fn end(&mut self, media: &str, at: Duration, outcome: &Result<(), String>) {
        self.media = None;
        self.mixer.tell(media, || Heard::Ended { media: media.to_owned(), at, outcome: outcome.clone() });
    }
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        if let Some(media) = self.media.take() {
            self.end(&media, Duration::ZERO, &Ok(()));
        }
    }
}

impl Bridge for SimulatedBridge {
    fn id(&self) -> &BridgeId {
        self.mixer.id()
    }

    fn add<'a>(&'a self, leg: &'a CallId) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(async move {
            self.mixer.check_there()?;
            let line = self.floor.line(leg).ok_or(CallError::HungUp)?;
            ask(&line, |reply| Verb::JoinBridge(Arc::clone(&self.mixer), reply)).await
        })
    }

    fn remove<'a>(&'a self, leg: &'a CallId) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(async move {
            let Some(line) = self.floor.line(leg) else { return Ok(()) };
            match ask(&line, |reply| Verb::LeaveBridge(self.mixer.id().clone(), reply)).await {
                Err(CallError::HungUp) => Ok(()),
                outcome => outcome,
            }
        })
    }

    fn add_snoop<'a>(&'a self, snoop: &'a SnoopId) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(async move {
            self.mixer.check_there()?;
            let gone = || CallError::Telephony("the snoop is gone; make another one".to_owned());
            let line = self.floor.line_of_snoop(snoop).ok_or_else(gone)?;
            ask(&line, |reply| Verb::Snoop(snoop.clone(), SnoopVerb::Join(Arc::clone(&self.mixer), reply)))
                .await
                .map_err(|error| if error == CallError::HungUp { gone() } else { error })
        })
    }

    fn play<'a>(&'a self, media: &'a [String]) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(async move {
            tokio::time::timeout(MAX_CALL, self.announce(media)).await.unwrap_or(Err(CallError::Timeout))
        })
    }

    fn destroy(&self) -> BoxFuture<'_, Result<(), CallError>> {
        self.mixer.close();
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Drop for SimulatedBridge {
    fn drop(&mut self) {
        self.mixer.close();
    }
}
