//! A small registry that speaks OCI's distribution API, version 2, well enough for the vendor's client to push to it, and
//! that misbehaves on order. Everything is in memory.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use voxtra_artifacts::Version;

/// What it does instead of answering truly.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// This, whole.
    Plain(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// A head that promises so many bytes, and then one every 50 ms.
    Drip(usize),
    /// A head that promises nothing, and bytes for as long as somebody takes them.
    Endless,
    /// A head that promises more than comes before the connection is closed.
    CutOff(usize, Vec<u8>),
    /// Nothing at all.
    Silence,
}

/// Who may read and write.
#[derive(Debug, Clone, Default)]
pub(crate) enum Gate {
    #[default]
    Open,
    /// Name and password, to the registry itself.
    Basic(&'static str, &'static str),
    /// Name and password to the token server, which gives this token.
    Token(&'static str, &'static str, &'static str),
}

/// A request as it came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) authorization: Option<String>,
    content_type: String,
    body: Vec<u8>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) gate: Gate,
    /// For requests whose path holds the text, in place of the true answer.
    pub(crate) answers: Vec<(String, Answer)>,
    pub(crate) requests: Vec<Request>,
    /// What has been written in endless answers.
    pub(crate) endless_bytes: usize,
    blobs: BTreeMap<String, Vec<u8>>,
    manifests: BTreeMap<String, (String, Vec<u8>)>,
    uploads: BTreeMap<String, Vec<u8>>,
}

/// A running one; it ends with the test's runtime.
pub(crate) struct StandIn {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl StandIn {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let served = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = served.clone();
                // Whoever leaves in the middle ends only this.
                tokio::spawn(async move { drop(serve(stream, address, &state).await) });
            }
        });
        Self { address, state }
    }

    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn answer(&self, path: &str, answer: Answer) {
        self.state().answers.push((path.to_owned(), answer));
    }

    /// Requests whose path holds the text.
    pub(crate) fn asked(&self, path: &str) -> Vec<Request> {
        self.state().requests.iter().filter(|request| request.path.contains(path)).cloned().collect()
    }

    /// Puts a manifest there as it is; returns its digest.
    pub(crate) fn keep_manifest(&self, bytes: &[u8]) -> Version {
        let version = Version::of(bytes);
        self.state().manifests.insert(format!("sha256:{version}"), ("application/json".to_owned(), bytes.to_vec()));
        version
    }

    /// Puts a blob there as it is.
    pub(crate) fn keep_blob(&self, bytes: &[u8]) -> Version {
        let version = Version::of(bytes);
        self.state().blobs.insert(format!("sha256:{version}"), bytes.to_vec());
        version
    }
}

async fn serve(stream: TcpStream, address: SocketAddr, state: &Mutex<State>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await? {
        let answer = answer(&request, address, &mut state.lock().unwrap());
        state.lock().unwrap().requests.push(request.clone());
        match answer {
            Answer::Plain(status, headers, body) => {
                write_head(&mut stream, status, &headers, Some(body.len())).await?;
                if request.method != "HEAD" {
                    stream.write_all(&body).await?;
                }
            }
            Answer::Drip(bytes) => {
                write_head(&mut stream, 200, &[], Some(bytes)).await?;
                for _ in 0..bytes {
                    stream.write_all(b"x").await?;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
            Answer::Endless => {
                write_head(&mut stream, 200, &[], None).await?;
                loop {
                    stream.write_all(&[b'x'; 4096]).await?;
                    state.lock().unwrap().endless_bytes += 4096;
                }
            }
            Answer::CutOff(promised, bytes) => {
                write_head(&mut stream, 200, &[], Some(promised)).await?;
                stream.write_all(&bytes).await?;
                return stream.shutdown().await;
            }
            Answer::Silence => tokio::time::sleep(Duration::from_secs(60)).await,
        }
    }
    Ok(())
}

fn answer(request: &Request, address: SocketAddr, state: &mut State) -> Answer {
    let (method, path) = (request.method.as_str(), request.path.as_str());
    if let Some((_, answer)) = state.answers.iter().find(|(part, _)| path.contains(part.as_str())) {
        return answer.clone();
    }
    if path == "/token" {
        return token(request, &state.gate);
    }
    if let Some(challenge) = challenge(request, address, &state.gate) {
        let body = br#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
        return Answer::Plain(401, vec![("WWW-Authenticate", challenge)], body.to_vec());
    }
    let parts: Vec<_> = path.trim_start_matches("/v2/").split('/').collect();
    let in_query = |name: &str| {
        let value = request.query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        value.map(|value| value.replace("%3A", ":"))
    };
    match (method, parts.as_slice()) {
        ("GET", [""]) => plain(200, vec![]),
        ("POST", [.., "blobs", "uploads", ""]) => {
            let id = format!("upload-{}", state.uploads.len());
            state.uploads.insert(id.clone(), Vec::new());
            Answer::Plain(202, vec![("Location", format!("{path}{id}"))], vec![])
        }
        ("PATCH", [.., "uploads", id]) => {
            let Some(upload) = state.uploads.get_mut(*id) else { return unknown("BLOB_UPLOAD_UNKNOWN") };
            upload.extend_from_slice(&request.body);
            let range = format!("0-{}", upload.len().saturating_sub(1));
            Answer::Plain(202, vec![("Location", path.to_owned()), ("Range", range)], vec![])
        }
        ("PUT", [.., "uploads", id]) => {
            let Some(mut upload) = state.uploads.remove(*id) else { return unknown("BLOB_UPLOAD_UNKNOWN") };
            upload.extend_from_slice(&request.body);
            let digest = format!("sha256:{}", Version::of(&upload));
            if in_query("digest").as_deref() != Some(&*digest) {
                return error(400, "DIGEST_INVALID");
            }
            state.blobs.insert(digest.clone(), upload);
            Answer::Plain(201, vec![("Location", format!("/v2/x/blobs/{digest}"))], vec![])
        }
        ("PUT", [.., "manifests", name]) => {
            let digest = format!("sha256:{}", Version::of(&request.body));
            let kept = (request.content_type.clone(), request.body.clone());
            state.manifests.insert(digest.clone(), kept.clone());
            state.manifests.insert((*name).to_owned(), kept);
            Answer::Plain(201, vec![("Location", path.to_owned()), ("Docker-Content-Digest", digest)], vec![])
        }
        ("GET" | "HEAD", [.., "manifests", name]) => match state.manifests.get(*name) {
            Some((media_type, body)) => {
                let digest = format!("sha256:{}", Version::of(body));
                let headers = vec![("Content-Type", media_type.clone()), ("Docker-Content-Digest", digest)];
                Answer::Plain(200, headers, body.clone())
            }
            None => unknown("MANIFEST_UNKNOWN"),
        },
        ("GET" | "HEAD", [.., "blobs", digest]) => match state.blobs.get(*digest) {
            Some(body) => {
                let headers = vec![("Docker-Content-Digest", (*digest).to_owned())];
                Answer::Plain(200, headers, body.clone())
            }
            None => unknown("BLOB_UNKNOWN"),
        },
        _ => error(405, "UNSUPPORTED"),
    }
}

/// What the registry asks for, when the request does not bring it.
fn challenge(request: &Request, address: SocketAddr, gate: &Gate) -> Option<String> {
    let (expected, challenge) = match gate {
        Gate::Open => return None,
        Gate::Basic(user, password) => (basic(user, password), "Basic realm=\"stand-in\"".to_owned()),
        Gate::Token(_, _, token) => {
            (format!("Bearer {token}"), format!("Bearer realm=\"http://{address}/token\",service=\"stand-in\""))
        }
    };
    (request.authorization.as_ref() != Some(&expected)).then_some(challenge)
}

fn token(request: &Request, gate: &Gate) -> Answer {
    let Gate::Token(user, password, token) = gate else { return error(404, "NOT_FOUND") };
    if request.authorization.as_deref() != Some(&basic(user, password)) {
        return error(401, "UNAUTHORIZED");
    }
    plain(200, serde_json::to_vec(&BTreeMap::from([("token", token)])).unwrap())
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

fn plain(status: u16, body: Vec<u8>) -> Answer {
    Answer::Plain(status, vec![("Content-Type", "application/json".to_owned())], body)
}

fn unknown(code: &str) -> Answer {
    error(404, code)
}

fn error(status: u16, code: &str) -> Answer {
    plain(status, format!(r#"{{"errors":[{{"code":"{code}","message":"said the stand-in"}}]}}"#).into_bytes())
}

async fn read(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<Request>> {
    let mut first = String::new();
    if stream.read_line(&mut first).await? == 0 {
        return Ok(None);
    }
    let mut words = first.split_whitespace().map(str::to_owned);
    let mut request = Request { method: words.next().unwrap_or_default(), ..Request::default() };
    let target = words.next().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    (request.path, request.query) = (path.to_owned(), query.to_owned());
    let (mut length, mut chunked) = (0, false);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap_or(0),
            "transfer-encoding" => chunked = value == "chunked",
            "authorization" => request.authorization = Some(value.to_owned()),
            "content-type" => request.content_type = value.to_owned(),
            _ => {}
        }
    }
    while chunked {
        let mut size = String::new();
        stream.read_line(&mut size).await?;
        length = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        chunked = length > 0;
        let mut chunk = vec![0; length + 2];
        stream.read_exact(&mut chunk).await?;
        request.body.extend_from_slice(&chunk[..length]);
        length = 0;
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    request.body.extend_from_slice(&body);
    Ok(Some(request))
}

async fn write_head(
    stream: &mut BufReader<TcpStream>,
    status: u16,
    headers: &[(&'static str, String)],
    length: Option<usize>,
) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {status} Said\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &length.map_or("Connection: close\r\n".to_owned(), |length| format!("Content-Length: {length}\r\n"));
    stream.write_all((head + "\r\n").as_bytes()).await
}
