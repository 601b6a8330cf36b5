//! What a simulated caller does, as data: built in code or read from one line of text. Nothing here has a clock.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use voxtra_core::verbs::{DTMF_DIGITS, MAX_DIGITS};

use super::sounds::{Sounds, read_wav_file};

/// The most steps of a script, so that a text from outside costs little.
pub(super) const MAX_STEPS: usize = 1_000;

/// The longest wait of a step: longer than any call may last.
const MAX_STEP_WAIT: Duration = Duration::from_secs(24 * 3600);

/// How long `expect hang up` waits when it names no time.
const DEFAULT_EXPECT_LIMIT: Duration = Duration::from_secs(10);

/// What a caller does, one step after the other, from the moment that the call starts to ring. After the last step the
/// caller stays on the line until the other side hangs up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Script {
    steps: Vec<Step>,
}

/// One thing that a caller does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Lets time pass.
    Wait(Duration),
    /// Waits until the call is answered.
    WaitForAnswer,
    /// Waits until a prompt plays whose name contains this; any prompt when it is empty.
    WaitForPrompt(String),
    /// Waits until nothing was heard for so long.
    WaitForSilence(Duration),
    /// Presses these keys: each held for 120 ms, then 80 ms of nothing.
    Press(String),
    /// Speaks.
    Say(Speech),
    /// Hangs up.
    HangUp,
    /// Waits for the other side to hang up; when it has not within this time, the caller does, and the report says so.
    ExpectHangUp(Duration),
}

/// Something that a caller says.
#[derive(Clone, PartialEq, Eq)]
pub struct Speech {
    /// What it is called in the report and on the timeline.
    pub name: String,
    /// Signed 16-bit mono at 8 kHz.
    pub samples: Arc<[i16]>,
}

impl fmt::Debug for Speech {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Speech({:?}, {} samples)", self.name, self.samples.len())
    }
}

/// A script that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("step {step} of the script (`{text}`): {problem}")]
pub struct ScriptError {
    /// Which, from 1.
    pub step: usize,
    /// Its text, or the beginning of it.
    pub text: String,
    /// What is wrong and what to do.
    pub problem: String,
}

impl Script {
    /// A caller who does nothing but listen.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a script. Steps stand between `;` or line ends, in any case:
    ///
    /// | step | |
    /// | --- | --- |
    /// | `wait 500ms` | `ms`, `s` or `m`, fractions too |
    /// | `wait for answer` | |
    /// | `wait for prompt [NAME]` | until one plays |
    /// | `wait for silence 1s` | until nothing was heard for so long |
    /// | `press 12#` | |
    /// | `say FILE.wav` | a WAV file; a relative path starts at `directory` |
    /// | `say sound:NAME` | a prompt, or another of the simulator's sounds: `tone:440/500`, `number:42` … |
    /// | `hang up` | |
    /// | `expect hang up [10s]` | |
    ///
    /// Reads the files that it names (blocking). Sounds are the shipped ones.
    pub fn parse(text: &str, directory: &Path) -> Result<Self, ScriptError> {
        Self::parse_with(text, |name| load_speech(name, directory))
    }

    /// Like [`Script::parse`]; `load` turns what follows `say` into samples at 8 kHz, or says in a sentence why not.
    pub fn parse_with(text: &str, mut load: impl FnMut(&str) -> Result<Vec<i16>, String>) -> Result<Self, ScriptError> {
        let mut steps = Vec::new();
        for (index, text) in text.split([';', '\n']).map(str::trim).filter(|t| !t.is_empty()).enumerate() {
            let step = index + 1;
            let fail = |problem| ScriptError { step, text: shorten(text), problem };
            if step > MAX_STEPS {
                return Err(fail(format!("a script has at most {MAX_STEPS} steps; leave some out")));
            }
            steps.push(parse_step(text, &mut load).map_err(fail)?);
        }
        Ok(Self { steps })
    }

    /// The steps, in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Adds a step.
    pub fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Adds a [`Step::Wait`].
    pub fn wait(self, time: Duration) -> Self {
        self.then(Step::Wait(time))
    }

    /// Adds a [`Step::WaitForAnswer`].
    pub fn wait_for_answer(self) -> Self {
        self.then(Step::WaitForAnswer)
    }

    /// Adds a [`Step::WaitForPrompt`].
    pub fn wait_for_prompt(self, name: impl Into<String>) -> Self {
        self.then(Step::WaitForPrompt(name.into()))
    }

    /// Adds a [`Step::WaitForSilence`].
    pub fn wait_for_silence(self, time: Duration) -> Self {
        self.then(Step::WaitForSilence(time))
    }

    /// Adds a [`Step::Press`]. What is no key is left out when it is pressed; [`Script::parse`] refuses it.
    pub fn press(self, keys: impl Into<String>) -> Self {
        self.then(Step::Press(keys.into()))
    }

    /// Adds a [`Step::Say`]; the samples are at 8 kHz.
    pub fn say(self, name: impl Into<String>, samples: impl Into<Arc<[i16]>>) -> Self {
        self.then(Step::Say(Speech { name: name.into(), samples: samples.into() }))
    }

    /// Adds a [`Step::HangUp`].
    pub fn hang_up(self) -> Self {
        self.then(Step::HangUp)
    }

    /// Adds a [`Step::ExpectHangUp`].
    pub fn expect_hang_up(self, limit: Duration) -> Self {
        self.then(Step::ExpectHangUp(limit))
    }
}

impl From<Vec<Step>> for Script {
    fn from(steps: Vec<Step>) -> Self {
        Self { steps }
    }
}

fn parse_step(text: &str, load: &mut dyn FnMut(&str) -> Result<Vec<i16>, String>) -> Result<Step, String> {
    let (verb, rest) = split_word(text);
    let (second, tail) = split_word(rest);
    match (verb.to_ascii_lowercase().as_str(), second.to_ascii_lowercase().as_str()) {
        ("wait", "for") => parse_wait_for(tail),
        ("wait", _) => Ok(Step::Wait(parse_time(rest)?)),
        ("press", _) => Ok(Step::Press(parse_keys(rest)?)),
        ("say", _) => parse_say(rest, load),
        ("hangup", "") => Ok(Step::HangUp),
        ("hang", "up") if tail.is_empty() => Ok(Step::HangUp),
        ("expect", "hangup") => Ok(Step::ExpectHangUp(parse_limit(tail)?)),
        ("expect", "hang") => match split_word(tail) {
            (up, limit) if up.eq_ignore_ascii_case("up") => Ok(Step::ExpectHangUp(parse_limit(limit)?)),
            _ => Err("write `expect hang up 10s`".to_owned()),
        },
        _ => Err("no such step; write `wait 500ms`, `wait for answer`, `wait for prompt`, `wait for silence 1s`, \
                  `press 12`, `say FILE.wav`, `hang up` or `expect hang up 10s`"
            .to_owned()),
    }
}

fn parse_wait_for(text: &str) -> Result<Step, String> {
    let (what, rest) = split_word(text);
    match (what.to_ascii_lowercase().as_str(), rest) {
        ("answer", "") => Ok(Step::WaitForAnswer),
        ("prompt", name) => Ok(Step::WaitForPrompt(name.to_owned())),
        ("silence", time) => Ok(Step::WaitForSilence(parse_time(time)?)),
        _ => {
            Err("write `wait for answer`, `wait for prompt`, `wait for prompt NAME` or `wait for silence 1s`"
                .to_owned())
        }
    }
}

fn parse_say(name: &str, load: &mut dyn FnMut(&str) -> Result<Vec<i16>, String>) -> Result<Step, String> {
    if name.is_empty() {
        return Err("name what is said: `say FILE.wav` or `say sound:hello-world`".to_owned());
    }
    Ok(Step::Say(Speech { name: name.to_owned(), samples: load(name)?.into() }))
}

fn parse_keys(text: &str) -> Result<String, String> {
    let keys: String = text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_ascii_uppercase()).collect();
    match keys.chars().find(|key| !DTMF_DIGITS.contains(*key)) {
        Some(key) => Err(format!("{key:?} is no key of a telephone; use `0` to `9`, `*`, `#`, `A` to `D`")),
        None if keys.is_empty() => Err("name the keys: `press 12#`".to_owned()),
        None if keys.len() > MAX_DIGITS as usize => Err(format!("at most {MAX_DIGITS} keys in one step; use several")),
        None => Ok(keys),
    }
}

fn parse_limit(text: &str) -> Result<Duration, String> {
    if text.is_empty() { Ok(DEFAULT_EXPECT_LIMIT) } else { parse_time(text) }
}

pub(super) fn parse_time(text: &str) -> Result<Duration, String> {
    let bad = || format!("`{}` is no time; write one such as `500ms`, `2s` or `1.5s`", shorten(text));
    let text = text.trim();
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
    let (number, unit) = text.split_at(unit_at);
    let number: f64 = number.parse().map_err(|_| bad())?;
    let seconds = match unit.trim().to_ascii_lowercase().as_str() {
        "ms" => number / 1000.0,
        "s" => number,
        "m" | "min" => number * 60.0,
        _ => return Err(bad()),
    };
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if time <= MAX_STEP_WAIT => Ok(time),
        _ => Err(format!("`{}` is too long; a step waits for at most a day", shorten(text))),
    }
}

fn load_speech(name: &str, directory: &Path) -> Result<Vec<i16>, String> {
    let is_sound = ["sound:", "digits:", "number:", "characters:", "tone:"].iter().any(|s| name.starts_with(s));
    if is_sound {
        return Sounds::shipped().samples(name);
    }
    let path: PathBuf = directory.join(name);
    read_wav_file(&path)
}

fn split_word(text: &str) -> (&str, &str) {
    match text.split_once(char::is_whitespace) {
        Some((word, rest)) => (word, rest.trim()),
        None => (text, ""),
    }
}

/// Enough of a text to find it again in its script.
pub(super) fn shorten(text: &str) -> String {
    const MAX_CHARS: usize = 60;
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Script, ScriptError> {
        Script::parse_with(text, |name| {
            if name.contains("missing") { Err("it is not there".to_owned()) } else { Ok(vec![1, 2, 3]) }
        })
    }

    #[test]
    fn every_step_can_be_written() {
        let ms = Duration::from_millis;
        let read = parse(
            "wait 500ms; Wait 1.5 s\nwait for answer; wait for prompt; wait for prompt sound:Hello; \
             wait for silence 1s; press 1 2#a; say my file.wav; expect hangup 3s; expect hang up; hang up",
        );
        let built = Script::new()
            .wait(ms(500))
            .wait(ms(1_500))
            .wait_for_answer()
            .wait_for_prompt("")
            .wait_for_prompt("sound:Hello")
            .wait_for_silence(ms(1_000))
            .press("12#A")
            .say("my file.wav", [1, 2, 3])
            .expect_hang_up(ms(3_000))
            .expect_hang_up(ms(10_000))
            .hang_up();
        assert_eq!(read.unwrap(), built);
    }

    #[test]
    fn nothing_is_a_script() {
        assert_eq!(parse(" ;\n; ").unwrap(), Script::new());
    }

    #[test]
    fn a_bad_step_is_named_with_what_to_do() {
        let cases = [
            ("wait 1s; dance", "step 2 of the script (`dance`): no such step; write `wait 500ms`"),
            ("wait soon", "`soon` is no time; write one such as `500ms`"),
            ("wait 5", "`5` is no time"),
            ("wait 1e9s", "is no time"),
            ("wait 99999999999m", "is too long"),
            ("wait for godot", "write `wait for answer`"),
            ("press 12x", "'X' is no key of a telephone"),
            ("press", "name the keys"),
            ("say", "name what is said"),
            ("say missing.wav", "it is not there"),
            ("hang up now", "no such step"),
        ];
        for (text, wanted) in cases {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Script::parse("say nothing-here.wav", Path::new("/nonexistent")).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/nothing-here.wav"), "{error}");
    }

    #[test]
    fn a_caller_can_speak_with_a_shipped_voice() {
        let script = Script::parse("say sound:hello-world", Path::new(".")).unwrap();
        assert!(matches!(script.steps(), [Step::Say(speech)] if speech.samples.len() > 4_000));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,80}") {
            let _ = parse(&text);
        }

        #[test]
        fn nothing_that_looks_like_a_script_makes_it_panic(
            text in "((wait|press|say|hang|expect|for|up|silence|prompt) ?[0-9.a-z#*é]{0,6}[;\\n ]?){0,8}",
        ) {
            let _ = parse(&text);
        }
    }
}
