//! The tenants' own prompts: WAV files of their folders, and addresses that the operator allows.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use rustix::fs::{Mode, OFlags};
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use voxtra_audio::{pcm, read_wav};
use voxtra_core::{BoxFuture, CallError, TenantId};
use voxtra_session::{PromptAudio, TenantPrompts};

/// The largest prompt that is fetched: 17 minutes at 8 kHz.
const FETCH_MAX_BYTES: usize = 16 << 20;
/// How long fetching may take.
const FETCH_LIMIT: Duration = Duration::from_secs(10);
/// How long a fetched prompt is played again without being fetched again.
const FRESH_FOR: Duration = Duration::from_secs(60);
/// Fetched prompts that are kept.
const KEPT_MAX: usize = 32;

/// Where one tenant's prompts are.
#[derive(Debug, Clone, Default)]
pub(crate) struct PromptPlaces {
    /// Its folder; none: it has no files.
    pub(crate) dir: Option<PathBuf>,
    /// Whether that is in the tenant's own folder, where it must not be a link: who writes there may not lead out of it.
    pub(crate) is_own: bool,
    /// Beginnings of addresses.
    pub(crate) urls: Vec<String>,
}

/// See the module.
pub(crate) struct Prompts {
    places: RwLock<HashMap<TenantId, PromptPlaces>>,
    client: reqwest::Client,
    fetched: Mutex<HashMap<String, (Instant, Bytes)>>,
}

impl Prompts {
    /// The prompts of these tenants. The client follows no redirect.
    pub(crate) fn new(places: HashMap<TenantId, PromptPlaces>, client: reqwest::Client) -> Self {
        Self { places: RwLock::new(places), client, fetched: Mutex::default() }
    }

    /// From now on they are there.
    pub(crate) fn set_places(&self, places: HashMap<TenantId, PromptPlaces>) {
        *self.places.write().unwrap_or_else(PoisonError::into_inner) = places;
    }

    fn places(&self, tenant: &TenantId) -> PromptPlaces {
        let places = self.places.read().unwrap_or_else(PoisonError::into_inner);
        places.get(tenant).cloned().unwrap_or_default()
    }

    async fn file(&self, tenant: &TenantId, name: &str, rate_hz: u32) -> Result<PromptAudio, CallError> {
        let PromptPlaces { dir: Some(dir), is_own, .. } = self.places(tenant) else {
            let why = format!("the tenant {tenant} has no prompts of its own; name their folder under prompts.dir");
            return Err(CallError::NotConfigured(why));
        };
        let name = name.to_owned();
        let read = spawn_blocking(move || {
            let file = open_inside(&dir, is_own, &name)?;
            decode(file, rate_hz, &name)
        });
        read.await.unwrap_or_else(|error| Err(CallError::Telephony(error.to_string())))
    }

    async fn address(&self, tenant: &TenantId, url: &str, rate_hz: u32) -> Result<PromptAudio, CallError> {
        let allowed = self.places(tenant).urls.iter().any(|start| covers(start, url));
        if !allowed {
            let why = format!(
                "{url} begins like none of the addresses that may be played; add its beginning to prompts.urls"
            );
            return Err(CallError::Denied(why));
        }
        let wav = match self.kept(url) {
            Some(wav) => wav,
            None => self.fetch(url).await?,
        };
        let name = url.to_owned();
        let decoded = spawn_blocking(move || decode(&wav[..], rate_hz, &name));
        decoded.await.unwrap_or_else(|error| Err(CallError::Telephony(error.to_string())))
    }

    fn kept(&self, url: &str) -> Option<Bytes> {
        let fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        fetched.get(url).filter(|(since, _)| since.elapsed() < FRESH_FOR).map(|(_, wav)| wav.clone())
    }

    async fn fetch(&self, url: &str) -> Result<Bytes, CallError> {
        let failed = |why: String| CallError::Provider(format!("the prompt {url} cannot be fetched: {why}"));
        let answer = self.client.get(url).timeout(FETCH_LIMIT).send().await;
        let answer = answer.map_err(|error| failed(error.without_url().to_string()))?;
        if !answer.status().is_success() {
            return Err(failed(format!("the server answered {}", answer.status())));
        }
        let mut wav = Vec::new();
        let mut parts = answer.bytes_stream();
        while let Some(part) = parts.next().await {
            wav.extend_from_slice(&part.map_err(|error| failed(error.without_url().to_string()))?);
            if wav.len() > FETCH_MAX_BYTES {
                return Err(failed(format!("it is larger than {} MiB; shorten it", FETCH_MAX_BYTES >> 20)));
            }
        }
        let wav = Bytes::from(wav);
        let mut fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        if fetched.len() >= KEPT_MAX {
            fetched.retain(|_, (since, _)| since.elapsed() < FRESH_FOR);
            if fetched.len() >= KEPT_MAX {
                fetched.clear();
            }
        }
        fetched.insert(url.to_owned(), (Instant::now(), wav.clone()));
        Ok(wav)
    }
}

impl TenantPrompts for Prompts {
    fn open<'a>(
        &'a self,
        tenant: &'a TenantId,
        name: &'a str,
        rate_hz: u32,
    ) -> BoxFuture<'a, Result<PromptAudio, CallError>> {
        Box::pin(async move {
            if name.starts_with("https:") {
                self.address(tenant, name, rate_hz).await
            } else {
                self.file(tenant, name, rate_hz).await
            }
        })
    }
}

/// Whether an allowed beginning covers an address: whole parts of a path only, so that `https://a.example/x` does not
/// cover `https://a.example.evil/` or `https://a.example/xy`.
fn covers(start: &str, url: &str) -> bool {
    let (Ok(start), Ok(url)) = (start.parse::<reqwest::Url>(), url.parse::<reqwest::Url>()) else { return false };
    let place =
        |url: &reqwest::Url| (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.port_or_known_default());
    if place(&start) != place(&url) || url.scheme() != "https" || !url.username().is_empty() || url.password().is_some()
    {
        return false;
    }
    let rest = url.path().strip_prefix(start.path().trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Opens a file below a folder, part by part, so that nothing leads out of it whatever somebody puts into its place meanwhile:
/// no `..` and no link. What is no file, such as a pipe, is not waited for.
fn open_inside(dir: &Path, is_own: bool, name: &str) -> Result<File, CallError> {
    const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
    const FILE: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
    let missing = || missing(name);
    let plain = |part| if let Component::Normal(part) = part { Some(part) } else { None };
    let parts: Option<Vec<&OsStr>> = Path::new(name).components().map(plain).collect();
    let parts = parts.filter(|_| !name.ends_with('/')).unwrap_or_default();
    let (last, folders) = parts.split_last().ok_or_else(missing)?;
    let own = if is_own { OFlags::NOFOLLOW } else { OFlags::empty() };
    let mut folder = rustix::fs::open(dir, FOLDER | own, Mode::empty()).map_err(|_| missing())?;
    for part in folders {
        let inner = rustix::fs::openat(&folder, *part, FOLDER | OFlags::NOFOLLOW, Mode::empty());
        folder = inner.map_err(|_| missing())?;
    }
    let mut file = PathBuf::from(last);
    if file.extension().is_none() {
        file.set_extension("wav");
    }
    let opened = rustix::fs::openat(&folder, &file, FILE | OFlags::NOFOLLOW, Mode::empty()).map(File::from);
    match opened.map_err(io::Error::from).and_then(|open| Ok((open.metadata()?.is_file(), open))) {
        Ok((true, open)) => Ok(open),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(CallError::NotConfigured(format!("the prompt {name:?} cannot be read ({error}); change its mode")))
        }
        Ok((false, _)) | Err(_) => Err(missing()),
    }
}

fn missing(name: &str) -> CallError {
    CallError::InvalidArgument(format!("there is no prompt {name:?} in the tenant's folder; look at its name"))
}

fn decode(from: impl std::io::Read, rate_hz: u32, name: &str) -> Result<PromptAudio, CallError> {
    let samples =
        read_wav(from, rate_hz).map_err(|error| CallError::InvalidArgument(format!("the prompt {name:?}: {error}")))?;
    Ok(PromptAudio { pcm: Bytes::from(pcm::bytes(&samples)), rate_hz })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rustix::fs::FileType;

    use super::*;

    #[test]
    fn an_allowed_beginning_covers_whole_parts_only() {
        let start = "https://cdn.example/prompts";
        for good in [
            "https://cdn.example/prompts",
            "https://cdn.example/prompts/a.wav",
            "https://cdn.example:443/prompts/b/c.wav",
        ] {
            assert!(covers(start, good), "{good}");
        }
        for bad in [
            "http://cdn.example/prompts/a.wav",
            "https://cdn.example.evil/prompts/a.wav",
            "https://cdn.example/promptsecret/a.wav",
            "https://cdn.example/prompts/../a.wav",
            "https://u:p@cdn.example/prompts/a.wav",
            "https://cdn.example:444/prompts/a.wav",
            "https://cdn.example@evil/prompts/a.wav",
            "no address",
        ] {
            assert!(!covers(start, bad), "{bad}");
        }
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        let dir = std::env::temp_dir().join(format!("voxtra-prompts-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("in")).unwrap();
        std::fs::write(dir.join("secret.wav"), b"x").unwrap();
        std::fs::write(dir.join("in/hello.wav"), b"x").unwrap();
        std::os::unix::fs::symlink(dir.join("secret.wav"), dir.join("in/link.wav")).unwrap();
        std::os::unix::fs::symlink(dir.join("in"), dir.join("in/round")).unwrap();
        std::fs::create_dir(dir.join("in/de")).unwrap();
        std::fs::write(dir.join("in/de/hello.wav"), b"x").unwrap();
        // Nobody ever writes into it.
        let pipe = rustix::fs::mknodat(rustix::fs::CWD, dir.join("in/pipe.wav"), FileType::Fifo, Mode::RUSR, 0);
        pipe.unwrap();
        let inside = dir.join("in");
        for good in ["hello", "hello.wav", "de/hello"] {
            assert!(open_inside(&inside, false, good).is_ok(), "{good:?}");
        }
        let absolute = dir.join("secret.wav").display().to_string();
        for bad in [
            "../secret",
            "../secret.wav",
            "link",
            "link.wav",
            "round/hello",
            "pipe",
            "de",
            "",
            ".",
            "/",
            "hello.wav/",
            &absolute,
            "a\0b",
            "nosuch",
        ] {
            assert!(open_inside(&inside, false, bad).is_err(), "{bad:?}");
        }
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[tokio::test]
    async fn a_tenants_own_folder_may_not_become_a_link_and_new_places_count_at_once() {
        let dir = std::env::temp_dir().join(format!("voxtra-own-prompts-{}", std::process::id()));
        let mut hello = Vec::new();
        voxtra_audio::wav::write_wav(&mut hello, 8_000, 1, &[1; 800]).unwrap();
        for folder in ["acme/prompts", "other"] {
            std::fs::create_dir_all(dir.join(folder)).unwrap();
            std::fs::write(dir.join(folder).join("hello.wav"), &hello).unwrap();
        }
        let prompts = Prompts::new(HashMap::new(), voxtra_services::webhooks::http_client().unwrap());
        let acme = TenantId::new("acme");
        let open = || prompts.open(&acme, "hello", 8_000);
        assert!(matches!(open().await, Err(CallError::NotConfigured(_))));
        let own = PromptPlaces { dir: Some(dir.join("acme/prompts")), is_own: true, urls: Vec::new() };
        prompts.set_places(HashMap::from([(acme.clone(), own)]));
        assert_eq!(open().await.unwrap().pcm.len(), 1_600);
        std::fs::remove_dir_all(dir.join("acme/prompts")).unwrap();
        std::os::unix::fs::symlink(dir.join("other"), dir.join("acme/prompts")).unwrap();
        assert!(matches!(open().await, Err(CallError::InvalidArgument(_))));
        std::fs::remove_dir_all(dir).unwrap();
    }
}
