//! Programs of the operator's that run when the host starts and when it has stopped.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use tokio::process::Command;
use tokio::time::timeout;

/// Runs a program to its end; an empty list is none. Its output goes where the log goes.
pub(crate) async fn run(what: &str, program: &[String], limit: Duration) -> anyhow::Result<()> {
    let Some((name, arguments)) = program.split_first() else { return Ok(()) };
    tracing::info!(hook = what, program = name, "running");
    let child = Command::new(name).args(arguments).stdin(Stdio::null()).kill_on_drop(true).spawn();
    let mut child = child.with_context(|| format!("the {what} hook {name} cannot be run; correct hooks.{what}"))?;
    let ended = timeout(limit, child.wait()).await;
    let ended = ended.with_context(|| {
        format!("the {what} hook {name} takes longer than {} ms; raise hooks.limit_ms", limit.as_millis())
    })?;
    let status: ExitStatus = ended.with_context(|| format!("the {what} hook {name} was lost"))?;
    anyhow::ensure!(status.success(), "the {what} hook {name} failed ({status}); look at its output");
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn program(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[tokio::test]
    async fn a_hook_that_fails_or_hangs_or_is_missing_is_a_sentence() {
        run("start", &[], LONG).await.unwrap();
        run("start", &program(&["true"]), LONG).await.unwrap();
        assert!(run("start", &program(&["false"]), LONG).await.unwrap_err().to_string().contains("failed"));
        assert!(
            run("start", &program(&["/no/such/program"]), LONG).await.unwrap_err().to_string().contains("hooks.start")
        );
        let slow = run("stop", &program(&["sleep", "60"]), Duration::from_millis(50)).await;
        assert!(slow.unwrap_err().to_string().contains("limit_ms"));
    }
}
