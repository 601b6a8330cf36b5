//! The attacks of a handler's author, each with the outcome that is claimed of it.

use std::fmt::Write as _;

use anyhow::{Context, Result};

/// One attack.
pub(crate) struct Row {
    /// As the list of threats calls it.
    pub(crate) threat: &'static str,
    /// What it does, in short; its name in the table.
    pub(crate) attack: &'static str,
    pub(crate) by: By,
    /// A word that its outcome has to hold.
    pub(crate) outcome: &'static str,
    /// Whether it is among the few of the short run.
    pub(crate) in_short: bool,
}

/// Who attacks.
pub(crate) enum By {
    /// Nobody: what the machine does by itself.
    Nobody,
    /// A component of `guests/hostile`, with this note `attack`.
    Guest { component: &'static str, note: &'static str },
    /// A component that no compiler makes: the fields of its module, and the body of its handler.
    Written { fields: &'static str, body: &'static str },
    /// A file that is to become a handler.
    File(fn() -> Result<Vec<u8>>),
    /// A file of the plugin directory that is another one every 20 ms.
    SwapStorm,
}

const fn guest(
    threat: &'static str,
    attack: &'static str,
    component: &'static str,
    note: &'static str,
    outcome: &'static str,
) -> Row {
    Row { threat, attack, by: By::Guest { component, note }, outcome, in_short: false }
}

impl Row {
    const fn in_short(mut self) -> Self {
        self.in_short = true;
        self
    }

    /// The name of the handler that attacks, where one does.
    pub(crate) fn handler(&self) -> Option<String> {
        match self.by {
            By::Guest { component, .. } => Some(component.to_owned()),
            By::Written { .. } => Some(format!("written-{}", self.attack.replace(' ', "-"))),
            By::Nobody | By::File(_) | By::SwapStorm => None,
        }
    }
}

const PLAIN: &str = "(memory (export \"memory\") 1)";

/// In the order of the table.
pub(crate) const ROWS: &[Row] = &[
    Row { threat: "-", attack: "nothing", by: By::Nobody, outcome: "", in_short: true },
    guest("infinite loop", "spin", "compute", "spin", "running time").in_short(),
    guest("infinite loop", "spin in the hang-up hook", "compute", "spin-in-hook", "handler-returned"),
    Row {
        threat: "infinite loop",
        attack: "tail calls",
        by: By::Written {
            fields: "(memory (export \"memory\") 1) (func $a return_call $b) (func $b return_call $a)",
            body: "(call $a)",
        },
        outcome: "running time",
        in_short: false,
    },
    guest("huge memory.copy or fill", "fill 32 MiB", "compute", "fill", "running time").in_short(),
    guest("huge memory.copy or fill", "copy 16 MiB", "compute", "copy", "running time"),
    guest("memory bomb", "1 GiB at once", "compute", "memory-once", "refused"),
    guest("memory bomb", "1 MiB again and again", "compute", "memory-abort", "memory").in_short(),
    Row {
        threat: "table, instance bomb",
        attack: "table.grow",
        by: By::Written {
            fields: "(memory (export \"memory\") 1) (table $t 1 funcref)",
            body: "(loop $more (br_if $more (i32.ne (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1))))
                   unreachable",
        },
        outcome: "memory",
        in_short: false,
    },
    guest("handle bomb", "pollables", "boundary", "handles-poll", "no free keys").in_short(),
    guest("huge strings and lists", "a log line of 2 MiB", "boundary", "huge-log", "too much data"),
    guest("huge strings and lists", "200,000 empty fields", "boundary", "many-fields", "too much data"),
    guest("huge strings and lists", "an error of 16 MiB", "boundary", "huge-error", "too much data"),
    guest("host-call flood", "state", "compute", "spin-on-host", "running time").in_short(),
    guest("host-call flood", "notes", "boundary", "flood-note", "handler-returned"),
    guest("host-call flood", "verbs", "boundary", "flood-ring", "up after"),
    guest("log flood", "log", "boundary", "log-flood", "handler-returned"),
    guest("log flood", "standard output", "boundary", "print-flood", "handler-returned"),
    guest("deep recursion", "recursion", "compute", "recursion", "too deep").in_short(),
    guest("trap storm", "trap", "audio", "trap", "panicked").in_short(),
    Row {
        threat: "trap storm",
        attack: "trap in the start code",
        by: By::Written { fields: "(memory (export \"memory\") 1) (func $s unreachable) (start $s)", body: "" },
        outcome: "does not start",
        in_short: false,
    },
    guest("a host call that never returns", "wait for events", "audio", "wait-events", "up after"),
    guest("a host call that never returns", "sleep", "audio", "sleep", "up after"),
    guest("calls that never end", "goes on after the end", "audio", "ignore-end", "up after"),
    guest("SSRF", "loopback, metadata, private addresses", "egress", "addresses", "denied"),
    guest("SSRF", "requests without end", "egress", "flood", "up after"),
    guest("other tenants' environment, files, keys", "look around", "spy", "surroundings", "refused NotFound"),
    guest("stale memory between calls", "variables of its own", "spy", "statics", "\"calls before\":\"0\""),
    guest("timing", "read the clocks", "spy", "clocks", "000000"),
    Row {
        threat: "compile bomb",
        attack: "3,000 functions",
        by: By::File(bomb),
        outcome: "takes longer",
        in_short: false,
    },
    Row {
        threat: "malicious precompiled code",
        attack: "code of this engine's own",
        by: By::File(precompiled),
        outcome: "not WebAssembly",
        in_short: false,
    },
    Row {
        threat: "wrong or unknown imports",
        attack: "sockets",
        by: By::File(network),
        outcome: "may not use",
        in_short: false,
    },
    guest("path traversal", "paths in every name", "boundary", "paths", "\"play-file\":\"taken: ; refused").in_short(),
    guest("injection into ARI, SIP, dialplan", "texts in every verb", "boundary", "inject", "up after"),
    guest("webhook abuse", "events of its own", "boundary", "flood-emit", "handler-returned"),
    guest("audio flood and starvation", "flood", "audio", "flood", "up after").in_short(),
    guest("audio flood and starvation", "never reads", "audio", "starve", "up after"),
    guest("audio flood and starvation", "open and close", "audio", "reopen", "handler-returned"),
    guest("outbound call fraud", "expensive numbers", "boundary", "dial", "denied"),
    Row { threat: "swap storms", attack: "a file every 20 ms", by: By::SwapStorm, outcome: "settled", in_short: false },
];

/// A component around a core module of these fields, whose handler is this body.
pub(crate) fn written(fields: &str, body: &str) -> Result<Vec<u8>> {
    let fields = if fields.is_empty() { PLAIN } else { fields };
    let text = format!(
        r#"(component
            (import "voxtra:call/call-session@0.1.0" (instance $session (export "call" (type (sub resource)))))
            (alias export $session "call" (type $call))
            (core module $code
                {fields}
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
                (func (export "handle") (param i32) (result i32) {body} (i32.const 0)))
            (core instance $i (instantiate $code))
            (func (export "handle") (param "call" (own $call)) (result (result (error string)))
                (canon lift (core func $i "handle") (memory $i "memory") (realloc (func $i "realloc")))))"#
    );
    wat::parse_str(text).context("a written attacker's text")
}

/// Much to compile.
fn bomb() -> Result<Vec<u8>> {
    let mut fields = PLAIN.to_owned();
    for n in 0..3_000 {
        fields += "(func (param i32 i32) (local i32)";
        for offset in (0..960).step_by(8) {
            write!(
                fields,
                "(local.set 2 (i32.mul (i32.load offset={offset} (local.get 0)) (i32.const {n})))
                 (i32.store offset={offset} (local.get 1) (i32.xor (local.get 2) (local.get 0)))"
            )?;
        }
        fields.push(')');
    }
    written(&fields, "")
}

/// What the host's own compiler leaves, put where components are looked for.
fn precompiled() -> Result<Vec<u8>> {
    let made = wasmtime::Engine::default().precompile_component(&written("", "")?);
    made.map_err(|error| anyhow::anyhow!("{error:#}"))
}

fn network() -> Result<Vec<u8>> {
    crate::read_guest(&crate::guests().join("hostile/network.wasm"))
}
