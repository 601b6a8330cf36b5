//! A tenant's connections. A client of the library stands for one server *and* the addresses that were judged: it can
//! connect to no other, and a connection that it keeps open leads to one of them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::Client;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use rustls::ClientConfig;
use rustls::client::Resumption;

use super::Tls;
use crate::port::{HttpError, Reason};
use crate::target::{Scheme, Target};

/// Servers to which connections are kept open; the one that was used longest ago makes room.
const SERVERS_KEPT: usize = 8;
const IDLE_PER_SERVER: usize = 2;
/// Shorter than most servers keep theirs, so that a request seldom meets a connection that is being closed.
const IDLE_LIMIT: Duration = Duration::from_secs(20);
/// TLS sessions that can be resumed. Each tenant has its own, so that none can tell from the time that a handshake takes where
/// another one has been.
const TLS_SESSIONS: usize = 32;
/// Headers of an answer, at most.
const ANSWER_HEADERS_MAX: usize = 100;

pub(super) struct Connections {
    tls: ClientConfig,
    trusts_none: bool,
    /// The one that was used last is last.
    kept: Mutex<Vec<(Key, Client)>>,
}

#[derive(Clone, PartialEq, Eq)]
struct Key {
    origin: String,
    addresses: Vec<SocketAddr>,
    connect_time: Duration,
}

impl Connections {
    pub(super) fn new(tls: &Tls) -> Self {
        let mut config = tls.config.clone();
        config.resumption = Resumption::in_memory_sessions(TLS_SESSIONS);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self { tls: config, trusts_none: tls.trusts_none, kept: Mutex::default() }
    }

    /// A client for this server at these addresses, which were judged.
    pub(super) fn client(
        &self,
        target: &Target,
        mut addresses: Vec<SocketAddr>,
        connect_time: Duration,
    ) -> Result<Client, HttpError> {
        if target.scheme() == Scheme::Https && self.trusts_none {
            return Err(HttpError::new(
                Reason::Connect,
                "this host trusts no certificate authority; the operator installs the system's CA certificates",
            ));
        }
        addresses.sort_unstable();
        addresses.dedup();
        let key = Key { origin: target.origin(), addresses, connect_time };
        if let Some(client) = self.used_again(&key) {
            return Ok(client);
        }
        let client = self.build(target, &key)?;
        self.keep(key, client.clone());
        Ok(client)
    }

    fn used_again(&self, key: &Key) -> Option<Client> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(one, _)| one == key)?;
        let one = kept.remove(at);
        let client = one.1.clone();
        kept.push(one);
        Some(client)
    }

    fn keep(&self, key: Key, client: Client) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= SERVERS_KEPT {
            kept.remove(0);
        }
        kept.push((key, client));
    }

    fn build(&self, target: &Target, key: &Key) -> Result<Client, HttpError> {
        let checked = Checked { host: target.host().to_string(), addresses: key.addresses.clone().into() };
        let builder = Client::builder()
            .dns_resolver(checked)
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            // Also where another crate of the build turns these on.
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .http1_only()
            .http1_max_headers(ANSWER_HEADERS_MAX)
            .connect_timeout(key.connect_time)
            .pool_idle_timeout(IDLE_LIMIT)
            .pool_max_idle_per_host(IDLE_PER_SERVER)
            .user_agent("voxtra/1")
            .tls_backend_preconfigured(self.tls.clone());
        builder.build().map_err(|_| {
            HttpError::new(Reason::Connect, "the client cannot be set up; the operator looks at the host's TLS set-up")
        })
    }
}

/// Answers with addresses that were judged, and only for their own host. The library asks it for names; a host that is an
/// address it takes as it is, and that one was judged as well.
struct Checked {
    host: String,
    addresses: Arc<[SocketAddr]>,
}

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let answer = if name.as_str().eq_ignore_ascii_case(&self.host) {
            let addresses = self.addresses.to_vec();
            Ok(Box::new(addresses.into_iter()) as Addrs)
        } else {
            Err("this name was not checked".into())
        };
        Box::pin(std::future::ready(answer))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use rustls::RootCertStore;

    use super::*;

    fn connections() -> Connections {
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let config = builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        Connections::new(&Tls { config, trusts_none: true })
    }

    #[tokio::test]
    async fn a_client_knows_its_own_host_and_no_other_name() {
        let address: SocketAddr = "192.0.2.1:443".parse().unwrap();
        let checked = Checked { host: "a.example".to_owned(), addresses: [address].into() };
        let found = checked.resolve("a.example".parse().unwrap()).await.unwrap();
        assert_eq!(found.collect::<Vec<_>>(), [address]);
        assert!(checked.resolve("b.example".parse().unwrap()).await.is_err());
    }

    #[test]
    fn a_kept_client_is_used_only_for_the_same_addresses_and_few_are_kept() {
        let connections = connections();
        let target = Target::parse("http://a.example/").unwrap();
        let at = |n: u8| vec![SocketAddr::from(([192, 0, 2, n], 80))];
        for n in 0..20 {
            connections.client(&target, at(n), Duration::from_secs(1)).unwrap();
        }
        let kept = connections.kept.lock().unwrap();
        assert_eq!(kept.len(), SERVERS_KEPT);
        assert_eq!(kept.last().unwrap().0.addresses, at(19));
        drop(kept);
        connections.client(&target, at(15), Duration::from_secs(1)).unwrap();
        let kept = connections.kept.lock().unwrap();
        assert_eq!(kept.len(), SERVERS_KEPT);
        assert_eq!(kept.last().unwrap().0.addresses, at(15));
    }

    #[test]
    fn without_certificates_there_is_no_tls() {
        let connections = connections();
        let target = Target::parse("https://a.example/").unwrap();
        let error = connections.client(&target, Vec::new(), Duration::from_secs(1)).unwrap_err();
        assert_eq!(error.reason(), Reason::Connect);
    }
}
