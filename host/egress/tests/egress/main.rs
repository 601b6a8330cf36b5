//! What handlers' HTTP does and does not do, against servers on loopback that behave in every way but well.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod addresses;
mod answers;
mod limits;
mod redirects;
mod secrets;
mod server;
mod tls;
mod world;
