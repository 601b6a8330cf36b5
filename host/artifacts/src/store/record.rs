//! What is known about one handler, and how it may change. Pure: the store keeps it, the host decides.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::key::HandlerKey;
use crate::version::Version;
use crate::words::one_line;

/// Versions that a rollback without a name can go back through.
const MAX_EARLIER: usize = 32;

/// Lines of history; the oldest go first. About 60 KB on disk.
const MAX_HISTORY: usize = 200;

/// Versions that are not taken from their file again until another has been.
const MAX_HELD_BACK: usize = 16;

/// Signatures that are kept: more than there are versions that can be gone to without naming them. 300 bytes each, as a rule.
const MAX_SIGNATURES: usize = 64;

const MAX_ACTOR_CHARS: usize = 64;
const MAX_NOTE_CHARS: usize = 200;

/// Why a handler's record changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// Its file has new content.
    FileChanged,
    /// Its manifest names another digest in a registry.
    Oci,
    /// Somebody went back, or chose a version by name.
    Rollback,
    /// A version takes a share of the calls.
    CanaryStarted,
    /// It failed too often and takes none any more.
    CanaryFailed,
    /// It proved itself and takes all of them.
    CanaryPromoted,
    /// It was taken away without a verdict.
    CanaryWithdrawn,
    /// New files are ignored from now on.
    Pinned,
    /// New files count again.
    Unpinned,
}

impl Why {
    /// In people's words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FileChanged => "file changed",
            Self::Oci => "oci",
            Self::Rollback => "rollback",
            Self::CanaryStarted => "canary started",
            Self::CanaryFailed => "canary failed",
            Self::CanaryPromoted => "canary promoted",
            Self::CanaryWithdrawn => "canary withdrawn",
            Self::Pinned => "pinned",
            Self::Unpinned => "unpinned",
        }
    }
}

/// Where a new version comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A file in the plugin directory.
    File,
    /// A registry.
    Oci,
}

impl Source {
    fn why(self) -> Why {
        match self {
            Self::File => Why::FileChanged,
            Self::Oci => Why::Oci,
        }
    }
}

/// Who changes something, when, and what they say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    by: String,
    note: Option<String>,
    at_ms: u64,
}

impl Author {
    /// `by` is whoever acts, `host` or an operator's name, cut at 64 characters; `at` the time of day.
    #[must_use]
    pub fn new(by: &str, at: SystemTime) -> Self {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            by: one_line(by, MAX_ACTOR_CHARS),
            note: None,
            at_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Adds a sentence, cut at 200 characters: a file's name, a registry's reference, a failure.
    #[must_use]
    pub fn saying(mut self, note: &str) -> Self {
        self.note = Some(one_line(note, MAX_NOTE_CHARS));
        self
    }
}

/// One line of a handler's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// When, in milliseconds since 1970, UTC.
    pub at_ms: u64,
    /// What happened.
    pub why: Why,
    /// The version that it happened to.
    pub version: Version,
    /// The version that was current afterwards.
    pub current: Version,
    /// Who did it.
    pub by: String,
    /// What they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A handler that stays at its version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// Who pinned it.
    pub by: String,
    /// When, in milliseconds since 1970, UTC.
    pub at_ms: u64,
    /// Why, in their words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A share of calls, 1 to 100 per cent. With all of them a canary can still be withdrawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct SharePercent(u8);

/// A share that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a canary's share is 1 to 100 per cent, not {0}")]
pub struct ShareError(u8);

impl TryFrom<u8> for SharePercent {
    type Error = ShareError;

    fn try_from(percent: u8) -> Result<Self, ShareError> {
        if (1..=100).contains(&percent) { Ok(Self(percent)) } else { Err(ShareError(percent)) }
    }
}

impl From<SharePercent> for u8 {
    fn from(share: SharePercent) -> Self {
        share.0
    }
}

/// A version that takes a share of the calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// Which.
    pub version: Version,
    /// How many of them.
    pub share_percent: SharePercent,
}

/// How a canary ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CanaryEnd {
    /// It becomes current.
    Promoted,
    /// It failed, and is not taken from its file again until another version has been.
    Failed,
    /// It is taken away without a verdict.
    Withdrawn,
}

/// What would become of a version if it were offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is taken: it is (after [`record_good`](super::VersionStore::record_good), has become) current.
    New,
    /// It is current already.
    Current,
    /// It is the canary already.
    Canary,
    /// The handler is pinned to another one. The sentence says so.
    Pinned(String),
    /// It was left by a rollback or failed as a canary, and no other version has been taken from the file since. The
    /// sentence says so.
    HeldBack(String),
}

impl Standing {
    /// With the command that changes it.
    pub(super) fn of(self, handler: &HandlerKey, version: Version) -> Self {
        match self {
            Self::Pinned(why) => Self::Pinned(format!("{why}: `voxtra handlers unpin {handler}`")),
            Self::HeldBack(why) => {
                let version = version.short();
                Self::HeldBack(format!("{why}: `voxtra handlers rollback {handler} {version}`"))
            }
            other => other,
        }
    }
}

/// Something that cannot be done to a handler as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Another version is wanted while it is pinned.
    #[error("it is pinned to {} (by {by})", current.short())]
    Pinned {
        /// What it is pinned to.
        current: Version,
        /// Who did it.
        by: String,
    },
    /// There is no version to go back to.
    #[error("there is no earlier version to go back to")]
    NothingEarlier,
    /// It is current already.
    #[error("{} is the current version already; nothing to do", .0.short())]
    AlreadyCurrent(Version),
    /// It is not pinned.
    #[error("it is not pinned; nothing to do")]
    NotPinned,
    /// There is no canary.
    #[error("it has no canary; nothing to do")]
    NoCanary,
}

impl ChangeError {
    /// What can be done about it, to be put behind the sentence.
    pub(super) fn advice(&self, handler: &HandlerKey) -> String {
        match self {
            Self::Pinned { .. } => format!("; `voxtra handlers unpin {handler}` first"),
            Self::NothingEarlier => format!(
                "; choose one that `voxtra handlers history {handler}` shows with `voxtra handlers rollback {handler} VERSION`"
            ),
            Self::AlreadyCurrent(_) | Self::NotPinned | Self::NoCanary => String::new(),
        }
    }
}

/// The signature that a version carried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Signed {
    version: Version,
    text: String,
}

/// All that is known about one handler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    current: Version,
    /// What was current before, the last of them last: where a rollback goes.
    earlier: Vec<Version>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pin: Option<Pin>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    canary: Option<Canary>,
    /// What was offered last while it was pinned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    waiting: Option<Version>,
    held_back: Vec<Version>,
    /// Of the versions that carried one; the latest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    signatures: Vec<Signed>,
    history: Vec<HistoryEntry>,
}

impl Record {
    /// A handler's first version.
    pub(super) fn first(version: Version, source: Source, author: &Author) -> Self {
        let mut record = Self {
            current: version,
            earlier: Vec::new(),
            pin: None,
            canary: None,
            waiting: None,
            held_back: Vec::new(),
            signatures: Vec::new(),
            history: Vec::new(),
        };
        record.note(source.why(), version, author);
        record
    }

    /// The version that takes calls.
    #[must_use]
    pub fn current(&self) -> Version {
        self.current
    }

    /// What a rollback would go back to.
    #[must_use]
    pub fn previous(&self) -> Option<Version> {
        self.earlier.last().copied()
    }

    /// Whether and by whom it is pinned to the current version.
    #[must_use]
    pub fn pin(&self) -> Option<&Pin> {
        self.pin.as_ref()
    }

    /// The version that takes a share of the calls.
    #[must_use]
    pub fn canary(&self) -> Option<Canary> {
        self.canary
    }

    /// The version that was offered last while this one was pinned.
    #[must_use]
    pub fn waiting(&self) -> Option<Version> {
        self.waiting
    }

    /// What has happened, the latest last; at most 200 lines.
    #[must_use]
    pub fn history(&self) -> &[HistoryEntry] {
        &self.history
    }

    /// The text of the signature that a version carried when it came; `None`: it is unsigned as far as is known. It was good for
    /// the keys of that time at the most: whoever goes by it checks it again.
    #[must_use]
    pub fn signature(&self, version: Version) -> Option<&str> {
        self.signatures.iter().find(|signed| signed.version == version).map(|signed| signed.text.as_str())
    }

    /// What would become of a version if it were offered now.
    #[must_use]
    pub fn standing(&self, version: Version) -> Standing {
        if version == self.current {
            return Standing::Current;
        }
        if let Some(pin) = &self.pin {
            let (new, current) = (version.short(), self.current.short());
            let by = &pin.by;
            return Standing::Pinned(format!("{new} is ignored: pinned to {current} by {by}; unpin to take it"));
        }
        if self.canary.is_some_and(|canary| canary.version == version) {
            return Standing::Canary;
        }
        if self.held_back.contains(&version) {
            let new = version.short();
            return Standing::HeldBack(format!(
                "{new} is not taken again: it was rolled back or failed as a canary; change the file, or choose it by hand"
            ));
        }
        Standing::New
    }

    /// Every version that must stay on disk whatever is pruned: current, canary and waiting; and of those that were
    /// current, the latest so many.
    pub(super) fn keep(&self, earlier: usize) -> impl Iterator<Item = Version> {
        let named = [Some(self.current), self.canary.map(|canary| canary.version), self.waiting];
        named.into_iter().flatten().chain(self.earlier.iter().rev().take(earlier).copied())
    }

    /// Every version that the record names as one that can be gone to.
    pub(super) fn known(&self) -> impl Iterator<Item = Version> {
        let history = self.history.iter().flat_map(|entry| [entry.version, entry.current]);
        self.keep(usize::MAX).chain(history)
    }

    pub(super) fn offer(&mut self, version: Version, source: Source, author: &Author) -> Standing {
        let standing = self.standing(version);
        match &standing {
            Standing::New => {
                self.canary = None;
                self.take(version, source.why(), author);
            }
            Standing::Pinned(_) => self.waiting = Some(version),
            Standing::Current => self.waiting = None,
            Standing::Canary | Standing::HeldBack(_) => {}
        }
        standing
    }

    /// Goes back, or to a version by name. What is left is not taken from its file again until that changes.
    pub(super) fn roll_back(&mut self, to: Option<Version>, author: &Author) -> Result<Version, ChangeError> {
        self.refuse_if_pinned()?;
        let to = to.or_else(|| self.previous()).ok_or(ChangeError::NothingEarlier)?;
        if to == self.current {
            return Err(ChangeError::AlreadyCurrent(to));
        }
        let left = self.current;
        let canary = self.canary.take().map(|canary| canary.version);
        self.held_back.retain(|held| *held != to);
        self.go_to(to);
        for held in canary.into_iter().chain([left]).filter(|held| *held != to) {
            self.hold_back(held);
        }
        self.note(Why::Rollback, to, author);
        Ok(to)
    }

    pub(super) fn pin_to_current(&mut self, author: &Author) {
        self.canary = None;
        self.pin = Some(Pin { by: author.by.clone(), at_ms: author.at_ms, note: author.note.clone() });
        self.note(Why::Pinned, self.current, author);
    }

    /// Lets new files count again; returns the version that was offered last meanwhile.
    pub(super) fn unpin(&mut self, author: &Author) -> Result<Option<Version>, ChangeError> {
        self.pin.take().ok_or(ChangeError::NotPinned)?;
        self.note(Why::Unpinned, self.current, author);
        Ok(self.waiting.take())
    }

    pub(super) fn start_canary(&mut self, canary: Canary, author: &Author) -> Result<(), ChangeError> {
        self.refuse_if_pinned()?;
        if canary.version == self.current {
            return Err(ChangeError::AlreadyCurrent(canary.version));
        }
        self.held_back.retain(|held| *held != canary.version);
        self.canary = Some(canary);
        self.note(Why::CanaryStarted, canary.version, author);
        Ok(())
    }

    /// Returns the version that is current afterwards.
    pub(super) fn end_canary(&mut self, end: CanaryEnd, author: &Author) -> Result<Version, ChangeError> {
        let canary = self.canary.take().ok_or(ChangeError::NoCanary)?.version;
        match end {
            CanaryEnd::Promoted => self.take(canary, Why::CanaryPromoted, author),
            CanaryEnd::Failed => {
                self.hold_back(canary);
                self.note(Why::CanaryFailed, canary, author);
            }
            CanaryEnd::Withdrawn => self.note(Why::CanaryWithdrawn, canary, author),
        }
        Ok(self.current)
    }

    /// The last signature of a version counts. Those of versions that only the history names go first.
    pub(super) fn keep_signature(&mut self, version: Version, text: &str) {
        if self.signature(version) == Some(text) {
            return;
        }
        self.signatures.retain(|signed| signed.version != version);
        if self.signatures.len() >= MAX_SIGNATURES {
            let needed: BTreeSet<_> = self.keep(usize::MAX).chain(self.held_back.iter().copied()).collect();
            self.signatures.retain(|signed| needed.contains(&signed.version));
        }
        self.signatures.push(Signed { version, text: text.to_owned() });
        drop_oldest(&mut self.signatures, MAX_SIGNATURES);
    }

    /// Forgets versions whose bytes are gone.
    pub(super) fn forget(&mut self, is_gone: impl Fn(Version) -> bool) {
        self.earlier.retain(|version| !is_gone(*version));
        self.signatures.retain(|signed| !is_gone(signed.version));
    }

    fn take(&mut self, version: Version, why: Why, author: &Author) {
        // Only what was taken from the file says that the file has other content now than what is held back.
        let from_file = matches!(why, Why::FileChanged | Why::Oci);
        self.held_back.retain(|held| !from_file && *held != version);
        self.earlier.retain(|earlier| *earlier != version);
        self.earlier.push(self.current);
        drop_oldest(&mut self.earlier, MAX_EARLIER);
        self.current = version;
        self.waiting = None;
        self.note(why, version, author);
    }

    /// Back along what was current before; a version from elsewhere is one step forward.
    fn go_to(&mut self, to: Version) {
        match self.earlier.iter().position(|earlier| *earlier == to) {
            Some(at) => self.earlier.truncate(at),
            None => {
                self.earlier.push(self.current);
                drop_oldest(&mut self.earlier, MAX_EARLIER);
            }
        }
        self.current = to;
    }

    fn hold_back(&mut self, version: Version) {
        self.held_back.retain(|held| *held != version);
        self.held_back.push(version);
        drop_oldest(&mut self.held_back, MAX_HELD_BACK);
    }

    fn refuse_if_pinned(&self) -> Result<(), ChangeError> {
        let pinned = |pin: &Pin| ChangeError::Pinned { current: self.current, by: pin.by.clone() };
        self.pin.as_ref().map_or(Ok(()), |pin| Err(pinned(pin)))
    }

    fn note(&mut self, why: Why, version: Version, author: &Author) {
        let Author { by, note, at_ms } = author.clone();
        self.history.push(HistoryEntry { at_ms, why, version, current: self.current, by, note });
        drop_oldest(&mut self.history, MAX_HISTORY);
    }
}

fn drop_oldest<T>(list: &mut Vec<T>, max: usize) {
    list.drain(..list.len().saturating_sub(max));
}

#[cfg(test)]
mod tests;
