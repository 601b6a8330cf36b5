//! What each kind of value may consist of. Everything else is refused: nothing here escapes.

use std::net::IpAddr;

/// A check: the reason for a refusal, to follow the field's name.
pub(super) type Check = fn(&str) -> Result<(), &'static str>;

/// Names of files of Asterisk's own that a tenant's fragment would replace, such as `pjsip_notify.conf`.
const RESERVED: [&str; 4] = ["notify", "wizard", "minivm", "custom"];

fn made_of(text: &str, longest: usize, allowed: impl Fn(char) -> bool) -> bool {
    !text.is_empty() && text.len() <= longest && text.chars().all(allowed)
}

fn rule(holds: bool, otherwise: &'static str) -> Result<(), &'static str> {
    if holds { Ok(()) } else { Err(otherwise) }
}

pub(super) fn slug(text: &str) -> Result<(), &'static str> {
    rule(!RESERVED.contains(&text), "is a name that files of Asterisk's own have; choose another")?;
    let fits = made_of(text, 32, |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    rule(
        fits && text.starts_with(|c: char| c.is_ascii_lowercase()) && !text.ends_with('-'),
        "must be 1 to 32 lower-case letters, digits or '-', the first a letter and the last not '-'",
    )
}

/// Of a context, an endpoint, a class of music, a Stasis application.
pub(super) fn name(text: &str) -> Result<(), &'static str> {
    rule(
        made_of(text, 64, |c| c.is_ascii_alphanumeric() || "-_.".contains(c))
            && text.starts_with(|c: char| c.is_ascii_alphanumeric()),
        "must be 1 to 64 letters, digits, '-', '_' or '.', the first a letter or digit",
    )
}

/// Shown to people, never written where Asterisk reads it.
pub(super) fn description(text: &str) -> Result<(), &'static str> {
    rule(
        text.chars().count() <= 200 && !text.chars().any(char::is_control),
        "must be at most 200 characters without control characters",
    )
}

pub(super) fn number(text: &str) -> Result<(), &'static str> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    rule(made_of(digits, 20, |c| c.is_ascii_digit()), "must be 1 to 20 digits, with or without a '+' before them")
}

/// Asterisk's patterns without their brackets: `X`, `Z`, `N`, and a last `.` or `!`.
pub(super) fn pattern(text: &str) -> Result<(), &'static str> {
    let body = text.strip_prefix('+').unwrap_or(text);
    let body = body.strip_suffix(['.', '!']).unwrap_or(body);
    rule(
        made_of(body, 24, |c| c.is_ascii_digit() || "XZN".contains(c)),
        "must be 1 to 24 digits or X, Z, N, with or without a '+' before them and a '.' or '!' after them",
    )
}

pub(super) fn host(text: &str) -> Result<(), &'static str> {
    if text.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    let label = |label: &str| {
        made_of(label, 63, |c| c.is_ascii_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    rule(
        text.len() <= 253 && text.split('.').all(label),
        "must be a host's name or an IP address, without a port or brackets",
    )
}

/// An address, or a network as `192.0.2.0/24`.
pub(super) fn network(text: &str) -> Result<(), &'static str> {
    let (address, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
    let holds = address.parse::<IpAddr>().is_ok_and(|address| {
        let most = if address.is_ipv4() { 32 } else { 128 };
        bits.is_none_or(|bits| made_of(bits, 3, |c| c.is_ascii_digit()) && bits.parse::<u8>().is_ok_and(|b| b <= most))
    });
    rule(holds, "must be an IP address or a network such as 192.0.2.0/24")
}

pub(super) fn sip_user(text: &str) -> Result<(), &'static str> {
    rule(
        made_of(text, 64, |c| c.is_ascii_alphanumeric() || "-_.+".contains(c)),
        "must be 1 to 64 letters, digits, '-', '_', '.' or '+'",
    )
}

pub(super) fn secret(text: &str) -> Result<(), &'static str> {
    rule(
        made_of(text, 128, |c| c.is_ascii_alphanumeric() || "-_.~!@#%^&*+=:?/|".contains(c))
            && text.starts_with(|c: char| c.is_ascii_alphanumeric()),
        "must be 1 to 128 letters, digits or -_.~!@#%^&*+=:?/| and begin with a letter or digit",
    )
}

pub(super) fn codec(text: &str) -> Result<(), &'static str> {
    const CODECS: [&str; 9] = ["ulaw", "alaw", "g722", "g729", "gsm", "opus", "slin", "slin16", "ilbc"];
    rule(CODECS.contains(&text), "must be one of ulaw, alaw, g722, g729, gsm, opus, slin, slin16, ilbc")
}

/// `PJSIP/alice`, `PJSIP/+4930123@trunk`, `Local/100@agents`.
pub(super) fn member(text: &str) -> Result<(), &'static str> {
    let holds = text.split_once('/').is_some_and(|(technology, rest)| {
        let (user, place) = rest.split_once('@').map_or((rest, None), |(u, p)| (u, Some(p)));
        matches!(technology, "PJSIP" | "Local")
            && sip_user(user).is_ok()
            && place.is_none_or(|place| name(place).is_ok())
            && (technology == "PJSIP" || place.is_some())
    });
    rule(holds, "must be PJSIP/ENDPOINT, PJSIP/NUMBER@ENDPOINT or Local/EXTENSION@CONTEXT")
}
