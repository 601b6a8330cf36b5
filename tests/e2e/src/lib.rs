//! voxtra-e2e
