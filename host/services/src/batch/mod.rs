//! Batches of outgoing calls: a list of numbers, each called until it has an outcome, and no number more often than its
//! row says.
//!
//! # What is kept, and when
//!
//! Each row of a batch is in the database as `pending` (due at some time), `dialling` or `done`. That a row is dialled is
//! on disk **before** the [`voxtra_core::Dialler`] is asked, and what came of it before anything else is done with the row.
//! So a host that was killed finds, at its next start, every row where it was; a row in `dialling` may or may not have
//! rung somebody's phone. The dialler is asked ([`voxtra_core::Dialler::trace`]): a call that certainly was not placed is
//! placed now, one that was has its outcome, and one of which nothing is known is [`Outcome::Interrupted`]. It counts as
//! an attempt and is not called again, unless the batch's [`Retries`] name `interrupted`.
//!
//! # Units and defaults
//!
//! See [`BatchOptions`]. Times at rest are milliseconds since 1970 (UTC).
//!
//! | module | what it does |
//! | --- | --- |
//! | `file` | rows from CSV, each checked |
//! | `options`, `retries`, `hours` | how a batch is to be called |
//! | `pace` | when the next call may begin |
//! | `state` | the batch at rest |
//! | `runner` | calls it |
//! | `progress`, `results` | how it stands, and what came of it |

mod file;
mod hours;
mod options;
mod pace;
mod progress;
mod results;
mod retries;
mod rows;
mod runner;
mod state;

pub use file::{BatchFile, FileError};
pub use hours::CallingHours;
pub use options::{BatchOptions, Target};
pub use progress::{Outcome, Phase, Progress};
pub use results::{RowResult, write_results};
pub use retries::{Retries, Retry, RetryOn};
pub use rows::{MAX_ROWS, RefusedRow, Row, RowRules};
pub use runner::{BatchControl, Clock};
pub use state::{BatchError, BatchId, BatchSummary, Batches};
