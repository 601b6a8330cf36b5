//! The resource `playback`.

use std::time::Duration;

use voxtra_core::PlaybackId;
use wasmtime::Result;
use wasmtime::component::Resource;

use super::generated::voxtra::call::call_session::HostPlayback;
use super::generated::voxtra::call::types::{Error, PlayOutcome};
use crate::host::SharedCall;
use crate::store::InstanceData;

/// What a guest's `playback` stands for. Dropping it does nothing to what plays.
#[allow(unreachable_pub)]
pub struct PlaybackHandle {
    pub(super) call: SharedCall,
    pub(super) id: PlaybackId,
}

impl HostPlayback for InstanceData {
    fn id(&mut self, this: Resource<PlaybackHandle>) -> Result<String> {
        Ok(self.table.get(&this)?.id.as_str().to_owned())
    }

    async fn stop(&mut self, this: Resource<PlaybackHandle>) -> Result<Result<(), Error>> {
        self.pace.turn().await;
        let playback = self.table.get(&this)?;
        Ok(playback.call.stop_playback(playback.id.clone()).await.map_err(Error::from))
    }

    async fn wait(&mut self, this: Resource<PlaybackHandle>, timeout_ms: u32) -> Result<Result<PlayOutcome, Error>> {
        self.pace.turn().await;
        let playback = self.table.get(&this)?;
        let end = playback.call.wait_playback(playback.id.clone(), Duration::from_millis(timeout_ms.into())).await;
        Ok(end.map(PlayOutcome::from).map_err(Error::from))
    }

    fn drop(&mut self, this: Resource<PlaybackHandle>) -> Result<()> {
        // It may play on.
        self.retained.let_go_later(this.rep());
        self.table.delete(this)?;
        Ok(())
    }
}
