//! voxtra-sdk-macros
