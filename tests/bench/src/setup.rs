//! How soon a call talks, and how many can begin in a second: the real host with the echo handler in front of a real
//! Asterisk, under real SIP callers. Beside it the same callers at Asterisk's own `Echo()`.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::time::{sleep, timeout};
use voxtra_test_support::files::TempDir;
use voxtra_test_support::{Asterisk, AsteriskOptions, CallOptions, Host, Phone};

use crate::stats::percentile;

/// Calls that begin in a second, tried one after the other until one is too many.
const RATES: [u32; 6] = [20, 50, 100, 150, 200, 300];

/// The rate at which delays are reported: one that every machine keeps up with.
const STEADY_RATE: u32 = 20;

/// How long each rate is kept up.
const RATE_LASTS: Duration = Duration::from_secs(3);

/// A caller hangs up so long after the answer.
const STAY: Duration = Duration::from_millis(1_200);

/// A rate is too high when one call in a hundred takes longer than this before it talks.
const TOO_LATE_MS: u64 = 500;

/// For everything that takes no time when it works.
const LONG: Duration = Duration::from_secs(20);

const DAY_US: u64 = 86_400_000_000;

/// What was measured.
#[derive(Debug)]
pub(crate) struct CallSetup {
    /// The highest rate that was kept up.
    pub(crate) calls_per_second: u32,
    pub(crate) bare_calls_per_second: u32,
    /// From the host's StasisStart to the first packet of audio at the caller, at the steady rate.
    pub(crate) setup_us_p50: u64,
    pub(crate) setup_us_p99: u64,
    /// From the caller's INVITE to that packet, at the steady rate.
    pub(crate) caller_us_p50: u64,
    pub(crate) caller_us_p99: u64,
    pub(crate) bare_caller_us_p50: u64,
    pub(crate) bare_caller_us_p99: u64,
}

/// A caller's story.
struct Talk {
    from: String,
    /// Microseconds of the day.
    first_audio_us: u64,
    since_invite: Duration,
}

pub(crate) fn measure(echo: &Path) -> Result<CallSetup> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let pbx = Asterisk::start(AsteriskOptions::default()).await?;
        let folder = TempDir::new("bench")?;
        let mut host = start_host(&pbx, folder.path(), echo).await?;
        let (calls_per_second, talks) = ramp(&pbx, "2000", "7").await?;
        // The last lines of the log may be on their way.
        sleep(Duration::from_millis(200)).await;
        let started = started_us(&host);
        let since_start = |talk: &Talk| {
            let began_us = started.get(&talk.from)?;
            Some((talk.first_audio_us + DAY_US - began_us) % DAY_US)
        };
        let mut setup_us: Vec<u64> = talks.iter().filter_map(since_start).collect();
        ensure!(setup_us.len() == talks.len(), "the host's log does not tell of each call");
        let mut caller_us = micros(&talks);
        ensure!(host.stop(LONG).await? == Some(0), "the host did not stop well:\n{}", host.last_lines());
        let (bare_calls_per_second, bare) = ramp(&pbx, "test-echo", "8").await?;
        let mut bare_us = micros(&bare);
        Ok(CallSetup {
            calls_per_second,
            bare_calls_per_second,
            setup_us_p50: percentile(&mut setup_us, 0.5),
            setup_us_p99: percentile(&mut setup_us, 0.99),
            caller_us_p50: percentile(&mut caller_us, 0.5),
            caller_us_p99: percentile(&mut caller_us, 0.99),
            bare_caller_us_p50: percentile(&mut bare_us, 0.5),
            bare_caller_us_p99: percentile(&mut bare_us, 0.99),
        })
    })
}

fn micros(talks: &[Talk]) -> Vec<u64> {
    talks.iter().map(|talk| u64::try_from(talk.since_invite.as_micros()).unwrap_or(u64::MAX)).collect()
}

async fn start_host(pbx: &Asterisk, folder: &Path, echo: &Path) -> Result<Host> {
    let plugins = folder.join("plugins");
    fs::create_dir(&plugins)?;
    fs::copy(echo, plugins.join("default.wasm"))
        .with_context(|| format!("{}: build the guests first: cargo xtask guests", echo.display()))?;
    let config = folder.join("voxtra.yaml");
    let (url, user, password) = (pbx.ari_url(), pbx.user(), pbx.password());
    let text = format!(
        "state_dir: state\nplugins: {{dir: plugins, start_ms: 120000}}\n\
         telephony: {{asterisk: {{base_url: '{url}', username: {user}, password: {password}}}}}\n"
    );
    fs::write(&config, text)?;
    let mut host = Host::start(["start", "--log-format", "json", "-c", &config.to_string_lossy()])?;
    host.wait_for_text("voxtra: ready", LONG).await?;
    Ok(host)
}

/// The highest of the rates that is kept up, and the calls of the steady one. Callers' numbers begin with `prefix`.
async fn ramp(pbx: &Asterisk, extension: &str, prefix: &str) -> Result<(u32, Vec<Talk>)> {
    let (mut highest, mut steady) = (0, Vec::new());
    for rate in RATES {
        let from = format!("{prefix}{rate:03}");
        let talks = wave(pbx.sip_addr(), extension, &from, rate).await;
        ensure!(pbx.wait_for_channels(0, LONG).await?, "calls are left in Asterisk");
        match talks {
            Ok(talks) => {
                if rate == STEADY_RATE {
                    steady = talks;
                } else if percentile(&mut micros(&talks), 0.99) > TOO_LATE_MS * 1_000 {
                    break;
                }
                highest = rate;
            }
            Err(error) if rate > STEADY_RATE => {
                eprintln!("bench: {rate} calls a second are too many ({error:#})");
                break;
            }
            Err(error) => return Err(error),
        }
    }
    Ok((highest, steady))
}

/// So many calls a second, evenly.
async fn wave(pbx: SocketAddr, extension: &str, prefix: &str, rate: u32) -> Result<Vec<Talk>> {
    let began = Instant::now();
    let gap = Duration::from_secs(1) / rate;
    let mut callers = Vec::new();
    for n in 0..rate * u32::try_from(RATE_LASTS.as_secs())? {
        sleep((gap * n).saturating_sub(began.elapsed())).await;
        let (extension, from) = (extension.to_owned(), format!("{prefix}{n:05}"));
        callers.push(tokio::spawn(async move { talk(pbx, &extension, from).await }));
    }
    let mut talks = Vec::new();
    for caller in callers {
        talks.push(timeout(LONG, caller).await.context("a call does not end")???);
    }
    Ok(talks)
}

async fn talk(pbx: SocketAddr, extension: &str, from: String) -> Result<Talk> {
    let invited = Instant::now();
    let call = Phone::call(pbx, extension, CallOptions::from(&from)).await?;
    sleep(STAY).await;
    let first_ms = call.rtp().stats().first_at_ms.context("the caller has heard nothing")?;
    // Both clocks are read in one moment.
    let (now_us, instant, endpoint_ms) = (day_us(SystemTime::now()), Instant::now(), call.rtp().now_ms());
    let ago = Duration::from_secs_f64((endpoint_ms - first_ms).max(0.0) / 1_000.0);
    call.hang_up().await?;
    Ok(Talk {
        from,
        first_audio_us: (now_us + DAY_US - u64::try_from(ago.as_micros())? % DAY_US) % DAY_US,
        since_invite: (instant - ago).saturating_duration_since(invited),
    })
}

/// When each caller's call reached the host, by its own log, in microseconds of the day.
fn started_us(host: &Host) -> HashMap<String, u64> {
    let line = |text: &str| -> Option<(String, u64)> {
        let line: Value = serde_json::from_str(text).ok()?;
        (line["event"] == "call.started").then_some(())?;
        let data: Value = serde_json::from_str(line["data"].as_str()?).ok()?;
        Some((data["caller_id"].as_str()?.to_owned(), of_timestamp(line["timestamp"].as_str()?)?))
    };
    host.lines().iter().filter_map(|written| line(&written.text)).collect()
}

/// `2026-11-21T09:24:56.265515Z`
fn of_timestamp(text: &str) -> Option<u64> {
    let time = text.split_once('T')?.1.strip_suffix('Z')?;
    let (whole, fraction) = time.split_once('.')?;
    let seconds = whole.split(':').try_fold(0_u64, |total, part| Some(total * 60 + part.parse::<u64>().ok()?))?;
    Some(seconds * 1_000_000 + format!("{fraction:0<6}").get(..6)?.parse::<u64>().ok()?)
}

fn day_us(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros() % u128::from(DAY_US)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logs_time_is_a_time_of_the_day() {
        let at = UNIX_EPOCH + Duration::from_micros(1_763_717_096_265_515);
        assert_eq!(of_timestamp("2025-11-21T09:24:56.265515Z"), Some(day_us(at)));
        assert_eq!(of_timestamp("2025-11-21T00:00:01.5Z"), Some(1_500_000));
        assert_eq!(of_timestamp("yesterday"), None);
    }
}
