//! TLS set-up, done once and only where it is needed.

use std::sync::Once;

static PROVIDER: Once = Once::new();

/// Makes `ring` the process's TLS provider unless the program has chosen one.
/// Needed before the first `https` or `wss` connection; harmless otherwise.
pub(crate) fn ensure_provider() {
    PROVIDER.call_once(|| {
        // An error means that a provider is already installed: that one is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// A TLS configuration that trusts nobody, for clients that only speak plain
/// HTTP: it saves reading the system's certificates, which may not even exist.
pub(crate) fn trust_nobody() -> Result<rustls::ClientConfig, rustls::Error> {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth())
}
