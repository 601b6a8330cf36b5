//! Versions of a handler that follow each other: the health check of a new one, and calls that go over to it.

use crate::{Bridge, Call, Snoop};

/// What earlier versions of this handler have left up; see [`upgrade!`](crate::upgrade!).
#[derive(Debug, Default)]
pub struct Inherited {
    /// Calls that were placed, in the order in which they were.
    pub calls: Vec<Call>,
    /// Bridges that are there.
    pub bridges: Vec<Bridge>,
    /// Snoops that are there.
    pub snoops: Vec<Snoop>,
}

impl Call {
    /// Whether a new version of this handler waits to take the call over: for handlers that look between their prompts.
    /// It is the same news as [`Event::UpgradeReady`](crate::Event::UpgradeReady), which does not come once it was heard
    /// here. See [`upgrade!`](crate::upgrade!).
    pub fn upgrade_pending(&self) -> bool {
        self.inner().upgrade_pending()
    }

    /// What earlier versions of this handler have made for this call and not dropped. Each is given out once; dropping it
    /// has the usual effect.
    pub fn inherited(&self) -> Inherited {
        let (calls, bridges, snoops) = self.inner().inherited();
        Inherited {
            calls: calls.into_iter().map(Call::new).collect(),
            bridges: bridges.into_iter().map(Bridge::new).collect(),
            snoops: snoops.into_iter().map(Snoop::new).collect(),
        }
    }
}

/// Names the function that runs when this version is loaded, before any call gets it: `fn init() -> Result<()>`.
///
/// It has two seconds. An error or a panic refuses the version, and the one before goes on: the place to find out whether
/// tables that are built in make sense. There is no call, and the tenant's store and the network answer
/// [`Error::Denied`](crate::Error::Denied).
///
/// ```no_run
/// use voxtra_sdk::prelude::*;
///
/// health_check!(init);
///
/// fn init() -> Result<()> {
///     match include_str!("upgrade.rs").len() {
///         0 => Err("the price list is empty".into()),
///         _ => Ok(()),
///     }
/// }
/// ```
#[macro_export]
macro_rules! health_check {
    ($init:path) => {
        const _: () = {
            use $crate::__private as sdk;
            struct Component;
            impl sdk::health::exports::voxtra::call::health::Guest for Component {
                fn init() -> ::core::result::Result<(), ::std::string::String> {
                    sdk::run_init($init)
                }
            }
            #[cfg(target_arch = "wasm32")]
    sdk::export_health!(Component with_types_in $crate::__private::health);
            #[cfg(not(target_arch = "wasm32"))]
            const _: fn() -> ::core::result::Result<(), ::std::string::String> =
                <Component as sdk::health::exports::voxtra::call::health::Guest>::init;
        };
    };
}

/// Names the functions that let calls go over to a new version of this handler while they are up:
/// `fn save() -> Result<Option<Vec<u8>>>` and `fn restore(call: &Call, state: &[u8]) -> Result<()>`.
///
/// Where the handler's manifest says `upgrade = "mid-call"`, a call is told of a new version by
/// [`Event::UpgradeReady`](crate::Event::UpgradeReady) or [`Call::upgrade_pending`](crate::Call::upgrade_pending). The
/// handler puts what matters where `save` finds it (there are no threads: a `thread_local!` will do) and returns `Ok`.
/// `save` gives it to `restore` of the new version, at most 256 KiB, which goes on with the call in the place of the
/// function that `#[handler]` marks. `None` says that the handler had finished anyway.
///
/// When `restore` refuses the state with an error, or fails otherwise, before it has done anything on the call, the old
/// version's `restore` gets the same state. So every version has both, and looks first whether it can read what it was
/// given.
///
/// Bridges, snoops and audio streams that are to stay must not be dropped when the handler returns: keep them in the
/// `thread_local!`, or let [`std::mem::forget`] have them. The new version gets its own by
/// [`Call::inherited`](crate::Call::inherited), and audio by opening it again.
///
/// ```no_run
/// use std::cell::Cell;
/// use voxtra_sdk::prelude::*;
///
/// upgrade!(save, restore);
///
/// thread_local! {
///     static KEYS: Cell<Option<u8>> = const { Cell::new(None) };
/// }
///
/// #[handler]
/// fn handle(call: &Call) -> Result<()> {
///     call.answer()?;
///     count(call, 0)
/// }
///
/// fn count(call: &Call, mut keys: u8) -> Result<()> {
///     for event in call.events() {
///         match event? {
///             Event::Dtmf(_) => keys = keys.saturating_add(1),
///             Event::UpgradeReady => {
///                 KEYS.set(Some(keys));
///                 return Ok(());
///             }
///             _ => {}
///         }
///     }
///     Ok(())
/// }
///
/// fn save() -> Result<Option<Vec<u8>>> {
///     Ok(KEYS.get().map(|keys| vec![keys]))
/// }
///
/// fn restore(call: &Call, state: &[u8]) -> Result<()> {
///     match state {
///         [keys] => count(call, *keys),
///         _ => Err("this is no state of mine".into()),
///     }
/// }
/// ```
#[macro_export]
macro_rules! upgrade {
    ($save:path, $restore:path) => {
        const _: () = {
            use ::core::{option::Option, result::Result};
            use ::std::{string::String, vec::Vec};
            use $crate::__private as sdk;
            struct Component;
            impl sdk::upgrade::exports::voxtra::call::upgrade::Guest for Component {
                fn save() -> Result<Option<Vec<u8>>, String> {
                    sdk::run_save($save)
                }

                fn restore(call: sdk::handler::Call, state: Vec<u8>) -> Result<(), String> {
                    sdk::run_restore(call, &state, $restore)
                }
            }
            #[cfg(target_arch = "wasm32")]
    sdk::export_upgrade!(Component with_types_in $crate::__private::upgrade);
            #[cfg(not(target_arch = "wasm32"))]
            const _: fn(sdk::handler::Call, Vec<u8>) -> Result<(), String> =
                <Component as sdk::upgrade::exports::voxtra::call::upgrade::Guest>::restore;
            #[cfg(not(target_arch = "wasm32"))]
            const _: fn() -> Result<Option<Vec<u8>>, String> =
                <Component as sdk::upgrade::exports::voxtra::call::upgrade::Guest>::save;
        };
    };
}
