//! Keeps what callers type to itself: the keys of `dtmf.received` leave the host as `*`, whatever else the event says
//! stays. A PIN that was typed is in no webhook.

use serde_json::{Map, Value};
use voxtra_sdk::prelude::*;

/// What stands where a key stood.
const MASK: &str = "*";

#[filter]
fn filter(event: &OutgoingEvent) -> Result<Verdict> {
    if event.kind != "dtmf.received" {
        return Ok(Verdict::Keep);
    }
    let mut data: Map<String, Value> = serde_json::from_str(&event.data_json)?;
    for (name, value) in &mut data {
        if matches!(name.as_str(), "digit" | "digits") {
            let keys = value.as_str().map_or(1, |keys| keys.chars().count());
            *value = Value::String(MASK.repeat(keys));
        }
    }
    Ok(Verdict::Change(Value::Object(data).to_string()))
}
