//! What a component may import and must export, checked before anything is linked.

use wasmtime::Engine;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, types};

/// The contract's package.
const CONTRACT: &str = "voxtra:call";

/// The contract's versions that this host serves, by their `major.minor`.
pub(crate) const CONTRACT_VERSIONS: &[&str] = &["0.1"];

/// The contract's interfaces that can be imported.
const CONTRACT_INTERFACES: &[&str] = &["types", "call-session", "readiness", "logging"];

/// The WASI 0.2 interfaces that are there: none of them reaches outside the sandbox. Files are there in name only:
/// every standard library imports them, and no folder is ever opened to a handler. Sockets and HTTP are not there.
const WASI_INTERFACES: &[&str] = &[
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/stderr",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:cli/terminal-stderr",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/types",
    "wasi:filesystem/preopens",
    "wasi:random/random",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
];

/// The export that every handler has.
const HANDLE: &str = "handle";

/// The interface of the hang-up hook, without its version.
const HANGUP_HOOK: &str = "voxtra:call/hangup-hook";

/// What a component offers beyond `handle`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) has_hangup_hook: bool,
}

/// Checks a component's outside. The error is a sentence without the file's name.
pub(crate) fn check(engine: &Engine, component: &Component) -> Result<Shape, String> {
    let outside = component.component_type();
    for (name, item) in outside.imports(engine) {
        // A world that uses an interface's type names it once more at its root; a name for a type reaches nothing.
        if !matches!(item.ty, ComponentItem::Type(_) | ComponentItem::Resource(_)) {
            check_import(name)?;
        }
    }
    check_exports(engine, &outside)
}

fn check_import(name: &str) -> Result<(), String> {
    let (interface, version) = split_version(name);
    if let Some(contract_interface) = interface.strip_prefix(CONTRACT).and_then(|rest| rest.strip_prefix('/')) {
        check_contract_version(version)?;
        if CONTRACT_INTERFACES.contains(&contract_interface) {
            return Ok(());
        }
        return Err(format!("it imports {name}, which is not part of the contract that this host serves"));
    }
    if WASI_INTERFACES.contains(&interface) && version.is_some_and(|v| v.starts_with("0.2.")) {
        return Ok(());
    }
    Err(format!(
        "it imports {name}, which handlers may not use; leave out what needs it (allowed: {CONTRACT}, and of WASI 0.2 \
         io, cli, clocks, random)"
    ))
}

fn check_contract_version(version: Option<&str>) -> Result<(), String> {
    let version = version.unwrap_or("none");
    let served =
        CONTRACT_VERSIONS.iter().any(|served| version.strip_prefix(served).is_some_and(|rest| rest.starts_with('.')));
    if served {
        return Ok(());
    }
    Err(format!(
        "it speaks {CONTRACT} version {version} and this host serves {}; build it against a wit folder of this host",
        CONTRACT_VERSIONS.join(", ")
    ))
}

fn check_exports(engine: &Engine, outside: &types::Component) -> Result<Shape, String> {
    let mut has_handle = false;
    let mut has_hangup_hook = false;
    let mut others = Vec::new();
    for (name, item) in outside.exports(engine) {
        if name == HANDLE && matches!(item.ty, ComponentItem::ComponentFunc(_)) {
            has_handle = true;
        } else if split_version(name).0 == HANGUP_HOOK {
            check_contract_version(split_version(name).1)?;
            has_hangup_hook = true;
        } else {
            others.push(name.to_owned());
        }
    }
    if has_handle {
        return Ok(Shape { has_hangup_hook });
    }
    let instead = if others.is_empty() { "nothing".to_owned() } else { others.join(", ") };
    Err(format!(
        "it is a component of another world: it exports {instead} and not `{HANDLE}`; build it for the world \
         {CONTRACT}/handler"
    ))
}

fn split_version(name: &str) -> (&str, Option<&str>) {
    match name.split_once('@') {
        Some((interface, version)) => (interface, Some(version)),
        None => (name, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_and_http_are_not_allowed() {
        for name in
            ["wasi:sockets/tcp@0.2.6", "wasi:cli/command@0.2.6", "wasi:http/outgoing-handler@0.2.6", "env/x", ""]
        {
            let why = check_import(name).unwrap_err();
            assert!(why.contains("may not use"), "{why}");
        }
    }

    #[test]
    fn an_unknown_version_is_named_with_the_one_that_is_served() {
        for name in ["voxtra:call/call-session@0.2.0", "voxtra:call/call-session@0.10.0", "voxtra:call/call-session"] {
            let why = check_import(name).unwrap_err();
            assert!(why.contains("this host serves 0.1"), "{why}");
        }
    }

    #[test]
    fn patch_versions_are_all_the_same_contract() {
        assert!(check_import("voxtra:call/call-session@0.1.7").is_ok());
        assert!(check_import("wasi:io/poll@0.2.12").is_ok());
        assert!(check_import("wasi:io/poll@0.3.0").is_err());
    }
}
