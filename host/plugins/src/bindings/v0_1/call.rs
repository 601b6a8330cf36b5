//! The resource `call`.

use std::sync::Arc;
use std::time::Duration;

use voxtra_core::verbs::{AnsweredBy, Gather};
use wasmtime::Result;
use wasmtime::component::Resource;

use super::audio::AudioHandle;
use super::bridge::BridgeHandle;
use super::convert::listen;
use super::generated::voxtra::call::call_session::{
    AudioFormat, DialplanPlace, Digits, GatherOptions, Host, HostCall, MachineDetector, OriginateOptions, PlayOptions,
    RecordOptions, SnoopOptions,
};
use super::generated::voxtra::call::types::{
    self, CallInfo, CallState, Error, Event, HangupCause, PlayOutcome, RecordingInfo,
};
use super::playback::PlaybackHandle;
use super::snoop::SnoopHandle;
use crate::host::{Inherited, SharedCall};
use crate::retained::{AUDIO_BYTES, bytes_of, bytes_of_pairs};
use crate::store::InstanceData;

/// What a guest's `call` stands for.
#[allow(unreachable_pub)]
pub struct CallHandle(pub(crate) SharedCall);

/// What a verb that only succeeds or fails gives the guest.
type Done = Result<Result<(), Error>>;

/// The calls, bridges and snoops that an earlier version has left up.
type Inheritance = (Vec<Resource<CallHandle>>, Vec<Resource<BridgeHandle>>, Vec<Resource<SnoopHandle>>);

impl InstanceData {
    /// The call of a handle: one that is not in the table was forged, and traps.
    pub(super) fn call(&self, handle: &Resource<CallHandle>) -> Result<&SharedCall> {
        Ok(&self.table.get(handle)?.0)
    }

    /// The same for what becomes a message to the call's owner: waits for its turn when there are too many.
    pub(super) async fn verb(&mut self, handle: &Resource<CallHandle>) -> Result<&SharedCall> {
        self.pace.turn().await;
        Ok(&self.table.get(handle)?.0)
    }
}

impl types::Host for InstanceData {}

impl Host for InstanceData {}

impl HostCall for InstanceData {
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

    fn metadata_set(&mut self, this: Resource<CallHandle>, key: String, value: String) -> Done {
        let call = Arc::clone(self.call(&this)?);
        let before = call.metadata_get(&key).map_or(0, |value| key.len().saturating_add(value.len()));
        let after = key.len().saturating_add(value.len());
        if let Err(full) = self.retained.note(before, after) {
            return Ok(Err(full.into()));
        }
        let set = call.metadata_set(key, value);
        if set.is_err() {
            // There is always room for less.
            let _ = self.retained.note(after, before);
        }
        Ok(set.map_err(Error::from))
    }

    fn metadata_list(&mut self, this: Resource<CallHandle>) -> Result<Vec<(String, String)>> {
        Ok(self.call(&this)?.metadata_list())
    }

    fn metadata_share(&mut self, this: Resource<CallHandle>, keys: Vec<String>) -> Done {
        if let Err(full) = self.retained.share(bytes_of(&keys)) {
            return Ok(Err(full.into()));
        }
        Ok(self.call(&this)?.metadata_share(keys).map_err(Error::from))
    }

    async fn answer(&mut self, this: Resource<CallHandle>) -> Done {
        Ok(self.verb(&this).await?.answer().await.map_err(Error::from))
    }

    async fn ring(&mut self, this: Resource<CallHandle>) -> Done {
        Ok(self.verb(&this).await?.ring().await.map_err(Error::from))
    }

    async fn hangup(&mut self, this: Resource<CallHandle>, cause: HangupCause) -> Done {
        Ok(self.verb(&this).await?.hangup(cause.into()).await.map_err(Error::from))
    }

    async fn hold(&mut self, this: Resource<CallHandle>, music_class: String) -> Done {
        Ok(self.verb(&this).await?.hold(music_class).await.map_err(Error::from))
    }

    async fn unhold(&mut self, this: Resource<CallHandle>) -> Done {
        Ok(self.verb(&this).await?.unhold().await.map_err(Error::from))
    }

    async fn transfer_to(&mut self, this: Resource<CallHandle>, target: String) -> Done {
        Ok(self.verb(&this).await?.transfer(target).await.map_err(Error::from))
    }

    async fn transfer_to_queue(
        &mut self,
        this: Resource<CallHandle>,
        queue: String,
        metadata: Vec<(String, String)>,
    ) -> Done {
        Ok(self.verb(&this).await?.transfer_to_queue(queue, metadata).await.map_err(Error::from))
    }

    async fn continue_in_dialplan(&mut self, this: Resource<CallHandle>, place: DialplanPlace) -> Done {
        Ok(self.verb(&this).await?.continue_in_dialplan(place.into()).await.map_err(Error::from))
    }

    async fn set_variable(&mut self, this: Resource<CallHandle>, name: String, value: String) -> Done {
        Ok(self.verb(&this).await?.set_variable(name, value).await.map_err(Error::from))
    }

    async fn get_variable(
        &mut self,
        this: Resource<CallHandle>,
        name: String,
    ) -> Result<Result<Option<String>, Error>> {
        Ok(self.verb(&this).await?.get_variable(name).await.map_err(Error::from))
    }

    async fn play(
        &mut self,
        this: Resource<CallHandle>,
        media: Vec<String>,
        options: PlayOptions,
    ) -> Result<Result<PlayOutcome, Error>> {
        let outcome = self.verb(&this).await?.play(media, options.interrupt_on).await;
        Ok(outcome.map(PlayOutcome::from).map_err(Error::from))
    }

    async fn start_playback(
        &mut self,
        this: Resource<CallHandle>,
        media: Vec<String>,
    ) -> Result<Result<Resource<PlaybackHandle>, Error>> {
        let bytes = bytes_of(&media);
        if let Err(full) = self.retained.room(bytes) {
            return Ok(Err(full.into()));
        }
        let call = Arc::clone(self.verb(&this).await?);
        match call.start_playback(media).await {
            Ok(id) => {
                let playback = self.table.push(PlaybackHandle { call, id })?;
                self.retained.keep(playback.rep(), bytes);
                Ok(Ok(playback))
            }
            Err(error) => Ok(Err(error.into())),
        }
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

    async fn send_dtmf(&mut self, this: Resource<CallHandle>, digits: String) -> Done {
        Ok(self.verb(&this).await?.send_dtmf(digits).await.map_err(Error::from))
    }

    async fn record_start(
        &mut self,
        this: Resource<CallHandle>,
        options: RecordOptions,
    ) -> Result<Result<String, Error>> {
        let started = self.verb(&this).await?.record_start(options.into()).await;
        Ok(started.map(String::from).map_err(Error::from))
    }

    async fn record_pause(&mut self, this: Resource<CallHandle>, paused: bool) -> Done {
        Ok(self.verb(&this).await?.record_pause(paused).await.map_err(Error::from))
    }

    async fn record_stop(&mut self, this: Resource<CallHandle>) -> Result<Result<RecordingInfo, Error>> {
        Ok(self.verb(&this).await?.record_stop().await.map(RecordingInfo::from).map_err(Error::from))
    }

    async fn originate(
        &mut self,
        this: Resource<CallHandle>,
        options: OriginateOptions,
    ) -> Result<Result<Resource<CallHandle>, Error>> {
        let bytes = bytes_of_pairs(&options.variables).saturating_add(bytes_of_pairs(&options.metadata));
        if let Err(full) = self.retained.room(bytes) {
            return Ok(Err(full.into()));
        }
        match self.verb(&this).await?.originate(options.into()).await {
            Ok(call) => {
                let call = self.table.push(CallHandle(call))?;
                self.retained.keep(call.rep(), bytes);
                Ok(Ok(call))
            }
            Err(error) => Ok(Err(error.into())),
        }
    }

    async fn create_bridge(&mut self, this: Resource<CallHandle>) -> Result<Result<Resource<BridgeHandle>, Error>> {
        match self.verb(&this).await?.create_bridge().await {
            Ok(bridge) => Ok(Ok(self.table.push(BridgeHandle(bridge))?)),
            Err(error) => Ok(Err(error.into())),
        }
    }

    async fn snoop(
        &mut self,
        this: Resource<CallHandle>,
        options: SnoopOptions,
    ) -> Result<Result<Resource<SnoopHandle>, Error>> {
        match self.verb(&this).await?.snoop(options.into()).await {
            Ok(snoop) => Ok(Ok(self.table.push(SnoopHandle(snoop))?)),
            Err(error) => Ok(Err(error.into())),
        }
    }

    async fn detect_machine(
        &mut self,
        this: Resource<CallHandle>,
        detector: MachineDetector,
    ) -> Result<Result<types::AnsweredBy, Error>> {
        let verdict: Result<AnsweredBy, _> = self.verb(&this).await?.detect_machine(detector.into()).await;
        Ok(verdict.map(types::AnsweredBy::from).map_err(Error::from))
    }

    fn emit(&mut self, this: Resource<CallHandle>, name: String, data_json: String) -> Done {
        let call = Arc::clone(self.call(&this)?);
        if !self.pace.event() {
            let why = "these are too many events in a second; emit fewer, or raise events_per_second";
            return Ok(Err(Error::LimitExceeded(why.to_owned())));
        }
        if let Err(full) = self.retained.pass_on(name.len().saturating_add(data_json.len())) {
            return Ok(Err(full.into()));
        }
        Ok(call.emit(name, data_json).map_err(Error::from))
    }

    async fn open_audio(
        &mut self,
        this: Resource<CallHandle>,
        format: AudioFormat,
    ) -> Result<Result<Resource<AudioHandle>, Error>> {
        if let Err(full) = self.retained.room(AUDIO_BYTES) {
            return Ok(Err(full.into()));
        }
        let call = Arc::clone(self.verb(&this).await?);
        match call.open_audio(format.rate_hz).await {
            Ok(link) => {
                let audio = self.table.push(AudioHandle::of_call(call, link))?;
                self.retained.keep(audio.rep(), AUDIO_BYTES);
                Ok(Ok(audio))
            }
            Err(error) => Ok(Err(error.into())),
        }
    }

    async fn next_event(&mut self, this: Resource<CallHandle>, timeout_ms: u32) -> Result<Result<Event, Error>> {
        let next = self.verb(&this).await?.next_event(Duration::from_millis(timeout_ms.into())).await;
        Ok(next.map(Event::from).map_err(Error::from))
    }

    fn upgrade_pending(&mut self, this: Resource<CallHandle>) -> Result<bool> {
        Ok(self.call(&this)?.upgrade_pending())
    }

    fn inherited(&mut self, this: Resource<CallHandle>) -> Result<Inheritance> {
        let Inherited { calls, bridges, snoops } = self.call(&this)?.inherited();
        let table = &mut self.table;
        Ok((
            calls.into_iter().map(|call| table.push(CallHandle(call))).collect::<Result<_, _>>()?,
            bridges.into_iter().map(|bridge| table.push(BridgeHandle(bridge))).collect::<Result<_, _>>()?,
            snoops.into_iter().map(|snoop| table.push(SnoopHandle(snoop))).collect::<Result<_, _>>()?,
        ))
    }

    fn drop(&mut self, this: Resource<CallHandle>) -> Result<()> {
        self.retained.let_go_later(this.rep());
        self.table.delete(this)?;
        Ok(())
    }
}

impl InstanceData {
    async fn take_digits(&mut self, this: &Resource<CallHandle>, gather: Gather) -> Result<Result<Digits, Error>> {
        Ok(self.verb(this).await?.gather(gather).await.map(Digits::from).map_err(Error::from))
    }
}
