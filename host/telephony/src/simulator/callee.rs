//! Who is called: what becomes of a leg that the host places, as data.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use voxtra_core::HangupCause;

use super::script::{Script, Step};
use super::sounds::Sounds;

/// How long a callee who answers lets it ring when nobody says: two seconds, as on the way to a telephone at hand.
pub const DEFAULT_ANSWER_AFTER: Duration = Duration::from_secs(2);

/// The longest that a callee may let it ring.
const MAX_ANSWER_AFTER: Duration = Duration::from_secs(3600);

/// What a called telephone does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callee {
    /// Whether, and when, it is answered. Default: after [`DEFAULT_ANSWER_AFTER`].
    pub response: Response,
    /// What the callee does from the answer on. Default: only listens, until the host hangs up or 10 minutes are over.
    pub script: Script,
    /// Whether the PBX takes it for an answering machine.
    pub machine: bool,
}

/// Whether a called telephone is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Response {
    /// It rings for so long, then it is answered.
    Answers(Duration),
    /// It is busy: told at once.
    Busy,
    /// It rings until the host gives up.
    NoAnswer,
    /// It rings for a second, then the call is declined.
    Rejects,
    /// The network has no way there: told at once.
    Congestion,
}

impl Default for Callee {
    fn default() -> Self {
        Self::answers(DEFAULT_ANSWER_AFTER)
    }
}

impl Callee {
    /// Somebody who answers after this time and listens.
    pub fn answers(after: Duration) -> Self {
        Self { response: Response::Answers(after), script: Script::new(), machine: false }
    }

    /// A machine that answers after this time, speaks a greeting of some seconds, and beeps.
    pub fn machine(after: Duration) -> Self {
        let sounds = Sounds::shipped();
        let parts = ["sorry", "ss-noservice", "please-try-again", "demo-echotest", "beep"];
        let greeting = parts.iter().flat_map(|name| sounds.samples(&format!("sound:{name}")).unwrap_or_default());
        let script =
            Script::new().wait(Duration::from_millis(300)).say("a machine's greeting", Arc::from_iter(greeting));
        Self { response: Response::Answers(after), script, machine: true }
    }

    /// One that is not answered.
    pub fn not_answered(response: Response) -> Self {
        Self { response, script: Script::new(), machine: false }
    }

    /// Adds what the callee does from the answer on.
    pub fn with_script(self, script: Script) -> Self {
        Self { script, ..self }
    }

    /// Reads `busy`, `no-answer`, `rejected`, `congestion`, `answer`, `answer@2s` or `machine@500ms`; after the last
    /// three may follow `:` and a script of what the callee does from the answer on, as [`Script::parse`] reads it.
    pub fn parse(text: &str, directory: &Path) -> Result<Self, String> {
        let (what, script) = match text.split_once(':') {
            Some((what, script)) => (what.trim(), Some(script)),
            None => (text.trim(), None),
        };
        let (what, after) = match what.split_once('@') {
            Some((what, after)) => (what.trim(), Some(super::script::parse_time(after)?)),
            None => (what, None),
        };
        let callee = match what {
            "busy" => Self::not_answered(Response::Busy),
            "no-answer" => Self::not_answered(Response::NoAnswer),
            "rejected" => Self::not_answered(Response::Rejects),
            "congestion" => Self::not_answered(Response::Congestion),
            "answer" => Self::answers(after.unwrap_or(DEFAULT_ANSWER_AFTER)),
            "machine" => Self::machine(after.unwrap_or(DEFAULT_ANSWER_AFTER)),
            _ => {
                return Err(format!(
                    "`{}` is nothing that a callee does; write `busy`, `no-answer`, `rejected`, `congestion`, \
                     `answer@2s` or `machine@2s`",
                    super::script::shorten(what)
                ));
            }
        };
        if after.is_some_and(|after| after > MAX_ANSWER_AFTER) {
            return Err(format!("a callee answers within {} s; name a shorter time", MAX_ANSWER_AFTER.as_secs()));
        }
        if !callee.is_answered() && (script.is_some() || after.is_some()) {
            return Err(format!("a callee who is `{what}` does nothing more; leave out what follows"));
        }
        match script {
            Some(script) => {
                let script = Script::parse(script, directory).map_err(|e| e.to_string())?;
                Ok(callee.with_script(script))
            }
            None => Ok(callee),
        }
    }

    fn is_answered(&self) -> bool {
        matches!(self.response, Response::Answers(_))
    }

    /// The whole of what the callee does, from the first ring on.
    pub(super) fn whole_script(&self) -> Script {
        let steps = std::iter::once(Step::WaitForAnswer).chain(self.script.steps().iter().cloned());
        Script::from(steps.collect::<Vec<_>>())
    }
}

/// What has become of a called telephone that has been asked for so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Nothing,
    Rings,
    Answered,
    Over(HangupCause),
}

impl Response {
    /// How long the network needs to find the telephone.
    const SIGNALLING: Duration = Duration::from_millis(100);

    /// How long somebody looks at the telephone who declines.
    const DECLINES_AFTER: Duration = Duration::from_secs(1);

    pub(super) fn progress(self, now: Duration, ring_timeout: Duration) -> Progress {
        match self {
            Self::Busy if now >= Self::SIGNALLING => Progress::Over(HangupCause::Busy),
            Self::Congestion if now >= Self::SIGNALLING => Progress::Over(HangupCause::Congestion),
            Self::Answers(after) if now >= after && after < ring_timeout => Progress::Answered,
            Self::Rejects if now >= Self::DECLINES_AFTER => Progress::Over(HangupCause::Rejected),
            _ if now >= ring_timeout => Progress::Over(HangupCause::NoAnswer),
            Self::Busy | Self::Congestion => Progress::Nothing,
            _ if now >= Self::SIGNALLING => Progress::Rings,
            _ => Progress::Nothing,
        }
    }
}

/// The number in what is dialled: `100` of `PJSIP/100` and of `PJSIP/100@trunk`.
pub(super) fn number_of(endpoint: &str) -> &str {
    let address = endpoint.split_once('/').map_or(endpoint, |(_, address)| address);
    // `PJSIP/trunk/sip:100@host` has more of them.
    let number = address.rsplit('/').next().unwrap_or(address);
    let number = number.strip_prefix("sip:").unwrap_or(number);
    number.split('@').next().unwrap_or(number)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Callee, String> {
        Callee::parse(text, Path::new("."))
    }

    #[test]
    fn every_callee_can_be_written() {
        assert_eq!(parse("busy").unwrap().response, Response::Busy);
        assert_eq!(parse(" no-answer ").unwrap().response, Response::NoAnswer);
        assert_eq!(parse("rejected").unwrap().response, Response::Rejects);
        assert_eq!(parse("congestion").unwrap().response, Response::Congestion);
        assert_eq!(parse("answer").unwrap(), Callee::default());
        assert_eq!(parse("answer@500ms").unwrap(), Callee::answers(Duration::from_millis(500)));
        let script = parse("answer@1s: press 1; hang up").unwrap().script;
        assert_eq!(script, Script::new().press("1").hang_up());
        let machine = parse("machine@1s").unwrap();
        assert!(machine.machine && matches!(machine.script.steps(), [Step::Wait(_), Step::Say(_)]));
    }

    #[test]
    fn a_bad_callee_is_named_with_what_to_do() {
        for (text, wanted) in [
            ("maybe", "`maybe` is nothing that a callee does; write `busy`"),
            ("answer@soon", "`soon` is no time"),
            ("answer@2h", "is no time"),
            ("answer@70m", "name a shorter time"),
            ("busy@2s", "does nothing more"),
            ("busy: press 1", "does nothing more"),
            ("answer: dance", "no such step"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }

    #[test]
    fn the_number_is_found_in_an_endpoint() {
        for endpoint in ["100", "PJSIP/100", "PJSIP/100@trunk", "PJSIP/trunk/sip:100@example.org"] {
            assert_eq!(number_of(endpoint), "100", "{endpoint}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "(answer|machine|busy)?[@:]?\\PC{0,20}") {
            let _ = parse(&text);
            let _ = number_of(&text);
        }
    }
}
