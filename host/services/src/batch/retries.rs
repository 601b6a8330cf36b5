//! When a number is called again: `busy=2@5m,no-answer=1@1h`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The most retries of one kind.
const MAX_TIMES: u32 = 20;

/// The longest wait between two attempts.
const MAX_WAIT: Duration = Duration::from_secs(7 * 24 * 3_600);

/// After what a number may be called again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RetryOn {
    /// `busy`
    Busy,
    /// `no-answer`
    NoAnswer,
    /// `rejected`
    Rejected,
    /// `congestion`
    Congestion,
    /// `failed`
    Failed,
    /// `machine`: an answering machine took the call.
    Machine,
    /// `interrupted`: the host was killed and nobody knows whether the phone rang.
    Interrupted,
}

impl RetryOn {
    const ALL: [Self; 7] =
        [Self::Busy, Self::NoAnswer, Self::Rejected, Self::Congestion, Self::Failed, Self::Machine, Self::Interrupted];

    /// Its name in a rule.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::NoAnswer => "no-answer",
            Self::Rejected => "rejected",
            Self::Congestion => "congestion",
            Self::Failed => "failed",
            Self::Machine => "machine",
            Self::Interrupted => "interrupted",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|on| on.as_str() == name)
    }
}

/// How often, and after how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// How many more times, 1 to 20.
    pub times: u32,
    /// From the end of the attempt to the first retry, in whole seconds.
    pub after: Duration,
    /// What each further wait is multiplied with, 1 to 10.
    pub factor: u32,
}

impl Retry {
    /// How long to wait when there were so many retries of this kind; none when there were enough.
    pub fn wait(&self, retries_so_far: u32) -> Option<Duration> {
        if retries_so_far >= self.times {
            return None;
        }
        let factor = self.factor.max(1).saturating_pow(retries_so_far);
        Some(self.after.saturating_mul(factor).min(MAX_WAIT))
    }
}

/// Rules by outcome. Written `OUTCOME=TIMES@WAIT`, with `*FACTOR` where each wait is to be longer than the one before,
/// several with commas: `busy=3@5m*2,no-answer=1@1h`. Outcomes: `busy`, `no-answer`, `rejected`, `congestion`, `failed`,
/// `machine`, `interrupted`. What is not named is not tried again; the default names nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Retries(BTreeMap<RetryOn, Retry>);

impl Retries {
    /// None at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// The rule for an outcome.
    pub fn rule(&self, on: RetryOn) -> Option<Retry> {
        self.0.get(&on).copied()
    }
}

impl FromStr for Retries {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut rules = BTreeMap::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (on, retry) = rule(part).map_err(|why| {
                format!("the retry {part:?} {why}; write OUTCOME=TIMES@WAIT, such as busy=2@5m or no-answer=3@10m*2")
            })?;
            if rules.insert(on, retry).is_some() {
                return Err(format!("retries name {} twice", on.as_str()));
            }
        }
        Ok(Self(rules))
    }
}

fn rule(part: &str) -> Result<(RetryOn, Retry), String> {
    let (name, rest) = part.split_once('=').ok_or("has no =")?;
    let on = RetryOn::from_name(name.trim()).ok_or_else(|| {
        let known: Vec<_> = RetryOn::ALL.iter().map(|on| on.as_str()).collect();
        format!("names an outcome that is none of {}", known.join(", "))
    })?;
    let (times, wait) = rest.split_once('@').ok_or("has no @")?;
    let times = times.trim().parse().ok().filter(|times| (1..=MAX_TIMES).contains(times));
    let times = times.ok_or_else(|| format!("needs a number of times from 1 to {MAX_TIMES}"))?;
    let (wait, factor) = match wait.split_once('*') {
        Some((wait, factor)) => (wait, factor.trim().parse().ok().filter(|factor| (1..=10).contains(factor))),
        None => (wait, Some(1)),
    };
    let factor = factor.ok_or("needs a factor from 1 to 10")?;
    let after =
        humantime::parse_duration(wait.trim()).map_err(|_| "has a wait that is no time such as 30s, 5m or 1h")?;
    if after > MAX_WAIT || after.subsec_nanos() != 0 {
        return Err("has a wait that is not in whole seconds up to seven days".to_owned());
    }
    Ok((on, Retry { times, after, factor }))
}

impl fmt::Display for Retries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (on, retry)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{}={}@{}s", on.as_str(), retry.times, retry.after.as_secs())?;
            if retry.factor != 1 {
                write!(f, "*{}", retry.factor)?;
            }
        }
        Ok(())
    }
}

impl TryFrom<String> for Retries {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Retries> for String {
    fn from(retries: Retries) -> Self {
        retries.to_string()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_outcome_has_its_own_back_off() {
        let retries: Retries = "busy=3@5m*2, no-answer=1@1h".parse().unwrap();
        let busy = retries.rule(RetryOn::Busy).unwrap();
        let waits: Vec<_> = (0..4).map(|so_far| busy.wait(so_far).map(|wait| wait.as_secs() / 60)).collect();
        assert_eq!(waits, [Some(5), Some(10), Some(20), None]);
        assert_eq!(retries.rule(RetryOn::NoAnswer).unwrap().wait(0), Some(Duration::from_secs(3_600)));
        assert_eq!(retries.rule(RetryOn::Failed), None);
    }

    #[test]
    fn a_rule_that_is_no_good_says_what_to_write() {
        for text in [
            "busy",
            "busy=2",
            "busy=x@5m",
            "busy=0@5m",
            "busy=21@5m",
            "late=1@5m",
            "busy=1@soon",
            "busy=1@9d",
            "busy=1@1ms",
            "busy=1@5m*0",
            "busy=1@5m*99",
            "busy=1@5m,busy=2@5m",
        ] {
            let error = text.parse::<Retries>().unwrap_err();
            assert!(error.contains("OUTCOME=TIMES@WAIT") || error.contains("twice"), "{text}: {error}");
        }
        assert_eq!("".parse(), Ok(Retries::none()));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,60}") {
            let _ = text.parse::<Retries>();
        }

        #[test]
        fn written_and_read_again_it_is_the_same(
            rules in proptest::collection::btree_map(0usize..7, (1u32..=20, 0u64..=604_800, 1u32..=10), 0..7),
        ) {
            let rules = rules.into_iter().map(|(on, (times, secs, factor))| {
                (RetryOn::ALL[on], Retry { times, after: Duration::from_secs(secs), factor })
            });
            let retries = Retries(rules.collect());
            prop_assert_eq!(retries.to_string().parse::<Retries>().unwrap(), retries.clone());
            for retry in retries.0.values() {
                prop_assert!((0..25).filter_map(|so_far| retry.wait(so_far)).all(|wait| wait <= MAX_WAIT));
            }
        }
    }
}
