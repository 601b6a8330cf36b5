//! What Asterisk says on the media connection, in plain text (`NAME key:value …`)
//! or JSON (`{"event": NAME, …}`). Which of both it is shows in the first character.

use std::collections::BTreeMap;

use serde_json::Value;

/// The first message: what the audio is and whose.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct MediaStart {
    /// The id that was connected to.
    pub connection_id: String,
    /// The channel's name, such as `WebSocket/INCOMING/0x7f…`.
    pub channel: String,
    /// The channel's id; versions before 20.18 and 22.8 do not say it.
    pub channel_id: Option<String>,
    /// The audio's format, such as `slin16`; early versions do not say it.
    pub format: Option<String>,
    /// Bytes of one frame: send this much at a time, or multiples.
    pub optimal_frame_size_bytes: u32,
    /// Duration of one frame; early versions do not say it.
    pub ptime_ms: Option<u32>,
    /// The channel's variables (JSON only).
    pub channel_variables: BTreeMap<String, String>,
}

/// How Asterisk's queue of audio to play is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct MediaStatus {
    /// Frames queued.
    pub queue_length: u32,
    /// Where it says [`MediaEvent::Xon`].
    pub xon_level: u32,
    /// Where it says [`MediaEvent::Xoff`].
    pub xoff_level: u32,
    /// More would be lost.
    pub queue_full: bool,
    /// Between START_ and STOP_MEDIA_BUFFERING.
    pub bulk_media: bool,
    /// Paused.
    pub media_paused: bool,
}

/// One control message from Asterisk.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MediaEvent {
    /// Always the first.
    Start(MediaStart),
    /// The other side of the call pressed and released a key.
    DtmfEnd {
        /// `0`-`9`, `*`, `#`, `A`-`D`.
        digit: char,
        /// For how long, when Asterisk says it (22.10 does not).
        duration_ms: Option<u32>,
    },
    /// Stop sending: the queue is nearly full.
    Xoff,
    /// Sending is possible again.
    Xon,
    /// Everything sent before a mark has been played.
    MarkProcessed {
        /// The mark's id, if it had one.
        correlation_id: Option<String>,
    },
    /// The end of a buffered piece has been queued.
    BufferingCompleted {
        /// The id given at its end, if any.
        correlation_id: Option<String>,
    },
    /// The queue has become empty, as asked for.
    QueueDrained,
    /// The answer to GET_STATUS.
    Status(MediaStatus),
    /// Asterisk did not like a command.
    Error {
        /// What it says.
        text: String,
    },
    /// Anything else, as it came (shortened).
    Unknown {
        /// The text.
        raw: String,
    },
}

impl MediaEvent {
    /// Reads a text message. What cannot be read is [`MediaEvent::Unknown`].
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let fields =
            if text.trim_start().starts_with('{') { Fields::from_json(text) } else { Fields::from_words(text) };
        fields.and_then(|fields| fields.event()).unwrap_or_else(|| Self::Unknown { raw: crate::error::quote(text) })
    }
}

/// A message of either form, taken apart.
struct Fields {
    name: String,
    values: BTreeMap<String, Value>,
    /// What follows the name without a key.
    bare: Option<String>,
}

impl Fields {
    fn from_json(text: &str) -> Option<Self> {
        let Ok(Value::Object(object)) = serde_json::from_str(text) else {
            return None;
        };
        let values: BTreeMap<String, Value> = object.into_iter().collect();
        let name = values.get("event")?.as_str()?.to_owned();
        Some(Self { name, values, bare: None })
    }

    fn from_words(text: &str) -> Option<Self> {
        let (name, rest) = match text.trim().split_once(char::is_whitespace) {
            Some((name, rest)) => (name, rest.trim()),
            None => (text.trim(), ""),
        };
        let mut values = BTreeMap::new();
        // The one value with blanks in it comes last.
        let (keyed, tail) = match rest.split_once("error_text:") {
            Some((before, after)) => (before, Some(after)),
            None => (rest, None),
        };
        if let Some(tail) = tail {
            values.insert("error_text".to_owned(), Value::String(tail.trim().to_owned()));
        }
        for word in keyed.split_whitespace() {
            if let Some((key, value)) = word.split_once(':') {
                values.insert(key.to_owned(), Value::String(value.to_owned()));
            }
        }
        let bare = (!rest.is_empty()).then(|| rest.to_owned());
        Some(Self { name: name.to_owned(), values, bare })
    }

    fn event(&self) -> Option<MediaEvent> {
        Some(match self.name.as_str() {
            "MEDIA_START" => MediaEvent::Start(self.start()?),
            "DTMF_END" => MediaEvent::DtmfEnd {
                digit: self.digit()?,
                duration_ms: self.number("duration_ms").or_else(|| self.number("duration")),
            },
            "MEDIA_XOFF" => MediaEvent::Xoff,
            "MEDIA_XON" => MediaEvent::Xon,
            "QUEUE_DRAINED" => MediaEvent::QueueDrained,
            "MEDIA_MARK_PROCESSED" => MediaEvent::MarkProcessed { correlation_id: self.correlation() },
            "MEDIA_BUFFERING_COMPLETED" => MediaEvent::BufferingCompleted { correlation_id: self.correlation() },
            "STATUS" => MediaEvent::Status(MediaStatus {
                queue_length: self.number("queue_length")?,
                xon_level: self.number("xon_level").unwrap_or_default(),
                xoff_level: self.number("xoff_level").unwrap_or_default(),
                queue_full: self.flag("queue_full"),
                bulk_media: self.flag("bulk_media"),
                media_paused: self.flag("media_paused"),
            }),
            "ERROR" => {
                MediaEvent::Error { text: crate::error::quote(&self.text("error_text").or_else(|| self.bare.clone())?) }
            }
            _ => return None,
        })
    }

    fn start(&self) -> Option<MediaStart> {
        Some(MediaStart {
            connection_id: self.text("connection_id").unwrap_or_default(),
            channel: self.text("channel").unwrap_or_default(),
            channel_id: self.text("channel_id"),
            format: self.text("format"),
            optimal_frame_size_bytes: self.number("optimal_frame_size")?,
            ptime_ms: self.number("ptime"),
            channel_variables: match self.values.get("channel_variables") {
                Some(Value::Object(variables)) => variables
                    .iter()
                    .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
                    .collect(),
                _ => BTreeMap::new(),
            },
        })
    }

    fn digit(&self) -> Option<char> {
        let text = self.text("digit")?;
        let mut characters = text.chars();
        let digit = characters.next()?.to_ascii_uppercase();
        let telephone = matches!(digit, '0'..='9' | '*' | '#' | 'A'..='D');
        (telephone && characters.next().is_none()).then_some(digit)
    }

    /// JSON has a key for it; plain text puts it after the name.
    fn correlation(&self) -> Option<String> {
        self.text("correlation_id").or_else(|| self.bare.clone())
    }

    fn text(&self, key: &str) -> Option<String> {
        let text = self.values.get(key)?.as_str()?;
        (!text.is_empty()).then(|| text.to_owned())
    }

    fn number(&self, key: &str) -> Option<u32> {
        match self.values.get(key)? {
            Value::String(text) => text.parse().ok(),
            Value::Number(number) => number.as_u64().and_then(|n| u32::try_from(n).ok()),
            _ => None,
        }
    }

    fn flag(&self, key: &str) -> bool {
        match self.values.get(key) {
            Some(Value::Bool(flag)) => *flag,
            Some(Value::String(text)) => matches!(text.as_str(), "true" | "yes" | "1"),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_forms_of_the_start_say_the_same() {
        let plain = MediaEvent::parse(
            "MEDIA_START connection_id:c-1 channel:WebSocket/INCOMING/0x7f channel_id:em/1 format:slin16 optimal_frame_size:640 ptime:20",
        );
        let json = MediaEvent::parse(
            r#"{"event":"MEDIA_START","connection_id":"c-1","channel":"WebSocket/INCOMING/0x7f","channel_id":"em/1",
               "format":"slin16","optimal_frame_size":640,"ptime":20,"channel_variables":{}}"#,
        );
        assert_eq!(plain, json);
        let MediaEvent::Start(start) = plain else { panic!("{plain:?}") };
        assert_eq!((start.optimal_frame_size_bytes, start.ptime_ms), (640, Some(20)));
        assert_eq!(start.channel_id.as_deref(), Some("em/1"));
        let early = MediaEvent::parse("MEDIA_START connection_id:c channel:WebSocket/x optimal_frame_size:160");
        assert!(matches!(early, MediaEvent::Start(MediaStart { format: None, ptime_ms: None, .. })));
    }

    #[test]
    fn every_event_is_read_in_both_forms() {
        for (plain, json, want) in [
            ("MEDIA_XOFF channel_id:1.2", r#"{"event":"MEDIA_XOFF","channel_id":"1.2"}"#, MediaEvent::Xoff),
            ("MEDIA_XON", r#"{"event":"MEDIA_XON"}"#, MediaEvent::Xon),
            ("QUEUE_DRAINED", r#"{"event":"QUEUE_DRAINED"}"#, MediaEvent::QueueDrained),
            (
                "DTMF_END digit:# channel_id:7",
                r##"{"event":"DTMF_END","digit":"#","channel_id":"7"}"##,
                MediaEvent::DtmfEnd { digit: '#', duration_ms: None },
            ),
            (
                "MEDIA_MARK_PROCESSED m1",
                r#"{"event":"MEDIA_MARK_PROCESSED","correlation_id":"m1"}"#,
                MediaEvent::MarkProcessed { correlation_id: Some("m1".into()) },
            ),
            (
                "MEDIA_BUFFERING_COMPLETED",
                r#"{"event":"MEDIA_BUFFERING_COMPLETED","correlation_id":""}"#,
                MediaEvent::BufferingCompleted { correlation_id: None },
            ),
            (
                "STATUS channel_id:1 queue_length:3 xon_level:800 xoff_level:900 queue_full:false bulk_media:true media_paused:false",
                r#"{"event":"STATUS","queue_length":3,"xon_level":800,"xoff_level":900,"queue_full":false,"bulk_media":true,"media_paused":false}"#,
                MediaEvent::Status(MediaStatus {
                    queue_length: 3,
                    xon_level: 800,
                    xoff_level: 900,
                    queue_full: false,
                    bulk_media: true,
                    media_paused: false,
                }),
            ),
            (
                "ERROR channel_id:1 error_text:SET_X only supports JSON format.",
                r#"{"event":"ERROR","channel_id":"1","error_text":"SET_X only supports JSON format."}"#,
                MediaEvent::Error { text: "SET_X only supports JSON format.".into() },
            ),
        ] {
            assert_eq!(MediaEvent::parse(plain), want, "{plain}");
            assert_eq!(MediaEvent::parse(json), want, "{json}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_kept_as_it_came() {
        for text in [
            "",
            "{",
            "{}",
            "[1]",
            "NEWS a:b",
            "MEDIA_START",
            "MEDIA_START optimal_frame_size:-1",
            "DTMF_END digit:",
            "DTMF_END digit:12",
            "DTMF_END digit:é",
            r#"{"event":5}"#,
            r#"{"event":"MEDIA_START","optimal_frame_size":99999999999}"#,
        ] {
            assert!(matches!(MediaEvent::parse(text), MediaEvent::Unknown { .. }), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(
            name in prop::sample::select(vec!["MEDIA_START ", "DTMF_END digit:", "STATUS queue_length:", "ERROR error_text:", "", "{\"event\":"]),
            rest in "\\PC{0,120}",
        ) {
            let _ = MediaEvent::parse(&format!("{name}{rest}"));
        }
    }
}
