//! Over TLS the name is what a certificate must say, whatever address the name led to.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use voxtra_egress::{Reason, Secrets};

use crate::server::{Server, ok, redirect};
use crate::world::{OPEN, World, limits};

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn root(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    fn server_for(&self, name: &str) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

#[tokio::test]
async fn a_server_that_proves_its_name_is_answered_for() {
    let authority = Authority::new();
    let server = Server::start_tls(OPEN, authority.server_for("a.test"), |_| ok("hello")).await;
    let allow = [format!("a.test:{}", server.port())];
    let world = World::with_roots(&allow, limits(), Secrets::new(), vec![authority.root()]);
    let url = format!("https://a.test:{}/", server.port());
    for _ in 0..3 {
        assert_eq!(&world.get(&url).await.unwrap().body[..], b"hello");
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn another_name_or_an_unknown_authority_is_refused() {
    let authority = Authority::new();
    let server = Server::start_tls(OPEN, authority.server_for("b.test"), |_| ok("hello")).await;
    let allow = [format!("https://a.test:{}", server.port())];
    let url = format!("https://a.test:{}/", server.port());
    let known = World::with_roots(&allow, limits(), Secrets::new(), vec![authority.root()]);
    assert_eq!(known.reason(&url).await, Reason::Connect);
    let unknown = World::with_roots(&allow, limits(), Secrets::new(), vec![Authority::new().root()]);
    let error = unknown.get(&url).await.unwrap_err();
    assert_eq!(error.reason(), Reason::Connect);
    assert!(error.to_string().contains("certificate"), "{error}");
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_redirect_into_the_clear_is_not_followed() {
    let authority = Authority::new();
    let plain = Server::start(OPEN, |_| ok("plain")).await;
    let to = format!("http://a.test:{}/", plain.port());
    let server = Server::start_tls(OPEN, authority.server_for("a.test"), move |_| redirect(302, &to)).await;
    let allow = [format!("https://a.test:{}", server.port()), format!("http://a.test:{}", plain.port())];
    let world = World::with_roots(&allow, limits(), Secrets::new(), vec![authority.root()]);
    assert_eq!(world.reason(&format!("https://a.test:{}/", server.port())).await, Reason::Redirect);
    assert_eq!(plain.connections(), 0);
}
