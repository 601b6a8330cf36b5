//! From a file to a component that can be used.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use voxtra_core::{Capabilities, DialNarrowing, HandlerName, TenantId};
use wasmtime::component::{Component, InstancePre};

use crate::aside;
use crate::bindings::v0_1;
use crate::cache::ContentHash;
use crate::imports::{self, Kind, Shape};
use crate::open_files;
use crate::options::Limits;
use crate::precompiled::{self, Authentic};
use crate::rule::escaped;
use crate::runtime::Runtime;
use crate::store::InstanceData;
use crate::streak::Streak;

/// The first four bytes of every WebAssembly file.
const WASM_MAGIC: [u8; 4] = *b"\0asm";

/// The version and layer of a core module and of a component (the binary format's preamble).
const CORE_MODULE: [u8; 4] = [1, 0, 0, 0];
const COMPONENT: [u8; 4] = [0x0d, 0, 1, 0];

/// How much of what an engine says about a file people see.
const MAX_SHOWN_CHARS: usize = 400;

/// How much of a hash people see.
pub(crate) const VERSION_DIGITS: usize = 12;

/// A file that cannot be used. One sentence, with the file's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {why}")]
pub struct LoadError {
    /// The file, or the component's name where there is no file.
    pub file: String,
    /// What is wrong with it and what to do.
    pub why: String,
    /// Something else than the file is in the way: the same file may be taken later.
    pub is_passing: bool,
}

impl LoadError {
    /// It is the file's own fault.
    pub(crate) fn new(file: impl fmt::Display, why: String) -> Self {
        Self { file: file.to_string(), why, is_passing: false }
    }
}

/// Why there is nothing to be loaded: a sentence without the file's name.
#[derive(Debug)]
pub(crate) struct Obstacle {
    pub(crate) why: String,
    /// See [`LoadError::is_passing`].
    pub(crate) is_passing: bool,
}

impl Obstacle {
    pub(crate) fn passing(why: String) -> Self {
        Self { why, is_passing: true }
    }

    fn of(self, file: impl fmt::Display) -> LoadError {
        LoadError { file: file.to_string(), why: self.why, is_passing: self.is_passing }
    }
}

impl From<String> for Obstacle {
    fn from(why: String) -> Self {
        Self { why, is_passing: false }
    }
}

/// Whose component it is and which.
#[derive(Clone)]
pub(crate) struct About {
    pub(crate) name: HandlerName,
    pub(crate) tenant: TenantId,
    /// The first digits of its content's hash.
    pub(crate) version: String,
    pub(crate) size_bytes: usize,
}

/// A component of the kind that was asked for, ready to be instantiated.
pub(crate) struct Loaded {
    pub(crate) about: About,
    pub(crate) pre: InstancePre<InstanceData>,
    pub(crate) shape: Shape,
}

/// One version of a handler, compiled and linked. It never changes: another version is another `Handler`.
#[derive(Clone)]
pub struct Handler {
    pub(crate) inner: Arc<Inner>,
    pub(crate) limits: Limits,
    capabilities: Capabilities,
    dial: Option<Arc<DialNarrowing>>,
    succession: Succession,
}

/// What becomes of a handler's calls when another version takes its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Succession {
    /// They go over to it, when both versions have the interface `upgrade`. Default: they stay.
    pub mid_call: bool,
    /// How long the others may stay; none: to their end.
    pub drain_limit: Option<Duration>,
}

pub(crate) struct Inner {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) pre: InstancePre<InstanceData>,
    pub(crate) handle: v0_1::HandlerIndices,
    pub(crate) hangup_hook: Option<v0_1::HangupHookIndices>,
    pub(crate) health: Option<v0_1::HealthIndices>,
    pub(crate) upgrade: Option<v0_1::UpgradeIndices>,
    pub(crate) streak: Streak,
    about: About,
}

impl Handler {
    /// Its file's name without `.wasm`.
    pub fn name(&self) -> &HandlerName {
        &self.inner.about.name
    }

    /// Whose it is.
    pub fn tenant(&self) -> &TenantId {
        &self.inner.about.tenant
    }

    /// What it is: the first 12 hexadecimal digits of its content's SHA-256.
    pub fn version(&self) -> &str {
        &self.inner.about.version
    }

    /// How large its file is.
    pub fn size_bytes(&self) -> usize {
        self.inner.about.size_bytes
    }

    /// Whether it wants to know when a call is over.
    pub fn has_hangup_hook(&self) -> bool {
        self.inner.hangup_hook.is_some()
    }

    /// Whether it is asked, when it is loaded, if it is well.
    pub fn has_health_check(&self) -> bool {
        self.inner.health.is_some()
    }

    /// Whether it can hand a call over to another version of itself, and take one over.
    pub fn has_upgrade(&self) -> bool {
        self.inner.upgrade.is_some()
    }

    pub(crate) fn about(&self) -> &About {
        &self.inner.about
    }

    /// What each of its instances may use up.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What it may do beyond its own call. By default everything that its tenant may.
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// The same version with narrower limits and capabilities; none of them gets wider.
    #[must_use]
    pub fn narrowed(mut self, limits: Limits, capabilities: Capabilities) -> Self {
        self.limits = limits.within(&self.limits);
        self.capabilities = capabilities.within(self.capabilities);
        self
    }

    /// What its manifest takes away from whom its tenant may call. By default nothing.
    pub fn dial_narrowing(&self) -> Option<&Arc<DialNarrowing>> {
        self.dial.as_ref()
    }

    /// The same version with whom it may call narrowed so, and not as before.
    #[must_use]
    pub fn dialling(mut self, narrowing: Option<DialNarrowing>) -> Self {
        self.dial = narrowing.map(Arc::new);
        self
    }

    /// What becomes of its calls when another version takes its place. By default they stay to their end.
    pub fn succession(&self) -> Succession {
        self.succession
    }

    /// The same version with another succession.
    #[must_use]
    pub fn succeeded(mut self, succession: Succession) -> Self {
        self.succession = succession;
        self
    }

    fn new(runtime: &Arc<Runtime>, loaded: Loaded) -> Result<Self, String> {
        let Loaded { about, pre, shape } = loaded;
        let handle = v0_1::HandlerIndices::new(&pre).map_err(misfit)?;
        let hooks = shape.hooks;
        let hangup_hook = hooks.hangup.then(|| v0_1::HangupHookIndices::new(&pre)).transpose().map_err(misfit)?;
        let health = hooks.health.then(|| v0_1::HealthIndices::new(&pre)).transpose().map_err(misfit)?;
        let upgrade = hooks.upgrade.then(|| v0_1::UpgradeIndices::new(&pre)).transpose().map_err(misfit)?;
        let streak = Streak::new(&runtime.options);
        let inner = Inner { runtime: Arc::clone(runtime), pre, handle, hangup_hook, health, upgrade, streak, about };
        Ok(Self {
            inner: Arc::new(inner),
            limits: runtime.options.limits,
            capabilities: Capabilities::ALL,
            dial: None,
            succession: Succession::default(),
        })
    }
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handler({}/{} {})", self.tenant(), self.name(), self.version())
    }
}

impl Runtime {
    /// Reads, checks and compiles a handler's file. Takes as long as compiling takes: never call it where calls run.
    pub fn load_file(self: &Arc<Self>, tenant: &TenantId, path: &Path) -> Result<Handler, LoadError> {
        self.read_component(Kind::Handler, tenant, path, |loaded| Handler::new(self, loaded))
    }

    /// Checks and compiles a handler's bytes.
    pub fn load_bytes(
        self: &Arc<Self>,
        tenant: &TenantId,
        name: &HandlerName,
        wasm: &[u8],
    ) -> Result<Handler, LoadError> {
        self.take_component(Kind::Handler, tenant, name, wasm, |loaded| Handler::new(self, loaded))
    }

    /// Whether a tenant's component was compiled before and is kept, so that loading it is quick. It looks for the entry and
    /// does not read it: one that is damaged is compiled anew when it is loaded.
    #[must_use]
    pub fn is_compiled(&self, tenant: &TenantId, wasm: &[u8]) -> bool {
        self.cache.as_ref().is_some_and(|cache| cache.has(ContentHash::of(wasm).kept_for(tenant)))
    }

    pub(crate) fn read_component<T>(
        &self,
        kind: Kind,
        tenant: &TenantId,
        path: &Path,
        make: impl FnOnce(Loaded) -> Result<T, String>,
    ) -> Result<T, LoadError> {
        let fail = |why: String| LoadError::new(path.display(), why);
        let name = component_name(kind, path).map_err(fail)?;
        let wasm = read_capped(path, self.options.max_component_bytes).map_err(fail)?;
        let loaded = self.load(kind, tenant, &name, &wasm).map_err(|obstacle| obstacle.of(path.display()))?;
        make(loaded).map_err(fail)
    }

    pub(crate) fn take_component<T>(
        &self,
        kind: Kind,
        tenant: &TenantId,
        name: &HandlerName,
        wasm: &[u8],
        make: impl FnOnce(Loaded) -> Result<T, String>,
    ) -> Result<T, LoadError> {
        let loaded = self.load(kind, tenant, name, wasm).map_err(|obstacle| obstacle.of(name))?;
        make(loaded).map_err(|why| LoadError::new(name, why))
    }

    fn load(&self, wanted: Kind, tenant: &TenantId, name: &HandlerName, wasm: &[u8]) -> Result<Loaded, Obstacle> {
        check_preamble(wasm)?;
        open_files::leave_room_for_calls().map_err(Obstacle::passing)?;
        let hash = ContentHash::of(wasm);
        let (component, shape) = self.compile(hash.kept_for(tenant), wasm)?;
        if shape.kind != wanted {
            return Err(wrong_kind(shape.kind, wanted).into());
        }
        let pre = self.linker.instantiate_pre(&component).map_err(misfit)?;
        let mut version = hash.to_hex();
        version.truncate(VERSION_DIGITS);
        let about = About { name: name.clone(), tenant: tenant.clone(), version, size_bytes: wasm.len() };
        Ok(Loaded { about, pre, shape })
    }

    /// From the cache when it is there. What is in the cache was checked when it was put there, and is checked again:
    /// the allow-list may have changed since.
    fn compile(&self, kept: ContentHash, wasm: &[u8]) -> Result<(Component, Shape), Obstacle> {
        let cached = self.cache.as_ref().and_then(|cache| cache.get(kept));
        if let Some(Ok(component)) = cached.map(|code| precompiled::load(&self.engine, &code)) {
            let shape = imports::check(&self.engine, &component)?;
            return Ok((component, shape));
        }
        let Some(aside) = &self.options.compiler else { return Ok(self.compile_here(kept, wasm)?) };
        let code = Authentic::of_own_compiler(aside::compile(aside, &self.options, &self.compilations, wasm)?);
        let component = precompiled::load(&self.engine, &code).map_err(|error| {
            let why = "the compiler is another version than this host";
            Obstacle::passing(format!("{why} ({}); restart the host", first_line(&error)))
        })?;
        let shape = imports::check(&self.engine, &component)?;
        if let Some(cache) = &self.cache {
            cache.put(kept, code.bytes());
        }
        Ok((component, shape))
    }

    fn compile_here(&self, kept: ContentHash, wasm: &[u8]) -> Result<(Component, Shape), String> {
        let component = Component::from_binary(&self.engine, wasm).map_err(|error| invalid(&error))?;
        let shape = imports::check(&self.engine, &component)?;
        if let Some(cache) = &self.cache {
            match component.serialize() {
                Ok(code) => cache.put(kept, &code),
                Err(error) => tracing::warn!(%error, "a compiled component could not be kept"),
            }
        }
        Ok((component, shape))
    }
}

pub(crate) fn invalid(error: &wasmtime::Error) -> String {
    format!("it is no valid component ({}); build it again", first_line(error))
}

pub(crate) fn misfit(error: wasmtime::Error) -> String {
    format!("it does not fit the contract ({}); build it against this host's wit folder", first_line(&error))
}

fn wrong_kind(found: Kind, wanted: Kind) -> String {
    format!(
        "it is a {found} where a {wanted} is wanted; the file of a {found} is called NAME{}, rename it",
        found.suffix()
    )
}

/// The component's name: the file's, which people and routes write, so it holds nothing odd.
fn component_name(kind: Kind, path: &Path) -> Result<HandlerName, String> {
    let file_name = path.file_name().and_then(|s| s.to_str()).unwrap_or_default();
    let stem = file_name.strip_suffix(kind.suffix()).or_else(|| path.file_stem()?.to_str()).unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if stem.is_empty() || stem.len() > 64 || stem.starts_with('.') || !stem.chars().all(plain) {
        return Err(format!(
            "a {kind}'s file name is 1 to 64 letters, digits, `-`, `_` or `.`, and then {}; rename it",
            kind.suffix()
        ));
    }
    Ok(HandlerName::new(stem))
}

pub(crate) fn read_capped(path: &Path, max_bytes: u64) -> Result<Vec<u8>, String> {
    // Before it is opened: a pipe would be waited for.
    let metadata = fs::metadata(path).map_err(|error| read_error(&error))?;
    if !metadata.is_file() {
        return Err("it is not a file; put a component's .wasm file here".into());
    }
    let file = File::open(path).map_err(|error| read_error(&error))?;
    if metadata.len() > max_bytes {
        return Err(too_large(max_bytes));
    }
    let mut wasm = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
    // One byte more than allowed: a file can grow while it is read.
    file.take(max_bytes.saturating_add(1)).read_to_end(&mut wasm).map_err(|error| read_error(&error))?;
    if wasm.len() as u64 > max_bytes {
        return Err(too_large(max_bytes));
    }
    Ok(wasm)
}

fn read_error(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "the file is not there (any more); copy it again".into(),
        io::ErrorKind::PermissionDenied => "the file may not be read by this user; change its mode".into(),
        _ => format!("the file cannot be read ({error}); copy it again"),
    }
}

fn too_large(max_bytes: u64) -> String {
    format!("the file is larger than {} MiB; strip it, or raise plugins.max_component_mib", max_bytes >> 20)
}

pub(crate) fn check_preamble(wasm: &[u8]) -> Result<(), String> {
    let preamble = wasm.first_chunk::<8>().map(|p| p.split_at(4));
    match preamble {
        Some((magic, layer)) if magic == WASM_MAGIC => match layer {
            layer if layer == COMPONENT => Ok(()),
            layer if layer == CORE_MODULE => Err("it is a core WebAssembly module and not a component; build it for \
                                                  wasm32-wasip2, or wrap it with `wasm-tools component new`"
                .into()),
            _ => Err("it is WebAssembly of an unknown binary version; build it with a current toolchain".into()),
        },
        _ if wasm.is_empty() => Err("the file is empty; copy it again".into()),
        _ => Err("it is not WebAssembly; a handler is a component's .wasm file".into()),
    }
}

/// The engine adds where and how to its messages, line by line; the first says what.
fn first_line(error: &wasmtime::Error) -> String {
    let text = format!("{}", error.root_cause());
    shown(text.lines().next().unwrap_or_default().trim())
}

/// What is said about a file may hold names of the file's own, which may hold anything.
pub(crate) fn shown(text: &str) -> String {
    escaped(&text.chars().take(MAX_SHOWN_CHARS).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preambles_are_told_apart() {
        assert!(check_preamble(b"\0asm\x0d\0\x01\0").is_ok());
        assert!(check_preamble(b"\0asm\x01\0\0\0").unwrap_err().contains("core WebAssembly module"));
        assert!(check_preamble(b"\0asm\x09\0\0\0").unwrap_err().contains("unknown binary version"));
        assert!(check_preamble(b"").unwrap_err().contains("empty"));
        assert!(check_preamble(b"\x7fELF\x02\x01\x01\0").unwrap_err().contains("not WebAssembly"));
        assert!(check_preamble(b"\0as").unwrap_err().contains("not WebAssembly"));
    }

    #[test]
    fn a_file_name_cannot_smuggle_anything() {
        for good in ["default.wasm", "a/b/ivr-menu.v2.wasm"] {
            assert!(component_name(Kind::Handler, Path::new(good)).is_ok(), "{good}");
        }
        for bad in [".wasm", "a b.wasm", "a\n.wasm", "ä.wasm", "..", &format!("{}.wasm", "x".repeat(65))] {
            assert!(component_name(Kind::Handler, Path::new(bad)).is_err(), "{bad}");
        }
        assert!(component_name(Kind::Router, Path::new(".router.wasm")).is_err());
    }

    #[test]
    fn the_end_of_a_file_name_is_not_the_components() {
        let name = component_name(Kind::Router, Path::new("t/10-vip.router.wasm")).unwrap();
        assert_eq!(name.as_str(), "10-vip");
    }
}
