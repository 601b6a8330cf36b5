//! The side of the command line.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use super::protocol::{Answer, Question};

/// How long an answer is waited for: longer than compiling takes, which may come before going back to a version.
const ANSWER_LIMIT: Duration = Duration::from_secs(180);

/// Asks the host that has this socket.
pub(crate) async fn ask(socket: &Path, question: &Question) -> anyhow::Result<Value> {
    let stream = UnixStream::connect(socket).await;
    let stream = stream.with_context(|| {
        format!("no host answers at {}; start one, or name its configuration with -c", socket.display())
    })?;
    let exchange = async {
        let (read, mut write) = stream.into_split();
        let mut text = serde_json::to_vec(question)?;
        text.push(b'\n');
        // A host that has no time says so before it has heard all.
        let sent = write.write_all(&text).await;
        let mut line = String::new();
        BufReader::new(read).read_line(&mut line).await?;
        if line.is_empty() {
            sent?;
        }
        anyhow::Ok(serde_json::from_str::<Answer>(&line).context("the host has gone while it was asked; ask again")?)
    };
    let answer = timeout(ANSWER_LIMIT, exchange).await;
    answer.context("the host takes too long to answer; look at its log")??.into_result()
}

/// Asks again and again for so long while no host answers: one that was killed may be starting again.
pub(crate) async fn ask_when_there(socket: &Path, question: &Question, patience: Duration) -> anyhow::Result<Value> {
    let asked = async {
        loop {
            match ask(socket, question).await {
                Err(error) if error.root_cause().is::<std::io::Error>() => sleep(Duration::from_millis(200)).await,
                other => return other,
            }
        }
    };
    match timeout(patience, asked).await {
        Ok(answer) => answer,
        Err(_) => ask(socket, question).await,
    }
}
