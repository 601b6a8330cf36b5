//! Compiling in a child process. A component may be made to take minutes and gigabytes to compile, and a compiler is the
//! part of an engine with the most room for faults: the child has limits of its own, the lowest priority, and nothing of
//! the host's memory.
//!
//! The host runs a program, usually itself, with the request in the variable [`REQUEST`]; the program calls
//! [`compile_as_child`] first thing. Component and code pass through files in a private folder.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, Signal, getppid, nice, set_parent_process_death_signal, setrlimit};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::load::Obstacle;
use crate::options::RuntimeOptions;
use crate::runtime;
use crate::scratch::Scratch;
use crate::threads::half_of_the_processors;

/// The variable in which the child finds what to do.
pub const REQUEST: &str = "VOXTRA_COMPILE";

/// How often the host looks whether the child is done.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// The lowest priority: calls come first.
const NICENESS: i32 = 19;

/// How many threads the child's compiler starts; that is its name in `rayon`, which the engine compiles with.
const THREADS: &str = "RAYON_NUM_THREADS";

/// How long those under way may take to end when they are stopped.
const STOP_LIMIT: Duration = Duration::from_secs(1);

/// A sentence of the child's is no longer.
const SENTENCE_MAX_BYTES: u64 = 4 << 10;

/// `SIGXCPU` and `SIGXFSZ` of Linux: the limits of running time and of a file's size.
const SIGXCPU: i32 = 24;
const SIGXFSZ: i32 = 25;

/// The child's exit codes when it has left a sentence instead of code: about the component, or about the machine.
const EXIT_REFUSED: i32 = 3;
const EXIT_HINDERED: i32 = 4;

/// What the child may use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileLimits {
    /// Memory that it writes to. Default 1 GiB.
    pub memory_bytes: u64,
    /// Running time over all of its threads. Default 120 s.
    pub cpu: Duration,
    /// By the clock. Default 120 s.
    pub time: Duration,
    /// Compiled code: a component can be written so that little becomes a lot. Default 256 MiB.
    pub code_bytes: u64,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self {
            memory_bytes: 1 << 30,
            cpu: Duration::from_secs(120),
            time: Duration::from_secs(120),
            code_bytes: 256 << 20,
        }
    }
}

/// Which program compiles, and within what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aside {
    /// Usually the host's own.
    pub program: PathBuf,
    /// With what it is run.
    pub args: Vec<OsString>,
    /// What it may use up.
    pub limits: CompileLimits,
}

/// The compilations of one runtime that are under way.
#[derive(Debug, Default)]
pub(crate) struct Compilations {
    count: AtomicUsize,
    is_stopped: AtomicBool,
}

impl Compilations {
    /// Has those that are under way end, and no others begin. Blocks until they have ended, which takes milliseconds; not
    /// for longer than [`STOP_LIMIT`].
    pub(crate) fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        let began = Instant::now();
        while self.count.load(Ordering::Acquire) > 0 && began.elapsed() < STOP_LIMIT {
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn begin(&self) -> Compilation<'_> {
        self.count.fetch_add(1, Ordering::Relaxed);
        Compilation(self)
    }
}

/// Counted from before its folder is made until that is gone.
struct Compilation<'a>(&'a Compilations);

impl Compilation<'_> {
    fn is_stopped(&self) -> bool {
        self.0.is_stopped.load(Ordering::Relaxed)
    }
}

impl Drop for Compilation<'_> {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::Release);
    }
}

/// Compiles a component. Blocks until it is done or at a limit. The error is a sentence without the file's name.
pub(crate) fn compile(
    aside: &Aside,
    options: &RuntimeOptions,
    compilations: &Compilations,
    wasm: &[u8],
) -> Result<Vec<u8>, Obstacle> {
    let compilation = compilations.begin();
    let folder = Scratch::new().map_err(|error| {
        Obstacle::passing(format!(
            "it cannot be compiled because no private folder can be made ({error}); make room there, or set TMPDIR"
        ))
    })?;
    let (source, code) = (folder.path().join("component.wasm"), folder.path().join("code"));
    write_private(&source, wasm).map_err(|error| {
        let file = source.display();
        Obstacle::passing(format!("it cannot be compiled because {file} cannot be written ({error}); make room there"))
    })?;
    let (parent, folder) = (std::process::id(), folder.path());
    let request = Request { parent, folder: folder.to_owned(), limits: aside.limits, options: Tuned::of(options) };
    let status = run(aside, &request, &compilation)?;
    if status.success() {
        return read_code(&code, aside.limits.code_bytes);
    }
    Err(why(status, folder, &aside.limits))
}

fn run(aside: &Aside, request: &Request, compilation: &Compilation<'_>) -> Result<std::process::ExitStatus, Obstacle> {
    let mut command = Command::new(&aside.program);
    command.args(&aside.args).env_clear().env(REQUEST, request.to_string()).current_dir(&request.folder);
    command.env(THREADS, half_of_the_processors().to_string());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let failed = |error| {
        let program = aside.program.display();
        Obstacle::passing(format!(
            "it cannot be compiled because {program} does not run ({error}); see that it is there, and memory free"
        ))
    };
    let mut child = Killed(command.spawn().map_err(failed)?);
    let began = Instant::now();
    loop {
        match child.0.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if compilation.is_stopped() => return Err(Obstacle::passing("the host is stopping".to_owned())),
            Ok(None) if began.elapsed() < aside.limits.time => std::thread::sleep(LOOK_EVERY),
            Ok(None) => {
                return Err(Obstacle::from(format!(
                    "compiling it takes longer than {} ms; make it smaller, or raise plugins.compile_ms",
                    aside.limits.time.as_millis()
                )));
            }
            Err(error) => return Err(failed(error)),
        }
    }
}

fn why(status: std::process::ExitStatus, folder: &Path, limits: &CompileLimits) -> Obstacle {
    if let Some(code @ (EXIT_REFUSED | EXIT_HINDERED)) = status.code()
        && let Some(why) = sentence(folder)
    {
        return Obstacle { why, is_passing: code == EXIT_HINDERED };
    }
    let why = match status.signal() {
        Some(SIGXCPU) => {
            format!("compiling it takes more than {} s of running time; make it smaller", limits.cpu.as_secs())
        }
        Some(SIGXFSZ) => format!("it compiles to more than {} MiB of code; make it smaller", limits.code_bytes >> 20),
        // What Rust does when memory is refused, and what the machine does when there is none.
        Some(_) => format!(
            "compiling it needs more than {} MiB of memory, or makes the compiler fail ({status}); make it smaller",
            limits.memory_bytes >> 20
        ),
        None => format!("the compiler has failed ({status}); build the component again"),
    };
    why.into()
}

/// What the child has left to say. A name in it may be cut in the middle of a letter.
fn sentence(folder: &Path) -> Option<String> {
    let mut sentence = Vec::new();
    let file = fs::File::open(folder.join("sentence")).ok()?;
    file.take(SENTENCE_MAX_BYTES).read_to_end(&mut sentence).ok()?;
    (!sentence.is_empty()).then(|| String::from_utf8_lossy(&sentence).into_owned())
}

fn read_code(path: &Path, most_bytes: u64) -> Result<Vec<u8>, Obstacle> {
    let lost = |error: std::io::Error| Obstacle::passing(format!("the compiler has left no code ({error}); try again"));
    let mut code = Vec::new();
    fs::File::open(path).and_then(|file| file.take(most_bytes + 1).read_to_end(&mut code)).map_err(lost)?;
    if code.len() as u64 > most_bytes {
        return Err(Obstacle::from(format!(
            "it compiles to more than {} MiB of code; make it smaller",
            most_bytes >> 20
        )));
    }
    Ok(code)
}

/// The child's whole life, when the request is in its environment: it never returns then. Call it before anything else
/// is started.
pub fn compile_as_child() {
    let Ok(request) = std::env::var(REQUEST) else { return };
    let Some(request) = Request::parse(&request) else { std::process::exit(1) };
    let Err(obstacle) = request.carry_out() else { std::process::exit(0) };
    let _ = write_private(&request.folder.join("sentence"), obstacle.why.as_bytes());
    std::process::exit(if obstacle.is_passing { EXIT_HINDERED } else { EXIT_REFUSED });
}

/// What the compiled code depends on, of the runtime's options. How many instances there may be is none of it: the child
/// has a pool for one, since what a pool reserves for tables counts as memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tuned {
    memory_bytes: usize,
    table_elements: usize,
}

impl Tuned {
    fn of(options: &RuntimeOptions) -> Self {
        Self { memory_bytes: options.limits.memory_bytes, table_elements: options.limits.table_elements }
    }

    fn options(self) -> RuntimeOptions {
        let mut options = RuntimeOptions { max_instances: 1, ..RuntimeOptions::default() };
        options.limits.memory_bytes = self.memory_bytes;
        options.limits.table_elements = self.table_elements;
        options
    }
}

/// What the child is to do, in one line: numbers, and the folder at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Request {
    /// The host's process.
    parent: u32,
    folder: PathBuf,
    limits: CompileLimits,
    options: Tuned,
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (limits, options) = (&self.limits, &self.options);
        write!(
            f,
            "{} {} {} {} {} {} {}",
            self.parent,
            limits.memory_bytes,
            limits.cpu.as_secs(),
            limits.code_bytes,
            options.memory_bytes,
            options.table_elements,
            self.folder.display()
        )
    }
}

impl Request {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.splitn(7, ' ');
        let parent = words.next()?.parse().ok()?;
        let mut number = || words.next()?.parse::<u64>().ok();
        let (memory_bytes, cpu_s, code_bytes) = (number()?, number()?, number()?);
        let (memory, elements) = (number()?, number()?);
        let options =
            Tuned { memory_bytes: usize::try_from(memory).ok()?, table_elements: usize::try_from(elements).ok()? };
        let limits =
            CompileLimits { memory_bytes, cpu: Duration::from_secs(cpu_s), code_bytes, ..CompileLimits::default() };
        Some(Self { parent, folder: PathBuf::from(words.next()?), limits, options })
    }

    fn carry_out(&self) -> Result<(), Obstacle> {
        // A limit that cannot be set is no reason to go on without it.
        self.go_with_the_host()
            .and_then(|()| self.limit_myself())
            .map_err(|error| Obstacle::passing(format!("the compiler cannot limit itself ({error}); try again")))?;
        let wasm = fs::read(self.folder.join("component.wasm"))
            .map_err(|error| Obstacle::passing(format!("the compiler cannot read it ({error}); try again")))?;
        let engine = Engine::new(&runtime::config(&self.options.options()))
            .map_err(|error| Obstacle::passing(format!("the compiler does not start ({error:#}); free memory")))?;
        let code = Component::from_binary(&engine, &wasm)
            .and_then(|component| component.serialize())
            .map_err(|error| crate::load::invalid(&error))?;
        write_private(&self.folder.join("code"), &code).map_err(|error| {
            let why = format!("the compiled code cannot be written ({error}); make room in the temporary folder");
            Obstacle::passing(why)
        })
    }

    /// A host that is killed leaves no compiler behind: the kernel kills it when the thread that waits for it is gone.
    fn go_with_the_host(&self) -> rustix::io::Result<()> {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // Killed before that was said.
        let is_orphan = getppid().is_none_or(|parent| u32::try_from(parent.as_raw_nonzero().get()) != Ok(self.parent));
        if is_orphan { Err(rustix::io::Errno::SRCH) } else { Ok(()) }
    }

    fn limit_myself(&self) -> rustix::io::Result<()> {
        let to = |most: u64| Rlimit { current: Some(most), maximum: Some(most) };
        let cpu_s = self.limits.cpu.as_secs().max(1);
        // Memory that is written to: what an engine only reserves does not count.
        setrlimit(Resource::Data, to(self.limits.memory_bytes))?;
        // At the first the kernel says why it stops the child; at the second it only does.
        setrlimit(Resource::Cpu, Rlimit { current: Some(cpu_s), maximum: Some(cpu_s + 1) })?;
        setrlimit(Resource::Fsize, to(self.limits.code_bytes.max(SENTENCE_MAX_BYTES)))?;
        setrlimit(Resource::Core, to(0))?;
        nice(NICENESS)?;
        Ok(())
    }
}

/// A child that does not outlive its compilation.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_it_was_written() {
        let request = Request {
            parent: 12,
            folder: PathBuf::from("/tmp/a folder with spaces"),
            limits: CompileLimits { memory_bytes: 5, code_bytes: 7, ..CompileLimits::default() },
            options: Tuned { memory_bytes: 1 << 20, table_elements: 9 },
        };
        assert_eq!(Request::parse(&request.to_string()), Some(request));
        for bad in ["", "1 2 3 4 5 6", "1 a 3 4 5 6 /x", "1 2 3 4 5 99999999999999999999 /x"] {
            assert_eq!(Request::parse(bad), None, "{bad}");
        }
    }
}
