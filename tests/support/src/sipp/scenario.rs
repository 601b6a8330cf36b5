//! The scenario files and their parts.

use std::fmt::Write;
use std::time::Duration;

/// What a SIPp caller does.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scenario {
    /// Hangs up after the call has been up for so long.
    HangUpAfter(Duration),
    /// Waits for the other side to hang up.
    WaitForBye,
    /// Waits a while, presses keys by SIP INFO, then waits for the other side to hang up.
    KeysInfo {
        /// `0` to `9`, `*`, `#`, `A` to `D`.
        keys: String,
        /// Before the first.
        after: Duration,
    },
    /// Waits a while, presses keys by RFC 4733, then waits for the other side to hang up. SIPp needs a raw socket for
    /// it (root, or CAP_NET_RAW): see [`Scenario::is_possible`]. Where it has none, [`Scenario::WaitForBye`] with an
    /// [`crate::RtpEndpoint`] as its media does the same.
    KeysRfc4733 {
        /// `0` to `9`, `*`, `#`, `A` to `D`.
        keys: String,
        /// Before the first.
        after: Duration,
    },
}

impl Scenario {
    /// Whether this process may do what the scenario needs.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        !matches!(self, Self::KeysRfc4733 { .. }) || may_open_raw_sockets()
    }

    pub(super) fn pause(&self) -> Duration {
        match self {
            Self::HangUpAfter(pause) => *pause,
            Self::WaitForBye => Duration::ZERO,
            Self::KeysInfo { after, .. } | Self::KeysRfc4733 { after, .. } => *after,
        }
    }

    pub(super) fn xml(&self, media_port: u16) -> String {
        let (file, keys) = match self {
            Self::HangUpAfter(_) => (include_str!("../../scenarios/until-hang-up.xml"), ""),
            Self::WaitForBye => (include_str!("../../scenarios/until-bye.xml"), ""),
            Self::KeysInfo { keys, .. } => (include_str!("../../scenarios/keys-info.xml"), keys.as_str()),
            Self::KeysRfc4733 { .. } => (include_str!("../../scenarios/keys-rfc4733.xml"), ""),
        };
        let call = include_str!("../../scenarios/parts/call.xml").replace("MEDIA_PORT", &media_port.to_string());
        file.replace("<!-- call -->\n", &call)
            .replace("<!-- bye -->\n", include_str!("../../scenarios/parts/bye.xml"))
            .replace("<!-- expect bye -->\n", include_str!("../../scenarios/parts/expect-bye.xml"))
            .replace("<!-- keys -->\n", &key_presses(keys))
    }
}

fn key_presses(keys: &str) -> String {
    let key = include_str!("../../scenarios/parts/key.xml");
    keys.chars().enumerate().fold(String::new(), |mut all, (n, name)| {
        let one = key.replace("KEY_SEQUENCE", &(n + 2).to_string()).replace("KEY_NAME", &name.to_string());
        let _ = write!(all, "{one}");
        all
    })
}

/// Whether CAP_NET_RAW is among this process's effective capabilities.
fn may_open_raw_sockets() -> bool {
    const CAP_NET_RAW: u32 = 13;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & (1 << CAP_NET_RAW) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_is_whole() {
        let wait = Duration::from_millis(10);
        for scenario in [
            Scenario::HangUpAfter(wait),
            Scenario::WaitForBye,
            Scenario::KeysInfo { keys: "12#".into(), after: wait },
            Scenario::KeysRfc4733 { keys: "12#".into(), after: wait },
        ] {
            let xml = scenario.xml(4000);
            assert!(xml.contains("INVITE sip:[service]") && xml.contains("m=audio 4000 RTP/AVP"), "{scenario:?}");
            assert!(xml.contains("BYE"), "{scenario:?}");
            assert!(
                !["MEDIA_PORT", "KEY_", "<!-- call", "<!-- keys"].iter().any(|mark| xml.contains(mark)),
                "{scenario:?}"
            );
        }
        let keys = Scenario::KeysInfo { keys: "12#".into(), after: wait }.xml(1);
        assert!(keys.contains("Signal=#") && keys.contains("CSeq: 4 INFO") && !keys.contains("CSeq: 5 INFO"));
    }
}
