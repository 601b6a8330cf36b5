//! The loader on a thread of its own, and the operator's questions to it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::oneshot;
use voxtra_artifacts::store::{Author, CanaryEnd, HistoryEntry, Known, StoreError, VersionStore};
use voxtra_artifacts::{HandlerKey, Version, VersionPrefix};
use voxtra_directory::{Watch, WatchOptions};

use crate::job::Refused;
use crate::loader::Loader;
use crate::news::{News, Serving};
use crate::snapshot::Component;

/// How soon work that is under way is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// When nothing is known to be due; the directory's hints come more often.
const IDLE: Duration = Duration::from_secs(60);

/// And at least so long is waited.
const SHORTEST: Duration = Duration::from_millis(1);

/// A component in a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionLine {
    /// Whose and which.
    pub key: HandlerKey,
    /// The first 12 digits of the version that new calls get.
    pub serving: String,
    /// Whether it is pinned.
    pub pinned: bool,
    /// How many versions are known of it.
    pub versions: usize,
    /// The version that gets a share of the calls.
    pub trial: Option<TrialLine>,
}

/// A version on trial in a line. How its calls go is counted where calls are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrialLine {
    /// Its first 12 digits.
    pub version: String,
    /// Its share of a hundred calls.
    pub percent: u32,
}

/// The operator cannot have it.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// What is asked for is not there, or cannot be.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The version does not load any more.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The host is stopping.
    #[error("the host is stopping; ask again when it has started")]
    Stopping,
}

enum Message {
    /// Something may have changed in the directory. Taken back when the look begins: so there is never more than one.
    Look(Arc<AtomicBool>),
    /// Changes may be noticed late.
    Trouble(String),
    /// A version on trial has failed, or has proved itself.
    TrialOver {
        key: HandlerKey,
        version: String,
        proved: bool,
        why: String,
    },
    List(oneshot::Sender<Vec<VersionLine>>),
    History(HandlerKey, oneshot::Sender<Result<Vec<HistoryEntry>, OperatorError>>),
    RollBack(HandlerKey, Option<VersionPrefix>, String, oneshot::Sender<Result<Version, OperatorError>>),
    Pin(HandlerKey, Option<VersionPrefix>, String, oneshot::Sender<Result<Version, OperatorError>>),
    Unpin(HandlerKey, String, oneshot::Sender<Result<(), OperatorError>>),
}

/// Speaks to the loader's thread, which ends when all of these are dropped.
#[derive(Debug, Clone)]
pub struct Keeper {
    messages: Arc<Sender<Message>>,
}

/// Says how trials went, to a loader that may be gone. It does not keep the loader's thread.
#[derive(Debug, Clone)]
pub struct Reporter {
    messages: Weak<Sender<Message>>,
}

impl Reporter {
    /// A version on trial has failed too often. `version` is its first 12 digits, `why` a sentence. Never blocks.
    pub fn withdrawn(&self, key: HandlerKey, version: &str, why: &str) {
        self.trial_over(key, version, false, why);
    }

    /// A version on trial has proved itself; `why` says how its calls went. Never blocks.
    pub fn proved(&self, key: HandlerKey, version: &str, why: &str) {
        self.trial_over(key, version, true, why);
    }

    fn trial_over(&self, key: HandlerKey, version: &str, proved: bool, why: &str) {
        let (version, why) = (version.to_owned(), why.to_owned());
        // A loader that is gone has nothing to serve any more.
        let _ = self.messages.upgrade().map(|messages| messages.send(Message::TrialOver { key, version, proved, why }));
    }
}

impl Keeper {
    /// Watches the directory from now on. The loader has begun already.
    ///
    /// # Errors
    /// When there can be no thread, or the directory cannot be watched.
    pub fn start(mut loader: Loader, mut serving: Box<dyn Serving>, options: WatchOptions) -> std::io::Result<Self> {
        let mut watch = Watch::start(loader.dir(), options).map_err(std::io::Error::other)?;
        let (messages, inbox) = channel();
        let messages = Arc::new(messages);
        // Weak: the loader ends when nobody but the directory has anything to say any more.
        let hints = Arc::downgrade(&messages);
        thread::Builder::new().name("voxtra-hints".into()).spawn(move || {
            let (waits, mut told) = (Arc::new(AtomicBool::new(false)), None);
            while watch.blocking_next().is_some() {
                let Some(messages) = hints.upgrade() else { return };
                let trouble = watch.trouble().filter(|trouble| told.as_ref() != Some(trouble));
                if let Some(trouble) = trouble {
                    told = Some(trouble.clone());
                    let _ = messages.send(Message::Trouble(trouble));
                }
                // The loader may be compiling for long.
                if !waits.swap(true, Ordering::SeqCst) && messages.send(Message::Look(waits.clone())).is_err() {
                    return;
                }
            }
        })?;
        thread::Builder::new().name("voxtra-loader".into()).spawn(move || run(&mut loader, &mut *serving, &inbox))?;
        Ok(Self { messages })
    }

    /// For whoever counts how the calls of versions on trial go.
    #[must_use]
    pub fn reporter(&self) -> Reporter {
        Reporter { messages: Arc::downgrade(&self.messages) }
    }

    /// Every component that takes calls.
    ///
    /// # Errors
    /// [`OperatorError::Stopping`]
    pub async fn list(&self) -> Result<Vec<VersionLine>, OperatorError> {
        self.ask(Message::List).await
    }

    /// What became current when, and why; the latest last.
    ///
    /// # Errors
    /// [`OperatorError`]
    pub async fn history(&self, key: HandlerKey) -> Result<Vec<HistoryEntry>, OperatorError> {
        self.ask(|answer| Message::History(key, answer)).await?
    }

    /// Gives new calls an earlier version: the one before, or the one whose digits are given. Returns it. While a version is
    /// on trial, the one before is the current one: the trial ends.
    ///
    /// # Errors
    /// [`OperatorError`]; what runs goes on then.
    pub async fn roll_back(
        &self,
        key: HandlerKey,
        to: Option<VersionPrefix>,
        by: String,
    ) -> Result<Version, OperatorError> {
        self.ask(|answer| Message::RollBack(key, to, by, answer)).await?
    }

    /// Keeps a version whatever is put into the directory: the current one, or the one whose digits are given.
    ///
    /// # Errors
    /// [`OperatorError`]; what runs goes on then.
    pub async fn pin(&self, key: HandlerKey, to: Option<VersionPrefix>, by: String) -> Result<Version, OperatorError> {
        self.ask(|answer| Message::Pin(key, to, by, answer)).await?
    }

    /// Takes what is in the directory again.
    ///
    /// # Errors
    /// [`OperatorError`]
    pub async fn unpin(&self, key: HandlerKey, by: String) -> Result<(), OperatorError> {
        self.ask(|answer| Message::Unpin(key, by, answer)).await?
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Message) -> Result<T, OperatorError> {
        let (answer, answered) = oneshot::channel();
        self.messages.send(question(answer)).map_err(|_| OperatorError::Stopping)?;
        answered.await.map_err(|_| OperatorError::Stopping)
    }
}

fn run(loader: &mut Loader, serving: &mut dyn Serving, inbox: &Receiver<Message>) {
    let mut wait = Duration::ZERO;
    loop {
        match inbox.recv_timeout(wait) {
            Ok(message) => answer(loader, serving, message),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let now = Instant::now();
        let due = loader.step(now, serving).map_or(IDLE, |at| at.saturating_duration_since(now).max(SHORTEST));
        wait = if loader.is_working() { due.min(LOOK_EVERY) } else { due };
    }
}

fn answer(loader: &mut Loader, serving: &mut dyn Serving, message: Message) {
    // Who has asked may have gone.
    match message {
        Message::Look(waits) => {
            waits.store(false, Ordering::SeqCst);
            loader.look(Instant::now(), serving);
        }
        Message::Trouble(why) => serving.news(News::Trouble(why)),
        Message::TrialOver { key, version, proved, why } => {
            loader.trial_over(Instant::now(), &key, &version, proved, &why);
        }
        Message::List(answer) => drop(answer.send(list(loader))),
        Message::History(key, answer) => drop(answer.send(history(loader, &key))),
        Message::RollBack(key, to, by, answer) => match goes_back_to(loader, &key, to, by) {
            Ok((version, write)) => give(loader, serving, key, version, write, answer),
            Err(error) => drop(answer.send(Err(error))),
        },
        Message::Pin(key, to, by, answer) => match pins(loader, &key, to, by) {
            Ok((version, write)) => give(loader, serving, key, version, write, answer),
            Err(error) => drop(answer.send(Err(error))),
        },
        Message::Unpin(key, by, answer) => drop(answer.send(unpin(loader, &key, &by))),
    }
}

fn list(loader: &Loader) -> Vec<VersionLine> {
    let line = |key: &HandlerKey, serving: &str| {
        let known = loader.versions().get(key).ok().flatten();
        let (pinned, versions) = known.map_or((false, 0), |known| {
            let versions: BTreeSet<Version> = known.record.history().iter().map(|entry| entry.version).collect();
            (known.record.pin().is_some(), versions.len())
        });
        let trial = loader
            .on_trial(key)
            .map(|version| TrialLine { version: version.to_owned(), percent: loader.share_of(key) });
        VersionLine { key: key.clone(), serving: serving.to_owned(), pinned, versions, trial }
    };
    loader.loaded().map(|(key, component)| line(key, component.version())).collect()
}

fn history(loader: &Loader, key: &HandlerKey) -> Result<Vec<HistoryEntry>, OperatorError> {
    Ok(known(loader, key)?.record.history().to_vec())
}

/// Writes down what an operator has chosen; returns the version that is current then.
type Write = Box<dyn FnOnce(&VersionStore, &HandlerKey) -> Result<Version, StoreError> + Send + Sync>;

/// What does not load any more must not become current: the version is got ready first, then this is written down, and then
/// new calls get it.
fn give(
    loader: &mut Loader,
    serving: &mut dyn Serving,
    key: HandlerKey,
    version: Version,
    write: Write,
    answer: oneshot::Sender<Result<Version, OperatorError>>,
) {
    let of = key.clone();
    let then = move |loader: &mut Loader, serving: &mut dyn Serving, ready: Result<Component, Refused>| {
        let given = ready.map_err(OperatorError::from).and_then(|component| {
            let version = write(loader.versions(), &of)?;
            loader.give(&of, component, serving);
            Ok(version)
        });
        // Who has asked may have gone.
        let _ = answer.send(given);
    };
    loader.ask(key, version, serving, Box::new(then));
}

fn goes_back_to(
    loader: &Loader,
    key: &HandlerKey,
    to: Option<VersionPrefix>,
    by: String,
) -> Result<(Version, Write), OperatorError> {
    let record = known(loader, key)?.record;
    if to.is_none() && loader.on_trial(key).is_some() {
        let ended = author(&by).saying("taken back by the operator");
        let write: Write = Box::new(move |versions, key| versions.clear_canary(key, CanaryEnd::Failed, &ended));
        return Ok((record.current(), write));
    }
    let to = to.map(|prefix| loader.versions().resolve(key, &prefix)).transpose()?.or(record.previous());
    let Some(version) = to else {
        // The store says that there is none.
        let version = loader.versions().rollback(key, None, &author(&by))?;
        return Ok((version, Box::new(move |_, _| Ok(version))));
    };
    Ok((version, Box::new(move |versions, key| versions.rollback(key, Some(version), &author(&by)))))
}

fn pins(
    loader: &Loader,
    key: &HandlerKey,
    to: Option<VersionPrefix>,
    by: String,
) -> Result<(Version, Write), OperatorError> {
    let to = to.map(|prefix| loader.versions().resolve(key, &prefix)).transpose()?;
    let version = to.map_or_else(|| known(loader, key).map(|known| known.record.current()), Ok)?;
    Ok((version, Box::new(move |versions, key| versions.pin(key, Some(version), &author(&by)))))
}

fn known(loader: &Loader, key: &HandlerKey) -> Result<Known, StoreError> {
    loader.versions().get(key)?.ok_or_else(|| StoreError::UnknownHandler(key.clone()))
}

fn unpin(loader: &mut Loader, key: &HandlerKey, by: &str) -> Result<(), OperatorError> {
    if loader.asks.has(key) {
        let why = format!("a version of {key} is being loaded for a command before; ask again when that is done");
        return Err(Refused::passing(why).into());
    }
    loader.versions().unpin(key, &author(by))?;
    loader.again(Instant::now(), key);
    Ok(())
}

fn author(by: &str) -> Author {
    Author::new(by, SystemTime::now())
}
