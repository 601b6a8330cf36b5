//! What the simulated PBX plays to the caller: one list of prompts after the other, and the keys that the host sends.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use voxtra_audio::tone::Tone;
use voxtra_core::PlaybackId;

use super::sounds::{Sound, Sounds};
use super::{LINE_FRAME_SAMPLES, LINE_RATE_HZ, LineFrame, line_time, mix_into};

/// The most lists that wait to be played, and the most entries of one.
pub(super) const MAX_WAITING_PLAYBACKS: usize = 32;
pub(super) const MAX_MEDIA: usize = 256;

/// How long a key that the host sends sounds, the silence after it, and the pause that a `w` stands for.
const KEY_MS: u32 = 100;
const PAUSE_MS: u32 = 500;

/// The most keys that wait to be sent, in samples: a minute.
const MAX_WAITING_KEY_SAMPLES: usize = LINE_RATE_HZ as usize * 60;

/// Something about a prompt.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// An entry began.
    Started { media: String, at: Duration },
    /// An entry is over.
    Ended { media: String, at: Duration, outcome: Result<(), String> },
    /// A whole list is over.
    Finished { id: PlaybackId, outcome: Result<(), String> },
}

/// Everything that is to be played.
#[derive(Default)]
pub(super) struct Ear {
    playbacks: VecDeque<Playback>,
    keys: VecDeque<i16>,
}

struct Playback {
    id: PlaybackId,
    media: VecDeque<String>,
    current: Option<Playing>,
    /// It begins with a whole frame, not in one that is under way.
    not_before: Duration,
}

struct Playing {
    media: String,
    parts: VecDeque<Arc<[i16]>>,
    again: Option<Arc<[i16]>>,
    position: usize,
}

impl Ear {
    /// Queues a list at this time; false when too many wait.
    pub(super) fn play(&mut self, id: PlaybackId, media: Vec<String>, now: Duration) -> bool {
        let fits = self.playbacks.len() < MAX_WAITING_PLAYBACKS;
        if fits {
            self.playbacks.push_back(Playback { id, media: media.into(), current: None, not_before: now });
        }
        fits
    }

    /// Takes a list out; whether it was there, and which of its entries was playing.
    pub(super) fn stop(&mut self, id: &PlaybackId) -> Option<Option<String>> {
        let at = self.playbacks.iter().position(|p| p.id == *id)?;
        let playback = self.playbacks.remove(at)?;
        Some(playback.current.map(|playing| playing.media))
    }

    /// Queues keys; false when too many wait.
    pub(super) fn send_keys(&mut self, keys: &str) -> bool {
        let silence = |ms: u32| std::iter::repeat_n(0, (LINE_RATE_HZ / 1000 * ms) as usize);
        for key in keys.chars() {
            if self.keys.len() > MAX_WAITING_KEY_SAMPLES {
                return false;
            }
            match key {
                'w' | 'W' => self.keys.extend(silence(PAUSE_MS)),
                key => {
                    let tone = Tone::dtmf(key, LINE_RATE_HZ).map(|mut t| t.take_ms(KEY_MS, LINE_RATE_HZ));
                    self.keys.extend(tone.unwrap_or_default());
                    self.keys.extend(silence(KEY_MS));
                }
            }
        }
        true
    }

    /// The entry that plays.
    pub(super) fn playing(&self) -> Option<&str> {
        self.playbacks.front()?.current.as_ref().map(|playing| playing.media.as_str())
    }

    /// Adds the next 20 ms to a frame that begins at this time.
    pub(super) fn hear(
        &mut self,
        sounds: &Sounds,
        frame: &mut LineFrame,
        begins: Duration,
        mut tell: impl FnMut(Heard),
    ) {
        let keys = self.keys.len().min(LINE_FRAME_SAMPLES);
        mix_into(frame, 0, self.keys.drain(..keys));
        let mut offset = 0;
        while let Some(playback) = self.playbacks.front_mut() {
            let at = begins + line_time(offset);
            if playback.not_before > begins {
                return;
            }
            if let Some(playing) = &mut playback.current {
                offset = playing.add_to(frame, offset);
                if !playing.is_over() {
                    return;
                }
                let media = std::mem::take(&mut playing.media);
                playback.current = None;
                tell(Heard::Ended { media, at: begins + line_time(offset), outcome: Ok(()) });
            } else if playback.media.is_empty() {
                tell(Heard::Finished { id: playback.id.clone(), outcome: Ok(()) });
                self.playbacks.pop_front();
            } else if offset == LINE_FRAME_SAMPLES {
                return;
            } else if let Some(media) = playback.media.pop_front() {
                tell(Heard::Started { media: media.clone(), at });
                match sounds.resolve(&media) {
                    Ok(sound) => playback.current = Some(Playing::new(media, sound)),
                    Err(why) => {
                        tell(Heard::Ended { media, at, outcome: Err(why.clone()) });
                        tell(Heard::Finished { id: playback.id.clone(), outcome: Err(why) });
                        self.playbacks.pop_front();
                    }
                }
            }
        }
    }
}

impl Playing {
    fn new(media: String, sound: Sound) -> Self {
        // What has no samples could never go on.
        let again = sound.again.filter(|samples| !samples.is_empty());
        Self { media, parts: sound.once.into(), again, position: 0 }
    }

    /// Adds samples from an offset on; returns the offset after them.
    fn add_to(&mut self, frame: &mut LineFrame, mut offset: usize) -> usize {
        while offset < LINE_FRAME_SAMPLES && !self.is_over() {
            let part = self.parts.front().or(self.again.as_ref());
            let rest = part.and_then(|p| p.get(self.position..)).unwrap_or_default();
            let taken = rest.len().min(LINE_FRAME_SAMPLES - offset);
            mix_into(frame, offset, rest.iter().copied().take(taken));
            offset += taken;
            self.position += taken;
            self.go_on();
        }
        offset
    }

    /// Drops the parts that are over.
    fn go_on(&mut self) {
        if self.parts.front().or(self.again.as_ref()).is_some_and(|part| self.position >= part.len()) {
            self.parts.pop_front();
            self.position = 0;
        }
    }

    fn is_over(&self) -> bool {
        self.again.is_none() && self.parts.is_empty()
    }
}
