//! What a bridge does with audio: everybody in it hears the sum of the others.
//!
//! Each member's line steps by itself, so what one says waits a moment for the others' steps. The lock is held for the
//! copying of 20 ms and never across a wait; it guards audio on its way, not a call.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;
use voxtra_core::{BridgeId, CallError};

use super::ear::Heard;
use super::leg::Verb;
use super::{LINE_FRAME_SAMPLES, LineFrame, mix_into};

/// Legs, snoops and announcements in one bridge: each hears each, so the work grows with its square.
const MAX_SEATS: usize = 64;

/// So much of a voice is waited for before it is heard: two lines that step at the same time may do so in any order.
const FLOWS_FROM_SAMPLES: usize = 2 * LINE_FRAME_SAMPLES;

/// More of a voice does not wait; of more, the oldest goes.
const MAX_WAITING_SAMPLES: usize = 10 * LINE_FRAME_SAMPLES;

/// One bridge.
pub(super) struct Mixer {
    id: BridgeId,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    gone: bool,
    seated: u64,
    /// Changes whenever somebody comes or goes.
    version: u64,
    seats: Vec<Place>,
}

struct Place {
    number: u64,
    /// An announcement has none.
    name: Option<String>,
    /// Who is told what is played to all.
    line: Option<mpsc::Sender<Verb>>,
    voices: Vec<Voice>,
}

/// What one of the others says.
struct Voice {
    of: u64,
    waiting: VecDeque<i16>,
    flows: bool,
    /// Nothing more comes.
    ended: bool,
}

/// A place in a bridge; dropping it leaves the bridge.
pub(super) struct Seat {
    mixer: Arc<Mixer>,
    number: u64,
    version: u64,
}

/// What a member gets every 20 ms.
pub(super) struct Mixed {
    /// The sum of the others.
    pub(super) frame: LineFrame,
    /// The others' names, when they have changed.
    pub(super) others: Option<Vec<String>>,
}

impl Mixer {
    pub(super) fn new(id: BridgeId) -> Arc<Self> {
        Arc::new(Self { id, inner: Mutex::default() })
    }

    pub(super) fn id(&self) -> &BridgeId {
        &self.id
    }

    /// Takes a place.
    pub(super) fn sit(
        self: &Arc<Self>,
        name: Option<String>,
        line: Option<mpsc::Sender<Verb>>,
    ) -> Result<Seat, CallError> {
        let mut inner = self.inner();
        inner.check_there()?;
        if inner.seats.len() >= MAX_SEATS {
            return Err(CallError::LimitExceeded(format!(
                "a bridge of the simulator has at most {MAX_SEATS} members; make another one"
            )));
        }
        inner.seated += 1;
        inner.version += u64::from(name.is_some());
        let number = inner.seated;
        inner.seats.push(Place { number, name, line, voices: Vec::new() });
        Ok(Seat { mixer: Arc::clone(self), number, version: 0 })
    }

    pub(super) fn check_there(&self) -> Result<(), CallError> {
        self.inner().check_there()
    }

    /// Tells every member's line what is played to all. One that has too much to do is not told.
    pub(super) fn tell(&self, media: &str, heard: impl Fn() -> Heard) {
        let lines: Vec<_> = self.inner().seats.iter().filter_map(|seat| seat.line.clone()).collect();
        for line in lines {
            if line.try_send(Verb::BridgePrompt(heard())).is_err() {
                tracing::debug!(bridge = %self.id, media, "a member was not told of a prompt");
            }
        }
    }

    /// Takes the bridge down; its members find out at their next step.
    pub(super) fn close(&self) {
        let seats = {
            let mut inner = self.inner();
            inner.gone = true;
            std::mem::take(&mut inner.seats)
        };
        drop(seats);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn check_there(&self) -> Result<(), CallError> {
        if self.gone {
            return Err(CallError::Telephony("the bridge has been taken down; make another one".to_owned()));
        }
        Ok(())
    }
}

impl Seat {
    pub(super) fn bridge(&self) -> &BridgeId {
        &self.mixer.id
    }

    /// Says 20 ms and hears the others'; none when the bridge is gone.
    pub(super) fn exchange(&mut self, said: &LineFrame) -> Option<Mixed> {
        let mut inner = self.mixer.inner();
        let mut frame: LineFrame = [0; LINE_FRAME_SAMPLES];
        let mut there = false;
        for seat in &mut inner.seats {
            if seat.number == self.number {
                there = true;
                seat.voices.iter_mut().for_each(|voice| voice.add_to(&mut frame));
                seat.voices.retain(|voice| !(voice.ended && voice.waiting.is_empty()));
            } else {
                seat.hear(self.number, said);
            }
        }
        let version = inner.version;
        let others = (version != self.version).then(|| {
            let others = inner.seats.iter().filter(|seat| seat.number != self.number);
            others.filter_map(|seat| seat.name.clone()).collect()
        });
        drop(inner);
        self.version = version;
        there.then_some(Mixed { frame, others })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut inner = self.mixer.inner();
        let Some(at) = inner.seats.iter().position(|seat| seat.number == self.number) else { return };
        let left = inner.seats.remove(at);
        inner.version += u64::from(left.name.is_some());
        for voice in inner.seats.iter_mut().flat_map(|seat| &mut seat.voices).filter(|voice| voice.of == self.number) {
            voice.ended = true;
        }
        // The line's sender is let go of without the lock.
        drop(inner);
        drop(left);
    }
}

impl Place {
    fn hear(&mut self, of: u64, said: &LineFrame) {
        let voice = match self.voices.iter_mut().position(|voice| voice.of == of) {
            Some(at) => self.voices.get_mut(at),
            None => {
                self.voices.push(Voice { of, waiting: VecDeque::new(), flows: false, ended: false });
                self.voices.last_mut()
            }
        };
        let Some(voice) = voice else { return };
        voice.waiting.extend(said);
        let too_many = voice.waiting.len().saturating_sub(MAX_WAITING_SAMPLES);
        voice.waiting.drain(..too_many);
    }
}

impl Voice {
    fn add_to(&mut self, frame: &mut LineFrame) {
        self.flows = (self.flows && !self.waiting.is_empty()) || self.waiting.len() >= FLOWS_FROM_SAMPLES || self.ended;
        if self.flows {
            let ready = self.waiting.len().min(LINE_FRAME_SAMPLES);
            mix_into(frame, 0, self.waiting.drain(..ready));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn steps(order: impl Fn(usize) -> [usize; 2]) -> Vec<i16> {
        let mixer = Mixer::new(BridgeId::from("b"));
        let (line, _verbs) = mpsc::channel(1);
        let mut seats: Vec<_> =
            ["a", "b"].map(|name| mixer.sit(Some(name.to_owned()), Some(line.clone())).unwrap()).into_iter().collect();
        let mut heard = Vec::new();
        for step in 0..50 {
            for index in order(step) {
                let mixed = seats[index].exchange(&[step as i16 + 1; LINE_FRAME_SAMPLES]).unwrap();
                if index == 1 {
                    heard.push(mixed.frame[0]);
                }
            }
        }
        heard
    }

    #[test]
    fn a_voice_has_no_gap_whatever_the_order_of_the_steps() {
        let orders: [fn(usize) -> [usize; 2]; 3] =
            [|_| [0, 1], |_| [1, 0], |step| if step % 3 == 0 { [0, 1] } else { [1, 0] }];
        for order in orders {
            let heard = steps(order);
            let first = heard.iter().position(|s| *s != 0).unwrap();
            assert!(first <= 3, "{heard:?}");
            assert!(heard[first..].windows(2).all(|pair| pair[1] == pair[0] + 1), "{heard:?}");
        }
    }

    #[test]
    fn what_was_said_before_leaving_is_heard_to_its_end() {
        let mixer = Mixer::new(BridgeId::from("b"));
        let mut stays = mixer.sit(Some("stays".to_owned()), None).unwrap();
        let mut leaves = mixer.sit(Some("leaves".to_owned()), None).unwrap();
        leaves.exchange(&[5; LINE_FRAME_SAMPLES]).unwrap();
        drop(leaves);
        assert_eq!(stays.exchange(&[0; LINE_FRAME_SAMPLES]).unwrap().frame[0], 5);
        assert_eq!(stays.exchange(&[0; LINE_FRAME_SAMPLES]).unwrap().frame[0], 0);
    }

    #[test]
    fn a_bridge_that_was_taken_down_seats_nobody() {
        let mixer = Mixer::new(BridgeId::from("b"));
        let mut seat = mixer.sit(Some("a".to_owned()), None).unwrap();
        mixer.close();
        assert!(seat.exchange(&[0; LINE_FRAME_SAMPLES]).is_none());
        assert!(mixer.sit(Some("b".to_owned()), None).is_err());
    }

    #[test]
    fn a_bridge_is_full_some_time() {
        let mixer = Mixer::new(BridgeId::from("b"));
        let seats: Vec<_> = (0..MAX_SEATS).map(|_| mixer.sit(Some("a".to_owned()), None).unwrap()).collect();
        assert!(matches!(mixer.sit(Some("b".to_owned()), None), Err(CallError::LimitExceeded(_))));
        drop(seats);
        assert!(mixer.sit(Some("b".to_owned()), None).is_ok());
    }
}
