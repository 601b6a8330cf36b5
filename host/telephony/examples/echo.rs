//! Answers each call of an Asterisk, plays a prompt, then echoes what the caller says. Made to look at the adapter with
//! a real PBX, without the rest of the host.
//!
//! `echo URL USER PASSWORD APP [audiosocket|websocket|auto]`; ends at ctrl-c with one line of JSON. An extension of
//! digits that begins with 9 makes the host hang up so many hundredths of a second after the audio is open as the
//! other digits say; one that begins with 8 skips the prompt, one that begins with 7 is handed to the extension `svc-moh`.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::timeout;
use voxtra_core::telephony::LegEnd;
use voxtra_core::{CallError, HangupCause, LegEvent, LegEvents, NewLeg, PlaybackId, Refusal, Switchboard};
use voxtra_telephony::asterisk::{AsteriskAdapter, AsteriskOptions, MediaTransport};
use voxtra_telephony::media::MediaThreads;

/// What is heard first.
const PROMPT: &str = "sound:hello-world";
/// Longer than any prompt here takes.
const PROMPT_LIMIT: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Totals {
    calls: AtomicU64,
    over: AtomicU64,
    ended: AtomicU64,
    ended_twice: AtomicU64,
    failed_ends: AtomicU64,
    errors: AtomicU64,
    open_ms: Mutex<Vec<f64>>,
    end_ms: Mutex<Vec<f64>>,
}

struct Desk {
    totals: Arc<Totals>,
}

struct Events {
    totals: Arc<Totals>,
    sender: mpsc::UnboundedSender<LegEvent>,
    ended: AtomicU64,
}

impl LegEvents for Events {
    fn deliver(&self, event: LegEvent) {
        if let LegEvent::Ended(end) = &event {
            self.totals.ended.fetch_add(1, Relaxed);
            self.totals.failed_ends.fetch_add(u64::from(matches!(end, LegEnd::Failed(_))), Relaxed);
            self.totals.ended_twice.fetch_add(u64::from(self.ended.fetch_add(1, Relaxed) > 0), Relaxed);
        }
        let _ = self.sender.send(event);
    }
}

impl Switchboard for Desk {
    fn incoming(&self, leg: NewLeg) -> Result<Arc<dyn LegEvents>, Refusal> {
        let (sender, events) = mpsc::unbounded_channel();
        let totals = Arc::clone(&self.totals);
        totals.calls.fetch_add(1, Relaxed);
        tokio::spawn(async move {
            match serve(&leg, events, &totals).await {
                // Every call comes to that.
                Ok(()) | Err(CallError::HungUp) => {}
                Err(error) => {
                    totals.errors.fetch_add(1, Relaxed);
                    tracing::error!(call = %leg.id, %error, "call failed");
                }
            }
            let began = Instant::now();
            if let Err(error) = leg.leg.end(HangupCause::Normal).await {
                tracing::error!(call = %leg.id, %error, "end failed");
            }
            keep(&totals.end_ms, began);
            totals.over.fetch_add(1, Relaxed);
        });
        Ok(Arc::new(Events { totals: Arc::clone(&self.totals), sender, ended: AtomicU64::new(0) }))
    }
}

async fn serve(leg: &NewLeg, mut events: mpsc::UnboundedReceiver<LegEvent>, totals: &Totals) -> Result<(), CallError> {
    leg.leg.answer().await?;
    if !leg.called_number.starts_with(['7', '8', '9']) {
        let id = PlaybackId::from(leg.id.as_str());
        leg.leg.play(&id, &[PROMPT.to_owned()]).await?;
        let played = async {
            while let Some(event) = events.recv().await {
                match event {
                    LegEvent::PlaybackFinished { outcome, .. } => return outcome.map_err(CallError::Telephony),
                    LegEvent::Ended(_) => return Err(CallError::HungUp),
                    _ => {}
                }
            }
            Err(CallError::HungUp)
        };
        timeout(PROMPT_LIMIT, played).await.map_err(|_| CallError::Timeout)??;
    }
    let began = Instant::now();
    let link = leg.leg.open_media(8_000).await?;
    keep(&totals.open_ms, began);
    if leg.called_number.starts_with('7') {
        let nowhere = leg.leg.transfer("nowhere@from-nowhere").await;
        tracing::info!(call = %leg.id, ?nowhere, "a transfer that cannot work");
        return leg.leg.transfer("svc-moh").await;
    }
    let echo = async {
        while let Some(frame) = poll_fn(|cx| link.source.poll_frame(cx)).await {
            if poll_fn(|cx| link.sink.poll_ready(cx)).await.is_err() || link.sink.push(frame).is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let over = async {
        while let Some(event) = events.recv().await {
            if matches!(event, LegEvent::Ended(_) | LegEvent::MediaLost) {
                break;
            }
            tracing::info!(call = %leg.id, ?event, "event");
        }
    };
    let hang_up_after = leg.called_number.strip_prefix('9').and_then(|digits| digits.parse::<u64>().ok());
    let stay = hang_up_after.map_or(Duration::from_secs(86_400), |hundredths| Duration::from_millis(hundredths * 10));
    tokio::select! {
        () = echo => {}
        () = over => {}
        () = tokio::time::sleep(stay) => {}
    }
    Ok(())
}

fn keep(list: &Mutex<Vec<f64>>, since: Instant) {
    if let Ok(mut list) = list.lock() {
        list.push(since.elapsed().as_secs_f64() * 1e3);
    }
}

fn summary(list: &Mutex<Vec<f64>>) -> serde_json::Value {
    let mut all = list.lock().map(|l| l.clone()).unwrap_or_default();
    all.sort_by(f64::total_cmp);
    let at = |share: f64| all.get(((all.len() as f64 - 1.0).max(0.0) * share) as usize).copied().unwrap_or_default();
    serde_json::json!({"count": all.len(), "p50": at(0.5), "p99": at(0.99), "max": at(1.0)})
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, user, password, app, rest @ ..] = &arguments[..] else {
        anyhow::bail!("usage: echo URL USER PASSWORD APP [audiosocket|websocket|auto]");
    };
    let mut options = AsteriskOptions::new(url, user, password, [app]);
    options.defaults.transfer_context = Some("from-sip".to_owned());
    options.media_transport = match rest.first().map(String::as_str) {
        Some("audiosocket") => MediaTransport::AudioSocket,
        Some("websocket") => MediaTransport::WebSocket,
        _ => MediaTransport::Auto,
    };
    let totals = Arc::new(Totals::default());
    let desk = Arc::new(Desk { totals: Arc::clone(&totals) });
    let threads = MediaThreads::start(1)?;
    let adapter = AsteriskAdapter::new(options, Arc::clone(&threads), desk)?;
    println!("{:?}", adapter.connect().await?);
    let stop = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    adapter.run(stop).await;
    let count = |counter: &AtomicU64| counter.load(Relaxed);
    let line = serde_json::json!({
        "calls": count(&totals.calls), "over": count(&totals.over), "ended": count(&totals.ended),
        "ended_twice": count(&totals.ended_twice), "failed_ends": count(&totals.failed_ends),
        "errors": count(&totals.errors), "open_ms": summary(&totals.open_ms), "end_ms": summary(&totals.end_ms),
    });
    println!("{line}\n{:?}\n{:?}", adapter.stats(), threads.stats());
    Ok(())
}
