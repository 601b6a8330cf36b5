//! The attributes of voxtra-sdk: `#[handler]` and `#[on_hangup]`, `#[router]`, `#[filter]`.
//!
//! They leave the function as it is and put the component's export beside it. They are written on the compiler's own
//! tokens, without a parser library, so that a handler builds in seconds. Use them through voxtra-sdk, which their
//! expansions name.

mod expand;
mod signature;
#[cfg(doctest)]
mod wrong_signatures;

use proc_macro::TokenStream;

/// Marks the function that runs once for each call: `fn handle(call: &Call) -> Result<()>`.
///
/// A component has exactly one. What it returns may be nothing, or a `Result<(), E>` whose error is any error or text.
/// When it returns, the call is hung up; when it returns an error other than that the call has ended, the failure policy
/// of the call's route runs.
///
/// ```no_run
/// use voxtra_sdk::prelude::*;
///
/// #[handler]
/// fn handle(call: &Call) -> Result<()> {
///     call.answer()?;
///     call.play("sound:hello-world")?;
///     Ok(())
/// }
/// ```
#[proc_macro_attribute]
pub fn handler(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand::attribute(&expand::HANDLER, arguments, item)
}

/// Marks the function that runs exactly once when a call is over, whatever ended it: `fn ended(call: &EndedCall)`.
///
/// It runs in the instance that handled the call when that is still alive, else in a new one: what it needs belongs into
/// the call's metadata. An error that it returns is logged. A component without it has no hook.
///
/// ```no_run
/// use voxtra_sdk::prelude::*;
///
/// #[on_hangup]
/// fn ended(call: &EndedCall) {
///     log::info!("{} was here for {:?}", call.info.caller_id, call.duration);
/// }
/// ```
#[proc_macro_attribute]
pub fn on_hangup(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand::attribute(&expand::ON_HANGUP, arguments, item)
}

/// Marks the function that chooses which handler takes a call: `fn route(call: &CallInfo) -> Result<Option<Decision>>`.
///
/// It makes a component of its own, whose file is called `NAME.router.wasm`. It is asked before the static routes are, and
/// has 200 ms; `None` leaves the call to the next router, or to the routes. So does an error, which is logged. It sees
/// the tenant's [`store`](../voxtra_sdk/store/index.html), not the call.
///
/// ```no_run
/// use voxtra_sdk::prelude::*;
///
/// #[router]
/// fn route(call: &CallInfo) -> Result<Option<Decision>> {
///     let known = store::get(&format!("customers/{}", call.caller_id))?;
///     Ok(known.map(|_| Decision::handler("customers")))
/// }
/// ```
#[proc_macro_attribute]
pub fn router(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand::attribute(&expand::ROUTER, arguments, item)
}

/// Marks the function that sees each of the tenant's events before it leaves the host:
/// `fn filter(event: &OutgoingEvent) -> Result<Verdict>`.
///
/// It makes a component of its own, whose file is called `NAME.filter.wasm`. It has 200 ms; an event on which it fails
/// leaves as it is.
///
/// ```no_run
/// use voxtra_sdk::prelude::*;
///
/// #[filter]
/// fn filter(event: &OutgoingEvent) -> Verdict {
///     match event.kind.as_str() {
///         "dtmf.received" => Verdict::Drop,
///         _ => Verdict::Keep,
///     }
/// }
/// ```
#[proc_macro_attribute]
pub fn filter(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand::attribute(&expand::FILTER, arguments, item)
}
