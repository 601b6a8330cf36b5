//! Whether a call of the demo did what it should. Judged by what the caller heard, not by what the host says.

use std::time::Duration;

use voxtra_core::HangupCause;
use voxtra_telephony::simulator::{CallReport, CallerEvent, EndedBy, LINE_RATE_HZ, PlayedPrompt, PromptEnd};

use crate::rig::Call;

/// An echo comes back within this.
const MAX_ECHO_DELAY: Duration = Duration::from_millis(400);

/// How alike speech and echo must be, 1 being the same. A codec on the way would leave more than 0.99.
const MIN_LIKENESS: f64 = 0.95;

/// Louder than the noise of a quiet line, softer than any voice: the root mean square of 16-bit samples.
const AUDIBLE_RMS: f64 = 100.0;

/// The menu was heard, the key was taken, what it leads to was heard, and the host hung up.
pub(super) fn menu(call: &Call, key: &str) -> Result<Vec<String>, String> {
    did_its_work(call)?;
    let report = &call.report;
    let mut seen = vec![prompt_heard(report, "sound:hello-world")?];
    let pressed = report.times_of(|e| matches!(e, CallerEvent::Pressed(_)));
    let pressed = *pressed.first().ok_or("the caller pressed no key")?;
    seen.push(format!("the caller pressed {key} at {:.1} s", pressed.as_secs_f64()));
    let said_back = format!("digits:{key}");
    let after =
        report.prompts.iter().find(|p| p.media == said_back && p.from >= pressed && p.end == PromptEnd::Finished);
    let after = after.ok_or_else(|| format!("the key was not said back (`{said_back}`)"))?;
    audible(report, after)?;
    seen.push(format!("the handler said the key back at {:.1} s", after.from.as_secs_f64()));
    seen.push(hung_up_by_host(report)?);
    Ok(seen)
}

/// What the caller said came back, and the caller hung up.
pub(super) fn echo(call: &Call) -> Result<Vec<String>, String> {
    did_its_work(call)?;
    let report = &call.report;
    let (likeness, delay) = likeness(&report.said, &report.heard);
    if likeness < MIN_LIKENESS {
        return Err(format!("what came back is not what was said (likeness {likeness:.2})"));
    }
    if report.ended_by != EndedBy::Caller {
        return Err(format!("the call did not end by the caller: {}", report.ended_by));
    }
    if report.dropped_frames > 0 {
        return Err(format!("{} frames of the caller's voice were dropped", report.dropped_frames));
    }
    Ok(vec![format!("the caller's words came back after {} ms (likeness {likeness:.3})", delay.as_millis())])
}

/// The handler failed, the prompt for that was heard to its end, and the host hung up.
pub(super) fn failure_prompt(call: &Call, prompt: &str) -> Result<Vec<String>, String> {
    let why = call.handler_failure().ok_or("the handler did not fail")?;
    Ok(vec![format!("the handler failed: {why}"), prompt_heard(&call.report, prompt)?, hung_up_by_host(&call.report)?])
}

fn did_its_work(call: &Call) -> Result<(), String> {
    match call.handler_failure() {
        None => Ok(()),
        Some(why) => Err(format!("the handler failed: {why}")),
    }
}

fn prompt_heard(report: &CallReport, media: &str) -> Result<String, String> {
    let prompt = report.prompts.iter().find(|p| p.media == media && p.end == PromptEnd::Finished);
    let prompt = prompt.ok_or_else(|| format!("the prompt {media} was not played to its end"))?;
    audible(report, prompt)?;
    Ok(format!("the caller heard {media} from {:.1} s to {:.1} s", prompt.from.as_secs_f64(), prompt.to.as_secs_f64()))
}

fn audible(report: &CallReport, prompt: &PlayedPrompt) -> Result<(), String> {
    let sample = |time: Duration| (time.as_secs_f64() * f64::from(LINE_RATE_HZ)) as usize;
    let heard = report.heard.get(sample(prompt.from)..sample(prompt.to).min(report.heard.len())).unwrap_or_default();
    let rms = (heard.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / heard.len().max(1) as f64).sqrt();
    if rms < AUDIBLE_RMS {
        return Err(format!("{} played, but the caller heard next to nothing (rms {rms:.0})", prompt.media));
    }
    Ok(())
}

fn hung_up_by_host(report: &CallReport) -> Result<String, String> {
    match &report.ended_by {
        EndedBy::Host(HangupCause::Normal) => Ok("the host hung up".to_owned()),
        other => Err(format!("the host should have hung up, but: {other}")),
    }
}

/// How alike the first signal is to the second one some time later: the greatest normalised correlation over all
/// delays up to [`MAX_ECHO_DELAY`], and that delay. 0 when there is nothing to compare.
fn likeness(said: &[i16], heard: &[i16]) -> (f64, Duration) {
    let steps_per_ms = LINE_RATE_HZ as usize / 1000;
    let most = MAX_ECHO_DELAY.as_millis() as usize * steps_per_ms;
    let mut best = (0.0, Duration::ZERO);
    for delay in 0..=most {
        let pairs = || said.iter().zip(heard.iter().skip(delay)).map(|(&a, &b)| (f64::from(a), f64::from(b)));
        let (mut both, mut one, mut other) = (0.0, 0.0, 0.0);
        for (a, b) in pairs() {
            both += a * b;
            one += a * a;
            other += b * b;
        }
        let alike = if one > 0.0 && other > 0.0 { both / (one * other).sqrt() } else { 0.0 };
        if alike > best.0 {
            best = (alike, Duration::from_secs_f64(delay as f64 / f64::from(LINE_RATE_HZ)));
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(n: usize) -> i16 {
        let t = n as f64 / 8_000.0;
        (9_000.0 * (t * 2_000.0 + 400.0 * t * t).sin()) as i16
    }

    #[test]
    fn an_echo_is_found_with_its_delay() {
        let said: Vec<i16> = (0..16_000).map(|n| if n < 8_000 { wave(n) } else { 0 }).collect();
        let heard: Vec<i16> =
            (0..16_000).map(|n: usize| if n < 480 { 0 } else { said.get(n - 480).copied().unwrap_or(0) / 2 }).collect();
        let (likeness, delay) = likeness(&said, &heard);
        assert!(likeness > 0.99, "{likeness}");
        assert_eq!(delay, Duration::from_millis(60));
    }

    #[test]
    fn silence_and_other_sounds_are_no_echo() {
        let said: Vec<i16> = (0..8_000).map(wave).collect();
        assert_eq!(likeness(&said, &vec![0; 8_000]).0, 0.0);
        let other: Vec<i16> = (0..8_000).map(|n: usize| (n.wrapping_mul(2_654_435_761) >> 8) as i16).collect();
        assert!(likeness(&said, &other).0 < MIN_LIKENESS);
    }
}
