//! A telephone line without a network: an adapter of the telephony port whose callers follow scripts.
//!
//! [`Simulator::place_call`] rings at a [`Switchboard`](voxtra_core::Switchboard) exactly as a PBX would; what the host
//! then does goes through the same [`Leg`](voxtra_core::Leg) and the same media link. The call's [`CallReport`] holds
//! what the caller heard and said, and becomes a WAV file and a drawing.
//!
//! Time is tokio's and nothing else's, so under `tokio::time::pause()` a call of ten minutes takes milliseconds and two
//! runs give the same report to the sample. One task owns a call and takes a step every 20 ms; calls meet in bridges,
//! where a lock guards the audio on its way between two of them, and nothing else.
//!
//! Legs that the host places ([`Simulator::exchange`]) reach a [`Callee`]; each is a line like a caller's, with a report
//! of its own ([`Simulator::placed_calls`]). Bridges mix the lines' audio, snoops tap it, and recordings by the PBX are
//! kept in memory.
//!
//! What it does not do: no jitter, no loss, no codec; the line is 8 kHz, and a key makes no sound in the caller's own
//! audio (as with RFC 4733).

mod bridge;
mod callee;
mod caller;
mod ear;
mod exchange;
mod leg;
mod line;
mod line_verbs;
mod link;
mod mixer;
mod music;
mod options;
mod prompts;
mod report;
mod script;
mod snoop;
mod sounds;
mod stored;
mod tape;
pub mod timeline;
mod tones;

#[cfg(test)]
mod tests;

pub use callee::{Callee, DEFAULT_ANSWER_AFTER, Response};
pub use options::{CallLost, CallerOptions, EventListener, SimulatedCall, Simulator, SimulatorOptions};
pub use report::{CallReport, CallerEvent, EndedBy, PlayedPrompt, PromptEnd, TimedEvent};
pub use script::{Script, ScriptError, Speech, Step};
pub use sounds::{SoundsError, shipped_prompts};
pub use timeline::Timeline;

/// The rate of the caller's line: that of the telephone network.
pub const LINE_RATE_HZ: u32 = 8_000;

/// The samples of 20 ms of the line.
const LINE_FRAME_SAMPLES: usize = (LINE_RATE_HZ / 1000 * voxtra_core::media::FRAME_MS) as usize;

/// How long a step of the line lasts.
const FRAME: std::time::Duration = std::time::Duration::from_millis(voxtra_core::media::FRAME_MS as u64);

/// 20 ms of the line.
type LineFrame = [i16; LINE_FRAME_SAMPLES];

/// How long so many samples of the line last.
fn line_time(samples: usize) -> std::time::Duration {
    const NS_PER_SAMPLE: u64 = 1_000_000_000 / LINE_RATE_HZ as u64;
    std::time::Duration::from_nanos(samples as u64 * NS_PER_SAMPLE)
}

/// Adds samples to a frame from an offset on; what does not fit is left out, what is too loud is cut.
fn mix_into(frame: &mut LineFrame, offset: usize, samples: impl IntoIterator<Item = i16>) {
    for (sum, sample) in frame.iter_mut().skip(offset).zip(samples) {
        *sum = sum.saturating_add(sample);
    }
}
