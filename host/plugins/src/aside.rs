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
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, nice, setrlimit};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::load::Obstacle;
use crate::options::RuntimeOptions;
use crate::runtime;
use crate::threads::half_of_the_processors;

/// The variable in which the child finds what to do.
pub const REQUEST: &str = "VOXTRA_COMPILE";

/// How often the host looks whether the child is done.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// The lowest priority: calls come first.
const NICENESS: i32 = 19;

/// How many threads the child's compiler starts; that is its name in `rayon`, which the engine compiles with.
const THREADS: &str = "RAYON_NUM_THREADS";

/// What the names of the private folders begin with.
const FOLDER: &str = "voxtra-compile-";

/// A folder as old as this is nobody's: no compilation takes so long.
const STALE_AFTER: Duration = Duration::from_secs(3600);

/// Folders that are looked at, at the most: the temporary folder is everybody's.
const MAX_LOOKED_AT: usize = 10_000;

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

/// Compiles a component. Blocks until it is done or at a limit. The error is a sentence without the file's name.
pub(crate) fn compile(aside: &Aside, options: &RuntimeOptions, wasm: &[u8]) -> Result<Vec<u8>, Obstacle> {
    let folder = Folder::new().map_err(|error| {
        Obstacle::passing(format!(
            "it cannot be compiled because no private folder can be made ({error}); make room in the temporary folder"
        ))
    })?;
    let (source, code) = (folder.0.join("component.wasm"), folder.0.join("code"));
    write_private(&source, wasm).map_err(|error| {
        let file = source.display();
        Obstacle::passing(format!("it cannot be compiled because {file} cannot be written ({error}); make room there"))
    })?;
    let request = Request { folder: folder.0.clone(), limits: aside.limits, options: Tuned::of(options) };
    let status = run(aside, &request)?;
    if status.success() {
        return read_code(&code, aside.limits.code_bytes);
    }
    Err(why(status, &folder.0, &aside.limits))
}

fn run(aside: &Aside, request: &Request) -> Result<std::process::ExitStatus, Obstacle> {
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
    folder: PathBuf,
    limits: CompileLimits,
    options: Tuned,
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (limits, options) = (&self.limits, &self.options);
        write!(
            f,
            "{} {} {} {} {} {}",
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
        let mut words = text.splitn(6, ' ');
        let mut number = || words.next()?.parse::<u64>().ok();
        let (memory_bytes, cpu_s, code_bytes) = (number()?, number()?, number()?);
        let (memory, elements) = (number()?, number()?);
        let options =
            Tuned { memory_bytes: usize::try_from(memory).ok()?, table_elements: usize::try_from(elements).ok()? };
        let limits =
            CompileLimits { memory_bytes, cpu: Duration::from_secs(cpu_s), code_bytes, ..CompileLimits::default() };
        Some(Self { folder: PathBuf::from(words.next()?), limits, options })
    }

    fn carry_out(&self) -> Result<(), Obstacle> {
        // A limit that cannot be set is no reason to go on without it.
        self.limit_myself()
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

/// A folder that only this user can look into, gone when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> std::io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| std::io::Error::other(error.to_string()))?;
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{FOLDER}{}-{count}-{:016x}", std::process::id(), u64::from_le_bytes(random));
        let path = std::env::temp_dir().join(name);
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Removes the folders that killed hosts of this user have left in the temporary folder. What cannot be removed stays.
pub(crate) fn clear_stale(temporary: &Path, limits: &CompileLimits) {
    let Ok(entries) = fs::read_dir(temporary) else { return };
    let stale_after = STALE_AFTER.max(limits.time.saturating_mul(2));
    for entry in entries.take(MAX_LOOKED_AT).flatten() {
        let is_named_so = entry.file_name().to_str().is_some_and(|name| name.starts_with(FOLDER));
        if is_named_so && entry.metadata().is_ok_and(|metadata| is_stale(&metadata, stale_after)) {
            // Nobody waits for it, and somebody else may be removing it.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A folder, and not a link to one; its age is that of what was put there last.
fn is_stale(metadata: &fs::Metadata, stale_after: Duration) -> bool {
    let is_own = metadata.is_dir() && metadata.uid() == rustix::process::geteuid().as_raw();
    let age = metadata.modified().ok().and_then(|modified| modified.elapsed().ok());
    is_own && age.is_some_and(|age| age >= stale_after)
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
            folder: PathBuf::from("/tmp/a folder with spaces"),
            limits: CompileLimits { memory_bytes: 5, code_bytes: 7, ..CompileLimits::default() },
            options: Tuned { memory_bytes: 1 << 20, table_elements: 9 },
        };
        assert_eq!(Request::parse(&request.to_string()), Some(request));
        for bad in ["", "1 2 3 4 5", "a 2 3 4 5 /x", "1 2 3 4 99999999999999999999 /x"] {
            assert_eq!(Request::parse(bad), None, "{bad}");
        }
    }
    #[test]
    fn folders_that_killed_hosts_have_left_go_and_nothing_else_does() {
        let temporary = Folder::new().unwrap();
        let make = |name: &str, age: Duration| {
            let path = temporary.0.join(name);
            fs::create_dir(&path).unwrap();
            fs::write(path.join("component.wasm"), b"left").unwrap();
            let then = std::time::SystemTime::now() - age;
            fs::File::open(&path).and_then(|folder| folder.set_modified(then)).unwrap();
        };
        let hours = |n: u64| Duration::from_secs(3600 * n);
        make("voxtra-compile-1-0-00", hours(2));
        make("voxtra-compile-2-0-00", Duration::from_secs(60));
        make("elsewhere", hours(2));
        std::os::unix::fs::symlink(temporary.0.join("elsewhere"), temporary.0.join("voxtra-compile-3-0-00")).unwrap();
        clear_stale(&temporary.0, &CompileLimits::default());
        let mut left: Vec<_> = fs::read_dir(&temporary.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["elsewhere", "voxtra-compile-2-0-00", "voxtra-compile-3-0-00"]);
        assert!(temporary.0.join("elsewhere/component.wasm").exists());
        clear_stale(&temporary.0, &CompileLimits { time: hours(1), ..CompileLimits::default() });
        clear_stale(&temporary.0.join("gone"), &CompileLimits::default());
    }
}
