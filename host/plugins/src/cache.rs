//! Compiled components, kept between starts. An entry is only believed when it carries a tag (HMAC-SHA256) under a key
//! made at the first start: compiled code is machine code, and whoever could slip some in would own the host.
//!
//! A cache that cannot be read or written costs time, never a handler.

use std::fs;
use std::hash::{Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use voxtra_core::TenantId;
use wasmtime::Engine;

use crate::precompiled::Authentic;

const KEY_FILE: &str = "key";

const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 32;

/// The largest entry that is read back: far above what a component of the largest allowed size compiles to.
const MAX_ENTRY_BYTES: u64 = 1 << 30;

/// All entries together; beyond it those go that were asked for longest ago. A tenant that swaps versions all day fills no
/// disk.
const MAX_BYTES: u64 = 16 << 30;

/// A folder of authenticated compiled components.
pub(crate) struct Cache {
    dir: PathBuf,
    key: [u8; KEY_BYTES],
    engine_id: String,
    max_bytes: u64,
}

/// A component's content hash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct ContentHash([u8; 32]);

impl ContentHash {
    pub(crate) fn of(wasm: &[u8]) -> Self {
        Self(Sha256::digest(wasm).into())
    }

    /// What a tenant's code is kept under. Each tenant has its own: how soon a component is there tells nobody whether
    /// another tenant has the same one.
    pub(crate) fn kept_for(self, tenant: &TenantId) -> Self {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update(tenant.as_str().as_bytes());
        Self(hash.finalize().into())
    }

    pub(crate) fn to_hex(self) -> String {
        self.0.iter().map(|b| format!("{b:02x}")).collect()
    }
}

impl Cache {
    /// Opens the folder, making it and its key when they are not there.
    pub(crate) fn open(dir: &Path, engine: &Engine) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let key = read_or_make_key(&dir.join(KEY_FILE))?;
        Ok(Self { dir: dir.to_owned(), key, engine_id: engine_id(engine), max_bytes: MAX_BYTES })
    }

    /// Whether there is something of these contents. Only [`Cache::get`] says whether it is authentic.
    pub(crate) fn has(&self, hash: ContentHash) -> bool {
        fs::metadata(self.path(hash)).is_ok_and(|entry| entry.is_file() && entry.len() <= MAX_ENTRY_BYTES)
    }

    /// The compiled code of these contents, when it is there and authentic.
    pub(crate) fn get(&self, hash: ContentHash) -> Option<Authentic> {
        let path = self.path(hash);
        // A pipe would be waited for.
        let found = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
        if found.len() > MAX_ENTRY_BYTES {
            return None;
        }
        let mut entry = fs::read(&path).ok()?;
        // Asked for now; where that cannot be noted it only goes earlier.
        let _ = fs::File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        if entry.len() < TAG_BYTES {
            return None;
        }
        let code = entry.split_off(TAG_BYTES);
        if self.mac(hash, &code).verify_slice(&entry).is_err() {
            tracing::warn!(path = %path.display(), "a compiled component was changed by somebody else and is compiled anew");
            return None;
        }
        Some(Authentic(code))
    }

    /// Keeps compiled code. What fails is logged and forgotten.
    pub(crate) fn put(&self, hash: ContentHash, code: &[u8]) {
        let path = self.path(hash);
        if let Err(error) = self.write(&path, hash, code).and_then(|()| self.make_room(&path)) {
            tracing::warn!(path = %path.display(), %error, "a compiled component could not be kept");
        }
    }

    /// Removes the oldest entries while there are too many, but for the one that has just come.
    fn make_room(&self, newest: &Path) -> io::Result<()> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            // Another thread may have removed it.
            let Ok(metadata) = fs::metadata(&path) else { continue };
            if path.file_name().is_some_and(|name| name != KEY_FILE) && path != newest {
                entries.push((metadata.modified()?, metadata.len(), path));
            }
        }
        let mut bytes = entries.iter().fold(fs::metadata(newest)?.len(), |sum, (_, len, _)| sum.saturating_add(*len));
        entries.sort();
        for (_, len, path) in entries {
            if bytes <= self.max_bytes {
                break;
            }
            let _ = fs::remove_file(path);
            bytes = bytes.saturating_sub(len);
        }
        Ok(())
    }

    fn write(&self, path: &Path, hash: ContentHash, code: &[u8]) -> io::Result<()> {
        let tag = self.mac(hash, code).finalize().into_bytes();
        write_atomically(path, &[&tag, code])
    }

    fn mac(&self, hash: ContentHash, code: &[u8]) -> Hmac<Sha256> {
        let mut mac = keyed(&self.key);
        mac.update(self.engine_id.as_bytes());
        mac.update(&hash.0);
        mac.update(code);
        mac
    }

    fn path(&self, hash: ContentHash) -> PathBuf {
        self.dir.join(format!("{}-{}", hash.to_hex(), self.engine_id))
    }
}

/// HMAC takes a key of any length, so this cannot fail; should it ever, nothing verifies under the empty key that
/// others could know, because the tag is computed with the same one and the folder is private.
fn keyed(key: &[u8; KEY_BYTES]) -> Hmac<Sha256> {
    let mut block = [0; 64];
    block[..KEY_BYTES].copy_from_slice(key);
    Hmac::<Sha256>::new(&block.into())
}

fn read_or_make_key(path: &Path) -> io::Result<[u8; KEY_BYTES]> {
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(io::Error::other(format!("{} is no regular file; remove it", path.display())));
    }
    match fs::read(path) {
        Ok(found) => {
            if let Ok(key) = found.try_into() {
                return Ok(key);
            }
            // Cut short, by a full disk for instance: nothing that it signed can be checked any more.
            fs::remove_file(path)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key).map_err(|error| io::Error::other(error.to_string()))?;
    write_atomically(path, &[&key])?;
    // Another host may have been first; what is on disk counts for both.
    fs::read(path)?.try_into().map_err(|_| io::Error::other("the key is being written by another host"))
}

fn write_atomically(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    static COUNTER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let n = COUNTER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let aside = path.with_extension(format!("{}-{n}.new", std::process::id()));
    let written = (|| {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
        for part in parts {
            file.write_all(part)?;
        }
        file.sync_all()?;
        fs::rename(&aside, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&aside);
    }
    written
}

fn engine_id(engine: &Engine) -> String {
    let mut hasher = HashIntoSha(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.0.finalize().iter().take(16).map(|b| format!("{b:02x}")).collect()
}

/// Lets a `Hash` value be hashed by something that is the same in every process.
struct HashIntoSha(Sha256);

impl Hasher for HashIntoSha {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(name: &str) -> Cache {
        let dir = std::env::temp_dir().join(format!("voxtra-cache-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        Cache::open(&dir, &Engine::default()).unwrap()
    }

    #[test]
    fn what_was_put_comes_back() {
        let cache = cache("round");
        let hash = ContentHash::of(b"wasm");
        cache.put(hash, b"code");
        assert_eq!(cache.get(hash).unwrap().0, b"code");
        let again = Cache::open(&cache.dir, &Engine::default()).unwrap();
        assert_eq!(again.get(hash).unwrap().0, b"code");
        fs::remove_dir_all(&cache.dir).unwrap();
    }

    #[test]
    fn a_pipe_is_not_waited_for() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};

        let cache = cache("pipe");
        let hash = ContentHash::of(b"wasm");
        mknodat(CWD, cache.path(hash), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert!(cache.get(hash).is_none());
        let key = cache.dir.join(KEY_FILE);
        fs::remove_file(&key).unwrap();
        mknodat(CWD, &key, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let error = Cache::open(&cache.dir, &Engine::default()).err().unwrap();
        assert!(error.to_string().contains("no regular file"), "{error}");
        fs::remove_dir_all(&cache.dir).unwrap();
    }

    #[test]
    fn a_flipped_byte_is_not_believed() {
        let cache = cache("flip");
        let hash = ContentHash::of(b"wasm");
        cache.put(hash, b"code");
        let path = cache.path(hash);
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, &bad).unwrap();
            assert!(cache.get(hash).is_none(), "byte {at}");
        }
        fs::remove_dir_all(&cache.dir).unwrap();
    }

    #[test]
    fn an_entry_does_not_pass_for_another() {
        let cache = cache("other");
        let (a, b) = (ContentHash::of(b"a"), ContentHash::of(b"b"));
        cache.put(a, b"code of a");
        fs::copy(cache.path(a), cache.path(b)).unwrap();
        assert!(cache.get(b).is_none());
        fs::remove_dir_all(&cache.dir).unwrap();
    }

    #[test]
    fn a_tenant_does_not_find_what_another_has_compiled() {
        let cache = cache("tenants");
        let hash = ContentHash::of(b"wasm");
        let (acme, beta) = (hash.kept_for(&"acme".into()), hash.kept_for(&"beta".into()));
        cache.put(acme, b"code");
        assert!(cache.get(beta).is_none() && cache.get(hash).is_none());
        assert_eq!(cache.get(acme).unwrap().0, b"code");
        fs::remove_dir_all(&cache.dir).unwrap();
    }

    #[test]
    fn what_was_asked_for_longest_ago_makes_room() {
        let mut cache = cache("room");
        let hashes = [b"a", b"b", b"c", b"d"].map(|wasm| ContentHash::of(wasm));
        let code = vec![0; 1_000];
        for (age_s, hash) in [30, 20, 10].into_iter().zip(hashes) {
            cache.put(hash, &code);
            let at = SystemTime::now() - std::time::Duration::from_secs(age_s);
            fs::File::open(cache.path(hash)).unwrap().set_modified(at).unwrap();
        }
        assert!(cache.get(hashes[0]).is_some(), "asked for: it is the newest by that");
        cache.max_bytes = 3_200;
        cache.put(hashes[3], &code);
        let there = hashes.map(|hash| cache.get(hash).is_some());
        assert_eq!(there, [true, false, true, true]);
        assert!(Cache::open(&cache.dir, &Engine::default()).unwrap().get(hashes[0]).is_some(), "the key is the same");
        fs::remove_dir_all(&cache.dir).unwrap();
    }

    #[test]
    fn a_key_that_was_cut_short_is_made_anew() {
        let cache = cache("key");
        let hash = ContentHash::of(b"wasm");
        cache.put(hash, b"code");
        fs::write(cache.dir.join("key"), b"short").unwrap();
        let again = Cache::open(&cache.dir, &Engine::default()).unwrap();
        assert!(again.get(hash).is_none());
        fs::remove_dir_all(&cache.dir).unwrap();
    }

    #[test]
    fn only_the_owner_can_read_the_key() {
        use std::os::unix::fs::PermissionsExt;
        let cache = cache("mode");
        let mode = fs::metadata(cache.dir.join("key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0);
        fs::remove_dir_all(&cache.dir).unwrap();
    }
}
