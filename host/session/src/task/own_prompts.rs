//! Prompts that the host plays itself: the tenant's own files and addresses, through the call's audio.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use voxtra_core::media::{FRAME_MS, OUTBOUND_QUEUE_MS, frame_bytes};
use voxtra_core::{AudioSink, CallError, Frame, MediaLink, PlaybackId, TenantId};

use super::audio::Audio;
use super::{CallTask, Done, leg_verb};
use crate::ports::{PromptAudio, TenantPrompts};

/// The rate at which the audio is opened for a prompt when nobody else has opened it: what telephones have.
const OWN_RATE_HZ: u32 = 8_000;

/// How long a prompt may take to be fetched.
const FETCH_LIMIT: Duration = Duration::from_secs(15);

/// How long a link may take to say what is queued, beyond what it should.
const TAIL_LIMIT: Duration = Duration::from_millis(4 * OUTBOUND_QUEUE_MS as u64);

/// Stops a prompt at once.
pub(super) struct Stop(oneshot::Sender<()>);

impl Stop {
    pub(super) fn now(self) {
        let _ = self.0.send(());
    }
}

/// A prompt that waits for the call's audio, or plays.
pub(super) struct OwnPrompt {
    part: PlaybackId,
    prompt: String,
    stopped: oneshot::Receiver<()>,
}

impl CallTask {
    /// Whether the host can play what of a list is its own to play.
    pub(super) fn check_own_prompts(&self, media: &[String]) -> Result<(), CallError> {
        if !media.iter().any(|prompt| crate::check::is_own_prompt(prompt)) {
            return Ok(());
        }
        if self.life.host.ports.prompts.is_none() {
            return Err(CallError::NotConfigured(
                "this host has no prompts of tenants (`file:`, `https:`); the operator can set `prompts`".to_owned(),
            ));
        }
        if !self.shared.is_answered() {
            return Err(CallError::InvalidArgument(
                "the call is not answered, so the host cannot play `file:` or `https:` to it yet; answer it first"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    /// Plays one; its end comes as [`Done::OwnPlayed`].
    pub(super) fn play_own(&mut self, part: PlaybackId, prompt: String) -> Stop {
        let (stop, stopped) = oneshot::channel();
        let own = OwnPrompt { part, prompt, stopped };
        match &self.audio {
            Audio::Open(link) | Audio::Own(link) => {
                let link = link.clone();
                self.play_on(own, link);
            }
            Audio::Closed => {
                self.own_waiting.push(own);
                self.open_own_audio();
            }
            // It is being opened or closed: what follows from that serves them.
            Audio::OwnOpening(_) | Audio::Opening | Audio::Closing(_) => self.own_waiting.push(own),
        }
        Stop(stop)
    }

    fn open_own_audio(&mut self) {
        self.audio = Audio::OwnOpening(None);
        let leg = Arc::clone(&self.leg);
        self.work.spawn(async move { Done::OwnAudioOpened(leg_verb(leg.open_media(OWN_RATE_HZ)).await) });
    }

    pub(super) fn own_audio_opened(&mut self, result: Result<MediaLink, CallError>) {
        let Audio::OwnOpening(handler_waits) = std::mem::take(&mut self.audio) else { return };
        match result {
            Ok(link) => {
                self.audio = Audio::Own(link);
                self.serve_waiting_prompts();
            }
            Err(error) => {
                for prompt in std::mem::take(&mut self.own_waiting) {
                    self.part_over(&prompt.part, Err(error.clone()));
                }
            }
        }
        if let Some((rate_hz, reply)) = handler_waits {
            self.open_audio(rate_hz, reply);
        }
        self.own_prompts_done();
    }

    /// Prompts that wait get the audio that is there now, or it is opened for them.
    pub(super) fn serve_waiting_prompts(&mut self) {
        if self.own_waiting.is_empty() {
            return;
        }
        match &self.audio {
            Audio::Open(link) | Audio::Own(link) => {
                let link = link.clone();
                for prompt in std::mem::take(&mut self.own_waiting) {
                    self.play_on(prompt, link.clone());
                }
            }
            Audio::Closed => self.open_own_audio(),
            Audio::OwnOpening(_) | Audio::Opening | Audio::Closing(_) => {}
        }
    }

    fn play_on(&mut self, own: OwnPrompt, link: MediaLink) {
        let Some(prompts) = self.life.host.ports.prompts.clone() else { return };
        let tenant = self.shared.info.tenant.clone();
        self.own_playing += 1;
        self.work.spawn(async move {
            let OwnPrompt { part, prompt, stopped } = own;
            let sink = Arc::clone(&link.sink);
            let result = tokio::select! {
                biased;
                // Also when nobody is left who could stop it.
                _ = stopped => {
                    sink.clear();
                    Ok(())
                }
                result = fetch_and_play(prompts.as_ref(), &tenant, &prompt, &link) => result,
            };
            Done::OwnPlayed(part, result)
        });
    }

    /// One that played is over: audio that was opened for it is closed with the last.
    pub(super) fn own_prompt_over(&mut self) {
        self.own_playing = self.own_playing.saturating_sub(1);
        self.own_prompts_done();
    }

    fn own_prompts_done(&mut self) {
        if self.own_playing == 0 && matches!(self.audio, Audio::Own(_)) {
            self.close_at_leg();
        }
    }
}

async fn fetch_and_play(
    prompts: &dyn TenantPrompts,
    tenant: &TenantId,
    prompt: &str,
    link: &MediaLink,
) -> Result<(), CallError> {
    let name = prompt.strip_prefix("file:").unwrap_or(prompt);
    let late =
        || CallError::Provider(format!("the prompt {prompt} could not be had within {} s", FETCH_LIMIT.as_secs()));
    let fetched = timeout(FETCH_LIMIT, prompts.open(tenant, name, link.rate_hz)).await;
    let audio = fetched.unwrap_or_else(|_| Err(late()))?;
    if audio.rate_hz != link.rate_hz {
        let (is, wanted) = (audio.rate_hz, link.rate_hz);
        let why = format!("the prompt {prompt} came at {is} Hz, not at {wanted} Hz; this is a fault of the host");
        return Err(CallError::Provider(why));
    }
    say(audio, link.sink.as_ref()).await
}

/// Says it to the end.
pub(crate) async fn say(audio: PromptAudio, sink: &dyn AudioSink) -> Result<(), CallError> {
    let closed = |_| CallError::Telephony("the audio connection closed while the prompt played".to_owned());
    let mut rest = audio.pcm;
    while !rest.is_empty() {
        poll_fn(|cx| sink.poll_ready(cx)).await.map_err(closed)?;
        let frame = rest.split_to(frame_bytes(audio.rate_hz).max(2).min(rest.len()));
        sink.push(Frame::new(frame)).map_err(closed)?;
    }
    let tail = async {
        while sink.queued_ms() > 0 {
            sleep(Duration::from_millis(FRAME_MS.into())).await;
        }
    };
    // A link that never says its last frames is no reason to wait for ever.
    let _ = timeout(TAIL_LIMIT, tail).await;
    Ok(())
}
