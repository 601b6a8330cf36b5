//! What came in: samples in their places, the times of packets, key presses.

use std::collections::HashSet;
use std::time::Duration;

use super::packet::{Codec, Event, KEYS, Packet};

const SAMPLES_PER_SECOND: f64 = 8000.0;

/// A packet this far from where its timestamp says begins anew at its arrival: the sender has started another stream
/// or skipped its clock. More than any jitter of a loopback under load.
const NEW_START_SAMPLES: i64 = 1600;

/// A packet that comes so much later than its timestamp says is late: a telephone's usual jitter buffer has given up.
const LATE: Duration = Duration::from_millis(40);

/// The upper ends of the histogram's buckets, in milliseconds; the last bucket is open.
const GAP_BUCKETS_MS: [u32; 7] = [5, 15, 25, 40, 60, 100, 500];

/// Longest recording: ten minutes, so that a stray timestamp cannot ask for all memory.
const LONGEST_SAMPLES: i64 = 8000 * 600;

/// Counts of an endpoint's packets.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RtpStats {
    /// Audio packets sent, key presses included.
    pub sent: u64,
    /// Audio packets received.
    pub received: u64,
    /// Sequence numbers that never came.
    pub lost: u64,
    /// Packets that came after a later one.
    pub reordered: u64,
    /// Packets that came more than 40 ms later than their timestamps say.
    pub late: u64,
    /// The time between the arrivals of neighbours, in milliseconds.
    pub gap_ms_p50: f64,
    /// The same, of which one in a hundred is longer.
    pub gap_ms_p99: f64,
    /// The longest.
    pub gap_ms_max: f64,
    /// How many gaps are at most so many milliseconds long and longer than the bucket before; the last is open.
    pub gaps: Vec<(u32, u64)>,
    /// When the first packet came, in milliseconds since the endpoint was opened.
    pub first_at_ms: Option<f64>,
}

#[derive(Debug, Default)]
pub(crate) struct Received {
    pieces: Vec<(i64, Vec<i16>)>,
    arrivals: Vec<Duration>,
    stream: Option<Stream>,
    /// The source and the highest sequence number so far.
    highest: Option<(u32, u16)>,
    lost: u64,
    reordered: u64,
    late: u64,
    keys: String,
    presses: HashSet<(u32, u32)>,
}

/// A run of packets with one source and an unbroken clock.
#[derive(Debug)]
struct Stream {
    source: u32,
    timestamp: u32,
    /// Where the packet with that timestamp was placed, in samples since the beginning.
    position: i64,
    /// The shortest way so far, which is what lateness is counted from.
    least_delay_samples: i64,
}

impl Received {
    pub(crate) fn audio(&mut self, packet: &Packet<'_>, codec: Codec, at: Duration) {
        let arrived = (at.as_secs_f64() * SAMPLES_PER_SECOND) as i64;
        self.arrivals.push(at);
        self.count(packet);
        let position = match self.stream.as_mut().and_then(|stream| stream.place(packet, arrived)) {
            Some((position, late)) => {
                self.late += u64::from(late);
                position
            }
            None => {
                self.stream = Some(Stream {
                    source: packet.source,
                    timestamp: packet.timestamp,
                    position: arrived,
                    least_delay_samples: 0,
                });
                arrived
            }
        };
        if (0..LONGEST_SAMPLES).contains(&position) {
            self.pieces.push((position, packet.payload.iter().map(|byte| codec.decode(*byte)).collect()));
        }
    }

    pub(crate) fn event(&mut self, packet: &Packet<'_>) {
        self.count(packet);
        let Some(event) = Event::parse(packet.payload).filter(|event| event.end) else { return };
        let key = KEYS.get(usize::from(event.code));
        // The end comes three times with one timestamp.
        if let Some(key) = key
            && self.presses.insert((packet.source, packet.timestamp))
        {
            self.keys.push(char::from(*key));
        }
    }

    /// Audio and events share their sequence numbers.
    fn count(&mut self, packet: &Packet<'_>) {
        let ahead = match self.highest {
            Some((source, highest)) if source == packet.source => packet.sequence.wrapping_sub(highest),
            _ => 1,
        };
        if ahead == 0 || ahead >= 0x8000 {
            self.reordered += 1;
            self.lost = self.lost.saturating_sub(1);
        } else {
            self.highest = Some((packet.source, packet.sequence));
            self.lost += u64::from(ahead - 1);
        }
    }

    pub(crate) fn keys(&self) -> &str {
        &self.keys
    }

    pub(crate) fn samples(&self) -> Vec<i16> {
        let end = self.pieces.iter().map(|(at, piece)| *at as usize + piece.len()).max().unwrap_or(0);
        let mut samples = vec![0; end];
        for (at, piece) in &self.pieces {
            if let Some(place) = samples.get_mut(*at as usize..*at as usize + piece.len()) {
                place.copy_from_slice(piece);
            }
        }
        samples
    }

    pub(crate) fn stats(&self, sent: u64) -> RtpStats {
        let mut gaps_ms: Vec<f64> =
            self.arrivals.windows(2).map(|w| (w[1].saturating_sub(w[0])).as_secs_f64() * 1000.0).collect();
        gaps_ms.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| {
            let last = gaps_ms.len().saturating_sub(1) as f64;
            gaps_ms.get((last * share).round() as usize).copied().unwrap_or_default()
        };
        let up_to = |ms: f64| gaps_ms.partition_point(|gap| *gap <= ms) as u64;
        let mut gaps = Vec::with_capacity(GAP_BUCKETS_MS.len() + 1);
        let mut counted = 0;
        for end in GAP_BUCKETS_MS {
            gaps.push((end, up_to(f64::from(end)) - counted));
            counted = up_to(f64::from(end));
        }
        gaps.push((u32::MAX, gaps_ms.len() as u64 - counted));
        RtpStats {
            sent,
            received: self.arrivals.len() as u64,
            lost: self.lost,
            reordered: self.reordered,
            late: self.late,
            gap_ms_p50: at(0.5),
            gap_ms_p99: at(0.99),
            gap_ms_max: at(1.0),
            gaps,
            first_at_ms: self.arrivals.first().map(|at| at.as_secs_f64() * 1000.0),
        }
    }
}

impl Stream {
    /// Where the packet belongs and whether it is late; `None` when it belongs to another run.
    fn place(&mut self, packet: &Packet<'_>, arrived: i64) -> Option<(i64, bool)> {
        let by_clock = self.position + i64::from(packet.timestamp.wrapping_sub(self.timestamp) as i32);
        let delay = arrived - by_clock;
        if packet.source != self.source || delay.abs() > NEW_START_SAMPLES {
            return None;
        }
        self.least_delay_samples = self.least_delay_samples.min(delay);
        let late = (delay - self.least_delay_samples) as f64 > LATE.as_secs_f64() * SAMPLES_PER_SECOND;
        Some((by_clock, late))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(received: &mut Received, sequence: u16, timestamp: u32, at_ms: u64) {
        let payload = [Codec::Pcmu.encode(1000); 160];
        let packet = Packet { payload_type: 0, sequence, timestamp, source: 1, payload: &payload };
        received.audio(&packet, Codec::Pcmu, Duration::from_millis(at_ms));
    }

    #[test]
    fn losses_reordering_and_lateness_are_counted() {
        let mut received = Received::default();
        for (sequence, at_ms) in [(65_534, 100), (65_535, 120), (1, 160), (0, 161), (2, 180), (5, 240), (6, 310)] {
            hear(&mut received, sequence, u32::from(sequence.wrapping_sub(65_534)) * 160, at_ms);
        }
        let stats = received.stats(0);
        assert_eq!((stats.received, stats.lost, stats.reordered, stats.late), (7, 2, 1, 1));
        assert_eq!(stats.gap_ms_max, 70.0);
        assert_eq!(stats.gaps.iter().map(|(_, n)| n).sum::<u64>(), 6);
    }

    #[test]
    fn jitter_makes_no_holes_and_pauses_stay() {
        let mut received = Received::default();
        for (n, at_ms) in [(0, 10), (1, 33), (2, 49), (3, 75)] {
            hear(&mut received, n, u32::from(n) * 160, at_ms);
        }
        // After a pause with the clock stopped.
        hear(&mut received, 4, 640, 1000);
        let samples = received.samples();
        assert_eq!(samples.len(), 8160);
        assert!(samples[80..720].iter().all(|s| *s > 900));
        assert!(samples[720..8000].iter().all(|s| *s == 0));
    }
}
