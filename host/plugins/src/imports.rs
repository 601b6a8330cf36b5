//! What a component may import and must export, checked before anything is linked.

use std::fmt;

use wasmtime::Engine;
use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

/// The contract's package.
const CONTRACT: &str = "voxtra:call";

/// The contract's versions that this host serves, by their `major.minor`.
pub(crate) const CONTRACT_VERSIONS: &[&str] = &["0.1"];

/// The WASI 0.2 interfaces that are there: none of them reaches outside the sandbox. Files are there in name only:
/// every standard library imports them, and no folder is ever opened to a handler. Sockets are not there.
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

/// Handlers' alone: what is sent goes through the tenant's egress policy.
const WASI_HTTP_INTERFACES: &[&str] = &["wasi:http/types", "wasi:http/outgoing-handler"];

/// The optional interfaces that a handler may export, without their version.
const HANGUP_HOOK: &str = "voxtra:call/hangup-hook";
const HEALTH: &str = "voxtra:call/health";
const UPGRADE: &str = "voxtra:call/upgrade";

/// What a component is for, as its exports say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Does what a call does.
    Handler,
    /// A dispatch rule: chooses a handler.
    Router,
    /// Middleware: sees events before they leave.
    Filter,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Handler, Self::Router, Self::Filter];

    /// What it exports, which is what makes it one.
    pub(crate) fn export(self) -> &'static str {
        match self {
            Self::Handler => "handle",
            Self::Router => "route",
            Self::Filter => "filter",
        }
    }

    /// The end of its file's name.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::Handler => ".wasm",
            Self::Router => ".router.wasm",
            Self::Filter => ".filter.wasm",
        }
    }

    /// The contract's interfaces that it can import.
    pub(crate) fn interfaces(self) -> &'static [&'static str] {
        match self {
            Self::Handler => &["types", "call-session", "readiness", "store", "batches", "http", "logging"],
            Self::Router => &["types", "routing", "store", "logging"],
            Self::Filter => &["filtering", "logging"],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handler => "handler",
            Self::Router => "router",
            Self::Filter => "filter",
        })
    }
}

/// What a component offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) kind: Kind,
    pub(crate) hooks: Hooks,
}

/// The optional interfaces that it exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Hooks {
    pub(crate) hangup: bool,
    pub(crate) health: bool,
    pub(crate) upgrade: bool,
}

impl Hooks {
    /// The hook of an exported interface's name without its version.
    fn of(&mut self, interface: &str) -> Option<&mut bool> {
        match interface {
            HANGUP_HOOK => Some(&mut self.hangup),
            HEALTH => Some(&mut self.health),
            UPGRADE => Some(&mut self.upgrade),
            _ => None,
        }
    }
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
    let shape = check_exports(
        outside.exports(engine).map(|(name, item)| (name, matches!(item.ty, ComponentItem::ComponentFunc(_)))),
    )?;
    for (name, item) in outside.imports(engine) {
        if reaches(engine, &item.ty) {
            check_import_of(shape.kind, name)?;
        }
    }
    Ok(shape)
}

/// Whether anything can be called through an import: a toolchain may leave the types of interfaces in that are not used,
/// and of a resource that nobody hands out there is none.
fn reaches(engine: &Engine, item: &ComponentItem) -> bool {
    match item {
        ComponentItem::Type(_) | ComponentItem::Resource(_) => false,
        ComponentItem::ComponentInstance(interface) => interface
            .exports(engine)
            .any(|(_, export)| !matches!(export.ty, ComponentItem::Type(_) | ComponentItem::Resource(_))),
        _ => true,
    }
}

/// What no component may import.
fn check_import(name: &str) -> Result<(), String> {
    let (interface, version) = split_version(name);
    if let Some(contract_interface) = of_contract(interface) {
        check_contract_version(version)?;
        if Kind::ALL.iter().any(|kind| kind.interfaces().contains(&contract_interface)) {
            return Ok(());
        }
        return Err(format!("it imports {name}, which is not part of the contract that this host serves"));
    }
    let is_known = WASI_INTERFACES.contains(&interface) || WASI_HTTP_INTERFACES.contains(&interface);
    if is_known && version.is_some_and(|v| v.starts_with("0.2.")) {
        return Ok(());
    }
    Err(format!(
        "it imports {name}, which components may not use; leave out what needs it (allowed: {CONTRACT}, and of WASI \
         0.2 io, cli, clocks, random, and for handlers http)"
    ))
}

/// What this kind of component may not import.
fn check_import_of(kind: Kind, name: &str) -> Result<(), String> {
    let interface = split_version(name).0;
    if kind != Kind::Handler && WASI_HTTP_INTERFACES.contains(&interface) {
        return Err(format!("it is a {kind} and imports {name}, which only handlers may use; leave out what needs it"));
    }
    match of_contract(interface) {
        Some(interface) if !kind.interfaces().contains(&interface) => Err(format!(
            "it is a {kind} and imports {name}, which a {kind} may not use; of {CONTRACT} there is {} for it",
            kind.interfaces().join(", ")
        )),
        _ => Ok(()),
    }
}

fn of_contract(interface: &str) -> Option<&str> {
    interface.strip_prefix(CONTRACT)?.strip_prefix('/')
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

/// The same for names alone: imports with the functions behind them, exports and whether each is a function. Types are
/// not among them.
pub(crate) fn check_names(imports: &[(String, Vec<String>)], exports: &[(String, bool)]) -> Result<Shape, String> {
    imports.iter().try_for_each(|(name, _)| check_import(name))?;
    let shape = check_exports(exports.iter().map(|(name, is_function)| (name.as_str(), *is_function)))?;
    for (name, functions) in imports {
        if !functions.is_empty() {
            check_import_of(shape.kind, name)?;
        }
    }
    Ok(shape)
}

/// What exports say that a component is for, whatever else is wrong with it.
pub(crate) fn kind_of(exports: &[(String, bool)]) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| exports.iter().any(|(name, is_function)| *is_function && kind.export() == name))
}

/// The contract and its version, when a name is one of its interfaces.
pub(crate) fn contract_of(name: &str) -> Option<String> {
    let (interface, version) = split_version(name);
    of_contract(interface)?;
    Some(format!("{CONTRACT}@{}", version.unwrap_or("none")))
}

fn check_exports<'a>(exports: impl Iterator<Item = (&'a str, bool)>) -> Result<Shape, String> {
    let mut kinds = Vec::new();
    let mut hooks = Hooks::default();
    let mut others = Vec::new();
    for (name, is_function) in exports {
        let kind = Kind::ALL.into_iter().find(|kind| kind.export() == name);
        if let (Some(kind), true) = (kind, is_function) {
            kinds.push(kind);
        } else if let Some(hook) = hooks.of(split_version(name).0) {
            check_contract_version(split_version(name).1)?;
            *hook = true;
        } else {
            others.push(name.to_owned());
        }
    }
    match kinds.as_slice() {
        [kind] => Ok(Shape { kind: *kind, hooks }),
        [] => {
            let instead = if others.is_empty() { "nothing".to_owned() } else { others.join(", ") };
            Err(format!(
                "it is a component of another world: it exports {instead} and none of `handle`, `route` and `filter`; \
                 build it for the world {CONTRACT}/handler, router or filter"
            ))
        }
        [one, another, ..] => Err(format!(
            "it is a {one} and a {another} at once: it exports `{}` and `{}`; make two components of it",
            one.export(),
            another.export()
        )),
    }
}

pub(crate) fn split_version(name: &str) -> (&str, Option<&str>) {
    match name.split_once('@') {
        Some((interface, version)) => (interface, Some(version)),
        None => (name, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_and_servers_are_not_allowed() {
        for name in [
            "wasi:sockets/tcp@0.2.6",
            "wasi:cli/command@0.2.6",
            "wasi:http/incoming-handler@0.2.6",
            "wasi:http/outgoing-handler@0.3.0",
            "env/x",
            "",
        ] {
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
    fn http_of_wasi_is_for_handlers_alone() {
        for name in ["wasi:http/types@0.2.3", "wasi:http/outgoing-handler@0.2.6"] {
            assert!(check_import(name).is_ok() && check_import_of(Kind::Handler, name).is_ok());
            for kind in [Kind::Router, Kind::Filter] {
                assert!(check_import_of(kind, name).unwrap_err().contains("only handlers"));
            }
        }
    }

    #[test]
    fn patch_versions_are_all_the_same_contract() {
        assert!(check_import("voxtra:call/call-session@0.1.7").is_ok());
        assert!(check_import("wasi:io/poll@0.2.12").is_ok());
        assert!(check_import("wasi:io/poll@0.3.0").is_err());
    }
}
