//! The resource `bridge`.

use std::sync::Arc;

use wasmtime::Result;
use wasmtime::component::Resource;

use super::call::CallHandle;
use super::generated::voxtra::call::call_session::HostBridge;
use super::generated::voxtra::call::types::Error;
use super::snoop::SnoopHandle;
use crate::host::BridgeHost;
use crate::store::InstanceData;

/// What a guest's `bridge` stands for, and the only one who holds it: when the handle or its instance goes, so does the
/// bridge.
#[allow(unreachable_pub)]
pub struct BridgeHandle(pub(super) Arc<dyn BridgeHost>);

type Done = Result<Result<(), Error>>;

impl InstanceData {
    fn bridge(&self, handle: &Resource<BridgeHandle>) -> Result<&dyn BridgeHost> {
        Ok(self.table.get(handle)?.0.as_ref())
    }
}

impl HostBridge for InstanceData {
    fn id(&mut self, this: Resource<BridgeHandle>) -> Result<String> {
        Ok(self.bridge(&this)?.id().as_str().to_owned())
    }

    async fn add(&mut self, this: Resource<BridgeHandle>, member: Resource<CallHandle>) -> Done {
        self.pace.turn().await;
        Ok(self.bridge(&this)?.add(self.call(&member)?).await.map_err(Error::from))
    }

    async fn remove(&mut self, this: Resource<BridgeHandle>, member: Resource<CallHandle>) -> Done {
        self.pace.turn().await;
        Ok(self.bridge(&this)?.remove(self.call(&member)?).await.map_err(Error::from))
    }

    async fn add_snoop(&mut self, this: Resource<BridgeHandle>, member: Resource<SnoopHandle>) -> Done {
        self.pace.turn().await;
        let snoop = &self.table.get(&member)?.0;
        Ok(self.bridge(&this)?.add_snoop(snoop).await.map_err(Error::from))
    }

    async fn play(&mut self, this: Resource<BridgeHandle>, media: Vec<String>) -> Done {
        self.pace.turn().await;
        Ok(self.bridge(&this)?.play(media).await.map_err(Error::from))
    }

    async fn destroy(&mut self, this: Resource<BridgeHandle>) -> Done {
        self.pace.turn().await;
        Ok(self.bridge(&this)?.destroy().await.map_err(Error::from))
    }

    fn drop(&mut self, this: Resource<BridgeHandle>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}
