//! Components from registries: named by digest, fetched from where the operator allows it, believed for their hash.
//!
//! The convention is CNCF's Wasm OCI artifact: an image manifest whose config is `application/vnd.wasm.config.v0+json` (or
//! OCI's empty one, as generic tools write) and whose one layer is `application/wasm`. A reference must carry the digest of
//! that manifest; a tag can be moved by whoever may push, and then nobody knows what runs.
//!
//! The talking is `oci-client`'s. What it leaves open is closed here: only registries that the operator names are spoken to
//! (a tenant's manifest cannot make the host call an address inside); plain HTTP only where the operator says so; the URLs
//! that a manifest may carry for its layer are ignored; sizes are checked before and while a layer comes; one time limit is
//! over everything, waiting for a turn included; and a fetch is a task of its own, so that a registry that brings the client
//! to panic brings down its fetch only.
//!
//! What stays open, because the client has no setting for it: it follows redirections (registries send layers from other
//! hosts so; credentials are not sent along, and the hash decides), and it reads a manifest, a token and an error's text
//! whole before their size can be checked, within the time limit. A registry that the operator has named is trusted so far.

mod error;
mod fetch;
mod reference;

pub use error::{OciError, ReferenceError};
pub use fetch::{Credentials, Fetched, OciOptions, Registry, RegistryClient};
pub use reference::OciReference;
