//! Arguments of the verbs that have many. Unset fields are not sent, so that
//! Asterisk's own defaults apply.

mod bridges;
mod calls;
mod media;
mod others;

pub use bridges::{BridgeType, CreateBridge, JoinOptions};
pub use calls::{
    AudioDirection, ContinueTo, CreateChannel, Dial, Encapsulation, ExternalMedia, HangupReason, Originate, Snoop,
    TransferState,
};
pub use media::{IfExists, Play, PlaybackControl, Record, SendDtmf, TerminateOn};
pub use others::{EventRules, SendMessage, SendRefer};

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn unset_arguments_are_not_sent_and_the_names_are_aris() {
        let json = |value| serde_json::to_value(value).unwrap();
        assert_eq!(
            json(serde_json::to_value(Play::list("p", ["sound:a,b", "tone:ring"]).lang("de")).unwrap()),
            serde_json::json!({"media": ["sound:a,b", "tone:ring"], "lang": "de"})
        );
        let place = ContinueTo { context: Some("c".into()), priority: Some(2), ..ContinueTo::default() };
        assert_eq!(
            serde_json::to_value(Originate::to_dialplan("Local/x", place).variable("A", "1").channel_id("i")).unwrap(),
            serde_json::json!({"endpoint": "Local/x", "context": "c", "priority": 2, "variables": {"A": "1"}})
        );
        assert_eq!(
            serde_json::to_value(Originate::to_app("Local/x", "app")).unwrap(),
            serde_json::json!({"endpoint": "Local/x", "app": "app"})
        );
        assert_eq!(
            serde_json::to_value(ExternalMedia::websocket_server("slin16", true).channel_id("m")).unwrap(),
            serde_json::json!({"channelId": "m", "external_host": "INCOMING", "encapsulation": "none",
                "transport": "websocket", "connection_type": "server", "format": "slin16",
                "transport_data": "f(json)"})
        );
    }

    #[test]
    fn a_hangup_reason_is_a_name_or_a_code() {
        assert_eq!(HangupReason::NoAnswer.query(), ("reason", "no_answer".to_owned()));
        assert_eq!(HangupReason::Q850(88).query(), ("reason_code", "88".to_owned()));
    }
}
