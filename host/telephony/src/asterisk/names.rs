//! Ids that the host chooses at the PBX, and the checks on what a handler passes through to it.
//!
//! A media channel's and a bridge's id say whose they are: a fixed prefix, a tag of the application, and a UUID. So the
//! host knows its own after a restart, and two hosts at one PBX (with different applications) never touch each
//! other's.

use uuid::Uuid;
use voxtra_core::CallError;
use voxtra_core::verbs::{DTMF_DIGITS, MAX_DIGITS, is_sound_name};

/// What every media channel of any host begins with.
const MEDIA_PREFIX: &str = "voxtra-media-";
/// What every snoop channel of any host begins with.
const SNOOP_PREFIX: &str = "voxtra-snoop-";
/// What every bridge of any host begins with.
const BRIDGE_PREFIX: &str = "voxtra-bridge-";
/// What every playback begins with.
const PLAYBACK_PREFIX: &str = "voxtra-play-";
/// Asterisk's longest extension and context name, one less than its `AST_MAX_EXTENSION` and `AST_MAX_CONTEXT` (80).
const DIALPLAN_NAME_MAX_CHARS: usize = 79;
/// Longest endpoint taken.
const ENDPOINT_MAX_CHARS: usize = 255;
/// Longest name of a variable taken: what the contract promises.
const VARIABLE_NAME_MAX_BYTES: usize = 64;
/// Longest value taken: what metadata may have.
const VARIABLE_VALUE_MAX_BYTES: usize = 8192;
/// Longest name of a stored recording; with its folder and its suffix it has to fit into a path.
const STORED_NAME_MAX_BYTES: usize = 128;
/// Longest caller id taken; Asterisk's own buffers have 80.
const CALLER_ID_MAX_BYTES: usize = 79;
/// Variables by which Asterisk runs programs, sends calls elsewhere or finds media; who may set them is the operator.
const ACTED_ON: [&str; 14] = [
    "MONITOR_EXEC",
    "MONITOR_EXEC_ARGS",
    "MIXMONITOR_EXEC",
    "MIXMONITOR_FILENAME",
    "TRANSFER_CONTEXT",
    "FORWARD_CONTEXT",
    "GOTO_ON_BLINDXFR",
    "BLINDTRANSFER",
    "EXITCONTEXT",
    "DYNAMIC_FEATURES",
    "DYNAMIC_EXIT_CONTEXT",
    "MEDIA_WEBSOCKET_CONNECTION_ID",
    "CHANNEL",
    "HANGUPCAUSE",
];
/// Longest media URI taken.
const MEDIA_URI_MAX_BYTES: usize = 1024;
/// What Asterisk 22 can play. For anything else it answers 201, plays nothing and never says that it is over.
const MEDIA_SCHEMES: [&str; 6] = ["sound:", "recording:", "number:", "digits:", "characters:", "tone:"];

/// The ids of one application's channels and bridges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    media: String,
    snoop: String,
    bridge: String,
}

impl Names {
    pub(super) fn of_app(app: &str) -> Self {
        let tag = fnv1a(app);
        Self {
            media: format!("{MEDIA_PREFIX}{tag:08x}-"),
            snoop: format!("{SNOOP_PREFIX}{tag:08x}-"),
            bridge: format!("{BRIDGE_PREFIX}{tag:08x}-"),
        }
    }

    pub(super) fn new_snoop(&self) -> String {
        format!("{}{}", self.snoop, Uuid::new_v4())
    }

    pub(super) fn new_media(&self) -> String {
        format!("{}{}", self.media, Uuid::new_v4())
    }

    pub(super) fn new_bridge(&self) -> String {
        format!("{}{}", self.bridge, Uuid::new_v4())
    }

    /// Whether this application's host made the channel.
    pub(super) fn owns_media(&self, channel_id: &str) -> bool {
        channel_id.starts_with(&self.media) || channel_id.starts_with(&self.snoop)
    }

    /// Whether this application's host made the bridge.
    pub(super) fn owns_bridge(&self, bridge_id: &str) -> bool {
        bridge_id.starts_with(&self.bridge)
    }
}

/// Whether a channel is some host's media or snoop channel, so never a call.
pub(super) fn is_media(channel_id: &str) -> bool {
    channel_id.starts_with(MEDIA_PREFIX) || channel_id.starts_with(SNOOP_PREFIX)
}

pub(super) fn new_playback() -> String {
    format!("{PLAYBACK_PREFIX}{}", Uuid::new_v4())
}

/// 32-bit FNV-1a: the same in every version of the host, which a standard hasher does not promise.
fn fnv1a(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Where a transfer goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// Another endpoint, reached by the channel's own protocol.
    Endpoint(String),
    /// An extension, in this context or the default one.
    Extension { extension: String, context: Option<String> },
}

impl Target {
    /// `PJSIP/…` is an endpoint; everything else an extension, `extension@context` one with its context.
    pub(super) fn parse(text: &str) -> Result<Self, CallError> {
        let refuse = |why: &str| {
            let shown: String = text.chars().filter(|c| !c.is_control()).take(80).collect();
            Err(CallError::InvalidArgument(format!(
                "the transfer target {shown:?} {why}; give an extension such as \"100\" or \"100@context\", or an endpoint such as \"PJSIP/100\""
            )))
        };
        if text.contains('/') {
            if text.len() > ENDPOINT_MAX_CHARS {
                return refuse("is too long");
            }
            let allowed = |c: char| c.is_ascii_alphanumeric() || "/+-_.:@*#;=%~".contains(c);
            let whole = text.split_once('/').is_some_and(|(tech, rest)| !tech.is_empty() && !rest.is_empty());
            return if whole && text.chars().all(allowed) {
                Ok(Self::Endpoint(text.to_owned()))
            } else {
                refuse("is not an endpoint")
            };
        }
        let (extension, context) = match text.split_once('@') {
            Some((extension, context)) => (extension, Some(context)),
            None => (text, None),
        };
        if !dialplan_name(extension) || !context.is_none_or(dialplan_name) {
            return refuse("is not an extension");
        }
        Ok(Self::Extension { extension: extension.to_owned(), context: context.map(str::to_owned) })
    }
}

/// Letters, digits and `+ * # _ - .`: what an extension or context is made of, and nothing that a dialplan function's
/// arguments would take for more than one.
pub(super) fn dialplan_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= DIALPLAN_NAME_MAX_CHARS
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "+*#_-.".contains(c))
}

/// Keys and pauses; `w` waits half a second.
pub(super) fn check_dtmf(digits: &str) -> Result<(), CallError> {
    if digits.is_empty() || digits.len() > MAX_DIGITS as usize {
        return Err(CallError::InvalidArgument(format!("send from 1 to {MAX_DIGITS} keys, not {}", digits.len())));
    }
    match digits.chars().find(|c| !DTMF_DIGITS.contains(*c) && *c != 'w') {
        Some(wrong) => Err(CallError::InvalidArgument(format!(
            "{wrong:?} is not a key; send {DTMF_DIGITS} and w for a pause of half a second"
        ))),
        None => Ok(()),
    }
}

/// A name and a value that can be given to the PBX: a plain variable's, none of a function, of a shared or an inherited
/// variable, and nothing in the value that a dialplan would work out.
pub(super) fn check_variable(name: &str, value: &str) -> Result<(), CallError> {
    check_variable_name(name)?;
    let refuse = |why: &str| Err(CallError::InvalidArgument(format!("the value of the variable {name} {why}")));
    if value.len() > VARIABLE_VALUE_MAX_BYTES {
        return refuse(&format!("is longer than {VARIABLE_VALUE_MAX_BYTES} bytes; shorten it"));
    }
    if value.chars().any(char::is_control) {
        return refuse("holds a control character; remove it");
    }
    if value.contains("${") || value.contains("$[") {
        return refuse("holds ${ or $[, which a dialplan would work out; remove it");
    }
    Ok(())
}

/// A plain variable's name: with a parenthesis it would be a function such as `SHELL()`, which the PBX would run.
pub(super) fn check_variable_name(name: &str) -> Result<(), CallError> {
    let starts_well = name.chars().next().is_some_and(|c| c.is_ascii_alphabetic());
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let acted_on = ACTED_ON.iter().any(|known| name.eq_ignore_ascii_case(known));
    if starts_well && plain && name.len() <= VARIABLE_NAME_MAX_BYTES && !acted_on {
        return Ok(());
    }
    let shown: String = name.chars().filter(|c| !c.is_control()).take(80).collect();
    Err(CallError::InvalidArgument(if acted_on {
        format!("the variable {shown} is one that Asterisk acts on; use a name of your own")
    } else {
        format!(
            "{shown:?} is not a variable's name; use a letter, then letters, digits and _, at most {VARIABLE_NAME_MAX_BYTES} bytes"
        )
    }))
}

/// A name under which the PBX can store a recording: no folder of it is left.
pub(super) fn check_stored_name(name: &str) -> Result<(), CallError> {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if plain && !name.is_empty() && !name.starts_with('.') && name.len() <= STORED_NAME_MAX_BYTES {
        return Ok(());
    }
    let shown: String = name.chars().filter(|c| !c.is_control()).take(80).collect();
    Err(CallError::InvalidArgument(format!(
        "{shown:?} cannot be the name of a recording; use letters, digits, -, _ and ., at most {STORED_NAME_MAX_BYTES} bytes"
    )))
}

/// What is dialled: technology and address, and nothing that would be dialled beside it.
pub(super) fn check_endpoint(endpoint: &str) -> Result<(), CallError> {
    match Target::parse(endpoint)? {
        Target::Endpoint(_) => Ok(()),
        Target::Extension { .. } => {
            Err(CallError::InvalidArgument(format!("{endpoint:?} is not an endpoint; give one such as \"PJSIP/100\"")))
        }
    }
}

/// A caller id: a number, or a name and a number.
pub(super) fn check_caller_id(text: &str) -> Result<(), CallError> {
    let allowed = |c: char| !c.is_control() && !"${}[]()\\;,|&".contains(c);
    if text.len() <= CALLER_ID_MAX_BYTES && text.chars().all(allowed) {
        return Ok(());
    }
    Err(CallError::InvalidArgument(format!(
        "the caller id is longer than {CALLER_ID_MAX_BYTES} bytes or holds a character that no caller id has; give a number"
    )))
}

/// Media that the PBX can play.
pub(super) fn check_media(media: &[String]) -> Result<(), CallError> {
    if media.is_empty() {
        return Err(CallError::InvalidArgument("there is nothing to play; name at least one prompt".to_owned()));
    }
    for uri in media {
        let known = MEDIA_SCHEMES.iter().any(|scheme| uri.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()));
        if !known || uri.len() > MEDIA_URI_MAX_BYTES || uri.chars().any(char::is_control) {
            let shown: String = uri.chars().filter(|c| !c.is_control()).take(80).collect();
            return Err(CallError::InvalidArgument(format!(
                "Asterisk cannot play {shown:?}; begin it with one of {}",
                MEDIA_SCHEMES.join(" ")
            )));
        }
        match uri.split_once(':') {
            Some(("sound", name)) => check_sound(name)?,
            // Asterisk would look for it from its folder of recordings on, wherever that leads.
            Some(("recording", name)) => check_stored_name(name)?,
            _ => {}
        }
    }
    Ok(())
}

/// A sound below Asterisk's own folder. Asterisk itself plays any file that it can read: `sound:/etc/…`, `sound:../…`.
fn check_sound(name: &str) -> Result<(), CallError> {
    if is_sound_name(name) {
        return Ok(());
    }
    let shown: String = name.chars().take(80).collect();
    Err(CallError::InvalidArgument(format!(
        "{shown:?} is no sound of Asterisk's; write letters, digits, -, _, + and ., with / between folders, as in sound:digits/1"
    )))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_id_says_whose_it_is_and_only_its_own_host_owns_it() {
        let (ours, others) = (Names::of_app("acme"), Names::of_app("beta"));
        let media = ours.new_media();
        assert!(ours.owns_media(&media) && !others.owns_media(&media));
        assert!(is_media(&media) && is_media(&others.new_media()));
        assert!(ours.owns_bridge(&ours.new_bridge()) && !ours.owns_bridge(&others.new_bridge()));
        assert!(!is_media("1700000000.17"));
        assert_eq!(ours, Names::of_app("acme"));
    }

    #[test]
    fn a_target_is_an_endpoint_or_an_extension() {
        let endpoint = |t: &str| Target::Endpoint(t.to_owned());
        let ext = |e: &str, c: Option<&str>| Target::Extension { extension: e.into(), context: c.map(str::to_owned) };
        assert_eq!(Target::parse("PJSIP/100").unwrap(), endpoint("PJSIP/100"));
        assert_eq!(Target::parse("PJSIP/+265@trunk").unwrap(), endpoint("PJSIP/+265@trunk"));
        assert_eq!(Target::parse("+265").unwrap(), ext("+265", None));
        assert_eq!(Target::parse("svc-echo@from-sip").unwrap(), ext("svc-echo", Some("from-sip")));
        for wrong in
            ["", "@", "100@", "/", "PJSIP/", "/100", "1,2", "a(b)", "${X}", "a b", "1\n", "PJSIP/1 2", "100&101"]
        {
            assert!(matches!(Target::parse(wrong), Err(CallError::InvalidArgument(_))), "{wrong:?}");
        }
    }

    #[test]
    fn only_keys_and_pauses_are_sent() {
        assert!(check_dtmf("0123456789*#ABCDw").is_ok());
        for wrong in ["", "x", "1 2", "é", &"1".repeat(65)] {
            assert!(check_dtmf(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn media_that_asterisk_would_be_silent_about_are_refused() {
        assert!(check_media(&["sound:a".into(), "tone:ring".into()]).is_ok());
        for good in ["sound:digits/1", "sound:en_GB/vm-goodbye.v2", "recording:0a1b-c_d"] {
            assert!(check_media(&[good.into()]).is_ok(), "{good}");
        }
        for bad in [
            "sound:/etc/passwd",
            "sound:../../secret",
            "sound:a/../b",
            "sound:a//b",
            "sound:.hidden",
            "sound:a&b",
            "sound:a b",
            "recording:../x",
            "recording:/x",
            "recording:a/b",
        ] {
            assert!(check_media(&[bad.into()]).is_err(), "{bad}");
        }
        for wrong in ["a", "nosuch:a", "sound:", "http://x", "sound:a\nb"] {
            assert!(check_media(&[wrong.to_owned()]).is_err(), "{wrong:?}");
        }
        assert!(check_media(&[]).is_err());
    }

    proptest! {
        #[test]
        fn no_text_is_a_target_that_a_dialplan_function_would_read_as_more(text in "\\PC{0,90}") {
            if let Ok(Target::Extension { extension, context }) = Target::parse(&text) {
                for part in [Some(extension), context].into_iter().flatten() {
                    let divides = part.contains([',', '(', ')', '$', '{', '}', '&', '|', ' ']);
                    prop_assert!(!divides);
                }
            }
        }
    }
}
