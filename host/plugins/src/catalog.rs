//! A plugin directory's handlers, by tenant and name.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use voxtra_core::{HandlerName, TenantId};

use crate::load::{Handler, LoadError};
use crate::runtime::Runtime;

/// The plugin directory as a whole cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the plugin directory {dir} cannot be read ({source}); create it, or name another with --plugins")]
pub struct CatalogError {
    dir: String,
    source: std::io::Error,
}

/// The handlers that can take calls.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    handlers: BTreeMap<(TenantId, HandlerName), Handler>,
}

impl Catalog {
    /// Loads a directory: each `.wasm` file in it is a handler of the tenant `default`, each folder a tenant with
    /// handlers of its own. Files that are no handlers are reported and left out; one failing never touches another.
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

    fn insert(&mut self, handler: Handler) {
        self.handlers.insert((handler.tenant().clone(), handler.name().clone()), handler);
    }

    fn load_tenant(&mut self, runtime: &Arc<Runtime>, dir: &Path, errors: &mut Vec<LoadError>) {
        let fail = |why: String| LoadError { file: dir.display().to_string(), why };
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

    /// What does not end in `.wasm` is somebody's notes.
    fn load_one(&mut self, runtime: &Arc<Runtime>, tenant: &TenantId, path: &Path, errors: &mut Vec<LoadError>) {
        if path.extension().is_none_or(|e| e != "wasm") {
            return;
        }
        match runtime.load_file(tenant, path) {
            Ok(handler) => self.insert(handler),
            Err(error) => errors.push(error),
        }
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
