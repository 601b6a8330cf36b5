//! The attacked host, in a process of its own: the calls of the generator belong to one tenant, the attackers' to another.
//! It does what the measuring process writes to its standard input, a line each:
//!
//! | line | what it does | what it answers |
//! | --- | --- | --- |
//! | `once N` | lets the attack of the row run once | its outcome |
//! | `on N` | begins to attack, with so many attackers as it was started with | nothing |
//! | `off` | ends the attack, and waits until nothing of it is left | how often it was begun |

use std::collections::HashMap;
use std::io::BufRead;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use voxtra_core::{CallId, Event, EventSink, EventType, HandlerName, Switchboard, TenantId};
use voxtra_loader::{Keeper, Loader, LoaderOptions, News, Serving, Snapshot};
use voxtra_plugins::{Aside, Catalog, CompileLimits, GuestRuntime, GuestThreads, Limits, Runtime, RuntimeOptions};
use voxtra_services::webhooks::WebhookSink;
use voxtra_session::{BreakerOptions, Host, HostOptions, HostPorts, Route, Router, Runtimes, TenantRoutes};
use voxtra_test_support::files::TempDir;

use super::rows::{By, ROWS, Row, written};
use super::web::{self, Web};
use crate::host_side::{Desk, StandIn, new_leg};

const VICTIM: &str = "victim";
const ATTACKER: &str = "attacker";

/// An attack that is not over by then is ended by the operator.
const UP_FOR: Duration = Duration::from_secs(3);

/// Longer than anything takes when it works.
const LONG: Duration = Duration::from_secs(60);

/// Between two tries of an attacker that is refused.
const PAUSE: Duration = Duration::from_millis(5);

/// The first number of an attacker's leg; the generator's callers count from 0.
const FIRST_ATTACKER: usize = 1_000_000;

/// The events that a flood consists of; what attacks tell of themselves goes to no webhook.
const FLOOD: &str = "flood";

/// What a compiler may take: the bomb takes longer.
const COMPILE_TIME: Duration = Duration::from_secs(1);

/// So long may an attacker's code run in one call: less than by default, so that many calls go to their end.
const ATTACKERS_CPU: Duration = Duration::from_secs(1);

pub(crate) fn serve(victims: usize, attackers: usize) -> Result<()> {
    let guests = GuestThreads::default().start()?;
    let control = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let scene = control.block_on(Scene::open(&guests))?;
    let _lines = control.block_on(scene.desk.take_calls(&scene.host, VICTIM, victims))?;
    println!("{}", scene.desk.server.local_addr());
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let row = || -> Result<&'static Row> {
            let number = line.split_whitespace().nth(1).context("no row is named")?;
            ROWS.get(number.parse::<usize>()?).context("there is no such row")
        };
        match line.split_whitespace().next() {
            Some("once") => println!("{}", control.block_on(scene.once(row()?))?.replace('\n', " ")),
            Some("on") => control.block_on(scene.begin(row()?, attackers))?,
            Some("off") => println!("{}", control.block_on(scene.end(victims))?),
            _ => bail!("{line:?} is nothing to do"),
        }
    }
    Ok(())
}

struct Scene {
    host: Arc<Host>,
    /// Where files are tried: as the product's own it compiles in a child, here with little time.
    tried: Arc<Runtime>,
    guests: tokio::runtime::Handle,
    desk: Arc<Desk>,
    ends: Arc<Ends>,
    /// Set while an attack goes on.
    on: Arc<AtomicBool>,
    begun: Arc<AtomicUsize>,
    next: Arc<AtomicUsize>,
    at_work: Mutex<Vec<tokio::task::JoinHandle<()>>>,
    /// The outbox's.
    _folder: TempDir,
}

impl Scene {
    async fn open(guests: &GuestRuntime) -> Result<Self> {
        let limits = CompileLimits { time: COMPILE_TIME, cpu: COMPILE_TIME * 4, ..CompileLimits::default() };
        let compiler = Some(Aside { program: std::env::current_exe()?, args: Vec::new(), limits });
        let tried = Runtime::new(RuntimeOptions { compiler, max_instances: 8, ..RuntimeOptions::default() })?;
        // Attackers that are left alone would not attack.
        let runtime = Runtime::new(RuntimeOptions { traps_in_a_row: 0, ..RuntimeOptions::default() })?;
        let web = Web::open(&ATTACKER.into()).await?;
        let folder = TempDir::new("attacked")?;
        let ends = Arc::new(Ends::with(web::outbox(&folder).await?));
        let options = HostOptions {
            handler_grace: Duration::from_millis(500),
            hook_limit: Duration::from_millis(500),
            breaker: BreakerOptions { failures: 0, ..BreakerOptions::default() },
            ..HostOptions::default()
        };
        let runtimes = Runtimes { control: tokio::runtime::Handle::current(), guests: guests.guests() };
        let handlers = Arc::new(handlers(&runtime)?);
        let routes = routes(&web.notes)?;
        let ports = HostPorts { http: Some(web), ..HostPorts::new(Arc::clone(&ends) as Arc<dyn EventSink>) };
        let host = Host::new(options, handlers, routes, ports, runtimes);
        Ok(Self {
            host,
            tried,
            guests: guests.handle().clone(),
            desk: Arc::new(Desk::open().await?),
            ends,
            on: Arc::default(),
            begun: Arc::default(),
            next: Arc::new(AtomicUsize::new(FIRST_ATTACKER)),
            at_work: Mutex::default(),
            _folder: folder,
        })
    }

    fn attacker(&self, row: &'static Row) -> Attacker {
        Attacker {
            host: Arc::clone(&self.host),
            desk: Arc::clone(&self.desk),
            ends: Arc::clone(&self.ends),
            next: Arc::clone(&self.next),
            number: row.attack,
        }
    }

    /// What becomes of it.
    async fn once(&self, row: &'static Row) -> Result<String> {
        match row.by {
            By::Nobody => Ok(String::new()),
            By::Guest { .. } | By::Written { .. } => self.attacker(row).call(UP_FOR).await,
            By::File(make) => Ok(load(Arc::clone(&self.tried), Arc::new(make()?)).await),
            By::SwapStorm => {
                let mut storm = Storm::begin(&self.tried, &self.guests)?;
                storm.blow(Duration::from_secs(2)).await?;
                storm.settled().await
            }
        }
    }

    async fn begin(&self, row: &'static Row, attackers: usize) -> Result<()> {
        self.on.store(true, Ordering::Relaxed);
        self.begun.store(0, Ordering::Relaxed);
        let (on, begun) = (Arc::clone(&self.on), Arc::clone(&self.begun));
        let mut tasks = Vec::new();
        match row.by {
            By::Nobody => {}
            By::Guest { .. } | By::Written { .. } => {
                for _ in 0..attackers {
                    let (on, begun, attacker) = (Arc::clone(&on), Arc::clone(&begun), self.attacker(row));
                    tasks.push(tokio::spawn(async move {
                        while on.load(Ordering::Relaxed) {
                            begun.fetch_add(1, Ordering::Relaxed);
                            if attacker.call(LONG).await.is_err() {
                                sleep(PAUSE).await;
                            }
                        }
                    }));
                }
            }
            By::File(make) => {
                let (runtime, wasm) = (Arc::clone(&self.tried), Arc::new(make()?));
                tasks.push(tokio::spawn(async move {
                    while on.load(Ordering::Relaxed) {
                        begun.fetch_add(1, Ordering::Relaxed);
                        load(Arc::clone(&runtime), Arc::clone(&wasm)).await;
                        sleep(PAUSE).await;
                    }
                }));
            }
            By::SwapStorm => {
                let mut storm = Storm::begin(&self.tried, &self.guests)?;
                tasks.push(tokio::spawn(async move {
                    while on.load(Ordering::Relaxed) && storm.blow(Duration::from_millis(100)).await.is_ok() {
                        begun.fetch_add(5, Ordering::Relaxed);
                    }
                }));
            }
        }
        *self.at_work.lock().unwrap_or_else(PoisonError::into_inner) = tasks;
        Ok(())
    }

    /// Returns how often it was begun.
    async fn end(&self, victims: usize) -> Result<usize> {
        self.on.store(false, Ordering::Relaxed);
        let tasks = std::mem::take(&mut *self.at_work.lock().unwrap_or_else(PoisonError::into_inner));
        let until = Instant::now() + LONG;
        while !tasks.iter().all(|task| task.is_finished()) || self.host.active() > victims {
            for call in self.host.calls().iter().filter(|call| call.info.tenant.as_str() == ATTACKER) {
                self.host.hangup(&call.info.id);
            }
            if Instant::now() > until {
                bail!("{} attackers cannot be ended", self.host.active().saturating_sub(victims));
            }
            sleep(PAUSE).await;
        }
        while self.ends.unsent() > 0 && Instant::now() < until {
            sleep(PAUSE).await;
        }
        Ok(self.begun.load(Ordering::Relaxed))
    }
}

fn handlers(runtime: &Arc<Runtime>) -> Result<Catalog> {
    let (victim, attacker) = (TenantId::from(VICTIM), TenantId::from(ATTACKER));
    let echo = crate::read_guest(&crate::guests().join("echo.wasm"))?;
    let mut all = vec![load_now(runtime, &victim, "default", &echo)?];
    let mut known = Vec::new();
    for row in ROWS {
        let Some(name) = row.handler().filter(|name| !known.contains(name)) else { continue };
        let wasm = match row.by {
            By::Written { fields, body } => written(fields, body)?,
            _ => crate::read_guest(&crate::guests().join(format!("hostile/{name}.wasm")))?,
        };
        let limits = Limits { cpu: ATTACKERS_CPU, ..runtime.options().limits };
        let handler = load_now(runtime, &attacker, &name, &wasm)?;
        let capabilities = handler.capabilities();
        all.push(handler.narrowed(limits, capabilities));
        known.push(name);
    }
    Ok(Catalog::from_handlers(all))
}

fn load_now(runtime: &Arc<Runtime>, tenant: &TenantId, name: &str, wasm: &[u8]) -> Result<voxtra_plugins::Handler> {
    Ok(runtime.load_bytes(tenant, &HandlerName::from(name), wasm)?)
}

/// The victim's calls go to its one handler; an attack is called by its name.
fn routes(web: &[(String, String)]) -> Result<Router> {
    let routes = ROWS.iter().filter_map(|row| {
        let handler = row.handler()?;
        let mut metadata = web.to_vec();
        if let By::Guest { note, .. } = row.by {
            metadata.push(("attack".to_owned(), note.to_owned()));
        }
        Some(Route { extension: row.attack.to_owned(), handler, metadata, ..Route::default() })
    });
    let attacker = TenantRoutes {
        tenant: ATTACKER.into(),
        app: ATTACKER.to_owned(),
        routes: routes.collect(),
        on_failure: voxtra_session::OnFailure { play: Some(Vec::new()), ..Default::default() },
    };
    let victim = TenantRoutes { tenant: VICTIM.into(), app: VICTIM.to_owned(), ..TenantRoutes::default() };
    Ok(Router::new([victim, attacker])?)
}

/// Calls the attacking handler.
struct Attacker {
    host: Arc<Host>,
    desk: Arc<Desk>,
    ends: Arc<Ends>,
    next: Arc<AtomicUsize>,
    number: &'static str,
}

impl Attacker {
    /// One call, to its end. Returns how it ended and what it has told.
    async fn call(&self, limit: Duration) -> Result<String> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let id = CallId::from(format!("attack-{n}"));
        let ended = self.ends.expect(&id);
        let leg = StandIn::alone(n, &self.desk);
        let line = self.host.incoming(new_leg(&leg, id.to_string(), ATTACKER, self.number));
        let line = line.inspect_err(|_| self.ends.forget(&id)).context("refused")?;
        leg.report_to(&line);
        let mut ended = ended;
        let outcome = match timeout(limit, &mut ended).await {
            Ok(outcome) => outcome?,
            Err(_) => {
                self.host.hangup(&id);
                let outcome = timeout(LONG, ended).await.context("it cannot be hung up")??;
                format!("up after {} s; {outcome}", limit.as_secs())
            }
        };
        Ok(outcome)
    }
}

/// How calls have ended. Handlers' own events go to a webhook, too.
struct Ends {
    waiting: Mutex<HashMap<String, Waiting>>,
    outbox: WebhookSink,
    emitted: AtomicU64,
}

struct Waiting {
    told: Vec<String>,
    ended: oneshot::Sender<String>,
}

impl Ends {
    fn with(outbox: WebhookSink) -> Self {
        Self { waiting: Mutex::default(), outbox, emitted: AtomicU64::new(0) }
    }

    /// Events that no webhook has got yet.
    fn unsent(&self) -> u64 {
        let stats = self.outbox.stats();
        self.emitted.load(Ordering::Relaxed).saturating_sub(stats.delivered + stats.dead + stats.lost)
    }

    fn expect(&self, id: &CallId) -> oneshot::Receiver<String> {
        let (ended, end) = oneshot::channel();
        self.lock().insert(id.to_string(), Waiting { told: Vec::new(), ended });
        end
    }

    fn forget(&self, id: &CallId) {
        self.lock().remove(id.as_str());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventSink for Ends {
    fn emit(&self, event: Event) {
        let text = |name: &str| event.data.get(name).and_then(|value| value.as_str()).unwrap_or_default();
        match event.kind {
            EventType::CallEnded => {
                let Some(Waiting { told, ended }) = self.lock().remove(event.session_id.as_str()) else { return };
                let end = format!("{} {} {}", text("reason"), text("detail"), told.join(" "));
                // Who waited may have gone.
                let _ = ended.send(end.trim().to_owned());
            }
            EventType::Custom => {
                if let Some(got) = find(&event.data, "got")
                    && let Some(waiting) = self.lock().get_mut(event.session_id.as_str())
                {
                    waiting.told.push(got);
                }
                if event.data.get("name").is_some_and(|name| name == FLOOD) {
                    self.emitted.fetch_add(1, Ordering::Relaxed);
                    self.outbox.emit(event);
                }
            }
            _ => {}
        }
    }
}

/// What an attack tells is an event of its own; where it stands in it is the contract's business.
fn find(data: &serde_json::Map<String, serde_json::Value>, name: &str) -> Option<String> {
    data.iter().find_map(|(key, value)| match value {
        found if key == name => Some(found.to_string()),
        serde_json::Value::Object(inner) => find(inner, name),
        _ => None,
    })
}

/// Tries to make a handler of a file. Returns what the host says to it.
async fn load(runtime: Arc<Runtime>, wasm: Arc<Vec<u8>>) -> String {
    let tried = tokio::task::spawn_blocking(move || {
        runtime.load_bytes(&ATTACKER.into(), &HandlerName::from("file"), &wasm).map(drop)
    });
    match tried.await {
        Ok(Ok(())) => "loaded".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the host has panicked".to_owned(),
    }
}

/// A plugin directory with one file, which is exchanged again and again.
struct Storm {
    runtime: Arc<Runtime>,
    folder: TempDir,
    written: usize,
    swaps: Arc<Mutex<Vec<String>>>,
    _keeper: Keeper,
}

struct Swaps(Arc<Mutex<Vec<String>>>);

impl Serving for Swaps {
    fn serve(&mut self, _snapshot: Snapshot) {}

    fn news(&mut self, news: News) {
        if let News::Swapped { to, .. } = news {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(to);
        }
    }
}

impl Storm {
    fn begin(runtime: &Arc<Runtime>, guests: &tokio::runtime::Handle) -> Result<Self> {
        let folder = TempDir::new("storm")?;
        std::fs::create_dir(Self::plugins(&folder))?;
        let swaps: Arc<Mutex<Vec<String>>> = Arc::default();
        let options = LoaderOptions::new(Self::plugins(&folder), folder.path().join("versions"));
        let mut loader = Loader::open(Arc::clone(runtime), guests.clone(), options)?;
        loader.begin(&mut Swaps(Arc::default()))?;
        let keeper = Keeper::start(loader, Box::new(Swaps(Arc::clone(&swaps))), Default::default())?;
        Ok(Self { runtime: Arc::clone(runtime), folder, written: 0, swaps, _keeper: keeper })
    }

    fn plugins(folder: &TempDir) -> PathBuf {
        folder.path().join("plugins")
    }

    async fn blow(&mut self, during: Duration) -> Result<()> {
        let until = Instant::now() + during;
        while Instant::now() < until {
            self.written += 1;
            std::fs::write(Self::plugins(&self.folder).join("default.wasm"), self.newest()?)?;
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    fn newest(&self) -> Result<Vec<u8>> {
        written("", &format!("(drop (i32.const {}))", self.written))
    }

    /// Waits for the last of them.
    async fn settled(&self) -> Result<String> {
        let newest = load_now(&self.runtime, &ATTACKER.into(), "default", &self.newest()?)?.version().to_owned();
        let until = Instant::now() + LONG;
        loop {
            let swaps = self.swaps.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if swaps.last() == Some(&newest) {
                return Ok(format!("settled: {} of {} versions were compiled", swaps.len(), self.written));
            }
            if Instant::now() > until {
                return Ok(format!("the last of {} versions does not come", self.written));
            }
            sleep(PAUSE).await;
        }
    }
}
