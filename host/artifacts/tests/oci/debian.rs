//! The registry that Debian ships (CNCF's distribution): what the stand-in claims to be, in earnest.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use voxtra_artifacts::Version;
use voxtra_artifacts::oci::{Credentials, OciError, OciOptions, Registry, RegistryClient};
use voxtra_test_support::apt::{PrivateApt, unpack};
use voxtra_test_support::files::{TempDir, cache_dir, lock};
use voxtra_test_support::process::{program, spawn, tethered};
use voxtra_test_support::skips::skipped;

use crate::push::{CONFIG, LAYER, push, push_with, vendors_client};
use crate::{ana, component, options, reference};

const PACKAGE: &str = "docker-registry";

/// `secret`, by bcrypt with cost 4.
const USERS: &str = "ana:$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n";

/// The program, unpacked into the cache by whoever came first.
fn installed() -> Result<PathBuf> {
    let home = cache_dir()?.join("registry");
    let program = home.join("tree/usr/bin/docker-registry");
    let _lock = lock(&home.join("lock"))?;
    if !program.exists() {
        let apt = PrivateApt::new(&home.join("apt"))?;
        apt.use_own_release()?;
        let fresh = home.join("tree.new");
        let _ = fs::remove_dir_all(&fresh);
        for deb in apt.fetch(&[PACKAGE])? {
            unpack(&deb, &fresh)?;
        }
        let _ = fs::remove_dir_all(home.join("apt"));
        let runs = Command::new(fresh.join("usr/bin/docker-registry")).arg("--version").output()?;
        ensure!(runs.status.success(), "the unpacked registry does not start");
        let _ = fs::remove_dir_all(home.join("tree"));
        fs::rename(fresh, home.join("tree"))?;
    }
    Ok(program)
}

struct Running {
    host: String,
    child: Child,
    _dir: TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts one, with what is added to its configuration behind `http:`; the folder is for what that needs.
fn start(settings: impl Fn(&Path) -> Result<String>) -> Result<Running> {
    let registry = installed()?;
    let dir = TempDir::new("registry")?;
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let host = format!("127.0.0.1:{port}");
    let root = dir.path().join("data");
    let storage = format!("storage:\n  filesystem:\n    rootdirectory: {}\n", root.display());
    let http = format!("http:\n  addr: {host}\n  secret: x\n");
    let config = format!("version: 0.1\nlog:\n  level: error\n{storage}{http}{}", settings(dir.path())?);
    let path = dir.path().join("config.yml");
    fs::write(&path, config)?;
    let mut command = tethered(registry);
    command.arg("serve").arg(path).stdout(Stdio::null()).stderr(Stdio::null());
    let child = spawn(command)?;
    let mut running = Running { host: host.clone(), child, _dir: dir };
    let until = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(&host).is_err() {
        ensure!(running.child.try_wait()?.is_none(), "the registry has ended");
        ensure!(Instant::now() < until, "the registry does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(running)
}

fn passwords(dir: &Path) -> Result<String> {
    let users = dir.join("users");
    fs::write(&users, USERS)?;
    Ok(format!("auth:\n  htpasswd:\n    realm: tests\n    path: {}\n", users.display()))
}

#[tokio::test]
async fn a_component_goes_through_a_true_registry() {
    let registry = match start(|_| Ok(String::new())) {
        Ok(registry) => registry,
        Err(error) => return skipped("a_component_goes_through_a_true_registry", &format!("{error:#}")),
    };
    let manifest = push(&registry.host, &component(), &Credentials::Anonymous).await;
    let client = RegistryClient::new(&options(&registry.host, Credentials::Anonymous)).unwrap();
    let fetched = client.fetch(&reference(&registry.host, manifest)).await.unwrap();
    assert!(fetched.component == component() && fetched.version == Version::of(&component()));
    let missing = client.fetch(&reference(&registry.host, Version::of(b"never pushed"))).await;
    assert!(matches!(missing, Err(OciError::NotFound { .. })), "{missing:?}");
    let missing = format!("{}/nobody/nothing@sha256:{manifest}", registry.host);
    let missing = client.fetch(&missing.parse().unwrap()).await;
    assert!(matches!(missing, Err(OciError::NotFound { .. })), "{missing:?}");
}

#[tokio::test]
async fn a_true_registry_asks_for_a_password() {
    let registry = match start(passwords) {
        Ok(registry) => registry,
        Err(error) => return skipped("a_true_registry_asks_for_a_password", &format!("{error:#}")),
    };
    let manifest = push(&registry.host, &component(), &ana()).await;
    let with = |credentials| RegistryClient::new(&options(&registry.host, credentials)).unwrap();
    let reference = reference(&registry.host, manifest);
    assert!(with(ana()).fetch(&reference).await.unwrap().component == component());
    for wrong in [Credentials::Anonymous, Credentials::Basic { user: "ana".into(), password: "guess".into() }] {
        let refused = with(wrong).fetch(&reference).await;
        assert!(matches!(refused, Err(OciError::Unauthorised { .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn a_registry_with_a_certificate_of_the_operators_own_is_believed_where_it_is_named() {
    let name = "a_registry_with_a_certificate_of_the_operators_own_is_believed_where_it_is_named";
    let dir = TempDir::new("certificate").unwrap();
    let (key, certificate) = match certificate(dir.path()) {
        Ok(both) => both,
        Err(error) => return skipped(name, &format!("{error:#}")),
    };
    let tls =
        |_: &Path| Ok(format!("  tls:\n    certificate: {}\n    key: {}\n", certificate.display(), key.display()));
    let registry = match start(tls) {
        Ok(registry) => registry,
        Err(error) => return skipped(name, &format!("{error:#}")),
    };
    let pem = fs::read_to_string(&certificate).unwrap();
    let trusted = Certificate { encoding: CertificateEncoding::Pem, data: pem.clone().into_bytes() };
    let named = Registry { extra_certificates_pem: vec![pem], ..Registry::new(&registry.host) };
    let believing = RegistryClient::new(&OciOptions { registries: vec![named], ..OciOptions::default() }).unwrap();
    let pusher = vendors_client(ClientConfig {
        protocol: ClientProtocol::Https,
        extra_root_certificates: vec![trusted],
        ..ClientConfig::default()
    });
    let manifest = push_with(&pusher, &registry.host, &component(), &Credentials::Anonymous, CONFIG, LAYER).await;
    let reference = reference(&registry.host, manifest);
    assert!(believing.fetch(&reference).await.unwrap().component == component());
    let unbelieving = OciOptions { registries: vec![Registry::new(&registry.host)], ..OciOptions::default() };
    let refused = RegistryClient::new(&unbelieving).unwrap().fetch(&reference).await;
    assert!(matches!(refused, Err(OciError::Unreachable { .. })), "{refused:?}");
    assert!(refused.unwrap_err().to_string().contains("certificate"));
}

/// A key, and a certificate of its own making for this machine.
fn certificate(dir: &Path) -> Result<(PathBuf, PathBuf)> {
    let openssl = program("openssl").context("this machine has no openssl to make a certificate with")?;
    let (key, certificate) = (dir.join("key.pem"), dir.join("certificate.pem"));
    let made = Command::new(openssl)
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()?;
    ensure!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
    Ok((key, certificate))
}
