//! The port of handlers' HTTP: what whoever binds it (the contract's own function, `wasi:http`) and whoever sends it agree
//! on.
//!
//! It names neither a client library nor a policy. One [`Http`] is one handler's of one call: whose requests these are is fixed
//! when it is made ([`HttpOut`], [`CallHttp`]) and never an argument.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::{BoxFuture, CallError, Capability, HandlerName, TenantId};

/// The capability's name, as tenants' files and refusals write it.
const CAPABILITY: &str = Capability::Http.as_str();

/// The way out for handlers' HTTP.
pub trait HttpOut: Send + Sync {
    /// The way out of one call of this tenant's. A tenant that nobody knows may send nothing. Never blocks.
    fn of_call(&self, tenant: &TenantId) -> Arc<dyn CallHttp>;
}

/// One call's way out, whoever has the call: what is limited or counted by the call is so over all of its handlers.
pub trait CallHttp: Send + Sync {
    /// With what this handler allows itself now; from then on that stays. So it is asked anew for each version of a handler
    /// that has the call. A handler that nobody knows may send nothing. Never blocks.
    fn of_handler(&self, handler: &HandlerName) -> Arc<dyn Http>;

    /// What the call has used so far, by all of its handlers.
    fn usage(&self) -> HttpUsage;
}

/// Sends the requests of one call's handler.
pub trait Http: Send + Sync {
    /// Sends one request and returns the whole answer, whatever its status. Nothing is sent, and no name looked up, before
    /// everything that can be checked was. It returns within the total time of the policy; dropping the future breaks the
    /// connection and frees what the request held.
    ///
    /// # Errors
    /// [`HttpError`]: which rule refused it, or what failed.
    fn send(&self, request: HttpRequest) -> BoxFuture<'static, Result<HttpResponse, HttpError>>;
}

/// A request as a guest made it: nothing in it has been checked.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// `GET`, `HEAD`, `POST`, `PUT`, `PATCH`, `DELETE` or `OPTIONS`, in capitals.
    pub method: String,
    /// The whole address, with its scheme.
    pub url: String,
    /// Names and values in order. `{{secret:NAME}}` in a value is filled in by the host.
    pub headers: Vec<(String, Bytes)>,
    /// The body; empty: none.
    pub body: Bytes,
    /// The longest that it may take altogether, where that is less than the policy's limit.
    pub timeout: Option<Duration>,
    /// How many redirects to follow, where that is less than the policy's limit. 0: an answer that redirects is
    /// returned as it is.
    pub redirects: u32,
}

impl HttpRequest {
    /// A request without headers or body, which follows no redirect.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            method: method.into(),
            url: url.into(),
            headers: Vec::new(),
            body: Bytes::new(),
            timeout: None,
            redirects: 0,
        }
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// With this body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}

/// Shows no value of a header, no query and no body: they are the caller's or the tenant's.
impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.url.split(['?', '#']).next().unwrap_or_default();
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("HttpRequest")
            .field("method", &self.method)
            .field("url", &url)
            .field("headers", &names)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// A whole answer. Headers that concern one connection only are left out, and known secrets in it are blanked.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpResponse {
    /// 200 to 999.
    pub status: u16,
    /// Names in small letters, values as they came, in order.
    pub headers: Vec<(String, Bytes)>,
    /// The body, as it came: what the server compressed stays so.
    pub body: Bytes,
    /// The address that answered: another than was asked where a redirect was followed.
    pub url: String,
}

/// Shows no value of a header and no body.
impl fmt::Debug for HttpResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpResponse")
            .field("status", &self.status)
            .field("headers", &self.headers.len())
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// What one call or one tenant has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HttpUsage {
    /// Requests to a server that passed every check but that of its addresses; each redirect followed is one more.
    pub requests: u64,
    /// Requests of the guest's that ended with an error.
    pub errors: u64,
    /// Bytes received: bodies and headers.
    pub in_bytes: u64,
    /// Bytes sent: bodies and headers.
    pub out_bytes: u64,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $kind:ident;)*) => {
        /// Which rule refused a request, or what failed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its name in metrics.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// What sort of error it is.
            pub fn kind(self) -> Kind {
                match self {
                    $(Self::$name => Kind::$kind,)*
                }
            }
        }
    };
}

/// The sorts of error, as the contract tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The tenant or the handler may not.
    Denied,
    /// The request itself is wrong.
    Invalid,
    /// A limit was reached.
    Limit,
    /// It took too long.
    Timeout,
    /// The other side, or the way to it, failed.
    Failed,
}

reasons! {
    /// Nothing at all is allowed.
    Off = "off", Denied;
    /// No entry of the allow-list names the host.
    Host = "host", Denied;
    /// The host is allowed, but not with this scheme or port.
    Origin = "origin", Denied;
    /// The host is allowed, but not this path.
    Path = "path", Denied;
    /// The address is allowed, but not this method.
    Method = "method", Denied;
    /// The host is, or its name leads to, an address inside a private network or otherwise not public.
    Address = "address", Denied;
    /// The secret does not exist, or may not be sent there.
    Secret = "secret", Denied;
    /// A redirect that is not followed.
    Redirect = "redirect", Denied;
    /// A header that only the host sets.
    Header = "header", Denied;
    /// The address cannot be read.
    Url = "url", Invalid;
    /// The method, a header or a combination of them cannot be sent.
    Request = "request", Invalid;
    /// The tenant has as many requests under way as it may.
    TenantConcurrency = "tenant-concurrency", Limit;
    /// The host has.
    HostConcurrency = "host-concurrency", Limit;
    /// The call has.
    CallConcurrency = "call-concurrency", Limit;
    /// The tenant has made too many requests lately.
    Rate = "rate", Limit;
    /// The call has made as many requests as it may.
    CallRequests = "call-requests", Limit;
    /// The request is too large.
    RequestBytes = "request-bytes", Limit;
    /// The answer is too large.
    ResponseBytes = "response-bytes", Limit;
    /// There were more redirects than may be followed.
    Redirects = "redirects", Limit;
    /// It took longer than it may.
    Time = "time", Timeout;
    /// The name could not be looked up.
    Lookup = "lookup", Failed;
    /// There was no connection, or its certificate is not good.
    Connect = "connect", Failed;
    /// The answer is no HTTP, or it broke off.
    Response = "response", Failed;
}

/// Why there is no answer. The sentence says which rule it was and what to do, and never holds a secret's value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{CAPABILITY}: {sentence}")]
pub struct HttpError {
    reason: Reason,
    sentence: String,
}

impl HttpError {
    /// One for this reason.
    pub fn new(reason: Reason, sentence: impl Into<String>) -> Self {
        Self { reason, sentence: sentence.into() }
    }

    /// Which rule, or what failed.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The sentence, without the capability's name.
    pub fn sentence(&self) -> &str {
        &self.sentence
    }

    /// To take out of it what is not to be told.
    pub fn sentence_mut(&mut self) -> &mut String {
        &mut self.sentence
    }
}

impl From<HttpError> for CallError {
    fn from(error: HttpError) -> Self {
        let text = error.to_string();
        match error.reason.kind() {
            Kind::Denied => Self::Denied(text),
            Kind::Invalid => Self::InvalidArgument(text),
            Kind::Limit => Self::LimitExceeded(text),
            Kind::Timeout => Self::Timeout,
            Kind::Failed => Self::Provider(text),
        }
    }
}

/// A way out that leads nowhere: it remembers what was asked and answers what a test says, in order.
#[derive(Debug, Default)]
pub struct FakeHttp {
    inner: Mutex<FakeInner>,
}

#[derive(Debug, Default)]
struct FakeInner {
    asked: Vec<HttpRequest>,
    answers: VecDeque<Result<HttpResponse, HttpError>>,
}

impl FakeHttp {
    /// One that refuses everything until it is told an answer.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next answer.
    pub fn answer(&self, answer: Result<HttpResponse, HttpError>) {
        self.inner().answers.push_back(answer);
    }

    /// What was asked so far.
    pub fn asked(&self) -> Vec<HttpRequest> {
        self.inner().asked.clone()
    }

    fn inner(&self) -> MutexGuard<'_, FakeInner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same way out for every call, in tests.
impl HttpOut for Arc<FakeHttp> {
    fn of_call(&self, _tenant: &TenantId) -> Arc<dyn CallHttp> {
        Arc::new(FakeCallHttp(Arc::clone(self)))
    }
}

struct FakeCallHttp(Arc<FakeHttp>);

impl CallHttp for FakeCallHttp {
    fn of_handler(&self, _handler: &HandlerName) -> Arc<dyn Http> {
        Arc::<FakeHttp>::clone(&self.0)
    }

    fn usage(&self) -> HttpUsage {
        let requests = u64::try_from(self.0.inner().asked.len()).unwrap_or(u64::MAX);
        HttpUsage { requests, ..HttpUsage::default() }
    }
}

impl Http for FakeHttp {
    fn send(&self, request: HttpRequest) -> BoxFuture<'static, Result<HttpResponse, HttpError>> {
        let mut inner = self.inner();
        inner.asked.push(request);
        let none = || Err(HttpError::new(Reason::Off, "the fake was told no answer; tell it one"));
        let answer = inner.answers.pop_front().unwrap_or_else(none);
        Box::pin(std::future::ready(answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_names_the_capability_and_keeps_its_sort() {
        let error = HttpError::new(Reason::Host, "no.");
        assert_eq!(CallError::from(error), CallError::Denied("http: no.".to_owned()));
        assert_eq!(CallError::from(HttpError::new(Reason::Time, "late")).kind(), "timeout");
        assert_eq!(CallError::from(HttpError::new(Reason::Rate, "")).kind(), "limit-exceeded");
        assert_eq!(CallError::from(HttpError::new(Reason::Url, "")).kind(), "invalid-argument");
        assert_eq!(CallError::from(HttpError::new(Reason::Lookup, "")).kind(), "provider");
        for (at, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, at);
        }
    }

    #[test]
    fn debug_output_shows_neither_values_nor_queries_nor_bodies() {
        let request = HttpRequest::new("POST", "https://a.example/x?token=abc").header("X-Key", "abc").body("abc");
        assert!(!format!("{request:?}").contains("abc"));
        let response = HttpResponse {
            status: 200,
            headers: vec![("k".into(), "abc".into())],
            body: "abc".into(),
            url: "abc".into(),
        };
        assert!(!format!("{response:?}").contains("abc"));
    }
}
