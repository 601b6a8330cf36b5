//! The host's own door for its operator: a local socket that only the host's user may open. One line of JSON asks, one
//! line of JSON answers.

mod client;
mod protocol;
mod server;

pub(crate) use client::{ask, ask_when_there};
pub(crate) use protocol::{Answer, BatchQuestion, HandlerQuestion, Question};
pub(crate) use server::{Answers, Door};
