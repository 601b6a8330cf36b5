//! Where recordings are kept in the end.

mod local;
mod s3;
mod webhook;

use std::path::Path;

use voxtra_core::BoxFuture;
use voxtra_core::recording::RecordingStart;

pub use local::LocalSink;
pub use s3::{S3Options, S3Sink};
pub use webhook::WebhookSink;

/// A whole recording.
#[derive(Debug)]
pub struct Finished<'a> {
    /// Whose it is, and its name.
    pub start: &'a RecordingStart,
    /// The WAV file, to be read only.
    pub file: &'a Path,
    /// Without pauses.
    pub duration_ms: u32,
    /// Of the file.
    pub size_bytes: u64,
    /// Of the file, 64 hexadecimal digits.
    pub sha256: &'a str,
    /// Why it is not all that was to be recorded; a sentence.
    pub failure: Option<&'a str>,
}

impl Finished<'_> {
    /// The file's name anywhere: nothing in it comes from outside unchecked, and no two recordings have the same.
    pub fn file_name(&self) -> String {
        format!("{}-{}.wav", plain(&self.start.name), self.start.id)
    }

    /// `TENANT/YYYY-MM-DD`
    pub fn folder(&self) -> String {
        let date = humantime::format_rfc3339_seconds(self.start.started_at).to_string();
        format!("{}/{}", plain(self.start.tenant.as_str()), date.get(..10).unwrap_or("undated"))
    }

    /// What is known of it, as JSON.
    pub fn metadata(&self) -> serde_json::Value {
        serde_json::json!({
            "recording_id": self.start.id,
            "session_id": self.start.call,
            "tenant": self.start.tenant,
            "name": self.start.name,
            "recorder": self.start.recorder,
            "started_at": humantime::format_rfc3339_millis(self.start.started_at).to_string(),
            "duration_ms": self.duration_ms,
            "size_bytes": self.size_bytes,
            "sha256": self.sha256,
            "format": "wav",
            "failure": self.failure,
        })
    }
}

/// Keeps recordings. It is asked until it has one; asked for one that it has already, it must not make a second of it.
pub trait Sink: Send + Sync {
    /// Its name in the configuration.
    fn name(&self) -> &str;

    /// Keeps it and says where.
    fn keep<'a>(&'a self, recording: &'a Finished<'a>) -> BoxFuture<'a, Result<String, SinkError>>;
}

/// Why a recording was not kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct SinkError {
    /// A sentence.
    pub why: String,
    /// Trying again will not help.
    pub lasting: bool,
}

impl SinkError {
    fn passing(why: impl Into<String>) -> Self {
        Self { why: why.into(), lasting: false }
    }
}

/// Letters, digits, `-`, `_` and `.`, never at the start.
fn plain(text: &str) -> String {
    let plain: String = text
        .chars()
        .take(64)
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' })
        .collect();
    match plain.strip_prefix('.') {
        Some(rest) => format!("_{rest}"),
        None if plain.is_empty() => "_".to_owned(),
        None => plain,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_stays_readable() {
        assert_eq!(plain("call-7.final"), "call-7.final");
        assert_eq!(plain("../../etc"), "_._.._etc");
        assert_eq!(plain(""), "_");
    }

    proptest! {
        #[test]
        fn no_name_leads_out_of_its_folder(name in "\\PC{0,80}") {
            let plain = plain(&name);
            prop_assert!(!plain.starts_with('.') && !plain.contains('/') && !plain.is_empty() && plain.len() <= 65);
        }
    }
}
