//! Ids of recordings. A PBX keeps all tenants' recordings in one folder and plays whichever it is told to, so that an id says
//! whose it is, and a handler plays its own tenant's only.

use voxtra_core::{CallError, RecordingId, TenantId};

/// Half of it is its tenant's, the other half random.
pub(crate) fn new(tenant: &TenantId) -> RecordingId {
    let (_, random) = uuid::Uuid::new_v4().as_u64_pair();
    RecordingId::new(format!("{:016x}{random:016x}", mark(tenant)))
}

/// Whether this can be one: nothing else of the PBX's has such a name.
pub(crate) fn is_one(id: &str) -> bool {
    id.len() == 32 && id.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'))
}

/// Whether the recordings among these prompts are the tenant's.
pub(crate) fn check_own(tenant: &TenantId, media: &[String]) -> Result<(), CallError> {
    let own = format!("{:016x}", mark(tenant));
    match media.iter().filter_map(|prompt| prompt.strip_prefix("recording:")).find(|id| !id.starts_with(&own)) {
        None => Ok(()),
        Some(id) => Err(CallError::Denied(format!(
            "{id:?} is no recording of this tenant's; play one that `record-start` has returned"
        ))),
    }
}

/// FNV-1a, over the name and once more behind it, so that short names differ in all digits.
fn mark(tenant: &TenantId) -> u64 {
    let name = tenant.as_str().bytes();
    let again = name.clone().rev();
    name.chain([0])
        .chain(again)
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenants_recordings_are_its_own_and_no_two_are_alike() {
        let (acme, beta) = (TenantId::new("acme"), TenantId::new("beta"));
        let ids = [new(&acme), new(&acme), new(&beta)];
        assert!(ids.iter().all(|id| is_one(id.as_str())));
        assert!(["", "x", &"A".repeat(32), &"0".repeat(33)].into_iter().all(|id| !is_one(id)));
        assert_ne!(ids[0], ids[1]);
        let media = |id: &RecordingId| ["sound:beep".to_owned(), format!("recording:{id}")];
        assert_eq!(check_own(&acme, &media(&ids[0])), Ok(()));
        assert!(matches!(check_own(&acme, &media(&ids[2])), Err(CallError::Denied(why)) if why.contains("tenant")));
        assert!(matches!(check_own(&beta, &media(&ids[1])), Err(CallError::Denied(_))));
        assert_eq!(check_own(&beta, &["digits:12".to_owned()]), Ok(()));
    }
}
