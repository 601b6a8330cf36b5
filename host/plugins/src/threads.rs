//! The threads on which guest code runs, and nothing else.
//!
//! They stand back behind every other thread of the host: a guest that spins has nothing to gain but what the threads that
//! move audio, and those that own calls, leave over.
//!
//! There are two lanes. Guests begin in the first, where a handler waits for a few microseconds until it has its turn. The
//! second has what the first leaves over. There go a guest that runs on and on, and the guests of a tenant that together take
//! much of the first lane while other tenants are about: ten thousand guests that trap at once are like one that spins. They
//! come back when they have behaved for a while. So those that compute wait for each other, and those that only answer do
//! not wait for them. A tenant whose guests have just been sent there begins its next ones there.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustix::process::{getpriority_process, setpriority_process};
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::{Builder, Handle, Runtime as Tokio};
use tokio::task::JoinHandle;
use voxtra_core::TenantId;

/// A guest that has run for so long without a pause runs on and on.
const LONG: Duration = Duration::from_millis(3);

/// A guest that has paused so often without having run for long in between comes back.
const SHORT_POLLS: u32 = 20;

/// For so long a tenant's next guests begin in the second lane.
const REMEMBERED: Duration = Duration::from_secs(1);

/// Over what time it is added up what a tenant's guests run together.
const WINDOW: Duration = Duration::from_millis(100);

/// The part of the first lane's time that is much for one tenant of several: a quarter.
const MUCH: u32 = 4;

/// Tenants without guests are forgotten when there are more than that.
const MAX_REMEMBERED: usize = 1_024;

/// How the threads of guests are set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuestThreads {
    /// How many in the first lane. Default one for each processor.
    pub threads: usize,
    /// How many in the second lane. Default one for every two processors: a frame that comes while they all compute finds a
    /// processor free.
    pub long_threads: usize,
    /// How far the first lane stands back, as `nice` counts: 0 (like everybody else) to 19 (only what nobody wants). Default
    /// 2: about two thirds of what a thread of the host gets.
    pub niceness: i32,
    /// How far the second lane stands back. Default 19: 1.5 % of what a thread of the host gets, and all that is left.
    pub long_niceness: i32,
}

impl Default for GuestThreads {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        Self { threads, long_threads: half_of_the_processors(), niceness: 2, long_niceness: 19 }
    }
}

/// For those that compute at length, guests and compilers: a frame that comes meanwhile finds a processor free. The lowest
/// priority alone is not enough for that, since the machine puts who computes aside with a delay.
pub(crate) fn half_of_the_processors() -> usize {
    std::thread::available_parallelism().map_or(1, |all| all.get().div_ceil(2))
}

impl GuestThreads {
    /// Both lanes: threads named `voxtra-guest-1` and so on, and `voxtra-long-1`.
    ///
    /// # Errors
    /// When the threads cannot be started. A priority that cannot be changed is no error: it costs punctuality only.
    pub fn start(self) -> io::Result<GuestRuntime> {
        let first = lane("voxtra-guest", self.threads, self.niceness)?;
        let second = lane("voxtra-long", self.long_threads, self.long_niceness)?;
        let lanes = Lanes::new(second.handle().clone(), self.threads);
        let guests = Guests { first: first.handle().clone(), lanes: Some(Arc::new(lanes)) };
        Ok(GuestRuntime { first, second, guests })
    }
}

fn lane(name: &'static str, threads: usize, niceness: i32) -> io::Result<Tokio> {
    let number = AtomicUsize::new(1);
    Builder::new_multi_thread()
        .worker_threads(threads.max(1))
        .thread_name_fn(move || format!("{name}-{}", number.fetch_add(1, Ordering::Relaxed)))
        .on_thread_start(move || stand_back(niceness))
        .enable_all()
        .build()
}

/// On Linux a priority is a thread's own, whatever the call is named after.
fn stand_back(niceness: i32) {
    // Beside what the whole host was started with.
    let set =
        getpriority_process(None).and_then(|own| setpriority_process(None, (own + niceness.clamp(0, 19)).min(19)));
    if let Err(error) = set {
        tracing::warn!(%error, "handlers run at the priority of the host; audio may be late when they are busy");
    }
}

/// The threads of guests; they end with it.
#[derive(Debug)]
pub struct GuestRuntime {
    first: Tokio,
    second: Tokio,
    guests: Guests,
}

impl GuestRuntime {
    /// Where guests are started.
    #[must_use]
    pub fn guests(&self) -> Guests {
        self.guests.clone()
    }

    /// The first lane, for guest code that is over soon by its own limits.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        self.first.handle()
    }

    /// Ends without waiting for guests that run.
    pub fn shutdown_background(self) {
        self.first.shutdown_background();
        self.second.shutdown_background();
    }
}

/// Starts guests where they may run.
#[derive(Clone)]
pub struct Guests {
    first: Handle,
    lanes: Option<Arc<Lanes>>,
}

impl fmt::Debug for Guests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guests").field("has_two_lanes", &self.lanes.is_some()).finish_non_exhaustive()
    }
}

impl From<Handle> for Guests {
    /// One lane: a runtime that is shared, as in tests and simulated calls.
    fn from(first: Handle) -> Self {
        Self { first, lanes: None }
    }
}

struct Lanes {
    second: Handle,
    tenants: Mutex<HashMap<TenantId, Arc<Together>>>,
    shared: Arc<Shared>,
}

/// What is the same for all tenants.
struct Shared {
    /// What times are counted from.
    origin: Instant,
    /// In one window, of a tenant that is not alone.
    much_ns: u64,
    /// Whether there is more than one tenant.
    has_several: AtomicBool,
}

impl Shared {
    fn now_ns(&self) -> u64 {
        nanos(self.origin.elapsed())
    }
}

/// What one tenant's guests do together.
struct Together {
    shared: Arc<Shared>,
    window_began_ns: AtomicU64,
    window_ran_ns: AtomicU64,
    /// Until when its next guests begin in the second lane: one of them has run on and on, or all of them too much.
    begin_there_until_ns: AtomicU64,
    /// Until when all of them belong there.
    are_there_until_ns: AtomicU64,
}

impl Lanes {
    fn new(second: Handle, threads: usize) -> Self {
        let window_ns = nanos(WINDOW).saturating_mul(threads.max(1) as u64);
        let shared = Shared {
            origin: Instant::now(),
            much_ns: window_ns / u64::from(MUCH),
            has_several: AtomicBool::new(false),
        };
        Self { second, tenants: Mutex::default(), shared: Arc::new(shared) }
    }

    fn of(&self, tenant: &TenantId) -> Arc<Together> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = tenants.get(tenant) {
            return Arc::clone(known);
        }
        if tenants.len() >= MAX_REMEMBERED {
            tenants.retain(|_, known| Arc::strong_count(known) > 1 || known.begin_there());
        }
        let together = Arc::new(Together {
            shared: Arc::clone(&self.shared),
            window_began_ns: AtomicU64::new(0),
            window_ran_ns: AtomicU64::new(0),
            begin_there_until_ns: AtomicU64::new(0),
            are_there_until_ns: AtomicU64::new(0),
        });
        tenants.insert(tenant.clone(), Arc::clone(&together));
        self.shared.has_several.store(tenants.len() > 1, Ordering::Relaxed);
        together
    }
}

impl Together {
    fn begin_there(&self) -> bool {
        self.begin_there_until_ns.load(Ordering::Relaxed) > self.shared.now_ns()
    }

    /// One of them has run. Returns whether all of them belong into the second lane.
    fn ran(&self, ran: Duration) -> bool {
        let now_ns = self.shared.now_ns();
        // Two threads may begin a window at once: then one of them begins it a moment later.
        if now_ns.saturating_sub(self.window_began_ns.load(Ordering::Relaxed)) >= nanos(WINDOW) {
            self.window_began_ns.store(now_ns, Ordering::Relaxed);
            self.window_ran_ns.store(0, Ordering::Relaxed);
        }
        let ran_ns = self.window_ran_ns.fetch_add(nanos(ran), Ordering::Relaxed).saturating_add(nanos(ran));
        let until_ns = now_ns.saturating_add(nanos(REMEMBERED));
        // Who is alone is in nobody's way.
        let is_much = ran_ns >= self.shared.much_ns && self.shared.has_several.load(Ordering::Relaxed);
        if is_much {
            self.are_there_until_ns.store(until_ns, Ordering::Relaxed);
        }
        if is_much || ran >= LONG {
            self.begin_there_until_ns.store(until_ns, Ordering::Relaxed);
        }
        self.are_there_until_ns.load(Ordering::Relaxed) > now_ns
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Guests {
    /// The first lane.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.first
    }

    /// Runs a guest of a tenant to its end, now in one lane, now in the other.
    pub fn spawn_for<F>(&self, tenant: &TenantId, guest: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        match &self.lanes {
            Some(lanes) => self.first.spawn(in_lanes(lanes.second.clone(), lanes.of(tenant), Box::pin(guest))),
            None => self.first.spawn(guest),
        }
    }
}

async fn in_lanes<F>(second: Handle, together: Arc<Together>, mut guest: Pin<Box<F>>) -> F::Output
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let mut begins_there = together.begin_there();
    loop {
        if !std::mem::take(&mut begins_there) {
            guest = match (UntilSent { guest: Some(guest), together: &together }).await {
                Left::Done(output) => return output,
                Left::Moves(guest) => guest,
            };
        }
        let there = UntilBack { guest: Some(guest), short: 0, together: Arc::clone(&together) };
        let mut there = Aborted(second.spawn(there));
        guest = match (&mut there.0).await {
            Ok(Left::Done(output)) => return output,
            Ok(Left::Moves(guest)) => guest,
            Err(lost) if lost.is_panic() => resume_unwind(lost.into_panic()),
            // The runtime is going.
            Err(_) => std::future::pending().await,
        };
    }
}

struct Aborted<T>(JoinHandle<T>);

impl<T> Drop for Aborted<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

enum Left<F: Future> {
    Done(F::Output),
    Moves(Pin<Box<F>>),
}

/// Polls a guest. Returns what it took of its thread's own time, too: who is put aside by the machine does not run.
fn poll_timed<F: Future>(guest: &mut Pin<Box<F>>, cx: &mut Context<'_>) -> (Poll<F::Output>, Duration) {
    let began = thread_time();
    let polled = guest.as_mut().poll(cx);
    (polled, thread_time().saturating_sub(began))
}

fn thread_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let (s, ns) = (u64::try_from(now.tv_sec).unwrap_or_default(), u32::try_from(now.tv_nsec).unwrap_or_default());
    Duration::new(s, ns)
}

/// Runs a guest until it belongs into the second lane.
struct UntilSent<'a, F> {
    guest: Option<Pin<Box<F>>>,
    together: &'a Together,
}

impl<F: Future> Future for UntilSent<'_, F> {
    type Output = Left<F>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Left<F>> {
        let Some(guest) = &mut self.guest else { return Poll::Pending };
        let (polled, ran) = poll_timed(guest, cx);
        let are_there = self.together.ran(ran);
        match polled {
            Poll::Ready(output) => Poll::Ready(Left::Done(output)),
            Poll::Pending if ran < LONG && !are_there => Poll::Pending,
            Poll::Pending => self.guest.take().map_or(Poll::Pending, |guest| Poll::Ready(Left::Moves(guest))),
        }
    }
}

/// Runs a guest until it, and its tenant, have behaved for a while.
struct UntilBack<F> {
    guest: Option<Pin<Box<F>>>,
    /// Polls since the last long one.
    short: u32,
    together: Arc<Together>,
}

impl<F: Future> Future for UntilBack<F> {
    type Output = Left<F>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Left<F>> {
        let Some(guest) = &mut self.guest else { return Poll::Pending };
        let (polled, ran) = poll_timed(guest, cx);
        let are_there = self.together.ran(ran);
        if let Poll::Ready(output) = polled {
            return Poll::Ready(Left::Done(output));
        }
        self.short = if ran >= LONG { 0 } else { self.short.saturating_add(1) };
        if are_there || self.short < SHORT_POLLS {
            return Poll::Pending;
        }
        self.guest.take().map_or(Poll::Pending, |guest| Poll::Ready(Left::Moves(guest)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn thread_name() -> String {
        std::thread::current().name().unwrap_or_default().to_owned()
    }

    fn run_on() {
        let began = thread_time();
        while thread_time() - began < LONG * 2 {
            std::hint::black_box(0);
        }
    }

    #[test]
    fn guests_stand_back_and_nobody_else_does() {
        let before = getpriority_process(None).unwrap();
        let guests = GuestThreads { threads: 1, long_threads: 1, niceness: 3, long_niceness: 7 }.start().unwrap();
        let acme = TenantId::from("acme");
        let theirs = guests.guests().spawn_for(&acme, async {
            let first = getpriority_process(None).unwrap();
            run_on();
            tokio::task::yield_now().await;
            (first, getpriority_process(None).unwrap())
        });
        let (first, second) = guests.handle().block_on(theirs).unwrap();
        assert_eq!((first, second), ((before + 3).min(19), (before + 7).min(19)));
        assert_eq!(getpriority_process(None).unwrap(), before);
    }

    #[test]
    fn who_runs_on_and_on_goes_to_the_second_lane_and_comes_back_when_it_behaves() {
        let guests = GuestThreads::default().start().unwrap();
        let (acme, beta) = (TenantId::from("acme"), TenantId::from("beta"));
        let went = guests.guests().spawn_for(&acme, async {
            let mut names = vec![thread_name()];
            run_on();
            tokio::task::yield_now().await;
            names.push(thread_name());
            for _ in 0..2 * SHORT_POLLS {
                tokio::task::yield_now().await;
            }
            names.push(thread_name());
            names
        });
        let names = guests.handle().block_on(went).unwrap();
        let lanes: Vec<_> = names.iter().map(|name| name.starts_with("voxtra-long")).collect();
        assert_eq!(lanes, [false, true, false], "{names:?}");
        let next = guests.guests().spawn_for(&acme, async { thread_name() });
        assert!(guests.handle().block_on(next).unwrap().starts_with("voxtra-long"));
        let others = guests.guests().spawn_for(&beta, async { thread_name() });
        assert!(guests.handle().block_on(others).unwrap().starts_with("voxtra-guest"));
    }

    #[test]
    fn guests_that_are_short_but_very_many_go_to_the_second_lane_when_they_are_not_alone() {
        let tokio = lane("test", 1, 0).unwrap();
        let lanes = Lanes::new(tokio.handle().clone(), 2);
        let acme = lanes.of(&"acme".into());
        let many = || (0..1_000).any(|_| acme.ran(LONG / 3));
        assert!(!many() && !acme.begin_there(), "alone, and sent away");
        let beta = lanes.of(&"beta".into());
        assert!(many() && acme.begin_there(), "in everybody's way");
        assert!(!beta.ran(LONG / 3) && !beta.begin_there());
        assert!(Arc::ptr_eq(&acme, &lanes.of(&"acme".into())));
    }

    #[test]
    fn a_guest_in_the_second_lane_is_stopped_like_any_other() {
        struct Gone(std::sync::mpsc::Sender<()>);
        impl Drop for Gone {
            fn drop(&mut self) {
                let _ = self.0.send(());
            }
        }
        let guests = GuestThreads::default().start().unwrap();
        let (sender, gone) = std::sync::mpsc::channel();
        let held = Gone(sender);
        let running = guests.guests().spawn_for(&"acme".into(), async move {
            let _held = held;
            loop {
                run_on();
                tokio::task::yield_now().await;
            }
        });
        std::thread::sleep(LONG * 10);
        running.abort();
        gone.recv_timeout(Duration::from_secs(10)).unwrap();
    }
}
