//! One module for each version of the contract that this host serves. A version turns the contract's own types into
//! those of [`crate::host::CallHost`] and back, and nothing else.

pub(crate) mod v0_1;
