//! What the operator of the host has set: what a tenant has that says nothing, and what none may have more of.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use voxtra_core::{Capabilities, TenantId};

use crate::capabilities::{Dial, DialLimits, Grants, HttpLimits};
use crate::limits::Limits;
use crate::suggest;

/// The operator's figures. A tenant's file may go up to the ceiling, a handler's up to its tenant's.
#[derive(Debug, Clone)]
pub struct HostCeiling {
    /// The most of each figure.
    pub limits: Limits,
    /// What a tenant has that does not say; where that is above the ceiling, the ceiling.
    pub defaults: Limits,
    /// The most of a tenant's `[capabilities.dial]`.
    pub dial: DialLimits,
    /// The most of a tenant's `[capabilities.http]`.
    pub http: HttpLimits,
    /// What a tenant has without a section `[capabilities]`.
    pub grants: Grants,
    /// Capabilities that no tenant may have. Default none.
    pub withheld: Capabilities,
    /// The largest component, in bytes. Default 64 MiB.
    pub max_component_bytes: u64,
    /// The longest time until an old version is freed, in milliseconds. Default 14,400,000, the longest call.
    pub drain_limit_ms: u64,
    /// The PBXs that there are. Empty, the default: any name is taken.
    pub pbxs: Vec<String>,
    /// Who has which Stasis application before any folder is read.
    pub applications: Applications,
    /// What else is looked at.
    pub checks: Checks,
}

/// Stasis applications as the operator's own file gives them. No two tenants may have one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applications {
    /// What the tenant `default` has where nothing is said; any other has it with `-NAME` behind it. Empty, the default:
    /// they have none.
    pub base: String,
    /// The operator's tenants, which are there without a folder too. Where one is given its application here, what its
    /// `tenant.toml` says of it does not count.
    pub tenants: BTreeMap<TenantId, Option<String>>,
}

impl Applications {
    /// A tenant's, whose own file says `own`.
    pub(crate) fn of(&self, tenant: &TenantId, own: Option<&str>) -> Option<String> {
        let given = self.tenants.get(tenant).and_then(Option::as_deref);
        given.or(own).map(str::to_owned).or_else(|| self.by_name(tenant))
    }

    /// What it has where nothing is said.
    pub(crate) fn by_name(&self, tenant: &TenantId) -> Option<String> {
        match self.base.as_str() {
            "" => None,
            base if *tenant == TenantId::default() => Some(base.to_owned()),
            base => Some(format!("{base}-{tenant}")),
        }
    }

    /// Whether the tenant would have it without its folder too.
    pub(crate) fn is_operators(&self, tenant: &TenantId, own: Option<&str>) -> bool {
        self.tenants.get(tenant).is_some_and(|given| given.is_some() || own.is_none())
    }
}

impl Default for HostCeiling {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            defaults: Limits::default(),
            dial: DialLimits::default(),
            http: HttpLimits::default(),
            grants: Grants::default(),
            withheld: Capabilities::NONE,
            max_component_bytes: 64 << 20,
            drain_limit_ms: 14_400_000,
            pbxs: Vec::new(),
            applications: Applications::default(),
            checks: Checks::default(),
        }
    }
}

/// Checks of texts that other crates read, so that a fault in one is told with its line. The default ones only see whether
/// the form is about right; each gives what is wrong and what to do, to follow the text's name.
#[derive(Debug, Clone, Copy)]
pub struct Checks {
    /// An entry of an egress allow-list.
    pub http_entry: fn(&str) -> Result<(), String>,
    /// `REGISTRY/REPOSITORY@sha256:DIGEST`
    pub oci: fn(&str) -> Result<(), String>,
    /// A minisign public key.
    pub signing_key: fn(&str) -> Result<(), String>,
    /// The prompts of a failure policy. The default takes any.
    pub prompts: fn(&[String]) -> Result<(), String>,
    /// All metadata that a call begins with. The default takes any.
    pub metadata: fn(&Map<String, Value>) -> Result<(), String>,
    /// Whom a tenant may call. The default takes what the file's own rules let through.
    pub dial: fn(&Dial) -> Result<(), String>,
}

impl Default for Checks {
    fn default() -> Self {
        Self { http_entry, oci, signing_key, prompts: |_| Ok(()), metadata: |_| Ok(()), dial: |_| Ok(()) }
    }
}

fn http_entry(text: &str) -> Result<(), String> {
    let printable = text.chars().all(|c| c == ' ' || c.is_ascii_graphic());
    if printable && !text.trim().is_empty() {
        return Ok(());
    }
    Err("holds an entry that is none; write one such as `https://api.example.com`".into())
}

fn oci(text: &str) -> Result<(), String> {
    let form = || {
        let (name, digest) = text.split_once("@sha256:")?;
        let digits = digest.len() == 64 && digest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let (registry, repository) = name.split_once('/')?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':');
        Some(digits && !registry.is_empty() && !repository.is_empty() && name.chars().all(plain))
    };
    if form() == Some(true) {
        return Ok(());
    }
    let shown = suggest::shorten(text);
    Err(format!("is `{shown}`, which is no reference; write REGISTRY/REPOSITORY@sha256: and the 64 digits of a digest"))
}

fn signing_key(text: &str) -> Result<(), String> {
    /// Two bytes of algorithm, eight of id, 32 of key, in base64.
    const KEY_CHARS: usize = 56;
    let base64 = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'));
    if text.len() == KEY_CHARS && text.starts_with("RW") && base64 {
        return Ok(());
    }
    Err("holds an entry that is no minisign public key; write the second line of its .pub file, which begins with RW"
        .into())
}
