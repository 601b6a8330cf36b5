//! Which handler takes a call: pure, decided once for each call.

use std::collections::HashMap;

use voxtra_core::{HandlerName, TenantId};

use crate::check;
use crate::metadata;
use crate::options::OnFailure;

/// The handler, and the name of the route, of calls that no route takes.
pub const DEFAULT_NAME: &str = "default";

/// One static route. A call has to fit both `extension` and `number`; an empty one fits every call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Route {
    /// What it is called in events and logs. Empty: its handler's name.
    pub name: String,
    /// What was dialled, exactly.
    pub extension: String,
    /// The caller's number; a `*` at its end stands for anything.
    pub number: String,
    /// Who takes the call. Empty: [`DEFAULT_NAME`].
    pub handler: String,
    /// Becomes the call's metadata.
    pub metadata: Vec<(String, String)>,
    /// What happens when the handler fails; none: what the tenant says.
    pub on_failure: Option<OnFailure>,
}

/// A tenant's routes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TenantRoutes {
    /// Whose they are.
    pub tenant: TenantId,
    /// The application at the PBX whose calls are this tenant's.
    pub app: String,
    /// In order: the first that fits is taken.
    pub routes: Vec<Route>,
    /// What happens when a handler fails whose route says nothing of it.
    pub on_failure: OnFailure,
}

/// Routes that cannot be used. One sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// Two tenants with one application.
    #[error("the application {app:?} is named by the tenants {first} and {second}; give each one of its own")]
    SharedApp {
        /// The application.
        app: String,
        /// A tenant.
        first: TenantId,
        /// Another.
        second: TenantId,
    },
    /// Metadata over the limits.
    #[error("the metadata of the route {route:?} of the tenant {tenant} cannot be used: {why}")]
    Metadata {
        /// Whose route it is.
        tenant: TenantId,
        /// The route.
        route: String,
        /// What is wrong and what to do.
        why: String,
    },
    /// A failure policy whose prompts could not be played.
    #[error("the failure policy of the tenant {tenant} cannot be used: {why}")]
    OnFailure {
        /// Whose policy it is.
        tenant: TenantId,
        /// What is wrong and what to do.
        why: String,
    },
}

/// No tenant has this application.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no tenant has the application {0:?}; name it as a tenant's app_name")]
pub struct UnknownApp(pub String);

/// What a call is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routed {
    /// Whose call it is.
    pub tenant: TenantId,
    /// The route's name.
    pub route: String,
    /// Who takes it.
    pub handler: HandlerName,
    /// What it knows from its start.
    pub metadata: Vec<(String, String)>,
    /// What happens when its handler fails.
    pub on_failure: OnFailure,
}

/// Why a call would go where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Where it goes.
    pub routed: Routed,
    /// The routes that were looked at, in order; only the last can fit.
    pub tried: Vec<TriedRoute>,
}

/// A route that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriedRoute {
    /// Its name.
    pub route: String,
    /// Who it leads to.
    pub handler: HandlerName,
    /// Why it does not fit, as a half-sentence; none: it does.
    pub misfit: Option<String>,
}

/// All tenants' routes.
#[derive(Debug, Clone, Default)]
pub struct Router {
    by_app: HashMap<String, TenantRoutes>,
}

impl Router {
    /// Checks and takes the routes.
    pub fn new(tenants: impl IntoIterator<Item = TenantRoutes>) -> Result<Self, RouteError> {
        let mut router = Self::default();
        for tenant in tenants {
            check_tenant(&tenant)?;
            if let Some(other) = router.by_app.get(&tenant.app) {
                let (first, second) = (other.tenant.clone(), tenant.tenant);
                return Err(RouteError::SharedApp { app: tenant.app, first, second });
            }
            router.by_app.insert(tenant.app.clone(), tenant);
        }
        Ok(router)
    }

    /// One tenant, `default`, with one application and no routes: everything goes to the handler [`DEFAULT_NAME`].
    pub fn single(app: &str) -> Self {
        let tenant = TenantRoutes { app: app.to_owned(), ..TenantRoutes::default() };
        Self { by_app: HashMap::from([(app.to_owned(), tenant)]) }
    }

    /// Decides who takes a call.
    pub fn route(&self, app: &str, caller_id: &str, called_number: &str) -> Result<Routed, UnknownApp> {
        let tenant = self.by_app.get(app).ok_or_else(|| UnknownApp(app.to_owned()))?;
        Ok(tenant.route(caller_id, called_number))
    }

    /// Decides who takes a call of a tenant's; `None`: it has no application.
    pub fn route_for(&self, tenant: &TenantId, caller_id: &str, called_number: &str) -> Option<Routed> {
        self.tenant(tenant).map(|tenant| tenant.route(caller_id, called_number))
    }

    /// Says who would take a call, and why no other. Dispatch rules come before this and are not asked.
    pub fn explain(&self, app: &str, caller_id: &str, called_number: &str) -> Result<Explanation, UnknownApp> {
        let tenant = self.by_app.get(app).ok_or_else(|| UnknownApp(app.to_owned()))?;
        let mut tried = Vec::new();
        for route in &tenant.routes {
            let misfit = route.misfit(caller_id, called_number);
            let fits = misfit.is_none();
            let handler = HandlerName::new(route.handler_name());
            tried.push(TriedRoute { route: route.shown_name().to_owned(), handler, misfit });
            if fits {
                break;
            }
        }
        Ok(Explanation { routed: tenant.route(caller_id, called_number), tried })
    }

    /// What happens when a handler fails whose route says nothing of it.
    pub(crate) fn on_failure(&self, tenant: &TenantId) -> OnFailure {
        self.tenant(tenant).map(|tenant| tenant.on_failure.clone()).unwrap_or_default()
    }

    fn tenant(&self, tenant: &TenantId) -> Option<&TenantRoutes> {
        self.by_app.values().find(|routes| routes.tenant == *tenant)
    }
}

impl TenantRoutes {
    fn route(&self, caller_id: &str, called_number: &str) -> Routed {
        let tenant = self;
        let route = tenant.routes.iter().find(|route| route.misfit(caller_id, called_number).is_none());
        Routed {
            tenant: tenant.tenant.clone(),
            route: route.map_or(DEFAULT_NAME, Route::shown_name).to_owned(),
            handler: HandlerName::new(route.map_or(DEFAULT_NAME, Route::handler_name)),
            metadata: route.map(|route| route.metadata.clone()).unwrap_or_default(),
            on_failure: route.and_then(|route| route.on_failure.clone()).unwrap_or_else(|| tenant.on_failure.clone()),
        }
    }
}

impl Route {
    /// Why a call does not fit; none: it does.
    fn misfit(&self, caller_id: &str, called_number: &str) -> Option<String> {
        if !self.extension.is_empty() && self.extension != called_number {
            return Some(format!("it wants {} dialled, not {called_number:?}", self.extension));
        }
        let caller = match self.number.strip_suffix('*') {
            _ if self.number.is_empty() => true,
            Some(prefix) => caller_id.starts_with(prefix),
            None => self.number == caller_id,
        };
        (!caller).then(|| format!("it wants {} to call, not {caller_id:?}", self.number))
    }

    fn handler_name(&self) -> &str {
        if self.handler.is_empty() { DEFAULT_NAME } else { &self.handler }
    }

    fn shown_name(&self) -> &str {
        if self.name.is_empty() { self.handler_name() } else { &self.name }
    }
}

fn check_tenant(routes: &TenantRoutes) -> Result<(), RouteError> {
    let policies = routes.routes.iter().filter_map(|route| route.on_failure.as_ref());
    for policy in policies.chain([&routes.on_failure]) {
        let prompts = policy.prompts();
        if !prompts.is_empty()
            && let Err(error) = check::prompts(&prompts)
        {
            return Err(RouteError::OnFailure { tenant: routes.tenant.clone(), why: error.to_string() });
        }
    }
    for route in &routes.routes {
        if let Err(why) = metadata::check_all(&route.metadata) {
            let (tenant, route) = (routes.tenant.clone(), route.shown_name().to_owned());
            return Err(RouteError::Metadata { tenant, route, why });
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::options::Then;

    fn route(name: &str, extension: &str, number: &str, handler: &str) -> Route {
        Route {
            name: name.into(),
            extension: extension.into(),
            number: number.into(),
            handler: handler.into(),
            ..Route::default()
        }
    }

    fn router(routes: Vec<Route>) -> Router {
        Router::new([TenantRoutes { app: "voxtra".into(), routes, ..TenantRoutes::default() }]).unwrap()
    }

    fn handler_for(router: &Router, caller: &str, called: &str) -> String {
        router.route("voxtra", caller, called).unwrap().handler.to_string()
    }

    #[test]
    fn the_first_route_that_fits_is_taken() {
        let router = router(vec![
            route("", "1000", "", "support"),
            route("", "1000", "", "never"),
            route("", "", "+265*", "malawi"),
            route("", "", "+44123", "vip"),
        ]);
        assert_eq!(handler_for(&router, "+265888", "1000"), "support");
        assert_eq!(handler_for(&router, "+265888", "1001"), "malawi");
        assert_eq!(handler_for(&router, "+44123", "1001"), "vip");
        assert_eq!(handler_for(&router, "+441234", "1001"), "default");
        assert_eq!(handler_for(&router, "", ""), "default");
    }

    #[test]
    fn a_route_with_both_conditions_wants_both() {
        let router = router(vec![route("", "1000", "+44*", "both")]);
        assert_eq!(handler_for(&router, "+441", "1000"), "both");
        assert_eq!(handler_for(&router, "+441", "1001"), "default");
        assert_eq!(handler_for(&router, "+331", "1000"), "default");
    }

    #[test]
    fn an_explanation_says_why_each_route_does_not_fit() {
        let router = router(vec![
            route("desk", "1000", "", "support"),
            route("", "", "+44*", "uk"),
            route("", "", "", "rest"),
            route("", "", "", "never"),
        ]);
        let told = router.explain("voxtra", "+331", "2000").unwrap();
        assert_eq!(told.routed, router.route("voxtra", "+331", "2000").unwrap());
        let misfits: Vec<_> = told.tried.iter().map(|t| (t.route.as_str(), t.misfit.as_deref())).collect();
        let wanted = [
            ("desk", Some("it wants 1000 dialled, not \"2000\"")),
            ("uk", Some("it wants +44* to call, not \"+331\"")),
            ("rest", None),
        ];
        assert_eq!(misfits, wanted);
        assert_eq!(router.explain("x", "", ""), Err(UnknownApp("x".into())));
        let told = Router::single("a").explain("a", "", "").unwrap();
        assert!(told.tried.is_empty() && told.routed.handler.as_str() == "default");
    }

    #[test]
    fn a_route_without_conditions_takes_everything() {
        assert_eq!(handler_for(&router(vec![route("", "", "", "all")]), "anybody", "anything"), "all");
        assert_eq!(handler_for(&router(vec![route("", "", "*", "all")]), "", "x"), "all");
    }

    #[test]
    fn a_route_brings_its_name_metadata_and_policy() {
        let policy = OnFailure { play: Some(vec![]), then: Then::Transfer("100".into()) };
        let mut own = route("vip line", "1", "", "vip");
        own.metadata = vec![("vip".into(), "yes".into())];
        own.on_failure = Some(policy.clone());
        let router = router(vec![own, route("", "2", "", "plain")]);
        let vip = router.route("voxtra", "", "1").unwrap();
        assert_eq!((vip.route.as_str(), vip.on_failure), ("vip line", policy));
        assert_eq!(vip.metadata, [("vip".to_owned(), "yes".to_owned())]);
        let plain = router.route("voxtra", "", "2").unwrap();
        assert_eq!((plain.route.as_str(), plain.on_failure), ("plain", OnFailure::default()));
    }

    #[test]
    fn tenants_are_told_apart_by_their_applications() {
        let tenant = |id: &str, app: &str| TenantRoutes {
            tenant: id.into(),
            app: app.into(),
            routes: vec![route("", "", "", id)],
            ..TenantRoutes::default()
        };
        let router = Router::new([tenant("acme", "a"), tenant("beta", "b")]).unwrap();
        assert_eq!(router.route("b", "", "").unwrap().tenant, TenantId::from("beta"));
        assert_eq!(router.route("c", "", ""), Err(UnknownApp("c".into())));
        assert!(matches!(Router::new([tenant("acme", "a"), tenant("beta", "a")]), Err(RouteError::SharedApp { .. })));
    }

    #[test]
    fn what_could_not_be_used_later_is_refused_at_the_start() {
        let mut fat = route("fat", "", "", "x");
        fat.metadata = vec![("k".into(), "v".repeat(9_000))];
        let tenant = TenantRoutes { app: "a".into(), routes: vec![fat], ..TenantRoutes::default() };
        let error = Router::new([tenant]).unwrap_err().to_string();
        assert!(error.contains("fat") && error.contains("8,192"), "{error}");
        let on_failure = OnFailure { play: Some(vec!["http://x".into()]), then: Then::HangUp };
        let tenant = TenantRoutes { app: "a".into(), on_failure, ..TenantRoutes::default() };
        assert!(matches!(Router::new([tenant]), Err(RouteError::OnFailure { .. })));
    }
}
