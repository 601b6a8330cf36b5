//! What a program may tell Asterisk on the media connection.

use serde_json::json;

/// Longest correlation id: `chan_websocket` refuses text above its own limit, and
/// every id comes back in an event.
pub const CORRELATION_ID_MAX_BYTES: usize = 64;

/// How control messages are written, both ways. It is fixed when the channel is
/// made: plain text unless its `transport_data` holds `f(json)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ControlFormat {
    /// One line of words.
    #[default]
    Plain,
    /// One JSON object; says more, and is the one that Asterisk extends.
    Json,
}

/// Which way audio flows, seen from the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaDirection {
    /// Both ways.
    Both,
    /// Only from Asterisk to the program.
    In,
    /// Only from the program to Asterisk.
    Out,
}

/// A command. The correlation ids come back in the matching event.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MediaCommand {
    /// Answer the channel.
    Answer,
    /// Hang it up and close the connection.
    Hangup,
    /// From here on, keep what is less than a frame until more comes.
    StartMediaBuffering,
    /// Fill the last frame with silence and say when it has been queued.
    StopMediaBuffering {
        /// Comes back in [`super::MediaEvent::BufferingCompleted`].
        correlation_id: Option<String>,
    },
    /// Say when everything sent so far has been played.
    MarkMedia {
        /// Comes back in [`super::MediaEvent::MarkProcessed`].
        correlation_id: Option<String>,
    },
    /// Drop everything queued, at once. Pending marks are dropped too, silently.
    FlushMedia,
    /// Play silence and keep what is queued.
    PauseMedia,
    /// Go on.
    ContinueMedia,
    /// Say once when the queue has become empty: [`super::MediaEvent::QueueDrained`].
    ReportQueueDrained,
    /// Say how the queue is: [`super::MediaEvent::Status`].
    GetStatus,
    /// Change the direction (JSON only).
    SetMediaDirection(MediaDirection),
}

/// Why a command cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// A correlation id that would not come back as it is.
    #[error("a correlation id must be 1 to 64 ASCII letters, digits, '-', '_', '.' or ':', not {0:?}; choose another")]
    CorrelationId(String),
    /// A command that only the JSON form has.
    #[error("{0} exists in JSON only; make the channel with f(json) in transport_data")]
    JsonOnly(&'static str),
}

impl MediaCommand {
    /// The command's name on the wire.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Answer => "ANSWER",
            Self::Hangup => "HANGUP",
            Self::StartMediaBuffering => "START_MEDIA_BUFFERING",
            Self::StopMediaBuffering { .. } => "STOP_MEDIA_BUFFERING",
            Self::MarkMedia { .. } => "MARK_MEDIA",
            Self::FlushMedia => "FLUSH_MEDIA",
            Self::PauseMedia => "PAUSE_MEDIA",
            Self::ContinueMedia => "CONTINUE_MEDIA",
            Self::ReportQueueDrained => "REPORT_QUEUE_DRAINED",
            Self::GetStatus => "GET_STATUS",
            Self::SetMediaDirection(_) => "SET_MEDIA_DIRECTION",
        }
    }

    /// The text message to send.
    ///
    /// # Errors
    /// [`CommandError`] when the command has no such form.
    pub fn encode(&self, format: ControlFormat) -> Result<String, CommandError> {
        let name = self.name();
        let correlation = match self {
            Self::StopMediaBuffering { correlation_id } | Self::MarkMedia { correlation_id } => {
                correlation_id.as_deref().map(checked).transpose()?
            }
            _ => None,
        };
        match (format, self) {
            (ControlFormat::Plain, Self::SetMediaDirection(_)) => Err(CommandError::JsonOnly(name)),
            (ControlFormat::Json, Self::SetMediaDirection(direction)) => {
                let direction = match direction {
                    MediaDirection::Both => "both",
                    MediaDirection::In => "in",
                    MediaDirection::Out => "out",
                };
                Ok(json!({ "command": name, "direction": direction }).to_string())
            }
            (ControlFormat::Plain, _) => Ok(match correlation {
                Some(id) => format!("{name} {id}"),
                None => name.to_owned(),
            }),
            (ControlFormat::Json, _) => Ok(match correlation {
                Some(id) => json!({ "command": name, "correlation_id": id }).to_string(),
                None => json!({ "command": name }).to_string(),
            }),
        }
    }
}

fn checked(id: &str) -> Result<&str, CommandError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
    if id.is_empty() || id.len() > CORRELATION_ID_MAX_BYTES || !id.bytes().all(plain) {
        return Err(CommandError::CorrelationId(crate::error::quote(id)));
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn commands_are_words_or_json() {
        let mark = MediaCommand::MarkMedia { correlation_id: Some("m-1".into()) };
        assert_eq!(mark.encode(ControlFormat::Plain).unwrap(), "MARK_MEDIA m-1");
        let json: serde_json::Value = serde_json::from_str(&mark.encode(ControlFormat::Json).unwrap()).unwrap();
        assert_eq!(json, json!({"command": "MARK_MEDIA", "correlation_id": "m-1"}));
        assert_eq!(MediaCommand::FlushMedia.encode(ControlFormat::Plain).unwrap(), "FLUSH_MEDIA");
        let direction = MediaCommand::SetMediaDirection(MediaDirection::In);
        assert_eq!(direction.encode(ControlFormat::Plain), Err(CommandError::JsonOnly("SET_MEDIA_DIRECTION")));
        assert!(direction.encode(ControlFormat::Json).unwrap().contains("\"in\""));
    }

    #[test]
    fn a_correlation_id_cannot_become_a_second_command() {
        for bad in ["", "a b", "a\nHANGUP", "\"", &"x".repeat(65)] {
            let mark = MediaCommand::MarkMedia { correlation_id: Some(bad.to_owned()) };
            for format in [ControlFormat::Plain, ControlFormat::Json] {
                assert!(mark.encode(format).is_err(), "{bad:?}");
            }
        }
    }
}
