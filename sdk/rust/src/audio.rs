//! A call's sound.

use std::time::Duration;

use crate::Error;
use crate::bindings::handler::voxtra::call::{call_session, readiness};
use crate::poll::Pollable;
use crate::time::{from_ms, to_ms};

/// How long one read waits before it is repeated; only so that no wait is without a limit.
const READ_WAIT: Duration = Duration::from_secs(60);

/// A call's audio, both ways, opened by [`Call::open_audio`](crate::Call::open_audio): signed 16-bit little-endian mono
/// at the rate that was asked for. Dropping it closes the stream.
///
/// ```no_run
/// use voxtra_sdk::prelude::*;
///
/// fn echo(call: &Call) -> Result<()> {
///     let audio = call.open_audio(8_000)?;
///     while let Some(pcm) = audio.read()? {
///         audio.write(&pcm)?;
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct Audio {
    inner: call_session::Audio,
}

impl Audio {
    pub(crate) fn new(inner: call_session::Audio) -> Self {
        Self { inner }
    }

    /// What the other side says: the next 20 ms, or what has come of it. Waits for it; `None` when the call has ended.
    ///
    /// # Errors
    /// When the audio broke, or a limit was reached.
    pub fn read(&self) -> Result<Option<Vec<u8>>, Error> {
        loop {
            match self.read_timeout(READ_WAIT) {
                Ok(pcm) => return Ok(Some(pcm)),
                Err(Error::HungUp) => return Ok(None),
                Err(Error::Timeout) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Like [`Audio::read`], for so long at most.
    ///
    /// # Errors
    /// [`Error::Timeout`] when nothing came, [`Error::HungUp`] when the call has ended, and as `read`.
    pub fn read_timeout(&self, timeout: Duration) -> Result<Vec<u8>, Error> {
        Ok(self.inner.read(to_ms(timeout))?)
    }

    /// Says it: an even number of bytes, at most 65,536. Waits while more than 200 ms are queued.
    ///
    /// # Errors
    /// [`Error::HungUp`] when the call has ended, [`Error::InvalidArgument`] on an odd number of bytes or too many.
    pub fn write(&self, pcm: &[u8]) -> Result<(), Error> {
        Ok(self.inner.write(pcm)?)
    }

    /// Forgets what is queued and not yet said.
    ///
    /// # Errors
    /// [`Error::HungUp`] when the call has ended.
    pub fn clear(&self) -> Result<(), Error> {
        Ok(self.inner.clear()?)
    }

    /// How much is queued and not yet said.
    pub fn queued(&self) -> Duration {
        from_ms(self.inner.queued_ms())
    }

    /// Ready when a read would not wait.
    pub fn pollable(&self) -> Pollable<'_> {
        Pollable::new(readiness::audio_pollable(&self.inner))
    }
}

/// The samples of what [`Audio::read`] returned. A last odd byte, which the host never sends, is left out.
///
/// ```
/// assert_eq!(voxtra_sdk::pcm_to_samples(&[0x01, 0x00, 0xff, 0xff]), [1, -1]);
/// ```
pub fn pcm_to_samples(pcm: &[u8]) -> Vec<i16> {
    let (samples, _) = pcm.as_chunks();
    samples.iter().map(|sample| i16::from_le_bytes(*sample)).collect()
}

/// Samples as [`Audio::write`] wants them.
///
/// ```
/// assert_eq!(voxtra_sdk::samples_to_pcm(&[1, -1]), [0x01, 0x00, 0xff, 0xff]);
/// ```
pub fn samples_to_pcm(samples: &[i16]) -> Vec<u8> {
    samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_survive_the_way_there_and_back() {
        let samples = [0, 1, -1, i16::MAX, i16::MIN];
        assert_eq!(pcm_to_samples(&samples_to_pcm(&samples)), samples);
    }

    #[test]
    fn half_a_sample_is_left_out() {
        assert_eq!(pcm_to_samples(&[1, 0, 7]), [1]);
        assert!(pcm_to_samples(&[]).is_empty());
    }
}
