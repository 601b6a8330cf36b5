//! The door itself.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use voxtra_core::BoxFuture;

use super::protocol::{Answer, Question};

/// The longest question: a batch of some hundred thousand numbers.
const QUESTION_MAX_BYTES: u64 = 64 << 20;
/// How long a question may take to come, and an answer to go.
const TRANSFER_LIMIT: Duration = Duration::from_secs(30);
/// How many may ask at one time.
const ASKING_MAX: usize = 16;

/// Who answers.
pub(crate) trait Answers: Send + Sync + 'static {
    /// Answers one question.
    fn answer(&self, question: Question) -> BoxFuture<'_, Answer>;
}

/// An open door; dropping it closes it and takes the socket away.
pub(crate) struct Door {
    path: PathBuf,
    task: tokio::task::JoinHandle<()>,
}

impl Door {
    /// Opens the socket, in place of one that a dead host has left. Must be called inside a runtime.
    pub(crate) fn open(path: &Path, answers: Arc<dyn Answers>) -> anyhow::Result<Self> {
        let shown = path.display();
        remove_dead(path).with_context(|| format!("the admin socket {shown} cannot be opened"))?;
        let listener = bind(path)
            .with_context(|| format!("the admin socket {shown} cannot be opened; name another with admin.socket"))?;
        let task = tokio::spawn(serve(listener, answers));
        Ok(Self { path: path.to_owned(), task })
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
        // Who is asking now gets no answer; the file may be gone already.
        let _ = fs::remove_file(&self.path);
    }
}

/// A socket that nobody listens on is removed; one that answers is another host's, and anything else is not ours.
fn remove_dead(path: &Path) -> anyhow::Result<()> {
    match fs::symlink_metadata(path) {
        Err(_) => return Ok(()),
        Ok(found) if !found.file_type().is_socket() => anyhow::bail!("there is a file that is no socket; remove it"),
        Ok(_) => {}
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        anyhow::bail!("another host uses it; stop that one, or give this one another state_dir");
    }
    Ok(fs::remove_file(path)?)
}

/// Nobody else may connect, from the first moment: the socket gets its mode before its name.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let new = path.with_extension("new");
    let _ = fs::remove_file(&new);
    let listener = UnixListener::bind(&new)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600))?;
    fs::rename(&new, path)?;
    Ok(listener)
}

async fn serve(listener: UnixListener, answers: Arc<dyn Answers>) {
    let places = Arc::new(Semaphore::new(ASKING_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the admin socket");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let answers = Arc::clone(&answers);
        tokio::spawn(async move {
            if let Err(error) = converse(stream, &*answers).await {
                tracing::debug!(%error, "the admin socket");
            }
            drop(place);
        });
    }
}

async fn converse(stream: UnixStream, answers: &dyn Answers) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = Vec::new();
    let mut reader = BufReader::new(read).take(QUESTION_MAX_BYTES);
    timeout(TRANSFER_LIMIT, reader.read_until(b'\n', &mut line)).await??;
    let answer = match serde_json::from_slice(&line) {
        Ok(question) => answers.answer(question).await,
        Err(error) => {
            Answer::Error(format!("the question cannot be understood ({error}); use the same version of voxtra"))
        }
    };
    let mut text = serde_json::to_vec(&answer)?;
    text.push(b'\n');
    timeout(TRANSFER_LIMIT, write.write_all(&text)).await?
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::admin::ask;

    struct Echo;

    impl Answers for Echo {
        fn answer(&self, question: Question) -> BoxFuture<'_, Answer> {
            Box::pin(async move { Answer::Ok(json!(format!("{question:?}"))) })
        }
    }

    fn socket(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("voxtra-door-{name}-{}.sock", std::process::id()))
    }

    #[tokio::test]
    async fn only_the_hosts_user_may_ask() {
        let path = socket("mode");
        let door = Door::open(&path, Arc::new(Echo)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let answer = ask(&path, &Question::Sessions).await.unwrap();
        assert_eq!(answer, json!("Sessions"));
        drop(door);
        assert!(!path.exists());
        assert!(ask(&path, &Question::Sessions).await.unwrap_err().to_string().contains("no host"));
    }

    #[tokio::test]
    async fn a_dead_hosts_socket_is_replaced_and_a_living_ones_is_not() {
        let path = socket("dead");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let door = Door::open(&path, Arc::new(Echo)).unwrap();
        let error = format!("{:#}", Door::open(&path, Arc::new(Echo)).err().unwrap());
        assert!(error.contains("another host"), "{error}");
        drop(door);
        fs::write(&path, b"notes").unwrap();
        assert!(Door::open(&path, Arc::new(Echo)).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"notes");
        fs::remove_file(&path).unwrap();
    }

    #[tokio::test]
    async fn nonsense_is_answered_with_a_sentence() {
        let path = socket("nonsense");
        let _door = Door::open(&path, Arc::new(Echo)).unwrap();
        let mut stream = UnixStream::connect(&path).await.unwrap();
        stream.write_all(b"\xff\x00 {{{\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("cannot be understood"), "{answer}");
        assert!(ask(&path, &Question::Batches).await.is_ok());
    }
}
