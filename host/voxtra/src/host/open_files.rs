//! How many files the host may have open: a call needs some, and a component that is loaded one or more.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a call has open: its audio connection, and what it plays or records.
const PER_CALL: u64 = 4;

/// What the host has open without calls, with a few hundred components.
const BESIDE: u64 = 1_024;

/// Raises the limit of open files to what the host may give itself: the usual one, 1024, is for programs that wait for a few.
/// Returns a sentence when that is too few for `max_calls`.
pub(crate) fn raise(max_calls: u32) -> Option<String> {
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let most = if raised.is_ok() { limit.maximum } else { limit.current };
    let needed = needed(max_calls);
    most.filter(|most| *most < needed).map(|most| {
        format!(
            "the host may open {most} files, and {max_calls} calls at once need up to {needed}; raise its limit \
             (LimitNOFILE= of systemd, ulimit -Hn), or lower limits.max_calls"
        )
    })
}

fn needed(max_calls: u32) -> u64 {
    u64::from(max_calls) * PER_CALL + BESIDE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_open_files_is_raised_as_far_as_it_may_be() {
        let told = raise(0);
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        assert_eq!(told.is_some(), limit.maximum.is_some_and(|most| most < BESIDE));
        assert_eq!(raise(u32::MAX).is_some(), limit.maximum.is_some_and(|most| most < needed(u32::MAX)));
    }
}
