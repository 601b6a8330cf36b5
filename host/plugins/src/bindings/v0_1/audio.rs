//! The resource `audio`. It does not pass the call's owner: a frame goes from the media thread's queue to the guest and
//! back.

use std::future::poll_fn;
use std::sync::Weak;
use std::time::Duration;

use bytes::Bytes;
use voxtra_core::media::frame_bytes;
use voxtra_core::{Frame, MediaLink};
use wasmtime::Result;
use wasmtime::component::Resource;

use super::generated::voxtra::call::call_session::HostAudio;
use super::generated::voxtra::call::types::Error;
use crate::host::{SharedCall, SnoopHost};
use crate::pace::Class;
use crate::store::InstanceData;

/// The most that one `write` takes.
const MAX_WRITE_BYTES: usize = 65_536;

/// What a guest's `audio` stands for. Dropping it closes the stream.
#[allow(unreachable_pub)]
pub struct AudioHandle {
    owner: Owner,
    pub(super) link: MediaLink,
}

/// Whose audio it is. A stream does not keep its snoop: only the snoop's own handle does.
enum Owner {
    Call(SharedCall),
    Snoop(Weak<dyn SnoopHost>),
}

impl AudioHandle {
    pub(super) fn of_call(call: SharedCall, link: MediaLink) -> Self {
        Self { owner: Owner::Call(call), link }
    }

    pub(super) fn of_snoop(snoop: Weak<dyn SnoopHost>, link: MediaLink) -> Self {
        Self { owner: Owner::Snoop(snoop), link }
    }

    async fn read(&self, timeout: Duration) -> Result<Vec<u8>, Error> {
        let next = poll_fn(|cx| self.link.source.poll_frame(cx));
        match tokio::time::timeout(timeout, next).await {
            Ok(Some(frame)) => Ok(frame.into_pcm().into()),
            Ok(None) => Err(Error::HungUp),
            Err(_) => Err(Error::Timeout),
        }
    }

    async fn write(&self, pcm: Vec<u8>) -> Result<(), Error> {
        if !pcm.len().is_multiple_of(2) {
            return Err(Error::InvalidArgument("audio is 16-bit samples: write an even number of bytes".into()));
        }
        if pcm.len() > MAX_WRITE_BYTES {
            return Err(Error::InvalidArgument(format!(
                "{} bytes are too much for one write; write at most {MAX_WRITE_BYTES}",
                pcm.len()
            )));
        }
        let mut rest = Bytes::from(pcm);
        while !rest.is_empty() {
            let frame = rest.split_to(rest.len().min(frame_bytes(self.link.rate_hz)));
            poll_fn(|cx| self.link.sink.poll_ready(cx)).await.map_err(|_| Error::HungUp)?;
            self.link.sink.push(Frame::new(frame)).map_err(|_| Error::HungUp)?;
        }
        Ok(())
    }
}

impl Drop for AudioHandle {
    fn drop(&mut self) {
        match &self.owner {
            Owner::Call(call) => call.close_audio(),
            Owner::Snoop(snoop) => {
                if let Some(snoop) = snoop.upgrade() {
                    snoop.close_audio();
                }
            }
        }
    }
}

impl HostAudio for InstanceData {
    async fn read(&mut self, this: Resource<AudioHandle>, timeout_ms: u32) -> Result<Result<Vec<u8>, Error>> {
        self.pace.turn_of(Class::Audio).await;
        Ok(self.table.get(&this)?.read(Duration::from_millis(timeout_ms.into())).await)
    }

    async fn write(&mut self, this: Resource<AudioHandle>, pcm: Vec<u8>) -> Result<Result<(), Error>> {
        self.pace.turn_of(Class::Audio).await;
        Ok(self.table.get(&this)?.write(pcm).await)
    }

    fn clear(&mut self, this: Resource<AudioHandle>) -> Result<Result<(), Error>> {
        self.table.get(&this)?.link.sink.clear();
        Ok(Ok(()))
    }

    fn queued_ms(&mut self, this: Resource<AudioHandle>) -> Result<u32> {
        Ok(self.table.get(&this)?.link.sink.queued_ms())
    }

    fn drop(&mut self, this: Resource<AudioHandle>) -> Result<()> {
        self.retained.let_go(this.rep());
        self.table.delete(this)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::fake::{FakeSnoop, Journal};

    #[tokio::test]
    async fn a_stream_does_not_keep_its_snoop() {
        let journal = Journal::default();
        let snoop: Arc<dyn SnoopHost> = Arc::new(FakeSnoop::new("snoop-1", journal.clone()));
        let link = snoop.open_audio(8_000).await.unwrap();
        let audio = AudioHandle::of_snoop(Arc::downgrade(&snoop), link);
        drop(snoop);
        assert_eq!(journal.lines().last().unwrap(), "snoop-1 dropped");
        assert!(matches!(audio.read(Duration::from_secs(1)).await, Err(Error::HungUp)));
    }

    #[tokio::test]
    async fn a_dropped_stream_is_closed_at_its_snoop() {
        let journal = Journal::default();
        let snoop: Arc<dyn SnoopHost> = Arc::new(FakeSnoop::new("snoop-1", journal.clone()));
        let link = snoop.open_audio(8_000).await.unwrap();
        drop(AudioHandle::of_snoop(Arc::downgrade(&snoop), link));
        assert_eq!(journal.lines().last().unwrap(), "snoop-1 close-audio");
    }
}
