//! The keys of `voxtra.yaml`, with their defaults. All of Voxtra 0.3.1's are here, with its types; ours come on top.
//! What part of them this version acts on is said by [`super::Config::unused`].

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::listen::Listen;
use super::policy::OnFailure;

/// A value that is never shown.
#[derive(Clone, PartialEq, Eq, Default, Deserialize)]
pub(crate) struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "(empty)" } else { "(secret)" })
    }
}

/// Declares a section: every key has a default, and none other is allowed.
macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($(#[$key_doc:meta])* $key:ident: $type:ty = $default:expr,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub(crate) struct $name {
            $($(#[$key_doc])* pub(crate) $key: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: $default,)* }
            }
        }
    };
}

/// A codec's name, as 0.3.1 wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Codec {
    Ulaw,
    Alaw,
    PcmS16le,
    Opus,
}

/// How audio passes between the PBX and the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Transport {
    Auto,
    Audiosocket,
    Websocket,
    Rtp,
    Livekit,
}

/// What becomes of a call at the PBX that this host does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum UnknownCalls {
    /// It ends.
    Hangup,
    /// One that came in is routed as if it came now.
    Adopt,
    /// Nothing.
    Leave,
}

/// A number that 0.3.1 took whatever its size was.
type Int = i64;

section! {
    /// The whole file.
    Root {
        app_name: String = "voxtra".to_owned(),
        version: String = "0.1.0".to_owned(),
        telephony: Telephony = Telephony::default(),
        media: Media = Media::default(),
        ai: Ai = Ai::default(),
        routes: Vec<Route> = Vec::new(),
        server: Server = Server::default(),
        backend: Backend = Backend::default(),
        plugins: Plugins = Plugins::default(),
        limits: Limits = Limits::default(),
        tenants: BTreeMap<String, Tenant> = BTreeMap::new(),
        on_failure: Option<OnFailure> = None,
        /// Ours: where the host keeps what has to outlive it.
        state_dir: Option<String> = None,
        /// Ours: more webhooks beside 0.3.1's one.
        webhooks: Vec<Webhook> = Vec::new(),
        recordings: Recordings = Recordings::default(),
        drain: Drain = Drain::default(),
        hooks: Hooks = Hooks::default(),
        admin: Admin = Admin::default(),
        store: Store = Store::default(),
        metering: Metering = Metering::default(),
        metrics: Metrics = Metrics::default(),
        /// Ours: these are the tenant `default`'s, as in [`Tenant`].
        dial: Option<Dial> = None,
        dialplan: Dialplan = Dialplan::default(),
        prompts: Prompts = Prompts::default(),
        secrets: BTreeMap<String, HttpSecret> = BTreeMap::new(),
        /// Ours: where handlers' HTTP may go, for all tenants.
        egress: Egress = Egress::default(),
    }
}

section! {
    Telephony {
        provider: String = "asterisk".to_owned(),
        asterisk: Option<Asterisk> = None,
        /// Ours: further Asterisks by name; the first one's name is `asterisk`.
        more: BTreeMap<String, Asterisk> = BTreeMap::new(),
        /// Ours: calls that a PBX has for this host and that it does not know, as after a crash.
        unknown_calls: UnknownCalls = UnknownCalls::Hangup,
        livekit: Option<LiveKit> = None,
        sip_trunks: Vec<SipTrunk> = Vec::new(),
    }
}

section! {
    /// Absent values come from the environment, then from 0.3.1's defaults: see [`super::Config::asterisk`].
    Asterisk {
        base_url: Option<String> = None,
        username: Option<String> = None,
        password: Option<Secret> = None,
        app_name: Option<String> = None,
        websocket_url: String = String::new(),
    }
}

section! {
    LiveKit {
        url: String = "ws://localhost:7880".to_owned(),
        api_key: Secret = Secret::default(),
        api_secret: Secret = Secret::default(),
    }
}

section! {
    SipTrunk {
        name: String = String::new(),
        host: String = String::new(),
        port: Int = 5060,
        username: String = String::new(),
        password: Secret = Secret::default(),
        transport: String = "udp".to_owned(),
        codec: Codec = Codec::Ulaw,
        do_register: bool = true,
    }
}

section! {
    Media {
        /// 0.3.1's default was `websocket` and did not mean anything that works, so an absent key means `auto`.
        transport: Transport = Transport::Auto,
        codec: Codec = Codec::Ulaw,
        sample_rate: Int = 8000,
        channels: Int = 1,
        frame_duration_ms: Int = 20,
        buffer_size_ms: Int = 200,
        enable_echo_cancellation: bool = false,
        /// Ours: where Asterisk's AudioSocket connections are taken.
        audiosocket_listen: String = String::new(),
        /// Ours: the address that Asterisk is told, when it is not the one above.
        audiosocket_advertise: String = String::new(),
    }
}

section! {
    Ai {
        stt: Stt = Stt::default(),
        tts: Tts = Tts::default(),
        llm: Llm = Llm::default(),
        vad: Vad = Vad::default(),
    }
}

section! {
    Stt {
        provider: String = "deepgram".to_owned(),
        api_key: Secret = Secret::default(),
        model: String = "nova-2".to_owned(),
        language: String = "en".to_owned(),
        interim_results: bool = true,
        punctuate: bool = true,
        extra: Map<String, Value> = Map::new(),
    }
}

section! {
    Tts {
        provider: String = "elevenlabs".to_owned(),
        api_key: Secret = Secret::default(),
        voice_id: String = String::new(),
        model: String = String::new(),
        language: String = "en".to_owned(),
        sample_rate: Int = 8000,
        extra: Map<String, Value> = Map::new(),
    }
}

section! {
    Llm {
        provider: String = "openai".to_owned(),
        api_key: Secret = Secret::default(),
        model: String = "gpt-4o".to_owned(),
        temperature: f64 = 0.7,
        max_tokens: Int = 1024,
        system_prompt: String = "You are a helpful voice assistant.".to_owned(),
        extra: Map<String, Value> = Map::new(),
    }
}

section! {
    Vad {
        enabled: bool = true,
        silence_threshold_ms: Int = 500,
        speech_threshold_ms: Int = 200,
        energy_threshold: f64 = 0.02,
    }
}

section! {
    /// Which calls a handler takes: by the number that was dialled (`extension`), by the caller's (`number`, a `*` at
    /// its end stands for anything). Without either it takes all calls.
    Route {
        extension: String = String::new(),
        number: String = String::new(),
        agent: String = String::new(),
        handler: String = String::new(),
        metadata: Map<String, Value> = Map::new(),
        /// Ours: what the route is called in events and logs.
        name: String = String::new(),
        /// Ours: what happens when the handler fails.
        on_failure: Option<OnFailure> = None,
    }
}

section! {
    Server {
        host: String = "0.0.0.0".to_owned(),
        port: Int = 8080,
        debug: bool = false,
    }
}

section! {
    Backend {
        webhook: Option<Webhook> = None,
    }
}

section! {
    Webhook {
        url: String = String::new(),
        signing_secret: Secret = Secret::default(),
        events: Vec<String> = Vec::new(),
        timeout_seconds: f64 = 10.0,
        max_retries: Option<Int> = None,
        retry_backoff: f64 = 1.0,
        /// Ours: what it is called in `voxtra webhooks`; by default `webhook` and its number.
        name: String = String::new(),
        /// Ours: only this tenant's events; by default all.
        tenant: Option<String> = None,
        /// Ours: requests at one time.
        concurrency: u32 = 4,
    }
}

section! {
    /// Where handlers come from.
    Plugins {
        dir: String = String::new(),
        cache_dir: Option<String> = None,
        max_component_mib: u32 = 64,
        max_instances: u32 = 2_500,
        /// What compiling one component may take, in a process of its own.
        compile_ms: u32 = 120_000,
        /// How long the start waits for components that have to be compiled, in all. Then calls are taken, and the rest comes behind.
        start_ms: u32 = 5_000,
        compile_memory_mib: u32 = 1_024,
        /// The registries that handlers named by `oci` may come from; by default none is asked.
        registries: Vec<Registry> = Vec::new(),
    }
}

section! {
    /// A registry of components.
    Registry {
        /// As references begin, such as `ghcr.io` or `localhost:5000`.
        host: String = String::new(),
        /// Plain HTTP, for one on this machine or in a network of the operator's.
        insecure_http: bool = false,
        /// With `password`, or a `token` in place of both.
        user: String = String::new(),
        password: Secret = Secret::default(),
        token: Secret = Secret::default(),
        /// A file of certificates in PEM that are believed beside the system's.
        certificates: String = String::new(),
    }
}

section! {
    /// What one call may use up; `max_calls` is for all of them.
    Limits {
        max_calls: u32 = 2_000,
        call_ms: u32 = 14_400_000,
        /// A call whose handler cannot begin within it is refused at once.
        start_budget_ms: u32 = 1_000,
        handler_grace_ms: u32 = 5_000,
        hook_ms: u32 = 5_000,
        memory_mib: u32 = 64,
        cpu_ms: u32 = 10_000,
        table_elements: u32 = 40_000,
        host_call_bytes: u32 = 1_048_576,
        handles: u32 = 1_000,
        /// 0: any number.
        verbs_per_second: u32 = 200,
        audio_calls_per_second: u32 = 400,
        store_calls_per_second: u32 = 100,
        provider_calls_per_second: u32 = 10,
        /// Of its own.
        events_per_second: u32 = 50,
        log_lines_per_second: u32 = 100,
        log_bytes: u32 = 65_536,
        /// What the host keeps for it at one time.
        retained_bytes: u32 = 4_194_304,
        /// From here on, of all calls of one tenant. 1,000 is one core.
        cpu_ms_per_second: u32 = 1_000,
        total_memory_mib: u32 = 16_384,
        max_components: u32 = 1_000,
    }
}

section! {
    /// A tenant: its application at the PBX, and its routes.
    Tenant {
        app_name: String = String::new(),
        routes: Vec<Route> = Vec::new(),
        on_failure: Option<OnFailure> = None,
        /// The Asterisks that it is served on; by default all.
        pbx: Vec<String> = Vec::new(),
        dial: Option<Dial> = None,
        dialplan: Dialplan = Dialplan::default(),
        prompts: Prompts = Prompts::default(),
        /// Where its recordings go; by default where all go.
        recording_sinks: Vec<String> = Vec::new(),
        /// Values of the secrets that its `tenant.toml` names.
        secrets: BTreeMap<String, HttpSecret> = BTreeMap::new(),
        /// As [`Egress::private_networks`], for this tenant alone.
        private_networks: Vec<String> = Vec::new(),
    }
}

section! {
    /// What a tenant's handlers may dial. Without this section: nothing.
    Dial {
        /// Patterns of numbers: digits, `X` (0-9), `Z` (1-9), `N` (2-9), `+`, and at the end `.` (one or more) or `*`
        /// (any number of) further digits.
        patterns: Vec<String> = Vec::new(),
        /// What a number becomes at the PBX, such as `PJSIP/{number}@trunk`.
        endpoint: String = String::new(),
        /// Endpoints that may be named whole, such as `PJSIP/100`.
        endpoints: Vec<String> = Vec::new(),
        /// Numbers that may be shown; the first is shown when the handler does not say.
        caller_ids: Vec<String> = Vec::new(),
        /// Dialplan contexts that calls may be handed to by name.
        contexts: Vec<String> = Vec::new(),
        max_concurrent: u32 = 10,
        max_per_minute: u32 = 60,
        /// Whether handlers may start batches.
        batches: bool = false,
    }
}

section! {
    /// Where a tenant's calls go in the PBX's dialplan. Empty: the adapter's defaults.
    Dialplan {
        transfer_context: String = String::new(),
        queue_context: String = String::new(),
        /// Where `AMD()` is run: its extension `s` runs `AMD()` and then `Stasis(APPLICATION,voxtra-amd)`.
        machine_detection_context: String = String::new(),
    }
}

section! {
    /// A tenant's own prompts.
    Prompts {
        /// Its WAV files.
        dir: String = String::new(),
        /// Beginnings of `https:` addresses that may be played.
        urls: Vec<String> = Vec::new(),
        /// The folder that the tenant's own file names, which may not be a link; counts where `dir` is empty.
        #[serde(skip)]
        own_dir: Option<PathBuf> = None,
    }
}

section! {
    /// A secret that handlers name in a header and never see.
    HttpSecret {
        value: Secret = Secret::default(),
        /// The file that holds the value, in place of `value`.
        file: String = String::new(),
        /// Who may get it, as entries of an allow-list, such as `https://api.example.com`.
        servers: Vec<String> = Vec::new(),
    }
}

section! {
    /// Handlers' HTTP. What a tenant may reach is in its `tenant.toml`.
    Egress {
        /// Networks that are not public and may be reached all the same, by tenants whose allow-list names a host there.
        private_networks: Vec<String> = Vec::new(),
        /// Networks that are public and may not be reached, say the PBX's. They come first.
        refused_networks: Vec<String> = Vec::new(),
        /// PEM files of authorities that are trusted beside the system's.
        ca_files: Vec<String> = Vec::new(),
        /// Requests of all tenants at one time.
        max_concurrent: u32 = 512,
        ceiling: EgressCeiling = EgressCeiling::default(),
    }
}

section! {
    /// The most that a `tenant.toml` may ask for, by its own keys.
    EgressCeiling {
        concurrent_per_tenant: u32 = 64,
        concurrent_per_call: u32 = 16,
        requests_per_minute: u32 = 6_000,
        requests_per_call: u32 = 10_000,
        request_bytes: u32 = 1_048_576,
        response_bytes: u32 = 4_194_304,
        total_ms: u32 = 60_000,
        connect_ms: u32 = 10_000,
        redirects: u32 = 10,
    }
}

section! {
    Recordings {
        spool: String = String::new(),
        /// By default the folder `recordings` of the state folder.
        sinks: BTreeMap<String, RecordingSink> = BTreeMap::new(),
        /// Names of sinks.
        default: Vec<String> = Vec::new(),
        min_free_mib: u32 = 64,
        max_ms: u32 = 14_400_000,
    }
}

/// What kind of sink a section describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SinkKind {
    Local,
    Webhook,
    S3,
    Composite,
}

section! {
    /// Each kind has its own keys; those of others are refused by [`super::Config::check`].
    RecordingSink {
        kind: SinkKind = SinkKind::Local,
        /// `local`
        dir: String = String::new(),
        retain_days: Option<u32> = None,
        /// `webhook`
        url: String = String::new(),
        signing_secret: Secret = Secret::default(),
        /// `s3`
        endpoint: String = String::new(),
        region: String = "us-east-1".to_owned(),
        bucket: String = String::new(),
        prefix: String = String::new(),
        access_key: String = String::new(),
        secret_key: Secret = Secret::default(),
        path_style: bool = true,
        /// `composite`: names of others
        sinks: Vec<String> = Vec::new(),
    }
}

/// Where a call goes that is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Refused {
    Hangup,
    Dialplan,
}

section! {
    /// How the host stops.
    Drain {
        /// How long calls may go on.
        limit_ms: u32 = 60_000,
        /// What the others hear then.
        prompt: Vec<String> = Vec::new(),
        /// What becomes of calls that the host cannot take.
        refused: Refused = Refused::Hangup,
    }
}

section! {
    /// Programs that are run when the host starts, before it takes calls, and when it has stopped.
    Hooks {
        start: Vec<String> = Vec::new(),
        stop: Vec<String> = Vec::new(),
        limit_ms: u32 = 30_000,
    }
}

section! {
    Admin {
        /// By default `admin.sock` in the state folder.
        socket: String = String::new(),
    }
}

section! {
    /// What each tenant's key-value space may hold.
    Store {
        max_keys: u32 = 10_000,
        max_mib: u32 = 16,
    }
}

section! {
    /// The records of calls, for whoever bills them.
    Metering {
        /// How long after a call's end its record is kept; 0: for ever.
        retention_days: u32 = 90,
        /// Records that may wait in memory for the disk; beyond, they are lost and counted.
        max_waiting: u32 = 65_536,
    }
}

section! {
    /// What Prometheus reads.
    Metrics {
        /// Whoever reaches it reads the tenants' names and numbers.
        listen: Listen = Listen::At(voxtra_services::metrics::DEFAULT_ADDRESS),
    }
}
