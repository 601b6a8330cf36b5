//! When audio goes out.
//!
//! The pacer keeps one figure, the moment until which what was sent will last at the other side, and compares it with
//! the time it is given (since any fixed start, so also a virtual one):
//!
//! - Audio goes out at once as long as that leaves no more than [`MAX_AHEAD_MS`] sent ahead of time: an echo never
//!   waits for a tick, a prompt of minutes never piles up where it cannot be recalled.
//! - Silence is sent only to a side that has had nothing for so long that it is more than [`FILLER_SLACK_MS`] behind
//!   even with it, and one frame at a time. So audio that comes a little late finds room, and does not pile up behind
//!   the filler.
//! - After a stall the schedule moves forward to now: what was missed is not made up for in a burst.

use std::time::Duration;

use voxtra_core::media::FRAME_MS;

/// How much may be sent ahead of time: enough to ride out a late tick or two, little enough to interrupt.
pub const MAX_AHEAD_MS: u32 = 60;

/// How far behind now filler silence stays: two frames, so that late audio does not pile up behind it.
pub const FILLER_SLACK_MS: u32 = 40;

const NS_PER_MS: i64 = 1_000_000;
const FRAME_NS: i64 = FRAME_MS as i64 * NS_PER_MS;
const MAX_AHEAD_NS: i64 = MAX_AHEAD_MS as i64 * NS_PER_MS;
const SLACK_NS: i64 = FILLER_SLACK_MS as i64 * NS_PER_MS;

/// The media clock of one connection.
#[derive(Debug, Clone)]
pub struct Pacer {
    /// Until when what was sent lasts.
    sent_until_ns: i64,
    /// Whether silence of our own was the last that was sent.
    filling: bool,
}

impl Pacer {
    /// A connection on which nothing was sent yet.
    pub fn new(now: Duration) -> Self {
        Self { sent_until_ns: ns(now), filling: true }
    }

    /// Whether so much audio may go out now. When it may, it counts as sent.
    pub fn send(&mut self, now: Duration, audio: Duration) -> bool {
        let now_ns = ns(now);
        // A talk spurt starts now. Within one, what a stall held up may catch up by the slack: held back it would
        // stay late for as long as it goes on.
        let behind_ns = if self.filling { 0 } else { SLACK_NS };
        let starts_ns = self.sent_until_ns.max(now_ns.saturating_sub(behind_ns));
        let ends_ns = starts_ns.saturating_add(ns(audio));
        if ends_ns > now_ns.saturating_add(MAX_AHEAD_NS) {
            return false;
        }
        self.sent_until_ns = ends_ns;
        self.filling = false;
        true
    }

    /// Whether to send 20 ms of silence now that there is nothing to say; it then counts as sent.
    pub fn fill(&mut self, now: Duration) -> bool {
        let ends_ns = ns(now).saturating_sub(SLACK_NS);
        if self.sent_until_ns.saturating_add(FRAME_NS) > ends_ns {
            return false;
        }
        // Silence that was missed is not made up for; a frame of play lets each tick, late or early, send its own.
        self.sent_until_ns = self.sent_until_ns.saturating_add(FRAME_NS).max(ends_ns.saturating_sub(FRAME_NS));
        self.filling = true;
        true
    }

    /// Takes back what counted as sent and was then thrown away.
    pub fn take_back(&mut self, audio: Duration) {
        self.sent_until_ns = self.sent_until_ns.saturating_sub(ns(audio));
    }

    /// When there is next something to do: to send the audio that waits, or without any to send filler.
    pub fn due(&self, waiting: Option<Duration>) -> Duration {
        let due_ns = match waiting {
            Some(audio) => self.sent_until_ns.saturating_add(ns(audio)).saturating_sub(MAX_AHEAD_NS),
            None => self.sent_until_ns.saturating_add(SLACK_NS + FRAME_NS),
        };
        Duration::from_nanos(u64::try_from(due_ns).unwrap_or(0))
    }

    /// Until when what was sent lasts.
    pub fn sent_until(&self) -> Duration {
        Duration::from_nanos(u64::try_from(self.sent_until_ns).unwrap_or(0))
    }

    /// Until when what was sent lasts, less the time: negative when the other side has run dry.
    pub fn ahead_ms(&self, now: Duration) -> i64 {
        self.sent_until_ns.saturating_sub(ns(now)) / NS_PER_MS
    }
}

/// How long so many bytes of 16-bit mono last. Rounded up, so that nothing ever counts for less than it is.
pub const fn duration_of(bytes: usize, rate_hz: u32) -> Duration {
    if rate_hz == 0 {
        return Duration::ZERO;
    }
    Duration::from_nanos((bytes as u64 / 2).saturating_mul(1_000_000_000).div_ceil(rate_hz as u64))
}

fn ns(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FRAME: Duration = Duration::from_millis(20);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn sent_now(pacer: &mut Pacer, now: Duration) -> u32 {
        (0..).find(|_| !pacer.send(now, FRAME)).unwrap_or(0)
    }

    #[test]
    fn a_burst_stops_60_ms_ahead_and_goes_on_by_the_clock() {
        let mut pacer = Pacer::new(ms(0));
        assert_eq!(sent_now(&mut pacer, ms(0)), 3);
        assert_eq!(pacer.due(Some(FRAME)), ms(20));
        assert_eq!(sent_now(&mut pacer, ms(19)), 0);
        assert_eq!(sent_now(&mut pacer, ms(20)), 1);
        // A tick that comes 30 ms late makes up for what it missed.
        assert_eq!(sent_now(&mut pacer, ms(70)), 2);
    }

    #[test]
    fn an_echo_with_jitter_never_waits_and_gets_no_filler() {
        let mut pacer = Pacer::new(ms(0));
        assert!(pacer.send(ms(200), FRAME));
        for frame in 11..3_000_u64 {
            // Up to 50 ms late, never out of order.
            let arrives = ms(frame * 20 + frame * 7_919 % 19 + 31 * u64::from(frame % 10 < 3));
            for tick in (frame * 20 + 3..).step_by(20).map(ms).take_while(|tick| *tick < arrives) {
                assert!(!pacer.fill(tick), "frame {frame}");
            }
            assert!(pacer.send(arrives, FRAME), "frame {frame}");
        }
    }

    #[test]
    fn an_idle_side_gets_one_frame_of_silence_a_tick() {
        let mut pacer = Pacer::new(ms(0));
        let frames = (1..=500).filter(|tick| pacer.fill(ms(tick * 20))).count();
        assert_eq!(frames, 500 - 2);
        // Also when ticks are late or left out.
        let frames = (501..=1_000).filter(|tick| tick % 7 != 0 && pacer.fill(ms(tick * 20 + tick % 13))).count();
        assert_eq!(frames, 500 - 71);
    }

    #[test]
    fn filler_waits_until_the_other_side_is_two_frames_behind() {
        let mut pacer = Pacer::new(ms(1_000));
        assert!(pacer.send(ms(1_000), FRAME));
        assert!(!pacer.fill(ms(1_020)));
        assert!(!pacer.fill(ms(1_079)));
        let due = pacer.due(None);
        assert_eq!(due, ms(1_080));
        assert!(pacer.fill(due));
        assert!(!pacer.fill(due));
    }

    #[test]
    fn late_audio_does_not_wait_behind_filler() {
        let mut pacer = Pacer::new(ms(0));
        for tick in 1..50 {
            pacer.fill(ms(tick * 20));
        }
        assert_eq!(sent_now(&mut pacer, ms(990)), 3);
    }

    #[test]
    fn after_a_stall_there_is_no_burst() {
        let mut pacer = Pacer::new(ms(0));
        assert!(pacer.send(ms(0), FRAME));
        assert_eq!(sent_now(&mut pacer.clone(), ms(10_000)), 5);
        assert!(pacer.fill(ms(10_000)));
        assert!(pacer.fill(ms(10_001)));
        assert!(!pacer.fill(ms(10_009)));
        assert_eq!(sent_now(&mut pacer, ms(10_009)), 3);
    }

    #[test]
    fn what_is_thrown_away_does_not_count() {
        let mut pacer = Pacer::new(ms(0));
        assert_eq!(sent_now(&mut pacer, ms(0)), 3);
        pacer.take_back(ms(40));
        assert_eq!(sent_now(&mut pacer, ms(0)), 2);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Wait(u64),
        Audio(u64),
        Tick,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0_u64..50_000).prop_map(Step::Wait),
            (0_u64..3_000_000).prop_map(Step::Wait),
            (1_u64..=20_000).prop_map(Step::Audio),
            Just(Step::Tick),
        ];
        prop::collection::vec(step, 1..400)
    }

    proptest! {
        #[test]
        fn the_rules_hold_whatever_comes_when(steps in steps()) {
            let mut now = Duration::ZERO;
            let mut pacer = Pacer::new(now);
            // What the other side has really received and not yet played.
            let mut unplayed_until = Duration::ZERO;
            for step in steps {
                match step {
                    Step::Wait(us) => now += Duration::from_micros(us),
                    Step::Audio(us) => {
                        let audio = Duration::from_micros(us);
                        let behind = pacer.ahead_ms(now) < 0;
                        if pacer.send(now, audio) {
                            unplayed_until = unplayed_until.max(now) + audio;
                        } else {
                            prop_assert!(!behind, "held back though behind");
                            prop_assert!(pacer.due(Some(audio)) > now, "held back though due");
                        }
                    }
                    Step::Tick => {
                        let due = pacer.due(None) <= now;
                        let filled = pacer.fill(now);
                        prop_assert_eq!(due, filled);
                        if filled {
                            prop_assert!(pacer.ahead_ms(now) <= -i64::from(FILLER_SLACK_MS));
                            unplayed_until = unplayed_until.max(now) + FRAME;
                        }
                    }
                }
                prop_assert!(pacer.ahead_ms(now) <= i64::from(MAX_AHEAD_MS));
                // The other side starts to play what it gets when it gets it; the schedule may lag behind that by the
                // slack that a stall is caught up with, and by one frame of filler.
                let limit = MAX_AHEAD_MS + FILLER_SLACK_MS + FRAME_MS;
                prop_assert!(unplayed_until <= now + ms(u64::from(limit)), "{:?}", unplayed_until - now);
            }
        }

        #[test]
        fn no_time_makes_it_fail(now in any::<Duration>(), audio in any::<Duration>()) {
            let mut pacer = Pacer::new(Duration::ZERO);
            pacer.send(now, audio);
            pacer.fill(now);
            pacer.take_back(audio);
            pacer.due(Some(audio));
            pacer.due(None);
            pacer.ahead_ms(now);
        }
    }
}
