//! Taking keys.

use std::fmt;
use std::time::Duration;

use crate::bindings::handler::voxtra::call::call_session::{Digits as ContractDigits, DigitsEnd, GatherOptions};
use crate::prompts::IntoPrompts;
use crate::time::to_ms;

/// How [`Call::gather`](crate::Call::gather) is to be done.
///
/// ```
/// use std::time::Duration;
/// use voxtra_sdk::Gather;
///
/// let account = Gather::new()
///     .prompt("sound:vm-enter-num-to-call")
///     .min_digits(4)
///     .max_digits(8)
///     .terminators("#")
///     .first_timeout(Duration::from_secs(8));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gather {
    options: GatherOptions,
}

impl Gather {
    /// One key, without a prompt, with no terminator, and the host's times: 5 s for the first key, 3 s for each further
    /// one.
    pub fn new() -> Self {
        Self {
            options: GatherOptions {
                prompt: Vec::new(),
                min_digits: 1,
                max_digits: 1,
                terminators: String::new(),
                first_timeout_ms: 0,
                inter_digit_timeout_ms: 0,
            },
        }
    }

    /// Adds prompts, to be played after those that are there already. The first key stops them.
    pub fn prompt(mut self, prompts: impl IntoPrompts) -> Self {
        self.options.prompt.extend(prompts.into_prompts());
        self
    }

    /// Fewer keys than this count as a time-out. 1 unless told; 0: an empty input that a terminator ended is one.
    pub fn min_digits(mut self, digits: u32) -> Self {
        self.options.min_digits = digits;
        self
    }

    /// It ends at this many keys, 1 to 64. 1 unless told.
    pub fn max_digits(mut self, digits: u32) -> Self {
        self.options.max_digits = digits;
        self
    }

    /// Keys that end the input and are not part of it, such as `#`. None unless told.
    pub fn terminators(mut self, keys: impl Into<String>) -> Self {
        self.options.terminators = keys.into();
        self
    }

    /// How long to wait for the first key, from the end of the prompts. 5 s unless told, and when it is zero.
    pub fn first_timeout(mut self, timeout: Duration) -> Self {
        self.options.first_timeout_ms = to_ms(timeout);
        self
    }

    /// How long to wait for each further key. 3 s unless told, and when it is zero.
    pub fn inter_digit_timeout(mut self, timeout: Duration) -> Self {
        self.options.inter_digit_timeout_ms = to_ms(timeout);
        self
    }

    pub(crate) fn options(&self) -> &GatherOptions {
        &self.options
    }
}

impl Default for Gather {
    fn default() -> Self {
        Self::new()
    }
}

/// The keys that were pressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digits {
    /// The keys, without the terminator; may be empty.
    pub digits: String,
    /// What ended the input.
    pub ended_by: DigitsEnd,
}

impl Digits {
    /// The keys as text, for a `match`. Empty when none was pressed.
    pub fn as_str(&self) -> &str {
        &self.digits
    }

    /// Whether no key was pressed.
    pub fn is_empty(&self) -> bool {
        self.digits.is_empty()
    }

    /// Whether it ended because the time had passed; what was pressed until then is there.
    pub fn timed_out(&self) -> bool {
        self.ended_by == DigitsEnd::Timeout
    }
}

impl fmt::Display for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.digits)
    }
}

impl From<ContractDigits> for Digits {
    fn from(digits: ContractDigits) -> Self {
        Self { digits: digits.digits, ended_by: digits.ended_by }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_left_to_the_host() {
        let options = Gather::new().prompt("sound:a").prompt(["digits:1", "digits:2"]).options().clone();
        assert_eq!(options.prompt, ["sound:a", "digits:1", "digits:2"]);
        assert_eq!((options.min_digits, options.max_digits), (1, 1));
        assert_eq!((options.first_timeout_ms, options.inter_digit_timeout_ms), (0, 0));
    }

    #[test]
    fn what_is_said_reaches_the_host_in_its_units() {
        let gather = Gather::new()
            .min_digits(2)
            .max_digits(8)
            .terminators("#")
            .first_timeout(Duration::from_secs(8))
            .inter_digit_timeout(Duration::from_micros(10));
        let options = gather.options();
        assert_eq!((options.min_digits, options.max_digits), (2, 8));
        assert_eq!(options.terminators, "#");
        assert_eq!((options.first_timeout_ms, options.inter_digit_timeout_ms), (8_000, 1));
    }
}
