//! Looking names up. Only this crate asks, and only for names that an allow-list has.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;
use voxtra_core::BoxFuture;

/// Finds a name's addresses.
///
/// A lookup may go on where nobody waits for it any more: whoever asks limits the time of waiting *and* how many there are.
pub trait Resolver: Send + Sync {
    /// All addresses of a name. The future is ready when the lookup needs nothing of the system any more.
    ///
    /// # Errors
    /// The system's words.
    fn lookup<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// The system's resolver: its hosts file, its name servers.
#[derive(Debug, Clone)]
pub struct SystemResolver {
    turns: Arc<Semaphore>,
}

/// The system's lookup keeps a thread for as long as it takes, also when nobody waits for it any more. tokio has 512 of
/// them for everything.
const LOOKUPS_AT_ONCE: usize = 128;
/// The longest wait for a turn.
const TURN_LIMIT: Duration = Duration::from_secs(5);

impl Default for SystemResolver {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(LOOKUPS_AT_ONCE)) }
    }
}

impl SystemResolver {
    /// With the usual limits.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Resolver for SystemResolver {
    fn lookup<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        let name = name.to_owned();
        let turn = timeout(TURN_LIMIT, self.turns.clone().acquire_owned());
        Box::pin(async move {
            let turn = turn.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?.map_err(io::Error::other)?;
            // A task of its own, so that the turn lasts until the thread is free again.
            let asked = tokio::spawn(async move {
                let answers = tokio::net::lookup_host((name, 0)).await;
                drop(turn);
                answers.map(|answers| answers.map(|answer| answer.ip()).collect())
            });
            asked.await.map_err(io::Error::other)?
        })
    }
}

/// A resolver that answers what a test says and remembers what it was asked.
#[derive(Debug, Default)]
pub struct FakeResolver {
    inner: Mutex<FakeInner>,
}

#[derive(Debug, Default)]
struct FakeInner {
    answers: HashMap<String, VecDeque<Vec<IpAddr>>>,
    asked: Vec<String>,
}

impl FakeResolver {
    /// One that knows no name.
    pub fn new() -> Self {
        Self::default()
    }

    /// The name's next answer. Once there is only one left it is given for ever.
    pub fn answer(&self, name: &str, addresses: &[IpAddr]) {
        self.inner().answers.entry(name.to_owned()).or_default().push_back(addresses.to_vec());
    }

    /// The names that were asked for, in order.
    pub fn asked(&self) -> Vec<String> {
        self.inner().asked.clone()
    }

    fn inner(&self) -> MutexGuard<'_, FakeInner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Resolver for FakeResolver {
    fn lookup<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        let mut inner = self.inner();
        inner.asked.push(name.to_owned());
        let answer = inner
            .answers
            .get_mut(name)
            .and_then(|answers| if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() });
        Box::pin(std::future::ready(answer.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[tokio::test]
    async fn the_system_knows_itself() {
        let addresses = SystemResolver::new().lookup("localhost").await.unwrap();
        assert!(!addresses.is_empty() && addresses.iter().all(IpAddr::is_loopback));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lookup_that_gets_no_turn_is_given_up() {
        let resolver = SystemResolver::new();
        let _all = resolver.turns.acquire_many(LOOKUPS_AT_ONCE as u32).await.unwrap();
        assert_eq!(resolver.lookup("localhost").await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn the_fake_gives_its_answers_in_turn() {
        let fake = FakeResolver::new();
        let (a, b) = (IpAddr::from([1, 1, 1, 1]), IpAddr::from([2, 2, 2, 2]));
        fake.answer("a.example", &[a]);
        fake.answer("a.example", &[b]);
        for expected in [a, b, b] {
            assert_eq!(fake.lookup("a.example").await.unwrap(), [expected]);
        }
        assert!(fake.lookup("b.example").await.is_err());
        assert_eq!(fake.asked().len(), 4);
    }
}
