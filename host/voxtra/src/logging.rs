//! The log, on stderr: lines for people, or JSON for machines.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// The target under which the lines of handlers come.
const HANDLERS: &str = "handler";

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged of our own crates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogOptions {
    pub(crate) format: LogFormat,
    pub(crate) level: LevelFilter,
    /// Whether lines begin with the time of day; it means nothing when the clock is virtual.
    pub(crate) with_time: bool,
}

/// The level for so many `-v`, from a level that a command finds right.
pub(crate) fn level(quiet: LevelFilter, verbose: u8) -> LevelFilter {
    const LOUDER: [LevelFilter; 4] = [LevelFilter::WARN, LevelFilter::INFO, LevelFilter::DEBUG, LevelFilter::TRACE];
    let start = LOUDER.iter().position(|level| *level == quiet).unwrap_or_default();
    LOUDER.get(start + usize::from(verbose)).copied().unwrap_or(LevelFilter::TRACE)
}

/// Starts the log. Only the first start counts.
pub(crate) fn start(options: LogOptions) {
    // Other people's crates say little that an operator can act on.
    let others = options.level.min(LevelFilter::WARN);
    let ours = [("voxtra", options.level), (HANDLERS, options.level)];
    let targets = Targets::new().with_default(others).with_targets(ours);
    let registry = tracing_subscriber::registry();
    let started = match (options.format, options.with_time) {
        (LogFormat::Json, _) => {
            let layer = fmt::layer().json().flatten_event(true).with_writer(std::io::stderr);
            registry.with(layer.with_filter(targets)).try_init()
        }
        (LogFormat::Text, with_time) => {
            let layer =
                fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_target(false).with_writer(std::io::stderr);
            match with_time {
                true => registry.with(layer.with_filter(targets)).try_init(),
                false => registry.with(layer.without_time().with_filter(targets)).try_init(),
            }
        }
    };
    // Somebody's test started one before.
    let _ = started;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_v_is_one_step_louder() {
        assert_eq!(level(LevelFilter::WARN, 0), LevelFilter::WARN);
        assert_eq!(level(LevelFilter::WARN, 2), LevelFilter::DEBUG);
        assert_eq!(level(LevelFilter::INFO, 1), LevelFilter::DEBUG);
        assert_eq!(level(LevelFilter::INFO, 9), LevelFilter::TRACE);
    }
}
