//! A verb's arguments, looked at before anything is done. Pure.

use voxtra_core::CallError;
use voxtra_core::media::LINK_RATES_HZ;
use voxtra_core::verbs::{DTMF_DIGITS, Gather, MAX_DIGITS, is_sound_name};

use crate::recording_id;

const MAX_PROMPTS: usize = 32;
const MAX_PROMPT_BYTES: usize = 512;
const MAX_FILE_NAME_BYTES: usize = 128;

/// What a prompt may be that the PBX plays. Others, such as `http:`, would make the PBX fetch what a guest names.
const PBX_SCHEMES: [&str; 6] = ["sound", "digits", "number", "tone", "characters", "recording"];

/// Those that the host plays itself.
const OWN_SCHEMES: [&str; 2] = ["file", "https"];

/// Whether the host plays it itself.
pub(crate) fn is_own_prompt(prompt: &str) -> bool {
    prompt.split_once(':').is_some_and(|(scheme, _)| OWN_SCHEMES.contains(&scheme))
}

/// A list of prompts to be played by the PBX alone.
pub(crate) fn pbx_prompts(media: &[String]) -> Result<(), CallError> {
    prompts(media)?;
    match media.iter().find(|prompt| is_own_prompt(prompt)) {
        None => Ok(()),
        Some(own) => refuse(format!("{own:?} can be played to a call only; play one of the PBX's prompts here")),
    }
}

/// A list of prompts to be played.
pub(crate) fn prompts(media: &[String]) -> Result<(), CallError> {
    if media.is_empty() {
        return refuse("there is nothing to play; give at least one prompt such as `sound:hello-world`".to_owned());
    }
    if media.len() > MAX_PROMPTS {
        return refuse(format!(
            "{} prompts are too many for one list; play at most {MAX_PROMPTS} at once",
            media.len()
        ));
    }
    media.iter().try_for_each(|prompt| one_prompt(prompt))
}

fn one_prompt(prompt: &str) -> Result<(), CallError> {
    if prompt.len() > MAX_PROMPT_BYTES {
        return refuse(format!("a prompt has {} bytes; shorten it to {MAX_PROMPT_BYTES}", prompt.len()));
    }
    if prompt.chars().any(char::is_control) {
        return refuse(format!("the prompt {prompt:?} holds a control character; take it out"));
    }
    match prompt.split_once(':') {
        Some(("file", name)) => file_name(name),
        Some(("https", rest)) => address(rest),
        Some(("sound", name)) if !name.is_empty() => sound(name),
        Some(("recording", id)) if !id.is_empty() => recording(id),
        Some((scheme, rest)) if PBX_SCHEMES.contains(&scheme) && !rest.is_empty() => Ok(()),
        _ => refuse(format!(
            "the prompt {prompt:?} is none that can be played; write one of {} and what is to be played",
            PBX_SCHEMES.iter().chain(&OWN_SCHEMES).map(|scheme| format!("`{scheme}:`")).collect::<Vec<_>>().join(", ")
        )),
    }
}

/// A sound that the PBX has: nothing that leads to another of its files.
fn sound(name: &str) -> Result<(), CallError> {
    if is_sound_name(name) {
        return Ok(());
    }
    refuse(format!(
        "{name:?} is no sound's name; write letters, digits, `-`, `_`, `+`, `.` and `/`, as in `sound:digits/1`"
    ))
}

/// A recording that this host has made at the PBX, by its id; whose it is, is looked at by [`crate::recording_id`].
fn recording(id: &str) -> Result<(), CallError> {
    if recording_id::is_one(id) {
        return Ok(());
    }
    refuse(format!("{id:?} is no recording's id; play one that `record-start` has returned"))
}

/// A prompt of the tenant's own: a name below its folder that cannot lead out of it.
fn file_name(name: &str) -> Result<(), CallError> {
    let part = |part: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        !part.is_empty() && !part.starts_with('.') && part.chars().all(fits)
    };
    if name.len() <= MAX_FILE_NAME_BYTES && name.split('/').all(part) {
        return Ok(());
    }
    refuse(format!(
        "{name:?} is no prompt's name; write letters, digits, `-`, `_`, `.` and `/`, as in `file:menu/welcome.wav`"
    ))
}

/// What follows `https:`. Whether it may be fetched is for others to say.
fn address(rest: &str) -> Result<(), CallError> {
    let host = rest.strip_prefix("//").filter(|host| !host.is_empty() && !host.starts_with('/'));
    if host.is_some_and(|host| host.chars().all(|c| c.is_ascii_graphic() && !"\"\\<>`{}@".contains(c))) {
        return Ok(());
    }
    refuse(format!(
        "`https:{}` is no address that can be played; write one such as `https://example.com/a.wav`",
        rest.escape_debug()
    ))
}

/// Keys that interrupt or end something; as many as there are keys at most. Returned in upper case.
pub(crate) fn keys(what: &str, keys: &str) -> Result<String, CallError> {
    if keys.len() > DTMF_DIGITS.len() {
        return refuse(format!("{what} has {} bytes; name each of the {} keys once", keys.len(), DTMF_DIGITS.len()));
    }
    let keys = keys.to_ascii_uppercase();
    match keys.chars().find(|key| !DTMF_DIGITS.contains(*key)) {
        None => Ok(keys),
        Some(other) => refuse(format!("{other:?} in {what} is no key; use `0` to `9`, `*`, `#` and `A` to `D`")),
    }
}

/// How keys are to be gathered. Returned with its terminators in upper case.
pub(crate) fn gather(mut gather: Gather) -> Result<Gather, CallError> {
    if !gather.prompt.is_empty() {
        prompts(&gather.prompt)?;
    }
    let (min, max) = (gather.min_digits, gather.max_digits);
    if max == 0 || max > MAX_DIGITS {
        return refuse(format!("max-digits is {max}; ask for 1 to {MAX_DIGITS}"));
    }
    if min > max {
        return refuse(format!("min-digits is {min}, more than max-digits, which is {max}; lower it"));
    }
    gather.terminators = keys("terminators", &gather.terminators)?;
    Ok(gather)
}

/// Keys to be sent, with `w` for a pause of half a second. Returned as the PBX writes them.
pub(crate) fn sent_keys(digits: &str) -> Result<String, CallError> {
    if digits.is_empty() || digits.len() > MAX_DIGITS as usize {
        return refuse(format!("{} bytes of keys cannot be sent at once; send 1 to {MAX_DIGITS} keys", digits.len()));
    }
    let upper = digits.to_ascii_uppercase();
    match upper.chars().find(|key| *key != 'W' && !DTMF_DIGITS.contains(*key)) {
        None => Ok(upper.replace('W', "w")),
        Some(other) => refuse(format!(
            "{other:?} is no key that can be sent; use `0` to `9`, `*`, `#`, `A` to `D`, and `w` for a pause"
        )),
    }
}

/// A rate to open the audio at.
pub(crate) fn rate(rate_hz: u32) -> Result<(), CallError> {
    if LINK_RATES_HZ.contains(&rate_hz) {
        return Ok(());
    }
    refuse(format!("audio cannot be opened at {rate_hz} Hz; use 8000, 16000, 24000 or 48000"))
}

fn refuse<T>(why: String) -> Result<T, CallError> {
    Err(CallError::InvalidArgument(why))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn listed(prompts: &[&str]) -> Vec<String> {
        prompts.iter().map(|p| (*p).to_owned()).collect()
    }

    fn refused<T: std::fmt::Debug>(result: Result<T, CallError>) -> String {
        match result {
            Err(CallError::InvalidArgument(why)) => why,
            other => unreachable!("not refused: {other:?}"),
        }
    }

    #[test]
    fn only_known_schemes_are_played_and_the_refusal_lists_them() {
        prompts(&listed(&["sound:a", "digits:12", "number:4", "tone:busy", "characters:ab"])).unwrap();
        prompts(&listed(&[&format!("recording:{}", "0a".repeat(16))])).unwrap();
        for bad in ["http://x/a.wav", "sound", "sound:", "", "SOUND:a", ":a", "channel:x"] {
            let why = refused(prompts(&listed(&[bad])));
            assert!(PBX_SCHEMES.iter().chain(&OWN_SCHEMES).all(|s| why.contains(&format!("`{s}:`"))), "{why}");
        }
    }

    #[test]
    fn own_prompts_lead_nowhere_else_and_are_played_to_calls_only() {
        let good = ["file:a", "file:menu/welcome.wav", "file:a-b_c.v2", "https://example.com/a.wav?x=1"];
        prompts(&listed(&good)).unwrap();
        assert!(good.iter().all(|prompt| is_own_prompt(prompt)));
        for bad in [
            "file:",
            "file:/etc/passwd",
            "file:../a",
            "file:a/../b",
            "file:a//b",
            "file:a/",
            "file:.hidden",
            "file:a\\b",
            "file:ä",
            "https:",
            "https:/x",
            "https:///x",
            "https://u@h/x",
            "https://h/a b",
            "https://h/\u{7f}",
        ] {
            refused(prompts(&listed(&[bad])));
        }
        refused(prompts(&[format!("file:{}", "a".repeat(129))]));
        refused(pbx_prompts(&listed(&["sound:a", "file:b"])));
        pbx_prompts(&listed(&["sound:a"])).unwrap();
    }

    #[test]
    fn lists_and_items_have_limits() {
        refused(prompts(&[]));
        prompts(&vec!["sound:a".to_owned(); MAX_PROMPTS]).unwrap();
        refused(prompts(&vec!["sound:a".to_owned(); MAX_PROMPTS + 1]));
        refused(prompts(&[format!("sound:{}", "a".repeat(MAX_PROMPT_BYTES))]));
        refused(prompts(&listed(&["sound:a\r\nEvil: 1"])));
    }

    #[test]
    fn keys_are_keys() {
        assert_eq!(keys("interrupt-on", "12#*ad").unwrap(), "12#*AD");
        assert!(refused(keys("interrupt-on", "1x")).contains("interrupt-on"));
        refused(keys("interrupt-on", "11111111111111111"));
        assert_eq!(sent_keys("1Ww2a").unwrap(), "1ww2A");
        refused(sent_keys(""));
        refused(sent_keys("p"));
        refused(sent_keys(&"1".repeat(65)));
    }

    #[test]
    fn a_gather_has_bounds() {
        let with = |min_digits, max_digits, terminators: &str| Gather {
            prompt: Vec::new(),
            min_digits,
            max_digits,
            terminators: terminators.to_owned(),
            first_timeout: Duration::ZERO,
            inter_digit_timeout: Duration::ZERO,
            total_timeout: None,
        };
        gather(with(0, 1, "")).unwrap();
        gather(with(64, 64, "#*")).unwrap();
        for bad in [with(0, 0, ""), with(0, 65, ""), with(2, 1, ""), with(0, 1, "!")] {
            refused(gather(bad));
        }
    }

    #[test]
    fn rates_are_those_of_the_contract() {
        rate(8_000).unwrap();
        assert!(refused(rate(44_100)).contains("44100"));
    }

    proptest! {
        #[test]
        fn whatever_a_guest_writes_is_accepted_or_refused_in_one_line(text in "[\\x00-\\u{2fff}]{0,600}") {
            let prompt = prompts(std::slice::from_ref(&text));
            for result in [prompt, keys("keys", &text).map(drop), sent_keys(&text).map(drop)] {
                if let Err(error) = result {
                    prop_assert!(!error.to_string().contains('\n'));
                }
            }
        }
    }
}
