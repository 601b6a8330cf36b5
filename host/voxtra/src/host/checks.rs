//! What the plugin directory's reader cannot judge itself, so that a bad text is told with its file and line before
//! anything comes of it. Each gives what follows the text's name.

use serde_json::{Map, Value};
use voxtra_artifacts::oci::{OciReference, ReferenceError};
use voxtra_artifacts::signature::TrustedKeys;
use voxtra_directory::Dial;
use voxtra_egress::AllowEntry;
use voxtra_session::{OnFailure, Route, RouteError, Router, TenantRoutes};

use super::{handlers, plan, services};

/// A component in a registry.
pub(crate) fn oci(text: &str) -> Result<(), String> {
    text.parse::<OciReference>().map(drop).map_err(|error: ReferenceError| format!("cannot be used: {error}"))
}

/// A public key of those who sign components.
pub(crate) fn signing_key(text: &str) -> Result<(), String> {
    let none =
        "holds an entry that is no minisign public key; write the second line of its .pub file, which begins with RW";
    // A whole file would be taken by the parser, and its comment is not the key.
    if text.contains('\n') {
        return Err(none.to_owned());
    }
    TrustedKeys::parse([text]).map(drop).map_err(|_| none.to_owned())
}

/// An entry of a list of servers that handlers may ask.
pub(crate) fn http_entry(text: &str) -> Result<(), String> {
    text.parse::<AllowEntry>().map(drop).map_err(|error| format!("cannot be used: {error}"))
}

/// The prompts of a failure policy.
pub(crate) fn prompts(play: &[String]) -> Result<(), String> {
    let on_failure = OnFailure { play: Some(play.to_vec()), ..OnFailure::default() };
    routes(TenantRoutes { on_failure, ..TenantRoutes::default() })
}

/// What a call begins with.
pub(crate) fn metadata(metadata: &Map<String, Value>) -> Result<(), String> {
    let route = Route { metadata: plan::metadata(metadata.clone()), ..Route::default() };
    routes(TenantRoutes { routes: vec![route], ..TenantRoutes::default() })
}

/// Whom a tenant may call.
pub(crate) fn dial(dial: &Dial) -> Result<(), String> {
    services::policy(&handlers::dial(dial)).check().map_err(|why| format!("cannot be used: {why}"))
}

/// By whoever takes the routes later: one tenant's that it refused there would keep the others' changes away too.
fn routes(routes: TenantRoutes) -> Result<(), String> {
    match Router::new([routes]) {
        Ok(_) => Ok(()),
        Err(RouteError::Metadata { why, .. } | RouteError::OnFailure { why, .. }) => {
            Err(format!("cannot be used: {why}"))
        }
        Err(error @ RouteError::SharedApp { .. }) => Err(error.to_string()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_checked_by_the_parser_that_uses_it() {
        assert_eq!(http_entry("GET https://*.example.com:8443/v1/"), Ok(()));
        let why = http_entry("https://*").unwrap_err();
        assert!(why.starts_with("cannot be used: ") && why.ends_with("/v1/"), "{why}");
    }

    #[test]
    fn what_a_router_would_refuse_is_refused_beforehand() {
        assert_eq!(prompts(&["sound:sorry".to_owned()]), Ok(()));
        assert!(prompts(&["sorry".to_owned()]).unwrap_err().contains("is none that can be played"));
        let notes = |bytes: usize| Map::from_iter([("k".to_owned(), Value::from("v".repeat(bytes)))]);
        assert_eq!(metadata(&notes(10)), Ok(()));
        assert!(metadata(&notes(9_000)).unwrap_err().starts_with("cannot be used: "));
        let whom = |endpoint: &str| Dial { endpoints: vec![endpoint.to_owned()], ..Dial::default() };
        assert_eq!(dial(&whom("PJSIP/100")), Ok(()));
        assert!(dial(&whom("PJSIP/../x")).is_err());
    }
}
