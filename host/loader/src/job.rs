//! One component on its way in: from bytes to something that has started once.

use std::sync::Arc;

use tokio::runtime::Handle;
use voxtra_artifacts::signature::{SignaturePolicy, SignedBy, TrustedKeys};
use voxtra_artifacts::{HandlerKey, Version};
use voxtra_directory::Signatures;
use voxtra_plugins::{Kind, Runtime};

use crate::snapshot::Component;

/// Why a component does not get in. One sentence, with the file's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// What has to be known of it.
pub(crate) struct Job {
    pub(crate) key: HandlerKey,
    pub(crate) kind: Kind,
    /// For people.
    pub(crate) file: String,
    pub(crate) wasm: Vec<u8>,
    pub(crate) signature: Option<Vec<u8>>,
    /// What the signature's file is named after: the component's, which may be in a registry.
    pub(crate) signed: String,
    pub(crate) signatures: Signatures,
}

/// What has passed.
pub(crate) struct Passed {
    pub(crate) component: Component,
    pub(crate) version: Version,
    pub(crate) signed_by: Option<SignedBy>,
}

impl Job {
    /// Does all of it. Blocks as long as compiling takes; the component's own start runs on `guests`.
    pub(crate) fn run(&self, runtime: &Arc<Runtime>, guests: &Handle) -> Result<Passed, Refused> {
        let signed_by = self.check_signature()?;
        let component = self.load(runtime)?;
        if let Component::Handler(handler) = &component {
            guests
                .block_on(handler.start_once())
                .map_err(|error| Refused(format!("{}: {error}; the version before goes on", self.file)))?;
        }
        Ok(Passed { component, version: Version::of(&self.wasm), signed_by })
    }

    fn check_signature(&self) -> Result<Option<SignedBy>, Refused> {
        let refused = |error: &dyn std::fmt::Display| Refused(error.to_string());
        let policy = match self.signatures.required {
            true => SignaturePolicy::Required(
                TrustedKeys::parse(&self.signatures.keys)
                    .map_err(|error| Refused(format!("{}: {error}", self.file)))?,
            ),
            false => SignaturePolicy::Off,
        };
        policy.check(&self.signed, &self.wasm, self.signature.as_deref()).map_err(|error| refused(&error))
    }

    fn load(&self, runtime: &Arc<Runtime>) -> Result<Component, Refused> {
        let (tenant, name) = (self.key.tenant(), self.key.handler());
        // Of a rule, the name that people gave it.
        let plain = |suffix: &str| name.as_str().strip_suffix(suffix).unwrap_or(name.as_str()).into();
        let loaded = match self.kind {
            Kind::Handler => runtime.load_bytes(tenant, name, &self.wasm).map(Component::Handler),
            Kind::Router => runtime.load_router_bytes(tenant, &plain(".router"), &self.wasm).map(Component::Router),
            Kind::Filter => runtime.load_filter_bytes(tenant, &plain(".filter"), &self.wasm).map(Component::Filter),
        };
        loaded.map_err(|error| Refused(format!("{}: {}", self.file, error.why)))
    }
}
