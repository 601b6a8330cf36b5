//! The resource `call`.

use std::sync::Arc;
use std::time::Duration;

use voxtra_core::verbs::Gather;
use wasmtime::Result;
use wasmtime::component::Resource;

use super::audio::AudioHandle;
use super::convert::listen;
use super::generated::voxtra::call::call_session::{Digits, GatherOptions, Host, HostCall, PlayOptions, PlayOutcome};
use super::generated::voxtra::call::types::{self, CallInfo, CallState, Error, Event, HangupCause};
use crate::host::SharedCall;
use crate::store::CallStore;

/// What a guest's `call` stands for.
#[allow(unreachable_pub)]
pub struct CallHandle(pub(crate) SharedCall);

impl CallStore {
    /// The call of a handle: one that is not in the table was forged, and traps.
    pub(super) fn call(&self, handle: &Resource<CallHandle>) -> Result<&SharedCall> {
        Ok(&self.table.get(handle)?.0)
    }
}

impl types::Host for CallStore {}

impl Host for CallStore {}

impl HostCall for CallStore {
    fn info(&mut self, this: Resource<CallHandle>) -> Result<CallInfo> {
        Ok(self.call(&this)?.info().into())
    }

    fn state(&mut self, this: Resource<CallHandle>) -> Result<CallState> {
        Ok(self.call(&this)?.state().into())
    }

    fn duration_ms(&mut self, this: Resource<CallHandle>) -> Result<u32> {
        Ok(self.call(&this)?.duration_ms())
    }

    fn metadata_get(&mut self, this: Resource<CallHandle>, key: String) -> Result<Option<String>> {
        Ok(self.call(&this)?.metadata_get(&key))
    }

    fn metadata_set(&mut self, this: Resource<CallHandle>, key: String, value: String) -> Result<Result<(), Error>> {
        Ok(self.call(&this)?.metadata_set(key, value).map_err(Error::from))
    }

    fn metadata_list(&mut self, this: Resource<CallHandle>) -> Result<Vec<(String, String)>> {
        Ok(self.call(&this)?.metadata_list())
    }

    async fn answer(&mut self, this: Resource<CallHandle>) -> Result<Result<(), Error>> {
        Ok(self.call(&this)?.answer().await.map_err(Error::from))
    }

    async fn hangup(&mut self, this: Resource<CallHandle>, cause: HangupCause) -> Result<Result<(), Error>> {
        Ok(self.call(&this)?.hangup(cause.into()).await.map_err(Error::from))
    }

    async fn play(
        &mut self,
        this: Resource<CallHandle>,
        media: Vec<String>,
        options: PlayOptions,
    ) -> Result<Result<PlayOutcome, Error>> {
        let outcome = self.call(&this)?.play(media, options.interrupt_on).await;
        Ok(outcome.map(PlayOutcome::from).map_err(Error::from))
    }

    async fn gather(&mut self, this: Resource<CallHandle>, options: GatherOptions) -> Result<Result<Digits, Error>> {
        self.take_digits(&this, options.into()).await
    }

    async fn listen_dtmf(
        &mut self,
        this: Resource<CallHandle>,
        max_digits: u32,
        timeout_ms: u32,
    ) -> Result<Result<Digits, Error>> {
        self.take_digits(&this, listen(max_digits, timeout_ms)).await
    }

    async fn send_dtmf(&mut self, this: Resource<CallHandle>, digits: String) -> Result<Result<(), Error>> {
        Ok(self.call(&this)?.send_dtmf(digits).await.map_err(Error::from))
    }

    async fn open_audio(
        &mut self,
        this: Resource<CallHandle>,
        format: super::generated::voxtra::call::call_session::AudioFormat,
    ) -> Result<Result<Resource<AudioHandle>, Error>> {
        let call = Arc::clone(self.call(&this)?);
        match call.open_audio(format.rate_hz).await {
            Ok(link) => Ok(Ok(self.table.push(AudioHandle::new(call, link))?)),
            Err(error) => Ok(Err(error.into())),
        }
    }

    async fn next_event(&mut self, this: Resource<CallHandle>, timeout_ms: u32) -> Result<Result<Event, Error>> {
        let next = self.call(&this)?.next_event(Duration::from_millis(timeout_ms.into())).await;
        Ok(next.map(Event::from).map_err(Error::from))
    }

    fn drop(&mut self, this: Resource<CallHandle>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl CallStore {
    async fn take_digits(&mut self, this: &Resource<CallHandle>, gather: Gather) -> Result<Result<Digits, Error>> {
        Ok(self.call(this)?.gather(gather).await.map(Digits::from).map_err(Error::from))
    }
}
