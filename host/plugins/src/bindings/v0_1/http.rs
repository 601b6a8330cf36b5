//! The interface `http`. Whose requests they are is in the instance; what may be sent is the call's host to say.

use std::time::Duration;

use bytes::Bytes;
use voxtra_core::http::{HttpRequest, HttpResponse};
use wasmtime::Result;

use super::generated::voxtra::call::http::{Host, Request, Response};
use super::generated::voxtra::call::types::Error;
use crate::pace::Class;
use crate::store::{InstanceData, Owner};

impl Host for InstanceData {
    async fn send(&mut self, request: Request) -> Result<Result<Response, Error>> {
        self.pace.turn_of(Class::Provider).await;
        let kept =
            request.headers.iter().fold(request.body.len().saturating_add(request.url.len()), |sum, (name, value)| {
                sum.saturating_add(name.len()).saturating_add(value.len())
            });
        if let Err(full) = self.retained.room(kept) {
            return Ok(Err(full.into()));
        }
        let Owner::Call(call) = &self.owner else {
            return Ok(Err(Error::Denied("there is no call that would send it; use `http` from `handle`".to_owned())));
        };
        let answer = call.http_send(request.into()).await;
        Ok(answer.map(Response::from).map_err(Error::from))
    }
}

impl From<Request> for HttpRequest {
    fn from(request: Request) -> Self {
        Self {
            method: request.method,
            url: request.url,
            headers: request.headers.into_iter().map(|(name, value)| (name, value.into())).collect(),
            body: request.body.into(),
            timeout: (request.timeout_ms > 0).then(|| Duration::from_millis(request.timeout_ms.into())),
            redirects: request.max_redirects,
        }
    }
}

impl From<HttpResponse> for Response {
    fn from(response: HttpResponse) -> Self {
        Self {
            status: response.status,
            headers: response.headers.into_iter().map(|(name, value)| (name, text(&value))).collect(),
            body: response.body.into(),
        }
    }
}

/// Headers of old servers are Latin-1.
fn text(value: &Bytes) -> String {
    match str::from_utf8(value) {
        Ok(text) => text.to_owned(),
        Err(_) => value.iter().copied().map(char::from).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_byte_of_a_header_is_lost() {
        assert_eq!(text(&Bytes::from_static("Zürich".as_bytes())), "Zürich");
        assert_eq!(text(&Bytes::from_static(b"Z\xfcrich")), "Zürich");
    }
}
