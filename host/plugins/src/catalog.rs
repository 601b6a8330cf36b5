//! A plugin directory's components: handlers by tenant and name, routers and filters of a tenant in their order.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use voxtra_core::{HandlerName, TenantId};

use crate::imports::Kind;
use crate::load::{Handler, LoadError, kind_of_file};
use crate::rule::{FilterComponent, RouterComponent};
use crate::runtime::Runtime;

/// The plugin directory as a whole cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the plugin directory {dir} cannot be read ({source}); create it, or name another with --plugins")]
pub struct CatalogError {
    dir: String,
    source: std::io::Error,
}

/// The handlers that can take calls, and the rules that go before them.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    handlers: BTreeMap<(TenantId, HandlerName), Handler>,
    routers: BTreeMap<TenantId, Vec<RouterComponent>>,
    filters: BTreeMap<TenantId, Vec<FilterComponent>>,
    withheld: BTreeSet<(TenantId, HandlerName)>,
}

impl Catalog {
    /// Loads a directory: each `.wasm` file in it is a component of the tenant `default`, each folder a tenant with
    /// components of its own. `NAME.router.wasm` is a router and `NAME.filter.wasm` a filter, asked in the order of
    /// their file names; every other one is a handler. Files that are not what their name says are reported and left
    /// out; one failing never touches another.
    pub fn load_dir(runtime: &Arc<Runtime>, dir: &Path) -> Result<(Self, Vec<LoadError>), CatalogError> {
        let mut catalog = Self::default();
        let mut errors = Vec::new();
        let entries = sorted_entries(dir).map_err(|source| CatalogError { dir: dir.display().to_string(), source })?;
        for path in entries {
            if path.is_dir() {
                catalog.load_tenant(runtime, &path, &mut errors);
            } else {
                catalog.load_one(runtime, &TenantId::default(), &path, &mut errors);
            }
        }
        Ok((catalog, errors))
    }

    /// A catalog of handlers that are loaded already; of two with the same tenant and name, the later one counts.
    pub fn from_handlers(handlers: impl IntoIterator<Item = Handler>) -> Self {
        let mut catalog = Self::default();
        handlers.into_iter().for_each(|handler| catalog.insert(handler));
        catalog
    }

    /// A tenant's handler.
    pub fn get(&self, tenant: &TenantId, name: &HandlerName) -> Option<Handler> {
        self.handlers.get(&(tenant.clone(), name.clone())).cloned()
    }

    /// All of them, by tenant and name.
    pub fn handlers(&self) -> impl Iterator<Item = &Handler> {
        self.handlers.values()
    }

    /// Names handlers that the directory has, but of which no version may take calls.
    pub fn with_withheld(mut self, names: impl IntoIterator<Item = (TenantId, HandlerName)>) -> Self {
        self.withheld.extend(names);
        self
    }

    /// Whether a handler is there, but no version of it may take calls.
    pub fn is_withheld(&self, tenant: &TenantId, name: &HandlerName) -> bool {
        !self.withheld.is_empty() && self.withheld.contains(&(tenant.clone(), name.clone()))
    }

    /// Adds routers that are loaded already, behind those that their tenants have.
    pub fn with_routers(mut self, routers: impl IntoIterator<Item = RouterComponent>) -> Self {
        routers.into_iter().for_each(|router| self.insert_router(router));
        self
    }

    /// Adds filters that are loaded already, behind those that their tenants have.
    pub fn with_filters(mut self, filters: impl IntoIterator<Item = FilterComponent>) -> Self {
        filters.into_iter().for_each(|filter| self.insert_filter(filter));
        self
    }

    /// A tenant's routers, in the order in which they are asked.
    pub fn routers(&self, tenant: &TenantId) -> &[RouterComponent] {
        self.routers.get(tenant).map_or(&[], Vec::as_slice)
    }

    /// A tenant's filters, in the order in which an event passes them.
    pub fn filters(&self, tenant: &TenantId) -> &[FilterComponent] {
        self.filters.get(tenant).map_or(&[], Vec::as_slice)
    }

    /// All routers, by tenant, in their order.
    pub fn all_routers(&self) -> impl Iterator<Item = &RouterComponent> {
        self.routers.values().flatten()
    }

    /// All filters, by tenant, in their order.
    pub fn all_filters(&self) -> impl Iterator<Item = &FilterComponent> {
        self.filters.values().flatten()
    }

    fn insert_router(&mut self, router: RouterComponent) {
        self.routers.entry(router.tenant().clone()).or_default().push(router);
    }

    fn insert_filter(&mut self, filter: FilterComponent) {
        self.filters.entry(filter.tenant().clone()).or_default().push(filter);
    }

    fn insert(&mut self, handler: Handler) {
        self.handlers.insert((handler.tenant().clone(), handler.name().clone()), handler);
    }

    fn load_tenant(&mut self, runtime: &Arc<Runtime>, dir: &Path, errors: &mut Vec<LoadError>) {
        let fail = |why: String| LoadError::new(dir.display(), why);
        let name = dir.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if !is_tenant_name(name) {
            errors.push(fail("a tenant's folder name is 1 to 64 letters, digits, `-` or `_`; rename it".into()));
            return;
        }
        let tenant = TenantId::new(name);
        match sorted_entries(dir) {
            Ok(entries) => entries.iter().for_each(|path| self.load_one(runtime, &tenant, path, errors)),
            Err(error) => errors.push(fail(format!("the tenant's folder cannot be read ({error})"))),
        }
    }

    fn load_one(&mut self, runtime: &Arc<Runtime>, tenant: &TenantId, path: &Path, errors: &mut Vec<LoadError>) {
        let loaded = match kind_of_file(path) {
            Some(Kind::Handler) => runtime.load_file(tenant, path).map(|handler| self.insert(handler)),
            Some(Kind::Router) => runtime.load_router_file(tenant, path).map(|router| self.insert_router(router)),
            Some(Kind::Filter) => runtime.load_filter_file(tenant, path).map(|filter| self.insert_filter(filter)),
            None => Ok(()),
        };
        errors.extend(loaded.err());
    }
}

fn is_tenant_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}

fn sorted_entries(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = fs::read_dir(dir)?.map(|e| e.map(|e| e.path())).collect::<std::io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}
