//! The same by `wasi:http`: another door to the same rules.

use bindings::wasi::http::outgoing_handler::handle;
use bindings::wasi::http::types::{
    Fields, FutureIncomingResponse, IncomingBody, Method, OutgoingBody, OutgoingRequest, Scheme,
};
use bindings::wasi::io::streams::StreamError;

/// Made from `wit/`.
#[allow(missing_docs, unreachable_pub)]
mod bindings {
    wit_bindgen::generate!({ path: "wit", world: "wasi-http", generate_all });
}

/// Sends a request over HTTP; the status and the text, or the code of the error.
pub(crate) fn send(url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<String, String> {
    let waiting = begin(url, headers, body)?;
    waiting.subscribe().block();
    let answer = waiting.get().ok_or("it is not ready")?.map_err(|()| "it was taken already")?;
    let answer = answer.map_err(|code| format!("{code:?}"))?;
    let body = answer.consume().map_err(|()| "the body was taken already")?;
    Ok(format!("{} {}", answer.status(), read(&body)?))
}

/// How many of so many requests are taken that nobody waits for.
pub(crate) fn pile_up(url: &str, requests: usize) -> usize {
    let waiting: Vec<_> = (0..requests).filter_map(|_| begin(url, &[], b"").ok()).collect();
    waiting.iter().for_each(|one| one.subscribe().block());
    // All answers are held until all are counted.
    let answers: Vec<_> = waiting.iter().map(FutureIncomingResponse::get).collect();
    answers.iter().filter(|answer| matches!(answer, Some(Ok(Ok(_))))).count()
}

fn begin(url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<FutureIncomingResponse, String> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let fields = Fields::new();
    for (name, value) in headers {
        fields.append(name, value.as_bytes()).map_err(|why| format!("{why:?}"))?;
    }
    let request = OutgoingRequest::new(fields);
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    let method = if body.is_empty() { Method::Get } else { Method::Post };
    let set = request.set_scheme(Some(&scheme)).and_then(|()| request.set_authority(Some(authority)));
    let set = set.and_then(|()| request.set_path_with_query(Some(path))).and_then(|()| request.set_method(&method));
    set.map_err(|()| "it is no address")?;
    let outgoing = request.body().map_err(|()| "the body was taken already")?;
    let waiting = handle(request, None).map_err(|code| format!("{code:?}"))?;
    if !body.is_empty() {
        let stream = outgoing.write().map_err(|()| "the stream was taken already")?;
        // A host that takes no more says so with its answer.
        let _ = stream.blocking_write_and_flush(body);
    }
    OutgoingBody::finish(outgoing, None).map_err(|code| format!("{code:?}"))?;
    Ok(waiting)
}

fn read(body: &IncomingBody) -> Result<String, String> {
    let stream = body.stream().map_err(|()| "the stream was taken already")?;
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(64 << 10) {
            Ok(more) => bytes.extend(more),
            Err(StreamError::Closed) => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) => return Err(format!("{error:?}")),
        }
    }
}
