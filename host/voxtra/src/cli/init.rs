//! `voxtra init`: a configuration to start from.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::config::DEFAULT_FILE;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  voxtra init                    ./voxtra.yaml and ./plugins
  voxtra init /etc/voxtra        /etc/voxtra/voxtra.yaml and /etc/voxtra/plugins
  voxtra init pbx2.yaml          a file of that name";

/// The starter configuration. Whoever changes it: `voxtra check --offline` must accept it as it is.
const STARTER: &str = include_str!("starter.yaml");

/// Write a starter configuration, with comments
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct InitArgs {
    /// A folder, or a file that ends in .yaml; nothing is overwritten
    #[arg(default_value = ".", value_name = "DIR|FILE")]
    target: PathBuf,
    /// The same, as 0.3.1 wrote it
    #[arg(short, long, value_name = "FILE", conflicts_with = "target", hide = true)]
    output: Option<PathBuf>,
}

pub(super) fn run(args: &InitArgs) -> anyhow::Result<ExitCode> {
    let target = args.output.as_ref().unwrap_or(&args.target);
    let is_file = target.extension().is_some_and(|e| e == "yaml" || e == "yml") && !target.is_dir();
    let file = if is_file { target.clone() } else { target.join(DEFAULT_FILE) };
    let dir = match file.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir.to_owned(),
        _ => PathBuf::from("."),
    };
    fs::create_dir_all(&dir).with_context(|| format!("{}: the folder cannot be made; name another", dir.display()))?;
    write_new(&file)?;
    let plugins = dir.join("plugins");
    fs::create_dir_all(&plugins)
        .with_context(|| format!("{}: the folder for handlers cannot be made; make it yourself", plugins.display()))?;
    output::line(format_args!("{}: written", file.display()));
    output::line(format_args!("{}: put handlers here, default.wasm first", plugins.display()));
    output::line(format_args!("next: set VOXTRA_ARI_PASSWORD, then `voxtra check -c {}`", file.display()));
    Ok(ExitCode::SUCCESS)
}

fn write_new(file: &Path) -> anyhow::Result<()> {
    let made = OpenOptions::new().write(true).create_new(true).open(file);
    match made.and_then(|mut made| made.write_all(STARTER.as_bytes())) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            bail!("{}: the file is there already; name another, or remove it", file.display())
        }
        Err(error) => bail!("{}: the file cannot be written ({error}); name another", file.display()),
    }
}
