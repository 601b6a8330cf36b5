//! Tenants on a PBX: what each needs there, as configuration fragments.
//!
//! A `tenant.toml` ([`TenantFile`]) becomes four fragments beside Asterisk's own files: an ARI user, a SIP trunk, a
//! dialplan and a queue, each under the tenant's own names. [`Provisioner`] writes and removes them, all or none, and
//! [`reload`] has Asterisk read them. Values are checked by allow-lists when the file is read and a [`TenantFile`]
//! cannot be made otherwise, so no value can end its line, its section or its dialplan expression.
//!
//! Files of Asterisk are never globbed in: `pjsip_*.conf` would match Asterisk's own `pjsip_notify.conf`, and Asterisk
//! 22 does not see that a globbed file has gone. An index (`voxtra_pjsip.conf` and so on) names each tenant's fragment,
//! and the operator includes the index once; see [`Provisioner::missing_includes`].

mod allowed;
mod fragments;
mod provisioner;
mod reader;
mod reload;
mod tenant;
mod transaction;

pub use fragments::{FALLBACK_VARIABLE, Fragments};
pub use provisioner::{AddOptions, Added, Include, ProvisionError, Provisioned, Provisioner};
pub use reload::{FakeReloader, MODULES, ReloadError, Reloader, reload};
pub use tenant::{DestinationInPlan, Outbound, Queue, QueueStrategy, SipTransport, TenantFile, TenantFileError, Trunk};
