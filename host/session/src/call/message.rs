//! What a call's owner is asked.

use std::sync::Arc;

use serde_json::{Map, Value};
use tokio::sync::oneshot;
use voxtra_core::verbs::{
    AnsweredBy, DialplanPlace, Digits, Gather, MachineDetector, OriginateOptions, PlayOutcome, RecordOptions,
    RecordingInfo, SnoopOptions,
};
use voxtra_core::{CallError, HangupCause, MediaLink, PlaybackId, RecordingId};
use voxtra_plugins::host::{BridgeHost, SharedCall, SnoopHost};

/// How many verbs may be on their way to the owner.
pub(crate) const MESSAGES_MAX: usize = 64;

/// The way back of a verb's outcome.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, CallError>>;

/// To whom a call is handed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HandOn {
    Target(String),
    Queue { queue: String, variables: Vec<(String, String)> },
    Dialplan(DialplanPlace),
}

/// A verb on its way to the owner. Its arguments have been checked.
pub(crate) enum Message {
    Answer(Reply<()>),
    Ring(Reply<()>),
    Hangup(HangupCause, Reply<()>),
    Hold(String, Reply<()>),
    Unhold(Reply<()>),
    HandOn(Box<HandOn>, Reply<()>),
    SetVariable {
        name: String,
        value: String,
        reply: Reply<()>,
    },
    GetVariable(String, Reply<Option<String>>),
    Play {
        media: Vec<String>,
        interrupt_on: String,
        reply: Reply<PlayOutcome>,
    },
    StartPlayback(Vec<String>, Reply<PlaybackId>),
    StopPlayback(PlaybackId, Reply<()>),
    WaitPlayback(PlaybackId, Reply<PlayOutcome>),
    Gather(Box<Gather>, Reply<Digits>),
    SendDtmf(String, Reply<()>),
    OpenAudio(u32, Reply<MediaLink>),
    RecordStart(Box<RecordOptions>, Reply<RecordingId>),
    RecordPause(bool, Reply<()>),
    RecordStop(Reply<RecordingInfo>),
    Originate(Box<OriginateOptions>, Reply<SharedCall>),
    CreateBridge(Reply<Arc<dyn BridgeHost>>),
    Snoop(SnoopOptions, Reply<Arc<dyn SnoopHost>>),
    DetectMachine(MachineDetector, Reply<AnsweredBy>),
    Emit(String, Map<String, Value>),
    /// Of a recording's own task: it records.
    RecordingBegan,
}

impl Message {
    /// Answers it with an error. One that nobody waits for any more is no loss.
    pub(crate) fn refuse(self, error: CallError) {
        match self {
            Self::Answer(reply)
            | Self::Ring(reply)
            | Self::Hangup(_, reply)
            | Self::Hold(_, reply)
            | Self::Unhold(reply)
            | Self::HandOn(_, reply)
            | Self::SetVariable { reply, .. }
            | Self::StopPlayback(_, reply)
            | Self::SendDtmf(_, reply)
            | Self::RecordPause(_, reply) => say(reply, error),
            Self::GetVariable(_, reply) => say(reply, error),
            Self::Play { reply, .. } | Self::WaitPlayback(_, reply) => say(reply, error),
            Self::StartPlayback(_, reply) => say(reply, error),
            Self::Gather(_, reply) => say(reply, error),
            Self::OpenAudio(_, reply) => say(reply, error),
            Self::RecordStart(_, reply) => say(reply, error),
            Self::RecordStop(reply) => say(reply, error),
            Self::Originate(_, reply) => say(reply, error),
            Self::CreateBridge(reply) => say(reply, error),
            Self::Snoop(_, reply) => say(reply, error),
            Self::DetectMachine(_, reply) => say(reply, error),
            Self::Emit(..) | Self::RecordingBegan => {}
        }
    }
}

fn say<T>(reply: Reply<T>, error: CallError) {
    let _ = reply.send(Err(error));
}
