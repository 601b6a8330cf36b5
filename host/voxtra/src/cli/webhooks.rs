//! `voxtra webhooks`: events that wait to be delivered, and those that never went through.

use std::process::ExitCode;

use serde_json::{Value, json};
use voxtra_core::wire;
use voxtra_services::database::Database;
use voxtra_services::webhooks::{Letter, LetterState, Letters};

use super::on_the_spot;
use super::sessions::HostArgs;
use crate::admin::{Question, ask};
use crate::output;

const EXAMPLES: &str = "\
Examples:
  voxtra webhooks                 how many wait and how many are dead
  voxtra webhooks list            what waits
  voxtra webhooks dead            what never went through, and why
  voxtra webhooks resend 17       try one dead letter again
  voxtra webhooks resend all
  voxtra webhooks purge all       delete the dead letters

Works on a running host and on one that is stopped.";

/// What is shown at most.
const SHOWN_MAX: usize = 1_000;

/// Look at webhooks that wait or failed, and send them again
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct WebhooksArgs {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    host: HostArgs,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Events that wait to be delivered
    #[command(after_help = EXAMPLES)]
    List,
    /// Events that never went through
    #[command(after_help = EXAMPLES)]
    Dead,
    /// Try dead letters again
    #[command(after_help = EXAMPLES)]
    Resend {
        /// A letter's number, or `all`
        #[arg(value_parser = which)]
        which: Which,
    },
    /// Delete dead letters
    #[command(after_help = EXAMPLES)]
    Purge {
        /// A letter's number, or `all`
        #[arg(value_parser = which)]
        which: Which,
    },
}

#[derive(Debug, Clone, Copy)]
enum Which {
    All,
    One(i64),
}

impl Which {
    fn id(self) -> Option<i64> {
        match self {
            Self::All => None,
            Self::One(id) => Some(id),
        }
    }
}

fn which(text: &str) -> Result<Which, String> {
    match text {
        "all" => Ok(Which::All),
        number => number.parse().map(Which::One).map_err(|_| "write a letter's number, or `all`".to_owned()),
    }
}

pub(super) fn run(args: WebhooksArgs) -> anyhow::Result<ExitCode> {
    let (socket, file) = args.host.socket_and_database()?;
    if !file.exists() {
        anyhow::bail!("there is no outbox at {}; start a host once, or name its configuration with -c", file.display());
    }
    on_the_spot(async {
        let letters = Letters::open(Database::open(&file)?).await?;
        match args.what {
            None => {
                let (waiting, dead) = letters.count().await?;
                match args.json {
                    true => output::json(&json!({"waiting": waiting, "dead": dead})),
                    false => output::line(format_args!("{waiting} wait, {dead} are dead")),
                }
            }
            Some(What::List) => show(&letters.list(Some(LetterState::Waiting), SHOWN_MAX).await?, args.json),
            Some(What::Dead) => show(&letters.list(Some(LetterState::Dead), SHOWN_MAX).await?, args.json),
            Some(What::Resend { which }) => {
                let count = letters.resend(which.id()).await?;
                found(which, count)?;
                // A host that is not running sends them when it starts.
                let _ = ask(&socket, &Question::WebhooksWake).await;
                said("sent again", count, args.json);
            }
            Some(What::Purge { which }) => {
                let count = letters.purge(which.id()).await?;
                found(which, count)?;
                said("deleted", count, args.json);
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn found(which: Which, count: usize) -> anyhow::Result<()> {
    match which {
        Which::One(id) if count == 0 => anyhow::bail!("there is no dead letter {id}; look at `voxtra webhooks dead`"),
        _ => Ok(()),
    }
}

fn said(what: &str, count: usize, as_json: bool) {
    match as_json {
        true => output::json(&json!({ "count": count })),
        false => output::line(format_args!("{count} dead letters are {what}")),
    }
}

fn show(letters: &[Letter], as_json: bool) {
    if as_json {
        output::json(&letters.iter().map(letter_json).collect::<Value>());
        return;
    }
    let columns = ["id", "target", "type", "call", "attempts", "happened", "error"];
    output::table(
        &columns,
        letters.iter().map(|letter| {
            vec![
                letter.id.to_string(),
                letter.target.clone(),
                letter.kind.clone(),
                letter.session_id.clone(),
                letter.attempts.to_string(),
                wire::timestamp(letter.created_at),
                letter.error.clone().unwrap_or_default(),
            ]
        }),
    );
}

fn letter_json(letter: &Letter) -> Value {
    json!({
        "id": letter.id,
        "target": letter.target,
        "event_id": letter.event_id,
        "type": letter.kind,
        "session_id": letter.session_id,
        "attempts": letter.attempts,
        "created_at": wire::timestamp(letter.created_at),
        "due_at": wire::timestamp(letter.due_at),
        "state": if letter.state == LetterState::Dead { "dead" } else { "waiting" },
        "error": letter.error,
    })
}
