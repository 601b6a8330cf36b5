//! The composition: tenants with their rules and counters, and the handle by which one call sends.

mod connections;
mod elsewhere;
mod exchange;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;
use tokio::sync::Semaphore;
use voxtra_core::{BoxFuture, TenantId};

use self::connections::Connections;
use crate::gate::{Bucket, Counters, Gate, TenantCounters};
use crate::networks::OperatorNetworks;
use crate::policy::{EgressPolicy, Narrowing};
use crate::port::{Http, HttpError, HttpRequest, HttpResponse, HttpUsage};
use crate::resolver::{Resolver, SystemResolver};
use crate::secret::Secrets;

/// What only the operator decides.
#[derive(Clone)]
pub struct EgressOptions {
    /// Who looks names up. Default: the system.
    pub resolver: Arc<dyn Resolver>,
    /// Private networks that may be reached, public ones that may not. Default: none of either.
    pub networks: OperatorNetworks,
    /// Certificates of authorities (DER) that are trusted beside the system's. Default: none.
    pub extra_roots: Vec<CertificateDer<'static>>,
    /// Requests of all tenants at one time, so that what they hold in memory has a bound. Default 512.
    pub concurrent: u32,
}

impl Default for EgressOptions {
    fn default() -> Self {
        Self {
            resolver: Arc::new(SystemResolver::new()),
            networks: OperatorNetworks::default(),
            extra_roots: Vec::new(),
            concurrent: 512,
        }
    }
}

/// Options that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetUpError {
    /// A certificate cannot be read.
    #[error("a certificate of an authority that egress is to trust cannot be read ({0}); give a certificate")]
    Certificate(String),
    /// The cryptography refused its own defaults.
    #[error("TLS for egress cannot be set up ({0}); rebuild the host")]
    Tls(String),
}

/// The certificates of a PEM file, for [`EgressOptions::extra_roots`].
///
/// # Errors
/// [`SetUpError::Certificate`], when one cannot be read or there is none.
pub fn certificates_of_pem(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, SetUpError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let read = read.map_err(|error| SetUpError::Certificate(error.to_string()))?;
    if read.is_empty() {
        return Err(SetUpError::Certificate("there is none in the file".to_owned()));
    }
    Ok(read)
}

/// What a tenant may do. By default nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TenantRules {
    /// What it may reach and how much of it.
    pub policy: EgressPolicy,
    /// What it may name in headers.
    pub secrets: Secrets,
}

/// Everybody's way out. One a host.
pub struct Egress {
    shared: Arc<Shared>,
    tenants: RwLock<BTreeMap<TenantId, Arc<Tenant>>>,
}

struct Shared {
    resolver: Arc<dyn Resolver>,
    networks: OperatorNetworks,
    concurrent: u32,
    gate: Arc<Gate>,
    tls: Tls,
}

/// How servers are known over TLS.
struct Tls {
    config: ClientConfig,
    /// There is no authority that is trusted, so that no server can be known.
    trusts_none: bool,
}

impl Egress {
    /// One without tenants. It reads the system's certificates. Where there are none, requests over TLS fail and say so.
    ///
    /// # Errors
    /// [`SetUpError`]
    pub fn new(options: EgressOptions) -> Result<Self, SetUpError> {
        let tls = tls_config(options.extra_roots)?;
        let shared = Shared {
            resolver: options.resolver,
            networks: options.networks,
            concurrent: options.concurrent,
            gate: Arc::default(),
            tls,
        };
        Ok(Self { shared: Arc::new(shared), tenants: RwLock::default() })
    }

    /// Sets a tenant's rules, also for its calls that are up: a request that is under way is not interrupted. What was
    /// counted stays.
    pub fn set_tenant(&self, id: &TenantId, rules: TenantRules) {
        let tenant = self.tenant(id);
        *tenant.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }

    /// Takes everything from a tenant; its counters stay, because they count from the start of the host.
    pub fn remove_tenant(&self, id: &TenantId) {
        self.set_tenant(id, TenantRules::default());
    }

    /// The handle of one call, of a tenant and with what its handler narrows. Tenants that have no rules may nothing.
    pub fn call(&self, id: &TenantId, narrowing: Arc<Narrowing>) -> CallEgress {
        let call = Call {
            tenant: self.tenant(id),
            gate: Arc::default(),
            bucket: Bucket::default(),
            counters: Counters::default(),
        };
        CallEgress { call: Arc::new(call), narrowing }
    }

    /// What every tenant has used.
    pub fn counters(&self) -> Vec<(TenantId, TenantCounters)> {
        let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        tenants.iter().map(|(id, tenant)| (id.clone(), tenant.counters())).collect()
    }

    fn tenant(&self, id: &TenantId) -> Arc<Tenant> {
        if let Some(tenant) = self.tenants.read().unwrap_or_else(PoisonError::into_inner).get(id) {
            return tenant.clone();
        }
        let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        tenants.entry(id.clone()).or_insert_with(|| Arc::new(Tenant::new(id.clone(), &self.shared))).clone()
    }
}

impl fmt::Debug for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Egress").field("networks", &self.shared.networks).finish_non_exhaustive()
    }
}

fn tls_config(extra_roots: Vec<CertificateDer<'static>>) -> Result<Tls, SetUpError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let extra = !extra_roots.is_empty();
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| SetUpError::Tls(error.to_string()))?;
    match Verifier::new_with_extra_roots(extra_roots, provider) {
        Ok(verifier) => {
            let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
            Ok(Tls { config: builder.with_no_client_auth(), trusts_none: false })
        }
        Err(error) if extra => Err(SetUpError::Certificate(error.to_string())),
        Err(error) => {
            tracing::warn!(%error, "handlers' requests over TLS will fail; install the system's CA certificates");
            let builder = builder.with_root_certificates(RootCertStore::empty());
            Ok(Tls { config: builder.with_no_client_auth(), trusts_none: true })
        }
    }
}

/// A tenant, as long as the host runs.
struct Tenant {
    id: TenantId,
    shared: Arc<Shared>,
    rules: RwLock<Arc<TenantRules>>,
    gate: Arc<Gate>,
    bucket: Bucket,
    counters: Counters,
    connections: Connections,
    /// Lookups, also those that nobody waits for any more.
    lookups: Arc<Semaphore>,
}

/// A tenant can name a host below its own domain whose name server never answers; this many of the system's threads that
/// keeps busy, and no more.
const LOOKUPS_PER_TENANT: usize = 8;

impl Tenant {
    fn new(id: TenantId, shared: &Arc<Shared>) -> Self {
        Self {
            id,
            shared: shared.clone(),
            rules: RwLock::default(),
            gate: Arc::default(),
            bucket: Bucket::default(),
            counters: Counters::default(),
            connections: Connections::new(&shared.tls),
            lookups: Arc::new(Semaphore::new(LOOKUPS_PER_TENANT)),
        }
    }

    fn rules(&self) -> Arc<TenantRules> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn counters(&self) -> TenantCounters {
        TenantCounters {
            usage: self.counters.usage(),
            errors: self.counters.by_reason(),
            under_way: self.gate.under_way(),
        }
    }
}

/// One call.
struct Call {
    tenant: Arc<Tenant>,
    gate: Arc<Gate>,
    /// For a rate that the handler narrows; the tenant's has its own.
    bucket: Bucket,
    counters: Counters,
}

/// Sends one call's requests by the tenant's rules of the moment, narrowed by its handler. Clones are the same call.
#[derive(Clone)]
pub struct CallEgress {
    call: Arc<Call>,
    narrowing: Arc<Narrowing>,
}

impl CallEgress {
    /// The same call with what another handler of it narrows: what is limited and counted by the call goes on.
    #[must_use]
    pub fn narrowed(&self, narrowing: Arc<Narrowing>) -> Self {
        Self { call: self.call.clone(), narrowing }
    }

    /// What the call has used so far, by all of its handlers.
    pub fn usage(&self) -> HttpUsage {
        self.call.counters.usage()
    }
}

impl Http for CallEgress {
    fn send(&self, request: HttpRequest) -> BoxFuture<'static, Result<HttpResponse, HttpError>> {
        let (call, narrowing) = (self.call.clone(), self.narrowing.clone());
        Box::pin(async move {
            let rules = call.tenant.rules();
            let result = exchange::run(&call, &narrowing, &rules, request).await;
            result.map_err(|mut error| {
                rules.secrets.blank_sentence(error.sentence_mut());
                call.tenant.counters.error(&error);
                call.counters.error(&error);
                tracing::debug!(tenant = %call.tenant.id, reason = error.reason().as_str(), "no answer for a handler's request");
                error
            })
        })
    }
}

impl fmt::Debug for CallEgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallEgress").field("tenant", &self.call.tenant.id).finish_non_exhaustive()
    }
}
