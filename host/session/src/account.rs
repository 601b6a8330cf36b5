//! What a call uses up, added up wherever it is used: its handlers and hooks as their instances go, its log and its raw
//! audio as they pass.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::Notify;
use voxtra_core::media::LinkClosed;
use voxtra_core::{AudioSink, AudioSource, CallHttp, Frame, HttpOut, MediaLink, TenantId, Usage};

use crate::handlers::HandlerInstance;
use crate::pressure::Pressure;

/// One call's account.
#[derive(Default)]
pub(crate) struct Account {
    /// Of the instances that are gone.
    instances: Mutex<Usage>,
    /// How many are not.
    instances_up: AtomicUsize,
    settled: Notify,
    log_bytes: AtomicU64,
    audio: Arc<AudioBytes>,
    /// Made when something is sent: most calls send nothing.
    http: OnceLock<Arc<dyn CallHttp>>,
    handler_failed: AtomicBool,
}

#[derive(Debug, Default)]
struct AudioBytes {
    taken: AtomicU64,
    given: AtomicU64,
}

impl Account {
    /// A line of the handler's log, whether or not it was kept.
    pub(crate) fn logged(&self, message: &str, fields: &[(String, String)]) {
        let fields: usize = fields.iter().map(|(key, value)| key.len() + value.len()).sum();
        self.log_bytes.fetch_add((message.len() + fields) as u64, Ordering::Relaxed);
    }

    /// Audio that counts what the handler takes and gives: two additions for each frame, on the handler's side of it.
    pub(crate) fn counted(&self, link: MediaLink) -> MediaLink {
        MediaLink {
            rate_hz: link.rate_hz,
            source: Arc::new(CountedSource { source: link.source, bytes: Arc::clone(&self.audio) }),
            sink: Arc::new(CountedSink { sink: link.sink, bytes: Arc::clone(&self.audio) }),
        }
    }

    /// The call's way out for HTTP: the same for all of its handlers, so that the call's limits are the call's.
    pub(crate) fn http(&self, out: &dyn HttpOut, tenant: &TenantId) -> &dyn CallHttp {
        self.http.get_or_init(|| out.of_call(tenant)).as_ref()
    }

    /// A handler of the call failed.
    pub(crate) fn note_failure(&self) {
        self.handler_failed.store(true, Ordering::Relaxed);
    }

    /// Whether one did.
    pub(crate) fn has_failed(&self) -> bool {
        self.handler_failed.load(Ordering::Relaxed)
    }

    /// Waits until no instance is left: one that is stopped goes where guests run, when its turn comes. One waits at a time.
    pub(crate) async fn settled(&self) {
        while self.instances_up.load(Ordering::Acquire) > 0 {
            self.settled.notified().await;
        }
    }

    /// Everything together. Complete when no instance is left.
    pub(crate) fn total(&self) -> Usage {
        let mut total = *self.instances.lock().unwrap_or_else(PoisonError::into_inner);
        total.add(&Usage {
            log_bytes: self.log_bytes.load(Ordering::Relaxed),
            audio_in_bytes: self.audio.taken.load(Ordering::Relaxed),
            audio_out_bytes: self.audio.given.load(Ordering::Relaxed),
            ..Usage::default()
        });
        if let Some(way) = self.http.get() {
            let sent = way.usage();
            total.add(&Usage {
                http_requests: sent.requests,
                http_out_bytes: sent.out_bytes,
                http_in_bytes: sent.in_bytes,
                ..Usage::default()
            });
        }
        total
    }
}

/// An instance that settles its account when it goes, however it goes.
pub(crate) struct Metered {
    instance: Box<dyn HandlerInstance>,
    account: Arc<Account>,
    /// Goes after the instance.
    _freed: Freed,
}

struct Freed(Arc<Pressure>);

impl Drop for Freed {
    fn drop(&mut self) {
        self.0.instance_gone();
    }
}

impl Metered {
    pub(crate) fn new(instance: Box<dyn HandlerInstance>, account: Arc<Account>, pressure: Arc<Pressure>) -> Self {
        account.instances_up.fetch_add(1, Ordering::Relaxed);
        Self { instance, account, _freed: Freed(pressure) }
    }
}

impl Deref for Metered {
    type Target = dyn HandlerInstance;

    fn deref(&self) -> &Self::Target {
        self.instance.as_ref()
    }
}

impl DerefMut for Metered {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.instance.as_mut()
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        let usage = self.instance.usage();
        self.account.instances.lock().unwrap_or_else(PoisonError::into_inner).add(&usage);
        if self.account.instances_up.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.account.settled.notify_one();
        }
    }
}

struct CountedSource {
    source: Arc<dyn AudioSource>,
    bytes: Arc<AudioBytes>,
}

impl AudioSource for CountedSource {
    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Frame>> {
        let polled = self.source.poll_frame(cx);
        if let Poll::Ready(Some(frame)) = &polled {
            self.bytes.taken.fetch_add(frame.pcm().len() as u64, Ordering::Relaxed);
        }
        polled
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.source.poll_readable(cx)
    }

    fn dropped_frames(&self) -> u64 {
        self.source.dropped_frames()
    }
}

struct CountedSink {
    sink: Arc<dyn AudioSink>,
    bytes: Arc<AudioBytes>,
}

impl AudioSink for CountedSink {
    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), LinkClosed>> {
        self.sink.poll_ready(cx)
    }

    fn push(&self, frame: Frame) -> Result<(), LinkClosed> {
        let bytes = frame.pcm().len() as u64;
        self.sink.push(frame)?;
        self.bytes.given.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn clear(&self) {
        self.sink.clear();
    }

    fn queued_ms(&self) -> u32 {
        self.sink.queued_ms()
    }
}
