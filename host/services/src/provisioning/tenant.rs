//! `tenant.toml`: what an operator says about a tenant.

use std::fmt;

use toml::de::DeTable;
use voxtra_core::tenant_file::{HOST_KEYS, PBX_KEYS};

use super::allowed;
use super::reader::Reader;

/// A file beyond this is no tenant's.
const LONGEST_BYTES: usize = 256 * 1024;

/// A `tenant.toml` that cannot be used: one sentence with its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {why}")]
pub struct TenantFileError {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The key and what is wrong with it. Never the value, which may be a secret.
    pub why: String,
}

impl TenantFileError {
    pub(super) fn at(source: &str, offset: usize, why: String) -> Self {
        let before = source.get(..offset).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        let column = before.get(line_start..).map_or(0, |text| text.chars().count()) + 1;
        Self { line: before.matches('\n').count() + 1, column, why }
    }
}

/// A tenant as its `tenant.toml` describes it. Every value has passed its allow-list: there is no other way to make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantFile {
    pub(super) slug: String,
    pub(super) description: String,
    pub(super) dids: Vec<String>,
    pub(super) max_channels: Option<u32>,
    pub(super) app: String,
    pub(super) fallback: Option<DestinationInPlan>,
    pub(super) trunk: Option<Trunk>,
    pub(super) queue: Option<Queue>,
    pub(super) outbound: Option<Outbound>,
}

/// Where in the operator's own dialplan a call goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationInPlan {
    pub(super) context: String,
    pub(super) extension: Option<String>,
}

/// How SIP reaches the trunk's provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SipTransport {
    /// `udp`, the default.
    Udp,
    /// `tcp`.
    Tcp,
    /// `tls`; the port is then 5061 by default.
    Tls,
}

/// The tenant's SIP trunk. Its password is not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Trunk {
    pub(super) host: String,
    pub(super) port: u32,
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
    pub(super) transport: SipTransport,
    pub(super) transport_name: Option<String>,
    pub(super) codecs: Vec<String>,
    pub(super) register: bool,
    pub(super) matches: Vec<String>,
    pub(super) from_user: Option<String>,
    pub(super) from_domain: Option<String>,
}

impl fmt::Debug for Trunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trunk").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

/// How a queue chooses among its members; the names are Asterisk's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "Asterisk's own words, explained in its queues.conf")]
pub enum QueueStrategy {
    Ringall,
    Leastrecent,
    Fewestcalls,
    Random,
    Rrmemory,
    Linear,
}

impl QueueStrategy {
    const NAMES: [(&str, Self); 6] = [
        ("ringall", Self::Ringall),
        ("leastrecent", Self::Leastrecent),
        ("fewestcalls", Self::Fewestcalls),
        ("random", Self::Random),
        ("rrmemory", Self::Rrmemory),
        ("linear", Self::Linear),
    ];

    pub(super) fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(_, s)| *s == self).map_or("ringall", |(name, _)| name)
    }
}

/// The tenant's queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    pub(super) members: Vec<String>,
    pub(super) strategy: QueueStrategy,
    pub(super) timeout_s: u32,
    pub(super) wait_limit_s: u32,
    pub(super) music_class: String,
}

/// Whom the tenant may call over its trunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbound {
    pub(super) caller_id: Option<String>,
    pub(super) allowed: Vec<String>,
}

impl TenantFile {
    /// Reads the text of a `tenant.toml`.
    ///
    /// Top level: `slug` (needed), `description`, `dids`, `max_channels` (1 to 10000, in and out together; default no
    /// limit), `app` (default `voxtra-SLUG`). `[fallback]`: `context` (needed), `extension` (default the number
    /// called). `[trunk]`: `host` (needed), `port` (default 5060, 5061 with tls), `username` and `password`,
    /// `transport` (udp, tcp or tls), `transport_name` (a transport of `pjsip.conf`), `codecs` (default ulaw, alaw),
    /// `register`, `match` (default the host), `from_user`, `from_domain`. `[queue]`: `members`, `strategy` (default
    /// ringall), `timeout` (seconds a member rings, default 20), `wait_limit` (seconds a caller waits, default 300),
    /// `music_class` (default `default`). `[outbound]`: `caller_id`, `allowed` (patterns, needed). The keys of the host's part
    /// of the file (`limits`, `capabilities` and the like) are left alone.
    ///
    /// # Errors
    /// The first fault in the file: its line, its column, and the key.
    pub fn parse(source: &str) -> Result<Self, TenantFileError> {
        if source.len() > LONGEST_BYTES {
            return Err(TenantFileError::at(source, 0, "the file is longer than 256 KiB".into()));
        }
        let table = DeTable::parse(source).map_err(|e| {
            let why = format!("this is not TOML: {}", e.message().replace('\n', ", "));
            TenantFileError::at(source, e.span().map_or(0, |span| span.start), why)
        })?;
        let top = Reader::new(source, table.get_ref());
        top.only(&[&PBX_KEYS[..], &HOST_KEYS[..]].concat())?;
        let slug = top.needed("slug", allowed::slug)?;
        let own = format!("voxtra-{slug}");
        let app = top.text("app", allowed::name)?.unwrap_or_else(|| own.clone());
        if app.starts_with("voxtra-") && app != own {
            return Err(top.refuse("app", "is another tenant's; names that begin with 'voxtra-' go by the slug"));
        }
        let tenant = Self {
            description: top.text("description", allowed::description)?.unwrap_or_default(),
            dids: top.texts("dids", allowed::number)?,
            max_channels: top.whole("max_channels", 1..=10_000)?,
            fallback: top.table("fallback")?.map(|t| fallback(&t)).transpose()?,
            trunk: top.table("trunk")?.map(|t| trunk(&t)).transpose()?,
            queue: top.table("queue")?.map(|t| queue(&t, &own)).transpose()?,
            outbound: top.table("outbound")?.map(|t| outbound(&t)).transpose()?,
            app,
            slug,
        };
        if tenant.outbound.is_some() && tenant.trunk.is_none() {
            return Err(top.refuse("outbound", "needs a [trunk] to call over"));
        }
        Ok(tenant)
    }

    /// The tenant's name in files, contexts and sections.
    #[must_use]
    pub fn slug(&self) -> &str {
        &self.slug
    }

    /// The Stasis application that its calls go to.
    #[must_use]
    pub fn app(&self) -> &str {
        &self.app
    }
}

fn fallback(table: &Reader<'_, '_>) -> Result<DestinationInPlan, TenantFileError> {
    table.only(&["context", "extension"])?;
    let context = table.needed("context", allowed::name)?;
    if context.starts_with("voxtra-") {
        return Err(table.refuse("context", "must be one of the operator's own, not one that begins with 'voxtra-'"));
    }
    Ok(DestinationInPlan { context, extension: table.text("extension", allowed::sip_user)? })
}

fn trunk(table: &Reader<'_, '_>) -> Result<Trunk, TenantFileError> {
    table.only(&[
        "host",
        "port",
        "username",
        "password",
        "transport",
        "transport_name",
        "codecs",
        "register",
        "match",
        "from_user",
        "from_domain",
    ])?;
    let transport = match table.text("transport", |_| Ok(()))?.as_deref() {
        None | Some("udp") => SipTransport::Udp,
        Some("tcp") => SipTransport::Tcp,
        Some("tls") => SipTransport::Tls,
        Some(_) => return Err(table.refuse("transport", "must be udp, tcp or tls")),
    };
    let default_port = if transport == SipTransport::Tls { 5061 } else { 5060 };
    let mut codecs = table.texts("codecs", allowed::codec)?;
    if codecs.is_empty() {
        codecs = vec!["ulaw".into(), "alaw".into()];
    }
    let trunk = Trunk {
        host: table.needed("host", allowed::host)?,
        port: table.whole("port", 1..=65_535)?.unwrap_or(default_port),
        username: table.text("username", allowed::sip_user)?,
        password: table.text("password", allowed::secret)?,
        transport,
        transport_name: table.text("transport_name", allowed::name)?,
        codecs,
        register: table.yes("register")?,
        matches: table.texts("match", allowed::network)?,
        from_user: table.text("from_user", allowed::sip_user)?,
        from_domain: table.text("from_domain", allowed::host)?,
    };
    if trunk.register && trunk.username.is_none() {
        return Err(table.refuse("register", "needs a username"));
    }
    if trunk.password.is_some() && trunk.username.is_none() {
        return Err(table.refuse("password", "needs a username"));
    }
    Ok(trunk)
}

fn queue(table: &Reader<'_, '_>, own: &str) -> Result<Queue, TenantFileError> {
    table.only(&["members", "strategy", "timeout", "wait_limit", "music_class"])?;
    let members = table.texts("members", allowed::member)?;
    let strange = |member: &String| {
        let place = member.rsplit(['/', '@']).next().unwrap_or_default();
        place.starts_with("voxtra-") && place != own && place != format!("{own}-out")
    };
    if members.iter().any(strange) {
        return Err(table.refuse("members", "must not name what belongs to another tenant"));
    }
    let strategy = table.text("strategy", |_| Ok(()))?;
    let known = |name: String| QueueStrategy::NAMES.iter().find(|(n, _)| *n == name).map(|(_, s)| *s);
    let strategy = strategy.map_or(Some(QueueStrategy::Ringall), known).ok_or_else(|| {
        table.refuse("strategy", "must be ringall, leastrecent, fewestcalls, random, rrmemory or linear")
    })?;
    Ok(Queue {
        members,
        strategy,
        timeout_s: table.whole("timeout", 1..=600)?.unwrap_or(20),
        wait_limit_s: table.whole("wait_limit", 1..=86_400)?.unwrap_or(300),
        music_class: table.text("music_class", allowed::name)?.unwrap_or_else(|| "default".into()),
    })
}

fn outbound(table: &Reader<'_, '_>) -> Result<Outbound, TenantFileError> {
    table.only(&["caller_id", "allowed"])?;
    let allowed_patterns = table.texts("allowed", allowed::pattern)?;
    if allowed_patterns.is_empty() {
        return Err(table.refuse("allowed", "must hold at least one pattern"));
    }
    Ok(Outbound { caller_id: table.text("caller_id", allowed::number)?, allowed: allowed_patterns })
}
