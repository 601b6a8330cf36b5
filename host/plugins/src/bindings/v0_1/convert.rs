//! The contract's types from and to the host's: what is told of a call, and its keys.

use std::time::Duration;

use voxtra_core::verbs::{
    AnsweredBy, DEFAULT_FIRST_TIMEOUT, DEFAULT_INTER_DIGIT_TIMEOUT, Digits, DigitsEnd, Dtmf, EndedCall, Gather,
    HandlerEvent, LogLevel, PlayOutcome, RecordingInfo,
};
use voxtra_core::{CallError, CallInfo, CallState, Direction, EndReason, HangupCause};

use super::generated::voxtra::call::{call_session, logging, types};
use super::generated_hook::exports::voxtra::call::hangup_hook;

impl From<CallError> for types::Error {
    fn from(error: CallError) -> Self {
        match error {
            CallError::HungUp => Self::HungUp,
            CallError::Timeout => Self::Timeout,
            CallError::InvalidArgument(why) => Self::InvalidArgument(why),
            CallError::NotConfigured(why) => Self::NotConfigured(why),
            CallError::Denied(why) => Self::Denied(why),
            CallError::LimitExceeded(why) => Self::LimitExceeded(why),
            CallError::Telephony(why) => Self::Telephony(why),
            CallError::Provider(why) => Self::Provider(why),
        }
    }
}

impl From<&CallInfo> for types::CallInfo {
    fn from(info: &CallInfo) -> Self {
        Self {
            id: info.id.as_str().to_owned(),
            tenant: info.tenant.as_str().to_owned(),
            caller_id: info.caller_id.clone(),
            called_number: info.called_number.clone(),
            direction: match info.direction {
                Direction::Inbound => types::Direction::Inbound,
                Direction::Outbound => types::Direction::Outbound,
            },
            route: info.route.clone(),
        }
    }
}

impl From<CallState> for types::CallState {
    fn from(state: CallState) -> Self {
        match state {
            CallState::Ringing => Self::Ringing,
            CallState::InProgress => Self::InProgress,
            CallState::OnHold => Self::OnHold,
            CallState::Transferring => Self::Transferring,
            CallState::Completed => Self::Completed,
            CallState::Failed => Self::Failed,
        }
    }
}

impl From<EndReason> for types::EndReason {
    fn from(reason: EndReason) -> Self {
        match reason {
            EndReason::CallerHungUp => Self::CallerHungUp,
            EndReason::HandlerHungUp => Self::HandlerHungUp,
            EndReason::HandlerReturned => Self::HandlerReturned,
            EndReason::HandlerFailed(why) => Self::HandlerFailed(why),
            EndReason::Transferred => Self::Transferred,
            EndReason::MediaLost => Self::MediaLost,
            EndReason::TelephonyFailed(why) => Self::TelephonyFailed(why),
            EndReason::HostStopping => Self::HostStopping,
            EndReason::CallLimit => Self::CallLimit,
            EndReason::OperatorHungUp => Self::OperatorHungUp,
            EndReason::NotAnswered(cause) => Self::NotAnswered(cause.into()),
        }
    }
}

impl From<types::HangupCause> for HangupCause {
    fn from(cause: types::HangupCause) -> Self {
        match cause {
            types::HangupCause::Normal => Self::Normal,
            types::HangupCause::Busy => Self::Busy,
            types::HangupCause::NoAnswer => Self::NoAnswer,
            types::HangupCause::Rejected => Self::Rejected,
            types::HangupCause::Congestion => Self::Congestion,
        }
    }
}

impl From<HangupCause> for types::HangupCause {
    fn from(cause: HangupCause) -> Self {
        match cause {
            HangupCause::Normal => Self::Normal,
            HangupCause::Busy => Self::Busy,
            HangupCause::NoAnswer => Self::NoAnswer,
            HangupCause::Rejected => Self::Rejected,
            HangupCause::Congestion => Self::Congestion,
        }
    }
}

impl From<Dtmf> for types::Dtmf {
    fn from(dtmf: Dtmf) -> Self {
        Self { digit: dtmf.digit.to_string(), duration_ms: dtmf.duration_ms }
    }
}

impl From<HandlerEvent> for types::Event {
    fn from(event: HandlerEvent) -> Self {
        match event {
            HandlerEvent::Ringing => Self::Ringing,
            HandlerEvent::Answered => Self::Answered,
            HandlerEvent::Dtmf(dtmf) => Self::Dtmf(dtmf.into()),
            HandlerEvent::MediaStarted => Self::MediaStarted,
            HandlerEvent::MediaStopped => Self::MediaStopped,
            HandlerEvent::PlaybackFinished(id, outcome) => {
                Self::PlaybackFinished(types::PlaybackEnd { id: id.into(), outcome: outcome.map(Into::into) })
            }
            HandlerEvent::RecordingFinished(recording) => Self::RecordingFinished(recording.into()),
            HandlerEvent::RecordingFailed(id, reason) => {
                Self::RecordingFailed(types::RecordingFailure { id: id.into(), reason })
            }
            HandlerEvent::AnsweredBy(who) => Self::AnsweredBy(who.into()),
            HandlerEvent::UpgradeReady => Self::UpgradeReady,
            HandlerEvent::Ended(reason) => Self::Ended(reason.into()),
        }
    }
}

impl From<PlayOutcome> for types::PlayOutcome {
    fn from(outcome: PlayOutcome) -> Self {
        match outcome {
            PlayOutcome::Finished => Self::Finished,
            PlayOutcome::Interrupted(digit) => Self::Interrupted(digit.to_string()),
            PlayOutcome::Stopped => Self::Stopped,
        }
    }
}

impl From<RecordingInfo> for types::RecordingInfo {
    fn from(recording: RecordingInfo) -> Self {
        Self {
            id: recording.id.into(),
            name: recording.name,
            duration_ms: recording.duration_ms,
            size_bytes: recording.size_bytes,
        }
    }
}

impl From<AnsweredBy> for types::AnsweredBy {
    fn from(who: AnsweredBy) -> Self {
        match who {
            AnsweredBy::Human => Self::Human,
            AnsweredBy::Machine => Self::Machine,
            AnsweredBy::NotSure => Self::NotSure,
        }
    }
}

impl From<call_session::GatherOptions> for Gather {
    fn from(options: call_session::GatherOptions) -> Self {
        Self {
            prompt: options.prompt,
            min_digits: options.min_digits,
            max_digits: options.max_digits,
            terminators: options.terminators,
            first_timeout: ms_or(options.first_timeout_ms, DEFAULT_FIRST_TIMEOUT),
            inter_digit_timeout: ms_or(options.inter_digit_timeout_ms, DEFAULT_INTER_DIGIT_TIMEOUT),
            total_timeout: None,
        }
    }
}

/// `listen-dtmf` as a gather: no prompts, `#` ends it, one time limit for all of it.
pub(super) fn listen(max_digits: u32, timeout_ms: u32) -> Gather {
    let timeout = Duration::from_millis(timeout_ms.into());
    Gather {
        prompt: Vec::new(),
        min_digits: 0,
        max_digits,
        terminators: "#".to_owned(),
        first_timeout: timeout,
        inter_digit_timeout: timeout,
        total_timeout: Some(timeout),
    }
}

impl From<Digits> for call_session::Digits {
    fn from(digits: Digits) -> Self {
        Self {
            digits: digits.digits,
            ended_by: match digits.ended_by {
                DigitsEnd::Maximum => call_session::DigitsEnd::Maximum,
                DigitsEnd::Terminator => call_session::DigitsEnd::Terminator,
                DigitsEnd::Timeout => call_session::DigitsEnd::Timeout,
            },
        }
    }
}

impl From<logging::Level> for LogLevel {
    fn from(level: logging::Level) -> Self {
        match level {
            logging::Level::Trace => Self::Trace,
            logging::Level::Debug => Self::Debug,
            logging::Level::Info => Self::Info,
            logging::Level::Warn => Self::Warn,
            logging::Level::Error => Self::Error,
        }
    }
}

/// The hang-up hook's argument.
pub(crate) fn ended_call(ended: &EndedCall) -> hangup_hook::EndedCall {
    hangup_hook::EndedCall {
        info: (&ended.info).into(),
        reason: ended.reason.clone().into(),
        duration_ms: ended.duration_ms,
        metadata: ended.metadata.clone(),
    }
}

fn ms_or(ms: u32, default: Duration) -> Duration {
    if ms == 0 { default } else { Duration::from_millis(ms.into()) }
}
