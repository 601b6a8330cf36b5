//! `voxtra handlers inspect`: what a component could do, before anybody lets it.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};
use voxtra_core::Capability;
use voxtra_plugins::{Inspection, RuntimeOptions};

use crate::output::{self, plain};

/// Look what a component could do; nothing of it is run, and no host is needed
#[derive(Debug, clap::Args)]
pub(super) struct InspectArgs {
    /// The component's file
    #[arg(value_name = "FILE.wasm")]
    file: PathBuf,
}

pub(super) fn run(args: &InspectArgs, as_json: bool) -> anyhow::Result<ExitCode> {
    let found = Inspection::of_file(&args.file, RuntimeOptions::default().max_component_bytes)?;
    let file = args.file.display().to_string();
    if as_json {
        output::json(&as_value(&file, &found));
    } else {
        lines(&file, &found).iter().for_each(output::line);
    }
    Ok(ExitCode::SUCCESS)
}

fn names(capabilities: &[Capability]) -> Vec<&'static str> {
    capabilities.iter().map(|capability| capability.as_str()).collect()
}

fn as_value(file: &str, found: &Inspection) -> Value {
    let could = found.could().into_iter().map(|(power, functions)| {
        json!({"what": power.what, "functions": functions, "capabilities": names(power.capabilities)})
    });
    json!({
        "file": file,
        "kind": found.kind.map(|kind| kind.to_string()),
        "contract": found.contract,
        "version": found.version,
        "sha256": found.sha256,
        "size_bytes": found.size_bytes,
        "exports": found.exports,
        "could": could.collect::<Vec<_>>(),
        "could_not": found.could_not().iter().map(|power| power.what).collect::<Vec<_>>(),
        "imports": found.imports,
        "refused": found.refused,
    })
}

fn lines(file: &str, found: &Inspection) -> Vec<String> {
    let kind = found
        .kind
        .map_or_else(|| "a component that is no handler, router or filter".to_owned(), |kind| format!("a {kind}"));
    let contract = match found.contract.as_slice() {
        [] => String::new(),
        versions => format!(" for {}", plain(&versions.join(" and "))),
    };
    let mut lines = vec![
        format!("{}: {kind}{contract}", plain(file)),
        format!("version  {}   {} bytes", found.version, found.size_bytes),
        format!("sha256   {}", found.sha256),
        format!("exports  {}", plain(&found.exports.iter().map(|name| short(name)).collect::<Vec<_>>().join(", "))),
    ];
    let could = found.could();
    lines
        .push(if could.is_empty() { "It could do nothing." } else { "It could, as far as its tenant may:" }.to_owned());
    for (power, functions) in could {
        let functions: Vec<_> = functions.iter().map(|name| short(name)).collect();
        let needs = match names(power.capabilities).as_slice() {
            [] => String::new(),
            names => format!("; needs {}", names.join(" and ")),
        };
        lines.push(format!("  {} ({}{needs})", power.what, some(&functions)));
    }
    let could_not = found.could_not();
    if !could_not.is_empty() {
        lines.push("It could not:".to_owned());
        lines.extend(could_not.iter().map(|power| format!("  {}", power.what)));
    }
    lines.push(match &found.refused {
        None => "Nothing on its outside keeps this host from taking it.".to_owned(),
        Some(why) => format!("This host does not take it: {}", plain(why)),
    });
    lines
}

/// A function's own name, or an interface's.
fn short(name: &str) -> &str {
    let name = name.rsplit_once(']').map_or(name, |(_, name)| name);
    let name = name.rsplit_once('/').map_or(name, |(_, name)| name);
    name.rsplit_once('.').map_or(name, |(_, name)| name)
}

/// A few of many.
fn some(names: &[&str]) -> String {
    const MOST: usize = 4;
    let shown = plain(&names.iter().take(MOST).copied().collect::<Vec<_>>().join(", "));
    match names.len().checked_sub(MOST) {
        Some(more) if more > 0 => format!("{shown} and {more} more"),
        _ => shown,
    }
}
