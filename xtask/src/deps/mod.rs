//! The dependency tree: what it may hold, and which of our crates may use which.

mod arrows;
mod licence;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::cargo::{cargo, output, own_rustc};

/// The binary that people install: its dependencies are what counts.
const BINARY: &str = "voxtra";

/// Too big, or too easily mixed up, to be there in two versions. A `*` stands for any rest.
const IN_ONE_VERSION: [&str; 11] = [
    "wasmtime*",
    "cranelift*",
    "wasmparser",
    "wit-parser",
    "tokio",
    "hyper",
    "rustls",
    "reqwest",
    "serde",
    "regex-automata",
    "ring",
];

/// Checks everything and says how much that was.
pub(crate) fn check() -> Result<()> {
    let tree = Tree::read()?;
    let mut faults = arrows::faults(&tree.uses);
    faults.extend(tree.licence_faults());
    faults.extend(tree.version_faults());
    for fault in &faults {
        eprintln!("deps: {fault}");
    }
    ensure!(faults.is_empty(), "{} faults in the dependency tree", faults.len());
    println!("deps: {} crates of ours, {} of others in `{BINARY}`: all is well", tree.uses.len(), tree.foreign.len());
    Ok(())
}

/// What `cargo metadata` says, as far as it matters here.
struct Tree {
    /// Of each crate of ours, the others of ours that it uses when it is built.
    uses: BTreeMap<String, BTreeSet<String>>,
    /// The crates of others that the binary is made of.
    foreign: Vec<Package>,
}

struct Package {
    name: String,
    version: String,
    licence: Option<String>,
}

impl Tree {
    fn read() -> Result<Self> {
        // For this machine only, or cargo would fetch what is only needed on others.
        let about = output(std::process::Command::new(own_rustc()?).arg("-vV"))?;
        let host =
            about.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc does not name its host")?;
        let text = output(cargo().args(["metadata", "--format-version", "1", "--filter-platform", host]))?;
        let all: Value = serde_json::from_str(&text).context("cargo metadata is not JSON")?;
        Self::from(&all).context("cargo metadata is not as expected")
    }

    fn from(all: &Value) -> Option<Self> {
        let packages: HashMap<&str, &Value> =
            all["packages"].as_array()?.iter().filter_map(|p| Some((p["id"].as_str()?, p))).collect();
        let members: BTreeSet<&str> = all["workspace_members"].as_array()?.iter().filter_map(Value::as_str).collect();
        let nodes: HashMap<&str, &Value> =
            all["resolve"]["nodes"].as_array()?.iter().filter_map(|n| Some((n["id"].as_str()?, n))).collect();
        let name = |id: &str| packages.get(id).and_then(|p| p["name"].as_str()).map(str::to_owned);

        let mut uses = BTreeMap::new();
        for member in &members {
            let used = used_by(nodes.get(member)?, &["build", NORMAL]);
            let ours = used.into_iter().filter(|id| members.contains(id)).filter_map(name).collect();
            uses.insert(name(member)?, ours);
        }

        let binary = members.iter().find(|id| name(id).as_deref() == Some(BINARY))?;
        let mut found = BTreeSet::from([*binary]);
        let mut left = vec![*binary];
        while let Some(id) = left.pop() {
            let new = used_by(nodes.get(id)?, &[NORMAL]).into_iter().filter(|id| found.insert(id));
            left.extend(new);
        }
        let foreign = found.iter().filter(|id| !members.contains(*id)).filter_map(|id| {
            let package = packages.get(id)?;
            Some(Package {
                name: package["name"].as_str()?.to_owned(),
                version: package["version"].as_str()?.to_owned(),
                licence: package["license"].as_str().map(str::to_owned),
            })
        });
        Some(Self { uses, foreign: foreign.collect() })
    }

    fn licence_faults(&self) -> Vec<String> {
        let refused = self.foreign.iter().filter(|p| !p.licence.as_deref().is_some_and(licence::is_allowed));
        refused
            .map(|p| {
                let licence = p.licence.as_deref().unwrap_or("no licence expression");
                format!("{} {}: `{licence}` is not among the allowed licences", p.name, p.version)
            })
            .collect()
    }

    fn version_faults(&self) -> Vec<String> {
        let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for package in self.foreign.iter().filter(|p| is_heavy(&p.name)) {
            versions.entry(&package.name).or_default().insert(&package.version);
        }
        let doubled = versions.into_iter().filter(|(_, versions)| versions.len() > 1);
        doubled
            .map(|(name, versions)| {
                let versions: Vec<&str> = versions.into_iter().collect();
                format!("{name} is there in {} versions: {}", versions.len(), versions.join(", "))
            })
            .collect()
    }
}

/// How `cargo metadata` calls an ordinary dependency, which it does by `null`.
const NORMAL: &str = "normal";

/// The ids of what a package uses in one of these ways.
fn used_by<'a>(node: &'a Value, kinds: &[&str]) -> Vec<&'a str> {
    let uses = node["deps"].as_array().map(Vec::as_slice).unwrap_or_default();
    let counts = |used: &&Value| {
        let ways = used["dep_kinds"].as_array().map(Vec::as_slice).unwrap_or_default();
        ways.iter().any(|way| kinds.contains(&way["kind"].as_str().unwrap_or(NORMAL)))
    };
    uses.iter().filter(counts).filter_map(|used| used["pkg"].as_str()).collect()
}

fn is_heavy(name: &str) -> bool {
    IN_ONE_VERSION.iter().any(|heavy| match heavy.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == *heavy,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn tree() -> Tree {
        let package = |id: &str, licence: &str| {
            let (name, version) = id.split_once('@').unwrap();
            json!({"id": id, "name": name, "version": version, "license": licence})
        };
        let uses = |id: &str, used: &[(&str, Option<&str>)]| {
            let deps: Vec<Value> =
                used.iter().map(|(id, kind)| json!({"pkg": id, "dep_kinds": [{"kind": kind}]})).collect();
            json!({"id": id, "deps": deps})
        };
        let all = json!({
            "packages": [package("voxtra@1", "Apache-2.0"), package("voxtra-core@1", "Apache-2.0"),
                package("tokio@1", "MIT"), package("tokio@2", "MIT"), package("evil@1", "GPL-3.0"),
                package("onlytests@1", "GPL-3.0")],
            "workspace_members": ["voxtra@1", "voxtra-core@1"],
            "resolve": {"nodes": [
                uses("voxtra@1", &[("voxtra-core@1", None), ("tokio@1", None), ("onlytests@1", Some("dev"))]),
                uses("voxtra-core@1", &[("evil@1", None)]), uses("tokio@1", &[]), uses("tokio@2", &[]),
                uses("evil@1", &[("tokio@2", None)]), uses("onlytests@1", &[])]},
        });
        Tree::from(&all).unwrap()
    }

    #[test]
    fn a_forbidden_licence_is_named_and_tests_may_use_what_they_like() {
        let faults = tree().licence_faults();
        assert_eq!(faults, ["evil 1: `GPL-3.0` is not among the allowed licences"]);
    }

    #[test]
    fn two_versions_of_a_heavy_crate_are_a_fault() {
        assert_eq!(tree().version_faults(), ["tokio is there in 2 versions: 1, 2"]);
        assert!(is_heavy("wasmtime-internal-core") && !is_heavy("serde_json"));
    }
}
