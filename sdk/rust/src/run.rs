//! What stands between the component's exports and the functions that the attributes mark.

use std::error::Error as StdError;

use crate::bindings::filter::voxtra::call::filtering;
use crate::bindings::handler::voxtra::call::call_session;
use crate::bindings::handler::voxtra::call::types;
use crate::bindings::hook::exports::voxtra::call::hangup_hook;
use crate::bindings::router::voxtra::call::routing;
use crate::{Call, CallInfo, Decision, EndedCall, Error, OutgoingEvent, Verdict, log};

/// What a handler may return: nothing, or a result whose error is an error or a text.
#[diagnostic::on_unimplemented(
    message = "a handler returns `Result<()>` or nothing, not `{Self}`",
    label = "write `-> Result<()>`, with `Result` from `voxtra_sdk::prelude`"
)]
pub trait Outcome {
    /// The error, when there is one.
    fn into_error(self) -> Option<Box<dyn StdError>>;
}

impl Outcome for () {
    fn into_error(self) -> Option<Box<dyn StdError>> {
        None
    }
}

impl<E: Into<Box<dyn StdError>>> Outcome for Result<(), E> {
    fn into_error(self) -> Option<Box<dyn StdError>> {
        self.err().map(Into::into)
    }
}

/// What a rule may return: its answer, or a result with it whose error is an error or a text.
#[diagnostic::on_unimplemented(
    message = "this function returns `{Answer}` or `Result<{Answer}>`, not `{Self}`",
    label = "write `-> Result<{Answer}>`, with `Result` from `voxtra_sdk::prelude`"
)]
pub trait Answering<Answer> {
    /// The answer, or the error as text.
    fn into_answer(self) -> Result<Answer, String>;
}

impl Answering<Self> for Option<Decision> {
    fn into_answer(self) -> Result<Self, String> {
        Ok(self)
    }
}

impl Answering<Self> for Option<Vec<u8>> {
    fn into_answer(self) -> Result<Self, String> {
        Ok(self)
    }
}

impl Answering<Self> for Verdict {
    fn into_answer(self) -> Result<Self, String> {
        Ok(self)
    }
}

impl<Answer, E: Into<Box<dyn StdError>>> Answering<Answer> for Result<Answer, E> {
    fn into_answer(self) -> Result<Answer, String> {
        self.map_err(|error| describe(error.into().as_ref()))
    }
}

/// Runs the function that `#[router]` marks.
pub fn run_router<R: Answering<Option<Decision>>>(
    call: types::CallInfo,
    router: fn(&CallInfo) -> R,
) -> Result<Option<routing::Decision>, String> {
    Ok(router(&call).into_answer()?.map(Decision::into_contract))
}

/// Runs the function that `#[filter]` marks.
pub fn run_filter<R: Answering<Verdict>>(
    event: filtering::OutgoingEvent,
    filter: fn(&OutgoingEvent) -> R,
) -> Result<filtering::Verdict, String> {
    Ok(filter(&event.into()).into_answer()?.into_contract())
}

/// Runs the function that `#[handler]` marks. That the caller has hung up is a good end; every other error is the
/// route's to deal with.
pub fn run_handler<R: Outcome>(call: call_session::Call, handler: fn(&Call) -> R) -> Result<(), String> {
    match failure(handler(&Call::new(call))) {
        None => Ok(()),
        Some(failure) => Err(failure),
    }
}

/// Runs the function that `health_check!` names.
pub fn run_init<R: Outcome>(init: fn() -> R) -> Result<(), String> {
    match init().into_error() {
        None => Ok(()),
        Some(error) => Err(describe(error.as_ref())),
    }
}

/// Runs the first function that `upgrade!` names.
pub fn run_save<R: Answering<Option<Vec<u8>>>>(save: fn() -> R) -> Result<Option<Vec<u8>>, String> {
    save().into_answer()
}

/// Runs the second one; it ends as a handler does.
pub fn run_restore<R: Outcome>(
    call: call_session::Call,
    state: &[u8],
    restore: fn(&Call, &[u8]) -> R,
) -> Result<(), String> {
    match failure(restore(&Call::new(call), state)) {
        None => Ok(()),
        Some(failure) => Err(failure),
    }
}

/// Runs the function that `#[on_hangup]` marks. Nobody is left to take its error, so it becomes a log line.
pub fn run_hook<R: Outcome>(call: hangup_hook::EndedCall, hook: fn(&EndedCall) -> R) {
    if let Some(failure) = failure(hook(&call.into())) {
        log::error!("the hang-up hook failed: {failure}");
    }
}

fn failure(outcome: impl Outcome) -> Option<String> {
    let error = outcome.into_error()?;
    if chain(error.as_ref()).any(|cause| cause.downcast_ref() == Some(&Error::HungUp)) {
        return None;
    }
    Some(describe(error.as_ref()))
}

/// The error and what caused it, in one line. Some errors name their cause themselves; it is not said twice.
fn describe(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    for cause in chain(error).skip(1) {
        let cause = cause.to_string();
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn chain<'e>(error: &'e (dyn StdError + 'static)) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error: &&'e (dyn StdError + 'static)| error.source())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fmt;

    use super::*;

    #[derive(Debug)]
    struct Wrapped {
        says_its_cause: bool,
        cause: Error,
    }

    impl fmt::Display for Wrapped {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            match self.says_its_cause {
                true => write!(f, "no account number: {}", self.cause),
                false => f.write_str("no account number"),
            }
        }
    }

    impl StdError for Wrapped {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&self.cause)
        }
    }

    #[test]
    fn hanging_up_is_a_good_end() {
        assert_eq!(failure(Err::<(), _>(Error::HungUp)), None);
        assert_eq!(failure(Err::<(), Box<dyn StdError>>(Error::HungUp.into())), None);
        assert_eq!(failure(Err::<(), _>(Wrapped { says_its_cause: false, cause: Error::HungUp })), None);
    }

    #[test]
    fn every_other_error_is_a_failure() {
        assert_eq!(failure(Err::<(), _>(Error::Timeout)).unwrap(), "nothing came in the time given");
        assert_eq!(failure(Err::<(), _>("no such account")).unwrap(), "no such account");
        assert_eq!(failure(Err::<(), _>("x".parse::<u8>().unwrap_err())).unwrap(), "invalid digit found in string");
        assert_eq!(failure(()), None);
        assert_eq!(failure(Ok::<(), Error>(())), None);
    }

    #[test]
    fn a_rule_answers_or_says_why_not() {
        assert_eq!(None::<Decision>.into_answer(), Ok(None));
        assert_eq!(Err::<Verdict, _>("no data").into_answer(), Err("no data".to_owned()));
        assert_eq!(Ok::<_, Error>(Verdict::Keep).into_answer(), Ok(Verdict::Keep));
    }

    #[test]
    fn the_cause_is_told_once() {
        for says_its_cause in [true, false] {
            let error = Wrapped { says_its_cause, cause: Error::Denied("ask the operator".to_owned()) };
            assert_eq!(describe(&error), "no account number: denied: ask the operator");
        }
    }
}
