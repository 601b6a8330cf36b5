//! Playbacks, recordings and sounds.

use serde::Deserialize;

use super::null_as_default;

/// The state of a playback.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
#[non_exhaustive]
pub enum PlaybackState {
    /// Waits for others on the same channel.
    #[default]
    Queued,
    /// Is being heard.
    Playing,
    /// Between two media of one list.
    Continuing,
    /// Paused.
    Paused,
    /// Ended: played to its end, or stopped.
    Done,
    /// Could not be played, for example because there is no such file.
    Failed,
    /// A state this crate has no name for.
    Other(String),
}

impl From<String> for PlaybackState {
    fn from(text: String) -> Self {
        match text.as_str() {
            "queued" => Self::Queued,
            "playing" => Self::Playing,
            "continuing" => Self::Continuing,
            "paused" => Self::Paused,
            "done" => Self::Done,
            "failed" => Self::Failed,
            _ => Self::Other(text),
        }
    }
}

/// A playback on a channel or a bridge.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Playback {
    /// The id, chosen by whoever asked for it.
    pub id: String,
    /// What is played now.
    #[serde(default, deserialize_with = "null_as_default")]
    pub media_uri: String,
    /// What comes next, empty for the last.
    #[serde(default, deserialize_with = "null_as_default")]
    pub next_media_uri: String,
    /// On what: `channel:ID` or `bridge:ID`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub target_uri: String,
    /// The language asked for.
    #[serde(default, deserialize_with = "null_as_default")]
    pub language: String,
    /// Its state.
    #[serde(default)]
    pub state: PlaybackState,
}

impl Playback {
    /// The id of the channel it plays on, when it plays on one.
    #[must_use]
    pub fn channel_id(&self) -> Option<&str> {
        self.target_uri.strip_prefix("channel:")
    }

    /// The id of the bridge it plays on, when it plays on one.
    #[must_use]
    pub fn bridge_id(&self) -> Option<&str> {
        self.target_uri.strip_prefix("bridge:")
    }
}

wire_words! {
    /// The state of a recording that is being made.
    RecordingState {
        /// Waits for others on the same channel.
        #[default]
        Queued = "queued",
        /// Records.
        Recording = "recording",
        /// Paused.
        Paused = "paused",
        /// Ended and stored.
        Done = "done",
        /// Could not be made: see [`LiveRecording::cause`].
        Failed = "failed",
        /// Thrown away.
        Canceled = "canceled",
    }
}

lenient! {
    /// A recording that is being made, or, in its last event, has just ended.
    #[derive(Eq)]
    LiveRecording {
        /// The name, without its format, as it was asked for; it may hold slashes.
        name: String,
        /// The format, which is also the file's extension.
        format: String,
        /// Of what: `channel:ID` or `bridge:ID`.
        target_uri: String,
        /// Its state.
        state: RecordingState,
        /// Length in whole seconds; known when it has ended.
        duration: Option<i64>,
        /// How much of that was talk, in whole seconds; only when a limit of silence was set.
        talking_duration: Option<i64>,
        /// How much of it was silence at the end, in whole seconds; only when a limit of silence was set.
        silence_duration: Option<i64>,
        /// Why it failed; empty when it did not.
        cause: String,
    }
}

impl LiveRecording {
    /// The id of the channel that is recorded, when it is one.
    #[must_use]
    pub fn channel_id(&self) -> Option<&str> {
        self.target_uri.strip_prefix("channel:")
    }

    /// The id of the bridge that is recorded, when it is one.
    #[must_use]
    pub fn bridge_id(&self) -> Option<&str> {
        self.target_uri.strip_prefix("bridge:")
    }
}

lenient! {
    /// A recording that is stored on Asterisk's disk.
    #[derive(Eq)]
    StoredRecording {
        /// The name without its format; folders are parted by slashes.
        name: String,
        /// The format of its first file.
        format: String,
    }
}

lenient! {
    /// A prompt that Asterisk has.
    #[derive(Eq)]
    Sound {
        /// What `sound:` takes.
        id: String,
        /// The words, as far as Asterisk knows them; otherwise empty.
        text: String,
        /// In which formats and languages it is there.
        formats: Vec<SoundFormat>,
    }
}

lenient! {
    all
    /// A format and a language in which a [`Sound`] is there.
    #[derive(Eq)]
    SoundFormat {
        /// The language, such as `en`.
        language: String,
        /// The format, such as `gsm`.
        format: String,
    }
}
