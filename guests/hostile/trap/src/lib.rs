//! voxtra-guest-hostile-trap
