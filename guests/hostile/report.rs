//! What an attack got, told as the event `attack.result`. A part of each component that has more than one attack
//! (`#[path]`), since a guest depends on nothing but the SDK.
//!
//! The attack is named by the call's note `attack`, or by the number that was called. The event's data are
//! `{"attack": NAME, "part": N, "got": {PROBE: RESULT, ...}}`: as many parts as the size of an event asks for. A RESULT is
//! `ok`, `ok VALUE`, or the contract's name of an error and its sentence.

// Each component uses what its attacks need.
#![allow(dead_code)]

use serde_json::{Map, Value, json};
use voxtra_sdk::prelude::*;

/// An event's data are at most 16,384 bytes; the rest is for what stands around the results.
const PART_BYTES: usize = 12_000;

/// Longer results only repeat what was sent.
const RESULT_CHARS: usize = 300;

/// See the module.
pub(crate) struct Report<'c> {
    call: &'c Call,
    attack: String,
    got: Map<String, Value>,
    bytes: usize,
    parts: u32,
}

impl<'c> Report<'c> {
    /// Of the attack that this call asks for.
    pub(crate) fn new(call: &'c Call) -> Self {
        let attack = call.metadata("attack").unwrap_or_else(|| call.info().called_number);
        Self { call, attack, got: Map::new(), bytes: 0, parts: 0 }
    }

    /// The attack's name.
    pub(crate) fn attack(&self) -> String {
        self.attack.clone()
    }

    /// Keeps what a probe got.
    pub(crate) fn got(&mut self, probe: impl Into<String>, result: impl Into<String>) {
        let (probe, mut result) = (probe.into(), result.into());
        if let Some((end, _)) = result.char_indices().nth(RESULT_CHARS) {
            result.truncate(end);
        }
        // In JSON a control character is six bytes.
        let bytes = json!([probe, result]).to_string().len();
        if self.bytes + bytes > PART_BYTES {
            self.send();
        }
        self.bytes += bytes;
        self.got.insert(probe, result.into());
    }

    /// Keeps what the host said.
    pub(crate) fn host(&mut self, probe: impl Into<String>, result: Result<impl Told, Error>) {
        self.got(probe, told(&result));
    }

    /// Tells what there is so far.
    pub(crate) fn send(&mut self) {
        if self.got.is_empty() {
            return;
        }
        self.parts += 1;
        let data = json!({ "attack": self.attack, "part": self.parts, "got": std::mem::take(&mut self.got) });
        self.bytes = 0;
        if let Err(error) = self.call.emit("attack.result", &data.to_string()) {
            // A call that is over emits nothing; its log goes on.
            log::warn!("attack.result is not told ({error}): {data}");
        }
    }
}

/// That nobody has heard of the attack is an error of whoever runs it.
pub(crate) fn unknown(attack: &str) -> Result<()> {
    Err(format!("there is no attack {attack:?} here; name one in the note `attack`").into())
}

/// How many times something is to be done: the call's note of that name, or as often as is said here.
pub(crate) fn number(call: &Call, note: &str, otherwise: u64) -> u64 {
    call.metadata(note).and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// The contract's name of an error.
pub(crate) fn kind(error: &Error) -> &'static str {
    match error {
        Error::HungUp => "hung-up",
        Error::Timeout => "timeout",
        Error::InvalidArgument(_) => "invalid-argument",
        Error::NotConfigured(_) => "not-configured",
        Error::Denied(_) => "denied",
        Error::LimitExceeded(_) => "limit-exceeded",
        Error::Telephony(_) => "telephony",
        Error::Provider(_) => "provider",
    }
}

/// What is told of a result.
pub(crate) fn told(result: &Result<impl Told, Error>) -> String {
    match result {
        Ok(value) => format!("ok {}", value.told()).trim_end().to_owned(),
        Err(error) => format!("{} {}", kind(error), sentence(error)).trim_end().to_owned(),
    }
}

fn sentence(error: &Error) -> &str {
    match error {
        Error::HungUp | Error::Timeout => "",
        Error::InvalidArgument(why)
        | Error::NotConfigured(why)
        | Error::Denied(why)
        | Error::LimitExceeded(why)
        | Error::Telephony(why)
        | Error::Provider(why) => why,
    }
}

/// A value that an attack may get.
pub(crate) trait Told {
    /// In a few words; empty: nothing.
    fn told(&self) -> String;
}

impl Told for () {
    fn told(&self) -> String {
        String::new()
    }
}

impl Told for String {
    fn told(&self) -> String {
        self.clone()
    }
}
