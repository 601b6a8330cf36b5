//! One component on its way in: from bytes to something that has started once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::runtime::Handle;
use voxtra_artifacts::signature::{SignaturePolicy, SignedBy, TrustedKeys};
use voxtra_artifacts::{HandlerKey, Version};
use voxtra_directory::Signatures;
use voxtra_plugins::{Handler, Kind, Runtime, StartError};

use crate::fetch::Place;
use crate::snapshot::Component;

/// Why a component does not get in. One sentence, with the file's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Refused {
    pub(crate) why: String,
    /// Something else than the component is in the way: the same may get in later.
    pub(crate) is_passing: bool,
}

impl Refused {
    /// For good: the component has to be another one.
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), is_passing: false }
    }

    /// For now.
    pub(crate) fn passing(why: impl Into<String>) -> Self {
        Self { why: why.into(), is_passing: true }
    }
}

/// What to do about a component that no engine should stumble over.
const AGAIN: &str = "build it again, and tell the host's authors";

/// What a tenant's signatures ask for. `file` is for people.
pub(crate) fn policy(signatures: &Signatures, file: &str) -> Result<SignaturePolicy, Refused> {
    if !signatures.required {
        return Ok(SignaturePolicy::Off);
    }
    let keys = TrustedKeys::parse(&signatures.keys).map_err(|error| Refused::new(format!("{file}: {error}")))?;
    Ok(SignaturePolicy::Required(keys))
}

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
    /// Of one that was fetched.
    pub(crate) _place: Option<Place>,
}

/// What has passed.
pub(crate) struct Passed {
    pub(crate) component: Component,
    pub(crate) version: Version,
    pub(crate) signed_by: Option<SignedBy>,
}

impl Job {
    /// Does all of it. Blocks as long as compiling takes; the component's own start runs on `guests`. Whatever the component
    /// does to the engine is its own misfortune: whoever waits for its end gets one.
    pub(crate) fn run(&self, runtime: &Arc<Runtime>, guests: &Handle) -> Result<Passed, Refused> {
        let run = AssertUnwindSafe(|| self.take_steps(runtime, guests));
        catch_unwind(run)
            .unwrap_or_else(|_| Err(Refused::new(format!("{}: it makes the engine fail; {AGAIN}", self.file))))
    }

    fn take_steps(&self, runtime: &Arc<Runtime>, guests: &Handle) -> Result<Passed, Refused> {
        let signed_by = self.check_signature()?;
        let component = self.load(runtime)?;
        if let Component::Handler(handler) = &component {
            self.start_once(handler.clone(), guests)?;
        }
        Ok(Passed { component, version: Version::of(&self.wasm), signed_by })
    }

    /// On the threads of guests, which stand back behind all others, and not on the one that waits here.
    fn start_once(&self, handler: Handler, guests: &Handle) -> Result<(), Refused> {
        let starting = guests.spawn(async move { handler.start_once().await });
        let why = |error: &dyn std::fmt::Display| format!("{}: {error}; the version before goes on", self.file);
        match guests.block_on(starting) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error @ (StartError::Busy | StartError::TenantFull(_)))) => Err(Refused::passing(why(&error))),
            Ok(Err(error)) => Err(Refused::new(why(&error))),
            Err(lost) if lost.is_panic() => Err(Refused::new(why(&format!("it makes the engine fail; {AGAIN}")))),
            Err(_) => Err(Refused::passing(why(&"the host is stopping"))),
        }
    }

    fn check_signature(&self) -> Result<Option<SignedBy>, Refused> {
        let policy = policy(&self.signatures, &self.file)?;
        let checked = policy.check(&self.signed, &self.wasm, self.signature.as_deref());
        let is_beside = self.signed == self.file;
        let named = |error| if is_beside { format!("{error}") } else { format!("{}: {error}", self.file) };
        checked.map_err(|error| Refused::new(named(error)))
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
        loaded.map_err(|error| Refused { why: format!("{}: {}", self.file, error.why), is_passing: error.is_passing })
    }
}
