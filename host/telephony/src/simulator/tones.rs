//! Call progress tones by name or by description, as a PBX plays them: with cadence, and until they are stopped.

use std::f64::consts::TAU;
use std::sync::Arc;

use super::LINE_RATE_HZ;

/// How loud each frequency of a tone is, of the largest sample: two of them stay far from clipping.
const TONE_LEVEL: f64 = 0.15;

/// A tone fades in and out over this, so that it does not click.
const FADE_SAMPLES: usize = 40;

/// The most parts of a tone's description, and the longest that one round of them may last.
const MAX_PARTS: usize = 32;
const MAX_SINES: usize = 4;
const MAX_ROUND_MS: u64 = 60_000;

/// A part without a time goes on for ever; whole hertz repeat without a seam every second.
const ENDLESS_PART_MS: u64 = 1_000;

/// Call progress tones of North America (the values are those of Asterisk's `indications.conf`, zone `us`), and `beep`.
const NAMED: &[(&str, &str)] = &[
    ("beep", "!1000/200"),
    ("dial", "350+440"),
    ("busy", "480+620/500,0/500"),
    ("ring", "440+480/2000,0/4000"),
    ("congestion", "480+620/250,0/250"),
    ("callwaiting", "440/300,0/10000"),
    ("record", "1400/500,0/15000"),
    ("info", "!950/330,!1400/330,!1800/330,0/1000"),
];

/// A tone at the line's rate.
#[derive(Debug, Clone)]
pub(super) struct Tone {
    /// Played once.
    pub(super) once: Arc<[i16]>,
    /// Then played again and again until it is stopped; none: it ends.
    pub(super) again: Option<Arc<[i16]>>,
}

/// The tone of a name, or of a list such as `440+480/2000,0/4000` (hertz, milliseconds), which repeats until it is
/// stopped; a part that begins with `!` is played once only.
pub(super) fn tone(description: &str) -> Result<Tone, String> {
    let list = NAMED.iter().find(|(name, _)| *name == description).map_or(description, |(_, list)| list);
    parse_list(list).ok_or_else(|| {
        let names: Vec<_> = NAMED.iter().map(|(name, _)| *name).collect();
        format!(
            "there is no tone `{description}`; use one of {}, or hertz and milliseconds such as `350+440/500,0/500`",
            names.join(", ")
        )
    })
}

fn parse_list(list: &str) -> Option<Tone> {
    let (mut once, mut again) = (Vec::new(), Vec::new());
    let mut round_ms = 0;
    for (index, part) in list.split(',').enumerate() {
        let (is_once, part) = match part.trim().strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, part.trim()),
        };
        let (hertz, ms) = match part.split_once('/') {
            Some((hertz, ms)) => (hertz, Some(ms.parse::<u64>().ok()?)),
            None => (part, None),
        };
        let hertz = hertz.split('+').map(|f| f.parse::<u32>().ok().filter(|f| *f < LINE_RATE_HZ / 2));
        let hertz: Vec<u32> = hertz.collect::<Option<_>>()?;
        round_ms += ms.unwrap_or(ENDLESS_PART_MS).min(MAX_ROUND_MS + 1);
        if index >= MAX_PARTS || hertz.len() > MAX_SINES || round_ms > MAX_ROUND_MS {
            return None;
        }
        let part = match ms {
            Some(ms) => faded(sines(&hertz, ms)),
            None => sines(&hertz, ENDLESS_PART_MS),
        };
        if is_once { once.extend(part) } else { again.extend(part) }
    }
    let again = if again.is_empty() { None } else { Some(again.into()) };
    Some(Tone { once: once.into(), again })
}

fn sines(hertz: &[u32], ms: u64) -> Vec<i16> {
    let count = ms * u64::from(LINE_RATE_HZ) / 1000;
    let level = TONE_LEVEL * f64::from(i16::MAX);
    (0..count)
        .map(|n| {
            let seconds = n as f64 / f64::from(LINE_RATE_HZ);
            let sum: f64 = hertz.iter().map(|f| (TAU * f64::from(*f) * seconds).sin()).sum();
            (sum * level) as i16
        })
        .collect()
}

fn faded(mut samples: Vec<i16>) -> Vec<i16> {
    let fade = FADE_SAMPLES.min(samples.len() / 2);
    let last = samples.len();
    for (n, sample) in samples.iter_mut().enumerate() {
        let from_edge = n.min(last - 1 - n);
        if from_edge < fade {
            *sample = (i32::from(*sample) * from_edge as i32 / fade as i32) as i16;
        }
    }
    samples
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_busy_tone_repeats_and_a_beep_does_not() {
        let busy = tone("busy").unwrap();
        assert_eq!((busy.once.len(), busy.again.unwrap().len()), (0, 8_000));
        let beep = tone("beep").unwrap();
        assert_eq!((beep.once.len(), beep.again.is_none()), (1_600, true));
    }

    #[test]
    fn an_endless_tone_repeats_without_a_seam() {
        let again = tone("dial").unwrap().again.unwrap();
        let jump = (i32::from(again[0]) - i32::from(again[again.len() - 1])).abs();
        assert!(jump < 3_500, "{jump}");
    }

    #[test]
    fn an_unknown_tone_is_named_with_what_there_is() {
        for bad in ["", "ding", "440/", "9000/10", "440/99999999999", "1+2+3+4+5"] {
            let error = tone(bad).unwrap_err();
            assert!(error.contains("`350+440/500,0/500`") && error.contains("busy"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_description_makes_it_panic(text in "[!0-9+/,]{0,24}") {
            let _ = tone(&text);
        }
    }
}
