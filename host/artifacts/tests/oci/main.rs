//! Fetching from registries that the tests start: one that misbehaves on order, and Debian's, which is everybody's.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod debian;
mod faults;
mod push;
mod stand_in;

use std::time::Duration;

use voxtra_artifacts::Version;
use voxtra_artifacts::oci::{Credentials, Fetched, OciError, OciOptions, OciReference, Registry, RegistryClient};

use push::push;
use stand_in::{Gate, StandIn};

/// What the tests push; nobody here looks into it.
pub(crate) fn component() -> Vec<u8> {
    let mut component = b"\0asm\x0d\0\x01\0".to_vec();
    component.extend((0..300_000_u32).flat_map(u32::to_le_bytes));
    component
}

/// Options for one registry on this machine.
pub(crate) fn options(host: &str, credentials: Credentials) -> OciOptions {
    let registry = Registry { insecure_http: true, credentials, ..Registry::new(host) };
    OciOptions { registries: vec![registry], time_limit: Duration::from_secs(20), ..OciOptions::default() }
}

pub(crate) fn reference(host: &str, manifest: Version) -> OciReference {
    format!("{host}/acme/support@sha256:{manifest}").parse().unwrap()
}

async fn fetch(registry: &StandIn, manifest: Version) -> Result<Fetched, OciError> {
    fetch_as(registry, manifest, Credentials::Anonymous).await
}

async fn fetch_as(registry: &StandIn, manifest: Version, credentials: Credentials) -> Result<Fetched, OciError> {
    let client = RegistryClient::new(&options(&registry.host(), credentials)).unwrap();
    client.fetch(&reference(&registry.host(), manifest)).await
}

fn ana() -> Credentials {
    Credentials::Basic { user: "ana".to_owned(), password: "secret".to_owned() }
}

#[tokio::test]
async fn what_the_vendors_client_pushes_is_fetched_byte_by_byte() {
    let registry = StandIn::start().await;
    let manifest = push(&registry.host(), &component(), &Credentials::Anonymous).await;
    let fetched = fetch(&registry, manifest).await.unwrap();
    assert_eq!((fetched.version, fetched.component.len()), (Version::of(&component()), component().len()));
    assert!(fetched.component == component());
}

#[tokio::test]
async fn a_password_opens_the_registry_and_nothing_else_does() {
    let registry = StandIn::start().await;
    registry.state().gate = Gate::Basic("ana", "secret");
    let manifest = push(&registry.host(), &component(), &ana()).await;
    assert!(fetch_as(&registry, manifest, ana()).await.is_ok());
    for wrong in [Credentials::Anonymous, Credentials::Basic { user: "ana".into(), password: "guess".into() }] {
        let refused = fetch_as(&registry, manifest, wrong).await;
        assert!(matches!(refused, Err(OciError::Unauthorised { .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn a_token_is_got_from_the_token_server_that_the_registry_names() {
    let registry = StandIn::start().await;
    registry.state().gate = Gate::Token("ana", "secret", "t0ken");
    let manifest = push(&registry.host(), &component(), &ana()).await;
    assert!(fetch_as(&registry, manifest, ana()).await.is_ok());
    assert!(registry.asked("/token").iter().all(|request| request.query.contains("acme")));
    assert!(fetch_as(&registry, manifest, Credentials::Bearer("t0ken".into())).await.is_ok());
    let refused = fetch_as(&registry, manifest, Credentials::Anonymous).await;
    assert!(matches!(refused, Err(OciError::Unauthorised { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_registry_that_the_operator_has_not_named_is_not_even_connected_to() {
    let (registry, other) = (StandIn::start().await, StandIn::start().await);
    let manifest = push(&other.host(), &component(), &Credentials::Anonymous).await;
    let asked = other.state().requests.len();
    let client = RegistryClient::new(&options(&registry.host(), Credentials::Anonymous)).unwrap();
    let refused = client.fetch(&reference(&other.host(), manifest)).await;
    assert!(matches!(refused, Err(OciError::RegistryNotAllowed { .. })));
    let none = RegistryClient::new(&OciOptions::default()).unwrap();
    assert!(matches!(none.fetch(&reference(&other.host(), manifest)).await, Err(OciError::RegistryNotAllowed { .. })));
    assert_eq!(other.state().requests.len(), asked);
}

#[tokio::test]
async fn plain_http_is_only_spoken_where_the_operator_says_so() {
    let registry = StandIn::start().await;
    let manifest = push(&registry.host(), &component(), &Credentials::Anonymous).await;
    let asked = registry.state().requests.len();
    let options = OciOptions { registries: vec![Registry::new(&registry.host())], ..OciOptions::default() };
    let refused = RegistryClient::new(&options).unwrap().fetch(&reference(&registry.host(), manifest)).await;
    assert!(matches!(refused, Err(OciError::Unreachable { .. })), "{refused:?}");
    assert!(registry.state().requests[asked..].iter().all(|request| request.path.is_empty()));
}

#[tokio::test]
async fn a_registry_that_is_down_is_said_to_be() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    drop(listener);
    let client = RegistryClient::new(&options(&host, Credentials::Anonymous)).unwrap();
    let error = client.fetch(&reference(&host, Version::of(b"x"))).await.unwrap_err();
    assert!(matches!(error, OciError::Unreachable { .. }) && error.is_passing(), "{error:?}");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[test]
fn settings_that_cannot_work_are_refused_at_the_start() {
    let refuse = |registries: Vec<Registry>| {
        let error = RegistryClient::new(&OciOptions { registries, ..OciOptions::default() }).err();
        assert!(matches!(error, Some(OciError::BadRegistry { .. })), "{error:?}");
    };
    for host in ["", "ghcr.io/acme", "https://ghcr.io", "GHCR.IO", "user@ghcr.io", "ghcr"] {
        refuse(vec![Registry::new(host)]);
    }
    refuse(vec![Registry::new("ghcr.io"), Registry::new("ghcr.io")]);
    for token in ["", "two words", "line\nbreak"] {
        refuse(vec![Registry { credentials: Credentials::Bearer(token.to_owned()), ..Registry::new("ghcr.io") }]);
    }
    let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned();
    refuse(vec![Registry { extra_certificates_pem: vec![pem], ..Registry::new("ghcr.io") }]);
}

#[test]
fn nothing_secret_is_printed() {
    let shown = format!("{:?}", [ana(), Credentials::Bearer("t0ken".to_owned())]);
    assert!(shown.contains("ana") && !shown.contains("secret") && !shown.contains("t0ken"), "{shown}");
}
