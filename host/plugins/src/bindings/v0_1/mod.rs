//! `voxtra:call@0.1`.

mod audio;
mod call;
mod convert;
mod logging;
mod readiness;

use wasmtime::component::{HasData, Linker};

use crate::store::{CallStore, Table};

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
            "voxtra:call/call-session.[method]audio.clear": trappable,
            "voxtra:call/call-session.[method]audio.queued-ms": trappable,
            "voxtra:call/call-session.[drop]call": trappable,
            "voxtra:call/call-session.[drop]audio": trappable,
            "voxtra:call/readiness": trappable,
            "voxtra:call/logging.log": trappable,
            default: async | trappable,
        },
        exports: { default: async },
        with: {
            "wasi:io": wasmtime_wasi::p2::bindings::io,
            "voxtra:call/call-session.call": super::call::CallHandle,
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
            "voxtra:call/logging": super::generated::voxtra::call::logging,
        },
        require_store_data_send: true,
    });
}

pub(crate) use call::CallHandle;
pub(crate) use convert::ended_call;
pub(crate) use generated::{AnyHandler as Handler, AnyHandlerIndices as HandlerIndices};
pub(crate) use generated_hook::exports::voxtra::call::hangup_hook::GuestIndices as HangupHookIndices;

/// Gives a binding its instance's whole data.
struct Whole;

impl HasData for Whole {
    type Data<'a> = &'a mut CallStore;
}

/// Links the contract and the few WASI interfaces that come with it; nothing else can be reached.
pub(crate) fn add_to_linker(linker: &mut Linker<CallStore>) -> wasmtime::Result<()> {
    use generated::voxtra::call::{call_session, logging, readiness, types};
    types::add_to_linker::<_, Whole>(linker, |store| store)?;
    call_session::add_to_linker::<_, Whole>(linker, |store| store)?;
    readiness::add_to_linker::<_, Whole>(linker, |store| store)?;
    logging::add_to_linker::<_, Whole>(linker, |store| store)?;
    add_wasi_to_linker(linker)
}

fn add_wasi_to_linker(linker: &mut Linker<CallStore>) -> wasmtime::Result<()> {
    use wasmtime_wasi::cli::{WasiCli, WasiCliView};
    use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView};
    use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView};
    use wasmtime_wasi::p2::bindings::{cli, clocks, filesystem, io, random};
    use wasmtime_wasi::random::{WasiRandom, WasiRandomView};

    io::error::add_to_linker::<_, Table>(linker, |store| &mut store.table)?;
    io::poll::add_to_linker::<_, Table>(linker, |store| &mut store.table)?;
    io::streams::add_to_linker::<_, Table>(linker, |store| &mut store.table)?;
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
