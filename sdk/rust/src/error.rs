//! Why the host did not do what was asked.

use std::fmt;

use crate::bindings::handler::voxtra::call::types::Error as ContractError;

/// The result of a handler or a rule, and of functions that it is made of: `?` takes any error, text too.
///
/// The functions of this crate return `Result<T, voxtra_sdk::Error>`, on which a handler can match.
pub type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// Why the host did not do what was asked: the same reasons everywhere. The text says what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The call has ended; nothing more can be done on it. Return from the handler.
    HungUp,
    /// The time given has passed and nothing came.
    Timeout,
    /// An argument was refused, before anything was done.
    InvalidArgument(String),
    /// The operator has not set this up.
    NotConfigured(String),
    /// The tenant or the handler may not do this.
    Denied(String),
    /// A limit of the call, the handler or the tenant was reached.
    LimitExceeded(String),
    /// The PBX or the trunk refused or failed.
    Telephony(String),
    /// A provider (speech, language, web) refused or failed.
    Provider(String),
}

impl Error {
    /// Whether the call is over.
    pub fn is_hung_up(&self) -> bool {
        *self == Self::HungUp
    }

    /// Whether the time given has passed.
    pub fn is_timeout(&self) -> bool {
        *self == Self::Timeout
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, text) = match self {
            Self::HungUp => return f.write_str("the call has ended"),
            Self::Timeout => return f.write_str("nothing came in the time given"),
            Self::InvalidArgument(text) => ("invalid argument", text),
            Self::NotConfigured(text) => ("not configured", text),
            Self::Denied(text) => ("denied", text),
            Self::LimitExceeded(text) => ("limit exceeded", text),
            Self::Telephony(text) => ("telephony", text),
            Self::Provider(text) => ("provider", text),
        };
        write!(f, "{kind}: {text}")
    }
}

impl std::error::Error for Error {}

impl From<ContractError> for Error {
    fn from(error: ContractError) -> Self {
        match error {
            ContractError::HungUp => Self::HungUp,
            ContractError::Timeout => Self::Timeout,
            ContractError::InvalidArgument(text) => Self::InvalidArgument(text),
            ContractError::NotConfigured(text) => Self::NotConfigured(text),
            ContractError::Denied(text) => Self::Denied(text),
            ContractError::LimitExceeded(text) => Self::LimitExceeded(text),
            ContractError::Telephony(text) => Self::Telephony(text),
            ContractError::Provider(text) => Self::Provider(text),
        }
    }
}
