//! What the plugin directory's reader cannot judge itself, so that a bad text is told with its file and line before
//! anything comes of it. Each gives what follows the text's name.

use voxtra_artifacts::oci::{OciReference, ReferenceError};
use voxtra_artifacts::signature::TrustedKeys;
use voxtra_egress::AllowEntry;

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
}
