//! A compiler that waits.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use voxtra_plugins::{Aside, CompileLimits};

/// A compiler that begins when somebody writes into a pipe. It is the test program itself, in its test `the_compiler`.
pub(crate) struct Gate {
    pipe: PathBuf,
    program: PathBuf,
}

impl Gate {
    pub(crate) fn new(dir: &Path) -> Self {
        let gate = Self { pipe: dir.join("gate"), program: dir.join("compiler") };
        assert!(Command::new("mkfifo").arg(&gate.pipe).status().unwrap().success());
        let (pipe, this) = (gate.pipe.display(), std::env::current_exe().unwrap());
        let text = format!(
            "#!/bin/sh\nread line < '{pipe}'\nexec '{}' the_compiler --exact --ignored --quiet\n",
            this.display()
        );
        fs::write(&gate.program, text).unwrap();
        fs::set_permissions(&gate.program, fs::Permissions::from_mode(0o755)).unwrap();
        gate
    }

    pub(crate) fn compiler(&self) -> Aside {
        Aside { program: self.program.clone(), args: Vec::new(), limits: CompileLimits::default() }
    }

    /// Lets so many compilers begin, also those that come later, as long as the file is held.
    pub(crate) fn open_for(&self, compilers: usize) -> File {
        let mut pipe = OpenOptions::new().read(true).write(true).open(&self.pipe).unwrap();
        pipe.write_all("\n".repeat(compilers).as_bytes()).unwrap();
        pipe
    }

    /// Blocks until a compiler waits.
    pub(crate) fn open(&self) {
        fs::write(&self.pipe, "\n").unwrap();
    }
}
