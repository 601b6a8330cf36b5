//! What each command does, with an example.

use anyhow::{Context, Result};

const COMMANDS: [(&str, &str); 9] = [
    (
        "demo",
        "cargo xtask demo [ARGS…]

  Builds the guests and the host, and runs `voxtra demo`: simulated calls to the example handlers, with a recording and
  a timeline of each in target/demo. ARGS are passed on to it.

  Example:  cargo xtask demo
",
    ),
    (
        "test",
        "cargo xtask test [FILTER]

  Builds the guests and the host, fetches a private Asterisk and SIPp from Debian's packages where there is none in the
  cache, and runs all tests, or those whose names hold FILTER. Tests that cannot run are listed by name at the end.

  VOXTRA_REQUIRE_ASTERISK=1   makes a missing Asterisk, Node.js or Python a failure
  VOXTRA_CACHE=DIR            keeps what is fetched there instead of ~/.cache/voxtra
  VOXTRA_DEBIAN_MIRROR=URL    fetches from there instead of the mirror that this machine's apt uses

  Example:  cargo xtask test
            cargo xtask test echo
",
    ),
    (
        "bench",
        "cargo xtask bench [ARGS…]

  Builds the guests and the benchmarks, and runs these. ARGS are passed on; only results go to stdout.

  Example:  cargo xtask bench --json > bench.json
",
    ),
    (
        "guests",
        "cargo xtask guests

  Builds the example handlers into target/guests: minimal.wasm, ivr-menu.wasm and the like. Those in JavaScript and
  Python need Node.js with npm, and Python with pip; their tools are fetched into the cache, not installed.

  Example:  cargo xtask guests
",
    ),
    (
        "guest-build",
        "cargo xtask guest-build DIR

  Builds a handler of your own, the Rust package in DIR, wherever that is, and prints the path of the component.

  Example:  cargo xtask guest-build ../my-handler
",
    ),
    (
        "guest-rustc",
        "cargo xtask guest-rustc

  Prints the path of a compiler for wasm32-wasip2: your own where its target is installed, else one whose standard
  library is built once, from Debian's packaged source, into the cache.

  Example:  RUSTC=$(cargo xtask guest-rustc) cargo build --release --target wasm32-wasip2
",
    ),
    (
        "asterisk",
        "cargo xtask asterisk

  Fetches the private Asterisk and SIPp into the cache, as `test` does, starts one Asterisk, prints where it answers and
  the host's environment for it, and keeps it until you press Ctrl-C.

  Example:  cargo xtask asterisk
",
    ),
    (
        "deps",
        "cargo xtask deps

  Checks the dependency tree: licences, heavy crates in two versions, and which of our crates may use which.

  Example:  cargo xtask deps
",
    ),
    (
        "ci",
        "cargo xtask ci

  Everything that must hold before a change lands: formatting, lints, documentation, dependencies, all tests with
  Asterisk, the demo. Prints how long each took.

  Example:  cargo xtask ci
",
    ),
];

/// Whether there is such a command.
pub(crate) fn knows(command: &str) -> bool {
    COMMANDS.iter().any(|(name, _)| *name == command)
}

/// The help of one command, or of all.
pub(crate) fn of(command: Option<&String>) -> Result<String> {
    if let Some(command) = command {
        let found = COMMANDS.iter().find(|(name, _)| name == command);
        let (_, text) = found.with_context(|| format!("there is no command `{command}`: see `cargo xtask --help`"))?;
        return Ok((*text).to_owned());
    }
    let all: Vec<&str> = COMMANDS.iter().map(|(_, text)| *text).collect();
    Ok(format!("The project's chores. Nothing is installed in the system.\n\n{}", all.join("\n")))
}
