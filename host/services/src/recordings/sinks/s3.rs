//! An S3-compatible store. `rusty-s3` signs; the audio is streamed from the file.

use std::fmt;
use std::time::Duration;

use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use rusty_s3::{Bucket, BucketError, Credentials, S3Action, UrlStyle};
use voxtra_core::BoxFuture;

use super::{Finished, Sink, SinkError};

/// How long a signature is good for.
const SIGNED_FOR: Duration = Duration::from_secs(60 * 60);

/// Where the store is.
#[derive(Clone)]
pub struct S3Options {
    /// Such as `https://s3.eu-central-1.amazonaws.com`.
    pub endpoint: String,
    /// Such as `eu-central-1`; stores that have none take any.
    pub region: String,
    /// The bucket, which has to be there.
    pub bucket: String,
    /// Put before each key, without a slash at its ends; may be empty.
    pub prefix: String,
    /// The access key.
    pub access_key: String,
    /// The secret key.
    pub secret_key: String,
    /// Whether the bucket is part of the path (most stores) or of the host's name (Amazon's own).
    pub path_style: bool,
}

impl fmt::Debug for S3Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Options")
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("bucket", &self.bucket)
            .field("prefix", &self.prefix)
            .field("access_key", &self.access_key)
            .finish_non_exhaustive()
    }
}

/// Keeps recordings as `PREFIX/TENANT/DATE/NAME-ID.wav`, and what is known of each as `.json` beside it. The same
/// recording always has the same key, so that one that is sent again replaces itself.
pub struct S3Sink {
    name: String,
    bucket: Bucket,
    prefix: String,
    credentials: Credentials,
    client: reqwest::Client,
}

impl S3Sink {
    /// A sink of this store.
    ///
    /// # Errors
    /// A sentence, when the address or the bucket's name cannot be right.
    pub fn new(name: &str, options: S3Options, client: reqwest::Client) -> Result<Self, String> {
        let style = if options.path_style { UrlStyle::Path } else { UrlStyle::VirtualHost };
        let wrong = |why: &dyn fmt::Display| format!("the S3 endpoint {:?} cannot be right ({why})", options.endpoint);
        let endpoint = options.endpoint.parse().map_err(|error| wrong(&error))?;
        let bucket = Bucket::new(endpoint, style, options.bucket.clone(), options.region.clone());
        let bucket = bucket.map_err(|error: BucketError| wrong(&error))?;
        let credentials = Credentials::new(options.access_key, options.secret_key);
        let prefix = options.prefix.trim_matches('/').to_owned();
        Ok(Self { name: name.to_owned(), bucket, prefix, credentials, client })
    }

    async fn send(&self, recording: &Finished<'_>) -> Result<String, SinkError> {
        let prefix = if self.prefix.is_empty() { String::new() } else { format!("{}/", self.prefix) };
        let key = format!("{prefix}{}/{}", recording.folder(), recording.file_name());
        let metadata = recording.metadata().to_string();
        let about = format!("{}.json", key.trim_end_matches(".wav"));
        self.put(&about, "application/json", metadata.len() as u64, metadata.into()).await?;
        let file = tokio::fs::File::open(recording.file).await;
        let file = file.map_err(|error| SinkError::passing(format!("the recording cannot be read ({error})")))?;
        self.put(&key, "audio/wav", recording.size_bytes, file.into()).await?;
        Ok(format!("s3://{}/{key}", self.bucket.name()))
    }

    async fn put(&self, key: &str, kind: &str, length: u64, body: reqwest::Body) -> Result<(), SinkError> {
        let url = self.bucket.put_object(Some(&self.credentials), key).sign(SIGNED_FOR);
        let request = self.client.put(url).header(CONTENT_TYPE, kind).header(CONTENT_LENGTH, length).body(body);
        let answer = request.send().await;
        // The address holds a signature, which is as good as a key for an hour.
        let answer =
            answer.map_err(|error| SinkError::passing(format!("it cannot be reached ({})", error.without_url())))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        Err(SinkError { why: format!("it answered {status}"), lasting: false })
    }
}

impl Sink for S3Sink {
    fn name(&self) -> &str {
        &self.name
    }

    fn keep<'a>(&'a self, recording: &'a Finished<'a>) -> BoxFuture<'a, Result<String, SinkError>> {
        Box::pin(self.send(recording))
    }
}
