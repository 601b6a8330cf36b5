//! voxtra-telephony
