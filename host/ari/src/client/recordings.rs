//! Verbs on recordings: those under way (live) and those on Asterisk's disk (stored).
//!
//! A name may hold slashes; it travels as one segment of the path (`%2F`).

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use serde_json::json;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::AriClient;
use crate::error::AriError;
use crate::model::{LiveRecording, StoredRecording};

/// Downloads under way at one time; more wait. They have turns of their own, so that however slowly files are taken,
/// calls are still controlled (see `REQUESTS_AT_ONCE`).
pub(super) const DOWNLOADS_AT_ONCE: usize = 2;

/// How long one download may take in all. Each piece has the limit of a request besides.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(60 * 60);

/// Longest body of a refusal that is read.
const REFUSAL_MAX_BYTES: usize = 16 * 1024;

impl AriClient {
    /// All recordings that are stored.
    ///
    /// # Errors
    /// [`AriError::Malformed`] for more than 4 MiB of names; any other.
    pub async fn list_stored_recordings(&self) -> Result<Vec<StoredRecording>, AriError> {
        self.get_typed(&["recordings", "stored"]).await
    }

    /// A stored recording.
    ///
    /// # Errors
    /// [`AriError::NotFound`] when there is none of that name (yet); any other.
    pub async fn get_stored_recording(&self, name: &str) -> Result<StoredRecording, AriError> {
        self.get_typed(&["recordings", "stored", name]).await
    }

    /// Starts to fetch the file of a stored recording, of at most `max_bytes`. It comes piece by piece, as it is taken:
    /// nothing is kept here. Two at a time; further ones wait for their turn, no longer than a request's limit. The
    /// whole may take an hour.
    ///
    /// # Errors
    /// [`AriError::NotFound`] when there is none; [`AriError::Forbidden`] when Asterisk cannot open it;
    /// [`AriError::Malformed`] when Asterisk announces more than `max_bytes`; any other.
    pub async fn download_recording(&self, name: &str, max_bytes: u64) -> Result<RecordingDownload, AriError> {
        let http = self.http()?;
        let limit = self.config().request_timeout;
        let (url, shown_path) = http.base.ari(&["recordings", "stored", name, "file"])?;
        let call = format!("GET {shown_path}");
        let Ok(Ok(turn)) = timeout(limit, http.downloads.clone().acquire_owned()).await else {
            return Err(AriError::timeout(&call, limit));
        };
        let request = http
            .client
            .get(url)
            .timeout(DOWNLOAD_LIMIT)
            .header(reqwest::header::AUTHORIZATION, http.authorization.clone());
        let answer = timeout(limit, request.send()).await.map_err(|_| AriError::timeout(&call, limit))?;
        let response = answer.map_err(|error| AriError::transport(&call, &error.without_url()))?;
        let status = response.status();
        let length_bytes = response.content_length();
        let mut download =
            RecordingDownload { response, length_bytes, left_bytes: max_bytes, max_bytes, limit, call, _turn: turn };
        if !status.is_success() {
            let body = download.refusal().await?;
            return Err(AriError::from_status(&download.call, &self.config().username, status.as_u16(), &body));
        }
        if length_bytes.is_some_and(|length| length > max_bytes) {
            return Err(download.too_long());
        }
        Ok(download)
    }

    /// Writes the file of a stored recording, of at most `max_bytes`, to `out`, which is flushed, and returns its
    /// length in bytes.
    ///
    /// # Errors
    /// As [`AriClient::download_recording`]; [`AriError::Output`] when `out` takes no more. What has been written
    /// until then is incomplete.
    pub async fn save_recording<W>(&self, name: &str, max_bytes: u64, out: &mut W) -> Result<u64, AriError>
    where
        W: AsyncWrite + Unpin,
    {
        let mut download = self.download_recording(name, max_bytes).await?;
        let mut written_bytes: u64 = 0;
        while let Some(piece) = download.chunk().await? {
            out.write_all(&piece).await.map_err(|error| AriError::output(&download.call, &error))?;
            written_bytes = written_bytes.saturating_add(piece.len() as u64);
        }
        out.flush().await.map_err(|error| AriError::output(&download.call, &error))?;
        Ok(written_bytes)
    }

    /// Copies a stored recording to another name.
    ///
    /// # Errors
    /// [`AriError::NotFound`] when there is none; [`AriError::Conflict`] when there is one of the new name; any other.
    pub async fn copy_recording(&self, name: &str, new_name: &str) -> Result<StoredRecording, AriError> {
        let body = json!({ "destinationRecordingName": new_name });
        self.post_typed(&["recordings", "stored", name, "copy"], &body).await
    }

    /// Deletes a stored recording. One that is not there is success.
    ///
    /// # Errors
    /// Any [`AriError`] but not found.
    pub async fn delete_recording(&self, name: &str) -> Result<(), AriError> {
        self.end(&["recordings", "stored", name], &[]).await
    }

    /// A recording that is under way.
    ///
    /// # Errors
    /// [`AriError::NotFound`] when it has ended; any other.
    pub async fn get_live_recording(&self, name: &str) -> Result<LiveRecording, AriError> {
        self.get_typed(&["recordings", "live", name]).await
    }

    /// Ends a recording and keeps it. That it is stored is told by `RecordingFinished`. One that has ended is success.
    ///
    /// # Errors
    /// Any [`AriError`] but not found.
    pub async fn stop_recording(&self, name: &str) -> Result<(), AriError> {
        self.end_by_post(&["recordings", "live", name, "stop"]).await
    }

    /// Ends a recording and throws it away. One that has ended is success, and stays.
    ///
    /// # Errors
    /// Any [`AriError`] but not found.
    pub async fn cancel_recording(&self, name: &str) -> Result<(), AriError> {
        self.end(&["recordings", "live", name], &[]).await
    }

    /// Pauses a recording: what is said meanwhile is left out, and the time does not count.
    ///
    /// # Errors
    /// [`AriError::NotFound`] when it has ended; [`AriError::Conflict`] when it does not record yet; any other.
    pub async fn pause_recording(&self, name: &str) -> Result<(), AriError> {
        self.post_done(&["recordings", "live", name, "pause"], None).await
    }

    /// Goes on after a pause. One that has ended is success.
    ///
    /// # Errors
    /// [`AriError::Conflict`] when it does not record yet; any other but not found.
    pub async fn unpause_recording(&self, name: &str) -> Result<(), AriError> {
        self.end(&["recordings", "live", name, "pause"], &[]).await
    }

    /// Mutes a recording: it holds silence instead of what is said meanwhile, and the time counts.
    ///
    /// # Errors
    /// As [`AriClient::pause_recording`].
    pub async fn mute_recording(&self, name: &str) -> Result<(), AriError> {
        self.post_done(&["recordings", "live", name, "mute"], None).await
    }

    /// Ends muting a recording. One that has ended is success.
    ///
    /// # Errors
    /// As [`AriClient::unpause_recording`].
    pub async fn unmute_recording(&self, name: &str) -> Result<(), AriError> {
        self.end(&["recordings", "live", name, "mute"], &[]).await
    }
}

/// The file of a stored recording on its way. Dropping it ends it.
pub struct RecordingDownload {
    response: reqwest::Response,
    length_bytes: Option<u64>,
    left_bytes: u64,
    max_bytes: u64,
    limit: Duration,
    call: String,
    _turn: OwnedSemaphorePermit,
}

impl fmt::Debug for RecordingDownload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordingDownload")
            .field("call", &self.call)
            .field("length_bytes", &self.length_bytes)
            .field("left_bytes", &self.left_bytes)
            .finish_non_exhaustive()
    }
}

impl RecordingDownload {
    /// How many bytes there will be, when Asterisk has said so.
    #[must_use]
    pub fn length_bytes(&self) -> Option<u64> {
        self.length_bytes
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// [`AriError::Timeout`] when nothing comes within a request's limit, or the whole takes more than an hour;
    /// [`AriError::Transport`] when the connection breaks, also before the announced length;
    /// [`AriError::Malformed`] when there is more than was allowed.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, AriError> {
        let piece = match timeout(self.limit, self.response.chunk()).await {
            Err(_) => return Err(AriError::timeout(&self.call, self.limit)),
            Ok(Err(error)) if error.is_timeout() => return Err(AriError::timeout(&self.call, DOWNLOAD_LIMIT)),
            Ok(Err(error)) => return Err(AriError::transport(&self.call, &error.without_url())),
            Ok(Ok(None)) => return Ok(None),
            Ok(Ok(Some(piece))) => piece,
        };
        match self.left_bytes.checked_sub(piece.len() as u64) {
            Some(left) => self.left_bytes = left,
            None => return Err(self.too_long()),
        }
        Ok(Some(piece))
    }

    /// The pieces as a stream, which ends after its first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, AriError>> + Send {
        futures_util::stream::try_unfold(self, |mut download| async move {
            Ok(download.chunk().await?.map(|piece| (piece, download)))
        })
    }

    fn too_long(&self) -> AriError {
        AriError::malformed(&self.call, format!("the recording is longer than the {} bytes allowed", self.max_bytes))
    }

    async fn refusal(&mut self) -> Result<Vec<u8>, AriError> {
        self.left_bytes = u64::MAX;
        let mut body = Vec::new();
        while let Some(piece) = self.chunk().await? {
            let room = REFUSAL_MAX_BYTES.saturating_sub(body.len());
            body.extend_from_slice(piece.get(..room.min(piece.len())).unwrap_or_default());
            if body.len() >= REFUSAL_MAX_BYTES {
                break;
            }
        }
        Ok(body)
    }
}
