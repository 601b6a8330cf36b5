//! The host's one embedded database file: one thread writes, in groups, so that one sync to disk serves many.
//!
//! SQLite in WAL mode with `synchronous=FULL`: what a [`Database::write`] has returned outlives a crash of the host and
//! of the machine. Another process (the command line) may open the same file at the same time.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};
use tokio::sync::oneshot;

/// Jobs that may wait for the thread; beyond, [`Database::write_later`] refuses.
const QUEUE_MAX: usize = 16_384;

/// Jobs that share one commit.
const GROUP_MAX: usize = 1_024;

/// How long another process may hold the file before that is said in the log.
const BUSY_LIMIT: Duration = Duration::from_secs(5);

/// How often that is waited for: half a minute altogether, before the jobs of a group fail.
const BUSY_ATTEMPTS: u32 = 6;

/// How long [`Database::write`] waits for a place in the queue.
const PLACE_LIMIT: Duration = Duration::from_secs(10);

/// Statements that stay prepared: all modules' together.
const STATEMENTS_MAX: usize = 64;

/// Something that is done with the database, or is told why it cannot be.
type Job = Box<dyn FnOnce(Result<&Transaction<'_>, &DatabaseError>) -> Done + Send>;

/// A job that has run.
struct Done {
    /// Why it failed.
    failed: Option<DatabaseError>,
    /// What follows once the group's commit is known to have gone well, or not.
    after: AfterCommit,
}

type AfterCommit = Box<dyn FnOnce(Result<(), &DatabaseError>) + Send>;

/// Why the database did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseError {
    /// The file cannot be opened.
    #[error("the database {file} cannot be opened ({why}); look at its folder, or move it away")]
    Open {
        /// The file.
        file: PathBuf,
        /// SQLite's words.
        why: String,
    },
    /// The disk is full; what was there before is intact.
    #[error("the disk of the database is full; make room")]
    Full,
    /// So many jobs wait that no more is taken.
    #[error("{QUEUE_MAX} jobs wait for the database already; its disk is too slow")]
    Busy,
    /// The database has been closed.
    #[error("the database is closed")]
    Closed,
    /// SQLite refused; a sentence.
    #[error("the database refused: {0}")]
    Sqlite(String),
}

impl From<rusqlite::Error> for DatabaseError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            _ => Self::Sqlite(error.to_string()),
        }
    }
}

/// An open database. Cloning shares it; it closes, after what was asked for is done, with the last clone.
#[derive(Clone)]
pub struct Database {
    jobs: SyncSender<Job>,
}

impl Database {
    /// Opens a file, which is made when it is not there (mode 0600, its folder 0700). Blocks.
    ///
    /// # Errors
    /// [`DatabaseError::Open`]
    pub fn open(file: &Path) -> Result<Self, DatabaseError> {
        let failed = |why: String| DatabaseError::Open { file: file.to_owned(), why };
        if let Some(dir) = file.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            make_folder(dir).map_err(|error| failed(error.to_string()))?;
        }
        // SQLite would make it readable for others.
        let made = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(file);
        made.map_err(|error| failed(error.to_string()))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Connection::open_with_flags(file, flags)
            .and_then(prepared)
            .and_then(|connection| Self::start(connection).map_err(|_| rusqlite::Error::InvalidQuery))
            .map_err(|error| failed(error.to_string()))
    }

    /// A database that is gone with its last clone, for tests.
    ///
    /// # Errors
    /// [`DatabaseError::Open`] when there is no memory.
    pub fn in_memory() -> Result<Self, DatabaseError> {
        let failed = |why: String| DatabaseError::Open { file: PathBuf::from(":memory:"), why };
        let connection = Connection::open_in_memory().map_err(|error| failed(error.to_string()))?;
        Self::start(connection).map_err(|error| failed(error.to_string()))
    }

    fn start(connection: Connection) -> std::io::Result<Self> {
        let (jobs, queue) = sync_channel(QUEUE_MAX);
        thread::Builder::new().name("voxtra-database".to_owned()).spawn(move || serve(connection, &queue))?;
        Ok(Self { jobs })
    }

    /// Makes a module's tables: the steps that were not done yet, in order. A step that was once released never changes.
    ///
    /// # Errors
    /// [`DatabaseError`]; also when the file was made by a newer host.
    pub async fn migrate(&self, module: &'static str, steps: &'static [&'static str]) -> Result<(), DatabaseError> {
        let newer = self
            .write(move |tx| {
                tx.execute_batch(
                    "CREATE TABLE IF NOT EXISTS migrations (module TEXT PRIMARY KEY, steps INTEGER NOT NULL)",
                )?;
                let done = tx.query_row("SELECT steps FROM migrations WHERE module = ?1", [module], |row| row.get(0));
                let done: usize = match done {
                    Err(rusqlite::Error::QueryReturnedNoRows) => 0,
                    other => other?,
                };
                for step in steps.iter().skip(done) {
                    tx.execute_batch(step)?;
                }
                let now = steps.len().max(done);
                tx.execute("INSERT OR REPLACE INTO migrations VALUES (?1, ?2)", (module, now))?;
                Ok(done > steps.len())
            })
            .await?;
        if newer {
            return Err(DatabaseError::Sqlite(format!(
                "its part `{module}` was made by a newer version; start that one"
            )));
        }
        Ok(())
    }

    /// Does a job and returns when what it has done is on disk. A job that fails undoes its own work and nobody else's.
    ///
    /// # Errors
    /// [`DatabaseError`]
    pub async fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let (done, outcome) = oneshot::channel();
        let mut job = grouped(job, move |outcome| drop(done.send(outcome)));
        // Waiting for a place is waiting for a disk: a few milliseconds, mostly.
        let begun = Instant::now();
        loop {
            match self.jobs.try_send(job) {
                Ok(()) => break,
                Err(TrySendError::Full(_)) if begun.elapsed() >= PLACE_LIMIT => return Err(DatabaseError::Busy),
                Err(TrySendError::Full(back)) => job = back,
                Err(TrySendError::Disconnected(_)) => return Err(DatabaseError::Closed),
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        outcome.await.unwrap_or(Err(DatabaseError::Closed))
    }

    /// Returns when everything that was asked for before is on disk, or has failed: before a process ends.
    ///
    /// # Errors
    /// [`DatabaseError`]
    pub async fn flush(&self) -> Result<(), DatabaseError> {
        self.write(|_| Ok(())).await
    }

    /// Has a job done soon, in the order of asking; never blocks. `told` hears on the database's thread what came of it,
    /// after the commit.
    ///
    /// # Errors
    /// [`DatabaseError::Busy`] when too many wait, [`DatabaseError::Closed`]; `told` is not called then.
    pub fn write_later<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
        told: impl FnOnce(Result<T, DatabaseError>) + Send + 'static,
    ) -> Result<(), DatabaseError> {
        self.jobs.try_send(grouped(job, told)).map_err(|error| match error {
            TrySendError::Full(_) => DatabaseError::Busy,
            TrySendError::Disconnected(_) => DatabaseError::Closed,
        })
    }

    /// Reads. The same as [`Database::write`], which see: what was asked before is seen.
    ///
    /// # Errors
    /// [`DatabaseError`]
    pub async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        self.write(job).await
    }
}

fn make_folder(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn prepared(connection: Connection) -> rusqlite::Result<Connection> {
    connection.busy_timeout(BUSY_LIMIT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    // Whether it is a database at all shows only when it is read.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))?;
    Ok(connection)
}

/// A job inside its savepoint, and what is told when the group's commit is known.
fn grouped<T: Send + 'static>(
    job: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    done: impl FnOnce(Result<T, DatabaseError>) + Send + 'static,
) -> Job {
    Box::new(move |tx| {
        let outcome = match tx {
            Ok(tx) => in_savepoint(tx, job).map_err(DatabaseError::from),
            Err(error) => Err(error.clone()),
        };
        let failed = outcome.as_ref().err().cloned();
        let after = move |committed: Result<(), &DatabaseError>| {
            done(match committed {
                Ok(()) => outcome,
                Err(error) => Err(error.clone()),
            });
        };
        Done { failed, after: Box::new(after) }
    })
}

fn in_savepoint<T>(
    tx: &Transaction<'_>,
    job: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    tx.execute_batch("SAVEPOINT job")?;
    let outcome = job(tx);
    match &outcome {
        Ok(_) => tx.execute_batch("RELEASE job")?,
        // SQLite has undone the whole transaction already.
        Err(_) if tx.is_autocommit() => {}
        Err(_) => tx.execute_batch("ROLLBACK TO job; RELEASE job")?,
    }
    outcome
}

fn serve(mut connection: Connection, queue: &Receiver<Job>) {
    while let Ok(first) = queue.recv() {
        let group: Vec<Job> = std::iter::once(first).chain(queue.try_iter().take(GROUP_MAX - 1)).collect();
        let jobs = group.len();
        let (done, outcome) = commit(&mut connection, group);
        if let Err(error) = &outcome {
            tracing::error!(%error, jobs, "the database has kept nothing of what it was asked to");
        }
        for job in done {
            (job.after)(outcome.as_ref().copied());
        }
    }
}

/// Runs a group in one transaction. When it cannot begin, or SQLite itself undoes it (a full disk), each job is told so.
fn commit(connection: &mut Connection, group: Vec<Job>) -> (Vec<Done>, Result<(), DatabaseError>) {
    let tx = match begin(connection) {
        Ok(tx) => tx,
        Err(error) => {
            let error = DatabaseError::from(error);
            return (group.into_iter().map(|job| job(Err(&error))).collect(), Err(error));
        }
    };
    let mut undone: Option<DatabaseError> = None;
    let mut done = Vec::with_capacity(group.len());
    for job in group {
        let ran = job(undone.as_ref().map_or(Ok(&tx), Err));
        // Without a transaction, the jobs that follow would each be committed on their own.
        if undone.is_none() && tx.is_autocommit() {
            undone = Some(ran.failed.clone().unwrap_or_else(|| DatabaseError::Sqlite("it undid a group".to_owned())));
        }
        done.push(ran);
    }
    match undone {
        Some(error) => (done, Err(error)),
        None => (done, tx.commit().map_err(DatabaseError::from)),
    }
}

fn begin(connection: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    let connection: &Connection = connection;
    let mut attempt = 1;
    loop {
        // Nothing else uses this connection, so there is no transaction that this one could be within.
        match Transaction::new_unchecked(connection, TransactionBehavior::Immediate) {
            Err(error) if is_busy(&error) && attempt < BUSY_ATTEMPTS => {
                tracing::warn!(%error, "another process holds the database; waiting for it");
                attempt += 1;
            }
            other => return other,
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const STEPS: &[&str] = &["CREATE TABLE t (n INTEGER PRIMARY KEY)"];

    fn file(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("voxtra-db-{name}-{}", uuid::Uuid::new_v4())).join("host.db")
    }

    async fn numbers(database: &Database) -> Vec<i64> {
        let read = database.read(|tx| {
            let mut query = tx.prepare("SELECT n FROM t ORDER BY n")?;
            query.query_map([], |row| row.get(0))?.collect()
        });
        read.await.unwrap()
    }

    #[tokio::test]
    async fn what_was_written_is_there_after_opening_again() {
        let file = file("again");
        {
            let database = Database::open(&file).unwrap();
            database.migrate("t", STEPS).await.unwrap();
            database.migrate("t", STEPS).await.unwrap();
            database.write(|tx| tx.execute("INSERT INTO t VALUES (1)", [])).await.unwrap();
            database.write_later(|tx| tx.execute("INSERT INTO t VALUES (2)", []), drop).unwrap();
            assert_eq!(numbers(&database).await, [1, 2]);
        }
        let database = Database::open(&file).unwrap();
        assert_eq!(numbers(&database).await, [1, 2]);
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::remove_dir_all(file.parent().unwrap()).unwrap();
    }

    #[tokio::test]
    async fn a_job_that_fails_undoes_its_own_work_only() {
        let database = Database::in_memory().unwrap();
        database.migrate("t", STEPS).await.unwrap();
        let good = database.write(|tx| tx.execute("INSERT INTO t VALUES (1)", []));
        let bad = database.write(|tx| {
            tx.execute("INSERT INTO t VALUES (2)", [])?;
            tx.execute("INSERT INTO t VALUES (1)", [])
        });
        let last = database.write(|tx| tx.execute("INSERT INTO t VALUES (3)", []));
        let (good, bad, last) = tokio::join!(good, bad, last);
        assert!(good.is_ok() && last.is_ok() && matches!(bad, Err(DatabaseError::Sqlite(_))));
        assert_eq!(numbers(&database).await, [1, 3]);
    }

    #[tokio::test]
    async fn a_file_that_is_no_database_is_a_sentence_and_stays_as_it_is() {
        let file = file("garbage");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, [7; 5_000]).unwrap();
        let error = Database::open(&file).err().unwrap();
        assert!(error.to_string().contains("cannot be opened"), "{error}");
        assert_eq!(std::fs::read(&file).unwrap(), [7; 5_000]);
        std::fs::remove_dir_all(file.parent().unwrap()).unwrap();
    }

    #[tokio::test]
    async fn an_older_host_does_not_touch_a_newer_ones_tables() {
        let database = Database::in_memory().unwrap();
        database.migrate("t", &["CREATE TABLE t (n)", "ALTER TABLE t ADD m"]).await.unwrap();
        assert!(database.migrate("t", STEPS).await.is_err());
        database.write(|tx| tx.execute("INSERT INTO t (n, m) VALUES (1, 2)", [])).await.unwrap();
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_never_blocks() {
        let database = Database::in_memory().unwrap();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let held = move |_: &Transaction<'_>| Ok(wait.recv().is_ok());
        database.write_later(held, drop).unwrap();
        let refused =
            (0..QUEUE_MAX + GROUP_MAX + 1).filter(|_| database.write_later(|_| Ok(()), drop).is_err()).count();
        assert!(refused > 0);
        drop(go);
        assert!(database.read(|_| Ok(())).await.is_ok());
    }
    #[tokio::test]
    async fn a_full_disk_is_told_to_every_job_of_the_group_and_what_was_there_stays() {
        let database = Database::in_memory().unwrap();
        database.migrate("t", &["CREATE TABLE t (n INTEGER PRIMARY KEY, more BLOB)"]).await.unwrap();
        database.write(|tx| tx.execute("INSERT INTO t VALUES (1, NULL)", [])).await.unwrap();
        database.write(|tx| tx.pragma_update(None, "max_page_count", 20)).await.unwrap();
        // One group: the thread is held until all three wait.
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let held = move |_: &Transaction<'_>| Ok(wait.recv().is_ok());
        database.write_later(held, drop).unwrap();
        let (say, heard) = std::sync::mpsc::channel();
        for (n, bytes) in [(2, 1), (3, 1_000_000), (4, 1)] {
            let say = say.clone();
            let insert = "INSERT INTO t VALUES (?1, zeroblob(?2))";
            database
                .write_later(move |tx| tx.execute(insert, [n, bytes]), move |told| say.send((n, told)).unwrap())
                .unwrap();
        }
        drop((go, say));
        let told: Vec<_> = heard.iter().collect();
        let kept = numbers(&database).await;
        assert!(told.contains(&(3, Err(DatabaseError::Full))), "{told:?}");
        // Nobody is told something that is not so.
        for (n, outcome) in told {
            assert_eq!(outcome.is_ok(), kept.contains(&n), "{n} {kept:?}");
        }
        assert!(kept.contains(&1));
        database.write(|tx| tx.execute("INSERT INTO t VALUES (5, NULL)", [])).await.unwrap();
    }

    #[tokio::test]
    async fn another_process_that_holds_the_file_is_waited_for() {
        let file = file("held");
        let database = Database::open(&file).unwrap();
        database.migrate("t", STEPS).await.unwrap();
        let other = Connection::open(&file).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let write = tokio::spawn({
            let database = database.clone();
            async move { database.write(|tx| tx.execute("INSERT INTO t VALUES (1)", [])).await }
        });
        tokio::time::sleep(BUSY_LIMIT + Duration::from_millis(500)).await;
        assert!(!write.is_finished());
        other.execute_batch("COMMIT").unwrap();
        write.await.unwrap().unwrap();
        assert_eq!(numbers(&database).await, [1]);
        std::fs::remove_dir_all(file.parent().unwrap()).unwrap();
    }
}
