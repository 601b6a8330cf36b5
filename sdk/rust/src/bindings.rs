//! The contract as wit-bindgen renders it: a world for each attribute, so that a component exports what it marks and
//! nothing else. The linker joins the worlds that a component uses.
//!
//! Not for handlers: the rest of the crate is made of these.

// What stands below is generated; its documentation is the contract's.
#![allow(missing_docs, unreachable_pub, clippy::too_many_arguments)]

/// What every handler imports, and `handle`.
pub mod handler {
    wit_bindgen::generate!({
        path: "../../wit/v0.1",
        inline: "
            package voxtra:sdk-rust;
            world handler {
                include voxtra:call/handler@0.1.0;
                include voxtra:call/imports-with-readiness@0.1.0;
            }
        ",
        generate_all,
        additional_derives: [PartialEq, Eq],
        pub_export_macro: true,
        export_macro_name: "export_handler",
        default_bindings_module: "voxtra_sdk::__private::handler",
    });
}

/// The export of the hook alone. The contract's own world with a hook cannot be used for it: `handle` would be in it a
/// second time.
pub mod hook {
    wit_bindgen::generate!({
        path: "../../wit/v0.1",
        inline: "
            package voxtra:sdk-rust;
            world only-the-hangup-hook {
                export voxtra:call/hangup-hook@0.1.0;
            }
        ",
        with: { "voxtra:call/types@0.1.0": crate::bindings::handler::voxtra::call::types },
        pub_export_macro: true,
        export_macro_name: "export_hangup_hook",
        default_bindings_module: "voxtra_sdk::__private::hook",
    });
}

/// The export of the health check alone.
pub mod health {
    wit_bindgen::generate!({
        path: "../../wit/v0.1",
        inline: "
            package voxtra:sdk-rust;
            world only-the-health-check {
                export voxtra:call/health@0.1.0;
            }
        ",
        pub_export_macro: true,
        export_macro_name: "export_health",
        default_bindings_module: "voxtra_sdk::__private::health",
    });
}

/// The exports for calls that go over to another version.
pub mod upgrade {
    wit_bindgen::generate!({
        path: "../../wit/v0.1",
        inline: "
            package voxtra:sdk-rust;
            world only-upgrades {
                export voxtra:call/upgrade@0.1.0;
            }
        ",
        with: {
            "voxtra:call/types@0.1.0": crate::bindings::handler::voxtra::call::types,
            "voxtra:call/call-session@0.1.0": crate::bindings::handler::voxtra::call::call_session,
        },
        pub_export_macro: true,
        export_macro_name: "export_upgrade",
        default_bindings_module: "voxtra_sdk::__private::upgrade",
    });
}

/// The world of a dispatch rule.
pub mod router {
    wit_bindgen::generate!({
        path: "../../wit/v0.1",
        world: "voxtra:call/router",
        with: {
            "voxtra:call/types@0.1.0": crate::bindings::handler::voxtra::call::types,
            "voxtra:call/store@0.1.0": crate::bindings::handler::voxtra::call::store,
            "voxtra:call/logging@0.1.0": crate::bindings::handler::voxtra::call::logging,
        },
        generate_all,
        additional_derives: [PartialEq, Eq],
        pub_export_macro: true,
        export_macro_name: "export_router",
        default_bindings_module: "voxtra_sdk::__private::router",
    });
}

/// The world of middleware.
pub mod filter {
    wit_bindgen::generate!({
        path: "../../wit/v0.1",
        world: "voxtra:call/filter",
        with: { "voxtra:call/logging@0.1.0": crate::bindings::handler::voxtra::call::logging },
        generate_all,
        additional_derives: [PartialEq, Eq],
        pub_export_macro: true,
        export_macro_name: "export_filter",
        default_bindings_module: "voxtra_sdk::__private::filter",
    });
}
