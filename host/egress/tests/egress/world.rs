//! Names and addresses for tests: `*.test` is looked up at a fake resolver, and two loopback addresses stand for public
//! ones. Every other loopback address is what it is.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use voxtra_core::TenantId;
use voxtra_egress::{
    AllowEntry, AllowedNetwork, CallEgress, Egress, EgressLimits, EgressOptions, EgressPolicy, FakeResolver, Http,
    HttpError, HttpRequest, HttpResponse, Narrowing, OperatorNetworks, Reason, Secrets, TenantRules,
};

/// May be reached.
pub(crate) const OPEN: &str = "127.0.0.1";
/// May be reached, too.
pub(crate) const ALSO_OPEN: &str = "127.0.0.2";
/// May not.
pub(crate) const CLOSED: &str = "127.0.0.9";

pub(crate) struct World {
    pub(crate) egress: Egress,
    pub(crate) resolver: Arc<FakeResolver>,
    pub(crate) tenant: TenantId,
}

/// Times that nothing here takes, however busy the machine is.
pub(crate) fn limits() -> EgressLimits {
    let times = EgressLimits {
        total_time: Duration::from_secs(30),
        connect_time: Duration::from_secs(20),
        ..EgressLimits::default()
    };
    EgressLimits { redirects: 5, ..times }
}

impl World {
    /// A tenant that may reach these.
    pub(crate) fn new(allow: &[String]) -> Self {
        Self::with(allow, limits(), Secrets::new())
    }

    pub(crate) fn with(allow: &[String], limits: EgressLimits, secrets: Secrets) -> Self {
        Self::with_roots(allow, limits, secrets, Vec::new())
    }

    pub(crate) fn with_roots(
        allow: &[String],
        limits: EgressLimits,
        secrets: Secrets,
        extra_roots: Vec<rustls::pki_types::CertificateDer<'static>>,
    ) -> Self {
        let resolver = Arc::new(FakeResolver::new());
        resolver.answer("a.test", &[ip(OPEN)]);
        resolver.answer("b.test", &[ip(ALSO_OPEN)]);
        resolver.answer("inside.test", &[ip(CLOSED)]);
        let open = [OPEN, ALSO_OPEN].map(|address| AllowedNetwork { network: address.parse().unwrap(), tenants: None });
        let networks = OperatorNetworks { allowed: open.to_vec(), refused: Vec::new() };
        let options = EgressOptions { resolver: resolver.clone(), networks, extra_roots, ..EgressOptions::default() };
        let world = Self { egress: Egress::new(options).unwrap(), resolver, tenant: TenantId::new("acme") };
        world.set(allow, limits, secrets);
        world
    }

    pub(crate) fn set(&self, allow: &[String], limits: EgressLimits, secrets: Secrets) {
        let policy = EgressPolicy::parse(allow.iter().map(String::as_str), limits).unwrap();
        self.egress.set_tenant(&self.tenant, TenantRules { policy, secrets });
    }

    pub(crate) fn call(&self) -> CallEgress {
        self.egress.call(&self.tenant, Arc::new(Narrowing::default()))
    }

    pub(crate) async fn get(&self, url: &str) -> Result<HttpResponse, HttpError> {
        self.call().send(get(url)).await
    }

    pub(crate) async fn reason(&self, url: &str) -> Reason {
        self.get(url).await.unwrap_err().reason()
    }
}

/// A GET that follows redirects.
pub(crate) fn get(url: &str) -> HttpRequest {
    HttpRequest { redirects: 10, ..HttpRequest::new("GET", url) }
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn entries(list: &[String]) -> Vec<AllowEntry> {
    list.iter().map(|entry| entry.parse().unwrap()).collect()
}
