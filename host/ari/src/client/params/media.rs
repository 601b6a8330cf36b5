//! Arguments of the verbs about what is heard, sent and recorded.

use serde::Serialize;

/// What to play, under an id chosen by the caller, so that the playback's events
/// can be told from others' even when they arrive before the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Play {
    /// The playback's id. Asterisk does not refuse an id that is in use.
    #[serde(skip)]
    pub playback_id: String,
    /// Media URIs, heard one after the other: `sound:`, `recording:`, `number:`,
    /// `digits:`, `characters:`, `tone:`.
    pub media: Vec<String>,
    /// Language of `sound:` media. Default: the channel's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lang: Option<String>,
    /// Milliseconds to skip at the start of the first medium (`sound:` only).
    #[serde(rename = "offsetms", skip_serializing_if = "Option::is_none")]
    pub offset_ms: Option<u32>,
    /// Milliseconds that [`PlaybackControl::Forward`] and [`PlaybackControl::Reverse`] skip. Asterisk's default is 3,000.
    #[serde(rename = "skipms", skip_serializing_if = "Option::is_none")]
    pub skip_ms: Option<u32>,
}

impl Play {
    /// One medium in the channel's language.
    pub fn new(playback_id: impl Into<String>, media: impl Into<String>) -> Self {
        Self { playback_id: playback_id.into(), media: vec![media.into()], lang: None, offset_ms: None, skip_ms: None }
    }

    /// Several media, one after the other.
    pub fn list<I, S>(playback_id: impl Into<String>, media: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        Self {
            playback_id: playback_id.into(),
            media: media.into_iter().map(Into::into).collect(),
            lang: None,
            offset_ms: None,
            skip_ms: None,
        }
    }

    /// In this language.
    #[must_use]
    pub fn lang(mut self, lang: impl Into<String>) -> Self {
        self.lang = Some(lang.into());
        self
    }
}

/// Digits to send into a channel. Times in milliseconds; unset ones take
/// Asterisk's defaults (100 between digits, 100 each, 0 before and after).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SendDtmf {
    /// `0`-`9`, `*`, `#`, `A`-`D`; `w` waits half a second.
    pub dtmf: String,
    /// Wait before the first.
    #[serde(rename = "before", skip_serializing_if = "Option::is_none")]
    pub before_ms: Option<u32>,
    /// Wait between two.
    #[serde(rename = "between", skip_serializing_if = "Option::is_none")]
    pub between_ms: Option<u32>,
    /// How long each is.
    #[serde(rename = "duration", skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u32>,
    /// Wait after the last.
    #[serde(rename = "after", skip_serializing_if = "Option::is_none")]
    pub after_ms: Option<u32>,
}

/// What to do with a playback that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlaybackControl {
    /// From the start of the medium again.
    Restart,
    /// Stop for now.
    Pause,
    /// Go on after a pause.
    Unpause,
    /// Back by [`Play::skip_ms`].
    Reverse,
    /// On by [`Play::skip_ms`].
    Forward,
}

impl PlaybackControl {
    pub(crate) fn wire(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Pause => "pause",
            Self::Unpause => "unpause",
            Self::Reverse => "reverse",
            Self::Forward => "forward",
        }
    }
}

/// What happens when there is a recording of that name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum IfExists {
    /// The new one is refused. Asterisk's default.
    Fail,
    /// The old one is lost.
    Overwrite,
    /// The new one is added at its end.
    Append,
}

/// The key by which who is recorded ends the recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum TerminateOn {
    /// None does. Asterisk's default.
    #[serde(rename = "none")]
    Never,
    /// Any key.
    #[serde(rename = "any")]
    Any,
    /// The star.
    #[serde(rename = "*")]
    Star,
    /// The hash.
    #[serde(rename = "#")]
    Hash,
}

/// A recording to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Record {
    /// Its name without an extension, below Asterisk's folder of recordings; slashes make folders.
    pub name: String,
    /// The format, which is the file's extension: `wav` (16-bit PCM, 8 kHz), `wav16` (16 kHz), `ulaw`, `gsm`, …
    pub format: String,
    /// Ends it after so many seconds. Asterisk's default is 0: no limit.
    #[serde(rename = "maxDurationSeconds", skip_serializing_if = "Option::is_none")]
    pub max_duration_s: Option<u32>,
    /// Ends it after so many seconds of silence. Asterisk's default is 0: no limit.
    #[serde(rename = "maxSilenceSeconds", skip_serializing_if = "Option::is_none")]
    pub max_silence_s: Option<u32>,
    /// Asterisk's default is [`IfExists::Fail`].
    #[serde(rename = "ifExists", skip_serializing_if = "Option::is_none")]
    pub if_exists: Option<IfExists>,
    /// Plays a beep when it starts. Default: false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub beep: bool,
    /// Asterisk's default is [`TerminateOn::Never`].
    #[serde(rename = "terminateOn", skip_serializing_if = "Option::is_none")]
    pub terminate_on: Option<TerminateOn>,
}

impl Record {
    /// A recording without limits that does not replace another.
    pub fn new(name: impl Into<String>, format: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            format: format.into(),
            max_duration_s: None,
            max_silence_s: None,
            if_exists: None,
            beep: false,
            terminate_on: None,
        }
    }

    /// Ends it after so many seconds (measured, 22.10: up to one second more).
    #[must_use]
    pub fn max_duration_s(mut self, seconds: u32) -> Self {
        self.max_duration_s = Some(seconds);
        self
    }

    /// Ends it after so many seconds of silence.
    #[must_use]
    pub fn max_silence_s(mut self, seconds: u32) -> Self {
        self.max_silence_s = Some(seconds);
        self
    }

    /// What happens when there is one already.
    #[must_use]
    pub fn if_exists(mut self, what: IfExists) -> Self {
        self.if_exists = Some(what);
        self
    }

    /// Starts with a beep.
    #[must_use]
    pub fn beep(mut self) -> Self {
        self.beep = true;
        self
    }

    /// Ends it by a key.
    #[must_use]
    pub fn terminate_on(mut self, key: TerminateOn) -> Self {
        self.terminate_on = Some(key);
        self
    }
}
