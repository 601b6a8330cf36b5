//! Demo, tests, benchmarks, and everything before a change lands.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use voxtra_test_support::asterisk::Tree;
use voxtra_test_support::{Asterisk, AsteriskOptions};

use crate::cargo::{cargo, run, run_through, target_dir};
use crate::{deps, guests, scripted, tools};

/// Makes a missing Asterisk a failure.
const REQUIRED: (&str, &str) = ("VOXTRA_REQUIRE_ASTERISK", "1");

/// Tells the tests why there are no handlers in JavaScript and Python.
const SCRIPTED_MISSING: &str = "VOXTRA_SCRIPTED_GUESTS_MISSING";

pub(crate) fn guests() -> Result<()> {
    guests::build_rust()?;
    scripted::prepare()?;
    scripted::build_all()
}

pub(crate) fn demo(args: &[String]) -> Result<u8> {
    guests::build_rust()?;
    build_all()?;
    let mut demo = std::process::Command::new(target_dir().join("release/voxtra"));
    demo.arg("demo").arg("--guests").arg(guests::folder()).arg("--out").arg(target_dir().join("demo")).args(args);
    run_through(&mut demo)
}

pub(crate) fn bench(args: &[String]) -> Result<u8> {
    guests::build_rust()?;
    build_all()?;
    let mut bench = std::process::Command::new(target_dir().join("release/voxtra-bench"));
    bench.args(args).env("VOXTRA_GUESTS", guests::folder());
    run_through(bench.env("VOXTRA_BIN", target_dir().join("release/voxtra")))
}

pub(crate) fn test(filter: Option<&str>) -> Result<u8> {
    test_with(filter, std::env::var(REQUIRED.0).is_ok_and(|v| v == REQUIRED.1))
}

fn test_with(filter: Option<&str>, everything_is_required: bool) -> Result<u8> {
    guests::build_rust()?;
    build_all()?;
    // Only what the machine lacks is a reason to skip; a handler that does not build is a failure.
    let scripted = match scripted::prepare() {
        Ok(()) => scripted::build_all().map(Ok)?,
        Err(e) if everything_is_required => return Err(e.context("the tests need Node.js and Python")),
        Err(e) => Err(format!("{e:#}")),
    };
    let skips = target_dir().join("skipped-tests.txt");
    let _ = fs::remove_file(&skips);
    let mut tests = cargo();
    tests.args(["test", "--release", "--workspace", "--no-fail-fast"]).args(filter);
    tests.env("VOXTRA_BIN", target_dir().join("release/voxtra")).env("VOXTRA_GUESTS", guests::folder());
    tests.env("VOXTRA_SKIPS", &skips);
    if let Err(why) = scripted {
        eprintln!("guests: tests of handlers in JavaScript and Python are skipped: {why}");
        tests.env(SCRIPTED_MISSING, why);
    }
    match tools::voxtra_0_3_1() {
        Ok(site) => {
            tests.env("VOXTRA_0_3_1", site);
        }
        Err(e) if everything_is_required => return Err(e.context("the tests need Voxtra 0.3.1's package")),
        Err(e) => {
            eprintln!("tools: tests with Voxtra 0.3.1's package are skipped: {e:#}");
            tests.env("VOXTRA_0_3_1_MISSING", format!("{e:#}"));
        }
    }
    match Tree::install() {
        Ok(_) if everything_is_required => {
            tests.env(REQUIRED.0, REQUIRED.1);
        }
        Ok(_) => {}
        Err(e) if everything_is_required => return Err(e.context("the tests need an Asterisk")),
        Err(e) => {
            eprintln!("asterisk: tests that need one are skipped: {e:#}");
            tests.env("VOXTRA_ASTERISK_MISSING", format!("{e:#}"));
        }
    }
    let code = run_through(&mut tests)?;
    report_skips(&fs::read_to_string(&skips).unwrap_or_default());
    Ok(code)
}

fn report_skips(lines: &str) {
    let mut lines: Vec<&str> = lines.lines().collect();
    lines.sort_unstable();
    lines.dedup();
    println!("\n{} tests skipped", lines.len());
    for line in lines {
        println!("{line}");
    }
}

/// An Asterisk to play with, until Ctrl-C.
pub(crate) fn asterisk() -> Result<()> {
    let runtime = voxtra_test_support::asterisk::runtime()?;
    let pbx = runtime.block_on(Asterisk::start(AsteriskOptions::default()))?;
    println!(
        "export VOXTRA_ARI_URL={} VOXTRA_ARI_USER={} VOXTRA_ARI_PASSWORD={}",
        pbx.ari_url(),
        pbx.user(),
        pbx.password()
    );
    println!("# SIP: {}/udp, any extension goes to the Stasis application `voxtra`", pbx.sip_addr());
    eprintln!("asterisk: running until Ctrl-C");
    loop {
        std::thread::park();
    }
}

pub(crate) fn ci() -> Result<()> {
    let mut steps = Steps::default();
    steps.step("fmt", || run(cargo().args(["fmt", "--all", "--check"])))?;
    steps.step("deps", deps::check)?;
    // One profile for all steps, so that each dependency is checked once and built once.
    let lints = ["clippy", "--quiet", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"];
    steps.step("clippy", || run(cargo().args(lints)))?;
    let docs = ["doc", "--quiet", "--release", "--no-deps", "--workspace"];
    steps.step("doc", || run(cargo().args(docs).env("RUSTDOCFLAGS", "-D warnings")))?;
    steps.step("test", || succeed("the tests have", test_with(None, true)))?;
    steps.step("demo", || succeed("the demo has", demo(&[])))?;
    steps.report();
    Ok(())
}

/// What has been done and how long it took.
#[derive(Default)]
struct Steps(Vec<(&'static str, u64)>);

impl Steps {
    fn step(&mut self, name: &'static str, work: impl FnOnce() -> Result<()>) -> Result<()> {
        eprintln!("ci: {name}");
        let began = Instant::now();
        let outcome = work();
        self.0.push((name, began.elapsed().as_secs()));
        if outcome.is_err() {
            self.report();
        }
        outcome.with_context(|| format!("ci: {name} has failed"))
    }

    fn report(&self) {
        for (name, seconds) in &self.0 {
            println!("ci: {name:<7} {seconds:>5} s");
        }
    }
}

fn succeed(who: &str, outcome: Result<u8>) -> Result<()> {
    let code = outcome?;
    ensure!(code == 0, "{who} failed with exit code {code}");
    Ok(())
}

/// Always all of it: with one package fewer cargo would choose other features for shared dependencies, and build the
/// engine once more.
fn build_all() -> Result<()> {
    run(cargo().args(["build", "--release", "--workspace"]))
}
