//! `voxtra:call@0.1`.

mod audio;
mod batches;
mod bridge;
mod call;
mod convert;
mod convert_verbs;
mod http;
mod logging;
mod playback;
mod readiness;
mod rules;
mod snoop;
mod store;

use wasmtime::component::{HasData, Linker};

use crate::store::{InstanceData, Table};

/// Made from `wit/v0.1`.
#[allow(missing_docs, unreachable_pub)]
mod generated {
    wasmtime::component::bindgen!({
        path: "../../wit/v0.1",
        inline: "
            package voxtra:host;
            world any-handler {
                include voxtra:call/handler@0.1.0;
                include voxtra:call/imports-with-readiness@0.1.0;
            }
        ",
        world: "voxtra:host/any-handler",
        imports: {
            "voxtra:call/call-session.[method]call.info": trappable,
            "voxtra:call/call-session.[method]call.state": trappable,
            "voxtra:call/call-session.[method]call.duration-ms": trappable,
            "voxtra:call/call-session.[method]call.metadata-get": trappable,
            "voxtra:call/call-session.[method]call.metadata-set": trappable,
            "voxtra:call/call-session.[method]call.metadata-list": trappable,
            "voxtra:call/call-session.[method]call.metadata-share": trappable,
            "voxtra:call/call-session.[method]call.emit": trappable,
            "voxtra:call/call-session.[method]call.upgrade-pending": trappable,
            "voxtra:call/call-session.[method]call.inherited": trappable,
            "voxtra:call/call-session.[method]playback.id": trappable,
            "voxtra:call/call-session.[method]bridge.id": trappable,
            "voxtra:call/call-session.[method]snoop.id": trappable,
            "voxtra:call/call-session.[method]audio.clear": trappable,
            "voxtra:call/call-session.[method]audio.queued-ms": trappable,
            "voxtra:call/call-session.[drop]call": trappable,
            "voxtra:call/call-session.[drop]playback": trappable,
            "voxtra:call/call-session.[drop]bridge": trappable,
            "voxtra:call/call-session.[drop]snoop": trappable,
            "voxtra:call/call-session.[drop]audio": trappable,
            "voxtra:call/readiness": trappable,
            "voxtra:call/logging.log": trappable,
            default: async | trappable,
        },
        exports: { default: async },
        with: {
            "wasi:io": wasmtime_wasi::p2::bindings::io,
            "voxtra:call/call-session.call": super::call::CallHandle,
            "voxtra:call/call-session.playback": super::playback::PlaybackHandle,
            "voxtra:call/call-session.bridge": super::bridge::BridgeHandle,
            "voxtra:call/call-session.snoop": super::snoop::SnoopHandle,
            "voxtra:call/call-session.audio": super::audio::AudioHandle,
        },
        require_store_data_send: true,
    });
}

/// The optional hook, whose types refer to those above.
#[allow(missing_docs, unreachable_pub, dead_code)]
mod generated_hook {
    wasmtime::component::bindgen!({
        path: "../../wit/v0.1",
        world: "handler-with-hangup-hook",
        imports: { default: async | trappable },
        exports: { default: async },
        with: {
            "voxtra:call/types": super::generated::voxtra::call::types,
            "voxtra:call/call-session": super::generated::voxtra::call::call_session,
            "voxtra:call/store": super::generated::voxtra::call::store,
            "voxtra:call/batches": super::generated::voxtra::call::batches,
            "voxtra:call/http": super::generated::voxtra::call::http,
            "voxtra:call/logging": super::generated::voxtra::call::logging,
        },
        require_store_data_send: true,
    });
}

/// The optional health check.
#[allow(missing_docs, unreachable_pub, dead_code)]
mod generated_health {
    wasmtime::component::bindgen!({
        path: "../../wit/v0.1",
        inline: "
            package voxtra:host;
            world health-check {
                export voxtra:call/health@0.1.0;
            }
        ",
        world: "voxtra:host/health-check",
        exports: { default: async },
        require_store_data_send: true,
    });
}

/// The optional hooks of a handler whose calls can go over to another version.
#[allow(missing_docs, unreachable_pub, dead_code)]
mod generated_upgrade {
    wasmtime::component::bindgen!({
        path: "../../wit/v0.1",
        inline: "
            package voxtra:host;
            world upgrades {
                export voxtra:call/upgrade@0.1.0;
            }
        ",
        world: "voxtra:host/upgrades",
        imports: { default: async | trappable },
        exports: { default: async },
        with: {
            "voxtra:call/types": super::generated::voxtra::call::types,
            "voxtra:call/call-session": super::generated::voxtra::call::call_session,
        },
        require_store_data_send: true,
    });
}

/// The dispatch rule.
#[allow(missing_docs, unreachable_pub, dead_code)]
mod generated_router {
    wasmtime::component::bindgen!({
        path: "../../wit/v0.1",
        world: "router",
        imports: { default: async | trappable },
        exports: { default: async },
        with: {
            "voxtra:call/types": super::generated::voxtra::call::types,
            "voxtra:call/store": super::generated::voxtra::call::store,
            "voxtra:call/logging": super::generated::voxtra::call::logging,
        },
        require_store_data_send: true,
    });
}

/// The middleware.
#[allow(missing_docs, unreachable_pub, dead_code)]
mod generated_filter {
    wasmtime::component::bindgen!({
        path: "../../wit/v0.1",
        world: "filter",
        imports: { default: async | trappable },
        exports: { default: async },
        with: { "voxtra:call/logging": super::generated::voxtra::call::logging },
        require_store_data_send: true,
    });
}

pub(crate) use call::CallHandle;
pub(crate) use convert::ended_call;
pub(crate) use generated::{AnyHandler as Handler, AnyHandlerIndices as HandlerIndices};
pub(crate) use generated_filter::FilterIndices;
pub(crate) use generated_health::exports::voxtra::call::health::GuestIndices as HealthIndices;
pub(crate) use generated_hook::exports::voxtra::call::hangup_hook::GuestIndices as HangupHookIndices;
pub(crate) use generated_router::RouterIndices;
pub(crate) use generated_upgrade::exports::voxtra::call::upgrade::GuestIndices as UpgradeIndices;

/// Gives a binding its instance's whole data.
struct Whole;

impl HasData for Whole {
    type Data<'a> = &'a mut InstanceData;
}

/// Links the contract and the few WASI interfaces that come with it; nothing else can be reached. What of it a
/// component of which kind may import is checked before ([`crate::imports`]).
pub(crate) fn add_to_linker(linker: &mut Linker<InstanceData>) -> wasmtime::Result<()> {
    use generated::voxtra::call::{batches, call_session, http, logging, readiness, store, types};
    use generated_filter::voxtra::call::filtering;
    use generated_router::voxtra::call::routing;
    types::add_to_linker::<_, Whole>(linker, counted)?;
    call_session::add_to_linker::<_, Whole>(linker, counted)?;
    readiness::add_to_linker::<_, Whole>(linker, counted)?;
    store::add_to_linker::<_, Whole>(linker, counted)?;
    batches::add_to_linker::<_, Whole>(linker, counted)?;
    http::add_to_linker::<_, Whole>(linker, counted)?;
    logging::add_to_linker::<_, Whole>(linker, counted)?;
    routing::add_to_linker::<_, Whole>(linker, counted)?;
    filtering::add_to_linker::<_, Whole>(linker, counted)?;
    add_wasi_to_linker(linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)
}

/// Every function of the contract comes by here once for each call of it, the dropping of its handles included.
fn counted(data: &mut InstanceData) -> &mut InstanceData {
    data.pace.count();
    data
}

fn add_wasi_to_linker(linker: &mut Linker<InstanceData>) -> wasmtime::Result<()> {
    use wasmtime_wasi::cli::{WasiCli, WasiCliView};
    use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView};
    use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView};
    use wasmtime_wasi::p2::bindings::{cli, clocks, filesystem, io, random};
    use wasmtime_wasi::random::{WasiRandom, WasiRandomView};

    io::error::add_to_linker::<_, Table>(linker, |data| &mut data.table)?;
    io::poll::add_to_linker::<_, Table>(linker, |data| &mut data.table)?;
    io::streams::add_to_linker::<_, Table>(linker, |data| &mut data.table)?;
    cli::environment::add_to_linker::<_, WasiCli>(linker, WasiCliView::cli)?;
    cli::exit::add_to_linker::<_, WasiCli>(linker, WasiCliView::cli)?;
    cli::stdin::add_to_linker::<_, WasiCli>(linker, WasiCliView::cli)?;
    cli::stdout::add_to_linker::<_, WasiCli>(linker, WasiCliView::cli)?;
    cli::stderr::add_to_linker::<_, WasiCli>(linker, WasiCliView::cli)?;
    cli::terminal_input::add_to_linker::<_, WasiCli>(linker, WasiCliView::cli)?;
    cli::terminal_output::add_to_linker::<_, WasiCli>(linker, WasiCliView::cli)?;
    cli::terminal_stdin::add_to_linker::<_, WasiCli>(linker, WasiCliView::cli)?;
    cli::terminal_stdout::add_to_linker::<_, WasiCli>(linker, WasiCliView::cli)?;
    cli::terminal_stderr::add_to_linker::<_, WasiCli>(linker, WasiCliView::cli)?;
    clocks::wall_clock::add_to_linker::<_, WasiClocks>(linker, WasiClocksView::clocks)?;
    clocks::monotonic_clock::add_to_linker::<_, WasiClocks>(linker, WasiClocksView::clocks)?;
    // Standard libraries import files even where nothing opens one. There is no folder in here, so nothing can be.
    filesystem::types::add_to_linker::<_, WasiFilesystem>(linker, WasiFilesystemView::filesystem)?;
    filesystem::preopens::add_to_linker::<_, WasiFilesystem>(linker, WasiFilesystemView::filesystem)?;
    random::random::add_to_linker::<_, WasiRandom>(linker, WasiRandomView::random)?;
    random::insecure::add_to_linker::<_, WasiRandom>(linker, WasiRandomView::random)?;
    random::insecure_seed::add_to_linker::<_, WasiRandom>(linker, WasiRandomView::random)
}
