//! What a handler may do beyond its own call. Checked by the host before any effect; a missing one is
//! [`CallError::Denied`] with its name.

use std::fmt;

use crate::CallError;

/// Something that a tenant is granted, and that a handler's manifest may take away again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Capability {
    /// Reaching numbers: what is dialled is checked against the tenant's patterns, caps and rate.
    Dial,
    /// Placing calls of one's own: `originate`, and batches.
    Originate,
    /// Joining legs in bridges.
    Bridge,
    /// Recording calls.
    Record,
    /// Listening to a call, and whispering into it, past the conversation.
    Snoop,
    /// The tenant's key-value space.
    Store,
    /// Requests to servers of the tenant's allow-list.
    Http,
}

impl Capability {
    /// All of them, in the order in which people are shown them.
    pub const ALL: [Self; 7] =
        [Self::Dial, Self::Originate, Self::Bridge, Self::Record, Self::Snoop, Self::Store, Self::Http];

    /// Its name in `tenant.toml`, in errors and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dial => "dial",
            Self::Originate => "originate",
            Self::Bridge => "bridge",
            Self::Record => "record",
            Self::Snoop => "snoop",
            Self::Store => "store",
            Self::Http => "http",
        }
    }

    /// The capability of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|capability| capability.as_str() == name)
    }

    /// What a handler is told that has not got it.
    pub fn denied(self) -> CallError {
        CallError::Denied(format!("{self}: this handler has not got the capability; grant it in tenant.toml"))
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of capabilities.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Capabilities(u8);

impl Capabilities {
    /// None.
    pub const NONE: Self = Self(0);

    /// Every one. What each of them reaches has limits of its own: dialling without patterns reaches nobody.
    pub const ALL: Self = Self((1 << Capability::ALL.len()) - 1);

    /// With one more.
    #[must_use]
    pub const fn with(self, capability: Capability) -> Self {
        Self(self.0 | capability.bit())
    }

    /// With one less.
    #[must_use]
    pub const fn without(self, capability: Capability) -> Self {
        Self(self.0 & !capability.bit())
    }

    /// What is in both: how a handler's manifest narrows what its tenant has.
    #[must_use]
    pub const fn within(self, wider: Self) -> Self {
        Self(self.0 & wider.0)
    }

    /// Whether one is in it.
    pub const fn has(self, capability: Capability) -> bool {
        self.0 & capability.bit() != 0
    }

    /// Goes on only with this capability.
    ///
    /// # Errors
    /// [`CallError::Denied`]
    pub fn check(self, capability: Capability) -> Result<(), CallError> {
        if self.has(capability) { Ok(()) } else { Err(capability.denied()) }
    }

    /// Those in it, in order.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        Capability::ALL.into_iter().filter(move |capability| self.has(*capability))
    }
}

impl FromIterator<Capability> for Capabilities {
    fn from_iter<I: IntoIterator<Item = Capability>>(capabilities: I) -> Self {
        capabilities.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Capability::as_str)).finish()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_handler_never_has_more_than_its_tenant() {
        let tenant: Capabilities = [Capability::Record, Capability::Store].into_iter().collect();
        let handler = Capabilities::ALL.without(Capability::Store).within(tenant);
        assert_eq!(handler.iter().collect::<Vec<_>>(), [Capability::Record]);
        assert_eq!(Capabilities::ALL.iter().count(), Capability::ALL.len());
        assert_eq!(Capabilities::NONE.iter().next(), None);
    }

    #[test]
    fn a_missing_capability_is_denied_by_its_name() {
        let error = Capabilities::NONE.check(Capability::Snoop).unwrap_err();
        assert_eq!(error.kind(), "denied");
        assert!(error.to_string().contains("snoop"), "{error}");
        assert!(Capabilities::NONE.with(Capability::Snoop).check(Capability::Snoop).is_ok());
        for capability in Capability::ALL {
            assert_eq!(Capability::of_name(capability.as_str()), Some(capability));
        }
    }
}
