//! The PBX of a simulated call, as arguments: who can be called, what is not there, what the dialplan has set.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use voxtra_session::DialPolicy;
use voxtra_telephony::simulator::{Callee, SimulatorOptions};

/// What is dialled for a number that `--callee` names.
const ENDPOINT: &str = "PJSIP/{number}";

/// A variable's name and value: what a handler's own may be, so that it can read this one.
const MAX_NAME_BYTES: usize = 64;
const MAX_VALUE_BYTES: usize = 4_096;

/// A queue's or an extension's name is that of a PBX, or nothing that a handler asks for.
const MAX_PLACE_BYTES: usize = 64;

/// Who and what the simulated PBX has.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "What the PBX is like")]
pub(super) struct SimulatedPbx {
    /// Who can be called, by number or endpoint, and what comes of it: busy, no-answer, rejected, congestion,
    /// `answer[@2s][:SCRIPT]` or `machine[@2s][:SCRIPT]`; the script's steps have `;` between them. The handler may call
    /// these and nobody else; without any, what it originates is denied, as for a tenant without `dial`. It may show
    /// the numbers of --from and --to. Repeatable
    #[arg(long = "callee", value_name = "NUMBER=WHAT")]
    callees: Vec<String>,
    /// A queue that this PBX does not have; every other one is there. Repeatable
    #[arg(long = "absent-queue", value_name = "NAME")]
    absent_queues: Vec<String>,
    /// A place that this dialplan does not have, or an extension that no context has; every other one is there. Repeatable
    #[arg(long = "absent-place", value_name = "[CONTEXT,]EXTEN")]
    absent_places: Vec<String>,
    /// A context that the handler may hand the call to by name, such as `100@sales`; those of --absent-place are too.
    /// Repeatable
    #[arg(long = "context", value_name = "NAME")]
    contexts: Vec<String>,
    /// A variable that the dialplan has set on the caller's channel. Repeatable
    #[arg(long = "variable", value_name = "NAME=VALUE")]
    variables: Vec<String>,
    /// A folder of prompts: sound:acme/menu is DIR/acme/menu.wav. Repeatable
    #[arg(long = "prompts", value_name = "DIR")]
    prompts: Vec<PathBuf>,
}

/// What the rig is given of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Described {
    pub(super) variables: BTreeMap<String, String>,
    /// Whom the handler may call; none: nobody.
    pub(super) dial: Option<DialPolicy>,
}

impl SimulatedPbx {
    /// The simulator's part. Reads the files that scripts say (blocking).
    pub(super) fn options(&self) -> anyhow::Result<SimulatorOptions> {
        let mut callees = BTreeMap::new();
        for written in &self.callees {
            let (number, callee) = callee(written).map_err(|why| anyhow!("--callee {written}: {why}"))?;
            if callees.insert(number, callee).is_some() {
                bail!("--callee {written}: this number is named twice; leave one out");
            }
        }
        for queue in &self.absent_queues {
            check_place(queue).map_err(|why| anyhow!("--absent-queue {queue}: {why}"))?;
        }
        let places = self.absent_places.iter();
        let places = places
            .map(|written| absent(written).map(Absent::name).map_err(|why| anyhow!("--absent-place {written}: {why}")));
        Ok(SimulatorOptions {
            prompt_directories: self.prompts.clone(),
            callees,
            absent_queues: self.absent_queues.clone(),
            absent_places: places.collect::<anyhow::Result<_>>()?,
            ..SimulatorOptions::default()
        })
    }

    /// What the host is told: whom and where the handler may call, with these numbers to show, and the caller's
    /// variables.
    pub(super) fn described(&self, options: &SimulatorOptions, shown: [&str; 2]) -> anyhow::Result<Described> {
        let mut variables = BTreeMap::new();
        for written in &self.variables {
            let (name, value) = variable(written).map_err(|why| anyhow!("--variable {written:?}: {why}"))?;
            if variables.insert(name.to_owned(), value.to_owned()).is_some() {
                bail!("--variable {name}: it is set twice; leave one out");
            }
        }
        let mut contexts = self.contexts.clone();
        for context in &contexts {
            let policy = DialPolicy { contexts: vec![context.clone()], ..DialPolicy::default() };
            policy.check().map_err(|why| anyhow!("--context {context}: {why}"))?;
        }
        contexts.extend(self.absent_places.iter().filter_map(|place| Some(absent(place).ok()?.context?.to_owned())));
        let may_call = !options.callees.is_empty() || !contexts.is_empty();
        Ok(Described { variables, dial: may_call.then(|| policy(options, contexts, shown)) })
    }
}

/// Whom the handler may call: who is named, and nobody else.
fn policy(options: &SimulatorOptions, contexts: Vec<String>, shown: [&str; 2]) -> DialPolicy {
    let (endpoints, patterns) = options.callees.keys().cloned().partition(|callee| callee.contains('/'));
    let is_number = |id: &&str| DialPolicy { caller_ids: vec![(*id).to_owned()], ..DialPolicy::default() };
    DialPolicy {
        patterns,
        template: ENDPOINT.to_owned(),
        endpoints,
        // A withheld number cannot be shown.
        caller_ids: shown.iter().filter(|id| is_number(id).check().is_ok()).map(|id| (*id).to_owned()).collect(),
        contexts,
        ..DialPolicy::default()
    }
}

/// `NUMBER=WHAT`; the sentence says what is wrong.
fn callee(written: &str) -> Result<(String, Callee), String> {
    let Some((number, what)) = written.split_once('=') else {
        return Err("nothing says what comes of it; write one such as `100=busy` or `100=answer@2s`".to_owned());
    };
    let number = number.trim();
    // At the end of a pattern it would let every number through that begins so.
    if number.ends_with('*') && !number.contains('/') {
        return Err("a number that ends in `*` cannot be named; name its endpoint".to_owned());
    }
    let mut only = DialPolicy { template: ENDPOINT.to_owned(), ..DialPolicy::default() };
    if number.contains('/') { &mut only.endpoints } else { &mut only.patterns }.push(number.to_owned());
    only.allows(number).map_err(|error| error.to_string())?;
    Ok((number.to_owned(), Callee::parse(what, Path::new(""))?))
}

/// A place that the dialplan does not have.
#[derive(Debug, Clone, Copy)]
struct Absent<'a> {
    context: Option<&'a str>,
    extension: &'a str,
}

impl Absent<'_> {
    /// As the simulator calls it.
    fn name(self) -> String {
        match self.context {
            Some(context) => format!("{}@{context}", self.extension),
            None => self.extension.to_owned(),
        }
    }
}

/// `CONTEXT,EXTEN`, as a dialplan has it, or `EXTEN`.
fn absent(written: &str) -> Result<Absent<'_>, String> {
    let (context, extension) = match written.split_once(',') {
        Some((context, extension)) => (Some(context.trim()), extension.trim()),
        None => (None, written.trim()),
    };
    context.map_or(Ok(()), check_place)?;
    check_place(extension)?;
    Ok(Absent { context, extension })
}

fn check_place(name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "+*#._-".contains(c);
    if (1..=MAX_PLACE_BYTES).contains(&name.len()) && name.chars().all(fits) {
        return Ok(());
    }
    Err(format!("{name:?} is no name at a PBX; write 1 to {MAX_PLACE_BYTES} letters, digits, `-`, `_` and `.`"))
}

/// `NAME=VALUE`
fn variable(written: &str) -> Result<(&str, &str), String> {
    let Some((name, value)) = written.split_once('=') else {
        return Err("it has no value; write NAME=VALUE".to_owned());
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !(1..=MAX_NAME_BYTES).contains(&name.len()) || !name.chars().all(fits) {
        return Err(format!("the name {name:?} cannot be used; write 1 to {MAX_NAME_BYTES} letters, digits and `_`"));
    }
    if value.len() > MAX_VALUE_BYTES {
        return Err(format!("the value has {} bytes; write at most {MAX_VALUE_BYTES}", value.len()));
    }
    if value.chars().any(char::is_control) {
        return Err("the value holds a control character; take it out".to_owned());
    }
    Ok((name, value))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use voxtra_telephony::simulator::Response;

    use super::*;

    fn pbx(set: impl FnOnce(&mut SimulatedPbx)) -> SimulatedPbx {
        let mut pbx = SimulatedPbx::default();
        set(&mut pbx);
        pbx
    }

    fn owned(written: &[&str]) -> Vec<String> {
        written.iter().map(|text| (*text).to_owned()).collect()
    }

    fn described(pbx: &SimulatedPbx) -> anyhow::Result<Described> {
        pbx.described(&pbx.options()?, ["100", ""])
    }

    #[test]
    fn only_who_is_named_may_be_called() {
        let pbx = pbx(|pbx| pbx.callees = owned(&["200=busy", "PJSIP/desk@trunk=answer@500ms: press 1"]));
        let options = pbx.options().unwrap();
        assert_eq!(options.callees["200"].response, Response::Busy);
        assert_eq!(options.callees["PJSIP/desk@trunk"].response, Response::Answers(Duration::from_millis(500)));
        let dial = described(&pbx).unwrap().dial.unwrap();
        dial.check().unwrap();
        dial.allows("200").unwrap();
        dial.allows("PJSIP/desk@trunk").unwrap();
        for other in ["201", "2000", "20", "PJSIP/other"] {
            assert_eq!(dial.allows(other).unwrap_err().kind(), "denied", "{other}");
        }
        assert_eq!(dial.caller_ids, ["100"], "a withheld number cannot be shown");
    }

    #[test]
    fn without_callees_nobody_may_be_called() {
        assert_eq!(described(&SimulatedPbx::default()).unwrap().dial, None);
    }

    #[test]
    fn what_is_absent_and_where_calls_may_go_is_told_to_both_sides() {
        let pbx = pbx(|pbx| {
            pbx.absent_queues = owned(&["support"]);
            pbx.absent_places = owned(&["sales,100", "999"]);
            pbx.contexts = owned(&["inside"]);
        });
        let options = pbx.options().unwrap();
        assert_eq!(options.absent_queues, ["support"]);
        assert_eq!(options.absent_places, ["100@sales", "999"]);
        assert_eq!(described(&pbx).unwrap().dial.unwrap().contexts, ["inside", "sales"]);
    }

    #[test]
    fn a_variables_value_may_hold_what_a_name_may_not() {
        let pbx = pbx(|pbx| pbx.variables = owned(&["LEVEL=gold=1, ök", "EMPTY="]));
        let variables = described(&pbx).unwrap().variables;
        assert_eq!((variables["LEVEL"].as_str(), variables["EMPTY"].as_str()), ("gold=1, ök", ""));
    }

    #[test]
    fn what_is_wrong_is_one_sentence_that_names_the_flag() {
        let of_callee = |text: &str| pbx(|pbx| pbx.callees = owned(&[text]));
        let of_place = |text: &str| pbx(|pbx| pbx.absent_places = owned(&[text]));
        let of_variable = |text: &str| pbx(|pbx| pbx.variables = owned(&[text]));
        for (pbx, wanted) in [
            (of_callee("100"), "--callee 100: nothing says what comes of it"),
            (of_callee("100=maybe"), "--callee 100=maybe: `maybe` is nothing that a callee does"),
            (of_callee("alice=busy"), "\"alice\" is no number"),
            (of_callee("=busy"), "is no number"),
            (of_callee("1&2=busy"), "is no number"),
            (of_callee("PJSIP/=busy"), "is no endpoint"),
            (of_callee("10*=busy"), "ends in `*`"),
            (of_callee("100=answer: say no-such.wav"), "--callee 100=answer: say no-such.wav: step 1"),
            (pbx(|pbx| pbx.callees = owned(&["1=busy", "1=answer"])), "named twice"),
            (pbx(|pbx| pbx.absent_queues = owned(&["a b"])), "--absent-queue a b: \"a b\" is no name"),
            (of_place("sales,"), "--absent-place sales,: \"\" is no name"),
            (of_place("a,b,c"), "--absent-place"),
            (pbx(|pbx| pbx.contexts = owned(&["a b"])), "--context a b: "),
            (of_variable("LEVEL"), "write NAME=VALUE"),
            (of_variable("A B=1"), "the name \"A B\" cannot be used"),
            (of_variable("A=1\r\n2"), "control character"),
            (pbx(|pbx| pbx.variables = owned(&["A=1", "A=2"])), "--variable A: it is set twice"),
        ] {
            let error = described(&pbx).unwrap_err().to_string();
            assert!(error.contains(wanted) && error.contains("--") && !error.contains('\n'), "{wanted}: {error}");
        }
    }

    proptest! {
        #[test]
        fn whatever_can_be_named_makes_a_policy_that_allows_it(text in "[0-9A-Za-z/+*#@_.&,= ]{1,12}=busy") {
            if let Ok((number, _)) = callee(&text) {
                let pbx = pbx(|pbx| pbx.callees = vec![text]);
                let dial = described(&pbx).unwrap().dial.unwrap();
                prop_assert!(dial.check().is_ok() && dial.allows(&number).is_ok());
            }
        }
    }
}
