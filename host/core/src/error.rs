//! The one error that a verb of a call can give; the contract's `error` variant is made from it, case by case.

/// Why a verb did not do what was asked. Each case but the first two carries a sentence that says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The call is over.
    #[error("the call is over")]
    HungUp,
    /// The time given has passed.
    #[error("the time given has passed")]
    Timeout,
    /// An argument was refused before anything was done.
    #[error("{0}")]
    InvalidArgument(String),
    /// The operator has not set this up.
    #[error("{0}")]
    NotConfigured(String),
    /// The tenant or the handler may not do this.
    #[error("{0}")]
    Denied(String),
    /// A limit was reached.
    #[error("{0}")]
    LimitExceeded(String),
    /// The PBX or the trunk refused or failed.
    #[error("{0}")]
    Telephony(String),
    /// A provider refused or failed.
    #[error("{0}")]
    Provider(String),
}

impl CallError {
    /// The case's name as the contract writes it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::HungUp => "hung-up",
            Self::Timeout => "timeout",
            Self::InvalidArgument(_) => "invalid-argument",
            Self::NotConfigured(_) => "not-configured",
            Self::Denied(_) => "denied",
            Self::LimitExceeded(_) => "limit-exceeded",
            Self::Telephony(_) => "telephony",
            Self::Provider(_) => "provider",
        }
    }
}
