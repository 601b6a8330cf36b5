//! Which names tenants, handlers and the like may have: plain words, of which no path can be made.

use std::ffi::OsStr;

/// Longer names are no names.
const MAX_NAME_BYTES: usize = 64;

/// What is shown of an odd one; a path may be longer than a name.
const MAX_SHOWN_CHARS: usize = 300;

pub(crate) const TENANT_RULE: &str = "a tenant's folder name is 1 to 64 letters, digits, `-` or `_`; rename the folder";

/// Of a tenant's folder.
pub(crate) fn is_tenant(name: &str) -> bool {
    fits(name, |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}

/// Of a handler, a router, a filter.
pub(crate) fn is_component(name: &str) -> bool {
    !name.starts_with('.') && is_plain(name)
}

/// Of a secret, a provider, a PBX, a sink, a context.
pub(crate) fn is_plain(name: &str) -> bool {
    fits(name, |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// One line of a name or a path that may hold anything.
pub(crate) fn shown(name: &OsStr) -> String {
    let text = name.to_string_lossy();
    let mut shown: String = text.chars().take(MAX_SHOWN_CHARS).flat_map(plainly).collect();
    if text.chars().nth(MAX_SHOWN_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

fn plainly(c: char) -> Vec<char> {
    if c.is_control() { c.escape_default().collect() } else { vec![c] }
}

fn fits(name: &str, allowed: impl Fn(char) -> bool) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len()) && name.chars().all(allowed)
}
