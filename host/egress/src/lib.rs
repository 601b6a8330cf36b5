//! The one way out for handlers' HTTP: a policy that says what a tenant may reach, and the client that carries it out.
//!
//! A request passes, in this order: its form ([`target`], headers), the allow-list ([`policy`]), secrets ([`secret`]), the
//! limits, the lookup of the name by ourselves ([`resolver`]), the judgement of every address that came back
//! ([`networks`]), and only then a connection, to one of those addresses and no other. A redirect begins again at the top.
//!
//! It binds nothing to a guest: whoever does sees [`voxtra_core::http`] only. It reads no file and no environment, keeps no cookies, knows
//! no proxy and undoes no compression. Operators' own requests (webhooks, recordings) do not pass here.

mod client;
pub mod entry;
mod gate;
mod headers;
pub mod networks;
pub mod policy;
pub mod resolver;
pub mod secret;
pub mod target;

use voxtra_core::http as port;

pub use client::{CallEgress, Egress, EgressOptions, SetUpError, TenantRules, certificates_of_pem};
pub use entry::{AllowEntry, EntryError};
pub use gate::TenantCounters;
pub use headers::Method;
pub use networks::{AddressClass, AllowedNetwork, Network, NetworkError, OperatorNetworks};
pub use policy::{EgressLimits, EgressPolicy, Narrowing};
pub use resolver::{FakeResolver, Resolver, SystemResolver};
pub use rustls::pki_types::CertificateDer;
pub use secret::{Secret, SecretError, Secrets};
pub use voxtra_core::http::{CallHttp, FakeHttp, Http, HttpError, HttpRequest, HttpResponse, HttpUsage, Kind, Reason};
