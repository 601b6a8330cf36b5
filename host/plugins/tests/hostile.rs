//! Components that attack the host (`guests/hostile`, and others that are written out here, since no compiler makes them),
//! each with the outcome that is claimed of it. That nobody else's audio suffers is claimed end to end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "hostile/boundary.rs"]
mod boundary;
#[path = "hostile/ends.rs"]
mod ends;
#[path = "hostile/files.rs"]
mod files;
#[path = "hostile/forged.rs"]
mod forged;
#[path = "hostile/machine.rs"]
mod machine;
#[path = "hostile/spying.rs"]
mod spying;
#[path = "hostile/support.rs"]
mod support;
#[path = "hostile/tenants.rs"]
mod tenants;
