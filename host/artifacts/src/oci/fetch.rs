//! From a reference to checked bytes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Once};
use std::time::Duration;

use futures_util::StreamExt;
use oci_client::client::{Certificate, CertificateEncoding, Client, ClientConfig, ClientProtocol};
use oci_client::manifest::{OCI_IMAGE_MEDIA_TYPE, OciDescriptor, OciImageManifest};
use oci_client::secrets::RegistryAuth;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::error::{OciError, explain, explain_stream};
use super::reference::{OciReference, is_registry};
use crate::version::Version;
use crate::words::one_line;

/// What a component's layer is.
const COMPONENT_MEDIA_TYPE: &str = "application/wasm";

/// What its config may be: that of the convention, or OCI's empty one.
const CONFIG_MEDIA_TYPES: [&str; 2] = ["application/vnd.wasm.config.v0+json", "application/vnd.oci.empty.v1+json"];

/// What registries that follow the specification take at most as a manifest.
const MAX_MANIFEST_BYTES: u64 = 4 << 20;

/// How long a registry may take to accept a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Memory is taken as bytes come; this much at once, whatever a manifest promises.
const MAX_RESERVED_BYTES: usize = 1 << 20;

const USER_AGENT: &str = "voxtra-artifacts/1";

/// How the host proves to a registry who it is. The operator's, never a tenant's.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Credentials {
    /// It does not.
    #[default]
    Anonymous,
    /// With a name and a password, to the registry itself or to the token server that it names.
    Basic {
        /// The name.
        user: String,
        /// The password, or an access token in its place.
        password: String,
    },
    /// With a token that the operator has got.
    Bearer(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("Anonymous"),
            Self::Basic { user, .. } => write!(f, "Basic({user:?}, …)"),
            Self::Bearer(_) => f.write_str("Bearer(…)"),
        }
    }
}

/// A registry that the host may fetch from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registry {
    /// Its host, with its port where it has one, as references name it.
    pub host: String,
    /// Plain HTTP: for one on this machine, or behind a network that the operator trusts. Bytes are checked all the same;
    /// credentials can be read on the way.
    pub insecure_http: bool,
    /// Who the host is there.
    pub credentials: Credentials,
    /// Certificates in PEM that are believed beside the system's.
    pub extra_certificates_pem: Vec<String>,
}

impl Registry {
    /// Over HTTPS, without credentials.
    #[must_use]
    pub fn new(host: &str) -> Self {
        Self {
            host: host.to_owned(),
            insecure_http: false,
            credentials: Credentials::Anonymous,
            extra_certificates_pem: Vec::new(),
        }
    }
}

/// What may be fetched, from where, and how patiently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OciOptions {
    /// The registries that may be spoken to; none by default.
    pub registries: Vec<Registry>,
    /// The largest component. Default 64 MiB, as of one in a file.
    pub max_component_bytes: u64,
    /// How long a fetch may take, all in all. Default 60 s.
    pub time_limit: Duration,
    /// Fetches at once; more wait, within their time limit. Default 4.
    pub max_fetches: usize,
}

impl Default for OciOptions {
    fn default() -> Self {
        Self {
            registries: Vec::new(),
            max_component_bytes: 64 << 20,
            time_limit: Duration::from_secs(60),
            max_fetches: 4,
        }
    }
}

/// A component that has come, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Its bytes.
    pub component: Vec<u8>,
    /// Their hash, which the manifest names.
    pub version: Version,
}

/// Fetches components.
#[derive(Clone)]
pub struct RegistryClient {
    registries: Arc<BTreeMap<String, Access>>,
    turns: Arc<Semaphore>,
    max_component_bytes: u64,
    time_limit: Duration,
}

/// One registry's client: each has its own, because each has its own protocol and certificates.
#[derive(Clone)]
struct Access {
    client: Client,
    auth: RegistryAuth,
}

impl RegistryClient {
    /// Checks the operator's settings; connects to nothing yet.
    ///
    /// # Errors
    /// [`OciError::BadRegistry`].
    pub fn new(options: &OciOptions) -> Result<Self, OciError> {
        let mut registries = BTreeMap::new();
        for registry in &options.registries {
            let access = access(registry, options.time_limit).map_err(|why| bad_registry(registry, why))?;
            if registries.insert(registry.host.clone(), access).is_some() {
                return Err(bad_registry(registry, "it is named twice; leave one".to_owned()));
            }
        }
        Ok(Self {
            registries: Arc::new(registries),
            turns: Arc::new(Semaphore::new(options.max_fetches.max(1))),
            max_component_bytes: options.max_component_bytes,
            time_limit: options.time_limit,
        })
    }

    /// Fetches a component and checks it against the reference's digest. Dropping the future ends the fetch.
    ///
    /// # Errors
    /// See [`OciError`].
    pub async fn fetch(&self, reference: &OciReference) -> Result<Fetched, OciError> {
        let Some(access) = self.registries.get(reference.registry()) else {
            return Err(OciError::RegistryNotAllowed { reference: reference.clone() });
        };
        let fetch = Fetch {
            access: access.clone(),
            address: address(reference),
            reference: reference.clone(),
            max_component_bytes: self.max_component_bytes,
            time_limit: self.time_limit,
        };
        let in_turn = async {
            let _turn = self.turns.acquire().await;
            // A task of its own, ended with this future: the client can be brought to panic by a token.
            let mut task = JoinSet::new();
            task.spawn(fetch.run());
            task.join_next().await
        };
        match timeout(self.time_limit, in_turn).await {
            Ok(Some(Ok(fetched))) => fetched,
            Ok(Some(Err(_)) | None) => {
                let said = "it has brought the client down".to_owned();
                Err(OciError::Registry { reference: reference.clone(), said })
            }
            Err(_) => Err(OciError::Timeout { reference: reference.clone(), limit: self.time_limit }),
        }
    }
}

struct Fetch {
    access: Access,
    address: oci_client::Reference,
    reference: OciReference,
    max_component_bytes: u64,
    time_limit: Duration,
}

/// What tells a manifest from an index and from Docker's, before it is read as one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    schema_version: u64,
    media_type: Option<String>,
}

impl Fetch {
    async fn run(self) -> Result<Fetched, OciError> {
        let manifest = self.manifest().await?;
        let layer = self.layer(manifest)?;
        let (version, size_bytes) = self.named(&layer)?;
        let component = self.bytes(&layer.digest, size_bytes).await?;
        if Version::of(&component) != version {
            return Err(self.wrong_digest("that of its layer"));
        }
        Ok(Fetched { component, version })
    }

    async fn manifest(&self) -> Result<Vec<u8>, OciError> {
        let Access { client, auth } = &self.access;
        let pulled = client.pull_manifest_raw(&self.address, auth, &[OCI_IMAGE_MEDIA_TYPE]).await;
        let (body, _) = pulled.map_err(|error| explain(&self.reference, self.time_limit, &error))?;
        let size_bytes = len(&body);
        if size_bytes > MAX_MANIFEST_BYTES {
            return Err(self.too_big("its manifest", Some(size_bytes), MAX_MANIFEST_BYTES));
        }
        if Version::of(&body) != self.reference.manifest() {
            return Err(self.wrong_digest("that of its manifest"));
        }
        Ok(body.to_vec())
    }

    /// The one layer, if it is a component's manifest.
    fn layer(&self, manifest: Vec<u8>) -> Result<OciDescriptor, OciError> {
        let bad = |error: serde_json::Error| OciError::BadManifest {
            reference: self.reference.clone(),
            said: one_line(&error.to_string(), 200),
        };
        let head: Head = serde_json::from_slice(&manifest).map_err(bad)?;
        if head.schema_version != 2 {
            return Err(self.wrong_type(&format!("it is a manifest of version {}", head.schema_version)));
        }
        if let Some(other) = head.media_type.filter(|media_type| media_type != OCI_IMAGE_MEDIA_TYPE) {
            return Err(self.wrong_type(&format!("it is {other}")));
        }
        let manifest: OciImageManifest = serde_json::from_slice(&manifest).map_err(bad)?;
        if !CONFIG_MEDIA_TYPES.contains(&manifest.config.media_type.as_str()) {
            return Err(self.wrong_type(&format!("its config is {}", manifest.config.media_type)));
        }
        let layers = manifest.layers.len();
        let mut layers_of_it = manifest.layers.into_iter();
        match (layers_of_it.next(), layers) {
            (Some(layer), 1) if layer.media_type == COMPONENT_MEDIA_TYPE => Ok(layer),
            (Some(layer), 1) => Err(self.wrong_type(&format!("its layer is {}", layer.media_type))),
            _ => Err(self.wrong_type(&format!("it has {layers} layers"))),
        }
    }

    /// What the manifest says about the layer: its hash and its size, which must not be too big.
    fn named(&self, layer: &OciDescriptor) -> Result<(Version, u64), OciError> {
        let bad = |said: &str| OciError::BadManifest { reference: self.reference.clone(), said: said.to_owned() };
        let version = layer.digest.strip_prefix("sha256:").and_then(|digits| digits.parse::<Version>().ok());
        let version = version.ok_or_else(|| bad("its layer has no SHA-256"))?;
        let size_bytes = u64::try_from(layer.size).map_err(|_| bad("its layer has a size below zero"))?;
        if size_bytes > self.max_component_bytes {
            return Err(self.too_big("the component", Some(size_bytes), self.max_component_bytes));
        }
        Ok((version, size_bytes))
    }

    /// The layer's bytes, as many as the manifest says and never more. Named by its digest only, so that URLs in the
    /// manifest are not followed.
    async fn bytes(&self, digest: &str, size_bytes: u64) -> Result<Vec<u8>, OciError> {
        let pulled = self.access.client.pull_blob_stream(&self.address, digest).await;
        let mut stream = pulled.map_err(|error| explain(&self.reference, self.time_limit, &error))?;
        if let Some(more) = stream.content_length.filter(|length| *length > size_bytes) {
            return Err(self.too_big("the registry's answer", Some(more), size_bytes));
        }
        let reserved = usize::try_from(size_bytes).unwrap_or(MAX_RESERVED_BYTES).min(MAX_RESERVED_BYTES);
        let mut component = Vec::with_capacity(reserved);
        while let Some(bytes) = stream.next().await {
            let bytes = bytes.map_err(|error| explain_stream(&self.reference, &error))?;
            if len(&component).saturating_add(len(&bytes)) > size_bytes {
                return Err(self.too_big("the registry's answer", None, size_bytes));
            }
            component.extend_from_slice(&bytes);
        }
        Ok(component)
    }

    fn too_big(&self, what: &'static str, size_bytes: Option<u64>, max_bytes: u64) -> OciError {
        OciError::TooBig { reference: self.reference.clone(), what, size_bytes, max_bytes }
    }

    fn wrong_type(&self, what: &str) -> OciError {
        OciError::WrongMediaType { reference: self.reference.clone(), what: one_line(what, 200) }
    }

    fn wrong_digest(&self, said: &str) -> OciError {
        OciError::WrongDigest { reference: self.reference.clone(), said: said.to_owned() }
    }
}

fn access(registry: &Registry, time_limit: Duration) -> Result<Access, String> {
    if !is_registry(&registry.host) {
        return Err("it is no host; write it as references do, such as `ghcr.io` or `localhost:5000`".to_owned());
    }
    let auth = match &registry.credentials {
        Credentials::Anonymous => RegistryAuth::Anonymous,
        Credentials::Basic { user, password } => RegistryAuth::Basic(user.clone(), password.clone()),
        // The client puts it into a header as it is.
        Credentials::Bearer(token) if !token.is_empty() && token.chars().all(|c| c.is_ascii_graphic()) => {
            RegistryAuth::Bearer(token.clone())
        }
        Credentials::Bearer(_) => return Err("its token is not of visible letters; copy it again".to_owned()),
    };
    let certificate = |pem: &String| Certificate { encoding: CertificateEncoding::Pem, data: pem.clone().into_bytes() };
    let config = ClientConfig {
        protocol: if registry.insecure_http { ClientProtocol::Http } else { ClientProtocol::Https },
        extra_root_certificates: registry.extra_certificates_pem.iter().map(certificate).collect(),
        platform_resolver: None,
        connect_timeout: Some(CONNECT_LIMIT.min(time_limit)),
        read_timeout: Some(time_limit),
        user_agent: USER_AGENT,
        ..ClientConfig::default()
    };
    ensure_tls_provider();
    let client = Client::try_from(config)
        .map_err(|error| format!("its settings cannot be used ({error}); check its certificates"))?;
    Ok(Access { client, auth })
}

/// Makes `ring` the process's TLS provider unless the program has chosen one.
fn ensure_tls_provider() {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        // An error means that a provider is installed already: that one is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

fn address(reference: &OciReference) -> oci_client::Reference {
    let digest = format!("sha256:{}", reference.manifest());
    oci_client::Reference::with_digest(reference.registry().to_owned(), reference.repository().to_owned(), digest)
}

fn bad_registry(registry: &Registry, why: String) -> OciError {
    OciError::BadRegistry { registry: one_line(&registry.host, 100), why }
}

fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
