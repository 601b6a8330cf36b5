//! Tells an answering machine from a person who answers a call, and hears the beep after which a message is left.
//!
//! A person says little and waits ("Hello?"); a machine talks on. So what is measured is how long it takes until
//! somebody speaks, how long they speak, in how many words, and whether they then wait. All of it is said in
//! milliseconds of [`DetectorOptions`]; the clock is the audio itself.
//!
//! | heard first | verdict | [`Reason`] | default |
//! | --- | --- | --- | --- |
//! | a steady tone | machine | [`Reason::Beep`] | 350 to 2,000 Hz for 100 ms |
//! | a greeting that goes on longer than | machine | [`Reason::LongGreeting`] | 2,000 ms |
//! | more words than | machine | [`Reason::ManyWords`] | 5 |
//! | after a greeting, silence for | human | [`Reason::ShortGreeting`] | 800 ms |
//! | nobody speaks for | not sure | [`Reason::InitialSilence`] | 2,500 ms |
//! | none of these within | not sure | [`Reason::OutOfTime`] | 5,000 ms |
//!
//! What differs from Asterisk's `AMD()` (its `amd.conf`: 2,500 ms of initial silence, greeting 1,500, silence after it
//! 800, words of at least 100 ms with 50 ms between them, 5,000 ms in all, a fixed threshold of 256): nobody speaking is
//! not taken for a machine; a greeting is measured from its first word to its last, with the pauses; the threshold
//! follows the noise of the line; a steady sound (a fan, a tone) is not speech; and the beep is heard.

use std::f64::consts::TAU;

use voxtra_core::media::LINK_RATES_HZ;
use voxtra_core::verbs::AnsweredBy;

/// The rate at which everything is measured; what a telephone line carries.
const ANALYSIS_HZ: u32 = 8_000;

/// One measurement: shorter than a pause between two words, longer than a period of the lowest voice.
const BLOCK_MS: u32 = 10;

/// Its samples.
const BLOCK_SAMPLES: usize = (ANALYSIS_HZ * BLOCK_MS / 1_000) as usize;

/// A sound is looked at for so long before it is called steady. Vowels are shorter, or change.
const STEADY_AFTER_MS: u32 = 300;

/// A sound whose loudest block is less than so many times its quietest is steady. White noise in blocks of 10 ms stays
/// below 1.7; speech is above 3.
const STEADY_RATIO: f64 = 2.0;

/// How much louder than the noise speech is: 6 dB.
const ABOVE_NOISE: f64 = 2.0;

/// The noise is not taken for louder than this (about -24 dBFS), or nobody could be heard above it.
const MAX_NOISE: f64 = 2_000.0;

/// How much of a block's power one frequency has in a tone; in a vowel it is spread over the harmonics.
const TONE_SHARE: f64 = 0.85;

/// How far a measurement of a tone's frequency may be off its mean: half of what 20 ms of audio can tell apart.
const TONE_DRIFT_HZ: f64 = 25.0;

/// A tone is measured over two blocks, so that 350 Hz has seven periods in it.
const TONE_SAMPLES: usize = 2 * BLOCK_SAMPLES;

/// A tone that lasts longer is no beep, but a tone of the line.
const MAX_BEEP_MS: u32 = 2_000;

/// What is told from what; all lengths in milliseconds, counted in audio, to the next 10.
#[derive(Debug, Clone, PartialEq)]
pub struct DetectorOptions {
    /// Nobody speaks for so long: not sure. Default 2,500.
    pub initial_silence_ms: u32,
    /// A greeting is longer, from its first word to its last: a machine. Default 2,000.
    pub greeting_ms: u32,
    /// Silence after a greeting: a person. Default 800.
    pub after_greeting_silence_ms: u32,
    /// A greeting has more words: a machine. Default 5.
    pub max_words: u32,
    /// A shorter sound is no word. Default 100.
    pub min_word_ms: u32,
    /// A shorter silence does not part two words. Default 50.
    pub between_words_ms: u32,
    /// There is a verdict after so long at the latest. Default 5,000.
    pub total_ms: u32,
    /// What is quieter is silence, whatever the noise of the line: the root of the mean square of 10 ms, 0 to 32,767.
    /// Default 256 (-42 dBFS).
    pub silence_level: u16,
    /// A steady tone of at least so long is a beep. Default 100.
    pub min_beep_ms: u32,
    /// The lowest beep, in hertz. Default 350.
    pub min_beep_hz: u32,
    /// The highest, in hertz, up to 3,400. Default 2,000.
    pub max_beep_hz: u32,
}

impl Default for DetectorOptions {
    fn default() -> Self {
        Self {
            initial_silence_ms: 2_500,
            greeting_ms: 2_000,
            after_greeting_silence_ms: 800,
            max_words: 5,
            min_word_ms: 100,
            between_words_ms: 50,
            total_ms: 5_000,
            silence_level: 256,
            min_beep_ms: 100,
            min_beep_hz: 350,
            max_beep_hz: 2_000,
        }
    }
}

/// Who answered, and how it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Who.
    pub answered_by: AnsweredBy,
    /// How it was told.
    pub reason: Reason,
    /// After how much audio.
    pub after_ms: u32,
}

/// How a verdict came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// A beep.
    Beep,
    /// A greeting that went on.
    LongGreeting,
    /// A greeting of many words.
    ManyWords,
    /// A short greeting, and somebody who waits.
    ShortGreeting,
    /// Nobody spoke.
    InitialSilence,
    /// It could not be told in time, or before the audio ended.
    OutOfTime,
}

impl Reason {
    /// A stable name for logs, events and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Beep => "beep",
            Self::LongGreeting => "long-greeting",
            Self::ManyWords => "many-words",
            Self::ShortGreeting => "short-greeting",
            Self::InitialSilence => "initial-silence",
            Self::OutOfTime => "out-of-time",
        }
    }
}

/// A beep that is over: now a message may be left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beep {
    /// How high, in hertz.
    pub hz: u32,
    /// How long, in milliseconds.
    pub length_ms: u32,
}

/// What a piece of audio has told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Findings {
    /// The verdict, once.
    pub verdict: Option<Verdict>,
    /// A beep that ended; also after the verdict.
    pub beep: Option<Beep>,
}

/// A detection that goes on. It has no clock and does not allocate after [`MachineDetection::new`].
#[derive(Debug, Clone)]
pub struct MachineDetection {
    options: DetectorOptions,
    decimator: Decimator,
    block: Vec<i16>,
    /// The block before, for tones.
    tone_window: Vec<i16>,
    heard_ms: u32,
    speech: Speech,
    tone: Tone,
    decided: bool,
}

impl MachineDetection {
    /// Begins to listen; the audio starts with the answer. `None` when the rate is none of [`LINK_RATES_HZ`].
    pub fn new(options: DetectorOptions, rate_hz: u32) -> Option<Self> {
        LINK_RATES_HZ.contains(&rate_hz).then(|| Self {
            decimator: Decimator::new(rate_hz),
            block: Vec::with_capacity(BLOCK_SAMPLES),
            tone_window: Vec::with_capacity(TONE_SAMPLES),
            heard_ms: 0,
            speech: Speech::default(),
            tone: Tone::default(),
            decided: false,
            options,
        })
    }

    /// Listens to some audio; how it is cut into pieces makes no difference, but for where several findings would fall
    /// into one piece: of several beeps the last is told.
    pub fn push(&mut self, samples: impl IntoIterator<Item = i16>) -> Findings {
        let mut findings = Findings::default();
        for sample in samples {
            let Some(sample) = self.decimator.push(sample) else { continue };
            self.block.push(sample);
            if self.block.len() == BLOCK_SAMPLES {
                self.listen(&mut findings);
                self.block.clear();
            }
        }
        findings
    }

    /// The audio has ended: the verdict, if there was none.
    pub fn finish(&mut self) -> Option<Verdict> {
        let undecided = !self.decided;
        self.decided = true;
        undecided.then_some(Verdict {
            answered_by: AnsweredBy::NotSure,
            reason: if self.speech.greeting.is_some() { Reason::OutOfTime } else { Reason::InitialSilence },
            after_ms: self.heard_ms,
        })
    }

    fn listen(&mut self, findings: &mut Findings) {
        self.heard_ms = self.heard_ms.saturating_add(BLOCK_MS);
        let level = rms(&self.block);
        self.tone_window.extend_from_slice(&self.block);
        if self.tone_window.len() > TONE_SAMPLES {
            self.tone_window.drain(..BLOCK_SAMPLES);
        }
        if let Some(beep) = self.tone.hear(tone_hz(&self.tone_window, &self.options), &self.options) {
            findings.beep = Some(beep);
        }
        if self.decided {
            return;
        }
        self.speech.hear(level, self.heard_ms, &self.options);
        if let Some((answered_by, reason)) = self.judge() {
            self.decided = true;
            findings.verdict = Some(Verdict { answered_by, reason, after_ms: self.heard_ms });
        }
    }

    fn judge(&self) -> Option<(AnsweredBy, Reason)> {
        let options = &self.options;
        if self.tone.is_beep(options) {
            return Some((AnsweredBy::Machine, Reason::Beep));
        }
        match self.speech.greeting {
            Some(greeting) => {
                if greeting.length_ms() > options.greeting_ms {
                    return Some((AnsweredBy::Machine, Reason::LongGreeting));
                }
                if greeting.words > options.max_words {
                    return Some((AnsweredBy::Machine, Reason::ManyWords));
                }
                // What may yet become a word is not silence.
                let silence_ms = self.heard_ms.saturating_sub(greeting.to_ms);
                if self.speech.sound.is_none() && silence_ms >= options.after_greeting_silence_ms {
                    return Some((AnsweredBy::Human, Reason::ShortGreeting));
                }
            }
            None if self.speech.sound.is_none() && self.heard_ms >= options.initial_silence_ms => {
                return Some((AnsweredBy::NotSure, Reason::InitialSilence));
            }
            None => {}
        }
        (self.heard_ms >= options.total_ms).then_some((AnsweredBy::NotSure, Reason::OutOfTime))
    }
}

/// What was said so far.
#[derive(Debug, Clone, Default)]
struct Speech {
    greeting: Option<Greeting>,
    sound: Option<Sound>,
    /// The loudest steady sound so far.
    noise: f64,
}

#[derive(Debug, Clone, Copy)]
struct Greeting {
    from_ms: u32,
    to_ms: u32,
    words: u32,
}

impl Greeting {
    fn length_ms(&self) -> u32 {
        self.to_ms.saturating_sub(self.from_ms)
    }
}

/// A sound that goes on, or has just paused.
#[derive(Debug, Clone, Copy)]
struct Sound {
    from_ms: u32,
    /// The end of its last loud block.
    to_ms: u32,
    /// Of its blocks without the first, which it shares with the silence before.
    quietest: f64,
    loudest: f64,
    /// It was counted as a word already.
    counted: bool,
}

impl Sound {
    fn length_ms(&self) -> u32 {
        self.to_ms.saturating_sub(self.from_ms)
    }

    fn is_steady(&self) -> bool {
        self.loudest < self.quietest * STEADY_RATIO
    }
}

impl Speech {
    fn hear(&mut self, level: f64, now_ms: u32, options: &DetectorOptions) {
        let threshold = f64::from(options.silence_level).max(self.noise.min(MAX_NOISE) * ABOVE_NOISE);
        if level > threshold {
            self.hear_sound(level, now_ms);
        }
        let Some(sound) = &mut self.sound else { return };
        let paused_ms = now_ms.saturating_sub(sound.to_ms);
        if sound.length_ms() >= STEADY_AFTER_MS && !sound.counted && sound.is_steady() {
            self.noise = self.noise.max(sound.loudest);
            self.sound = None;
            return;
        }
        let over = paused_ms >= options.between_words_ms.max(BLOCK_MS);
        // A longer sound is a word at once, a short one when it is known that it is not the beginning of a steady one.
        let is_word = sound.length_ms() >= options.min_word_ms && (over || sound.length_ms() >= STEADY_AFTER_MS);
        if is_word {
            let greeting =
                self.greeting.get_or_insert(Greeting { from_ms: sound.from_ms, to_ms: sound.to_ms, words: 0 });
            greeting.to_ms = sound.to_ms;
            greeting.words = greeting.words.saturating_add(u32::from(!sound.counted));
            sound.counted = true;
        }
        if over {
            self.sound = None;
        }
    }

    fn hear_sound(&mut self, level: f64, now_ms: u32) {
        match &mut self.sound {
            Some(sound) => {
                sound.to_ms = now_ms;
                sound.quietest = sound.quietest.min(level);
                sound.loudest = sound.loudest.max(level);
            }
            None => {
                let from_ms = now_ms.saturating_sub(BLOCK_MS);
                self.sound =
                    Some(Sound { from_ms, to_ms: now_ms, quietest: f64::INFINITY, loudest: 0.0, counted: false });
            }
        }
    }
}

/// A tone that goes on.
#[derive(Debug, Clone, Default)]
struct Tone {
    hz: f64,
    length_ms: u32,
}

impl Tone {
    /// Takes a measurement; a beep when one has ended with it.
    fn hear(&mut self, hz: Option<f64>, options: &DetectorOptions) -> Option<Beep> {
        match hz {
            Some(hz) if self.length_ms > 0 && (hz - self.hz).abs() <= TONE_DRIFT_HZ => {
                // The mean follows slowly, so that a glide is no tone.
                self.hz += (hz - self.hz) / 8.0;
                self.length_ms = self.length_ms.saturating_add(BLOCK_MS);
                None
            }
            next => {
                let was_beep = self.is_beep(options) && self.length_ms <= MAX_BEEP_MS;
                let beep = was_beep.then_some(Beep { hz: self.hz.round() as u32, length_ms: self.length_ms });
                *self = match next {
                    // The first measurement spans two blocks.
                    Some(hz) => Self { hz, length_ms: 2 * BLOCK_MS },
                    None => Self::default(),
                };
                beep
            }
        }
    }

    fn is_beep(&self, options: &DetectorOptions) -> bool {
        self.length_ms > 0 && self.length_ms >= options.min_beep_ms
    }
}

/// The frequency of these samples, when they are one tone.
///
/// Pisarenko's estimate, which white noise does not bend: for a sine the correlations at a distance of one and of two
/// samples are `cos(w)` and `cos(2w)`. Goertzel's filter then tells how much of the power is there.
fn tone_hz(samples: &[i16], options: &DetectorOptions) -> Option<f64> {
    if samples.len() < TONE_SAMPLES || rms(samples) < f64::from(options.silence_level.max(1)) {
        return None;
    }
    let (mut at_one, mut at_two) = (0.0, 0.0);
    for three in samples.windows(3) {
        let [before, at, after] = *three else { continue };
        at_one += f64::from(at) * (f64::from(before) + f64::from(after)) / 2.0;
        at_two += f64::from(before) * f64::from(after);
    }
    if at_one == 0.0 {
        return None;
    }
    let cos = (at_two + (at_two * at_two + 8.0 * at_one * at_one).sqrt()) / (4.0 * at_one);
    let angle = cos.clamp(-1.0, 1.0).acos();
    let hz = angle / TAU * f64::from(ANALYSIS_HZ);
    let in_range = hz >= f64::from(options.min_beep_hz) && hz <= f64::from(options.max_beep_hz.min(3_400));
    (in_range && share_of(samples, angle) >= TONE_SHARE).then_some(hz)
}

/// How much of the power is at this angle a sample (Goertzel), 0 to about 1.
fn share_of(samples: &[i16], angle: f64) -> f64 {
    let twice_cos = 2.0 * angle.cos();
    let (mut last, mut before, mut power) = (0.0, 0.0, 0.0);
    for sample in samples {
        let sample = f64::from(*sample);
        (last, before) = (sample + twice_cos * last - before, last);
        power += sample * sample;
    }
    let found = last * last + before * before - twice_cos * last * before;
    if power > 0.0 { 2.0 * found / (power * samples.len() as f64) } else { 0.0 }
}

fn rms(samples: &[i16]) -> f64 {
    let power: f64 = samples.iter().map(|sample| f64::from(*sample) * f64::from(*sample)).sum();
    (power / samples.len().max(1) as f64).sqrt()
}

/// Brings a rate down to [`ANALYSIS_HZ`] by means of so many samples: what is above is folded down, but weakly, and here
/// only levels and low tones count.
#[derive(Debug, Clone)]
struct Decimator {
    factor: i32,
    taken: i32,
    sum: i32,
}

impl Decimator {
    fn new(rate_hz: u32) -> Self {
        // 1 to 6.
        Self { factor: (rate_hz / ANALYSIS_HZ).clamp(1, 6) as i32, taken: 0, sum: 0 }
    }

    fn push(&mut self, sample: i16) -> Option<i16> {
        self.taken += 1;
        self.sum += i32::from(sample);
        if self.taken < self.factor {
            return None;
        }
        let mean = self.sum / self.factor;
        (self.taken, self.sum) = (0, 0);
        i16::try_from(mean).ok()
    }
}

#[cfg(test)]
mod tests;
