//! Sends known callers to another handler. Known is who has a key `vip/NUMBER` in the tenant's store; its value is the
//! handler's name, or `vip` when it is empty. Everybody else goes where the routes say.

use voxtra_sdk::prelude::*;

/// Where a known caller goes when the store does not say.
const DEFAULT_HANDLER: &str = "vip";

#[router]
fn route(call: &CallInfo) -> Result<Option<Decision>> {
    if call.caller_id.is_empty() {
        return Ok(None);
    }
    let Some(known) = store::get(&format!("vip/{}", call.caller_id))? else { return Ok(None) };
    let handler = known.text().ok_or("the name of the handler is not text; set the key again")?;
    log::debug!("{} is known", call.caller_id);
    let handler = if handler.is_empty() { DEFAULT_HANDLER } else { handler };
    Ok(Some(Decision::handler(handler).metadata("vip", "yes")))
}
