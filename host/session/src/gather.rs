//! The gathering of keys: when it is over, and with what. Pure; time is passed in.

use std::time::Duration;

use tokio::time::Instant;
use voxtra_core::verbs::{Digits, DigitsEnd, Gather};

/// Far enough not to matter, near enough not to overflow a clock.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// One gathering that is under way.
#[derive(Debug)]
pub(crate) struct Gathering {
    spec: Gather,
    digits: String,
    count: u32,
    began: Instant,
    /// Since when the next key is waited for; none while the prompts play.
    waiting_since: Option<Instant>,
}

impl Gathering {
    /// Begins now; its prompts, if any, play until [`Gathering::prompts_over`].
    pub(crate) fn new(mut spec: Gather, now: Instant) -> Self {
        for timeout in [&mut spec.first_timeout, &mut spec.inter_digit_timeout] {
            *timeout = (*timeout).min(FOREVER);
        }
        spec.total_timeout = spec.total_timeout.map(|total| total.min(FOREVER));
        let waiting_since = spec.prompt.is_empty().then_some(now);
        Self { spec, digits: String::new(), count: 0, began: now, waiting_since }
    }

    /// The prompts that are to be played first.
    pub(crate) fn prompts(&self) -> &[String] {
        &self.spec.prompt
    }

    /// The prompts have ended, or are not played.
    pub(crate) fn prompts_over(&mut self, now: Instant) {
        self.waiting_since.get_or_insert(now);
    }

    /// A key was pressed; what has been gathered when that ends it.
    pub(crate) fn press(&mut self, key: char, now: Instant) -> Option<Digits> {
        self.waiting_since = Some(now);
        if self.spec.terminators.contains(key) {
            let enough = self.count >= self.spec.min_digits;
            return Some(self.end(if enough { DigitsEnd::Terminator } else { DigitsEnd::Timeout }));
        }
        self.digits.push(key);
        self.count += 1;
        (self.count >= self.spec.max_digits).then(|| self.end(DigitsEnd::Maximum))
    }

    /// When it is over unless a key comes before; none while prompts play and no limit is set for all of it.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let wait = if self.count == 0 { self.spec.first_timeout } else { self.spec.inter_digit_timeout };
        let next_key = self.waiting_since.map(|since| since + wait);
        let total = self.spec.total_timeout.map(|total| self.began + total);
        [next_key, total].into_iter().flatten().min()
    }

    /// What has been gathered if its time is over.
    pub(crate) fn timed_out(&mut self, now: Instant) -> Option<Digits> {
        self.deadline().is_some_and(|deadline| deadline <= now).then(|| self.end(DigitsEnd::Timeout))
    }

    /// What has been gathered, as if its time were over.
    pub(crate) fn cut_short(&mut self) -> Digits {
        self.end(DigitsEnd::Timeout)
    }

    fn end(&mut self, ended_by: DigitsEnd) -> Digits {
        Digits { digits: std::mem::take(&mut self.digits), ended_by }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn spec(min_digits: u32, max_digits: u32, terminators: &str) -> Gather {
        Gather {
            prompt: Vec::new(),
            min_digits,
            max_digits,
            terminators: terminators.to_owned(),
            first_timeout: 5 * SECOND,
            inter_digit_timeout: 3 * SECOND,
            total_timeout: None,
        }
    }

    fn digits(digits: &str, ended_by: DigitsEnd) -> Option<Digits> {
        Some(Digits { digits: digits.to_owned(), ended_by })
    }

    #[test]
    fn it_ends_at_the_maximum_or_at_a_terminator() {
        let now = Instant::now();
        let mut gathering = Gathering::new(spec(0, 2, "#"), now);
        assert_eq!(gathering.press('1', now), None);
        assert_eq!(gathering.press('2', now), digits("12", DigitsEnd::Maximum));
        let mut gathering = Gathering::new(spec(1, 4, "#"), now);
        assert_eq!(gathering.press('1', now), None);
        assert_eq!(gathering.press('#', now), digits("1", DigitsEnd::Terminator));
    }

    #[test]
    fn a_terminator_before_the_minimum_counts_as_a_time_out() {
        let now = Instant::now();
        let mut gathering = Gathering::new(spec(2, 4, "#"), now);
        assert_eq!(gathering.press('1', now), None);
        assert_eq!(gathering.press('#', now), digits("1", DigitsEnd::Timeout));
    }

    #[test]
    fn each_key_has_its_time() {
        let start = Instant::now();
        let mut gathering = Gathering::new(spec(0, 9, ""), start);
        assert_eq!(gathering.deadline(), Some(start + 5 * SECOND));
        assert_eq!(gathering.press('1', start + 4 * SECOND), None);
        assert_eq!(gathering.deadline(), Some(start + 7 * SECOND));
        assert_eq!(gathering.timed_out(start + 6 * SECOND), None);
        assert_eq!(gathering.timed_out(start + 7 * SECOND), digits("1", DigitsEnd::Timeout));
    }

    #[test]
    fn the_first_time_counts_from_the_end_of_the_prompts() {
        let start = Instant::now();
        let mut gathering = Gathering::new(Gather { prompt: vec!["sound:a".into()], ..spec(0, 9, "") }, start);
        assert_eq!(gathering.deadline(), None);
        gathering.prompts_over(start + 10 * SECOND);
        gathering.prompts_over(start + 11 * SECOND);
        assert_eq!(gathering.deadline(), Some(start + 15 * SECOND));
    }

    #[test]
    fn the_total_time_counts_from_the_start_whatever_is_pressed() {
        let start = Instant::now();
        let total_timeout = Some(6 * SECOND);
        let mut gathering = Gathering::new(Gather { total_timeout, ..spec(0, 9, "") }, start);
        assert_eq!(gathering.press('1', start + 5 * SECOND), None);
        assert_eq!(gathering.deadline(), Some(start + 6 * SECOND));
    }

    #[test]
    fn endless_times_overflow_nothing() {
        let times = Gather { first_timeout: Duration::MAX, total_timeout: Some(Duration::MAX), ..spec(0, 9, "") };
        assert!(Gathering::new(times, Instant::now()).deadline().is_some());
    }
}
