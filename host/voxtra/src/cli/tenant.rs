//! `voxtra tenant`: what a tenant needs at the PBX.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::json;
use voxtra_ari::{AriClient, AriConfig};
use voxtra_core::BoxFuture;
use voxtra_services::provisioning::{AddOptions, Provisioner, Reloader, TenantFile, reload};

use super::on_the_spot;
use super::sessions::HostArgs;
use crate::config::{Config, FIRST_PBX};
use crate::files;
use crate::output;

/// The most of a tenant's file.
const FILE_MAX_BYTES: u64 = 1 << 20;

const EXAMPLES: &str = "\
Examples:
  voxtra tenant add tenant.toml                       write its fragments below /etc/asterisk and reload
  voxtra tenant add tenant.toml --dir ./etc --no-reload
  voxtra tenant list
  voxtra tenant show acme --secrets                   with its ARI password
  voxtra tenant remove acme";

/// Set up tenants at the PBX: ARI user, trunk, dialplan, queue
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct TenantArgs {
    #[command(subcommand)]
    what: What,
    /// Asterisk's configuration folder
    #[arg(long, value_name = "DIR", default_value = "/etc/asterisk", global = true)]
    dir: PathBuf,
    /// Do not ask Asterisk to read its configuration again
    #[arg(long, global = true)]
    no_reload: bool,
    #[command(flatten)]
    host: HostArgs,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Add a tenant, or bring it to what its file says now
    #[command(after_help = EXAMPLES)]
    Add {
        /// The tenant's file
        file: PathBuf,
        /// Make a new ARI password
        #[arg(long)]
        rotate: bool,
    },
    /// Remove a tenant
    #[command(after_help = EXAMPLES)]
    Remove {
        /// Its name
        name: String,
    },
    /// Show all tenants
    #[command(after_help = EXAMPLES)]
    List,
    /// Show one tenant
    #[command(after_help = EXAMPLES)]
    Show {
        /// Its name
        name: String,
        /// Show its ARI password too
        #[arg(long)]
        secrets: bool,
    },
}

pub(super) fn run(args: TenantArgs) -> anyhow::Result<ExitCode> {
    let provisioner = Provisioner::new(&args.dir);
    match &args.what {
        What::Add { file, rotate } => add(&args, &provisioner, file, *rotate)?,
        What::Remove { name } => {
            let modules = provisioner.remove(name)?;
            reload_modules(&args, &modules)?;
            say(&args, &json!({"removed": name}), &format!("{name} is removed"));
        }
        What::List => {
            let tenants: Vec<_> = provisioner.list()?.iter().map(|tenant| tenant.redacted()).collect();
            if args.json {
                output::json(&serde_json::to_value(&tenants)?);
            } else {
                let rows = tenants
                    .iter()
                    .map(|tenant| vec![tenant.slug.clone(), tenant.app.clone(), tenant.description.clone()]);
                output::table(&["name", "application", "description"], rows);
            }
        }
        What::Show { name, secrets } => {
            let tenant = provisioner.show(name)?;
            let shown = serde_json::to_value(if *secrets { tenant } else { tenant.redacted() })?;
            match (args.json, &shown) {
                (false, serde_json::Value::Object(fields)) => {
                    fields.iter().for_each(|(key, value)| {
                        output::line(format_args!("{key:<16} {}", super::sessions::plain(value)))
                    });
                }
                _ => output::json(&shown),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn add(args: &TenantArgs, provisioner: &Provisioner, file: &std::path::Path, rotate: bool) -> anyhow::Result<()> {
    let shown = file.display();
    let text = files::read_or_pipe(file, FILE_MAX_BYTES).map_err(|why| anyhow::anyhow!("{shown}: {why}"))?;
    let text = String::from_utf8(text).with_context(|| format!("{shown} is not UTF-8; save it as UTF-8"))?;
    let tenant = TenantFile::parse(&text)
        .map_err(|error| anyhow::anyhow!("{shown}:{}:{}: {}", error.line, error.column, error.why))?;
    let added = provisioner.add(&tenant, AddOptions { rotate })?;
    for include in provisioner.missing_includes() {
        output::complaint(format_args!(
            "{} does not read the tenants yet; add the line {}",
            include.file.display(),
            include.line
        ));
    }
    reload_modules(args, &added.reload)?;
    let slug = &added.tenant.slug;
    let shown_by = || format!(", with a new ARI password (`voxtra tenant show {slug} --secrets` shows it)");
    let password = if added.new_password { shown_by() } else { String::new() };
    let said = json!({"added": added.tenant.slug, "app": added.tenant.app, "new_password": added.new_password});
    say(args, &said, &format!("{slug} is set up: application {}{password}", added.tenant.app));
    Ok(())
}

fn say(args: &TenantArgs, value: &serde_json::Value, text: &str) {
    if args.json { output::json(value) } else { output::line(text) }
}

fn reload_modules(args: &TenantArgs, modules: &[&str]) -> anyhow::Result<()> {
    if args.no_reload {
        return Ok(());
    }
    let config = args.host.config()?;
    let reloader = AriReloader(client(&config)?);
    on_the_spot(async {
        reload(&reloader, modules).await.context("the files are written, but Asterisk has not read them")?;
        Ok(())
    })
}

fn client(config: &Config) -> anyhow::Result<AriClient> {
    let pbxs = config.pbxs();
    let (_, ari) = pbxs.iter().find(|(name, _)| name == FIRST_PBX).context("no Asterisk is configured")?;
    Ok(AriClient::new(AriConfig::new(&ari.base_url, &ari.username, &ari.password.0, &ari.app))?)
}

/// Reloads over ARI.
struct AriReloader(AriClient);

impl Reloader for AriReloader {
    fn reload<'a>(&'a self, module: &'a str) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move { self.0.reload_module(module).await.map_err(|error| error.to_string()) })
    }
}
