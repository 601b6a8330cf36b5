//! What a call needs of the handlers that there are. The Wasm runtime gives it; tests give closures.

use std::sync::Arc;

use voxtra_core::verbs::EndedCall;
use voxtra_core::{BoxFuture, HandlerName, TenantId};
use voxtra_plugins::{Catalog, Handler, Instance, Outcome, SharedCall, StartError};

/// The handlers that can take calls.
pub trait Handlers: Send + Sync {
    /// The current version of a tenant's handler.
    fn get(&self, tenant: &TenantId, name: &HandlerName) -> Option<Arc<dyn HandlerVersion>>;
}

/// One version of a handler; it never changes.
pub trait HandlerVersion: Send + Sync {
    /// Its name.
    fn name(&self) -> &HandlerName;

    /// What tells it from the other versions, for people.
    fn version(&self) -> &str;

    /// Whether it wants to know when a call is over.
    fn has_hangup_hook(&self) -> bool;

    /// Makes an instance for a call. Runs guest code: awaited on the guests' runtime.
    fn start(&self, call: SharedCall) -> BoxFuture<'_, Result<Box<dyn HandlerInstance>, StartError>>;
}

/// A handler at work on one call. Dropping a future of it stops it where it is.
pub trait HandlerInstance: Send {
    /// Runs the handler to its end.
    fn handle(&mut self) -> BoxFuture<'_, Outcome>;

    /// Runs the hang-up hook.
    fn on_hangup<'a>(&'a mut self, ended: &'a EndedCall) -> BoxFuture<'a, Outcome>;

    /// Whether it can still be entered.
    fn is_alive(&self) -> bool;
}

impl Handlers for Catalog {
    fn get(&self, tenant: &TenantId, name: &HandlerName) -> Option<Arc<dyn HandlerVersion>> {
        Self::get(self, tenant, name).map(|handler| Arc::new(handler) as Arc<dyn HandlerVersion>)
    }
}

impl HandlerVersion for Handler {
    fn name(&self) -> &HandlerName {
        Self::name(self)
    }

    fn version(&self) -> &str {
        Self::version(self)
    }

    fn has_hangup_hook(&self) -> bool {
        Self::has_hangup_hook(self)
    }

    fn start(&self, call: SharedCall) -> BoxFuture<'_, Result<Box<dyn HandlerInstance>, StartError>> {
        Box::pin(async move {
            let instance = self.instantiate(call).await?;
            Ok(Box::new(instance) as Box<dyn HandlerInstance>)
        })
    }
}

impl HandlerInstance for Instance {
    fn handle(&mut self) -> BoxFuture<'_, Outcome> {
        Box::pin(Self::handle(self))
    }

    fn on_hangup<'a>(&'a mut self, ended: &'a EndedCall) -> BoxFuture<'a, Outcome> {
        Box::pin(Self::on_hangup(self, ended))
    }

    fn is_alive(&self) -> bool {
        Self::is_alive(self)
    }
}
