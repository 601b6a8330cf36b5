//! voxtra-audio
