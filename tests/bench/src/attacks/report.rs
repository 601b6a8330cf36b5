//! The table of attacks, for people.

use crate::stats::percentile;

use super::rows::{ROWS, Row};
use super::{ATTACKERS, By, Frames, MORE, TRIES, TURNS, VICTIMS};

/// Longer outcomes are cut in the table.
const OUTCOME_CHARS: usize = 90;

/// A row of the table.
pub(crate) struct Measured {
    row: &'static Row,
    outcome: String,
    /// So many times as far apart may frames be as without the attack.
    most: f64,
    /// How often the attack was begun while it was measured.
    pub(super) begun: u64,
    pub(super) quiet: Frames,
    pub(super) attack: Frames,
}

impl Measured {
    pub(super) fn new(row: &'static Row, outcome: &str, most: f64) -> Self {
        let (quiet, attack) = (Frames::default(), Frames::default());
        Self { row, outcome: outcome.to_owned(), most, begun: 0, quiet, attack }
    }

    /// Of frames, apart, without the attack.
    pub(crate) fn quiet_us_p99(&self) -> u64 {
        self.quiet.gap_us(0.99)
    }

    /// Of frames, apart, during the attack.
    pub(crate) fn attack_us_p99(&self) -> u64 {
        self.attack.gap_us(0.99)
    }

    pub(crate) fn ratio(&self) -> f64 {
        self.attack_us_p99() as f64 / self.quiet_us_p99().max(1) as f64
    }

    pub(super) fn is_on_time(&self) -> bool {
        self.ratio() <= self.most
    }

    /// What is not as claimed.
    pub(crate) fn fault(&self) -> Option<String> {
        let Row { threat, attack, outcome, .. } = self.row;
        if !self.outcome.contains(outcome) {
            return Some(format!("{threat}, {attack}: the outcome has no {outcome:?}: {:?}", self.outcome));
        }
        if matches!(self.row.by, By::Nobody) || self.is_on_time() {
            return None;
        }
        let (quiet, during) = (self.quiet_us_p99(), self.attack_us_p99());
        Some(format!(
            "{threat}, {attack}: 1 in 100 frames came {quiet} us after the last, {during} us during the attack"
        ))
    }

    fn short_outcome(&self) -> String {
        let cut: String = self.outcome.chars().take(OUTCOME_CHARS).collect();
        if cut.len() < self.outcome.len() { format!("{cut} ...") } else { cut }
    }
}

impl Frames {
    fn gap_us(&self, share: f64) -> u64 {
        percentile(&mut self.gaps_ns.clone(), share) / 1_000
    }

    fn delay_us(&self, share: f64) -> u64 {
        percentile(&mut self.delays_ns.clone(), share) / 1_000
    }

    /// The lowest and the highest 99th percentile of the phases.
    fn phases_us(&self) -> (u64, u64) {
        let of = |best: Option<&u64>| best.copied().unwrap_or_default() / 1_000;
        (of(self.p99_ns.iter().min()), of(self.p99_ns.iter().max()))
    }
}

/// Whose audio came the latest beside what is usual.
pub(crate) fn worst(measured: &[Measured]) -> Option<&Measured> {
    measured.iter().max_by(|a, b| a.ratio().total_cmp(&b.ratio()))
}

/// For a terminal.
pub(crate) fn to_table(measured: &[Measured]) -> String {
    let mut table = format!(
        "{:<34}{:>9}{:>9}{:>7}{:>10}{:>10}{:>9}{:>9}  {}\n",
        "attack (us; p99 but for max)", "quiet", "attack", "ratio", "max q", "max a", "echo q", "echo a", "outcome"
    );
    for m in measured {
        table += &format!(
            "{:<34}{:>9}{:>9}{:>7.3}{:>10}{:>10}{:>9}{:>9}  {} x{}\n",
            m.row.attack,
            m.quiet_us_p99(),
            m.attack_us_p99(),
            m.ratio(),
            m.quiet.gap_us(1.0),
            m.attack.gap_us(1.0),
            m.quiet.delay_us(0.99),
            m.attack.delay_us(0.99),
            m.short_outcome(),
            m.begun
        );
    }
    table
}

/// For the repository.
pub(crate) fn to_markdown(measured: &[Measured]) -> String {
    let of_all = match ROWS.len() {
        all if all == measured.len() => String::new(),
        all => format!("Of {all} attacks these are {}. ", measured.len()),
    };
    let seconds = TURNS.phase.as_secs() * TURNS.count as u64;
    let mut page = format!(
        "# Attacks by handlers, and what other calls notice of them\n\n\
         Written by `cargo xtask bench --attacks`; do not edit. {of_all}{VICTIMS} calls of one tenant echo 20 ms frames over AudioSocket \
         while {ATTACKERS} calls of another tenant attack, again and again. Measured at the callers: how long a frame comes after \
         the one before it (p99, and the longest), {seconds} s without the attack and {seconds} s with it, in turns of {} s, on \
         {} processors that callers, host and attackers share. The claim is a ratio of at most {MORE:.2} of the p99; a row that is \
         over it is measured up to {TRIES} times and the best counts, since other programs of the machine are measured as well. The \
         first row attacks nothing: it is the noise. `echo` is the way of a frame to the victim's own handler and back (p99): \
         handlers share their threads, so it grows where attackers compute; the frames keep coming all the same.\n\n\
         | threat | attack | outcome | times | quiet us | attack us | ratio | quiet max | attack max | echo quiet | echo attack |\n\
         | --- | --- | --- | --: | --: | --: | --: | --: | --: | --: | --: |\n",
        TURNS.phase.as_secs(),
        std::thread::available_parallelism().map_or(1, usize::from),
    );
    for m in measured {
        let ((quiet_low, quiet_high), (low, high)) = (m.quiet.phases_us(), m.attack.phases_us());
        page += &format!(
            "| {} | {} | {} | {} | {} ({quiet_low} to {quiet_high}) | {} ({low} to {high}) | {:.3} | {} | {} | {} | {} |\n",
            m.row.threat,
            m.row.attack,
            m.short_outcome().replace('|', "\\|"),
            m.begun,
            m.quiet_us_p99(),
            m.attack_us_p99(),
            m.ratio(),
            m.quiet.gap_us(1.0),
            m.attack.gap_us(1.0),
            m.quiet.delay_us(0.99),
            m.attack.delay_us(0.99),
        );
    }
    page
}
