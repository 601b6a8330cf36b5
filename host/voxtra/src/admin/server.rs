//! The door itself.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;
use voxtra_core::BoxFuture;

use super::protocol::{Answer, Question};

/// The longest question: a batch of some hundred thousand numbers.
const QUESTION_MAX_BYTES: usize = 64 << 20;
/// How long a question may take to come, and an answer to go.
const TRANSFER_LIMIT: Duration = Duration::from_secs(30);
/// How long nothing may come from who is connected.
const SILENCE_LIMIT: Duration = Duration::from_secs(5);
/// How long a place is waited for: long enough for those to go that have stopped in the middle of a question.
const PLACE_LIMIT: Duration = Duration::from_secs(10);
/// How many may ask at one time.
const ASKING_MAX: usize = 16;
/// How many may be connected and ask nothing; the oldest of more has to go.
const SILENT_MAX: usize = 64;
/// How many may be connected at all.
const OPEN_MAX: usize = 128;

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

/// Who is connected and has not asked yet, the oldest first: gone when its other end is.
type Silent = VecDeque<oneshot::Sender<()>>;

async fn serve(listener: UnixListener, answers: Arc<dyn Answers>) {
    let (open, asking) = (Arc::new(Semaphore::new(OPEN_MAX)), Arc::new(Semaphore::new(ASKING_MAX)));
    let mut silent = Silent::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the admin socket");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Who asks does so at once: those that only keep a connection make room.
        silent.retain(|other| !other.is_closed());
        while silent.len() >= SILENT_MAX {
            silent.pop_front().map(|oldest| oldest.send(()));
        }
        let Ok(connection) = Arc::clone(&open).try_acquire_owned() else {
            refuse(stream);
            continue;
        };
        let (give_way, must_go) = oneshot::channel();
        silent.push_back(give_way);
        let (answers, asking) = (Arc::clone(&answers), Arc::clone(&asking));
        tokio::spawn(async move {
            if let Err(error) = converse(stream, must_go, &asking, &*answers).await {
                tracing::debug!(%error, "the admin socket");
            }
            drop(connection);
        });
    }
}

/// Too many are connected: told without waiting.
fn refuse(stream: UnixStream) {
    let Ok(text) = line_of(&Answer::Error(format!("{OPEN_MAX} others ask this host; ask again"))) else { return };
    // Who does not get it sees a closed connection.
    let _ = stream.into_std().and_then(|mut stream| io::Write::write_all(&mut stream, &text));
}

async fn converse(
    stream: UnixStream,
    must_go: oneshot::Receiver<()>,
    asking: &Semaphore,
    answers: &dyn Answers,
) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut reader = BufReader::new(read);
    let first = tokio::select! {
        first = timeout(SILENCE_LIMIT, reader.fill_buf()) => first,
        _ = must_go => {
            return say(&mut write, &Answer::Error("it asked nothing, and others want to; ask again".to_owned())).await;
        }
    };
    match first {
        Ok(first) => {
            if first?.is_empty() {
                return Ok(());
            }
        }
        Err(_) => {
            let seconds = SILENCE_LIMIT.as_secs();
            return say(&mut write, &Answer::Error(format!("nothing was asked for {seconds} s; ask again"))).await;
        }
    }
    // A question takes memory only where it has its place.
    let Ok(Ok(_place)) = timeout(PLACE_LIMIT, asking.acquire()).await else {
        return say(&mut write, &Answer::Error(format!("{ASKING_MAX} others ask this host; ask again"))).await;
    };
    let line = timeout(TRANSFER_LIMIT, question(&mut reader)).await??;
    let answer = match serde_json::from_slice(&line) {
        Ok(question) => answers.answer(question).await,
        Err(error) => {
            Answer::Error(format!("the question cannot be understood ({error}); use the same version of voxtra"))
        }
    };
    say(&mut write, &answer).await
}

/// Reads one line; who stops in its middle is not waited for.
async fn question(reader: &mut BufReader<OwnedReadHalf>) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    while line.len() < QUESTION_MAX_BYTES {
        let come = timeout(SILENCE_LIMIT, reader.fill_buf()).await??;
        let end = come.iter().position(|&byte| byte == b'\n');
        let taken = end.unwrap_or(come.len());
        line.extend(come.iter().take(taken));
        let is_last = end.is_some() || taken == 0;
        reader.consume(taken);
        if is_last {
            break;
        }
    }
    Ok(line)
}

async fn say(write: &mut OwnedWriteHalf, answer: &Answer) -> io::Result<()> {
    timeout(TRANSFER_LIMIT, write.write_all(&line_of(answer)?)).await?
}

fn line_of(answer: &Answer) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(answer)?;
    text.push(b'\n');
    Ok(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;
    use tokio::io::AsyncReadExt;

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

    async fn answer_of(mut stream: UnixStream) -> String {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn who_only_keeps_connections_keeps_nobody_from_asking() {
        let path = socket("silent");
        let _door = Door::open(&path, Arc::new(Echo)).unwrap();
        let mut silent = Vec::new();
        for _ in 0..300 {
            silent.push(UnixStream::connect(&path).await.unwrap());
        }
        let asked = timeout(Duration::from_secs(2), ask(&path, &Question::Sessions)).await;
        assert_eq!(asked.unwrap().unwrap(), json!("Sessions"));
        let told = answer_of(silent.remove(0)).await;
        assert!(told.contains("asked nothing"), "{told}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_asks_nothing_or_half_a_question_is_not_waited_for() {
        let path = socket("half");
        let _door = Door::open(&path, Arc::new(Echo)).unwrap();
        let silent = UnixStream::connect(&path).await.unwrap();
        assert!(answer_of(silent).await.contains("nothing was asked for 5 s"));
        let mut half = Vec::new();
        for _ in 0..ASKING_MAX {
            let mut stream = UnixStream::connect(&path).await.unwrap();
            stream.write_all(b"{").await.unwrap();
            half.push(stream);
        }
        let asked = timeout(Duration::from_secs(11), ask(&path, &Question::Sessions)).await.unwrap();
        assert!(asked.is_ok_and(|answer| answer == json!("Sessions")));
        for stream in half {
            assert_eq!(answer_of(stream).await, "");
        }
    }

    #[tokio::test]
    async fn more_than_can_be_answered_are_refused_with_a_sentence() {
        struct Never;
        impl Answers for Never {
            fn answer(&self, _: Question) -> BoxFuture<'_, Answer> {
                Box::pin(std::future::pending())
            }
        }
        let path = socket("many");
        let _door = Door::open(&path, Arc::new(Never)).unwrap();
        let mut asking = Vec::new();
        for _ in 0..OPEN_MAX {
            let mut stream = UnixStream::connect(&path).await.unwrap();
            stream.write_all(b"{\"do\":\"sessions\"}\n").await.unwrap();
            // Each is heard before the next comes, so that none has to go for its silence.
            tokio::time::sleep(Duration::from_millis(2)).await;
            asking.push(stream);
        }
        let error = ask(&path, &Question::Sessions).await.unwrap_err().to_string();
        assert!(error.contains("others ask this host"), "{error}");
    }
}
