//! The interface `readiness`.

use std::future::poll_fn;
use std::sync::Arc;

use voxtra_core::AudioSource;
use wasmtime::Result;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

use super::audio::AudioHandle;
use super::call::CallHandle;
use super::generated::voxtra::call::readiness::Host;
use crate::host::SharedCall;
use crate::store::InstanceData;

impl Host for InstanceData {
    fn event_pollable(&mut self, of: Resource<CallHandle>) -> Result<Resource<DynPollable>> {
        let events = EventsReady(Arc::clone(self.call(&of)?));
        let events = self.table.push(events)?;
        subscribe(&mut self.table, events)
    }

    fn audio_pollable(&mut self, of: Resource<AudioHandle>) -> Result<Resource<DynPollable>> {
        let readable = AudioReady(Arc::clone(&self.table.get(&of)?.link.source));
        let readable = self.table.push(readable)?;
        subscribe(&mut self.table, readable)
    }
}

struct EventsReady(SharedCall);

#[wasmtime_wasi::async_trait]
impl Pollable for EventsReady {
    async fn ready(&mut self) {
        poll_fn(|cx| self.0.poll_event(cx)).await;
    }
}

struct AudioReady(Arc<dyn AudioSource>);

#[wasmtime_wasi::async_trait]
impl Pollable for AudioReady {
    async fn ready(&mut self) {
        poll_fn(|cx| self.0.poll_readable(cx)).await;
    }
}
