//! The keys of `voxtra.yaml`, with their defaults. All of Voxtra 0.3.1's are here, with its types; ours come on top.
//! What part of them this version acts on is said by [`super::Config::unused`].

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value};

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
    }
}

section! {
    Telephony {
        provider: String = "asterisk".to_owned(),
        asterisk: Option<Asterisk> = None,
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
        max_retries: Int = 3,
        retry_backoff: f64 = 1.0,
    }
}

section! {
    /// Where handlers come from.
    Plugins {
        dir: String = String::new(),
        cache_dir: Option<String> = None,
        max_component_mib: u32 = 64,
        max_instances: u32 = 2_500,
    }
}

section! {
    /// What one call may use up; `max_calls` is for all of them.
    Limits {
        max_calls: u32 = 2_000,
        call_ms: u32 = 14_400_000,
        handler_grace_ms: u32 = 5_000,
        hook_ms: u32 = 5_000,
        memory_mib: u32 = 64,
        cpu_ms: u32 = 10_000,
        table_elements: u32 = 40_000,
        host_call_bytes: u32 = 1_048_576,
        handles: u32 = 1_000,
    }
}

section! {
    /// A tenant: its application at the PBX, and its routes.
    Tenant {
        app_name: String = String::new(),
        routes: Vec<Route> = Vec::new(),
        on_failure: Option<OnFailure> = None,
    }
}
