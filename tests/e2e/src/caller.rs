//! What a caller hears, found by measuring.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::time::sleep;
use voxtra_test_support::match_audio::{Match, find, rms};
use voxtra_test_support::phone::ActiveCall;
use voxtra_test_support::signals::speech;
use voxtra_test_support::{CallOptions, Phone, RtpEndpoint};

/// How alike a recording and what was heard of it must be; mu-law there and back leaves more than 0.99.
pub const SAME: f64 = 0.9;

const SAMPLES_PER_MS: f64 = 8.0;

/// The last frame of a prompt may not have been sent when the host hangs up after it.
const CUT_OFF_MS: usize = 40;

/// Waits until a sound has been heard whole (but for its last 40 ms at most), beginning after so many milliseconds of the endpoint's clock; where it
/// began on that clock.
///
/// # Errors
/// When it is not heard within the limit; the sentence holds the best likeness.
pub async fn hear(rtp: &RtpEndpoint, name: &str, sound: &[i16], after_ms: f64, limit: Duration) -> Result<Match> {
    const LOOK_EVERY: Duration = Duration::from_millis(150);
    let until = Instant::now() + limit;
    loop {
        let mut heard = rtp.heard();
        heard.extend([0; CUT_OFF_MS * SAMPLES_PER_MS as usize]);
        let skipped = ((after_ms.max(0.0) * SAMPLES_PER_MS) as usize).min(heard.len());
        let found = find(sound, heard.get(skipped..).unwrap_or_default());
        if let Some(found) = found.filter(|found| found.correlation >= SAME) {
            return Ok(Match { offset_ms: found.offset_ms + skipped as f64 / SAMPLES_PER_MS, ..found });
        }
        ensure!(
            Instant::now() < until,
            "{name} was not heard within {limit:?} after {after_ms:.0} ms: the best place is {found:?}, {:?}, loudness {:.0}",
            rtp.stats(),
            rms(&heard)
        );
        sleep(LOOK_EVERY).await;
    }
}

/// What came back of what was said.
#[derive(Debug, Clone, PartialEq)]
pub struct Echo {
    /// How alike each utterance and its echo are.
    pub correlations: Vec<f64>,
    /// How long after it each came back, in milliseconds.
    pub delays_ms: Vec<f64>,
}

impl Echo {
    /// The middle one of the delays.
    #[must_use]
    pub fn delay_ms(&self) -> f64 {
        let mut sorted = self.delays_ms.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// The least of the likenesses.
    #[must_use]
    pub fn worst(&self) -> f64 {
        self.correlations.iter().copied().fold(1.0, f64::min)
    }
}

/// Speaks some utterances, all different, and measures what comes back of each.
///
/// # Errors
/// When one does not come back at all.
pub async fn echo(call: &ActiveCall, utterances: u64) -> Result<Echo> {
    const UTTERANCE_MS: u32 = 600;
    const REST_MS: usize = 300;
    const LIMIT: Duration = Duration::from_secs(60);
    /// What an echo may take on its way; more is not an echo.
    const SETTLE: Duration = Duration::from_millis(500);
    /// Above what two different utterances have in common.
    const FOUND: f64 = 0.5;

    let first = call.rtp().now_ms() as u64;
    let said: Vec<(Vec<i16>, usize)> = (0..utterances)
        .map(|n| {
            let signal = speech(first + n, UTTERANCE_MS);
            let mut with_rest = signal.clone();
            with_rest.extend(std::iter::repeat_n(0, REST_MS * SAMPLES_PER_MS as usize));
            (signal, call.speak(&with_rest))
        })
        .collect();
    ensure!(call.rtp().until_quiet(LIMIT).await, "the telephone has not said everything within {LIMIT:?}");
    sleep(SETTLE).await;
    let heard = call.heard();
    let mut echo = Echo { correlations: Vec::new(), delays_ms: Vec::new() };
    for (signal, number) in said {
        let spoken_ms = call.rtp().spoken_at_ms(number).context("an utterance was never said")?;
        let skipped = ((spoken_ms - 40.0).max(0.0) * SAMPLES_PER_MS) as usize;
        let found = find(&signal, heard.get(skipped..).unwrap_or_default());
        let found = found.filter(|found| found.correlation >= FOUND);
        let found = found
            .with_context(|| format!("what was said at {spoken_ms:.0} ms never came back: {:?}", call.rtp().stats()))?;
        echo.correlations.push(found.correlation);
        echo.delays_ms.push(found.offset_ms + skipped as f64 / SAMPLES_PER_MS - spoken_ms);
    }
    Ok(echo)
}

/// Calls an extension and is answered.
///
/// # Errors
/// When it is not.
pub async fn call(pbx: SocketAddr, extension: &str) -> Result<ActiveCall> {
    Phone::call(pbx, extension, CallOptions::default()).await.with_context(|| format!("calling {extension}"))
}
