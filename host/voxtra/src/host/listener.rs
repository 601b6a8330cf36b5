//! Hears whether a person or a machine has answered, by the audio.

use std::future::poll_fn;
use std::sync::Arc;

use voxtra_audio::{DetectorOptions, MachineDetection, pcm};
use voxtra_core::verbs::AnsweredBy;
use voxtra_core::{AudioSource, BoxFuture};
use voxtra_session::MachineListener;

/// See the module.
pub(crate) struct Listener;

impl MachineListener for Listener {
    fn listen(&self, source: Arc<dyn AudioSource>, rate_hz: u32) -> BoxFuture<'_, AnsweredBy> {
        Box::pin(async move {
            let Some(mut detection) = MachineDetection::new(DetectorOptions::default(), rate_hz) else {
                return AnsweredBy::NotSure;
            };
            while let Some(frame) = poll_fn(|cx| source.poll_frame(cx)).await {
                if let Some(verdict) = detection.push(pcm::samples(frame.pcm())).verdict {
                    return verdict.answered_by;
                }
            }
            detection.finish().map_or(AnsweredBy::NotSure, |verdict| verdict.answered_by)
        })
    }
}
