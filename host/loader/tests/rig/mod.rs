//! A plugin directory in a folder of the test's own, the loader that keeps it, and what was heard of it.

// Each test program uses its part.
#![allow(dead_code)]

mod gate;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime as Tokio;
use voxtra_artifacts::HandlerKey;
use voxtra_core::TenantId;
use voxtra_loader::{Loader, LoaderOptions, News, Serving, Snapshot};
use voxtra_plugins::{Runtime, RuntimeOptions};

pub(crate) use gate::Gate;

/// Longer than anything takes when it works.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A handler that returns; `number` makes each another version.
pub(crate) fn handler(number: usize) -> Vec<u8> {
    written(number, "")
}

/// A handler whose start code traps.
pub(crate) fn bad_start(number: usize) -> Vec<u8> {
    written(number, "(func $boom unreachable) (start $boom)")
}

pub(crate) fn written(number: usize, more: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
            (import "voxtra:call/call-session@0.1.0" (instance $session (export "call" (type (sub resource)))))
            (alias export $session "call" (type $call))
            (core module $code
                (memory (export "memory") 1)
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const {number}))
                {more}
                (func (export "handle") (param i32) (result i32) (i32.const 0)))
            (core instance $i (instantiate $code))
            (func (export "handle") (param "call" (own $call)) (result (result (error string)))
                (canon lift (core func $i "handle") (memory $i "memory") (realloc (func $i "realloc")))))"#
    );
    wat::parse_str(text).unwrap()
}

/// What was served and said.
#[derive(Clone, Default)]
pub(crate) struct Heard(pub(crate) Arc<Mutex<(Vec<Snapshot>, Vec<News>)>>);

impl Serving for Heard {
    fn serve(&mut self, snapshot: Snapshot) {
        self.0.lock().unwrap().0.push(snapshot);
    }

    fn news(&mut self, news: News) {
        self.0.lock().unwrap().1.push(news);
    }
}

impl Heard {
    /// The versions that take calls now, by `tenant/name`.
    pub(crate) fn now(&self) -> Vec<String> {
        let heard = self.0.lock().unwrap();
        let handlers = heard.0.last().into_iter().flat_map(|snapshot| snapshot.catalog.handlers());
        handlers.map(|h| format!("{}/{} {}", h.tenant(), h.name(), h.version())).collect()
    }

    pub(crate) fn served(&self) -> usize {
        self.0.lock().unwrap().0.len()
    }

    /// The versions on trial, as `tenant/name version percent`.
    pub(crate) fn tried(&self) -> Vec<String> {
        let heard = self.0.lock().unwrap();
        let trials = heard.0.last().into_iter().flat_map(|snapshot| snapshot.trials.iter());
        trials
            .map(|trial| {
                let handler = &trial.handler;
                format!("{}/{} {} {}", handler.tenant(), handler.name(), handler.version(), trial.plan.percent)
            })
            .collect()
    }

    pub(crate) fn refusals(&self) -> Vec<String> {
        let heard = self.0.lock().unwrap();
        heard
            .1
            .iter()
            .filter_map(|n| if let News::Refused { why, .. } = n { Some(why.clone()) } else { None })
            .collect()
    }
}

pub(crate) struct Rig {
    pub(crate) root: PathBuf,
    pub(crate) tokio: Tokio,
    pub(crate) runtime: Arc<Runtime>,
}

impl Rig {
    pub(crate) fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("voxtra-loader-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("plugins")).unwrap();
        let cache_dir = Some(root.join("cache"));
        let options = RuntimeOptions { max_instances: 8, cache_dir, ..RuntimeOptions::default() };
        Self { root, tokio: Tokio::new().unwrap(), runtime: Runtime::new(options).unwrap() }
    }

    /// From here on whatever was not compiled waits for the gate.
    pub(crate) fn gated(&mut self) -> Gate {
        let gate = Gate::new(&self.root);
        let (cache_dir, compiler) = (Some(self.root.join("cache")), Some(gate.compiler()));
        let options = RuntimeOptions { max_instances: 8, cache_dir, compiler, ..RuntimeOptions::default() };
        self.runtime = Runtime::new(options).unwrap();
        gate
    }

    pub(crate) fn plugins(&self) -> PathBuf {
        self.root.join("plugins")
    }

    pub(crate) fn put(&self, file: &str, bytes: &[u8]) {
        put(&self.plugins().join(file), bytes);
    }

    /// A loader, and what it serves at first.
    pub(crate) fn begin(&self) -> (Loader, Heard) {
        self.begin_with(|_| {})
    }

    pub(crate) fn begin_with(&self, change: impl FnOnce(&mut LoaderOptions)) -> (Loader, Heard) {
        let mut options = LoaderOptions::new(self.plugins(), self.root.join("versions"));
        change(&mut options);
        let mut loader = Loader::open(self.runtime.clone(), self.tokio.handle().clone(), options).unwrap();
        let mut heard = Heard::default();
        loader.begin(&mut heard).unwrap();
        (loader, heard)
    }

    /// Lets time pass in the loader's sense until nothing is due or under way any more.
    pub(crate) fn settle(&self, loader: &mut Loader, heard: &mut Heard) {
        let began = Instant::now();
        let mut now = began;
        loader.look(now, heard);
        while began.elapsed() < LONG {
            let next = loader.step(now, heard);
            match next {
                _ if loader.is_working() => std::thread::sleep(Duration::from_millis(5)),
                Some(at) if at < now + Duration::from_secs(5) => now = now.max(at),
                _ => return,
            }
        }
        panic!("it does not come to rest");
    }
}

/// Does what is due at this time, to its end.
pub(crate) fn finish(loader: &mut Loader, heard: &mut Heard, at: Instant) {
    let began = Instant::now();
    loader.step(at, heard);
    while loader.is_working() {
        assert!(began.elapsed() < LONG, "it is never done");
        std::thread::sleep(Duration::from_millis(5));
        loader.step(at, heard);
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

pub(crate) fn put(path: &Path, bytes: &[u8]) {
    let aside = path.with_extension("new");
    fs::write(&aside, bytes).unwrap();
    fs::rename(&aside, path).unwrap();
}

pub(crate) fn version(wasm: &[u8]) -> String {
    voxtra_artifacts::Version::of(wasm).short()
}

pub(crate) fn key(name: &str) -> HandlerKey {
    HandlerKey::new(&TenantId::default(), &name.into()).unwrap()
}
