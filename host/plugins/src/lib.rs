//! plugins
pub mod host;
