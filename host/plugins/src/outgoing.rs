//! `wasi:http` for components that have it: the interface is the engine's, and what is sent goes the way of the contract's
//! own `http` ([`crate::host::CallHost::http_send`]), with the same rules, limits and secrets. Bodies are kept whole: a request
//! leaves when its body is finished, and an answer comes when it is complete.
//!
//! Its error codes have no room for a sentence, so that the sentence goes to the handler's log.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use voxtra_core::CallError;
use voxtra_core::http::{HttpRequest, HttpResponse};
use voxtra_core::verbs::LogLevel;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView};

use crate::host::SharedCall;
use crate::pace::SharedBucket;
use crate::store::InstanceData;

/// Requests of one instance from their beginning until their answers' bodies are read or dropped. Each holds up to two bodies
/// in the host's memory.
const AT_ONCE: usize = 4;

/// All headers of one message, as the host keeps them.
const MAX_HEADERS_BYTES: usize = 32 << 10;

/// What an instance needs for it.
pub(crate) struct Outgoing {
    context: WasiHttpCtx,
    hooks: Hooks,
}

impl Outgoing {
    /// For a call; a rule has none, and may not import `wasi:http`. `body_bytes`: the longest body that is taken over. `turns`:
    /// those of the contract's own `http`.
    pub(crate) fn new(call: Option<SharedCall>, body_bytes: usize, turns: SharedBucket) -> Self {
        let mut context = WasiHttpCtx::new();
        context.set_field_size_limit(MAX_HEADERS_BYTES);
        Self { context, hooks: Hooks { call, places: None, body_bytes, turns } }
    }
}

impl WasiHttpView for InstanceData {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        // Every function of the interface comes by here.
        self.pace.count();
        WasiHttpCtxView { ctx: &mut self.outgoing.context, hooks: &mut self.outgoing.hooks, table: &mut self.table }
    }
}

struct Hooks {
    call: Option<SharedCall>,
    /// Made when something is sent: most calls send nothing.
    places: Option<Arc<Semaphore>>,
    body_bytes: usize,
    turns: SharedBucket,
}

type Answered = Result<(Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>), Error>;

impl WasiHttpHooks for Hooks {
    /// The host of an address is the address's; another one is refused.
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _processed: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Answered> + Send> {
        let places = self.places.get_or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE)));
        let place = Arc::clone(places).try_acquire_owned();
        let (call, most, turns) = (self.call.clone(), self.body_bytes, self.turns.clone());
        Box::new(async move {
            let place = place.map_err(|_| Error::ConnectionLimitReached)?;
            let call = call.ok_or(Error::HttpRequestDenied)?;
            turns.next().await;
            let request = read(request, options, most).await?;
            match call.http_send(request).await {
                Ok(answer) => Ok((response(answer, place)?, Box::new(async { Ok(()) }) as Box<_>)),
                Err(refusal) => {
                    call.log(LogLevel::Warn, &format!("wasi:http: {refusal}"), &[]);
                    Err(code(refusal))
                }
            }
        })
    }
}

/// A request with its whole body.
async fn read(request: Request<WasiBody>, options: Option<RequestOptions>, most: usize) -> Result<HttpRequest, Error> {
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, most).collect().await.map_err(|error| match error.downcast::<Error>() {
        Ok(of_the_guest) => *of_the_guest,
        Err(_) => Error::HttpRequestBodySize(u64::try_from(most).ok()),
    })?;
    // The body was compared with its length by now, and the host writes that itself.
    let sent = parts.headers.iter().filter(|(name, _)| **name != header::CONTENT_LENGTH);
    Ok(HttpRequest {
        headers: sent
            .map(|(name, value)| (name.as_str().to_owned(), Bytes::copy_from_slice(value.as_bytes())))
            .collect(),
        body: body.to_bytes(),
        timeout: options.and_then(|options| options.first_byte_timeout),
        ..HttpRequest::new(parts.method.as_str(), parts.uri.to_string())
    })
}

/// An answer that keeps its place until its body is gone.
fn response(answer: HttpResponse, place: OwnedSemaphorePermit) -> Result<Response<WasiBody>, Error> {
    let mut headers = HeaderMap::new();
    for (name, value) in answer.headers {
        let name = HeaderName::try_from(name).map_err(|_| Error::HttpProtocolError)?;
        let value = HeaderValue::from_maybe_shared(value).map_err(|_| Error::HttpProtocolError)?;
        headers.try_append(name, value).map_err(|_| Error::HttpResponseHeaderSectionSize(None))?;
    }
    let body = Full::new(answer.body).map_frame(move |frame| {
        let _kept = &place;
        frame
    });
    let mut response = Response::new(body.map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = answer.status.try_into().map_err(|_| Error::HttpProtocolError)?;
    *response.headers_mut() = headers;
    Ok(response)
}

fn code(refusal: CallError) -> Error {
    match refusal {
        CallError::Denied(_) => Error::HttpRequestDenied,
        CallError::Timeout => Error::HttpResponseTimeout,
        CallError::LimitExceeded(_) => Error::ConnectionLimitReached,
        CallError::NotConfigured(_) => Error::ConfigurationError,
        other => Error::InternalError(Some(other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Empty;
    use voxtra_core::http::{HttpError, Reason};

    use super::*;
    use crate::fake::FakeCall;

    fn request(body: &'static str) -> Request<WasiBody> {
        let body = Full::new(Bytes::from_static(body.as_bytes())).map_err(|never| match never {}).boxed_unsync();
        let built = Request::builder().method("POST").uri("https://a.example/x?y").header("content-length", "5");
        built.header("authorization", "{{secret:crm}}").body(body).unwrap()
    }

    fn hooks(call: &Arc<FakeCall>) -> Hooks {
        with_turns(call, SharedBucket::new(0))
    }

    fn with_turns(call: &Arc<FakeCall>, turns: SharedBucket) -> Hooks {
        Outgoing::new(Some(Arc::clone(call) as SharedCall), 100, turns).hooks
    }

    async fn send(hooks: &mut Hooks, request: Request<WasiBody>) -> Result<Response<WasiBody>, Error> {
        let ready = Box::new(async { Ok(()) });
        Ok(Box::into_pin(hooks.send_request(request, None, ready)).await?.0)
    }

    fn ok() -> HttpResponse {
        let headers = vec![("set-cookie".to_owned(), "a".into()), ("set-cookie".to_owned(), "b".into())];
        HttpResponse { status: 201, headers, body: "made".into(), url: String::new() }
    }

    #[tokio::test]
    async fn what_a_component_sends_goes_the_way_of_the_contracts_own_http() {
        let call = Arc::new(FakeCall::new());
        call.http().answer(Ok(ok()));
        let answer = send(&mut hooks(&call), request("hello")).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.headers().get_all("set-cookie").iter().count()), (201, 2));
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "made");
        let wanted =
            HttpRequest::new("POST", "https://a.example/x?y").header("authorization", "{{secret:crm}}").body("hello");
        assert_eq!(call.http().asked(), [wanted]);
    }

    #[tokio::test]
    async fn a_refusal_is_a_code_and_its_sentence_is_in_the_log() {
        let call = Arc::new(FakeCall::new());
        call.http().answer(Err(HttpError::new(Reason::Host, "no entry names it")));
        let refused = send(&mut hooks(&call), request("hello")).await.unwrap_err();
        assert!(matches!(refused, Error::HttpRequestDenied), "{refused:?}");
        assert_eq!(call.logs(), ["wasi:http: http: no entry names it"]);
    }

    #[tokio::test]
    async fn few_answers_are_held_at_once_and_a_long_body_is_not_taken_over() {
        let call = Arc::new(FakeCall::new());
        let mut hooks = hooks(&call);
        let mut held = Vec::new();
        for _ in 0..AT_ONCE {
            call.http().answer(Ok(ok()));
            held.push(send(&mut hooks, request("hello")).await.unwrap());
        }
        let refused = send(&mut hooks, request("hello")).await.unwrap_err();
        assert!(matches!(refused, Error::ConnectionLimitReached), "{refused:?}");
        assert_eq!(call.http().asked().len(), AT_ONCE);
        held.pop();
        call.http().answer(Ok(ok()));
        assert!(send(&mut hooks, request("hello")).await.is_ok());
        let long = Request::builder().uri("https://a.example/").body(request(LONG).into_body()).unwrap();
        let refused = send(&mut hooks, long).await.unwrap_err();
        assert!(matches!(refused, Error::HttpRequestBodySize(Some(100))), "{refused:?}");
        assert_eq!(call.http().asked().len(), AT_ONCE + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_requests_waits_as_that_of_the_contracts_own_http_and_behind_it() {
        let (call, turns) = (Arc::new(FakeCall::new()), SharedBucket::new(10));
        let mut hooks = with_turns(&call, turns.clone());
        let began = tokio::time::Instant::now();
        for _ in 0..20 {
            turns.next().await;
            call.http().answer(Ok(ok()));
            send(&mut hooks, request("hello")).await.unwrap();
        }
        let took = began.elapsed().as_millis();
        assert!((2_800..=3_100).contains(&took), "40 at 10 a second, after a burst of 10: {took} ms");
    }

    /// More than the 100 bytes that are taken over here.
    const LONG: &str =
        "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345";

    #[tokio::test]
    async fn a_rule_sends_nothing() {
        let mut hooks = Outgoing::new(None, 100, SharedBucket::new(0)).hooks;
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        let request = Request::builder().uri("https://a.example/").body(body).unwrap();
        assert!(matches!(send(&mut hooks, request).await, Err(Error::HttpRequestDenied)));
    }
}
