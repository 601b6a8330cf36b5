//! A test's own binary as a host that is killed.

use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The ignored test `the_host` of this binary, in a child. Dropping it kills it (SIGKILL), also when the test fails.
pub(crate) struct Host(Child);

impl Host {
    /// Starts it; it finds the folder in the variable.
    pub(crate) fn start(variable: &str, folder: &Path) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_host", "--ignored", "--test-threads=1"])
            .env(variable, folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }

    /// It has not ended by itself.
    pub(crate) fn is_up(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
