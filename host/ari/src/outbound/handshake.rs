//! Who may connect: user and password (RFC 7617), and the subprotocol `ari`. Decided before anything else is done.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_tungstenite::tungstenite::handshake::server::{Callback, ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_PROTOCOL, WWW_AUTHENTICATE,
};
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderValue, StatusCode};

use std::sync::Arc;

/// The subprotocol of events and REST.
const SUBPROTOCOL: &str = "ari";
/// Longest path and query that is kept.
const TARGET_MAX_CHARS: usize = 512;

/// User and password as Asterisk sends them.
pub(super) struct Credentials {
    expected: Vec<u8>,
}

impl Credentials {
    pub(super) fn new(username: &str, password: &str) -> Self {
        Self { expected: STANDARD.encode(format!("{username}:{password}")).into_bytes() }
    }

    fn accept(&self, headers: &HeaderMap) -> bool {
        let Some(value) = headers.get(AUTHORIZATION) else { return false };
        // The scheme's name is case-insensitive.
        let Some((scheme, said)) = value.as_bytes().split_at_checked(6) else { return false };
        scheme.eq_ignore_ascii_case(b"basic ") && same(said.trim_ascii(), &self.expected)
    }
}

/// Equal? Takes as long for a wrong text as for the right one of the same length.
fn same(said: &[u8], expected: &[u8]) -> bool {
    let difference = said.iter().zip(expected).fold(0, |all, (a, b)| all | (a ^ b));
    said.len() == expected.len() && difference == 0
}

/// Why a connection was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Credentials,
    Subprotocol,
    Full,
}

/// What a handshake has shown.
#[derive(Debug, Default)]
pub(super) struct Shown {
    pub(super) refusal: Option<Refusal>,
    /// The path and query that were asked for.
    pub(super) target: String,
    /// The place of an accepted connection.
    pub(super) place: Option<OwnedSemaphorePermit>,
}

/// Decides on one handshake.
pub(super) struct Check<'a> {
    pub(super) credentials: &'a Credentials,
    pub(super) places: &'a Arc<Semaphore>,
    pub(super) shown: &'a mut Shown,
}

impl Callback for Check<'_> {
    fn on_request(self, request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
        let headers = request.headers();
        if !self.credentials.accept(headers) {
            self.shown.refusal = Some(Refusal::Credentials);
            let mut refusal = refused(StatusCode::UNAUTHORIZED);
            refusal.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"ARI\""));
            return Err(refusal);
        }
        if !offers_ari(headers) {
            self.shown.refusal = Some(Refusal::Subprotocol);
            return Err(refused(StatusCode::BAD_REQUEST));
        }
        // Last, so that only who may connect can take a place.
        let Ok(place) = Arc::clone(self.places).try_acquire_owned() else {
            self.shown.refusal = Some(Refusal::Full);
            return Err(refused(StatusCode::SERVICE_UNAVAILABLE));
        };
        self.shown.place = Some(place);
        self.shown.target =
            request.uri().path_and_query().map_or("/", |t| t.as_str()).chars().take(TARGET_MAX_CHARS).collect();
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        Ok(response)
    }
}

fn offers_ari(headers: &HeaderMap) -> bool {
    let offers = headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter().filter_map(|value| value.to_str().ok());
    offers.flat_map(|value| value.split(',')).any(|name| name.trim() == SUBPROTOCOL)
}

fn refused(status: StatusCode) -> ErrorResponse {
    let mut response = ErrorResponse::new(None);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    fn headers(name: &str, value: &[u8]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let name: tokio_tungstenite::tungstenite::http::HeaderName = name.parse().unwrap();
        headers.insert(name, HeaderValue::from_bytes(value).unwrap());
        headers
    }

    #[test]
    fn only_the_right_user_and_password_are_accepted() {
        // The example of RFC 7617.
        let credentials = Credentials::new("Aladdin", "open sesame");
        for (value, right) in [
            ("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", true),
            ("basic  QWxhZGRpbjpvcGVuIHNlc2FtZQ==", true),
            ("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ", false),
            ("Basic QWxhZGRpbjpvcGVuIHNlc2FtZR==", false),
            ("Basic", false),
            ("Basic ", false),
            ("Digest QWxhZGRpbjpvcGVuIHNlc2FtZQ==", false),
            ("", false),
        ] {
            assert_eq!(credentials.accept(&headers("authorization", value.as_bytes())), right, "{value:?}");
        }
        assert!(!credentials.accept(&HeaderMap::new()));
    }

    #[test]
    fn the_subprotocol_is_found_among_others() {
        for (value, right) in [("ari", true), ("media, ari", true), ("media", false), ("arid", false), ("", false)] {
            assert_eq!(offers_ari(&headers("sec-websocket-protocol", value.as_bytes())), right, "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn no_header_lets_a_stranger_in_or_panics(value in proptest::collection::vec(32u8..=126, 0..60)) {
            let credentials = Credentials::new("user", "not to be guessed");
            prop_assert!(!credentials.accept(&headers("authorization", &value)));
        }
    }
}
