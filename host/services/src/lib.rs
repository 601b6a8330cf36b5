//! What a host keeps and delivers beside its calls: the tenants' store, webhooks that survive, recordings and where
//! they go, the provisioning of tenants on a PBX, batches of outgoing calls, what calls have used up, and figures for
//! Prometheus.
//!
//! It implements `core`'s ports and knows neither a PBX nor a handler; nothing here runs on a media thread.

pub mod batch;
pub mod database;
pub mod metering;
pub mod metrics;
pub mod provisioning;
pub mod recordings;
pub mod signature;
pub mod store;
pub mod webhooks;
