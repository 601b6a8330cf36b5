//! The resource `snoop`.

use std::sync::Arc;

use wasmtime::Result;
use wasmtime::component::Resource;

use super::audio::AudioHandle;
use super::generated::voxtra::call::call_session::{AudioFormat, HostSnoop};
use super::generated::voxtra::call::types::Error;
use crate::host::SnoopHost;
use crate::retained::AUDIO_BYTES;
use crate::store::InstanceData;

/// What a guest's `snoop` stands for, and the only one who holds it: when the handle or its instance goes, so does the
/// snoop, also from under an open stream.
#[allow(unreachable_pub)]
pub struct SnoopHandle(pub(super) Arc<dyn SnoopHost>);

impl HostSnoop for InstanceData {
    fn id(&mut self, this: Resource<SnoopHandle>) -> Result<String> {
        Ok(self.table.get(&this)?.0.id().as_str().to_owned())
    }

    async fn play(&mut self, this: Resource<SnoopHandle>, media: Vec<String>) -> Result<Result<(), Error>> {
        self.pace.turn().await;
        Ok(self.table.get(&this)?.0.play(media).await.map_err(Error::from))
    }

    async fn open_audio(
        &mut self,
        this: Resource<SnoopHandle>,
        format: AudioFormat,
    ) -> Result<Result<Resource<AudioHandle>, Error>> {
        self.pace.turn().await;
        if let Err(full) = self.retained.room(AUDIO_BYTES) {
            return Ok(Err(full.into()));
        }
        let snoop = &self.table.get(&this)?.0;
        let owner = Arc::downgrade(snoop);
        match snoop.open_audio(format.rate_hz).await {
            Ok(link) => {
                let audio = self.table.push(AudioHandle::of_snoop(owner, link))?;
                self.retained.keep(audio.rep(), AUDIO_BYTES);
                Ok(Ok(audio))
            }
            Err(error) => Ok(Err(error.into())),
        }
    }

    async fn stop(&mut self, this: Resource<SnoopHandle>) -> Result<Result<(), Error>> {
        self.pace.turn().await;
        Ok(self.table.get(&this)?.0.stop().await.map_err(Error::from))
    }

    fn drop(&mut self, this: Resource<SnoopHandle>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}
