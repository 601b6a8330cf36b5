//! One request from its form to its answer. Each redirect that is followed is checked again from the start.

use std::error::Error as _;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Response, StatusCode};
use tokio::time::timeout;

use super::{Call, TenantRules};
use crate::gate::{Counters, Permit};
use crate::headers::{self, Header, Method};
use crate::policy::{EgressLimits, EgressPolicy, Narrowing};
use crate::port::{HttpError, HttpRequest, HttpResponse, Reason};
use crate::secret;
use crate::target::{Host, Scheme, Target};

/// Headers of an answer, names and values together.
const ANSWER_HEADERS_MAX_BYTES: usize = 64 << 10;
/// Of a name's addresses, as many as these are tried. All are judged.
const ADDRESSES_TRIED: usize = 8;

/// Sends a request by these rules and reads the answer.
pub(super) async fn run(
    call: &Call,
    narrowing: &Narrowing,
    rules: &TenantRules,
    request: HttpRequest,
) -> Result<HttpResponse, HttpError> {
    let policy = rules.policy.narrowed_by(narrowing);
    let redirects = request.redirects.min(policy.limits().redirects).min(EgressLimits::REDIRECTS_MAX);
    let limit = request.timeout.unwrap_or(Duration::MAX).min(policy.limits().total_time);
    let hop = Hop::read(request, &policy)?;
    let exchange = Exchange { call, rules, policy };
    let done = timeout(limit, exchange.follow(hop, redirects)).await;
    done.unwrap_or_else(|_| {
        let ms = limit.as_millis();
        Err(HttpError::new(Reason::Time, format!("there was no whole answer within {ms} ms; ask for less, or later")))
    })
}

/// A request to one server.
struct Hop {
    method: Method,
    target: Target,
    headers: Vec<Header>,
    body: Bytes,
}

/// A request whose headers may be sent as they are now.
struct Filled {
    headers: HeaderMap,
    /// Whether one of them holds a secret.
    with_secret: bool,
}

impl Hop {
    /// Checks what can be without knowing what is allowed.
    fn read(request: HttpRequest, policy: &EgressPolicy) -> Result<Self, HttpError> {
        let method = Method::parse(&request.method)?;
        if secret::is_named_in(request.url.as_bytes()) {
            return Err(HttpError::new(
                Reason::Secret,
                "a secret can be named in a header's value only, not in an address",
            ));
        }
        let target = Target::parse(&request.url)?;
        let headers = headers::read(&request.headers)?;
        let (bytes, most) = (request.body.len(), policy.limits().request_bytes);
        if bytes > most {
            return Err(HttpError::new(
                Reason::RequestBytes,
                format!("the body has {bytes} bytes, and {most} are allowed; send less"),
            ));
        }
        Ok(Self { method, target, headers, body: request.body })
    }

    /// The request that a redirect makes of it (RFC 9110, 15.4; where that leaves a choice, as browsers do).
    fn redirected(mut self, status: StatusCode, target: Target) -> Self {
        let to_get = match status {
            StatusCode::SEE_OTHER => self.method != Method::Head,
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => self.method == Method::Post,
            _ => false,
        };
        if to_get {
            self.method = Method::Get;
            self.body = Bytes::new();
            headers::without_body(&mut self.headers);
        }
        if !self.target.same_origin(&target) {
            headers::for_another_origin(&mut self.headers);
            self.headers.retain(|header| !secret::is_named_in(&header.value));
        }
        self.target = target;
        self
    }
}

struct Exchange<'a> {
    call: &'a Call,
    rules: &'a TenantRules,
    policy: EgressPolicy,
}

impl Exchange<'_> {
    async fn follow(&self, mut hop: Hop, mut redirects_left: u32) -> Result<HttpResponse, HttpError> {
        let follows = redirects_left > 0;
        let mut filled = self.authorise(&hop)?;
        let _places = self.enter()?;
        loop {
            let with_secret = filled.with_secret;
            let answer = self.send(&hop, filled).await?;
            let Some(location) = location(&answer).filter(|_| follows) else {
                return self.read(answer, &hop.target, with_secret).await;
            };
            if redirects_left == 0 {
                return Err(HttpError::new(
                    Reason::Redirects,
                    "there were more redirects than may be followed; ask the address that the last one leads to",
                ));
            }
            redirects_left = redirects_left.saturating_sub(1);
            let target = self.redirect_target(&hop.target, &location)?;
            hop = hop.redirected(answer.status(), target);
            filled = self.authorise(&hop).map_err(in_redirect)?;
        }
    }

    /// Whether it may be sent, and its headers as they are sent. Has no effect.
    fn authorise(&self, hop: &Hop) -> Result<Filled, HttpError> {
        let allowed = self.policy.allowed(hop.method, &hop.target)?;
        if allowed.by_method {
            headers::check_overrides(&hop.headers)?;
        }
        let mut filled = HeaderMap::new();
        let mut with_secret = false;
        for header in &hop.headers {
            let may = |server: &crate::AllowEntry| server.allows(hop.method, &hop.target);
            let with_values = self.rules.secrets.fill(&header.value, may, &hop.target)?;
            let holds_one = with_values.is_some();
            let bytes = with_values.map_or_else(|| header.value.clone(), Bytes::from);
            let mut value = HeaderValue::from_maybe_shared(bytes)
                .map_err(|_| HttpError::new(Reason::Request, format!("the header {} cannot be sent", header.name)))?;
            value.set_sensitive(holds_one);
            with_secret |= holds_one;
            filled.append(header.name.clone(), value);
        }
        if with_secret {
            headers::check_beside_secret(&hop.headers)?;
            filled.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        Ok(Filled { headers: filled, with_secret })
    }

    /// Places with the call, the tenant and the host, for as long as the values live.
    fn enter(&self) -> Result<[Permit; 3], HttpError> {
        let most = self.policy.limits().concurrent_per_call;
        let of_call = self.call.gate.enter(most).ok_or_else(|| {
            let sentence = format!("this call has {most} requests under way, as many as it may; wait for one");
            HttpError::new(Reason::CallConcurrency, sentence)
        })?;
        let most = self.rules.policy.limits().concurrent_per_tenant;
        let of_tenant = self.call.tenant.gate.enter(most).ok_or_else(|| {
            let sentence = format!("this tenant has {most} requests under way, as many as it may; try again soon");
            HttpError::new(Reason::TenantConcurrency, sentence)
        })?;
        let shared = &self.call.tenant.shared;
        let of_host = shared.gate.enter(shared.concurrent).ok_or_else(|| {
            let sentence = "this host has as many requests under way as it may; try again soon";
            HttpError::new(Reason::HostConcurrency, sentence)
        })?;
        Ok([of_call, of_tenant, of_host])
    }

    /// Counts a request to a server, or refuses it.
    fn count(&self) -> Result<(), HttpError> {
        let most = u64::from(self.policy.limits().requests_per_call);
        let more = |made: u64| (made < most).then(|| made.saturating_add(1));
        let mine = &self.call.counters.requests;
        if mine.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_err() {
            let sentence = format!("this call has made {most} requests, as many as it may; make fewer");
            return Err(HttpError::new(Reason::CallRequests, sentence));
        }
        let too_fast = |wait: Duration| {
            let ms = wait.as_millis().max(1);
            HttpError::new(Reason::Rate, format!("too many requests in the last minute; try again in {ms} ms"))
        };
        if let Err(wait) = self.take_turn() {
            mine.fetch_sub(1, Ordering::AcqRel);
            return Err(too_fast(wait));
        }
        Counters::add(&self.call.tenant.counters.requests, 1);
        Ok(())
    }

    /// By the rate of the tenant, and where the handler narrows it by that of the call.
    fn take_turn(&self) -> Result<(), Duration> {
        let (own, narrowed) = (self.rules.policy.limits(), self.policy.limits());
        if narrowed.requests_per_minute < own.requests_per_minute {
            self.call.bucket.take(narrowed.requests_per_minute)?;
        }
        self.call.tenant.bucket.take(own.requests_per_minute)
    }

    async fn send(&self, hop: &Hop, filled: Filled) -> Result<Response, HttpError> {
        self.count()?;
        let addresses = self.addresses(&hop.target).await?;
        let connect_time = self.policy.limits().connect_time;
        let client = self.call.tenant.connections.client(&hop.target, addresses, connect_time)?;
        self.sent(header_bytes(&filled.headers).saturating_add(hop.body.len()));
        let mut request = client.request(hop.method.to_http(), hop.target.url().clone()).headers(filled.headers);
        if !hop.body.is_empty() || matches!(hop.method, Method::Post | Method::Put | Method::Patch) {
            request = request.body(hop.body.clone());
        }
        let answer = request.send().await.map_err(|error| failure(error, &hop.target, connect_time))?;
        let bytes = header_bytes(answer.headers());
        self.received(bytes);
        if bytes > ANSWER_HEADERS_MAX_BYTES {
            let sentence =
                format!("the answer's headers have {bytes} bytes, and {ANSWER_HEADERS_MAX_BYTES} are allowed");
            return Err(HttpError::new(Reason::ResponseBytes, sentence));
        }
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(HttpError::new(
                Reason::Response,
                "the server went over to another protocol; it is of no use here",
            ));
        }
        Ok(answer)
    }

    /// The server's addresses: every one of them was judged.
    async fn addresses(&self, target: &Target) -> Result<Vec<SocketAddr>, HttpError> {
        let found = match target.host() {
            Host::Ip(address) => vec![*address],
            Host::Name(name) => self.look_up(name).await?,
        };
        let tenant = &self.call.tenant;
        for address in &found {
            tenant.shared.networks.check(&tenant.id, *address).map_err(|class| {
                // The address itself is the operator's to know: it could be inside their network.
                tracing::debug!(tenant = %tenant.id, host = %target.host(), %address, class = class.as_str(), "not connected");
                let (host, class) = (target.host(), class.as_str());
                let sentence = format!(
                    "{host} is, or leads to, {class} address, and only public ones may be reached; the operator can allow its network"
                );
                HttpError::new(Reason::Address, sentence)
            })?;
        }
        let usable = found.into_iter().take(ADDRESSES_TRIED);
        Ok(usable.map(|address| SocketAddr::new(address.to_canonical(), target.port())).collect())
    }

    async fn look_up(&self, name: &str) -> Result<Vec<IpAddr>, HttpError> {
        let limit = self.policy.limits().connect_time;
        let failed = |why: String| {
            let sentence = format!("the name {name} could not be looked up ({why}); check it, or try again later");
            HttpError::new(Reason::Lookup, sentence)
        };
        match timeout(limit, self.ask(name.to_owned())).await {
            Err(_) => Err(failed(format!("no answer within {} ms", limit.as_millis()))),
            Ok(Err(error)) => Err(failed(printable(&error.to_string()))),
            Ok(Ok(addresses)) if addresses.is_empty() => Err(failed("it has no address".to_owned())),
            Ok(Ok(addresses)) => Ok(addresses),
        }
    }

    /// Asks in a task of its own, which keeps its place among the tenant's lookups until it is really over.
    async fn ask(&self, name: String) -> io::Result<Vec<IpAddr>> {
        let tenant = &self.call.tenant;
        let place = tenant.lookups.clone().acquire_owned().await.map_err(io::Error::other)?;
        let resolver = tenant.shared.resolver.clone();
        let asked = tokio::spawn(async move {
            let answer = resolver.lookup(&name).await;
            drop(place);
            answer
        });
        asked.await.map_err(io::Error::other)?
    }

    fn redirect_target(&self, from: &Target, location: &[u8]) -> Result<Target, HttpError> {
        let refused = |sentence: &str| HttpError::new(Reason::Redirect, sentence);
        let location = std::str::from_utf8(location)
            .map_err(|_| refused("the answer redirects to an address that is no text; it is not followed"))?;
        if self.rules.secrets.are_in(location) {
            return Err(refused("the answer redirects to an address with a secret in it; it is not followed"));
        }
        let target = from.join(location).map_err(in_redirect)?;
        if from.scheme() == Scheme::Https && target.scheme() == Scheme::Http {
            return Err(refused("the answer redirects from https to http; it is not followed"));
        }
        Ok(target)
    }

    async fn read(&self, mut answer: Response, target: &Target, with_secret: bool) -> Result<HttpResponse, HttpError> {
        if with_secret && is_encoded(answer.headers()) {
            return Err(HttpError::new(
                Reason::Response,
                "the server compressed its answer to a request with a secret, though it was asked not to; it is not handed on",
            ));
        }
        let most = self.policy.limits().response_bytes;
        let too_long =
            || HttpError::new(Reason::ResponseBytes, format!("the answer has more than {most} bytes; ask for less"));
        let stated = answer.content_length().and_then(|bytes| usize::try_from(bytes).ok());
        if stated.is_some_and(|bytes| bytes > most) {
            return Err(too_long());
        }
        let status = answer.status().as_u16();
        let headers = std::mem::take(answer.headers_mut());
        // Not more at once than anybody would lie about.
        let mut body = Vec::with_capacity(stated.unwrap_or(0).min(64 << 10));
        while let Some(part) = answer.chunk().await.map_err(broken)? {
            self.received(part.len());
            if body.len().saturating_add(part.len()) > most {
                return Err(too_long());
            }
            body.extend_from_slice(&part);
        }
        Ok(self.blanked(status, &headers, body, target))
    }

    /// The answer without the secrets that its server may know.
    fn blanked(&self, status: u16, headers: &HeaderMap, mut body: Vec<u8>, target: &Target) -> HttpResponse {
        let known = self.rules.secrets.known_to(target);
        secret::blank(&mut body, &known);
        let for_guests = headers.iter().filter(|(name, _)| headers::is_for_guests(name));
        let headers = for_guests.map(|(name, value)| {
            let mut value = value.as_bytes().to_vec();
            secret::blank(&mut value, &known);
            let mut name = name.as_str().to_owned().into_bytes();
            secret::blank(&mut name, &known);
            (String::from_utf8_lossy(&name).into_owned(), Bytes::from(value))
        });
        HttpResponse { status, headers: headers.collect(), body: body.into(), url: target.as_str().to_owned() }
    }

    fn sent(&self, bytes: usize) {
        Counters::add(&self.call.counters.out_bytes, bytes);
        Counters::add(&self.call.tenant.counters.out_bytes, bytes);
    }

    fn received(&self, bytes: usize) {
        Counters::add(&self.call.counters.in_bytes, bytes);
        Counters::add(&self.call.tenant.counters.in_bytes, bytes);
    }
}

fn in_redirect(error: HttpError) -> HttpError {
    HttpError::new(error.reason(), format!("a redirect was not followed: {}", error.sentence()))
}

fn location(answer: &Response) -> Option<Bytes> {
    let redirects = matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = answer.headers().get(LOCATION).filter(|_| redirects)?;
    Some(Bytes::copy_from_slice(location.as_bytes()))
}

fn is_encoded(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_ENCODING).iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"))
}

fn header_bytes(headers: &HeaderMap) -> usize {
    headers.iter().fold(0, |sum, (name, value)| sum.saturating_add(name.as_str().len()).saturating_add(value.len()))
}

fn failure(error: reqwest::Error, target: &Target, connect_time: Duration) -> HttpError {
    let origin = target.origin();
    let connecting = error.is_connect();
    if connecting && error.is_timeout() {
        let ms = connect_time.as_millis();
        return HttpError::new(
            Reason::Connect,
            format!("there was no connection to {origin} within {ms} ms; try again later"),
        );
    }
    let why = chain(&error.without_url());
    if connecting {
        let sentence = format!("there is no connection to {origin} ({why}); check the address, or try again later");
        return HttpError::new(Reason::Connect, sentence);
    }
    HttpError::new(Reason::Response, format!("{origin} gave no usable answer ({why}); try again later"))
}

fn broken(error: reqwest::Error) -> HttpError {
    let why = chain(&error.without_url());
    HttpError::new(Reason::Response, format!("the answer broke off or is no HTTP ({why}); try again later"))
}

/// An error with its causes, which are the library's words.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    printable(&text)
}

/// Short and without control characters: parts of it can be a server's.
fn printable(text: &str) -> String {
    const MOST: usize = 200;
    text.chars().filter(|character| !character.is_control()).take(MOST).collect()
}
