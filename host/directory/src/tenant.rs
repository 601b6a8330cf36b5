//! `tenant.toml`: what an operator says about a tenant. The PBX's part, which provisioning reads, may be in the same file.

use voxtra_core::HandlerName;
use voxtra_core::tenant_file::{HOST_KEYS, PBX_KEYS};

use crate::capabilities::Grants;
use crate::host::HostCeiling;
use crate::limits::{self, Limits};
use crate::names;
use crate::plan::{Dialplan, OnFailure, Prompts, Provider, Providers, Signatures, TenantSettings, Then};
use crate::problem::Fault;
use crate::reader::{Document, Reader};

/// Keys that are known from `voxtra.yaml` or from a handler's file.
const ELSEWHERE: [(&str, &str); 7] = [
    ("dial", "`[capabilities.dial]`"),
    ("http", "`[capabilities.http]`"),
    ("store", "`[limits]`, as `max_keys` and `stored_mib`"),
    ("ai", "`[providers]`"),
    ("routes", "the handler's own file, NAME.toml"),
    ("canary", "the handler's own file, NAME.toml"),
    ("metadata", "the handler's own file, NAME.toml"),
];

const NAME_RULE: &str = "1 to 64 letters, digits, `-`, `_` or `.`";

const DEFAULT_WEIGHT: u32 = 100;

/// As many as are ever checked against.
const MAX_KEYS: usize = 64;

/// The file, read, and the lines of what can only be judged beside others.
pub(crate) struct TenantFile {
    pub(crate) settings: TenantSettings,
    pub(crate) app_name_line: usize,
    pub(crate) prompts_line: usize,
    pub(crate) then_line: usize,
}

/// Reads the file's text; that of no file is empty.
pub(crate) fn read(bytes: &[u8], host: &HostCeiling) -> Result<TenantFile, Fault> {
    let document = Document::parse(bytes)?;
    let top = document.top();
    top.only(&[&HOST_KEYS[..], &PBX_KEYS[..]].concat(), &ELSEWHERE)?;
    let settings = TenantSettings {
        app_name: top.text("app_name", NAME_RULE, names::is_plain)?,
        pbx: pbxs(&top, host)?,
        recording_sinks: plain_names(&top, "recording_sinks")?,
        dialplan: top.table("dialplan")?.map(|table| dialplan(&table)).transpose()?.unwrap_or_default(),
        prompts: top.table("prompts")?.map(|table| prompts(&table)).transpose()?.unwrap_or_default(),
        on_failure: on_failure(&top, host)?,
        limits: own_limits(&top, host)?,
        grants: Grants::read_tenant(&top, host)?,
        providers: top.table("providers")?.map(|table| providers(&table)).transpose()?.unwrap_or_default(),
        secrets: plain_names(&top, "secrets")?,
        signatures: top.table("signatures")?.map(|table| signatures(&table, host)).transpose()?.unwrap_or_default(),
        weight: small(&top, "weight", 1, 1_000)?.unwrap_or(DEFAULT_WEIGHT),
    };
    Ok(TenantFile {
        settings,
        app_name_line: top.line("app_name"),
        prompts_line: top.line_in("prompts", "dir"),
        then_line: top.line_in("on_failure", "then"),
    })
}

/// `on_failure`, of a tenant or a handler.
pub(crate) fn on_failure(top: &Reader<'_, '_>, host: &HostCeiling) -> Result<Option<OnFailure>, Fault> {
    const WANTED: &str = "`hangup`, `transfer:TARGET` or `handler:NAME`";
    let Some(table) = top.table("on_failure")? else { return Ok(None) };
    table.only(&["play", "then"], &[])?;
    let then = table.text("then", WANTED, |text| then(text).is_some())?;
    let play = table.one_or_several("play", "a prompt such as sound:sorry", |text| {
        !text.is_empty() && !text.chars().any(char::is_control)
    })?;
    if let Some(play) = &play {
        (host.checks.prompts)(play).map_err(|why| table.refuse("play", &why))?;
    }
    Ok(Some(OnFailure { play, then: then.as_deref().and_then(self::then).unwrap_or(Then::HangUp) }))
}

/// A number that fits into 32 bits.
pub(crate) fn small(table: &Reader<'_, '_>, key: &str, least: u32, most: u32) -> Result<Option<u32>, Fault> {
    let value = table.whole(key, &(least.into()..=most.into()))?;
    Ok(value.map(|value| u32::try_from(value).unwrap_or(most)))
}

fn then(text: &str) -> Option<Then> {
    match text.split_once(':') {
        None => matches!(text, "hangup" | "hang-up" | "hang_up").then_some(Then::HangUp),
        Some(("transfer", target)) => {
            let plain = |c: char| c.is_ascii_alphanumeric() || "+-_.*#/@".contains(c);
            let fits = (1..=128).contains(&target.len()) && target.chars().all(plain);
            fits.then(|| Then::Transfer(target.to_owned()))
        }
        Some(("handler", name)) => names::is_component(name).then(|| Then::Handler(HandlerName::new(name))),
        Some(_) => None,
    }
}

fn own_limits(top: &Reader<'_, '_>, host: &HostCeiling) -> Result<Limits, Fault> {
    let Some(table) = top.table("limits")? else { return Ok(host.defaults.min(host.limits)) };
    let known: Vec<&str> = limits::keys::<Limits>().collect();
    table.only(&known, &[])?;
    limits::read_tenant(&table, host.defaults, host.limits)
}

fn plain_names(table: &Reader<'_, '_>, key: &str) -> Result<Vec<String>, Fault> {
    let names = table.texts(key, NAME_RULE, names::is_plain)?.unwrap_or_default();
    Ok(names.into_iter().map(|(name, _)| name).collect())
}

fn pbxs(top: &Reader<'_, '_>, host: &HostCeiling) -> Result<Vec<String>, Fault> {
    let names = top.texts("pbx", NAME_RULE, names::is_plain)?.unwrap_or_default();
    let is_known = |name: &String| host.pbxs.is_empty() || host.pbxs.contains(name);
    if let Some((name, line)) = names.iter().find(|(name, _)| !is_known(name)) {
        let why = format!("`pbx` names `{name}`, and there is no such PBX; write one of {}", host.pbxs.join(", "));
        return Err(Fault::at(*line, why));
    }
    Ok(names.into_iter().map(|(name, _)| name).collect())
}

fn dialplan(table: &Reader<'_, '_>) -> Result<Dialplan, Fault> {
    table.only(&["transfer_context", "queue_context", "machine_detection_context"], &[])?;
    let context = |key| Ok::<_, Fault>(table.text(key, NAME_RULE, names::is_plain)?.unwrap_or_default());
    Ok(Dialplan {
        transfer_context: context("transfer_context")?,
        queue_context: context("queue_context")?,
        machine_detection_context: context("machine_detection_context")?,
    })
}

fn prompts(table: &Reader<'_, '_>) -> Result<Prompts, Fault> {
    table.only(&["dir", "urls"], &[])?;
    let dir = table.text("dir", "the name of a folder in the tenant's own, without a path", names::is_component)?;
    let is_url = |text: &str| text.starts_with("https://") && text.bytes().all(|b| b.is_ascii_graphic());
    let urls = table.texts("urls", "the beginning of an https: address", is_url)?.unwrap_or_default();
    Ok(Prompts { dir: dir.map(Into::into), urls: urls.into_iter().map(|(url, _)| url).collect() })
}

fn providers(table: &Reader<'_, '_>) -> Result<Providers, Fault> {
    table.only(&["stt", "llm", "tts"], &[])?;
    Ok(Providers {
        stt: provider(table, "stt", &["provider", "model", "language"])?,
        llm: provider(table, "llm", &["provider", "model"])?,
        tts: provider(table, "tts", &["provider", "model", "language", "voice_id"])?,
    })
}

/// A name, or a table with it and more.
fn provider(table: &Reader<'_, '_>, key: &str, keys: &[&str]) -> Result<Option<Provider>, Fault> {
    if table.has(key) && !table.is_table(key) {
        let name = table.text(key, "a provider's name, or a table with `provider` in it", names::is_plain)?;
        return Ok(name.map(|provider| Provider { provider, ..Provider::default() }));
    }
    let Some(section) = table.table(key)? else { return Ok(None) };
    section.only(keys, &[("api_key", "voxtra.yaml, which the operator alone reads")])?;
    let word = |text: &str| {
        (1..=128).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:/".contains(c))
    };
    let value = |key: &str| {
        let value = section.text(key, "1 to 128 letters, digits and - _ . : /", word)?;
        Ok::<_, Fault>(value.unwrap_or_default())
    };
    let provider = value("provider")?;
    Ok(Some(Provider { provider, model: value("model")?, language: value("language")?, voice_id: value("voice_id")? }))
}

fn signatures(table: &Reader<'_, '_>, host: &HostCeiling) -> Result<Signatures, Fault> {
    table.only(&["required", "keys"], &[])?;
    let keys = table.texts("keys", "a text", |_| true)?.unwrap_or_default();
    if keys.len() > MAX_KEYS {
        return Err(table.refuse("keys", "has more than 64 entries; remove those that nobody signs with"));
    }
    for (key, line) in &keys {
        (host.checks.signing_key)(key).map_err(|why| Fault::at(*line, format!("`{}` {why}", table.name_of("keys"))))?;
    }
    let required = table.yes("required")?.unwrap_or_default();
    if required && keys.is_empty() {
        return Err(table.refuse("required", "needs `keys`, the public keys that count; add one"));
    }
    Ok(Signatures { required, keys: keys.into_iter().map(|(key, _)| key).collect() })
}
