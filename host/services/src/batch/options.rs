//! How a batch is called.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use voxtra_core::verbs::{BatchRequest, DEFAULT_RING_TIMEOUT, DialplanPlace};
use voxtra_core::{DialTarget, HandlerName};

use super::hours::CallingHours;
use super::retries::Retries;
use super::rows;

/// The most calls at one time that a batch may ask for.
const MAX_CONCURRENCY: u32 = 1_000;

/// The fastest and slowest that a batch may ask for: one call in a hundred seconds at least, so that it ends some day.
const CALLS_PER_SECOND: std::ops::RangeInclusive<f64> = 0.01..=1_000.0;

/// The longest that a call may ring, in milliseconds: as long as networks let it.
const MAX_RING_MS: u32 = 180_000;

/// The most variables.
const MAX_VARIABLES: usize = 64;

/// How a batch is called. Checked by [`BatchOptions::check`]; kept with the batch, so that a host that starts again goes on
/// with the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BatchOptions {
    /// Who takes an answered call whose row names no handler. Default: the tenant's routes.
    pub target: Target,
    /// The number shown when a row names none; empty (the default): the tenant's.
    pub caller_id: String,
    /// Calls that are up at one time, those that ring too; 1 to 1,000. Default 1.
    pub concurrency: u32,
    /// Calls begun a second; 0.01 to 1,000. Default 1.
    pub calls_per_second: f64,
    /// When a number is called again. Default: never.
    pub retries: Retries,
    /// When calls may begin; none (the default): at any time. Calls that are up when the hours end go on.
    pub hours: Option<CallingHours>,
    /// How long a call may ring, in milliseconds; 1,000 to 180,000. Default 30,000.
    pub ring_timeout_ms: u32,
    /// Whether to find out if a machine has answered. Default: no.
    pub detect_machine: bool,
    /// Variables of each call at the PBX.
    pub variables: Vec<(String, String)>,
}

/// Who takes an answered call; [`DialTarget`] at rest.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// [`DialTarget::Routes`]
    #[default]
    Routes,
    /// [`DialTarget::Handler`]
    Handler(String),
    /// [`DialTarget::Dialplan`]
    Dialplan {
        /// Empty: the tenant's own.
        context: String,
        /// Empty: the number that was dialled.
        extension: String,
        /// 0: 1.
        priority: u32,
    },
}

impl Target {
    pub(super) fn to_dial(&self) -> DialTarget {
        match self {
            Self::Routes => DialTarget::Routes,
            Self::Handler(name) => DialTarget::Handler(HandlerName::new(name.as_str())),
            Self::Dialplan { context, extension, priority } => DialTarget::Dialplan(DialplanPlace {
                context: context.clone(),
                extension: extension.clone(),
                priority: *priority,
            }),
        }
    }
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self {
            target: Target::Routes,
            caller_id: String::new(),
            concurrency: 1,
            calls_per_second: 1.0,
            retries: Retries::none(),
            hours: None,
            ring_timeout_ms: u32::try_from(DEFAULT_RING_TIMEOUT.as_millis()).unwrap_or(MAX_RING_MS),
            detect_machine: false,
            variables: Vec::new(),
        }
    }
}

impl BatchOptions {
    /// What a handler asks for; zeros are the defaults that the contract names.
    pub fn from_request(request: &BatchRequest) -> Result<Self, String> {
        let or = |asked: u32, default: u32| if asked == 0 { default } else { asked };
        let options = Self {
            target: match request.handler.is_empty() {
                true => Target::Routes,
                false => Target::Handler(request.handler.clone()),
            },
            concurrency: or(request.concurrency, 1),
            calls_per_second: f64::from(or(request.calls_per_10_s, 10)) / 10.0,
            retries: request.retries.parse()?,
            detect_machine: request.detect_machine,
            ..Self::default()
        };
        options.check()?;
        Ok(options)
    }

    /// Refuses what is outside its limits; one sentence.
    pub fn check(&self) -> Result<(), String> {
        if !(1..=MAX_CONCURRENCY).contains(&self.concurrency) {
            return Err(format!("a batch has 1 to {MAX_CONCURRENCY} calls at one time, not {}", self.concurrency));
        }
        if !CALLS_PER_SECOND.contains(&self.calls_per_second) {
            return Err(format!("a batch begins 0.01 to 1000 calls a second, not {}", self.calls_per_second));
        }
        if !(1_000..=MAX_RING_MS).contains(&self.ring_timeout_ms) {
            return Err(format!("a call rings for 1 to {} seconds", MAX_RING_MS / 1_000));
        }
        rows::caller_id(&self.caller_id)?;
        if self.variables.len() > MAX_VARIABLES {
            return Err(format!("a batch sets at most {MAX_VARIABLES} variables"));
        }
        for (key, value) in &self.variables {
            rows::name(key).map_err(|why| format!("the variable's name {why}"))?;
            rows::value(value).map_err(|why| format!("the value of {key} {why}"))?;
        }
        match &self.target {
            Target::Routes => Ok(()),
            Target::Handler(name) => rows::name(name).map_err(|why| format!("the handler's name {why}")),
            Target::Dialplan { context, extension, .. } => {
                for part in [context, extension].into_iter().filter(|part| !part.is_empty()) {
                    rows::place(part)?;
                }
                Ok(())
            }
        }
    }

    pub(super) fn ring_timeout(&self) -> Duration {
        Duration::from_millis(u64::from(self.ring_timeout_ms))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn kept_options_are_those_that_were_given() {
        let options = BatchOptions {
            target: Target::Dialplan { context: "out".into(), extension: "s".into(), priority: 2 },
            retries: "busy=2@5m".parse().unwrap(),
            hours: Some("mon-fri 09:00-18:00 UTC".parse().unwrap()),
            calls_per_second: 0.25,
            ..BatchOptions::default()
        };
        let kept = serde_json::to_string(&options).unwrap();
        assert_eq!(serde_json::from_str::<BatchOptions>(&kept).unwrap(), options);
    }

    #[test]
    fn what_is_outside_its_limits_is_refused() {
        let good = BatchOptions::default();
        assert_eq!(good.check(), Ok(()));
        for bad in [
            BatchOptions { concurrency: 0, ..good.clone() },
            BatchOptions { concurrency: 1_001, ..good.clone() },
            BatchOptions { calls_per_second: 0.0, ..good.clone() },
            BatchOptions { calls_per_second: f64::NAN, ..good.clone() },
            BatchOptions { calls_per_second: f64::INFINITY, ..good.clone() },
            BatchOptions { ring_timeout_ms: 999, ..good.clone() },
            BatchOptions { caller_id: "a\r\nb".into(), ..good.clone() },
            BatchOptions { variables: vec![("A".into(), "${B}".into())], ..good.clone() },
            BatchOptions { variables: vec![("SHELL(ls)".into(), "1".into())], ..good.clone() },
            BatchOptions { target: Target::Handler("../x".into()), ..good.clone() },
            BatchOptions {
                target: Target::Dialplan { context: "a,b".into(), extension: String::new(), priority: 1 },
                ..good.clone()
            },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_handlers_zeros_are_the_contracts_defaults() {
        let request = BatchRequest {
            name: "reminders".into(),
            handler: "reminder".into(),
            concurrency: 0,
            calls_per_10_s: 0,
            retries: String::new(),
            detect_machine: true,
            rows: Vec::new(),
        };
        let options = BatchOptions::from_request(&request).unwrap();
        assert_eq!((options.concurrency, options.calls_per_second), (1, 1.0));
        assert_eq!(options.target, Target::Handler("reminder".into()));
    }
}
