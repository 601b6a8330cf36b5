//! Requests to servers on the web: those that the operator lists for the tenant (`[capabilities.http]` in `tenant.toml`), and
//! no others.
//!
//! Secrets stay in the host. A handler names one in a header ([`secret`]) and the host fills the value in, for the servers that
//! may get it; a handler never sees it.
//!
//! ```no_run
//! use voxtra_sdk::http::{self, Request};
//! use voxtra_sdk::prelude::*;
//!
//! #[handler]
//! fn handle(call: &Call) -> Result<()> {
//!     let customer = Request::get(format!("https://crm.example.com/customers/{}", call.info().caller_id))
//!         .header("authorization", format!("Bearer {}", http::secret("crm")))
//!         .timeout(Duration::from_secs(2))
//!         .send();
//!     call.answer()?;
//!     match customer {
//!         Ok(answer) if answer.text() == Some("gold") => call.transfer_to("PJSIP/100"),
//!         // A server that is down or slow is no reason to leave the caller alone.
//!         _ => call.transfer_to_queue("support", &[]),
//!     }?;
//!     Ok(())
//! }
//! ```

use std::time::Duration;

use crate::Error;
use crate::bindings::handler::voxtra::call::http;
use crate::time::to_ms;

/// What stands in a header for the tenant's secret of this name: the host puts its value there.
///
/// ```
/// assert_eq!(voxtra_sdk::http::secret("crm"), "{{secret:crm}}");
/// ```
pub fn secret(name: &str) -> String {
    format!("{{{{secret:{name}}}}}")
}

/// Asks for what is at an address.
///
/// # Errors
/// As [`Request::send`].
pub fn get(url: impl Into<String>) -> Result<Response, Error> {
    Request::get(url).send()
}

/// A request, which is sent by [`Request::send`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a request does nothing before it is sent"]
pub struct Request {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    timeout_ms: u32,
    max_redirects: u32,
}

impl Request {
    /// A request of any method: `GET`, `HEAD`, `POST`, `PUT`, `PATCH`, `DELETE` or `OPTIONS`, in capitals.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            method: method.into(),
            url: url.into(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout_ms: 0,
            max_redirects: 0,
        }
    }

    /// `GET`
    pub fn get(url: impl Into<String>) -> Self {
        Self::new("GET", url)
    }

    /// `POST`
    pub fn post(url: impl Into<String>) -> Self {
        Self::new("POST", url)
    }

    /// `PUT`
    pub fn put(url: impl Into<String>) -> Self {
        Self::new("PUT", url)
    }

    /// `DELETE`
    pub fn delete(url: impl Into<String>) -> Self {
        Self::new("DELETE", url)
    }

    /// With one more header. Those that frame or route a request (`host`, `content-length`, …) are the host's.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// With this body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// With this JSON text as its body, and the header that says so.
    pub fn json(self, json: impl Into<String>) -> Self {
        self.header("content-type", "application/json").body(json.into())
    }

    /// The longest that it may take, up to the last byte of the answer. Without it: as long as the operator allows (10 s), which
    /// is the most in any case.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        // 0 stands for the operator's own limit.
        self.timeout_ms = to_ms(timeout).max(1);
        self
    }

    /// Follows so many redirects, within what the operator allows. Without it an answer that redirects is an answer.
    pub fn max_redirects(mut self, redirects: u32) -> Self {
        self.max_redirects = redirects;
        self
    }

    /// Sends it and waits for the whole answer. It works after the end of a call too, such as in a hang-up hook.
    ///
    /// # Errors
    /// [`Error::Denied`], with the rule that it broke, [`Error::InvalidArgument`] when it cannot be sent,
    /// [`Error::LimitExceeded`] by the number or size of requests or answers, [`Error::Timeout`], and [`Error::Provider`] when the
    /// server or the way to it failed. An answer with another status than 200 is no error: see [`Response::success`].
    pub fn send(self) -> Result<Response, Error> {
        let Self { method, url, headers, body, timeout_ms, max_redirects } = self;
        let answer = http::send(&http::Request { method, url, headers, body, timeout_ms, max_redirects })?;
        Ok(Response { status: answer.status, headers: answer.headers, body: answer.body })
    }
}

/// A server's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// 200 to 999.
    pub status: u16,
    /// Names in small letters, in order.
    pub headers: Vec<(String, String)>,
    /// As it came.
    pub body: Vec<u8>,
}

impl Response {
    /// Whether the status is one of 200 to 299.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The answer if it is one of success.
    ///
    /// # Errors
    /// [`Error::Provider`], with the status.
    pub fn success(self) -> Result<Self, Error> {
        if self.is_success() {
            return Ok(self);
        }
        Err(Error::Provider(format!("the server answered with status {}", self.status)))
    }

    /// The first header of this name, in whatever capitals.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The body as text; `None` when it is not.
    pub fn text(&self) -> Option<&str> {
        str::from_utf8(&self.body).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_what_was_asked_for() {
        let request = Request::post("https://a.example/x").json("{}").timeout(Duration::ZERO).max_redirects(2);
        assert_eq!((request.method.as_str(), request.url.as_str()), ("POST", "https://a.example/x"));
        assert_eq!(request.headers, [("content-type".to_owned(), "application/json".to_owned())]);
        assert_eq!((request.body.as_slice(), request.timeout_ms, request.max_redirects), (b"{}".as_slice(), 1, 2));
    }

    #[test]
    fn another_status_than_success_is_an_error_only_for_who_asks() {
        let answer = |status| Response { status, headers: vec![("x-a".into(), "1".into())], body: b"hi".to_vec() };
        assert!(answer(204).success().is_ok());
        assert!(matches!(answer(404).success(), Err(Error::Provider(why)) if why.contains("404")));
        assert_eq!((answer(200).header("X-A"), answer(200).text()), (Some("1"), Some("hi")));
    }
}
