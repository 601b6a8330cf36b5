//! A hidden ear, and mouth, at a line. What it hears and says is moved by that line's steps.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::mpsc;
use voxtra_core::verbs::{Sides, SnoopOptions};
use voxtra_core::{BoxFuture, CallError, MediaLink, PlaybackId, Snoop, SnoopId};

use super::ear::{Ear, Heard, MAX_WAITING_PLAYBACKS};
use super::leg::{Reply, Verb, ask, ask_within, check_media, check_rate};
use super::link::OpenLink;
use super::mixer::{Mixer, Seat};
use super::options::MAX_CALL;
use super::sounds::Sounds;
use super::{LINE_FRAME_SAMPLES, LineFrame, mix_into};

/// A verb for a snoop, on its way to the line.
pub(super) enum SnoopVerb {
    OpenMedia(u32, Reply<MediaLink>),
    CloseMedia(Reply<()>),
    Play(PlaybackId, Vec<String>, Reply<()>),
    Stop(Reply<()>),
    Join(Arc<Mixer>, Reply<()>),
}

impl SnoopVerb {
    /// Answers for a snoop that is gone.
    pub(super) fn refuse(self) {
        let gone = CallError::Telephony("the snoop was taken away; make another one".to_owned());
        // Nobody may wait any more.
        match self {
            Self::OpenMedia(_, reply) => drop(reply.send(Err(gone))),
            Self::CloseMedia(reply) | Self::Stop(reply) => drop(reply.send(Ok(()))),
            Self::Play(_, _, reply) | Self::Join(_, reply) => drop(reply.send(Err(gone))),
        }
    }
}

/// A snoop as its line has it.
pub(super) struct LineSnoop {
    pub(super) id: SnoopId,
    options: SnoopOptions,
    /// Gone when nobody has the snoop any more.
    held: Weak<()>,
    link: Option<OpenLink>,
    ear: Ear,
    players: HashMap<PlaybackId, Reply<()>>,
    seat: Option<Seat>,
    /// What those in the bridge said in the last 20 ms.
    from_bridge: LineFrame,
}

impl LineSnoop {
    pub(super) fn new(id: SnoopId, options: SnoopOptions, held: Weak<()>) -> Self {
        Self {
            id,
            options,
            held,
            link: None,
            ear: Ear::default(),
            players: HashMap::new(),
            seat: None,
            from_bridge: [0; LINE_FRAME_SAMPLES],
        }
    }

    pub(super) fn is_held(&self) -> bool {
        self.held.strong_count() > 0
    }

    /// What it whispers in the 20 ms that begin then: into what the line says, and into what it hears.
    pub(super) fn whisper(&mut self, sounds: &Sounds, begins: Duration, said: &mut LineFrame, heard: &mut LineFrame) {
        self.forget_who_waits_no_longer();
        let mut frame = std::mem::replace(&mut self.from_bridge, [0; LINE_FRAME_SAMPLES]);
        if let Some(link) = &mut self.link {
            link.hear(&mut frame);
        }
        let players = &mut self.players;
        self.ear.hear(sounds, &mut frame, begins, |told| {
            if let Heard::Finished { id, outcome } = told
                && let Some(reply) = players.remove(&id)
            {
                // Nobody may wait any more.
                let _ = reply.send(outcome.map_err(CallError::Telephony));
            }
        });
        if matches!(self.options.whisper, Sides::In | Sides::Both) {
            mix_into(said, 0, frame);
        }
        if matches!(self.options.whisper, Sides::Out | Sides::Both) {
            mix_into(heard, 0, frame);
        }
    }

    /// Listens to 20 ms of the line, without what is whispered.
    pub(super) fn spy(&mut self, said: &LineFrame, heard: &LineFrame) {
        let mut frame: LineFrame = [0; LINE_FRAME_SAMPLES];
        if matches!(self.options.spy, Sides::In | Sides::Both) {
            mix_into(&mut frame, 0, said.iter().copied());
        }
        if matches!(self.options.spy, Sides::Out | Sides::Both) {
            mix_into(&mut frame, 0, heard.iter().copied());
        }
        if let Some(link) = &mut self.link {
            link.caller_said(&frame);
        }
        if let Some(seat) = &mut self.seat {
            match seat.exchange(&frame) {
                Some(mixed) => self.from_bridge = mixed.frame,
                None => self.seat = None,
            }
        }
    }

    /// Does what the host asks for; `name` is that of the call.
    pub(super) fn obey(&mut self, verb: SnoopVerb, now: Duration, name: &str) {
        match verb {
            SnoopVerb::OpenMedia(rate_hz, reply) => {
                // Who no longer waits would never close it.
                if let Err(Ok(_)) = reply.send(self.open_media(rate_hz)) {
                    self.link = None;
                }
            }
            SnoopVerb::CloseMedia(reply) => {
                self.link = None;
                let _ = reply.send(Ok(()));
            }
            SnoopVerb::Play(id, media, reply) => {
                if self.ear.play(id.clone(), media, now) {
                    self.players.insert(id, reply);
                } else {
                    let _ = reply.send(Err(CallError::LimitExceeded(format!(
                        "{MAX_WAITING_PLAYBACKS} lists of prompts wait to be played already; wait for one to end"
                    ))));
                }
            }
            SnoopVerb::Join(mixer, reply) => {
                let _ = reply.send(self.join(&mixer, name));
            }
            // The line takes it away itself.
            SnoopVerb::Stop(reply) => {
                let _ = reply.send(Ok(()));
            }
        }
    }

    fn join(&mut self, mixer: &Arc<Mixer>, name: &str) -> Result<(), CallError> {
        mixer.check_there()?;
        if self.seat.as_ref().is_some_and(|seat| seat.bridge() == mixer.id()) {
            return Ok(());
        }
        if self.link.is_some() {
            return Err(CallError::Telephony(
                "the snoop's audio is open, so it cannot be in a bridge; close it first".to_owned(),
            ));
        }
        self.seat = None;
        self.seat = Some(mixer.sit(Some(format!("snoop at {name}")), None)?);
        Ok(())
    }

    fn open_media(&mut self, rate_hz: u32) -> Result<MediaLink, CallError> {
        if self.link.is_some() || self.seat.is_some() {
            return Err(CallError::Telephony(
                "the snoop's audio is open already, or it is in a bridge; one of them at a time".to_owned(),
            ));
        }
        let open = OpenLink::new(rate_hz).map_err(|e| CallError::InvalidArgument(e.to_string()))?;
        let link = open.link();
        self.link = Some(open);
        Ok(link)
    }

    fn forget_who_waits_no_longer(&mut self) {
        let ear = &mut self.ear;
        self.players.retain(|id, reply| {
            let waits = !reply.is_closed();
            if !waits {
                ear.stop(id);
            }
            waits
        });
    }
}

/// The host's handle on a snoop.
pub(super) struct SimulatedSnoop {
    id: SnoopId,
    line: mpsc::Sender<Verb>,
    held: Arc<()>,
    playings: AtomicU64,
}

impl SimulatedSnoop {
    pub(super) fn new(id: SnoopId, line: mpsc::Sender<Verb>) -> Self {
        Self { id, line, held: Arc::default(), playings: AtomicU64::new(0) }
    }

    pub(super) fn held(&self) -> Weak<()> {
        Arc::downgrade(&self.held)
    }

    fn verb<T>(&self, verb: impl FnOnce(Reply<T>) -> SnoopVerb) -> impl FnOnce(Reply<T>) -> Verb {
        let id = self.id.clone();
        move |reply| Verb::Snoop(id, verb(reply))
    }
}

impl Snoop for SimulatedSnoop {
    fn id(&self) -> &SnoopId {
        &self.id
    }

    fn open_media(&self, rate_hz: u32) -> BoxFuture<'_, Result<MediaLink, CallError>> {
        Box::pin(async move {
            check_rate(rate_hz)?;
            ask(&self.line, self.verb(|reply| SnoopVerb::OpenMedia(rate_hz, reply))).await
        })
    }

    fn close_media(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            // At a call that is over nothing is open.
            let _ = ask(&self.line, self.verb(SnoopVerb::CloseMedia)).await;
        })
    }

    fn play<'a>(&'a self, media: &'a [String]) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(async move {
            check_media(media)?;
            let number = self.playings.fetch_add(1, Ordering::Relaxed);
            let id = PlaybackId::from(format!("{}-{number}", self.id));
            let play = self.verb(|reply| SnoopVerb::Play(id, media.to_vec(), reply));
            ask_within(MAX_CALL, &self.line, play).await
        })
    }

    fn stop(&self) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(async move {
            match ask(&self.line, self.verb(SnoopVerb::Stop)).await {
                // It went with its call.
                Err(CallError::HungUp) => Ok(()),
                outcome => outcome,
            }
        })
    }
}
