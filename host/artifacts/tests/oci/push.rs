//! Pushing with the vendor's own client, so that the tests' registry is held to what others expect of one.

use oci_client::client::{Client, ClientConfig, ClientProtocol, Config, ImageLayer};
use oci_client::manifest::OciImageManifest;
use oci_client::secrets::RegistryAuth;
use voxtra_artifacts::Version;
use voxtra_artifacts::oci::Credentials;

pub(crate) const CONFIG: &str = "application/vnd.wasm.config.v0+json";
pub(crate) const LAYER: &str = "application/wasm";

/// Pushes a component over plain HTTP as the convention has it; returns the digest of its manifest.
pub(crate) async fn push(host: &str, component: &[u8], credentials: &Credentials) -> Version {
    push_as(host, component, credentials, CONFIG, LAYER).await
}

/// Pushes it with these media types.
pub(crate) async fn push_as(
    host: &str,
    component: &[u8],
    credentials: &Credentials,
    config: &str,
    layer: &str,
) -> Version {
    let client = vendors_client(ClientConfig { protocol: ClientProtocol::Http, ..ClientConfig::default() });
    push_with(&client, host, component, credentials, config, layer).await
}

/// It asks for the process's TLS provider even where it speaks plain HTTP.
pub(crate) fn vendors_client(config: ClientConfig) -> Client {
    // An error means that another test was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::try_from(config).unwrap()
}

pub(crate) async fn push_with(
    client: &Client,
    host: &str,
    component: &[u8],
    credentials: &Credentials,
    config: &str,
    layer: &str,
) -> Version {
    let layers = [ImageLayer::new(component.to_vec(), layer.to_owned(), None)];
    let config = Config::new(br#"{"architecture":"wasm","os":"wasip2"}"#.to_vec(), config.to_owned(), None);
    let mut manifest = OciImageManifest::build(&layers, &config, None);
    manifest.media_type = Some("application/vnd.oci.image.manifest.v1+json".to_owned());
    let auth = match credentials {
        Credentials::Anonymous => RegistryAuth::Anonymous,
        Credentials::Basic { user, password } => RegistryAuth::Basic(user.clone(), password.clone()),
        Credentials::Bearer(token) => RegistryAuth::Bearer(token.clone()),
    };
    let image = oci_client::Reference::with_tag(host.to_owned(), "acme/support".to_owned(), "v1".to_owned());
    client.push(&image, &layers, config, &auth, Some(manifest)).await.unwrap();
    let (body, digest) =
        client.pull_manifest_raw(&image, &auth, &["application/vnd.oci.image.manifest.v1+json"]).await.unwrap();
    assert_eq!(digest, format!("sha256:{}", Version::of(&body)));
    Version::of(&body)
}
