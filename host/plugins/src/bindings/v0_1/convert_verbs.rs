//! The contract's types to the host's: how verbs are to be done.

use std::time::Duration;

use voxtra_core::verbs::{
    DialplanPlace, MachineDetector, OriginateOptions, RecordOptions, Recorder, Sides, SnoopOptions,
};

use super::generated::voxtra::call::call_session;

impl From<call_session::DialplanPlace> for DialplanPlace {
    fn from(place: call_session::DialplanPlace) -> Self {
        Self { context: place.dialplan_context, extension: place.extension, priority: place.priority }
    }
}

impl From<call_session::RecordOptions> for RecordOptions {
    fn from(options: call_session::RecordOptions) -> Self {
        Self {
            name: options.name,
            recorder: match options.recorder {
                call_session::Recorder::Host => Recorder::Host,
                call_session::Recorder::Pbx => Recorder::Pbx,
            },
            beep: options.beep,
            max_duration: ms(options.max_duration_ms),
            max_silence: ms(options.max_silence_ms),
            sink: options.sink,
        }
    }
}

impl From<call_session::OriginateOptions> for OriginateOptions {
    fn from(options: call_session::OriginateOptions) -> Self {
        Self {
            to: options.to,
            caller_id: options.caller_id,
            ring_timeout: ms(options.ring_timeout_ms),
            variables: options.variables,
            metadata: options.metadata,
        }
    }
}

impl From<call_session::Sides> for Sides {
    fn from(sides: call_session::Sides) -> Self {
        match sides {
            call_session::Sides::None => Self::None,
            call_session::Sides::In => Self::In,
            call_session::Sides::Out => Self::Out,
            call_session::Sides::Both => Self::Both,
        }
    }
}

impl From<call_session::SnoopOptions> for SnoopOptions {
    fn from(options: call_session::SnoopOptions) -> Self {
        Self { spy: options.spy.into(), whisper: options.whisper.into() }
    }
}

impl From<call_session::MachineDetector> for MachineDetector {
    fn from(detector: call_session::MachineDetector) -> Self {
        match detector {
            call_session::MachineDetector::Host => Self::Host,
            call_session::MachineDetector::Pbx => Self::Pbx,
        }
    }
}

/// The contract's 0 is "not said".
fn ms(ms: u32) -> Option<Duration> {
    (ms > 0).then(|| Duration::from_millis(ms.into()))
}
