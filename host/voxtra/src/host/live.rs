//! What follows the plugin directory: whatever the directory says of tenants and handlers is handed on here, at the start
//! and while calls are up.

use std::sync::Arc;

use voxtra_core::TenantId;
use voxtra_loader::{News, Serving, Snapshot};
use voxtra_plugins::Runtime;
use voxtra_session::Host;

use super::batches::BatchDesk;
use super::egress::HandlersHttp;
use super::handlers::with_tenants;
use super::pbx::Exchanges;
use super::tenants::TenantServices;
use super::{Plan, limits, services, trials};
use crate::config::Config;

/// See the module.
pub(crate) struct Live {
    pub(crate) host: Arc<Host>,
    pub(crate) http: Arc<HandlersHttp>,
    pub(crate) tenants: TenantServices,
    pub(crate) batches: Arc<BatchDesk>,
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) exchanges: Exchanges,
    /// As the file has it, without the tenants' own files.
    pub(crate) config: Config,
}

impl Serving for Live {
    fn serve(&mut self, snapshot: Snapshot) {
        let config = with_tenants(&self.config, &snapshot.directory);
        let policies = services::dial_policies(&config);
        let plan = Plan::of_config(&config, snapshot.catalog);
        match (plan, policies) {
            (Ok(plan), Ok(policies)) => {
                limits::apply(&self.config, &snapshot.directory, &self.host, &self.runtime);
                self.tenants.serve(&config, &snapshot.directory);
                self.http.set(&snapshot.directory);
                // Rules and routes last: they may name a handler that is new.
                let catalog = Arc::new(plan.catalog);
                self.host.set_handlers(catalog.clone());
                trials::set(&self.host, &snapshot.trials);
                self.host.set_components(&catalog);
                self.host.set_router(plan.router);
                self.batches.set_rights(services::batch_rights(&config, &policies));
                if let Err(why) = self.host.set_dial_policies(policies) {
                    tracing::error!(why, "whom tenants may call stays as it was");
                }
                // A new tenant's calls come when everything else of it is there.
                self.exchanges.set_tenants(&config);
            }
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(%error, "the plugin directory's routes cannot be used; what runs goes on");
            }
        }
    }

    fn news(&mut self, news: News) {
        tell(&news);
    }
}

fn tell(news: &News) {
    match news {
        News::Swapped { key, from, to, signed_by } => {
            let (tenant, handler): (&TenantId, _) = (key.tenant(), key.handler());
            let (from, signed_by) = (from.as_deref().unwrap_or("none"), signed_by.as_deref().unwrap_or("nobody"));
            tracing::info!(%tenant, %handler, from, to, signed_by, "new calls get another version");
        }
        News::OnTrial { key, current, version, percent, signed_by } => {
            let (tenant, handler): (&TenantId, _) = (key.tenant(), key.handler());
            let signed_by = signed_by.as_deref().unwrap_or("nobody");
            tracing::info!(%tenant, %handler, current, version, percent, signed_by, "a version is on trial");
        }
        News::Promoted { key, from, version, why } => {
            let (tenant, handler): (&TenantId, _) = (key.tenant(), key.handler());
            let from = from.as_deref().unwrap_or("none");
            tracing::info!(%tenant, %handler, from, to = version, why, "new calls get the version that was on trial");
        }
        News::Withdrawn { key, version, why } => {
            let (tenant, handler): (&TenantId, _) = (key.tenant(), key.handler());
            tracing::warn!(%tenant, %handler, version, why, "a version is not on trial any more; the one before goes on");
        }
        News::Refused { why, .. } | News::Late(why) => tracing::warn!("not loaded: {why}"),
        News::Barred { key, version, why } => {
            let (tenant, handler): (&TenantId, _) = (key.tenant(), key.handler());
            let what =
                if handler.as_str().ends_with(".filter") { "its tenant's events do not leave" } else { "no new calls" };
            tracing::error!(%tenant, %handler, version, "{what}: {why}");
        }
        News::Gone { key } => {
            tracing::info!(tenant = %key.tenant(), handler = %key.handler(), "gone from the plugin directory")
        }
        News::Problem(problem) => tracing::warn!("not loaded: {problem}"),
        News::Trouble(why) => tracing::error!("{why}"),
    }
}
