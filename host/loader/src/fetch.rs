//! Components that are named by a registry's reference: fetched beside everything else, on a runtime that is not the guests'.

use tokio::runtime::Handle;
use voxtra_artifacts::oci::{Fetched, OciError, OciOptions, OciReference, RegistryClient};

/// Speaks to the registries that the operator has named.
#[derive(Clone)]
pub(crate) struct Fetcher {
    client: RegistryClient,
    runtime: Handle,
}

impl Fetcher {
    pub(crate) fn new(options: &OciOptions, runtime: Handle) -> Result<Self, OciError> {
        Ok(Self { client: RegistryClient::new(options)?, runtime })
    }

    /// Fetches a component and tells `then`. The client has a limit of its own on the time and on fetches at once.
    pub(crate) fn begin(&self, reference: OciReference, then: impl FnOnce(Result<Fetched, OciError>) + Send + 'static) {
        let client = self.client.clone();
        self.runtime.spawn(async move { then(client.fetch(&reference).await) });
    }

    /// Fetches a component. Blocks.
    pub(crate) fn wait(&self, reference: &OciReference) -> Result<Fetched, OciError> {
        self.runtime.block_on(self.client.fetch(reference))
    }
}

/// What is written down of a version that came from a registry, so that the next start knows it without asking: the
/// manifest's hash first, because it alone says what it is and a long note is cut.
pub(crate) fn origin(reference: &OciReference) -> String {
    format!("{}{}/{}", mark(reference), reference.registry(), reference.repository())
}

/// How such a note begins.
pub(crate) fn mark(reference: &OciReference) -> String {
    format!("sha256:{} from ", reference.manifest())
}
