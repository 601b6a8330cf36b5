//! `tenant.toml` has two readers, and each leaves the other's keys alone: which are whose.

/// What provisioning reads to set a tenant up at its PBX.
pub const PBX_KEYS: [&str; 9] =
    ["slug", "description", "dids", "max_channels", "app", "fallback", "trunk", "queue", "outbound"];

/// What the host reads of a file in its plugin directory.
pub const HOST_KEYS: [&str; 12] = [
    "app_name",
    "pbx",
    "recording_sinks",
    "dialplan",
    "prompts",
    "on_failure",
    "limits",
    "capabilities",
    "providers",
    "secrets",
    "signatures",
    "weight",
];
