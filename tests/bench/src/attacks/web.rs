//! What attackers may reach of the web: one server, by the host's own way out; and who is told of their events.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use voxtra_core::http::{CallHttp, Http, HttpOut, HttpUsage};
use voxtra_core::{HandlerName, TenantId};
use voxtra_egress::{
    AllowedNetwork, CallEgress, Egress, EgressLimits, EgressOptions, EgressPolicy, Narrowing, OperatorNetworks,
    TenantRules,
};
use voxtra_services::database::Database;
use voxtra_services::webhooks::{OutboxOptions, WebhookSink, WebhookTarget, http_client};
use voxtra_test_support::files::TempDir;

/// Where the one server is; the rest of the machine is at 127.0.0.1.
const INSIDE: &str = "127.0.0.2";

/// A server that answers everything.
pub(super) async fn serve(ip: &str) -> Result<SocketAddr> {
    let listener = TcpListener::bind((ip, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(crate::webhooks::serve(listener));
    Ok(address)
}

/// The one server, one that nobody may reach, and the way out.
pub(super) struct Web {
    egress: Egress,
    control: Handle,
    /// Notes for the handlers that attack by it.
    pub(super) notes: Vec<(String, String)>,
}

impl Web {
    pub(super) async fn open(attacker: &TenantId) -> Result<Arc<Self>> {
        let (server, forbidden) = (serve(INSIDE).await?, serve("127.0.0.1").await?);
        let allowed = vec![AllowedNetwork { network: format!("{INSIDE}/32").parse()?, tenants: None }];
        let networks = OperatorNetworks { allowed, refused: Vec::new() };
        let egress = Egress::new(EgressOptions { networks, ..EgressOptions::default() })?;
        let server = format!("http://{server}");
        let policy = EgressPolicy::parse([server.as_str()], EgressLimits::default())?;
        egress.set_tenant(attacker, TenantRules { policy, ..TenantRules::default() });
        let notes = vec![("server".to_owned(), server), ("port".to_owned(), forbidden.port().to_string())];
        Ok(Arc::new(Self { egress, control: Handle::current(), notes }))
    }
}

impl HttpOut for Web {
    fn of_call(&self, tenant: &TenantId) -> Arc<dyn CallHttp> {
        let way = self.egress.call(tenant, Arc::new(Narrowing::default()));
        Arc::new(CallWeb { way, control: self.control.clone() })
    }
}

/// One call's; its tenant's handlers narrow nothing.
struct CallWeb {
    way: CallEgress,
    control: Handle,
}

impl CallHttp for CallWeb {
    fn of_handler(&self, _handler: &HandlerName) -> Arc<dyn Http> {
        self.way.clone().on(&self.control)
    }

    fn usage(&self) -> HttpUsage {
        self.way.usage()
    }
}

/// An outbox on disk, and who takes what it sends.
pub(super) async fn outbox(folder: &TempDir) -> Result<WebhookSink> {
    let database = Database::open(&folder.path().join("host.db"))?;
    let target = WebhookTarget::new("a", &format!("http://{}/", serve("127.0.0.1").await?))?;
    Ok(WebhookSink::start(database, vec![target], http_client()?, OutboxOptions::default(), &Handle::current()).await?)
}
