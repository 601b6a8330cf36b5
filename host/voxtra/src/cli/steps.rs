//! What a simulated caller does, as arguments: the order in which they are written is the order in which they happen.

use std::path::Path;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use voxtra_telephony::simulator::{CallReport, Script, Step};

/// One kind of step: its argument, the script's words for it, its value's name, its help.
struct Kind {
    name: &'static str,
    words: &'static str,
    value: Option<&'static str>,
    /// The value may be left out.
    optional: bool,
    help: &'static str,
}

const KINDS: [Kind; 8] = [
    Kind { name: "press", words: "press", value: Some("KEYS"), optional: false, help: "Press keys, such as 1 or 42#" },
    Kind {
        name: "say",
        words: "say",
        value: Some("FILE"),
        optional: false,
        help: "Say a WAV file, or a shipped prompt such as sound:hello-world",
    },
    Kind {
        name: "wait",
        words: "wait",
        value: Some("TIME"),
        optional: false,
        help: "Let time pass, such as 500ms or 2s",
    },
    Kind {
        name: "wait-for-answer",
        words: "wait for answer",
        value: None,
        optional: false,
        help: "Wait until the call is answered",
    },
    Kind {
        name: "wait-for-prompt",
        words: "wait for prompt",
        value: Some("NAME"),
        optional: true,
        help: "Wait until a prompt plays, or one whose name holds NAME",
    },
    Kind {
        name: "wait-for-silence",
        words: "wait for silence",
        value: Some("TIME"),
        optional: false,
        help: "Wait until nothing was heard for so long",
    },
    Kind { name: "hang-up", words: "hang up", value: None, optional: false, help: "Hang up" },
    Kind {
        name: "expect-hang-up",
        words: "expect hang up",
        value: Some("TIME"),
        optional: true,
        help: "Wait for the other side to hang up, for 10s or TIME",
    },
];

/// The steps that a caller gets who was not told how the call ends: to stay, and to hang up.
const STEPS_OF_OUR_OWN: usize = 2;

/// Lines of a script, in the order in which they were written on the command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Steps(Vec<String>);

impl Steps {
    /// The caller's script. Without steps: one who listens. A caller who is given something to do waits for the answer
    /// first, and in the end stays on the line for `stay` before hanging up. Reads the files that are to be said.
    pub(super) fn script(&self, stay: Duration) -> anyhow::Result<Script> {
        let mut script = Script::new();
        if !self.0.first().is_some_and(|line| line.starts_with("wait for answer") || line.starts_with("hang up")) {
            script = script.wait_for_answer();
        }
        for line in &self.0 {
            for step in Script::parse(line, Path::new(""))?.steps() {
                script = script.then(step.clone());
            }
        }
        match script.steps().last() {
            Some(Step::HangUp | Step::ExpectHangUp(_)) => Ok(script),
            _ => Ok(script.wait(stay).hang_up()),
        }
    }
}

/// How many steps of the command line had not begun when the call ended.
pub(super) fn left_of(report: &CallReport) -> usize {
    report.steps_left.saturating_sub(STEPS_OF_OUR_OWN)
}

impl Args for Steps {
    fn augment_args(command: Command) -> Command {
        KINDS.iter().fold(command, |command, kind| {
            let arg =
                Arg::new(kind.name).long(kind.name).help(kind.help).help_heading("What the caller does, in this order");
            command.arg(match kind.value {
                Some(value) if kind.optional => {
                    arg.value_name(value).action(ArgAction::Append).num_args(0..=1).default_missing_value("")
                }
                Some(value) => arg.value_name(value).action(ArgAction::Append),
                // A flag has no place among the others; an option that takes nothing has.
                None => arg.action(ArgAction::Append).num_args(0).default_missing_value(""),
            })
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Steps {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut lines: Vec<(usize, String)> = Vec::new();
        for kind in &KINDS {
            let values = matches.get_many::<String>(kind.name).into_iter().flatten();
            let places = matches.indices_of(kind.name).into_iter().flatten();
            lines.extend(places.zip(values).map(|(place, value)| (place, format!("{} {value}", kind.words))));
        }
        lines.sort();
        Ok(Self(lines.into_iter().map(|(_, line)| line.trim().to_owned()).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn steps(args: &[&str]) -> Steps {
        let matches = Steps::augment_args(Command::new("x").no_binary_name(true)).try_get_matches_from(args).unwrap();
        Steps::from_arg_matches(&matches).unwrap()
    }

    #[test]
    fn steps_happen_in_the_order_in_which_they_are_written() {
        let written = steps(&[
            "--wait-for-prompt",
            "--press",
            "1",
            "--say",
            "sound:sorry",
            "--press",
            "2#",
            "--wait",
            "2s",
            "--wait-for-prompt",
            "menu",
            "--hang-up",
        ]);
        let wanted =
            ["wait for prompt", "press 1", "say sound:sorry", "press 2#", "wait 2s", "wait for prompt menu", "hang up"];
        assert_eq!(written.0, wanted);
    }

    #[test]
    fn a_caller_without_steps_listens_and_then_hangs_up() {
        let script = steps(&[]).script(Duration::from_secs(30)).unwrap();
        let wanted = [Step::WaitForAnswer, Step::Wait(Duration::from_secs(30)), Step::HangUp];
        assert_eq!(script.steps(), wanted);
    }

    #[test]
    fn a_bad_step_is_refused_with_a_sentence() {
        let error = steps(&["--wait", "soon"]).script(Duration::ZERO).unwrap_err().to_string();
        assert!(error.contains("`soon` is no time"), "{error}");
    }
}
