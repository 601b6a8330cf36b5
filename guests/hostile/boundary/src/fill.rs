//! The tenant's store, filled.

use voxtra_sdk::prelude::*;
use voxtra_sdk::store;

use crate::report::{Report, number};

/// The contract's limits.
const KEY_BYTES: usize = 256;
const VALUE_BYTES: usize = 65_536;

/// `keys`: many small ones; `values`: large ones; `oversize`: larger than a key and a value may be.
pub(crate) fn store(call: &Call, what: &str, report: &mut Report<'_>) -> Option<()> {
    let times = number(call, "times", 1_000_000);
    match what {
        "keys" => until_refused(times, report, |n| store::set(&format!("fill/{n}"), "x").map(drop)),
        "values" => {
            let value = vec![0x55_u8; VALUE_BYTES];
            until_refused(times, report, |n| store::set(&format!("fill/{n}"), &value).map(drop));
        }
        "oversize" => {
            report.host("key", store::set(&"k".repeat(KEY_BYTES + 1), "x").map(drop));
            report.host("no key", store::set("", "x").map(drop));
            report.host("value", store::set("oversize", vec![0_u8; VALUE_BYTES + 1]).map(drop));
            report.host("prefix", store::keys(&"k".repeat(KEY_BYTES + 1), 1).map(drop));
            report.host("every key", store::keys("", u32::MAX).map(|keys| keys.len().to_string()));
        }
        _ => return None,
    }
    Some(())
}

fn until_refused(times: u64, report: &mut Report<'_>, mut set: impl FnMut(u64) -> Result<(), Error>) {
    let (mut stored, mut last) = (0, Ok(()));
    while last.is_ok() && stored < times {
        last = set(stored);
        stored += u64::from(last.is_ok());
    }
    report.got("stored", stored.to_string());
    report.host("last", last);
}
