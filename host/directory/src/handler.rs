//! `NAME.toml`: what a handler's author, or the operator, says about it. It narrows what its tenant has and widens nothing.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::capabilities::Grants;
use crate::host::HostCeiling;
use crate::limits::{self, Limits};
use crate::names;
use crate::plan::{Canary, OnFailure, Route, TenantSettings, Upgrade};
use crate::problem::Fault;
use crate::reader::{Document, Reader};
use crate::tenant::{on_failure, small};

const KEYS: [&str; 10] = [
    "file",
    "oci",
    "routes",
    "metadata",
    "on_failure",
    "limits",
    "capabilities",
    "canary",
    "upgrade",
    "drain_limit_ms",
];

const ELSEWHERE: [(&str, &str); 6] = [
    ("dial", "`[capabilities.dial]`"),
    ("http", "`[capabilities.http]`"),
    ("secrets", "tenant.toml"),
    ("signatures", "tenant.toml"),
    ("providers", "tenant.toml"),
    ("weight", "tenant.toml"),
];

const EXTENSION_RULE: &str = "1 to 64 letters, digits and + - _ . * #";

const NUMBER_RULE: &str = "1 to 64 letters, digits and + - _ . #, with or without a `*` at the end";

/// The file, read; whether its component is there is not known yet.
pub(crate) struct Manifest {
    /// The component's file, with the line that names it; `None`: the manifest does not.
    pub(crate) file: Option<(String, usize)>,
    /// The reference, with its line.
    pub(crate) oci: Option<(String, usize)>,
    /// With their lines.
    pub(crate) routes: Vec<(Route, usize)>,
    pub(crate) metadata: Map<String, Value>,
    pub(crate) on_failure: Option<OnFailure>,
    /// The line of its `then`.
    pub(crate) then_line: usize,
    pub(crate) limits: Limits,
    pub(crate) grants: Grants,
    pub(crate) canary: Option<Canary>,
    pub(crate) upgrade: Upgrade,
    pub(crate) drain_limit_ms: Option<u64>,
}

impl Manifest {
    /// Of a handler without a file.
    pub(crate) fn none(tenant: &TenantSettings) -> Self {
        Self {
            file: None,
            oci: None,
            routes: Vec::new(),
            metadata: Map::new(),
            on_failure: None,
            then_line: 1,
            limits: tenant.limits,
            grants: tenant.grants.clone(),
            canary: None,
            upgrade: Upgrade::default(),
            drain_limit_ms: None,
        }
    }

    /// Reads the file's text.
    pub(crate) fn read(bytes: &[u8], tenant: &TenantSettings, host: &HostCeiling) -> Result<Self, Fault> {
        let document = Document::parse(bytes)?;
        let top = document.top();
        top.only(&KEYS, &ELSEWHERE)?;
        let is_file = |text: &str| text.strip_suffix(".wasm").is_some_and(names::is_component);
        let file = top.text("file", "the name of a .wasm file in the same folder, without a path", is_file)?;
        let oci = top.text("oci", "a text", |_| true)?;
        if let Some(reference) = &oci {
            (host.checks.oci)(reference).map_err(|why| top.refuse("oci", &why))?;
        }
        if file.is_some() && oci.is_some() {
            return Err(top.refuse("oci", "and `file` exclude each other; remove one"));
        }
        let (routes, metadata) = (routes(&top)?, top.json("metadata")?);
        look_at_metadata(&top, &metadata, &routes, host)?;
        Ok(Self {
            file: file.map(|file| (file, top.line("file"))),
            oci: oci.map(|oci| (oci, top.line("oci"))),
            routes,
            metadata,
            on_failure: on_failure(&top, host)?,
            then_line: top.line_in("on_failure", "then"),
            limits: own_limits(&top, tenant)?,
            grants: Grants::read_handler(&top, &tenant.grants, host)?,
            canary: top.table("canary")?.map(|table| canary(&table)).transpose()?,
            upgrade: upgrade(&top)?,
            drain_limit_ms: drain_limit(&top, host)?,
        })
    }
}

fn routes(top: &Reader<'_, '_>) -> Result<Vec<(Route, usize)>, Fault> {
    let (mut routes, mut lines) = (Vec::new(), BTreeMap::new());
    for table in top.tables("routes")? {
        table.only(
            &["extension", "number", "name", "metadata"],
            &[("handler", "voxtra.yaml: here the handler is this file's"), ("on_failure", "the top of this file")],
        )?;
        let extension = table.text("extension", EXTENSION_RULE, is_extension)?.unwrap_or_default();
        let route = Route {
            extension,
            number: table.text("number", NUMBER_RULE, is_number)?.unwrap_or_default(),
            name: table.text("name", "1 to 64 letters, digits, `-`, `_` or `.`", names::is_plain)?.unwrap_or_default(),
            metadata: table.json("metadata")?,
        };
        let line = table.line("extension");
        if let Some(other) = lines.insert((route.extension.clone(), route.number.clone()), line) {
            return Err(Fault::at(line, format!("{} is here twice, first in line {other}; remove one", words(&route))));
        }
        routes.push((route, line));
    }
    Ok(routes)
}

/// A call has the handler's and those of its route together.
fn look_at_metadata(
    top: &Reader<'_, '_>,
    metadata: &Map<String, Value>,
    routes: &[(Route, usize)],
    host: &HostCeiling,
) -> Result<(), Fault> {
    (host.checks.metadata)(metadata).map_err(|why| top.refuse("metadata", &why))?;
    for (route, line) in routes.iter().filter(|(route, _)| !route.metadata.is_empty()) {
        let both = metadata.iter().chain(&route.metadata).map(|(key, value)| (key.clone(), value.clone())).collect();
        let of_route = |why| Fault::at(*line, format!("the metadata of {} {why}", words(route)));
        (host.checks.metadata)(&both).map_err(of_route)?;
    }
    Ok(())
}

/// Whether two routes are for the same extension and number.
pub(crate) fn same_calls(a: &Route, b: &Route) -> bool {
    a.extension == b.extension && a.number == b.number
}

/// A route in a sentence.
pub(crate) fn words(route: &Route) -> String {
    match (route.extension.as_str(), route.number.as_str()) {
        ("", "") => "the route for all calls".to_owned(),
        (extension, "") => format!("the route for extension `{extension}`"),
        ("", number) => format!("the route for number `{number}`"),
        (extension, number) => format!("the route for extension `{extension}` and number `{number}`"),
    }
}

fn is_extension(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-_.*#".contains(c))
}

fn is_number(text: &str) -> bool {
    is_extension(text) && !text.strip_suffix('*').unwrap_or(text).contains('*')
}

fn own_limits(top: &Reader<'_, '_>, tenant: &TenantSettings) -> Result<Limits, Fault> {
    let Some(table) = top.table("limits")? else { return Ok(tenant.limits) };
    let known: Vec<&str> = limits::keys::<Limits>().collect();
    table.only(&known, &[])?;
    limits::read_handler(&table, tenant.limits)
}

fn canary(table: &Reader<'_, '_>) -> Result<Canary, Fault> {
    table.only(&["percent", "min_calls", "max_failures_percent", "promote_calls"], &[])?;
    let min_calls = small(table, "min_calls", 1, 100_000)?.unwrap_or(20);
    Ok(Canary {
        percent: small(table, "percent", 1, 100)?.unwrap_or(10),
        min_calls,
        max_failures_percent: small(table, "max_failures_percent", 0, 99)?.unwrap_or(5),
        promote_calls: small(table, "promote_calls", 1, 1_000_000)?.unwrap_or(min_calls.saturating_mul(5)),
    })
}

fn upgrade(top: &Reader<'_, '_>) -> Result<Upgrade, Fault> {
    let word = top.text("upgrade", "`drain` or `mid-call`", |text| matches!(text, "drain" | "mid-call"))?;
    Ok(if word.as_deref() == Some("mid-call") { Upgrade::MidCall } else { Upgrade::Drain })
}

fn drain_limit(top: &Reader<'_, '_>, host: &HostCeiling) -> Result<Option<u64>, Fault> {
    let most = host.drain_limit_ms;
    match top.whole("drain_limit_ms", &(0..=u64::from(u32::MAX)))? {
        Some(value) if value > most => {
            let why = format!("is {value} and the host allows {most}; write {most} or less");
            Err(top.refuse("drain_limit_ms", &why))
        }
        limit => Ok(limit),
    }
}
