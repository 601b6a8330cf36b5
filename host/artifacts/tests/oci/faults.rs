//! A registry that misbehaves: each fault has its name, costs little, and leaves nothing behind.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use voxtra_artifacts::Version;
use voxtra_artifacts::oci::{Credentials, OciError, OciOptions, RegistryClient};

use crate::push::{CONFIG, LAYER, push, push_as};
use crate::stand_in::{Answer, Gate, StandIn};
use crate::{ana, component, fetch, fetch_as, options, reference};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A registry with the component in it.
async fn pushed() -> (StandIn, Version) {
    let registry = StandIn::start().await;
    let manifest = push(&registry.host(), &component(), &Credentials::Anonymous).await;
    registry.state().requests.clear();
    (registry, manifest)
}

fn blob_path() -> String {
    format!("/blobs/sha256:{}", Version::of(&component()))
}

fn impatient(registry: &StandIn) -> OciOptions {
    OciOptions { time_limit: Duration::from_millis(700), ..options(&registry.host(), Credentials::Anonymous) }
}

/// A sound manifest for a layer of so many bytes, to be made unsound.
fn manifest_of(layer: Version, size: i64) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": { "mediaType": CONFIG, "digest": format!("sha256:{}", Version::of(b"{}")), "size": 2 },
        "layers": [{ "mediaType": LAYER, "digest": format!("sha256:{layer}"), "size": size }],
    })
}

#[tokio::test]
async fn a_manifest_that_is_not_the_named_one_is_refused() {
    let (registry, manifest) = pushed().await;
    let other = serde_json::to_vec(&manifest_of(Version::of(b"evil"), 4)).unwrap();
    for said in [Version::of(&other), manifest] {
        let headers = vec![("Docker-Content-Digest", format!("sha256:{said}"))];
        registry.state().answers = vec![("/manifests/".to_owned(), Answer::Plain(200, headers, other.clone()))];
        let refused = fetch(&registry, manifest).await;
        assert!(matches!(refused, Err(OciError::WrongDigest { .. })), "{refused:?}");
    }
    assert!(registry.asked("/blobs/").is_empty());
}

#[tokio::test]
async fn a_component_that_is_not_the_named_one_is_refused() {
    let (registry, manifest) = pushed().await;
    let mut evil = component();
    evil[1000] ^= 1;
    let short = component()[..1000].to_vec();
    for (bytes, headers) in [
        (evil.clone(), vec![]),
        (evil.clone(), vec![("Docker-Content-Digest", format!("sha256:{}", Version::of(&evil)))]),
        (component(), vec![("Docker-Content-Digest", format!("sha256:{}", Version::of(b"other")))]),
        (short, vec![]),
        (Vec::new(), vec![]),
    ] {
        registry.state().answers = vec![("/blobs/".to_owned(), Answer::Plain(200, headers, bytes))];
        let refused = fetch(&registry, manifest).await;
        assert!(matches!(refused, Err(OciError::WrongDigest { .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn a_component_that_says_to_be_too_big_is_not_even_asked_for() {
    let (registry, manifest) = pushed().await;
    let small = OciOptions { max_component_bytes: 1000, ..options(&registry.host(), Credentials::Anonymous) };
    let refused = RegistryClient::new(&small).unwrap().fetch(&reference(&registry.host(), manifest)).await;
    let Err(OciError::TooBig { size_bytes: Some(size), max_bytes: 1000, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(size, u64::try_from(component().len()).unwrap());
    assert!(registry.asked("/blobs/").is_empty());
}

#[tokio::test]
async fn a_component_that_is_bigger_than_it_says_is_cut_off() {
    let (registry, manifest) = pushed().await;
    let bigger = [component(), vec![0; 100]].concat();
    registry.answer("/blobs/", Answer::Plain(200, vec![], bigger));
    let refused = fetch(&registry, manifest).await;
    assert!(matches!(refused, Err(OciError::TooBig { size_bytes: Some(_), .. })), "{refused:?}");

    registry.state().answers = vec![("/blobs/".to_owned(), Answer::Endless)];
    let refused = fetch(&registry, manifest).await;
    assert!(matches!(refused, Err(OciError::TooBig { size_bytes: None, .. })), "{refused:?}");
    tokio::time::sleep(Duration::from_millis(200)).await;
    let written = registry.state().endless_bytes;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(registry.state().endless_bytes, written, "it is still being read");
}

#[tokio::test]
async fn a_manifest_of_megabytes_is_refused() {
    let registry = StandIn::start().await;
    let mut manifest = manifest_of(Version::of(&component()), 1);
    manifest["annotations"] = json!({ "x": "x".repeat(5 << 20) });
    let refused = fetch(&registry, registry.keep_manifest(&serde_json::to_vec(&manifest).unwrap())).await;
    assert!(matches!(refused, Err(OciError::TooBig { what: "its manifest", .. })), "{refused:?}");
}

#[tokio::test]
async fn what_is_no_component_is_refused_by_its_media_type() {
    let registry = StandIn::start().await;
    let host = registry.host();
    let docker_layer = "application/vnd.oci.image.layer.v1.tar+gzip";
    let docker_config = "application/vnd.oci.image.config.v1+json";
    for (config, layer) in [(CONFIG, docker_layer), (docker_config, docker_layer), (docker_config, LAYER)] {
        let manifest = push_as(&host, &component(), &Credentials::Anonymous, config, layer).await;
        let refused = fetch(&registry, manifest).await;
        let Err(OciError::WrongMediaType { what, .. }) = &refused else { panic!("{refused:?}") };
        assert!(what.contains("oci.image"), "{what}");
    }
    let sound = manifest_of(registry.keep_blob(&component()), i64::try_from(component().len()).unwrap());
    assert!(fetch(&registry, registry.keep_manifest(&serde_json::to_vec(&sound).unwrap())).await.is_ok());
    for change in [
        json!({ "mediaType": "application/vnd.docker.distribution.manifest.v2+json" }),
        json!({ "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [] }),
        json!({ "schemaVersion": 1 }),
        json!({ "layers": [] }),
        json!({ "layers": [sound["layers"][0], sound["layers"][0]] }),
    ] {
        let mut manifest = sound.clone();
        manifest.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let refused = fetch(&registry, registry.keep_manifest(&serde_json::to_vec(&manifest).unwrap())).await;
        assert!(matches!(refused, Err(OciError::WrongMediaType { .. })), "{change}: {refused:?}");
    }
}

#[tokio::test]
async fn a_manifest_that_cannot_be_understood_is_refused() {
    let registry = StandIn::start().await;
    let layer = registry.keep_blob(&component());
    let sound = manifest_of(layer, 1);
    let with = |name: &str, value: Value| {
        let mut manifest = sound.clone();
        manifest["layers"][0][name] = value;
        serde_json::to_vec(&manifest).unwrap()
    };
    for bad in [
        b"".to_vec(),
        b"not JSON".to_vec(),
        b"[]".to_vec(),
        br#"{"schemaVersion":2}"#.to_vec(),
        with("size", json!(-1)),
        with("size", json!("1")),
        with("digest", json!("sha256:../../../etc/passwd")),
        with("digest", json!("sha512:abc")),
        b"[".repeat(100_000),
    ] {
        let refused = fetch(&registry, registry.keep_manifest(&bad)).await;
        assert!(matches!(refused, Err(OciError::BadManifest { .. })), "{refused:?}");
        assert!(!refused.unwrap_err().to_string().contains('\n'));
    }
    assert!(registry.asked("/blobs/").is_empty());
}

#[tokio::test]
async fn a_slow_registry_is_given_up_in_time() {
    let (registry, manifest) = pushed().await;
    for (path, answer) in [
        ("/manifests/", Answer::Silence),
        ("/blobs/", Answer::Silence),
        ("/blobs/", Answer::Drip(component().len())),
        ("/v2/", Answer::Silence),
    ] {
        registry.state().answers = vec![(path.to_owned(), answer)];
        let began = Instant::now();
        let refused =
            RegistryClient::new(&impatient(&registry)).unwrap().fetch(&reference(&registry.host(), manifest)).await;
        assert!(matches!(&refused, Err(error @ OciError::Timeout { .. }) if error.is_passing()), "{refused:?}");
        assert!(began.elapsed() >= Duration::from_millis(600), "it gave up at once");
    }
}

#[tokio::test]
async fn waiting_for_a_turn_has_the_same_limit() {
    let (registry, manifest) = pushed().await;
    registry.answer("/blobs/", Answer::Silence);
    let options = OciOptions { max_fetches: 1, ..impatient(&registry) };
    let client = RegistryClient::new(&options).unwrap();
    let reference = reference(&registry.host(), manifest);
    let (first, second) = tokio::join!(client.fetch(&reference), client.fetch(&reference));
    assert!(matches!((first, second), (Err(OciError::Timeout { .. }), Err(OciError::Timeout { .. }))));
    assert_eq!(registry.asked("/blobs/").len(), 1);
    registry.state().answers.clear();
    assert!(client.fetch(&reference).await.is_ok(), "a turn was lost");
}

#[tokio::test]
async fn a_connection_that_breaks_is_no_component() {
    let (registry, manifest) = pushed().await;
    registry.answer("/blobs/", Answer::CutOff(component().len(), component()[..5000].to_vec()));
    let refused = fetch(&registry, manifest).await;
    assert!(matches!(&refused, Err(error @ OciError::Unreachable { .. }) if error.is_passing()), "{refused:?}");
}

#[tokio::test]
async fn what_is_not_there_is_said_to_be_missing() {
    let (registry, manifest) = pushed().await;
    let refused = fetch(&registry, Version::of(b"never pushed")).await;
    assert!(matches!(&refused, Err(error @ OciError::NotFound { .. }) if !error.is_passing()), "{refused:?}");
    for body in [&br#"{"errors":[{"code":"BLOB_UNKNOWN"}]}"#[..], b"<html>no", b""] {
        registry.state().answers = vec![("/blobs/".to_owned(), Answer::Plain(404, vec![], body.to_vec()))];
        let refused = fetch(&registry, manifest).await;
        assert!(matches!(refused, Err(OciError::NotFound { .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn a_broken_registry_is_named_and_what_it_says_stays_on_one_line() {
    let (registry, manifest) = pushed().await;
    let rude = b"\x1b[2J\r\nERROR fake line\n".repeat(1000);
    registry.answer("/manifests/", Answer::Plain(500, vec![], rude));
    let error = fetch(&registry, manifest).await.unwrap_err();
    let said = error.to_string();
    assert!(matches!(error, OciError::Registry { .. }) && error.is_passing());
    assert!(said.len() < 700 && !said.contains(char::is_control), "{said:?}");
}

#[tokio::test]
async fn a_redirection_elsewhere_takes_no_credentials_along_and_is_believed_for_its_hash_only() {
    let elsewhere = StandIn::start().await;
    elsewhere.keep_blob(&component());
    let registry = StandIn::start().await;
    registry.state().gate = Gate::Basic("ana", "secret");
    let manifest = push(&registry.host(), &component(), &ana()).await;
    let location = vec![(
        "Location",
        format!("http://localhost:{}{}", elsewhere.address.port(), "/v2/x".to_owned() + &blob_path()),
    )];
    registry.answer("/blobs/", Answer::Plain(307, location, vec![]));
    assert!(fetch_as(&registry, manifest, ana()).await.unwrap().component == component());
    let asked = elsewhere.asked("/blobs/");
    assert!(asked.len() == 1 && asked[0].authorization.is_none(), "{asked:?}");
    assert!(registry.asked("/blobs/").iter().all(|request| request.authorization.is_some()));

    elsewhere.answer("/blobs/", Answer::Plain(200, vec![], vec![0; component().len()]));
    let refused = fetch_as(&registry, manifest, ana()).await;
    assert!(matches!(refused, Err(OciError::WrongDigest { .. })), "{refused:?}");
}

#[tokio::test]
async fn redirections_in_a_circle_come_to_an_end() {
    let (registry, manifest) = pushed().await;
    let location = vec![("Location", format!("http://{}/v2/x{}", registry.host(), blob_path()))];
    registry.answer("/blobs/", Answer::Plain(307, location, vec![]));
    let refused = fetch(&registry, manifest).await;
    assert!(matches!(refused, Err(OciError::Unreachable { .. })), "{refused:?}");
    assert!(registry.asked("/blobs/").len() <= 11);
}

#[tokio::test]
async fn urls_in_a_manifest_are_not_followed() {
    let (registry, elsewhere) = (StandIn::start().await, StandIn::start().await);
    let layer = elsewhere.keep_blob(&component());
    let mut manifest = manifest_of(layer, i64::try_from(component().len()).unwrap());
    manifest["layers"][0]["urls"] = json!([format!("http://{}/v2/x{}", elsewhere.host(), blob_path())]);
    let refused = fetch(&registry, registry.keep_manifest(&serde_json::to_vec(&manifest).unwrap())).await;
    assert!(matches!(refused, Err(OciError::NotFound { .. })), "{refused:?}");
    assert!(elsewhere.state().requests.is_empty());
}

#[tokio::test]
async fn a_token_that_brings_the_client_down_ends_that_fetch_only() {
    let (registry, manifest) = pushed().await;
    registry.state().gate = Gate::Token("ana", "secret", "two\r\nlines");
    let client = RegistryClient::new(&options(&registry.host(), ana())).unwrap();
    let reference = reference(&registry.host(), manifest);
    let refused = client.fetch(&reference).await;
    assert!(matches!(refused, Err(OciError::Registry { .. })), "{refused:?}");
    registry.state().gate = Gate::Open;
    let client = RegistryClient::new(&options(&registry.host(), ana())).unwrap();
    assert!(client.fetch(&reference).await.is_ok());
}
