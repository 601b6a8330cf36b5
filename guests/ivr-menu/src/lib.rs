//! voxtra-guest-ivr-menu
