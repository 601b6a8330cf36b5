//! voxtra-guest-echo
