//! Which handlers there are and which calls they take: what a [`super::Host`] is made of.

use std::time::Duration;

use serde_json::{Map, Value};
use voxtra_core::{HandlerName, TenantId};
use voxtra_plugins::{Catalog, Handler};
use voxtra_session::{HostOptions, OnFailure, Route, RouteError, Router, TenantRoutes, Then};

use crate::config::{self, Config, ConfigError};

/// The application of simulated calls.
const SIMULATED_APP: &str = "voxtra";

/// Handlers, the routes that lead to them, and limits.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) catalog: Catalog,
    pub(crate) router: Router,
    pub(crate) options: HostOptions,
}

impl Plan {
    /// What the configuration says.
    pub(crate) fn of_config(config: &Config, catalog: Catalog) -> Result<Self, ConfigError> {
        let tenants = config.tenants().into_iter().map(|(name, tenant)| tenant_routes(&name, tenant));
        let router = Router::new(tenants).map_err(|error| config.error_at(&["routes"], error.to_string()))?;
        Ok(Self { catalog, router, options: options(config) })
    }

    /// One handler for whatever is dialled and whoever calls, with these notes.
    pub(crate) fn for_one(handler: Handler, metadata: Vec<(String, String)>) -> Result<Self, RouteError> {
        let route = Route { handler: handler.name().to_string(), metadata, ..Route::default() };
        Self::simulated([handler], vec![route], OnFailure::default())
    }

    /// Each handler by the number that leads to it; a caller whose handler fails hears a prompt.
    pub(crate) fn by_number<'a>(
        handlers: impl IntoIterator<Item = Handler>,
        routes: impl IntoIterator<Item = (&'a str, &'a str)>,
        failure_prompt: &str,
    ) -> Result<Self, RouteError> {
        let route = |(number, handler): (&str, &str)| Route {
            extension: number.to_owned(),
            handler: handler.to_owned(),
            ..Route::default()
        };
        let policy = OnFailure { play: Some(vec![failure_prompt.to_owned()]), then: Then::HangUp };
        Self::simulated(handlers, routes.into_iter().map(route).collect(), policy)
    }

    fn simulated(
        handlers: impl IntoIterator<Item = Handler>,
        routes: Vec<Route>,
        on_failure: OnFailure,
    ) -> Result<Self, RouteError> {
        let tenant = TenantRoutes { tenant: TenantId::default(), app: SIMULATED_APP.to_owned(), routes, on_failure };
        let router = Router::new([tenant])?;
        Ok(Self { catalog: Catalog::from_handlers(handlers), router, options: HostOptions::default() })
    }
}

/// The handler that a route names. 0.3.1 knew agents beside handlers; here both are handlers.
pub(crate) fn handler_of(route: &config::Route) -> &str {
    let named = [&route.handler, &route.agent].into_iter().find(|name| !name.is_empty());
    named.map_or(super::DEFAULT_HANDLER, String::as_str)
}

fn options(config: &Config) -> HostOptions {
    let limits = &config.root.limits;
    let time = |ms: u32| Duration::from_millis(ms.into());
    HostOptions {
        max_calls: usize::try_from(limits.max_calls).unwrap_or(usize::MAX),
        call_limit: time(limits.call_ms),
        start_budget: time(limits.start_budget_ms),
        handler_grace: time(limits.handler_grace_ms),
        hook_limit: time(limits.hook_ms),
        recording_limit: time(config.root.recordings.max_ms),
        ..HostOptions::default()
    }
}

fn tenant_routes(name: &str, tenant: config::Tenant) -> TenantRoutes {
    TenantRoutes {
        tenant: TenantId::new(name),
        app: tenant.app_name,
        routes: tenant.routes.into_iter().map(route).collect(),
        on_failure: tenant.on_failure.map(on_failure).unwrap_or_default(),
    }
}

fn route(route: config::Route) -> Route {
    Route {
        handler: handler_of(&route).to_owned(),
        name: route.name,
        extension: route.extension,
        number: route.number,
        metadata: metadata(route.metadata),
        on_failure: route.on_failure.map(on_failure),
    }
}

fn on_failure(policy: config::OnFailure) -> OnFailure {
    let then = match policy.then {
        config::Then::HangUp => Then::HangUp,
        config::Then::Transfer(target) => Then::Transfer(target),
        config::Then::Handler(name) => Then::Handler(HandlerName::new(name)),
    };
    OnFailure { play: policy.play, then }
}

/// What the calls of a route begin with.
pub(super) fn metadata(written: Map<String, Value>) -> Vec<(String, String)> {
    written.into_iter().map(|(key, value)| (key, as_text(value))).collect()
}

/// A handler reads text: what is text stays as it is, anything else becomes JSON.
fn as_text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::*;

    fn router(text: &str) -> Result<Router, ConfigError> {
        let config = Config::parse(text, Some(Path::new("voxtra.yaml")), &|_| None)?;
        Plan::of_config(&config, Catalog::default()).map(|plan| plan.router)
    }

    #[test]
    fn routes_of_the_file_lead_where_it_says() {
        let text = "
on_failure: {play: sound:sorry, then: handler:fallback}
routes:
  - {extension: '1000', handler: support, metadata: {vip: yes, level: 3, name: x}}
  - {number: '+265*', agent: malawi, on_failure: {then: 'transfer:100'}}
tenants:
  acme: {app_name: acme-app, routes: [{extension: '1000', handler: sales, name: desk}]}
";
        let router = router(text).unwrap();
        let support = router.route("voxtra", "", "1000").unwrap();
        assert_eq!((support.handler.as_str(), support.route.as_str()), ("support", "support"));
        let metadata = [("level", "3"), ("name", "x"), ("vip", "true")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(support.metadata, metadata);
        assert_eq!(support.on_failure.then, Then::Handler("fallback".into()));
        let malawi = router.route("voxtra", "+265991", "x").unwrap();
        assert_eq!((malawi.handler.as_str(), malawi.on_failure.then), ("malawi", Then::Transfer("100".into())));
        let sales = router.route("acme-app", "", "1000").unwrap();
        assert_eq!((sales.tenant.as_str(), sales.handler.as_str(), sales.route.as_str()), ("acme", "sales", "desk"));
        assert_eq!(sales.on_failure.play, Some(vec!["sound:sorry".to_owned()]));
        assert_eq!(router.route("voxtra", "", "x").unwrap().handler.as_str(), "default");
    }

    #[test]
    fn metadata_over_the_limits_is_refused_with_the_line_of_the_routes() {
        let text = format!("routes:\n  - metadata: {{k: {}}}\n", "v".repeat(9_000));
        let error = router(&text).unwrap_err().to_string();
        assert!(error.starts_with("voxtra.yaml:1: routes: the metadata"), "{error}");
    }
}
