//! Why a component stopped before it returned, in words that its author understands.

use std::fmt;

use wasmtime::WasmBacktrace;

use crate::imports::Kind;

/// What stopped it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrapKind {
    /// It ran into `unreachable`: a panic, an abort, a failed assertion.
    Unreachable,
    /// It used up its time of running.
    CpuLimit,
    /// It asked for more memory than it may have.
    MemoryLimit,
    /// It called itself too deep.
    StackOverflow,
    /// It reached outside its memory or a table.
    OutOfBounds,
    /// It called `exit`.
    Exit,
    /// It handed over more than one host call takes, or held more handles than it may.
    HostCallLimit,
    /// Something else; the message says what.
    Other,
}

impl TrapKind {
    /// A stable name for logs, events and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::CpuLimit => "cpu-limit",
            Self::MemoryLimit => "memory-limit",
            Self::StackOverflow => "stack-overflow",
            Self::OutOfBounds => "out-of-bounds",
            Self::Exit => "exit",
            Self::HostCallLimit => "host-call-limit",
            Self::Other => "other",
        }
    }
}

/// A component's abrupt end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trap {
    /// What stopped it.
    pub kind: TrapKind,
    /// A sentence.
    pub message: String,
    /// Where it was, innermost call first; empty when that is not known.
    pub backtrace: Vec<String>,
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The budget of running time is spent. Raised by the epoch's callback.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the component's running time is used up")]
pub(crate) struct CpuSpent;

/// What an instance was refused when it asked for memory or for elements of tables.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Refused {
    #[default]
    Nothing,
    /// Its own limit.
    OfInstance,
    /// That of all its tenant's instances; a sentence.
    OfTenant(String),
}

/// More frames than this only repeat themselves.
const MAX_BACKTRACE_FRAMES: usize = 32;

/// Reads a trap of a `what`, such as "handler", out of what the engine reports.
pub(crate) fn classify(error: &wasmtime::Error, what: Kind, refused: &Refused) -> Trap {
    let (kind, message) = kind_and_message(error, what, refused);
    Trap { kind, message, backtrace: backtrace(error) }
}

fn kind_and_message(error: &wasmtime::Error, what: Kind, refused: &Refused) -> (TrapKind, String) {
    if error.downcast_ref::<CpuSpent>().is_some() {
        return (
            TrapKind::CpuLimit,
            match what {
                Kind::Handler => {
                    "the handler used up its running time; make it wait for events instead of looping".into()
                }
                Kind::Router | Kind::Filter => format!("the {what} used up its running time; give it less to do"),
            },
        );
    }
    if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
        return (
            TrapKind::Exit,
            format!("the {what} called exit({}); return from `{}` instead", exit.0, what.export()),
        );
    }
    let trap = error.downcast_ref::<wasmtime::Trap>();
    if trap.is_none_or(|t| *t == wasmtime::Trap::UnreachableCodeReached) {
        match refused {
            Refused::Nothing => {}
            Refused::OfInstance => {
                return (TrapKind::MemoryLimit, format!("the {what} asked for more memory than it may have"));
            }
            Refused::OfTenant(why) => return (TrapKind::MemoryLimit, why.clone()),
        }
    }
    let Some(trap) = trap else {
        return classify_text(what, &format!("{:#}", error.root_cause()));
    };
    match trap {
        wasmtime::Trap::UnreachableCodeReached => {
            (TrapKind::Unreachable, format!("the {what} panicked or aborted; its last log lines say where"))
        }
        wasmtime::Trap::StackOverflow => {
            (TrapKind::StackOverflow, format!("the {what} called itself too deep and ran out of stack"))
        }
        wasmtime::Trap::MemoryOutOfBounds
        | wasmtime::Trap::TableOutOfBounds
        | wasmtime::Trap::ArrayOutOfBounds
        | wasmtime::Trap::StringOutOfBounds
        | wasmtime::Trap::ListOutOfBounds => {
            (TrapKind::OutOfBounds, format!("the {what} reached outside its memory ({trap})"))
        }
        other => (TrapKind::Other, format!("the {what} was stopped: {other}")),
    }
}

/// What the engine reports only as text.
fn classify_text(what: Kind, text: &str) -> (TrapKind, String) {
    let kind = if text.contains("fuel") || text.contains("handle limit") || text.contains("resource table") {
        TrapKind::HostCallLimit
    } else {
        TrapKind::Other
    };
    (kind, format!("the {what} was stopped: {text}"))
}

fn backtrace(error: &wasmtime::Error) -> Vec<String> {
    let Some(trace) = error.downcast_ref::<WasmBacktrace>() else { return Vec::new() };
    trace
        .frames()
        .iter()
        .take(MAX_BACKTRACE_FRAMES)
        .map(|frame| {
            let name = frame.func_name().unwrap_or("a function without a name");
            format!("{:#}", rustc_demangled(name))
        })
        .collect()
}

/// The engine's own demangler is only reachable through its `Display` of a whole backtrace; names that it left as they
/// are stay as they are.
fn rustc_demangled(name: &str) -> String {
    rustc_demangle::demangle(name).to_string()
}
