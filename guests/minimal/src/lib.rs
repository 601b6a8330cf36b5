//! voxtra-guest-minimal
