//! `voxtra.yaml`: read, checked, and turned into what the host is made of. Nothing else in the host reads it.
//!
//! The way of a value: text -> YAML events -> [`tree`] (lines, aliases, YAML 1.1 scalars, `${NAME}`) -> [`de`]
//! (0.3.1's leniency, errors with line and keys) -> [`model`] -> [`Config`].

mod de;
mod env;
mod error;
mod listen;
mod model;
mod places;
mod policy;
mod suggest;
mod tree;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tree::{Kind, Node};

pub(crate) use env::{Lookup, process_env};
pub(crate) use error::ConfigError;
pub(crate) use listen::Listen;
pub(crate) use model::{
    Dial, HttpSecret, Plugins, RecordingSink, Refused, Registry, Root, Route, Secret, SinkKind, Tenant, Transport,
    UnknownCalls,
};
pub(crate) use places::{DATABASE, FIRST_PBX, SOCKET};
pub(crate) use policy::{OnFailure, Then};

use crate::files;

/// The file that is read when none is named.
pub(crate) const DEFAULT_FILE: &str = "voxtra.yaml";

/// Far above any configuration that people write.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The folder of handlers when none is named.
const DEFAULT_PLUGIN_DIR: &str = "plugins";

/// Where to look when there is no file.
const ARI_VARIABLES: &str = "VOXTRA_ARI_URL, VOXTRA_ARI_USER, VOXTRA_ARI_PASSWORD";

/// What Voxtra 0.3.1 took when neither file nor environment said anything.
const DEFAULT_ARI_URL: &str = "http://localhost:8088";
const DEFAULT_ARI_USER: &str = "asterisk";
const DEFAULT_ARI_PASSWORD: &str = "asterisk";
const DEFAULT_ARI_APP: &str = "voxtra";

/// A configuration that holds together.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// What the file says, with all defaults.
    pub(crate) root: Root,
    /// Where Asterisk is.
    pub(crate) asterisk: Ari,
    /// The file, when there is one; sentences begin with it.
    pub(crate) file: Option<PathBuf>,
    nodes: Node,
}

/// How Asterisk is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ari {
    pub(crate) base_url: String,
    pub(crate) username: String,
    pub(crate) password: Secret,
    /// The tenant `default`'s application.
    pub(crate) app: String,
}

impl Config {
    /// Reads a file. Blocking.
    pub(crate) fn load(path: &Path, lookup: Lookup<'_>) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        read_file(path).and_then(|text| Self::parse(&text, Some(path), lookup)).map_err(|error| error.in_file(&name))
    }

    /// What holds without any file: defaults and the environment.
    pub(crate) fn without_file(lookup: Lookup<'_>) -> Result<Self, ConfigError> {
        Self::parse("", None, lookup).map_err(|error| error.in_file(DEFAULT_FILE))
    }

    /// Reads a text.
    pub(crate) fn parse(text: &str, file: Option<&Path>, lookup: Lookup<'_>) -> Result<Self, ConfigError> {
        let nodes = tree::parse(text, &|text| env::substitute(text, lookup))?;
        if !matches!(nodes.kind, Kind::Map(_)) {
            let problem = "the file does not consist of `key: value` lines; `voxtra init` writes one that does";
            return Err(ConfigError::at(nodes.line, problem));
        }
        let root: Root = de::read(&nodes)?;
        let asterisk = ari(&root, lookup);
        let config = Self { root, asterisk, file: file.map(Path::to_owned), nodes };
        config.check()?;
        Ok(config)
    }

    /// A sentence about a key, with the line where it stands, or of the deepest section around it that is there.
    pub(crate) fn error_at(&self, path: &[&str], problem: impl Into<String>) -> ConfigError {
        if self.file.is_none() && path.starts_with(&["telephony", "asterisk"]) {
            return ConfigError::of_file(ARI_VARIABLES, problem);
        }
        let mut error = ConfigError::of_file(&self.file_name(), problem);
        error.line = self.file.is_some().then(|| self.nodes.line_of(path));
        error.path = path.iter().map(|&key| key.to_owned()).collect();
        error
    }

    /// The file's name for sentences.
    pub(crate) fn file_name(&self) -> String {
        self.file.as_deref().map_or_else(|| DEFAULT_FILE.to_owned(), |path| path.display().to_string())
    }

    /// Where AudioSocket connections are to be taken, when the file says.
    pub(crate) fn audiosocket_listen(&self) -> Result<Option<SocketAddr>, ConfigError> {
        let path = ["media", "audiosocket_listen"];
        match self.root.media.audiosocket_listen.as_str() {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                let problem = format!("`{}` is no address; write one such as `127.0.0.1:9092`", suggest::shorten(text));
                self.error_at(&path, problem)
            }),
        }
    }

    /// Where handlers come from, when the command line does not say. A relative folder starts at the file's.
    pub(crate) fn plugin_dir(&self) -> PathBuf {
        match self.root.plugins.dir.as_str() {
            "" => self.beside_file(DEFAULT_PLUGIN_DIR),
            dir => self.beside_file(dir),
        }
    }

    /// Where compiled handlers are kept; `None`: nowhere, which an empty `plugins.cache_dir` asks for.
    pub(crate) fn cache_dir(&self, lookup: Lookup<'_>) -> Option<PathBuf> {
        match self.root.plugins.cache_dir.as_deref() {
            Some("") => None,
            Some(dir) => Some(self.beside_file(dir)),
            None => user_cache_dir(lookup),
        }
    }

    /// The keys that are set though this version does nothing with them, and why.
    pub(crate) fn unused(&self) -> Vec<String> {
        let note = |path: &[&str], why: &str| format!("{}: {}: {why}", self.place(path), path.join("."));
        let mut notes: Vec<String> =
            UNUSED.iter().filter(|(path, _)| self.is_set(path)).map(|(path, why)| note(path, why)).collect();
        // 0.3.1 took them and carried its audio in its own way all the same.
        if matches!(self.root.media.transport, Transport::Rtp | Transport::Livekit) {
            notes.push(note(
                &["media", "transport"],
                "accepted; audio passes as with `auto`, over AudioSocket or WebSocket",
            ));
        }
        notes
    }

    /// The tenants with the application that tells each apart: `default` first.
    pub(crate) fn tenants(&self) -> Vec<(String, Tenant)> {
        let mut default = self.root.tenants.get(DEFAULT_TENANT).cloned().unwrap_or_default();
        if default.app_name.is_empty() {
            default.app_name.clone_from(&self.asterisk.app);
        }
        default.routes.extend(self.root.routes.iter().cloned());
        default.on_failure = default.on_failure.or_else(|| self.root.on_failure.clone());
        default.dial = default.dial.or_else(|| self.root.dial.clone());
        if self.is_set(&["dialplan"]) {
            default.dialplan = self.root.dialplan.clone();
        }
        if self.is_set(&["prompts"]) {
            default.prompts = self.root.prompts.clone();
        }
        default.secrets.extend(self.root.secrets.clone());
        let mut all = vec![(DEFAULT_TENANT.to_owned(), default)];
        for (name, tenant) in self.root.tenants.iter().filter(|(name, _)| *name != DEFAULT_TENANT) {
            let mut tenant = tenant.clone();
            if tenant.app_name.is_empty() {
                tenant.app_name = format!("{}-{name}", self.asterisk.app);
            }
            tenant.on_failure = tenant.on_failure.or_else(|| self.root.on_failure.clone());
            all.push((name.clone(), tenant));
        }
        all
    }

    fn beside_file(&self, path: &str) -> PathBuf {
        match self.file.as_deref().and_then(Path::parent) {
            Some(dir) => dir.join(path),
            None => PathBuf::from(path),
        }
    }

    /// Whether the file says something there.
    pub(crate) fn is_set(&self, path: &[&str]) -> bool {
        let mut node = &self.nodes;
        for key in path {
            match node.get(key) {
                Some(child) => node = child,
                None => return false,
            }
        }
        node.kind != Kind::Null
    }

    fn place(&self, path: &[&str]) -> String {
        format!("{}:{}", self.file_name(), self.nodes.line_of(path))
    }

    /// What no single key shows.
    fn check(&self) -> Result<(), ConfigError> {
        self.audiosocket_listen()?;
        let fail = |path: &[&str], problem: String| Err(self.error_at(path, problem));
        for name in self.root.tenants.keys() {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
                return fail(
                    &["tenants", name],
                    "a tenant's name is 1 to 64 letters, digits, `-` or `_`; rename it".into(),
                );
            }
        }
        let tenants = self.tenants();
        for (index, (name, tenant)) in tenants.iter().enumerate() {
            let twin = tenants.iter().take(index).find(|(_, other)| other.app_name == tenant.app_name);
            if let Some((other, _)) = twin {
                let problem = format!(
                    "the tenant `{other}` has the application `{}` already; give each its own",
                    tenant.app_name
                );
                return fail(&["tenants", name, "app_name"], problem);
            }
        }
        self.check_pbxs()?;
        let sizes = [
            (["plugins", "max_component_mib"], self.root.plugins.max_component_mib, 1, 1024),
            (["plugins", "max_instances"], self.root.plugins.max_instances, 1, 20_000),
            (["plugins", "compile_ms"], self.root.plugins.compile_ms, 1_000, 3_600_000),
            (["plugins", "start_ms"], self.root.plugins.start_ms, 0, 3_600_000),
            (["plugins", "compile_memory_mib"], self.root.plugins.compile_memory_mib, 64, 65_536),
            (["limits", "max_calls"], self.root.limits.max_calls, 1, 100_000),
            (["limits", "call_ms"], self.root.limits.call_ms, 1_000, 604_800_000),
            (["limits", "start_budget_ms"], self.root.limits.start_budget_ms, 50, 60_000),
            (["limits", "handler_grace_ms"], self.root.limits.handler_grace_ms, 0, 600_000),
            (["limits", "hook_ms"], self.root.limits.hook_ms, 0, 600_000),
            (["limits", "memory_mib"], self.root.limits.memory_mib, 1, 4096),
            (["limits", "cpu_ms"], self.root.limits.cpu_ms, 10, 86_400_000),
            (["limits", "table_elements"], self.root.limits.table_elements, 100, 10_000_000),
            (["limits", "host_call_bytes"], self.root.limits.host_call_bytes, 4096, 1 << 30),
            (["limits", "handles"], self.root.limits.handles, 10, 1_000_000),
            (["limits", "audio_calls_per_second"], self.root.limits.audio_calls_per_second, 1, 1_000_000),
            (["limits", "store_calls_per_second"], self.root.limits.store_calls_per_second, 1, 1_000_000),
            (["limits", "provider_calls_per_second"], self.root.limits.provider_calls_per_second, 1, 1_000_000),
            (["limits", "events_per_second"], self.root.limits.events_per_second, 1, 1_000_000),
            (["limits", "log_lines_per_second"], self.root.limits.log_lines_per_second, 1, 1_000_000),
            (["limits", "log_bytes"], self.root.limits.log_bytes, 0, 1 << 30),
            (["limits", "retained_bytes"], self.root.limits.retained_bytes, 65_536, 1 << 30),
            (["limits", "cpu_ms_per_second"], self.root.limits.cpu_ms_per_second, 1, 1_000_000),
            (["limits", "total_memory_mib"], self.root.limits.total_memory_mib, 1, 1 << 24),
            (["limits", "max_components"], self.root.limits.max_components, 1, 1_000_000),
            (["drain", "limit_ms"], self.root.drain.limit_ms, 0, 86_400_000),
            (["hooks", "limit_ms"], self.root.hooks.limit_ms, 100, 3_600_000),
            (["recordings", "min_free_mib"], self.root.recordings.min_free_mib, 0, 1 << 30),
            (["recordings", "max_ms"], self.root.recordings.max_ms, 1_000, 86_400_000),
            (["egress", "max_concurrent"], self.root.egress.max_concurrent, 1, 100_000),
            (["store", "max_keys"], self.root.store.max_keys, 0, 100_000_000),
            (["store", "max_mib"], self.root.store.max_mib, 0, 1 << 20),
            (["metering", "retention_days"], self.root.metering.retention_days, 0, 36_500),
            (["metering", "max_waiting"], self.root.metering.max_waiting, 1, 10_000_000),
        ];
        for (path, value, least, most) in sizes {
            if !(least..=most).contains(&value) {
                return fail(&path, format!("{value} is out of range; use {least} to {most}"));
            }
        }
        Ok(())
    }
}

impl Config {
    fn check_pbxs(&self) -> Result<(), ConfigError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let names: Vec<String> = self.pbxs().into_iter().map(|(name, _)| name).collect();
        for name in self.root.telephony.more.keys() {
            if name == FIRST_PBX || name.is_empty() || name.len() > 32 || !name.chars().all(plain) {
                let problem =
                    "a further PBX's name is 1 to 32 letters, digits, `-` or `_`, and not `asterisk`; rename it";
                return Err(self.error_at(&["telephony", "more", name], problem));
            }
        }
        for (tenant, section) in &self.root.tenants {
            if let Some(unknown) = section.pbx.iter().find(|pbx| !names.contains(pbx)) {
                let problem = format!("there is no PBX `{unknown}`; write one of {}", names.join(", "));
                return Err(self.error_at(&["tenants", tenant, "pbx"], problem));
            }
        }
        Ok(())
    }
}

const DEFAULT_TENANT: &str = "default";

/// Keys of 0.3.1 that are read and do nothing here.
const UNUSED: [(&[&str], &str); 11] = [
    (&["ai"], "accepted; this version has no AI providers yet"),
    (&["server", "host"], "accepted; this version has no control server yet"),
    (&["server", "port"], "accepted; this version has no control server yet"),
    (&["telephony", "livekit"], "accepted; LiveKit is not compiled in"),
    (&["telephony", "sip_trunks"], "accepted; trunks are set up in Asterisk's pjsip.conf"),
    (&["media", "codec"], "accepted; audio between Asterisk and the host is always 16-bit linear"),
    (&["media", "sample_rate"], "accepted; each handler chooses its rate when it opens the audio"),
    (&["media", "channels"], "accepted; telephone audio has one channel"),
    (&["media", "frame_duration_ms"], "accepted; frames are always 20 ms"),
    (&["media", "buffer_size_ms"], "accepted; queues are always 200 ms"),
    (&["media", "enable_echo_cancellation"], "accepted; echo is cancelled by the telephone or the trunk"),
];

fn ari(root: &Root, lookup: Lookup<'_>) -> Ari {
    let written = root.telephony.asterisk.clone().unwrap_or_default();
    let or_env = |written: Option<String>, name: &str, default: &str| {
        written.or_else(|| lookup(name).filter(|value| !value.is_empty())).unwrap_or_else(|| default.to_owned())
    };
    let password = written.password.map(|secret| secret.0);
    Ari {
        base_url: or_env(written.base_url, "VOXTRA_ARI_URL", DEFAULT_ARI_URL),
        username: or_env(written.username, "VOXTRA_ARI_USER", DEFAULT_ARI_USER),
        password: Secret(or_env(password, "VOXTRA_ARI_PASSWORD", DEFAULT_ARI_PASSWORD)),
        app: written.app_name.unwrap_or_else(|| DEFAULT_ARI_APP.to_owned()),
    }
}

fn user_cache_dir(lookup: Lookup<'_>) -> Option<PathBuf> {
    let set = |name: &str| lookup(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))?;
    Some(base.join("voxtra"))
}

fn read_file(path: &Path) -> Result<String, ConfigError> {
    if path.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        let problem = "the file is not there; `voxtra init` writes one, `-c` names another";
        return Err(ConfigError::of_file("", problem.to_owned()));
    }
    // A configuration may come through a pipe, out of a program that fills in what is secret.
    let bytes = files::read_or_pipe(path, MAX_FILE_BYTES).map_err(|problem| ConfigError::of_file("", problem))?;
    String::from_utf8(bytes).map_err(|error| {
        let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = 1 + good.iter().filter(|&&byte| byte == b'\n').count();
        ConfigError::at(line, "there is a byte that is not UTF-8; save the file as UTF-8")
    })
}

#[cfg(test)]
mod tests;
