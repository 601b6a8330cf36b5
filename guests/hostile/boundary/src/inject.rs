//! Each text through each verb. What was taken is told by name, what was refused by how.

use std::collections::BTreeMap;

use voxtra_sdk::prelude::*;

use crate::report::{Report, kind, told};
use crate::texts::Text;
use crate::verbs::Verb;

/// Where a call costs somebody money, does harm, or goes past the tenant's own line.
const TARGETS: [&str; 20] = [
    "+19005551234",
    "0900123456",
    "+8821612345678",
    "+979123456789",
    "+4470123456789",
    "0011900555123",
    "*72100",
    "911",
    "112",
    "PJSIP/attacker",
    "PJSIP/1900@other-trunk",
    "PJSIP/sip:1@attacker.example",
    "SIP/attacker.example/1",
    "IAX2/attacker.example/1",
    "DAHDI/g0/19005551234",
    "Local/19005551234@default",
    "AudioSocket/attacker.example:4573/x",
    "WebSocket/attacker/c(slin)",
    "Message/ast_msg_queue",
    "Snoop/1",
];

/// One result a verb: how many texts got what, and which ones were taken.
pub(crate) fn inject(call: &Call, texts: &[Text], verbs: &[Verb], report: &mut Report<'_>) -> Option<()> {
    let only = call.metadata("verb");
    for (name, verb) in verbs.iter().filter(|(name, _)| only.as_deref().is_none_or(|only| only == *name)) {
        let mut refused: BTreeMap<&str, u32> = BTreeMap::new();
        let mut taken = Vec::new();
        for (label, text) in texts {
            match verb(call, text) {
                Ok(()) => taken.push(*label),
                Err(error) => *refused.entry(kind(&error)).or_default() += 1,
            }
        }
        let refused: Vec<_> = refused.iter().map(|(kind, times)| format!("{kind} {times}")).collect();
        report.got(*name, format!("taken: {}; refused: {}", taken.join(" "), refused.join(", ")));
    }
    Some(())
}

/// Each target, dialled and handed the call.
pub(crate) fn dial(call: &Call, report: &mut Report<'_>) -> Option<()> {
    for target in TARGETS {
        let dialled = call.originate(Originate::to(target).ring_timeout(Duration::from_secs(1))).map(drop);
        report.got(format!("dial {target}"), told(&dialled));
    }
    // An extension is looked for in the tenant's own dialplan, which is allowed: only the others.
    for target in TARGETS.iter().filter(|target| target.contains('/')) {
        report.got(format!("transfer {target}"), told(&call.transfer_to(target)));
    }
    Some(())
}
