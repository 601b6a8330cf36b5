//! A script at work.

use serde_json::json;
use voxtra_sdk::StartedBatch;
use voxtra_sdk::prelude::*;

use crate::script::{Words, statements};

/// What a script has made, and what its statements are about.
pub(crate) struct Run<'c> {
    own: &'c Call,
    /// Kept to the end: the instance's end frees them.
    placed: Vec<&'static Call>,
    recordings: Vec<(usize, Recording<'c>)>,
    pub(crate) playback: Option<Playback>,
    pub(crate) bridge: Option<Bridge>,
    pub(crate) snoop: Option<Snoop>,
    pub(crate) batch: Option<StartedBatch>,
}

/// Why a statement was not done.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The host's word.
    Host(Error),
    /// It is not understood.
    Script(String),
    /// The script wants the handler to fail.
    Wanted(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Host(error)
    }
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Self::Script(why)
    }
}

/// What a statement gives; empty: nothing to be told.
pub(crate) type Done = Result<String, Failure>;

impl<'c> Run<'c> {
    pub(crate) fn new(own: &'c Call) -> Self {
        Self { own, placed: Vec::new(), recordings: Vec::new(), playback: None, bridge: None, snoop: None, batch: None }
    }

    /// Runs it to its end, whatever its statements come to.
    pub(crate) fn script(mut self, script: &str) -> Result<()> {
        for (before, statement) in statements(script).into_iter().enumerate() {
            let done = self.statement(statement);
            self.tell(before.saturating_add(1), statement, &result(&done));
            if let Err(Failure::Wanted(why)) = done {
                return Err(why.into());
            }
        }
        Ok(())
    }

    fn statement(&mut self, statement: &str) -> Done {
        let mut words = Words::new(statement);
        let mut verb = words.word("the verb")?;
        let mut about = 0;
        if verb == "on" {
            about = words.number("N")?;
            verb = words.word("the verb")?;
        }
        self.verb(about, verb, words)
    }

    /// Notes and log lines work on a call that is over too; that an event does not is no reason to fail.
    fn tell(&self, n: usize, statement: &str, result: &str) {
        log::info!("{n} {statement}: {result}");
        if let Err(error) = self.own.set_metadata(&format!("result.{n}"), result) {
            log::warn!("result {n} is not kept: {error}");
        }
        if self.own.metadata("quiet").is_none() {
            let data = json!({ "n": n, "statement": statement, "result": result });
            if let Err(error) = self.own.emit("every-verb.result", &data.to_string()) {
                log::debug!("result {n} is not emitted: {error}");
            }
        }
    }

    /// The call that a number stands for.
    pub(crate) fn call(&self, about: usize) -> Result<&'c Call, Failure> {
        match about.checked_sub(1) {
            None => Ok(self.own),
            Some(at) => {
                self.placed.get(at).copied().ok_or_else(|| Failure::Script(format!("there is no call {about}")))
            }
        }
    }

    /// Keeps a placed call; returns its number.
    pub(crate) fn place(&mut self, call: Call) -> usize {
        self.placed.push(Box::leak(Box::new(call)));
        self.placed.len()
    }

    pub(crate) fn keep_recording(&mut self, about: usize, recording: Recording<'c>) {
        self.recordings.push((about, recording));
    }

    pub(crate) fn recording(&self, about: usize) -> Result<&Recording<'c>, Failure> {
        let last = self.recordings.iter().rev().find(|(of, _)| *of == about);
        last.map(|(_, recording)| recording).ok_or_else(|| Failure::Script("nothing was recorded".to_owned()))
    }

    pub(crate) fn take_recording(&mut self, about: usize) -> Result<Recording<'c>, Failure> {
        let last = self.recordings.iter().rposition(|(of, _)| *of == about);
        match last {
            Some(at) => Ok(self.recordings.remove(at).1),
            None => Err(Failure::Script("nothing was recorded".to_owned())),
        }
    }
}

fn result(done: &Done) -> String {
    match done {
        Ok(value) if value.is_empty() => "ok".to_owned(),
        Ok(value) => format!("ok {value}"),
        Err(Failure::Script(why)) => format!("error script {why}"),
        Err(Failure::Wanted(why)) => format!("error wanted {why}"),
        Err(Failure::Host(error)) => {
            let (kind, text) = host_error(error);
            format!("error {kind} {text}").trim_end().to_owned()
        }
    }
}

/// The contract's name of an error, and its sentence.
fn host_error(error: &Error) -> (&'static str, &str) {
    match error {
        Error::HungUp => ("hung-up", ""),
        Error::Timeout => ("timeout", ""),
        Error::InvalidArgument(why) => ("invalid-argument", why),
        Error::NotConfigured(why) => ("not-configured", why),
        Error::Denied(why) => ("denied", why),
        Error::LimitExceeded(why) => ("limit-exceeded", why),
        Error::Telephony(why) => ("telephony", why),
        Error::Provider(why) => ("provider", why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_have_the_contracts_names() {
        assert_eq!(result(&Ok(String::new())), "ok");
        assert_eq!(result(&Ok("1".to_owned())), "ok 1");
        assert_eq!(result(&Err(Error::HungUp.into())), "error hung-up");
        assert_eq!(result(&Err(Error::Denied("no".to_owned()).into())), "error denied no");
        assert_eq!(result(&Err(Failure::Script("MS is missing".to_owned()))), "error script MS is missing");
    }
}
