//! What calls have used up, for whoever bills them: one row a call, in the host's database.
//!
//! ```text
//! record -> waiting rows (bounded) -> database, a group with each commit -> list, totals, JSON lines -> swept when old
//! ```
//!
//! A call's owner hands its record over and goes on. A row that waits is dropped from memory only when the commit that
//! holds it has gone well, so that a disk that is full or slow for a while loses nothing as long as the waiting rows have
//! room. After a failure they are tried again with the next row, and without one after a second, then ever later, at the latest
//! every minute. Beyond their room, rows are lost, counted ([`MeterStats::lost`]) and told in the log. `kill -9` loses what was not committed.
//!
//! # Units and defaults
//!
//! Times at rest are milliseconds since 1970 (UTC), in JSON RFC 3339 with milliseconds. Spans of time are by a call's
//! **end**, `from` included and `to` not: a call that goes on over midnight belongs to the day on which it ended, and a span
//! that is over gets no more rows. A row is known by its call's id and start together: the same record twice is one row,
//! and a PBX that counts its ids anew after a start takes nobody's row. Options: [`MeterOptions`].
//!
//! | module | what it does |
//! | --- | --- |
//! | `row` | a call at rest, and as one line of JSON |
//! | `waiting` | rows on their way to the disk |
//! | `store` | takes records, reads them back, exports, sweeps |
//! | `totals` | sums over a span |
//! | `usage` | what was used up, in numbers |
//! | `meters` | one record for several |

mod meters;
mod row;
mod store;
mod totals;
mod usage;
mod waiting;

pub use meters::Meters;
pub use row::CallRow;
pub use store::{CallQuery, ExportError, MeterOptions, MeterStats, MeterStore};
pub use totals::{Total, TotalsBy};
