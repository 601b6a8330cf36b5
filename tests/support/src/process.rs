//! Child processes that cannot outlive this one, whatever ends it.
//!
//! Linux can send a child a signal when its parent dies, but "parent" there means the thread that started it. All
//! children are therefore started by one thread that lives as long as the process.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// A command for [`spawn`]: its child is killed when this process dies.
///
/// Where `setpriv` (util-linux) is missing, a small shell loop watches this process instead, once a second.
#[must_use]
pub fn tethered(program: impl AsRef<OsStr>) -> Command {
    let Some(setpriv) = self::program("setpriv") else {
        let mut command = Command::new("sh");
        command.args(["-c", UNDER_WATCH, "sh"]).arg(std::process::id().to_string()).arg(program);
        return command;
    };
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// Becomes the program, after leaving a watcher behind that kills it once process $1 is gone.
const UNDER_WATCH: &str = r#"
parent=$1; child=$$; shift
(while kill -0 "$child"; do kill -0 "$parent" || kill -KILL "$child"; sleep 1; done) <&- >&- 2>&- &
exec "$@""#;

/// Starts a command made with [`tethered`].
///
/// # Errors
/// As [`Command::spawn`], except that a missing program shows as a child that ends with code 127.
pub fn spawn(command: Command) -> io::Result<Child> {
    type Order = (Command, SyncSender<io::Result<Child>>);
    static ORDERS: OnceLock<Mutex<Option<SyncSender<Order>>>> = OnceLock::new();

    let mut orders = ORDERS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    let sender = match &*orders {
        Some(sender) => sender,
        None => {
            let (sender, receiver) = sync_channel::<Order>(1);
            std::thread::Builder::new().name("starts-children".into()).spawn(move || {
                while let Ok((mut command, answer)) = receiver.recv() {
                    let _ = answer.send(command.spawn());
                }
            })?;
            orders.insert(sender)
        }
    };
    let (answer, child) = sync_channel(1);
    let gone = || io::Error::other("the thread that starts children has ended");
    sender.send((command, answer)).map_err(|_| gone())?;
    child.recv().map_err(|_| gone())?
}

/// The path of a program that `$PATH` finds.
#[must_use]
pub fn program(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| is_executable(path))
}

pub(crate) fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// Waits for a child at most so long; `None` when it still runs.
///
/// # Errors
/// As [`Child::try_wait`].
pub async fn wait_for_exit(child: &mut Child, limit: Duration) -> io::Result<Option<std::process::ExitStatus>> {
    let until = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= until {
            return Ok(None);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Sends a child SIGTERM (by the `kill` of the shell, as the standard library only knows SIGKILL).
///
/// # Errors
/// When there is no shell, or the child is gone.
pub fn terminate(child: &Child) -> io::Result<()> {
    let status =
        Command::new("sh").arg("-c").arg("kill -TERM \"$1\"").arg("sh").arg(child.id().to_string()).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other("the process is gone")) }
}
