//! voxtra-session
