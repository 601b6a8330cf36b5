//! An S3-compatible store. `rusty-s3` signs; the audio is streamed from the file.

use std::fmt;
use std::time::Duration;

use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Response, StatusCode};
use rusty_s3::{Bucket, BucketError, Credentials, S3Action, UrlStyle};
use tokio::time::timeout;
use voxtra_core::BoxFuture;

use super::{Finished, Sink, SinkError};
use crate::webhooks::chain;

/// How long a signature is good for.
const SIGNED_FOR: Duration = Duration::from_secs(60 * 60);

/// How long the small object may take that goes before the audio: a store that hangs is noticed by it, and does not
/// keep other recordings waiting.
const ABOUT_LIMIT: Duration = Duration::from_secs(30);

/// Of a refusal, what is read for its reason, and for how long.
const REFUSAL_MAX_BYTES: usize = 16 << 10;
const REFUSAL_LIMIT: Duration = Duration::from_secs(2);

/// The longest error code of S3 has about 50 letters.
const CODE_MAX_CHARS: usize = 64;

/// Where the store is.
#[derive(Clone)]
pub struct S3Options {
    /// Such as `https://s3.eu-central-1.amazonaws.com`.
    pub endpoint: String,
    /// Such as `eu-central-1`; stores that have none take any.
    pub region: String,
    /// The bucket, which has to be there.
    pub bucket: String,
    /// Put before each key, such as `calls/2026`; any characters, but no part of it is empty, `.` or `..`. Slashes at
    /// its ends are left out; may be empty.
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
    /// A sentence, when the address, the bucket's name or the prefix cannot be right.
    pub fn new(name: &str, options: S3Options, client: reqwest::Client) -> Result<Self, String> {
        let style = if options.path_style { UrlStyle::Path } else { UrlStyle::VirtualHost };
        let wrong = |why: &dyn fmt::Display| format!("the S3 endpoint {:?} cannot be right ({why})", options.endpoint);
        let endpoint = options.endpoint.parse().map_err(|error| wrong(&error))?;
        let bucket = Bucket::new(endpoint, style, options.bucket.clone(), options.region.clone());
        let bucket = bucket.map_err(|error: BucketError| wrong(&error))?;
        if options.bucket.is_empty() || options.bucket.contains(['/', '?', '#']) {
            return Err(format!(
                "the S3 bucket {:?} cannot be right; write the name of one that is there",
                options.bucket
            ));
        }
        let credentials = Credentials::new(options.access_key, options.secret_key);
        let prefix = options.prefix.trim_matches('/').to_owned();
        // In an address they mean another folder, so that the key would not be the one that is told.
        if !prefix.is_empty() && prefix.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(format!("the S3 prefix {prefix:?} has an empty part, \".\" or \"..\"; leave that out"));
        }
        Ok(Self { name: name.to_owned(), bucket, prefix, credentials, client })
    }

    async fn send(&self, recording: &Finished<'_>) -> Result<String, SinkError> {
        let prefix = if self.prefix.is_empty() { String::new() } else { format!("{}/", self.prefix) };
        let key = format!("{prefix}{}/{}", recording.folder(), recording.file_name());
        let metadata = recording.metadata().to_string();
        let about = format!("{}.json", key.trim_end_matches(".wav"));
        let told = self.put(&about, "application/json", metadata.len() as u64, metadata.into());
        let late = || Err(SinkError::passing(format!("it does not answer within {} s", ABOUT_LIMIT.as_secs())));
        timeout(ABOUT_LIMIT, told).await.unwrap_or_else(|_| late())?;
        let file = tokio::fs::File::open(recording.file).await;
        let file = file.map_err(|error| SinkError::passing(format!("the recording cannot be read ({error})")))?;
        self.put(&key, "audio/wav", recording.size_bytes, file.into()).await?;
        Ok(format!("s3://{}/{key}", self.bucket.name()))
    }

    async fn put(&self, key: &str, kind: &str, length: u64, body: reqwest::Body) -> Result<(), SinkError> {
        let url = self.bucket.put_object(Some(&self.credentials), key).sign(SIGNED_FOR);
        let request = self.client.put(url).header(CONTENT_TYPE, kind).header(CONTENT_LENGTH, length).body(body);
        // The address holds a signature, which is as good as a key for an hour.
        let answer = request.send().await.map_err(|error| {
            SinkError::passing(format!(
                "it cannot be reached at {} ({}); look at `endpoint` and whether it runs",
                self.host(),
                chain(&error.without_url())
            ))
        })?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(SinkError::passing(self.refusal(status, &code(answer).await))),
        }
    }

    /// Why it did not take something, and what to do. None of it is lasting: most of it can be put right at the store
    /// while the host runs.
    fn refusal(&self, status: StatusCode, code: &str) -> String {
        let said = if code.is_empty() { String::new() } else { format!(" ({code})") };
        let bucket = self.bucket.name();
        let advice = match (code, status.as_u16()) {
            ("SignatureDoesNotMatch", _) => "; look at `secret_key`, which does not belong to `access_key`".to_owned(),
            ("InvalidAccessKeyId" | "NotSignedUp", _) => "; look at `access_key`, which it does not know".to_owned(),
            ("RequestTimeTooSkewed", _) => "; set this machine's clock".to_owned(),
            ("NoSuchBucket", _) => format!("; make the bucket {bucket:?} or look at `bucket`"),
            ("PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException", _)
            | (_, 300..=399) => "; look at `region` and `endpoint`: the bucket is elsewhere".to_owned(),
            ("QuotaExceeded" | "XMinioStorageFull" | "EntityTooLarge", _) | (_, 413 | 507) => {
                format!("; make room in the bucket {bucket:?}")
            }
            (_, 401 | 403) => format!("; look at the keys, and allow them to put objects into the bucket {bucket:?}"),
            (_, 404) => format!("; look at `endpoint`, and whether the bucket {bucket:?} is there"),
            _ => String::new(),
        };
        format!("it answered {status}{said}{advice}")
    }

    fn host(&self) -> &str {
        self.bucket.base_url().host_str().unwrap_or_default()
    }
}

/// The code in an answer that refuses: `<Error><Code>NoSuchBucket</Code>…`, as the S3 API's "Error responses" says.
/// Empty when there is none that could be one.
async fn code(mut answer: Response) -> String {
    let mut body = Vec::new();
    let read = async {
        while let Ok(Some(part)) = answer.chunk().await {
            body.extend_from_slice(&part);
            if body.len() > REFUSAL_MAX_BYTES {
                break;
            }
        }
    };
    // What has come by then is looked at all the same.
    let _ = timeout(REFUSAL_LIMIT, read).await;
    code_in(&String::from_utf8_lossy(&body)).to_owned()
}

fn code_in(body: &str) -> &str {
    let code = body.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>")).map_or("", |(code, _)| code);
    let is_one = code.len() <= CODE_MAX_CHARS && code.chars().all(|c| c.is_ascii_alphanumeric() || c == '.');
    if is_one { code } else { "" }
}

impl Sink for S3Sink {
    fn name(&self) -> &str {
        &self.name
    }

    fn keep<'a>(&'a self, recording: &'a Finished<'a>) -> BoxFuture<'a, Result<String, SinkError>> {
        Box::pin(self.send(recording))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::webhooks::http_client;

    fn options() -> S3Options {
        S3Options {
            endpoint: "http://127.0.0.1:9000".to_owned(),
            region: "eu".to_owned(),
            bucket: "recordings".to_owned(),
            prefix: String::new(),
            access_key: "access".to_owned(),
            secret_key: "hush".to_owned(),
            path_style: true,
        }
    }

    fn made(options: S3Options) -> Result<S3Sink, String> {
        S3Sink::new("s3", options, http_client().unwrap())
    }

    #[test]
    fn a_configuration_that_would_put_recordings_elsewhere_is_refused() {
        for prefix in ["..", "a/../b", "a//b", "a/./b"] {
            let why = made(S3Options { prefix: prefix.to_owned(), ..options() }).err().unwrap();
            assert!(why.contains("leave that out"), "{why}");
        }
        for bucket in ["", "a/b", "a?b"] {
            let why = made(S3Options { bucket: bucket.to_owned(), ..options() }).err().unwrap();
            assert!(why.contains("bucket"), "{why}");
        }
        assert!(made(S3Options { endpoint: "ftp://127.0.0.1".to_owned(), ..options() }).is_err());
        assert!(made(S3Options { prefix: "/a b/ü/".to_owned(), ..options() }).is_ok());
    }

    #[test]
    fn each_refusal_says_what_to_do() {
        let sink = made(options()).unwrap();
        for (status, code, advice) in [
            (403, "SignatureDoesNotMatch", "secret_key"),
            (403, "InvalidAccessKeyId", "access_key"),
            (403, "AccessDenied", "allow them"),
            (403, "RequestTimeTooSkewed", "clock"),
            (404, "NoSuchBucket", "make the bucket \"recordings\""),
            (404, "", "endpoint"),
            (301, "PermanentRedirect", "region"),
            (307, "", "region"),
            (507, "XMinioStorageFull", "make room"),
        ] {
            let why = sink.refusal(StatusCode::from_u16(status).unwrap(), code);
            assert!(why.contains(advice) && why.contains(code), "{why}");
        }
    }

    proptest! {
        #[test]
        fn nothing_in_a_refusal_reaches_the_log_but_a_code(body in "\\PC{0,40}(<Code>\\PC{0,80}</Code>)?\\PC{0,20}") {
            let code = code_in(&body);
            prop_assert!(code.len() <= CODE_MAX_CHARS && code.chars().all(|c| c.is_ascii_alphanumeric() || c == '.'));
        }
    }

    #[test]
    fn the_code_is_found() {
        let body = "<?xml version=\"1.0\"?><Error><Code>NoSuchBucket</Code><Message>no</Message></Error>";
        assert_eq!(code_in(body), "NoSuchBucket");
        assert_eq!(code_in("<html>down</html>"), "");
        assert_eq!(code_in("<Code>two words</Code>"), "");
    }
}
