//! The one place of the host with `unsafe` code: handing compiled code, which the cache has authenticated, to the
//! engine.
#![allow(unsafe_code)]

use wasmtime::component::Component;
use wasmtime::{Engine, Result};

/// Compiled code that was found authentic: this host made it, for this engine, from the bytes that it is asked for.
/// [`crate::cache`] makes one after it has checked the tag, and [`crate::load`] of what its own compiler has just left.
pub(crate) struct Authentic(pub(super) Vec<u8>);

impl Authentic {
    /// What [`crate::aside::compile`] returns: made by a child of this process, in a folder that only its user can enter.
    pub(crate) fn of_own_compiler(code: Vec<u8>) -> Self {
        Self(code)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Loads compiled code.
pub(crate) fn load(engine: &Engine, code: &Authentic) -> Result<Component> {
    // SAFETY: `deserialize` wants bytes that `Component::serialize` made and that nobody changed. `Authentic` says just
    // that: its bytes carried an HMAC under a key that only this host's user can read, over the same engine's
    // compatibility hash and the component's own hash; or the host's own compiler has just written them into a folder
    // that only this user can enter.
    unsafe { Component::deserialize(engine, &code.0) }
}
