//! What a call needs of the handlers that there are. The Wasm runtime gives it; tests give closures.

use std::sync::Arc;

use voxtra_core::verbs::EndedCall;
use voxtra_core::{BoxFuture, CallId, Capabilities, DialNarrowing, HandlerName, TenantId, Usage};
use voxtra_plugins::{Catalog, Handler, Instance, Outcome, SharedCall, StartError, Succession};

use crate::limits::VersionLimits;

/// The handlers that can take calls.
pub trait Handlers: Send + Sync {
    /// The current version of a tenant's handler.
    fn get(&self, tenant: &TenantId, name: &HandlerName) -> Option<Arc<dyn HandlerVersion>>;

    /// The version that takes this call, where that depends on the call. By default the current one.
    fn pick(&self, tenant: &TenantId, name: &HandlerName, call: &CallId) -> Option<Arc<dyn HandlerVersion>> {
        let _ = call;
        self.get(tenant, name)
    }

    /// Whether there is such a handler, but no version of it may take calls: the failure policy has them then. By default no.
    fn is_withheld(&self, tenant: &TenantId, name: &HandlerName) -> bool {
        let _ = (tenant, name);
        false
    }
}

/// One version of a handler; it never changes.
pub trait HandlerVersion: Send + Sync {
    /// Its name.
    fn name(&self) -> &HandlerName;

    /// What tells it from the other versions, for people.
    fn version(&self) -> &str;

    /// Whether it wants to know when a call is over.
    fn has_hangup_hook(&self) -> bool;

    /// What it may do beyond its own call: what its tenant has and its manifest leaves. By default everything, and each
    /// has limits of its own.
    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    /// What its manifest takes away from whom its tenant may call. By default nothing.
    fn dial_narrowing(&self) -> Option<Arc<DialNarrowing>> {
        None
    }

    /// What its manifest allows it, within what its tenant has.
    fn limits(&self) -> VersionLimits {
        VersionLimits::default()
    }

    /// Whether it can hand a call over to another version of itself, and take one over.
    fn has_upgrade(&self) -> bool {
        false
    }

    /// What becomes of the handler's calls that are on another version when this one is the current one; of a handler that
    /// is gone, its last version says it. By default they stay to their end.
    fn succession(&self) -> Succession {
        Succession::default()
    }

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

    /// What the next version has to know; none: it had finished. The error is how it failed.
    fn save(&mut self) -> BoxFuture<'_, Result<Option<Vec<u8>>, Outcome>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Goes on with a call where another instance has saved this, to its end.
    fn restore<'a>(&'a mut self, state: &'a [u8]) -> BoxFuture<'a, Outcome> {
        let _ = state;
        Box::pin(std::future::ready(Outcome::Error("it cannot take a call over".to_owned())))
    }

    /// What it has used up so far. Asked once, when it goes.
    fn usage(&self) -> Usage {
        Usage::default()
    }
}

impl Handlers for Catalog {
    fn get(&self, tenant: &TenantId, name: &HandlerName) -> Option<Arc<dyn HandlerVersion>> {
        Self::get(self, tenant, name).map(|handler| Arc::new(handler) as Arc<dyn HandlerVersion>)
    }

    fn is_withheld(&self, tenant: &TenantId, name: &HandlerName) -> bool {
        Self::is_withheld(self, tenant, name)
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

    fn capabilities(&self) -> Capabilities {
        Self::capabilities(self)
    }

    fn dial_narrowing(&self) -> Option<Arc<DialNarrowing>> {
        Self::dial_narrowing(self).cloned()
    }

    fn has_upgrade(&self) -> bool {
        Self::has_upgrade(self)
    }

    fn succession(&self) -> Succession {
        Self::succession(self)
    }

    fn limits(&self) -> VersionLimits {
        let limits = Self::limits(self);
        VersionLimits {
            calls_at_once: None,
            call_limit: limits.call,
            handler_grace: limits.grace,
            hook_limit: limits.hook,
        }
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

    fn save(&mut self) -> BoxFuture<'_, Result<Option<Vec<u8>>, Outcome>> {
        Box::pin(Self::save(self))
    }

    fn restore<'a>(&'a mut self, state: &'a [u8]) -> BoxFuture<'a, Outcome> {
        Box::pin(Self::restore(self, state))
    }

    fn is_alive(&self) -> bool {
        Self::is_alive(self)
    }

    fn usage(&self) -> Usage {
        Self::usage(self)
    }
}
