//! voxtra-bench
