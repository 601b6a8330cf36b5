//! The caller: goes through a script, given the time and what is going on.

use std::sync::Arc;
use std::time::Duration;

use voxtra_core::verbs::DTMF_DIGITS;

use super::script::{Script, Speech, Step};
use super::{LineFrame, mix_into};

/// How long a key is held and how long the finger needs to the next: an unhurried human.
pub(super) const KEY_HELD: Duration = Duration::from_millis(120);
const KEY_GAP: Duration = Duration::from_millis(80);

/// What a caller notices of the call.
pub(super) struct Surroundings<'a> {
    pub(super) answered: bool,
    /// The prompt that plays.
    pub(super) prompt: Option<&'a str>,
    /// How long nothing was heard.
    pub(super) silent_for: Duration,
}

/// What a caller does.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Act {
    Press(char),
    StartToSpeak(String),
    StopToSpeak,
    Complain(String),
    HangUp,
}

/// A caller in the middle of a script.
pub(super) struct Caller {
    steps: std::vec::IntoIter<Step>,
    doing: Option<Doing>,
    /// When the present step began, or the next will: not held back by the length of a frame, so that errors of
    /// rounding do not add up.
    since: Duration,
}

enum Doing {
    Waiting(Duration),
    ForAnswer,
    ForPrompt(String),
    ForSilence(Duration),
    Pressing(std::vec::IntoIter<char>, Duration),
    Speaking(Arc<[i16]>, usize),
    ForHangUp(Duration),
    /// Hung up.
    Gone,
}

impl Caller {
    pub(super) fn new(script: &Script) -> Self {
        Self { steps: script.steps().to_vec().into_iter(), doing: None, since: Duration::ZERO }
    }

    /// How many steps have not begun.
    pub(super) fn steps_left(&self) -> usize {
        self.steps.len()
    }

    /// What the caller says in the 20 ms that end now.
    pub(super) fn speak(&mut self, frame: &mut LineFrame) {
        if let Some(Doing::Speaking(samples, position)) = &mut self.doing {
            let rest = samples.get(*position..).unwrap_or_default();
            mix_into(frame, 0, rest.iter().copied());
            *position += frame.len().min(rest.len());
        }
    }

    /// Does what is due.
    pub(super) fn act(&mut self, now: Duration, around: &Surroundings<'_>, mut act: impl FnMut(Act)) {
        loop {
            let Some(doing) = &mut self.doing else {
                let Some(step) = self.steps.next() else { return };
                self.doing = Some(begin(step, self.since, &mut act));
                continue;
            };
            let since = self.since;
            let done_at = match doing {
                Doing::Waiting(until) => (*until <= now).then_some(*until),
                Doing::ForAnswer => around.answered.then_some(now),
                Doing::ForPrompt(name) => around.prompt.is_some_and(|p| p.contains(name.as_str())).then_some(now),
                Doing::ForSilence(time) => (around.silent_for.min(now.saturating_sub(since)) >= *time).then_some(now),
                Doing::Pressing(keys, next_at) => press_due(keys, next_at, now, &mut act),
                Doing::Speaking(samples, position) => (*position >= samples.len()).then(|| {
                    act(Act::StopToSpeak);
                    now
                }),
                Doing::ForHangUp(limit) if now.saturating_sub(since) >= *limit => {
                    act(Act::Complain(format!("the other side had not hung up after {} ms", limit.as_millis())));
                    act(Act::HangUp);
                    self.doing = Some(Doing::Gone);
                    return;
                }
                Doing::ForHangUp(_) | Doing::Gone => None,
            };
            let Some(done_at) = done_at else { return };
            self.since = done_at;
            self.doing = None;
        }
    }
}

fn begin(step: Step, since: Duration, act: &mut impl FnMut(Act)) -> Doing {
    match step {
        Step::Wait(time) => Doing::Waiting(since.saturating_add(time)),
        Step::WaitForAnswer => Doing::ForAnswer,
        Step::WaitForPrompt(name) => Doing::ForPrompt(name),
        Step::WaitForSilence(time) => Doing::ForSilence(time),
        Step::Press(keys) => {
            let keys: Vec<char> = keys.chars().filter(|k| DTMF_DIGITS.contains(*k)).collect();
            Doing::Pressing(keys.into_iter(), since)
        }
        Step::Say(Speech { name, samples }) => {
            act(Act::StartToSpeak(name));
            Doing::Speaking(samples, 0)
        }
        Step::HangUp => {
            act(Act::HangUp);
            Doing::Gone
        }
        Step::ExpectHangUp(limit) => Doing::ForHangUp(limit),
    }
}

/// Presses the keys whose time has come; the time of the end once all are pressed and the last was let go.
fn press_due(
    keys: &mut std::vec::IntoIter<char>,
    next_at: &mut Duration,
    now: Duration,
    act: &mut impl FnMut(Act),
) -> Option<Duration> {
    while *next_at <= now {
        let Some(key) = keys.next() else { return Some(*next_at) };
        act(Act::Press(key));
        *next_at = next_at.saturating_add(KEY_HELD + KEY_GAP);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Surroundings<'_> = Surroundings { answered: false, prompt: None, silent_for: Duration::ZERO };

    fn acts(script: Script, until_ms: u64) -> Vec<(u64, Act)> {
        let mut caller = Caller::new(&script);
        let mut acts = Vec::new();
        for now_ms in (0..=until_ms).step_by(20) {
            caller.speak(&mut [0; super::super::LINE_FRAME_SAMPLES]);
            caller.act(Duration::from_millis(now_ms), &NOTHING, |act| acts.push((now_ms, act)));
        }
        acts
    }

    #[test]
    fn keys_are_200_ms_apart() {
        let script = Script::new().wait(Duration::from_millis(100)).press("12").press("3").hang_up();
        let wanted = [(100, Act::Press('1')), (300, Act::Press('2')), (500, Act::Press('3')), (700, Act::HangUp)];
        assert_eq!(acts(script, 2_000), wanted);
    }

    #[test]
    fn waits_that_are_no_multiple_of_a_frame_do_not_drift() {
        let mut script = Script::new();
        for _ in 0..100 {
            script = script.wait(Duration::from_millis(15));
        }
        assert_eq!(acts(script.press("1"), 3_000), [(1_500, Act::Press('1'))]);
    }

    #[test]
    fn speech_lasts_as_long_as_its_samples() {
        let script = Script::new().say("x", vec![1; 1_600]).press("1");
        let wanted = [(0, Act::StartToSpeak("x".to_owned())), (200, Act::StopToSpeak), (200, Act::Press('1'))];
        assert_eq!(acts(script, 1_000), wanted);
    }

    #[test]
    fn who_has_hung_up_does_nothing_more() {
        assert_eq!(acts(Script::new().hang_up().press("1"), 1_000), [(0, Act::HangUp)]);
    }
}
