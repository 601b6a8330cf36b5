//! Asks a service of the tenant's who calls, and treats the caller accordingly.
//!
//! The route's note `service` is the service's address: `GET SERVICE/NUMBER` is to answer with one word, `gold`, `blocked` or
//! another. Where the note `secret` names a secret of the tenant's, its value goes along as a bearer token; the handler never
//! sees it. A service that is down, slow or not allowed costs the caller nothing but the special treatment.
//!
//! In `tenant.toml` the service is allowed by `[capabilities.http]`, such as `allow = ["https://crm.example.com/callers"]`.

use voxtra_sdk::http::{Request, secret};
use voxtra_sdk::prelude::*;

/// Nobody waits longer for being greeted.
const PATIENCE: Duration = Duration::from_secs(2);

/// The note that keeps what the service said.
const STANDING: &str = "standing";

#[handler]
fn handle(call: &Call) -> Result<()> {
    let standing = standing(call).unwrap_or_else(|why| {
        log::warn!("nothing is known of the caller: {why}");
        "unknown".to_owned()
    });
    call.set_metadata(STANDING, &standing)?;
    log::info!("the caller is {standing}"; standing = &standing);
    if standing == "blocked" {
        return Ok(call.hangup_with(HangupCause::Rejected)?);
    }
    call.answer()?;
    call.play(if standing == "gold" { "sound:pls-hold-while-try" } else { "sound:hello-world" })?;
    call.play("sound:vm-goodbye")?;
    Ok(())
}

/// What the service says of the caller.
fn standing(call: &Call) -> Result<String> {
    let service =
        call.metadata("service").ok_or("the route has no note `service`; write the service's address into it")?;
    // The network's word: it may hold anything.
    let number: String = call.info().caller_id.chars().filter(|c| c.is_ascii_alphanumeric()).collect();
    let mut request = Request::get(format!("{service}/{number}")).timeout(PATIENCE);
    if let Some(name) = call.metadata("secret") {
        request = request.header("authorization", format!("Bearer {}", secret(&name)));
    }
    let answer = request.send()?.success()?;
    let word: String = answer.text().unwrap_or_default().chars().filter(char::is_ascii_lowercase).take(16).collect();
    Ok(if word.is_empty() { "unknown".to_owned() } else { word })
}
