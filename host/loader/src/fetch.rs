//! Components that are named by a registry's reference: fetched beside everything else, on a runtime that is not the guests'.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use voxtra_artifacts::oci::{Fetched, OciError, OciOptions, OciReference, RegistryClient};

/// Components that are on their way, or have come and wait for a worker, at the most: they are in memory as a whole.
const MAX_IN_MEMORY: usize = 8;

/// Speaks to the registries that the operator has named.
#[derive(Clone)]
pub(crate) struct Fetcher {
    client: RegistryClient,
    places: Arc<Semaphore>,
    runtime: Handle,
}

/// The right to be in memory; given back when it is dropped.
pub(crate) type Place = OwnedSemaphorePermit;

impl Fetcher {
    pub(crate) fn new(options: &OciOptions, runtime: Handle) -> Result<Self, OciError> {
        Ok(Self { client: RegistryClient::new(options)?, places: Arc::new(Semaphore::new(MAX_IN_MEMORY)), runtime })
    }

    /// Fetches a component when there is a place for it, and tells `then`, which keeps the place as long as the bytes. The client
    /// has a limit of its own on the time.
    pub(crate) fn begin(
        &self,
        reference: OciReference,
        then: impl FnOnce(Result<Fetched, OciError>, Option<Place>) + Send + 'static,
    ) {
        let (client, places) = (self.client.clone(), Arc::clone(&self.places));
        self.runtime.spawn(async move {
            // Nobody closes it.
            let place = places.acquire_owned().await.ok();
            then(client.fetch(&reference).await, place);
        });
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
