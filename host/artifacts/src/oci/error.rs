//! What can go wrong between a reference and its bytes, in the operator's words.

use std::error::Error;
use std::time::Duration;

use oci_client::errors::{DigestError, OciDistributionError, OciErrorCode};

use super::reference::OciReference;
use crate::words::one_line;

/// So much of what a registry says reaches a log.
const MAX_SAID_CHARS: usize = 200;

/// A reference that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// It names no content.
    #[error(
        "{reference} names no digest; write REGISTRY/REPOSITORY@sha256:DIGEST, because a tag may be moved to other content"
    )]
    NoDigest {
        /// What was written.
        reference: String,
    },
    /// It is written wrongly.
    #[error("{reference} is no reference to a component: {why}; write REGISTRY/REPOSITORY@sha256:DIGEST")]
    Malformed {
        /// What was written.
        reference: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// A component that does not come.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    /// The operator has not named the registry.
    #[error(
        "{reference}: the registry is not among those that the host may fetch from; the operator can add it to plugins.registries"
    )]
    RegistryNotAllowed {
        /// What was asked for.
        reference: OciReference,
    },
    /// It, or the registry's answer, is larger than allowed.
    #[error("{reference}: {what} has {} bytes, more than the {max_bytes} that are taken; make it smaller", at_least(*.size_bytes))]
    TooBig {
        /// What was asked for.
        reference: OciReference,
        /// What is too big.
        what: &'static str,
        /// How big, as far as is known; `None`: more than it says or than is taken.
        size_bytes: Option<u64>,
        /// How big it may be.
        max_bytes: u64,
    },
    /// What is there is no component.
    #[error("{reference}: {what}, which is no component (one layer of `application/wasm`); push it with a Wasm tool")]
    WrongMediaType {
        /// What was asked for.
        reference: OciReference,
        /// What it is, in the registry's words.
        what: String,
    },
    /// What came is not what was named.
    #[error("{reference}: what came is not what was named ({said}); the registry or the way to it changes bytes")]
    WrongDigest {
        /// What was asked for.
        reference: OciReference,
        /// Which hash is wrong.
        said: String,
    },
    /// The manifest cannot be understood.
    #[error("{reference}: the manifest cannot be used ({said}); push the component again")]
    BadManifest {
        /// What was asked for.
        reference: OciReference,
        /// What is wrong with it.
        said: String,
    },
    /// The registry does not let us.
    #[error("{reference}: the registry refuses access ({said}); check the user, the password and their rights")]
    Unauthorised {
        /// What was asked for.
        reference: OciReference,
        /// What it says.
        said: String,
    },
    /// It is not there.
    #[error("{reference}: the registry does not have it ({said}); check the repository and the digest")]
    NotFound {
        /// What was asked for.
        reference: OciReference,
        /// What it says.
        said: String,
    },
    /// It took too long.
    #[error("{reference}: it did not come within {} s; check the registry and the way to it", .limit.as_secs_f32())]
    Timeout {
        /// What was asked for.
        reference: OciReference,
        /// How long it may take.
        limit: Duration,
    },
    /// No connection, or it broke.
    #[error("{reference}: the registry cannot be reached ({said}); check its address, its port and its certificate")]
    Unreachable {
        /// What was asked for.
        reference: OciReference,
        /// What the system says.
        said: String,
    },
    /// The registry answers with something else.
    #[error("{reference}: the registry's answer cannot be used ({said}); try again, or ask its operator")]
    Registry {
        /// What was asked for.
        reference: OciReference,
        /// What it says.
        said: String,
    },
    /// The operator's settings for a registry do not do.
    #[error("registry {registry}: {why}")]
    BadRegistry {
        /// Which.
        registry: String,
        /// What is wrong and what to do.
        why: String,
    },
}

impl OciError {
    /// Whether another attempt may have another outcome: the network, the registry's state, the time.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Timeout { .. } | Self::Unreachable { .. } | Self::Registry { .. })
    }
}

/// What the client says, in our words.
pub(super) fn explain(reference: &OciReference, limit: Duration, error: &OciDistributionError) -> OciError {
    use OciDistributionError as E;
    let reference = reference.clone();
    let said = said(error);
    match error {
        E::DigestError(_) => OciError::WrongDigest { reference, said },
        E::UnauthorizedError { .. } | E::AuthenticationFailure(_) => OciError::Unauthorised { reference, said },
        E::ServerError { code: 401 | 403, .. } => OciError::Unauthorised { reference, said },
        E::ServerError { code: 404, .. } => OciError::NotFound { reference, said },
        E::RegistryError { envelope, .. } => match envelope.errors.first().map(|error| &error.code) {
            Some(OciErrorCode::Unauthorized | OciErrorCode::Denied) => OciError::Unauthorised { reference, said },
            Some(
                OciErrorCode::ManifestUnknown
                | OciErrorCode::NameUnknown
                | OciErrorCode::BlobUnknown
                | OciErrorCode::NotFound,
            ) => OciError::NotFound { reference, said },
            _ => OciError::Registry { reference, said },
        },
        E::RequestError(error) if error.is_timeout() => OciError::Timeout { reference, limit },
        E::RequestError(error) => {
            // Its own words are the address, which is known; its causes are the news.
            let said = error.source().map_or(said, self::said);
            OciError::Unreachable { reference, said }
        }
        E::IoError(_) => OciError::Unreachable { reference, said },
        _ => OciError::Registry { reference, said },
    }
}

/// A layer's stream has broken off, or its hash is wrong at the end.
pub(super) fn explain_stream(reference: &OciReference, error: &std::io::Error) -> OciError {
    let reference = reference.clone();
    let said = said(error);
    if error.get_ref().is_some_and(|inner| inner.is::<DigestError>()) {
        return OciError::WrongDigest { reference, said };
    }
    OciError::Unreachable { reference, said }
}

/// An error with its causes, on one line.
fn said(error: &dyn Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !said.contains(&next) {
            said = format!("{said}: {next}");
        }
        cause = error.source();
    }
    one_line(&said, MAX_SAID_CHARS)
}

fn at_least(size_bytes: Option<u64>) -> String {
    size_bytes.map_or_else(|| "too many".to_owned(), |size| size.to_string())
}
