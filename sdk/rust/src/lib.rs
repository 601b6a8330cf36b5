//! voxtra-sdk
