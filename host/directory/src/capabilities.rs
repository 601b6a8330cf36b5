//! What handlers may do beyond their own call: named grants, most of them with bounds of their own.

use voxtra_core::{Capabilities, Capability, DialNarrowing};

use crate::host::HostCeiling;
use crate::limits::{self, figures};
use crate::names;
use crate::pattern;
use crate::problem::Fault;
use crate::reader::Reader;

const DIAL_KEYS: [&str; 6] = ["patterns", "endpoint", "endpoints", "caller_ids", "contexts", "batches"];

const ENDPOINT_RULE: &str = "an endpoint such as PJSIP/100, of letters, digits and - _ . + / @";

/// Of a handler; each is compared with each of the tenant's.
const MAX_OWN_PATTERNS: usize = 100;

/// What is granted. The default is what a tenant has that says nothing: its own calls' recordings, snoops and bridges and its
/// own store, and nothing that costs money or leaves the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grants {
    /// Those that are granted or not, without bounds of their own: record, snoop, bridge, originate, store. Placing calls
    /// takes [`Grants::dial`] as well: without it there is no number to place one to.
    pub plain: Capabilities,
    /// Numbers that may be dialled, in transfers and new calls. `None`: none.
    pub dial: Option<Dial>,
    /// HTTP requests. `None`: none.
    pub http: Option<Http>,
}

impl Default for Grants {
    fn default() -> Self {
        let plain = [Capability::Record, Capability::Snoop, Capability::Bridge, Capability::Store];
        Self { plain: plain.into_iter().collect(), ..Self::NONE }
    }
}

/// Whom handlers may call. The keys are those of `voxtra.yaml`'s `dial`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dial {
    /// Patterns of numbers: digits, `X` (0-9), `Z` (1-9), `N` (2-9), `+` first, `.` or `*` last.
    pub patterns: Vec<String>,
    /// What a number becomes at the PBX, such as `PJSIP/{number}@trunk`; empty: there is no way out for numbers.
    pub endpoint: String,
    /// Endpoints that may be named whole.
    pub endpoints: Vec<String>,
    /// Numbers that may be shown; the first is shown when the handler does not say.
    pub caller_ids: Vec<String>,
    /// Dialplan contexts that calls may be handed to by name.
    pub contexts: Vec<String>,
    /// Whether handlers may start batches.
    pub batches: bool,
    /// How many, how often.
    pub limits: DialLimits,
}

figures! {
    /// How many calls may be placed.
    DialLimits {
        /// Placed calls that are up at once. Default 10.
        max_concurrent: 10 from 1,
        /// Calls placed in a minute. Default 60.
        max_per_minute: 60 from 1,
        /// Calls placed in a day of the tenant. Default 1,000.
        max_per_day: 1_000 from 1,
    }
}

/// What handlers may send by HTTP: a request has to be allowed by an entry of each list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Http {
    /// The tenant's entries, as the egress policy reads them.
    pub allow: Vec<String>,
    /// The handler's own, if it has a list: a request must be on it too. An empty one allows nothing.
    pub narrowed: Option<Vec<String>>,
    /// How many, how big, how long.
    pub limits: HttpLimits,
}

figures! {
    /// How much may be sent by HTTP.
    HttpLimits {
        /// Requests of the tenant at one time. Default 16.
        concurrent_per_tenant: 16 from 1,
        /// Requests of one call at one time. Default 4.
        concurrent_per_call: 4 from 1,
        /// Requests of the tenant in a minute. Default 600.
        requests_per_minute: 600 from 1,
        /// Requests of one call altogether. Default 1,000.
        requests_per_call: 1_000 from 1,
        /// The longest body that is sent, in bytes. Default 1 MiB.
        request_bytes: 1_048_576 from 0,
        /// The longest body that is taken, in bytes. Default 1 MiB.
        response_bytes: 1_048_576 from 0,
        /// From the request to the answer's last byte, in milliseconds. Default 10,000.
        total_ms: 10_000 from 1,
        /// For looking up the name, and again for connecting, in milliseconds. Default 3,000.
        connect_ms: 3_000 from 1,
        /// Redirects that may be followed. Default 0; a host may allow up to 10.
        redirects: 0 from 0,
    }
}

impl Grants {
    /// Nothing.
    pub const NONE: Self = Self { plain: Capabilities::NONE, dial: None, http: None };

    /// What is granted at all, whatever its bounds are.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        let plain = self.plain.without(Capability::Dial).without(Capability::Http);
        let dial = self.dial.as_ref().map(|_| Capability::Dial);
        let http = self.http.as_ref().map(|_| Capability::Http);
        plain.iter().chain(dial).chain(http).collect()
    }

    /// What both grant. Of two lists of patterns those stay that the other covers; a handler's HTTP list stays its own.
    #[must_use]
    pub fn within(&self, wider: &Self) -> Self {
        Self {
            plain: self.plain.within(wider.plain),
            dial: self.dial.as_ref().zip(wider.dial.as_ref()).map(|(own, wider)| own.within(wider)),
            http: self.http.as_ref().zip(wider.http.as_ref()).map(|(own, wider)| Http {
                allow: wider.allow.clone(),
                narrowed: own.narrowed.clone(),
                limits: own.limits.min(wider.limits),
            }),
        }
    }

    /// A tenant's: only what the section names, and the host's default where there is no section.
    pub(crate) fn read_tenant(top: &Reader<'_, '_>, host: &HostCeiling) -> Result<Self, Fault> {
        let Some(table) = top.table("capabilities")? else {
            return Ok(host.grants.without(host.withheld));
        };
        table.only(&names(), &[])?;
        if let Some(withheld) = host.withheld.iter().find(|capability| wants(&table, *capability)) {
            return Err(table.refuse(withheld.as_str(), "is withheld by the host; remove it"));
        }
        let dial = section(&table, "dial", "its patterns")?.map(|t| Dial::read_tenant(&t, host)).transpose()?;
        if let Some(dial) = &dial {
            (host.checks.dial)(dial).map_err(|why| table.refuse("dial", &why))?;
        }
        Ok(Self {
            plain: plain(&table)?,
            dial,
            http: section(&table, "http", "its entries")?.map(|t| Http::read_tenant(&t, host)).transpose()?,
        })
    }

    /// A handler's: of its tenant's only what the section names, and all where there is no section.
    pub(crate) fn read_handler(top: &Reader<'_, '_>, tenant: &Self, host: &HostCeiling) -> Result<Self, Fault> {
        let Some(table) = top.table("capabilities")? else { return Ok(tenant.clone()) };
        table.only(&names(), &[])?;
        let granted = tenant.capabilities();
        let wider = |capability: &Capability| wants(&table, *capability) && !granted.has(*capability);
        if let Some(wider) = Capability::ALL.into_iter().find(wider) {
            let why = "is not granted to the tenant; grant it in tenant.toml, or remove it here";
            return Err(table.refuse(wider.as_str(), why));
        }
        let mut own = Self { plain: plain(&table)?, ..Self::NONE };
        if let Some(wider) = tenant.dial.as_ref().filter(|_| wants(&table, Capability::Dial)) {
            own.dial = Some(match part(&table, "dial")? {
                Some(section) => wider.narrowed(&section)?,
                None => wider.clone(),
            });
        }
        if let Some(wider) = tenant.http.as_ref().filter(|_| wants(&table, Capability::Http)) {
            own.http = Some(match part(&table, "http")? {
                Some(section) => wider.narrowed(&section, host)?,
                None => wider.clone(),
            });
        }
        Ok(own)
    }

    fn without(&self, withheld: Capabilities) -> Self {
        Self {
            plain: withheld.iter().fold(self.plain, Capabilities::without),
            dial: self.dial.clone().filter(|_| !withheld.has(Capability::Dial)),
            http: self.http.clone().filter(|_| !withheld.has(Capability::Http)),
        }
    }
}

fn names() -> Vec<&'static str> {
    Capability::ALL.into_iter().map(Capability::as_str).collect()
}

/// Those that are only granted or not.
fn plain(table: &Reader<'_, '_>) -> Result<Capabilities, Fault> {
    let mut granted = Capabilities::NONE;
    let bounded = |capability: &Capability| matches!(capability, Capability::Dial | Capability::Http);
    for capability in Capability::ALL.into_iter().filter(|capability| !bounded(capability)) {
        if table.yes(capability.as_str())? == Some(true) {
            granted = granted.with(capability);
        }
    }
    Ok(granted)
}

/// Whether the key asks for something: it is there and not `false`.
fn wants(table: &Reader<'_, '_>, capability: Capability) -> bool {
    let key = capability.as_str();
    table.has(key) && !matches!(table.yes(key), Ok(Some(false)))
}

/// A tenant's section; `false` is none, and `true` says too little.
fn section<'t, 'i>(table: &Reader<'t, 'i>, key: &str, needs: &str) -> Result<Option<Reader<'t, 'i>>, Fault> {
    match table.has(key) && !table.is_table(key) {
        true if table.yes(key)? == Some(false) => Ok(None),
        true => Err(table.refuse(key, &format!("needs a table with {needs}"))),
        false => table.table(key),
    }
}

/// A handler's section; `true` is all that the tenant has.
fn part<'t, 'i>(table: &Reader<'t, 'i>, key: &str) -> Result<Option<Reader<'t, 'i>>, Fault> {
    if table.is_table(key) { table.table(key) } else { table.yes(key).map(|_| None) }
}

impl Dial {
    /// What this, which is a handler's, takes away from its tenant's. None: nothing. Where `voxtra.yaml` says whom the tenant
    /// may call, it takes that away too.
    #[must_use]
    pub fn narrowing(&self, tenants: &Self) -> Option<DialNarrowing> {
        let texts = |own: &[String], tenants: &[String]| (own != tenants).then(|| own.to_vec());
        let less = |own: u64, tenants: u64| {
            let own = Some(own).filter(|own| *own < tenants);
            own.and_then(|own| u32::try_from(own).ok()).unwrap_or(u32::MAX)
        };
        let (own, wider) = (&self.limits, &tenants.limits);
        let narrowing = DialNarrowing {
            patterns: texts(&self.patterns, &tenants.patterns),
            endpoints: texts(&self.endpoints, &tenants.endpoints),
            caller_ids: texts(&self.caller_ids, &tenants.caller_ids),
            contexts: texts(&self.contexts, &tenants.contexts),
            max_concurrent: less(own.max_concurrent, wider.max_concurrent),
            max_per_minute: less(own.max_per_minute, wider.max_per_minute),
            max_per_day: less(own.max_per_day, wider.max_per_day),
            batches: self.batches || !tenants.batches,
        };
        Some(narrowing).filter(|narrowing| *narrowing != DialNarrowing::default())
    }

    fn read_tenant(table: &Reader<'_, '_>, host: &HostCeiling) -> Result<Self, Fault> {
        Self::only(table)?;
        let dial = Self {
            patterns: texts(table, "patterns", pattern::RULE, pattern::is_pattern)?.unwrap_or_default(),
            endpoint: table
                .text("endpoint", "an endpoint with {number} in it, such as PJSIP/{number}@trunk", is_template)?
                .unwrap_or_default(),
            endpoints: texts(table, "endpoints", ENDPOINT_RULE, is_endpoint)?.unwrap_or_default(),
            caller_ids: texts(table, "caller_ids", "1 to 20 digits, with or without a `+` before them", is_number)?
                .unwrap_or_default(),
            contexts: texts(table, "contexts", "a dialplan context's name", names::is_plain)?.unwrap_or_default(),
            batches: table.yes("batches")?.unwrap_or_default(),
            limits: limits::read_tenant(table, DialLimits::default(), host.dial)?,
        };
        if !dial.patterns.is_empty() && dial.endpoint.is_empty() {
            let why = "need `endpoint`, what a number becomes at the PBX, such as PJSIP/{number}@trunk";
            return Err(table.refuse("patterns", why));
        }
        Ok(dial)
    }

    /// What a handler's section leaves of it.
    fn narrowed(&self, table: &Reader<'_, '_>) -> Result<Self, Fault> {
        Self::only(table)?;
        if table.has("endpoint") {
            return Err(table.refuse("endpoint", "is the tenant's; write it into tenant.toml"));
        }
        let covered = |text: &str| self.patterns.iter().any(|wide| pattern::covers(wide, text));
        let same = |list: &[String], text: &str| list.iter().any(|own| own == text);
        let patterns = table.texts("patterns", pattern::RULE, pattern::is_pattern)?;
        if patterns.as_ref().is_some_and(|patterns| patterns.len() > MAX_OWN_PATTERNS) {
            return Err(table.refuse("patterns", "has more than 100 entries; write fewer and wider ones"));
        }
        let wider = patterns.iter().flatten().find(|(text, _)| !covered(text));
        if let Some((text, line)) = wider {
            let name = table.name_of("patterns");
            let why = format!("`{name}` has `{text}`, and no pattern of the tenant's covers it; narrow or remove it");
            return Err(Fault::at(*line, why));
        }
        let subset = |key: &str, list: &[String]| -> Result<Vec<String>, Fault> {
            let Some(own) = table.texts(key, "a text", |_| true)? else { return Ok(list.to_vec()) };
            match own.iter().find(|(text, _)| !same(list, text)) {
                Some((_, line)) => {
                    let why = format!("`{}` holds an entry that the tenant has not; remove it", table.name_of(key));
                    Err(Fault::at(*line, why))
                }
                None => Ok(own.into_iter().map(|(text, _)| text).collect()),
            }
        };
        let batches = table.yes("batches")?.unwrap_or(self.batches);
        if batches && !self.batches {
            return Err(
                table.refuse("batches", "is not granted to the tenant; grant it in tenant.toml, or remove it here")
            );
        }
        Ok(Self {
            patterns: patterns.map_or_else(|| self.patterns.clone(), first),
            endpoint: self.endpoint.clone(),
            endpoints: subset("endpoints", &self.endpoints)?,
            caller_ids: subset("caller_ids", &self.caller_ids)?,
            contexts: subset("contexts", &self.contexts)?,
            batches,
            limits: limits::read_handler(table, self.limits)?,
        })
    }

    fn within(&self, wider: &Self) -> Self {
        let both = |own: &[String], wider: &[String]| -> Vec<String> {
            own.iter().filter(|text| wider.contains(text)).cloned().collect()
        };
        let covered = |text: &&String| wider.patterns.iter().any(|wide| pattern::covers(wide, text));
        Self {
            patterns: self.patterns.iter().filter(covered).cloned().collect(),
            endpoint: wider.endpoint.clone(),
            endpoints: both(&self.endpoints, &wider.endpoints),
            caller_ids: both(&self.caller_ids, &wider.caller_ids),
            contexts: both(&self.contexts, &wider.contexts),
            batches: self.batches && wider.batches,
            limits: self.limits.min(wider.limits),
        }
    }

    fn only(table: &Reader<'_, '_>) -> Result<(), Fault> {
        let known: Vec<&str> = DIAL_KEYS.into_iter().chain(limits::keys::<DialLimits>()).collect();
        table.only(&known, &[])
    }
}

impl Http {
    fn read_tenant(table: &Reader<'_, '_>, host: &HostCeiling) -> Result<Self, Fault> {
        Self::only(table)?;
        Ok(Self {
            allow: Self::entries(table, host)?.unwrap_or_default(),
            narrowed: None,
            limits: limits::read_tenant(table, HttpLimits::default(), host.http)?,
        })
    }

    /// What a handler's section leaves of it.
    fn narrowed(&self, table: &Reader<'_, '_>, host: &HostCeiling) -> Result<Self, Fault> {
        Self::only(table)?;
        Ok(Self {
            allow: self.allow.clone(),
            narrowed: Self::entries(table, host)?,
            limits: limits::read_handler(table, self.limits)?,
        })
    }

    fn entries(table: &Reader<'_, '_>, host: &HostCeiling) -> Result<Option<Vec<String>>, Fault> {
        let Some(entries) = table.texts("allow", "a text", |_| true)? else { return Ok(None) };
        for (entry, line) in &entries {
            (host.checks.http_entry)(entry)
                .map_err(|why| Fault::at(*line, format!("`{}` {why}", table.name_of("allow"))))?;
        }
        Ok(Some(first(entries)))
    }

    fn only(table: &Reader<'_, '_>) -> Result<(), Fault> {
        let known: Vec<&str> = ["allow"].into_iter().chain(limits::keys::<HttpLimits>()).collect();
        table.only(&known, &[])
    }
}

fn texts(
    table: &Reader<'_, '_>,
    key: &str,
    wanted: &str,
    holds: impl Fn(&str) -> bool,
) -> Result<Option<Vec<String>>, Fault> {
    Ok(table.texts(key, wanted, holds)?.map(first))
}

fn first(texts: Vec<(String, usize)>) -> Vec<String> {
    texts.into_iter().map(|(text, _)| text).collect()
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or(text);
    (1..=20).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
}

/// Nothing in it can end an endpoint or begin an expression of the dialplan's.
fn is_endpoint(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+/@".contains(c);
    (1..=128).contains(&text.len()) && text.contains('/') && text.chars().all(plain)
}

fn is_template(text: &str) -> bool {
    text.matches("{number}").count() == 1 && is_endpoint(&text.replace("{number}", "0"))
}
