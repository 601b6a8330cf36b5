//! The handler's own log lines.
//!
//! Each macro takes what [`format!`] takes, and after a semicolon any fields:
//!
//! ```no_run
//! use voxtra_sdk::prelude::*;
//!
//! fn chosen(choice: &str, tries: u32) {
//!     log::info!("{choice} after {} tries", tries);
//!     log::info!("menu left"; choice = choice, tries = tries);
//! }
//! ```
//!
//! The host puts the call beside each line and escapes control characters. A call may write 64 KiB; what comes after is
//! cut. What a handler writes to its standard output or error, as a panic does, becomes lines too.

use crate::bindings::handler::voxtra::call::logging;
pub use crate::bindings::handler::voxtra::call::logging::Level;
pub use crate::{
    __log_debug as debug, __log_error as error, __log_info as info, __log_trace as trace, __log_warn as warn,
};

/// Writes one line. The macros are the comfortable way to it.
pub fn write(level: Level, message: &str, fields: &[(String, String)]) {
    logging::log(level, message, fields);
}

/// A line for whoever writes the handler.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_trace {
    ($($line:tt)+) => { $crate::__log!(Trace, $($line)+) };
}

/// A line for whoever looks for a fault.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_debug {
    ($($line:tt)+) => { $crate::__log!(Debug, $($line)+) };
}

/// A line for whoever runs the handler.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_info {
    ($($line:tt)+) => { $crate::__log!(Info, $($line)+) };
}

/// Something is odd.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_warn {
    ($($line:tt)+) => { $crate::__log!(Warn, $($line)+) };
}

/// Something failed.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_error {
    ($($line:tt)+) => { $crate::__log!(Error, $($line)+) };
}

/// What all five share.
#[doc(hidden)]
#[macro_export]
macro_rules! __log {
    ($level:ident, $format:literal $(, $argument:expr)* $(,)? $(; $($name:ident = $value:expr),+ $(,)?)?) => {
        $crate::__private::write(
            $crate::log::Level::$level,
            &::std::format!($format $(, $argument)*),
            &[$($((::std::string::String::from(::std::stringify!($name)), ::std::string::ToString::to_string(&$value))),+)?],
        )
    };
}
