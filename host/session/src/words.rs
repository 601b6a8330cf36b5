//! Words of a handler's that reach a PBX, looked at before anything is done: each is of letters that mean nothing
//! there, or it is refused. Pure.

use serde_json::{Map, Value};
use voxtra_core::CallError;
use voxtra_core::verbs::{DialplanPlace, RecordOptions, Sides, SnoopOptions};

/// A name at a PBX: a queue, a context, a class of music, a recording.
const MAX_NAME_BYTES: usize = 64;

/// A number or an extension.
const MAX_NUMBER_BYTES: usize = 40;

/// A channel technology and what it calls.
const MAX_ENDPOINT_BYTES: usize = 128;

const MAX_VALUE_BYTES: usize = 4_096;
const MAX_VARIABLES: usize = 32;
const MAX_PRIORITY: u32 = 9_999;
const MAX_EVENT_BYTES: usize = 16_384;

/// Variables that Asterisk, or the host, acts on. Compared without regard to case, though Asterisk regards it.
const RESERVED_VARIABLES: &[&str] = &[
    "ABORT",
    "BLINDTRANSFER",
    "CHANNEL",
    "CONTEXT",
    "ENTITYID",
    "ENV",
    "EXTEN",
    "EXITCONTEXT",
    "HANGUPCAUSE",
    "PATH",
    "PITCH",
    "PRIORITY",
    "SYSTEMNAME",
    "TIMEOUT",
    "UNIQUEID",
    "LINKEDID",
    "BRIDGEPEER",
    "BRIDGEPVTCALLID",
];

/// Beginnings of such variables: contexts to go to, programs to run, headers to send, applications' settings.
const RESERVED_PREFIXES: &[&str] = &[
    "VOXTRA",
    "ARI_",
    "STASIS",
    "TRANSFER",
    "ATTENDED",
    "FORWARD",
    "FORWARDER",
    "GOSUB",
    "GOTO",
    "MACRO",
    "DIAL",
    "DYNAMIC",
    "FEATURE",
    "LIMIT_",
    "MONITOR",
    "MIXMONITOR",
    "AUTO_MONITOR",
    "TOUCH_",
    "SIP",
    "PJSIP",
    "IAX",
    "QUEUE",
    "MEMBER",
    "AGENT",
    "VM_",
    "VOICEMAIL",
    "MEETME",
    "CONFBRIDGE",
    "OUTBOUND_GROUP",
    "ORIGINATE",
    "PARK",
    "FOLLOWME",
    "AST_",
    "CALLERID",
];

/// A variable that a handler may set.
pub(crate) fn variable(name: &str, value: &str) -> Result<(), CallError> {
    variable_name(name)?;
    let upper = name.to_ascii_uppercase();
    let reserved = name.starts_with('_')
        || RESERVED_VARIABLES.contains(&upper.as_str())
        || RESERVED_PREFIXES.iter().any(|prefix| upper.starts_with(prefix));
    if reserved {
        return refuse(format!("the variable {name} is one that the PBX or the host acts on; use a name of your own"));
    }
    value_text("the variable's value", value)
}

/// A variable that a handler may read.
pub(crate) fn variable_name(name: &str) -> Result<(), CallError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if (1..=MAX_NAME_BYTES).contains(&name.len()) && name.chars().all(fits) {
        return Ok(());
    }
    refuse(format!("{} is no name of a variable; use 1 to 64 letters, digits and `_`", shown(name)))
}

/// The variables of a call that is placed.
pub(crate) fn variables(variables: &[(String, String)]) -> Result<(), CallError> {
    if variables.len() > MAX_VARIABLES {
        return refuse(format!("{} variables are too many; set at most {MAX_VARIABLES}", variables.len()));
    }
    variables.iter().try_for_each(|(name, value)| variable(name, value))
}

/// What a queue is told, as variables.
pub(crate) fn queue_variables(metadata: Vec<(String, String)>) -> Result<Vec<(String, String)>, CallError> {
    if metadata.len() > MAX_VARIABLES {
        return refuse(format!("{} keys are too many for a queue; give at most {MAX_VARIABLES}", metadata.len()));
    }
    let mut variables: Vec<(String, String)> = Vec::with_capacity(metadata.len());
    for (key, value) in metadata {
        if key.is_empty() || key.len() > MAX_NAME_BYTES {
            return refuse(format!("the key {} has {} bytes; use 1 to {MAX_NAME_BYTES}", shown(&key), key.len()));
        }
        value_text("the metadata's value", &value)?;
        let name = format!("VOXTRA_{}", key.chars().map(variable_letter).collect::<String>());
        if variables.iter().any(|(other, _)| *other == name) {
            return refuse(format!("two keys become the variable {name}; rename one"));
        }
        variables.push((name, value));
    }
    Ok(variables)
}

fn variable_letter(c: char) -> char {
    if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }
}

/// Where a call is to be handed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// An extension, and the context when one is named.
    Extension(String, Option<String>),
    /// A channel technology and what it calls.
    Endpoint(String),
}

/// Whether what is to be dialled is a number, and not an endpoint.
pub(crate) fn is_number(to: &str) -> bool {
    !to.contains('/')
}

/// What `transfer-to` is given.
pub(crate) fn target(target: &str) -> Result<Target, CallError> {
    if target.contains('/') {
        endpoint(target)?;
        return Ok(Target::Endpoint(target.to_owned()));
    }
    let (extension, context) = match target.split_once('@') {
        Some((extension, context)) => (extension, Some(context)),
        None => (target, None),
    };
    self::extension(extension)?;
    context.map_or(Ok(()), |context| name("the context", context))?;
    Ok(Target::Extension(extension.to_owned(), context.map(str::to_owned)))
}

/// Such as `PJSIP/100`. What separates channels or options in a dial string (`&`, `^`, `,`, `|`) is not among its letters.
pub(crate) fn endpoint(endpoint: &str) -> Result<(), CallError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "+*#._-@/:".contains(c);
    let technology = endpoint.split_once('/').map(|(technology, rest)| (technology, rest.is_empty()));
    match technology {
        Some((technology, false))
            if endpoint.len() <= MAX_ENDPOINT_BYTES
                && !technology.is_empty()
                && technology.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                && endpoint.chars().all(fits)
                && !endpoint.contains("..") =>
        {
            Ok(())
        }
        _ => refuse(format!("{} is no endpoint; write one such as `PJSIP/100`", shown(endpoint))),
    }
}

/// A number to be called or shown: digits, `*`, `#`, and a `+` before them.
pub(crate) fn number(what: &str, number: &str) -> Result<(), CallError> {
    let digits = number.strip_prefix('+').unwrap_or(number);
    let fits = |c: char| c.is_ascii_digit() || c == '*' || c == '#';
    if !digits.is_empty() && number.len() <= MAX_NUMBER_BYTES && digits.chars().all(fits) {
        return Ok(());
    }
    refuse(format!("{what} {} is no number; write digits, with `+` before them if need be", shown(number)))
}

fn extension(extension: &str) -> Result<(), CallError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "+*#._-".contains(c);
    if (1..=MAX_NUMBER_BYTES).contains(&extension.len()) && extension.chars().all(fits) {
        return Ok(());
    }
    refuse(format!("{} is no extension; write letters, digits, `+`, `*`, `#`, `.`, `_` and `-`", shown(extension)))
}

/// A place in the dialplan; its context is for others to allow.
pub(crate) fn place(place: &DialplanPlace) -> Result<(), CallError> {
    if !place.context.is_empty() {
        name("the context", &place.context)?;
    }
    if !place.extension.is_empty() {
        extension(&place.extension)?;
    }
    if place.priority > MAX_PRIORITY {
        return refuse(format!("there is no priority {}; use 1 to {MAX_PRIORITY}", place.priority));
    }
    Ok(())
}

/// A name of 1 to 64 letters, digits, `-`, `_` and `.` that leads nowhere else.
pub(crate) fn name(what: &str, name: &str) -> Result<(), CallError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let ok = (1..=MAX_NAME_BYTES).contains(&name.len()) && name.chars().all(fits) && !name.starts_with('.');
    if ok && !name.contains("..") {
        return Ok(());
    }
    refuse(format!("{what} {} cannot be used; write 1 to 64 letters, digits, `-`, `_` and `.`", shown(name)))
}

/// A class of music; empty is the PBX's default.
pub(crate) fn music_class(class: &str) -> Result<(), CallError> {
    if class.is_empty() { Ok(()) } else { name("the class of music", class) }
}

/// How a call is to be recorded.
pub(crate) fn recording(options: &RecordOptions) -> Result<(), CallError> {
    if !options.name.is_empty() {
        name("the recording's name", &options.name)?;
    }
    if !options.sink.is_empty() {
        name("the sink", &options.sink)?;
    }
    Ok(())
}

/// How a call is to be snooped at.
pub(crate) fn snoop(options: SnoopOptions) -> Result<(), CallError> {
    if options.spy == Sides::None && options.whisper == Sides::None {
        return refuse("a snoop that neither listens nor whispers does nothing; set spy or whisper".to_owned());
    }
    Ok(())
}

/// An event of a handler's own; its data.
pub(crate) fn event(event: &str, data_json: &str) -> Result<Map<String, Value>, CallError> {
    name("the event's name", event)?;
    if data_json.len() > MAX_EVENT_BYTES {
        return refuse(format!("the event has {} bytes of data; send at most 16,384", data_json.len()));
    }
    match serde_json::from_str(data_json) {
        Ok(Value::Object(data)) => Ok(data),
        Ok(_) => refuse("the event's data are JSON but no object; put them into one".to_owned()),
        Err(error) => refuse(format!("the event's data are no JSON ({error}); send an object")),
    }
}

/// Text that a dialplan would neither take for a line's end nor evaluate.
fn value_text(what: &str, value: &str) -> Result<(), CallError> {
    if value.len() > MAX_VALUE_BYTES {
        return refuse(format!("{what} has {} bytes; send at most {MAX_VALUE_BYTES}", value.len()));
    }
    if value.chars().any(char::is_control) {
        return refuse(format!("{what} holds a control character; take it out"));
    }
    if value.contains("${") || value.contains("$[") {
        return refuse(format!("{what} holds `${{` or `$[`, which a dialplan would evaluate; take it out"));
    }
    Ok(())
}

/// A guest's word, fit for a sentence.
fn shown(word: &str) -> String {
    let cut: String = word.chars().take(48).collect();
    format!("{cut:?}")
}

fn refuse<T>(why: String) -> Result<T, CallError> {
    Err(CallError::InvalidArgument(why))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn variables_that_asterisk_acts_on_are_refused() {
        for good in ["A", "my_var", "x1", "LEVEL"] {
            variable(good, "v").unwrap();
        }
        let bad = [
            "",
            "__X",
            "_X",
            "TRANSFER_CONTEXT",
            "transfer_context",
            "GOSUB_RETVAL",
            "CHANNEL",
            "VOXTRA_TENANT",
            "Voxtra",
            "MONITOR_EXEC",
            "A B",
            "SHELL(id)",
            "CALLERID(num)",
            "a\n",
            "é",
            "SIPADDHEADER01",
            "PJSIP_HEADER",
        ];
        for bad in bad {
            assert_eq!(variable(bad, "v").unwrap_err().kind(), "invalid-argument", "{bad}");
        }
        variable_name("VOXTRA_LEVEL").unwrap();
        assert!(variable_name("DB(a/b)").is_err());
    }

    #[test]
    fn values_cannot_be_evaluated_or_break_a_line() {
        for bad in ["a\r\nb", "a\0", "${SHELL(id)}", "$[1+1]", "\u{1b}[2J"] {
            assert!(variable("A", bad).is_err(), "{bad:?}");
        }
        variable("A", "5 $ (100 %), ök").unwrap();
        assert!(variable("A", &"x".repeat(MAX_VALUE_BYTES + 1)).is_err());
    }

    #[test]
    fn a_queues_metadata_become_variables() {
        let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        let got = queue_variables(vec![pair("level-2", "a"), pair("Vip", "b")]).unwrap();
        assert_eq!(got, [pair("VOXTRA_LEVEL_2", "a"), pair("VOXTRA_VIP", "b")]);
        assert!(queue_variables(vec![pair("a.b", "1"), pair("a-b", "2")]).is_err());
        assert!(queue_variables(vec![pair("", "1")]).is_err());
        assert!(queue_variables(vec![pair("a", "${X}")]).is_err());
    }

    #[test]
    fn targets_are_extensions_or_endpoints() {
        assert_eq!(target("100").unwrap(), Target::Extension("100".into(), None));
        assert_eq!(target("100@sales").unwrap(), Target::Extension("100".into(), Some("sales".into())));
        assert_eq!(target("PJSIP/+26@trunk").unwrap(), Target::Endpoint("PJSIP/+26@trunk".into()));
        for bad in [
            "",
            "@x",
            "100@",
            "1,2",
            "100@a,b",
            "PJSIP/",
            "/100",
            "PJSIP/1&PJSIP/2",
            "Local/1^2",
            "A/..",
            "1\n2",
            "a b",
        ] {
            assert!(target(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_lead_nowhere_else() {
        name("x", "greeting-1.v2_a").unwrap();
        for bad in ["", ".", "..", ".a", "a..b", "a/b", "a\\b", "a\0", "a b", "ä"] {
            assert!(name("x", bad).is_err(), "{bad:?}");
        }
        assert!(name("x", &"a".repeat(65)).is_err());
    }

    #[test]
    fn an_events_data_are_an_object() {
        assert_eq!(event("a.b", "{\"x\":1}").unwrap().len(), 1);
        for (bad_name, data) in [("a b", "{}"), ("a", "[]"), ("a", "{"), ("", "{}")] {
            assert!(event(bad_name, data).is_err());
        }
        assert!(event("a", &format!("{{\"x\":\"{}\"}}", "y".repeat(MAX_EVENT_BYTES))).is_err());
    }

    proptest! {
        #[test]
        fn no_word_that_passes_can_mean_anything_at_a_pbx(text in "[\\x00-\\u{2fff}]{0,80}") {
            let odd = |c: char| c.is_control() || "\r\n\0;,&|^`'\"()[]{}$ \\<>".contains(c);
            if target(&text).is_ok() || name("x", &text).is_ok() || number("x", &text).is_ok() || variable_name(&text).is_ok() {
                prop_assert!(!text.chars().any(odd));
            }
            if let Err(error) = target(&text) {
                prop_assert!(!error.to_string().contains('\n'));
            }
        }
    }
}
