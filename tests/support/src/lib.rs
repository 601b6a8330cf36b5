//! voxtra-test-support
