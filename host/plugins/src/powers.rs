//! What the functions of the contract let a component do, in plain words.

use voxtra_core::Capability;

use crate::imports::Kind;

/// One thing that a component may be able to do.
#[derive(Debug, PartialEq, Eq)]
pub struct Power {
    /// In plain words, as an infinitive without `to`.
    pub what: &'static str,
    /// What its tenant and its manifest have to grant for it; empty: nothing.
    pub capabilities: &'static [Capability],
    interface: &'static str,
    /// Empty: any of the interface.
    functions: &'static [&'static str],
}

impl Power {
    pub(crate) fn is_in(&self, interface: &str) -> bool {
        interface == self.interface
    }

    pub(crate) fn needs(&self, function: &str) -> bool {
        self.functions.is_empty() || self.functions.contains(&function)
    }

    /// Whether components of this kind can have it.
    pub(crate) fn is_for(&self, kind: Kind) -> bool {
        self.interface.strip_prefix("voxtra:call/").is_none_or(|interface| kind.interfaces().contains(&interface))
    }
}

const CALL: &str = "voxtra:call/call-session";

const fn on_call(what: &'static str, functions: &'static [&'static str]) -> Power {
    Power { what, capabilities: &[], interface: CALL, functions }
}

const fn granted(power: Power, capabilities: &'static [Capability]) -> Power {
    Power { capabilities, ..power }
}

const fn anywhere(what: &'static str, interface: &'static str) -> Power {
    Power { what, capabilities: &[], interface, functions: &[] }
}

/// In the order in which people ask.
pub(crate) const ALL: &[Power] = &[
    on_call("answer its call and let the caller hear that it rings", &["[method]call.answer", "[method]call.ring"]),
    on_call("hang its call up", &["[method]call.hangup"]),
    on_call("play prompts to the caller", &["[method]call.play", "[method]call.start-playback", "[method]call.gather"]),
    on_call("take the keys that the caller presses", &["[method]call.gather", "[method]call.listen-dtmf"]),
    on_call("follow what happens on its call, keys included", &["[method]call.next-event"]),
    on_call("press keys towards the other side", &["[method]call.send-dtmf"]),
    on_call("put its call on hold", &["[method]call.hold", "[method]call.unhold"]),
    on_call("hear and say raw audio on its call", &["[method]call.open-audio"]),
    on_call(
        "hand its call to an extension, a queue or the dialplan",
        &["[method]call.transfer-to", "[method]call.transfer-to-queue", "[method]call.continue-in-dialplan"],
    ),
    granted(on_call("place calls of its own", &["[method]call.originate"]), &[Capability::Originate, Capability::Dial]),
    granted(on_call("join calls in a bridge", &["[method]call.create-bridge"]), &[Capability::Bridge]),
    granted(on_call("listen to its call unheard, or whisper into it", &["[method]call.snoop"]), &[Capability::Snoop]),
    granted(on_call("record its call", &["[method]call.record-start"]), &[Capability::Record]),
    on_call("find out whether a person or a machine answered", &["[method]call.detect-machine"]),
    on_call("read variables of its call at the PBX", &["[method]call.get-variable"]),
    on_call("set variables of its call at the PBX", &["[method]call.set-variable"]),
    on_call("read who calls whom", &["[method]call.info"]),
    on_call(
        "read and set the notes that go with its call",
        &["[method]call.metadata-get", "[method]call.metadata-list", "[method]call.metadata-set"],
    ),
    on_call("let webhooks see those notes", &["[method]call.metadata-share"]),
    on_call("send events of its own to the tenant's webhooks", &["[method]call.emit"]),
    Power {
        what: "read what the tenant's handlers have stored",
        capabilities: &[Capability::Store],
        interface: "voxtra:call/store",
        functions: &["get", "keys", "compare-and-set"],
    },
    Power {
        what: "change what the tenant's handlers have stored",
        capabilities: &[Capability::Store],
        interface: "voxtra:call/store",
        functions: &["set", "compare-and-set", "delete"],
    },
    Power {
        what: "call many numbers, in batches",
        capabilities: &[Capability::Originate, Capability::Dial],
        interface: "voxtra:call/batches",
        functions: &["start"],
    },
    Power {
        what: "follow and cancel the tenant's batches",
        capabilities: &[Capability::Originate],
        interface: "voxtra:call/batches",
        functions: &["status", "cancel"],
    },
    granted(anywhere("send requests over HTTP", "voxtra:call/http"), &[Capability::Http]),
    granted(anywhere("send requests over HTTP, by WASI", "wasi:http/outgoing-handler"), &[Capability::Http]),
    anywhere("write log lines", "voxtra:call/logging"),
    anywhere("print, which goes to its log", "wasi:cli/stdout"),
    anywhere("read the clock", "wasi:clocks/wall-clock"),
    anywhere("measure time", "wasi:clocks/monotonic-clock"),
    anywhere("draw random numbers", "wasi:random/random"),
    anywhere("ask for files, of which it finds none", "wasi:filesystem/types"),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// What tells a component nothing but how its own call is, and what another function has given it.
    const NO_POWER: [&str; 6] = ["state", "duration-ms", "upgrade-pending", "inherited", "record-pause", "record-stop"];

    #[test]
    fn every_verb_of_the_contract_is_told_in_plain_words() {
        let contract = include_str!("../../../wit/v0.1/call-session.wit");
        let call = contract.split("resource call {").nth(1).and_then(|rest| rest.split("\n  }").next());
        let verbs: Vec<_> =
            call.iter().flat_map(|call| call.lines()).filter_map(|line| line.split_once(": func(")).collect();
        assert!(verbs.len() > 30, "{verbs:?}");
        for (verb, _) in verbs {
            let verb = verb.trim();
            let function = format!("[method]call.{verb}");
            let is_told = ALL.iter().any(|power| power.is_in(CALL) && power.needs(&function));
            assert_ne!(is_told, NO_POWER.contains(&verb), "{verb}: which of `ALL` does it belong to?");
        }
    }

    #[test]
    fn every_function_that_is_told_is_in_the_contract() {
        let contract = include_str!("../../../wit/v0.1/call-session.wit");
        for function in
            ALL.iter().filter(|power| power.interface.starts_with("voxtra:")).flat_map(|power| power.functions)
        {
            let name = function.rsplit('.').next().unwrap_or(function);
            assert!(contract.contains(&format!(" {name}: func(")), "{function}");
        }
    }
}
