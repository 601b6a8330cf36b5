//! A plugin directory, read: tenants with their handlers and rules. Values only, and no line of a file in them, so that two
//! are equal when they mean the same. The files' keys are in `examples/acme/` beside this crate's sources.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Map, Value};
use voxtra_core::{HandlerName, TenantId};

use crate::capabilities::Grants;
use crate::fingerprint::ContentHash;
use crate::limits::Limits;

/// All of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Directory {
    /// By name.
    pub tenants: BTreeMap<TenantId, TenantPlan>,
}

/// One tenant.
#[derive(Debug, Clone, PartialEq)]
pub struct TenantPlan {
    /// What its `tenant.toml` says, or the host's defaults where there is none.
    pub settings: TenantSettings,
    /// Its handlers by name. `default` takes what no route takes.
    pub handlers: BTreeMap<HandlerName, HandlerPlan>,
    /// Its routers, in the order in which they are asked: that of their files' names.
    pub routers: Vec<RulePlan>,
    /// Its filters, in the order in which an event passes them.
    pub filters: Vec<RulePlan>,
    /// Filters whose files are there and cannot be read, and were not read before: without `.filter.wasm`, made fit to be
    /// shown. They can filter nothing, and no event is to leave without them.
    pub unread_filters: Vec<String>,
}

/// What is the tenant's as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct TenantSettings {
    /// Its Stasis application, where the file names one.
    pub app_name: Option<String>,
    /// The PBXes that it is served on; empty: all.
    pub pbx: Vec<String>,
    /// Where its recordings go; empty: where all go.
    pub recording_sinks: Vec<String>,
    /// Places in the PBX's dialplan.
    pub dialplan: Dialplan,
    /// Its own prompts.
    pub prompts: Prompts,
    /// What a caller gets whose handler failed and says nothing itself.
    pub on_failure: Option<OnFailure>,
    /// What its calls may use up.
    pub limits: Limits,
    /// What its handlers may do.
    pub grants: Grants,
    /// Whose AI it uses.
    pub providers: Providers,
    /// Names of secrets that its handlers may use by handle; the values are the host's.
    pub secrets: Vec<String>,
    /// Whether its components must be signed, and by whom.
    pub signatures: Signatures,
    /// Its share of a full machine, beside the others' weights. 1 to 1,000; default 100.
    pub weight: u32,
}

/// `voxtra.yaml`'s `dialplan`. Empty: the adapter's defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the keys of voxtra.yaml, explained there")]
pub struct Dialplan {
    pub transfer_context: String,
    pub queue_context: String,
    pub machine_detection_context: String,
}

/// `voxtra.yaml`'s `prompts`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prompts {
    /// A folder of WAV files within the tenant's own, with the path to it, as the plugin directory was named. It was no
    /// link when it was looked at; whoever opens it looks again. `None`: none.
    pub dir: Option<PathBuf>,
    /// Beginnings of `https:` addresses that may be played.
    pub urls: Vec<String>,
}

/// What happens when a handler fails: prompts first, then one more thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnFailure {
    /// Prompts, in order; `None`: the host's own.
    pub play: Option<Vec<String>>,
    /// What follows.
    pub then: Then,
}

/// What follows the prompts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    /// `hangup`
    HangUp,
    /// `transfer:TARGET`
    Transfer(String),
    /// `handler:NAME`
    Handler(HandlerName),
}

/// Which AI providers a tenant uses; `None`: the host's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Providers {
    /// Speech to text.
    pub stt: Option<Provider>,
    /// Language model.
    pub llm: Option<Provider>,
    /// Text to speech.
    pub tts: Option<Provider>,
}

/// One of them, with the keys of `voxtra.yaml`'s `ai`; empty: the host's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provider {
    /// Its name, such as `deepgram`.
    pub provider: String,
    /// The model.
    pub model: String,
    /// The language, such as `en`; not of a language model.
    pub language: String,
    /// The voice; of speech only.
    pub voice_id: String,
}

/// Who has to vouch for components.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signatures {
    /// Whether each component must carry a signature by one of the keys.
    pub required: bool,
    /// Minisign public keys.
    pub keys: Vec<String>,
}

/// One handler.
#[derive(Debug, Clone, PartialEq)]
pub struct HandlerPlan {
    /// Its file's name without `.wasm` or `.toml`.
    pub name: HandlerName,
    /// Where its component comes from.
    pub source: Source,
    /// The detached signature beside the component's file; of one in a registry, that of its bytes, as `NAME.wasm.minisig`.
    pub signature: Option<FileRef>,
    /// Calls that it takes.
    pub routes: Vec<Route>,
    /// Metadata that its calls begin with; a route's come over them.
    pub metadata: Map<String, Value>,
    /// What its callers get when it fails; `None`: what the tenant says.
    pub on_failure: Option<OnFailure>,
    /// What its calls may use up: the smallest of host's, tenant's and its own.
    pub limits: Limits,
    /// What it may do: what its tenant may, narrowed.
    pub grants: Grants,
    /// How a new version is tried first; `None`: it takes all calls at once.
    pub canary: Option<Canary>,
    /// What becomes of calls that are up when a new version comes.
    pub upgrade: Upgrade,
    /// How long an old version may stay for its calls, in milliseconds; none: to their end.
    pub drain_limit_ms: Option<u64>,
}

/// Where a component comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file in the tenant's folder.
    File(FileRef),
    /// `REGISTRY/REPOSITORY@sha256:DIGEST`
    Oci(String),
}

/// A file as it was when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRef {
    /// Where it is. It may be another by now: [`FileRef::read`] gives what it was, or nothing.
    pub path: PathBuf,
    /// What it held.
    pub content: ContentHash,
    /// How many bytes.
    pub size_bytes: u64,
}

/// Which calls a handler takes. Both empty: all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Route {
    /// The number that was dialled.
    pub extension: String,
    /// The caller's; a `*` at its end stands for anything.
    pub number: String,
    /// What the route is called in events and logs.
    pub name: String,
    /// Metadata that calls over it begin with.
    pub metadata: Map<String, Value>,
}

/// How a new version is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Canary {
    /// Of the calls so many in a hundred go to it. 1 to 100; default 10.
    pub percent: u32,
    /// Judged after so many of them. Default 20.
    pub min_calls: u32,
    /// It goes when more than so many in a hundred fail. 0 to 99; default 5.
    pub max_failures_percent: u32,
    /// It becomes the current version when so many of its calls are over and no more than those failed. Default 5 times
    /// `min_calls`.
    pub promote_calls: u32,
}

/// What becomes of calls that are up when a new version comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Upgrade {
    /// `drain`: they stay on theirs.
    #[default]
    Drain,
    /// `mid-call`: they go over to the new one by `save` and `restore`.
    MidCall,
}

/// A router or a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RulePlan {
    /// Its file's name without `.router.wasm` or `.filter.wasm`.
    pub name: String,
    /// Its component.
    pub file: FileRef,
    /// The detached signature beside it.
    pub signature: Option<FileRef>,
}
