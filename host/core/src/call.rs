//! The call model: what is known of a call, where it stands, and why it ended.

use serde::{Deserialize, Serialize};

use crate::ids::{CallId, TenantId};

/// What is known of a call from its start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CallInfo {
    /// The call's id.
    pub id: CallId,
    /// Whose call it is.
    pub tenant: TenantId,
    /// The caller's number or name as the network gave it; empty when withheld.
    pub caller_id: String,
    /// The number or extension that was dialled.
    pub called_number: String,
    /// Who started it.
    pub direction: Direction,
    /// The name of the route that chose the handler; `default` when none did.
    pub route: String,
}

/// Who started a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Somebody called us.
    Inbound,
    /// We called somebody.
    Outbound,
}

impl Direction {
    /// The wire value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// Where a call stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum CallState {
    /// Not answered yet.
    Ringing = 0,
    /// Answered.
    InProgress = 1,
    /// Answered and put on hold.
    OnHold = 2,
    /// Being handed to somebody else.
    Transferring = 3,
    /// Over, after an answer or by a plain hang-up. Final.
    Completed = 4,
    /// Over because something failed. Final.
    Failed = 5,
}

impl CallState {
    /// Whether nothing can follow.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }

    /// Whether audio can flow.
    pub fn is_answered(self) -> bool {
        matches!(self, Self::InProgress | Self::OnHold | Self::Transferring)
    }

    /// Whether a call may go from this state to `next`. A state may be entered again; a final one is never left.
    pub fn may_become(self, next: Self) -> bool {
        use CallState::*;
        match (self, next) {
            (Completed | Failed, _) => false,
            (Ringing, OnHold) => false,
            (_, Ringing) => self == Ringing,
            _ => true,
        }
    }

    /// The wire value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ringing => "ringing",
            Self::InProgress => "in_progress",
            Self::OnHold => "on_hold",
            Self::Transferring => "transferring",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }

    /// The state of a number that an atomic cell held; anything unknown is [`CallState::Failed`].
    pub fn from_u8(n: u8) -> Self {
        match n {
            0 => Self::Ringing,
            1 => Self::InProgress,
            2 => Self::OnHold,
            3 => Self::Transferring,
            4 => Self::Completed,
            _ => Self::Failed,
        }
    }
}

/// Why a call is over. The first reason wins; there is exactly one for each call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndReason {
    /// The other side hung up.
    CallerHungUp,
    /// The handler called `hangup`.
    HandlerHungUp,
    /// The handler returned and the host ended the call.
    HandlerReturned,
    /// The handler returned an error, trapped or went over a limit; the sentence says which.
    HandlerFailed(String),
    /// The call was handed to somebody else.
    Transferred,
    /// The audio connection broke.
    MediaLost,
    /// The PBX could not be reached any more, or refused.
    TelephonyFailed(String),
    /// The host is stopping.
    HostStopping,
    /// The call lasted as long as one may.
    CallLimit,
    /// The operator hung up.
    OperatorHungUp,
    /// A call that we placed was not answered.
    NotAnswered(HangupCause),
}

impl EndReason {
    /// A stable name for logs, events and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::CallerHungUp => "caller-hung-up",
            Self::HandlerHungUp => "handler-hung-up",
            Self::HandlerReturned => "handler-returned",
            Self::HandlerFailed(_) => "handler-failed",
            Self::Transferred => "transferred",
            Self::MediaLost => "media-lost",
            Self::TelephonyFailed(_) => "telephony-failed",
            Self::HostStopping => "host-stopping",
            Self::CallLimit => "call-limit",
            Self::OperatorHungUp => "operator-hung-up",
            Self::NotAnswered(_) => "not-answered",
        }
    }

    /// The sentence that goes with it, where there is one.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::HandlerFailed(why) | Self::TelephonyFailed(why) => Some(why),
            Self::NotAnswered(cause) => Some(cause.as_str()),
            _ => None,
        }
    }

    /// The state in which a call that ended so is left.
    pub fn final_state(&self) -> CallState {
        match self {
            Self::HandlerFailed(_) | Self::TelephonyFailed(_) | Self::MediaLost | Self::NotAnswered(_) => {
                CallState::Failed
            }
            _ => CallState::Completed,
        }
    }
}

/// What hangs a call up, in the telephone network's terms (ITU-T Q.850).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HangupCause {
    /// 16
    #[default]
    Normal,
    /// 17
    Busy,
    /// 19
    NoAnswer,
    /// 21
    Rejected,
    /// 34
    Congestion,
}

impl HangupCause {
    /// A stable name for logs, events and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Busy => "busy",
            Self::NoAnswer => "no-answer",
            Self::Rejected => "rejected",
            Self::Congestion => "congestion",
        }
    }

    /// The Q.850 number.
    pub fn q850(self) -> u16 {
        match self {
            Self::Normal => 16,
            Self::Busy => 17,
            Self::NoAnswer => 19,
            Self::Rejected => 21,
            Self::Congestion => 34,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [CallState; 6] = [
        CallState::Ringing,
        CallState::InProgress,
        CallState::OnHold,
        CallState::Transferring,
        CallState::Completed,
        CallState::Failed,
    ];

    #[test]
    fn a_final_state_is_never_left() {
        for end in ALL.into_iter().filter(|s| s.is_final()) {
            assert!(ALL.into_iter().all(|next| !end.may_become(next)));
        }
    }

    #[test]
    fn an_answered_call_never_rings_again() {
        for state in ALL.into_iter().filter(|s| s.is_answered()) {
            assert!(!state.may_become(CallState::Ringing));
        }
    }

    #[test]
    fn states_survive_the_way_through_a_byte() {
        assert!(ALL.into_iter().all(|s| CallState::from_u8(s as u8) == s));
    }
}
