//! Which of our crates may use which. `ARCHITECTURE.md` says why.

use std::collections::{BTreeMap, BTreeSet};

/// A crate and what it may use of ours.
const MAY_USE: [(&str, &[&str]); 19] = [
    ("voxtra-core", &[]),
    ("voxtra-audio", &["voxtra-core"]),
    ("voxtra-ari", &["voxtra-test-support"]),
    ("voxtra-telephony", &["voxtra-core", "voxtra-audio", "voxtra-ari", "voxtra-test-support"]),
    ("voxtra-plugins", &["voxtra-core"]),
    ("voxtra-session", &["voxtra-core", "voxtra-plugins"]),
    ("voxtra-services", &["voxtra-core", "voxtra-audio", "voxtra-test-support"]),
    ("voxtra-egress", &["voxtra-core"]),
    ("voxtra-artifacts", &["voxtra-core", "voxtra-test-support"]),
    ("voxtra-directory", &["voxtra-core", "voxtra-test-support"]),
    ("voxtra-loader", &["voxtra-core", "voxtra-artifacts", "voxtra-directory", "voxtra-plugins"]),
    ("voxtra", HOST),
    ("voxtra-sdk", &["voxtra-sdk-macros"]),
    ("voxtra-sdk-macros", &[]),
    ("voxtra-test-support", &[]),
    (
        "voxtra-bench",
        &[
            "voxtra-core",
            "voxtra-ari",
            "voxtra-telephony",
            "voxtra-plugins",
            "voxtra-session",
            "voxtra-services",
            "voxtra-egress",
            "voxtra-loader",
            "voxtra-test-support",
        ],
    ),
    (
        "voxtra-e2e",
        &[
            "voxtra-core",
            "voxtra-audio",
            "voxtra-ari",
            "voxtra-telephony",
            "voxtra-plugins",
            "voxtra-session",
            "voxtra-services",
            "voxtra-test-support",
        ],
    ),
    ("xtask", &["voxtra-test-support"]),
    // Any guest.
    (GUEST, &["voxtra-sdk"]),
];

const HOST: &[&str] = &[
    "voxtra-core",
    "voxtra-audio",
    "voxtra-ari",
    "voxtra-telephony",
    "voxtra-plugins",
    "voxtra-session",
    "voxtra-services",
    "voxtra-egress",
    "voxtra-artifacts",
    "voxtra-directory",
    "voxtra-loader",
];

/// Stands for every crate whose name begins so.
const GUEST: &str = "voxtra-guest-";

/// A sentence for each arrow that should not be.
pub(crate) fn faults(uses: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let mut faults = Vec::new();
    for (user, used) in uses {
        let Some(allowed) = allowed(user) else {
            faults.push(format!("{user} has no line among the arrows: add one to xtask/src/deps/arrows.rs"));
            continue;
        };
        let wrong = used.iter().filter(|used| !allowed.contains(&used.as_str()));
        faults.extend(wrong.map(|used| format!("{user} must not use {used}: see xtask/src/deps/arrows.rs")));
    }
    faults
}

fn allowed(user: &str) -> Option<&'static [&'static str]> {
    let line = MAY_USE.iter().find(|(name, _)| *name == user || (*name == GUEST && user.starts_with(GUEST)));
    line.map(|(_, allowed)| *allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults_of(user: &str, used: &str) -> Vec<String> {
        faults(&BTreeMap::from([(user.to_owned(), BTreeSet::from([used.to_owned()]))]))
    }

    #[test]
    fn plugins_never_see_telephony() {
        let faults = faults_of("voxtra-plugins", "voxtra-telephony");
        assert!(faults.len() == 1 && faults[0].contains("voxtra-plugins") && faults[0].contains("voxtra-telephony"));
    }

    #[test]
    fn allowed_arrows_pass_and_unknown_crates_do_not() {
        assert!(faults_of("voxtra-session", "voxtra-plugins").is_empty());
        assert!(faults_of("voxtra-guest-anything", "voxtra-sdk").is_empty());
        assert_eq!(faults_of("voxtra-guest-anything", "voxtra-core").len(), 1);
        assert_eq!(faults_of("voxtra-new", "voxtra-core").len(), 1);
    }
}
