//! A tenant's handler, by names from which no path can be made.

use std::fmt;

use voxtra_core::{HandlerName, TenantId};

const MAX_TENANT_BYTES: usize = 64;

/// A name of 64 bytes, and `.router` or `.filter` behind it.
const MAX_HANDLER_BYTES: usize = 80;

/// A name that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {name:?} cannot be used: a name is 1 to {max_bytes} letters, digits, {allowed}; rename it")]
pub struct NameError {
    what: &'static str,
    name: String,
    max_bytes: usize,
    allowed: &'static str,
}

/// One handler of one tenant. It can only be made of names that are plain words, so it is safe in a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HandlerKey {
    tenant: TenantId,
    handler: HandlerName,
}

impl HandlerKey {
    /// Takes a tenant of 1 to 64 letters, digits, `-` and `_`, and a handler of 1 to 80 of those and `.`, but not first: as
    /// the plugin directory has them. A router's or filter's name has its `.router` or `.filter` with it here, so that it
    /// is not taken for the handler of that name.
    ///
    /// # Errors
    /// When a name is anything else: `..`, a path, a blank, a control character, nothing, too long.
    pub fn new(tenant: &TenantId, handler: &HandlerName) -> Result<Self, NameError> {
        check("the tenant", tenant.as_str(), MAX_TENANT_BYTES, false)?;
        check("the handler", handler.as_str(), MAX_HANDLER_BYTES, true)?;
        Ok(Self { tenant: tenant.clone(), handler: handler.clone() })
    }

    /// Whose it is.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Its name.
    #[must_use]
    pub fn handler(&self) -> &HandlerName {
        &self.handler
    }
}

impl fmt::Display for HandlerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.handler)
    }
}

fn check(what: &'static str, name: &str, max_bytes: usize, dots: bool) -> Result<(), NameError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_') || (dots && c == '.');
    if (1..=max_bytes).contains(&name.len()) && !name.starts_with('.') && name.chars().all(plain) {
        return Ok(());
    }
    let allowed = if dots { "`-`, `_` or, but for its beginning, `.`" } else { "`-` or `_`" };
    Err(NameError { what, name: crate::words::one_line(name, max_bytes), max_bytes, allowed })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(tenant: &str, handler: &str) -> Result<HandlerKey, NameError> {
        HandlerKey::new(&tenant.into(), &handler.into())
    }

    #[test]
    fn names_as_people_choose_them_are_taken() {
        assert_eq!(key("acme", "support.v2").unwrap().to_string(), "acme/support.v2");
        assert!(key("A-1_b", "10-vip").is_ok());
    }

    #[test]
    fn no_path_can_be_made_of_a_name() {
        for bad in ["", ".", "..", "../x", "a/b", "/etc", "a\\b", "a\0b", "a b", "a\n", ".hidden", "ä", &"x".repeat(81)]
        {
            assert!(key(bad, "ok").is_err(), "{bad:?}");
            assert!(key("ok", bad).is_err(), "{bad:?}");
        }
        assert!(key("a.b", "ok").is_err() && key(&"x".repeat(65), "ok").is_err());
    }

    #[test]
    fn a_refusal_is_one_line_that_says_which_name() {
        let said = key("ok", "a\nb").unwrap_err().to_string();
        assert!(said.contains("the handler") && !said.contains('\n'), "{said}");
    }

    proptest! {
        #[test]
        fn whatever_is_taken_stays_one_component_of_a_path(tenant: String, handler in "[a-zA-Z0-9._/\\\\-]{0,70}") {
            for (t, h) in [(tenant.as_str(), "ok"), ("ok", handler.as_str())] {
                if let Ok(key) = key(t, h) {
                    for name in [key.tenant().as_str(), key.handler().as_str()] {
                        let mut parts = std::path::Path::new(name).components();
                        prop_assert!(matches!(parts.next(), Some(std::path::Component::Normal(_))));
                        prop_assert!(parts.next().is_none());
                    }
                }
            }
        }
    }
}
