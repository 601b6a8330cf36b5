//! What a tenant may reach and how much of it; what a handler narrows. Values only: nothing here counts or sends.

use std::sync::Arc;
use std::time::Duration;

use crate::entry::{Agreement, AllowEntry, EntryError};
use crate::headers::Method;
use crate::port::{HttpError, Reason};
use crate::target::{Host, Target};

/// What may be reached. By default nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressPolicy {
    /// A request must be allowed by an entry of each: the tenant's, then the handler's.
    lists: Vec<Arc<[AllowEntry]>>,
    limits: EgressLimits,
}

impl Default for EgressPolicy {
    fn default() -> Self {
        Self::new(Vec::new(), EgressLimits::default())
    }
}

/// How much of it. The defaults suit a phone call: an answer that takes longer is of no use to a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EgressLimits {
    /// Requests of the whole tenant at one time. Default 16. One more is refused, not queued.
    pub concurrent_per_tenant: u32,
    /// Requests of one call at one time. Default 4.
    pub concurrent_per_call: u32,
    /// Requests of the whole tenant in a minute, redirects counted; a sixth of them may come at once. Default 600.
    pub requests_per_minute: u32,
    /// Requests of one call altogether, redirects counted. Default 1,000.
    pub requests_per_call: u32,
    /// The longest body that is sent. Default 1 MiB.
    pub request_bytes: usize,
    /// The longest body that is taken. Default 1 MiB.
    pub response_bytes: usize,
    /// From the request to the last byte of the answer, redirects included. Default 10 s.
    pub total_time: Duration,
    /// For looking up the name, and again for connecting, TLS included. Default 3 s.
    pub connect_time: Duration,
    /// Redirects that may be followed, where a request asks for it. Default 0, never more than [`Self::REDIRECTS_MAX`].
    pub redirects: u32,
}

impl Default for EgressLimits {
    fn default() -> Self {
        Self {
            concurrent_per_tenant: 16,
            concurrent_per_call: 4,
            requests_per_minute: 600,
            requests_per_call: 1_000,
            request_bytes: 1 << 20,
            response_bytes: 1 << 20,
            total_time: Duration::from_secs(10),
            connect_time: Duration::from_secs(3),
            redirects: 0,
        }
    }
}

impl EgressLimits {
    /// More redirects than this are a loop.
    pub const REDIRECTS_MAX: u32 = 10;

    /// Limits that narrow nothing: what a handler has that names none.
    pub const NONE: Self = Self {
        concurrent_per_tenant: u32::MAX,
        concurrent_per_call: u32::MAX,
        requests_per_minute: u32::MAX,
        requests_per_call: u32::MAX,
        request_bytes: usize::MAX,
        response_bytes: usize::MAX,
        total_time: Duration::MAX,
        connect_time: Duration::MAX,
        redirects: u32::MAX,
    };

    /// The smaller of both, limit by limit.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self {
            concurrent_per_tenant: self.concurrent_per_tenant.min(other.concurrent_per_tenant),
            concurrent_per_call: self.concurrent_per_call.min(other.concurrent_per_call),
            requests_per_minute: self.requests_per_minute.min(other.requests_per_minute),
            requests_per_call: self.requests_per_call.min(other.requests_per_call),
            request_bytes: self.request_bytes.min(other.request_bytes),
            response_bytes: self.response_bytes.min(other.response_bytes),
            total_time: self.total_time.min(other.total_time),
            connect_time: self.connect_time.min(other.connect_time),
            redirects: self.redirects.min(other.redirects),
        }
    }

    /// The name of the first limit that is above the other's, as tenants' files write it: for whoever refuses such a file.
    pub fn first_above(&self, ceiling: &Self) -> Option<&'static str> {
        let above = [
            ("concurrent_per_tenant", self.concurrent_per_tenant > ceiling.concurrent_per_tenant),
            ("concurrent_per_call", self.concurrent_per_call > ceiling.concurrent_per_call),
            ("requests_per_minute", self.requests_per_minute > ceiling.requests_per_minute),
            ("requests_per_call", self.requests_per_call > ceiling.requests_per_call),
            ("request_bytes", self.request_bytes > ceiling.request_bytes),
            ("response_bytes", self.response_bytes > ceiling.response_bytes),
            ("total_ms", self.total_time > ceiling.total_time),
            ("connect_ms", self.connect_time > ceiling.connect_time),
            ("redirects", self.redirects > ceiling.redirects),
        ];
        above.into_iter().find(|(_, above)| *above).map(|(name, _)| name)
    }
}

/// What a handler's manifest takes away from its tenant's policy; it can add nothing. By default nothing is taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Narrowing {
    /// If there is a list, a request must be on it too; an empty one allows nothing.
    pub allow: Option<Vec<AllowEntry>>,
    /// The smaller of these and the tenant's hold. What is counted over the tenant is compared with what this handler may.
    pub limits: EgressLimits,
}

impl Default for Narrowing {
    fn default() -> Self {
        Self { allow: None, limits: EgressLimits::NONE }
    }
}

/// What the list says of a request that it allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allowed {
    /// Whether an entry by which it is allowed tells methods apart.
    pub(crate) by_method: bool,
}

impl EgressPolicy {
    /// A tenant's. No entries: nothing is allowed.
    pub fn new(allow: Vec<AllowEntry>, limits: EgressLimits) -> Self {
        Self { lists: vec![allow.into()], limits }
    }

    /// A tenant's, from entries as its file has them.
    ///
    /// # Errors
    /// The first entry that cannot be read.
    pub fn parse<'a>(entries: impl IntoIterator<Item = &'a str>, limits: EgressLimits) -> Result<Self, EntryError> {
        let entries: Result<Vec<AllowEntry>, EntryError> = entries.into_iter().map(str::parse).collect();
        Ok(Self::new(entries?, limits))
    }

    /// What is left of it for a handler.
    #[must_use]
    pub fn narrowed_by(&self, narrowing: &Narrowing) -> Self {
        let mut lists = self.lists.clone();
        lists.extend(narrowing.allow.as_ref().map(|allow| Arc::from(allow.as_slice())));
        Self { lists, limits: self.limits.min(narrowing.limits) }
    }

    /// How much it allows.
    pub fn limits(&self) -> &EgressLimits {
        &self.limits
    }

    /// Whether it allows nothing at all.
    pub fn is_off(&self) -> bool {
        self.lists.iter().any(|list| list.is_empty())
    }

    /// Whether a request may be sent; no name is looked up for the answer.
    ///
    /// # Errors
    /// [`Reason::Off`], [`Reason::Host`], [`Reason::Origin`], [`Reason::Path`] or [`Reason::Method`].
    pub fn check(&self, method: Method, target: &Target) -> Result<(), HttpError> {
        self.allowed(method, target).map(|_| ())
    }

    pub(crate) fn allowed(&self, method: Method, target: &Target) -> Result<Allowed, HttpError> {
        if self.is_off() {
            return Err(HttpError::new(
                Reason::Off,
                "this handler may send nothing; the operator allows it with entries in the egress allow-list",
            ));
        }
        let mut by_method = false;
        for (at, list) in self.lists.iter().enumerate() {
            let best = list.iter().map(|entry| entry.agreement(method, target)).max().unwrap_or(Agreement::Nothing);
            if best != Agreement::All {
                return Err(refusal(best, if at == 0 { "the tenant's" } else { "the handler's" }, method, target));
            }
            // Where another entry allows it without naming methods, methods are not what keeps it in.
            let mut allowing = list.iter().filter(|entry| entry.allows(method, target));
            by_method |= allowing.all(AllowEntry::limits_methods);
        }
        Ok(Allowed { by_method })
    }
}

fn refusal(best: Agreement, whose: &str, method: Method, target: &Target) -> HttpError {
    let (method, origin) = (method.as_str(), target.origin());
    match best {
        Agreement::Nothing => {
            let host = target.host();
            let hint = if matches!(host, Host::Ip(_)) { "; names are allowed apart from addresses" } else { "" };
            HttpError::new(
                Reason::Host,
                format!("no entry of {whose} egress allow-list names {host}{hint}; the operator can add {origin}"),
            )
        }
        Agreement::Host => HttpError::new(
            Reason::Origin,
            format!("{whose} egress allow-list has the host, but not {origin}; use the scheme and port that it names"),
        ),
        Agreement::Origin => HttpError::new(
            Reason::Path,
            format!("{whose} egress allow-list has {origin}, but not this path; use one below a path that it names"),
        ),
        Agreement::Path | Agreement::All => HttpError::new(
            Reason::Method,
            format!(
                "{whose} egress allow-list has this address of {origin}, but not for {method}; use a method that it names"
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    fn policy(entries: &[&str]) -> EgressPolicy {
        EgressPolicy::parse(entries.iter().copied(), EgressLimits::default()).unwrap()
    }

    fn narrowing(entries: &[&str]) -> Narrowing {
        Narrowing { allow: Some(entries.iter().map(|entry| entry.parse().unwrap()).collect()), ..Narrowing::default() }
    }

    fn reason(policy: &EgressPolicy, method: Method, url: &str) -> Option<Reason> {
        policy.check(method, &Target::parse(url).unwrap()).err().map(|error| error.reason())
    }

    #[test]
    fn by_default_nothing_is_allowed() {
        assert_eq!(reason(&EgressPolicy::default(), Method::Get, "https://a.example/"), Some(Reason::Off));
    }

    #[test]
    fn a_refusal_says_which_rule_it_was() {
        let policy = policy(&["GET https://a.example/v1/", "https://b.example"]);
        let get = |url| reason(&policy, Method::Get, url);
        assert_eq!(get("https://a.example/v1/x"), None);
        assert_eq!(get("https://c.example/v1/x"), Some(Reason::Host));
        assert_eq!(get("https://1.1.1.1/"), Some(Reason::Host));
        assert_eq!(get("http://a.example/v1/x"), Some(Reason::Origin));
        assert_eq!(get("https://a.example/v2"), Some(Reason::Path));
        assert_eq!(reason(&policy, Method::Post, "https://a.example/v1/x"), Some(Reason::Method));
        assert_eq!(reason(&policy, Method::Post, "https://b.example/v1/x"), None);
    }

    #[test]
    fn a_handler_gets_only_what_both_allow() {
        let tenant = policy(&["https://*.example.com", "https://b.example"]);
        let handler = tenant.narrowed_by(&narrowing(&["https://a.example.com/v1", "https://evil.example"]));
        assert_eq!(reason(&handler, Method::Get, "https://a.example.com/v1"), None);
        assert_eq!(reason(&handler, Method::Get, "https://a.example.com/v2"), Some(Reason::Path));
        assert_eq!(reason(&handler, Method::Get, "https://b.example/"), Some(Reason::Host));
        assert_eq!(reason(&handler, Method::Get, "https://evil.example/"), Some(Reason::Host));
        let nothing = tenant.narrowed_by(&narrowing(&[]));
        assert_eq!(reason(&nothing, Method::Get, "https://b.example/"), Some(Reason::Off));
        assert_eq!(tenant.narrowed_by(&Narrowing::default()), tenant);
    }

    #[test]
    fn methods_count_only_where_no_other_entry_allows_all() {
        let target = Target::parse("https://a.example/v1/x").unwrap();
        let by_method = |entries: &[&str]| policy(entries).allowed(Method::Get, &target).unwrap().by_method;
        assert!(by_method(&["GET a.example"]));
        assert!(!by_method(&["a.example"]));
        assert!(!by_method(&["GET a.example", "a.example/v1"]));
    }

    #[test]
    fn a_limit_above_the_ceiling_is_named() {
        let ceiling = EgressLimits::default();
        assert_eq!(ceiling.first_above(&ceiling), None);
        let above = EgressLimits { response_bytes: usize::MAX, ..ceiling };
        assert_eq!(above.first_above(&ceiling), Some("response_bytes"));
        assert_eq!(above.min(ceiling), ceiling);
        assert_eq!(EgressLimits::NONE.min(ceiling), ceiling);
    }

    proptest! {
        /// Whatever is made of the characters by which readers of addresses are misled.
        #[test]
        fn what_passes_is_on_the_list_however_it_is_written(
            text in "(https?|HTTPS)://([a.@:/\\\\#?%0-9\\[\\]x ]|a\\.test|evil\\.test|%2e|%40|\u{3002}|\u{ff0e}){1,8}",
        ) {
            let policy = policy(&["https://a.test", "http://a.test:81/v1/"]);
            if let Ok(target) = Target::parse(&text) && policy.check(Method::Get, &target).is_ok() {
                // Read again by the standard's own reader, as whoever connects does.
                let url = url::Url::parse(target.as_str()).unwrap();
                let place = (url.scheme(), url.host_str().unwrap(), url.port_or_known_default().unwrap());
                prop_assert!(
                    place == ("https", "a.test", 443) || (place == ("http", "a.test", 81) && url.path().starts_with("/v1/")),
                    "{} as {}", text, url
                );
                prop_assert!(url.username().is_empty() && url.password().is_none());
            }
        }

        /// Whatever a handler writes, it is never allowed what its tenant is not.
        #[test]
        fn narrowing_adds_nothing(
            tenant in proptest::collection::vec(0usize..6, 0..4),
            handler in proptest::option::of(proptest::collection::vec(0usize..6, 0..4)),
            url in 0usize..5,
        ) {
            const ENTRIES: [&str; 6] = [
                "a.example.com", "*.example.com", "http://a.example.com", "a.example.com/v1", "POST a.example.com", "b.example",
            ];
            const URLS: [&str; 5] = [
                "https://a.example.com/", "https://a.example.com/v1/x", "http://a.example.com/", "https://b.example/", "https://c.example.com/",
            ];
            let of = |picks: &[usize]| picks.iter().map(|pick| ENTRIES[*pick]).collect::<Vec<_>>();
            let tenant = policy(&of(&tenant));
            let limits = EgressLimits { redirects: 7, ..EgressLimits::NONE };
            let allow = handler.map(|picks| of(&picks).iter().map(|entry| entry.parse().unwrap()).collect());
            let narrowed = tenant.narrowed_by(&Narrowing { allow, limits });
            for method in [Method::Get, Method::Post] {
                let target = Target::parse(URLS[url]).unwrap();
                prop_assert!(narrowed.check(method, &target).is_err() || tenant.check(method, &target).is_ok());
            }
            prop_assert_eq!(narrowed.limits().first_above(tenant.limits()), None);
        }
    }
}
