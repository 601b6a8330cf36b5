//! What goes out next: queued speech, key presses in its place, silence otherwise.

use std::collections::VecDeque;
use std::time::Duration;

use super::PACKET_MS;
use super::packet::{Codec, EVENT_PAYLOAD_TYPE, Event, Packet, event_code};
use crate::random::Random;

const PACKET_SAMPLES: u32 = 160;

/// Packets of a key press with a growing duration: 160 ms.
const PRESS_PACKETS: u16 = 8;

/// The end of a press is sent three times, as RFC 4733, 2.5.1.4 advises, so that one loss does no harm.
const END_PACKETS: u16 = 3;

/// Silence after a press.
const REST_PACKETS: u16 = 5;

#[derive(Debug)]
pub(crate) struct Outgoing {
    signals: VecDeque<Signal>,
    /// Of each signal ever queued.
    began: Vec<Option<Duration>>,
    keys: VecDeque<u8>,
    press: Option<Press>,
    sequence: u16,
    timestamp: u32,
    source: u32,
    sent: u64,
}

#[derive(Debug)]
struct Signal {
    number: usize,
    samples: VecDeque<i16>,
}

#[derive(Debug)]
struct Press {
    code: u8,
    packet: u16,
    timestamp: u32,
}

/// The packets of key presses and the time at which each is sent.
pub(crate) fn presses(keys: &str) -> Vec<(Duration, Vec<u8>)> {
    let mut outgoing = Outgoing::default();
    outgoing.press(keys);
    let mut packets = Vec::new();
    let mut now = Duration::ZERO;
    while !outgoing.is_empty() {
        outgoing.take_up_key();
        match outgoing.event() {
            Some(packet) => {
                packets.push((now, packet));
                outgoing.advance();
            }
            // Nothing is sent in the rest after a key, so no number may go by.
            None => outgoing.timestamp = outgoing.timestamp.wrapping_add(PACKET_SAMPLES),
        }
        now += Duration::from_millis(PACKET_MS);
    }
    packets
}

impl Default for Outgoing {
    fn default() -> Self {
        let mut random = Random::fresh();
        Self {
            signals: VecDeque::new(),
            began: Vec::new(),
            keys: VecDeque::new(),
            press: None,
            sequence: random.next_u16(),
            timestamp: random.next_u32(),
            source: random.next_u32(),
            sent: 0,
        }
    }
}

impl Outgoing {
    pub(crate) fn speak(&mut self, signal: &[i16]) -> usize {
        let number = self.began.len();
        self.began.push(None);
        self.signals.push_back(Signal { number, samples: signal.iter().copied().collect() });
        number
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.keys.extend(keys.chars().filter_map(event_code));
    }

    pub(crate) fn spoken_at(&self, signal: usize) -> Option<Duration> {
        self.began.get(signal).copied().flatten()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.signals.is_empty() && self.keys.is_empty() && self.press.is_none()
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// The packet of this tick.
    pub(crate) fn next(&mut self, codec: Codec, now: Duration) -> Vec<u8> {
        self.take_up_key();
        // Speech waits for the rest after a key press to pass.
        let speaks = self.press.is_none();
        let bytes = self.event().unwrap_or_else(|| self.audio(codec, now, speaks));
        self.advance();
        bytes
    }

    fn take_up_key(&mut self) {
        if self.press.is_none() {
            self.press = self.keys.pop_front().map(|code| Press { code, packet: 0, timestamp: self.timestamp });
        }
    }

    fn advance(&mut self) {
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(PACKET_SAMPLES);
        self.sent += 1;
    }

    /// `None` when no key is down, the rest after it included.
    fn event(&mut self) -> Option<Vec<u8>> {
        let press = self.press.as_mut()?;
        let number = press.packet;
        press.packet += 1;
        if number >= PRESS_PACKETS + END_PACKETS {
            if press.packet >= PRESS_PACKETS + END_PACKETS + REST_PACKETS {
                self.press = None;
            }
            return None;
        }
        let duration = (number + 1).min(PRESS_PACKETS) * PACKET_SAMPLES as u16;
        let payload = Event { code: press.code, end: number >= PRESS_PACKETS, duration }.bytes();
        let packet = Packet {
            payload_type: EVENT_PAYLOAD_TYPE,
            sequence: self.sequence,
            timestamp: press.timestamp,
            source: self.source,
            payload: &payload,
        };
        Some(packet.bytes(number == 0))
    }

    fn audio(&mut self, codec: Codec, now: Duration, speaks: bool) -> Vec<u8> {
        let mut samples = Vec::with_capacity(PACKET_SAMPLES as usize);
        if speaks && let Some(signal) = self.signals.front_mut() {
            if let Some(began) = self.began.get_mut(signal.number) {
                began.get_or_insert(now);
            }
            samples.extend(signal.samples.drain(..signal.samples.len().min(PACKET_SAMPLES as usize)));
            if signal.samples.is_empty() {
                self.signals.pop_front();
            }
        }
        samples.resize(PACKET_SAMPLES as usize, 0);
        let payload: Vec<u8> = samples.into_iter().map(|sample| codec.encode(sample)).collect();
        Packet {
            payload_type: codec.payload_type(),
            sequence: self.sequence,
            timestamp: self.timestamp,
            source: self.source,
            payload: &payload,
        }
        .bytes(self.sent == 0)
    }
}
