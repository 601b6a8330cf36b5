//! Whom a tenant may call: patterns of numbers, endpoints, shown numbers, and how many calls at what rate. Looked at
//! before anything is done.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use voxtra_core::{CallError, DialNarrowing, TenantId};

use crate::words;

/// Over which time calls are counted.
const MINUTE: Duration = Duration::from_secs(60);

/// The place of the number in [`DialPolicy::template`].
const NUMBER: &str = "{number}";

/// What a tenant may dial. The default allows nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialPolicy {
    /// Numbers, as Asterisk writes patterns: `X` is 0 to 9, `Z` 1 to 9, `N` 2 to 9; digits, `+`, `*` and `#` are
    /// themselves; at the end `.` stands for one or more digits and `*` for any number of them. A `_` before is left out.
    pub patterns: Vec<String>,
    /// What is dialled for a number, such as `PJSIP/{number}@trunk`.
    pub template: String,
    /// Endpoints that may be dialled as they are, such as `PJSIP/100`.
    pub endpoints: Vec<String>,
    /// Numbers that may be shown. The first is shown when the handler names none; empty: the PBX's own, and no other.
    pub caller_ids: Vec<String>,
    /// Dialplan contexts that calls may be handed to by name (`100@sales`, `continue-in-dialplan`).
    pub contexts: Vec<String>,
    /// Calls of the tenant's own at one time. Default 10.
    pub max_concurrent: u32,
    /// Calls placed in any 60 seconds. Default 60.
    pub max_per_minute: u32,
}

impl Default for DialPolicy {
    fn default() -> Self {
        Self {
            patterns: Vec::new(),
            template: String::new(),
            endpoints: Vec::new(),
            caller_ids: Vec::new(),
            contexts: Vec::new(),
            max_concurrent: 10,
            max_per_minute: 60,
        }
    }
}

/// What is dialled and shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dialled {
    pub(crate) endpoint: String,
    pub(crate) caller_id: String,
}

impl DialPolicy {
    /// Whether it can be used; the sentence says why not.
    pub fn check(&self) -> Result<(), String> {
        for pattern in &self.patterns {
            check_pattern(pattern)?;
        }
        if !self.patterns.is_empty() && !self.template.contains(NUMBER) {
            return Err(format!(
                "numbers may be dialled but nothing says how; set endpoint to one such as `PJSIP/{NUMBER}@trunk`"
            ));
        }
        if !self.template.is_empty() {
            words::endpoint(&self.template.replace(NUMBER, "0")).map_err(|error| error.to_string())?;
        }
        self.endpoints.iter().try_for_each(|endpoint| words::endpoint(endpoint)).map_err(|error| error.to_string())?;
        let shown = |id: &String| words::number("the caller id", id);
        self.caller_ids.iter().try_for_each(shown).map_err(|error| error.to_string())?;
        let context = |context: &String| words::name("the context", context);
        self.contexts.iter().try_for_each(context).map_err(|error| error.to_string())
    }

    /// Whether a number or an endpoint may be dialled; the error says why not.
    ///
    /// # Errors
    /// [`CallError::InvalidArgument`] when it is neither, [`CallError::Denied`].
    pub fn allows(&self, to: &str) -> Result<(), CallError> {
        self.endpoint_for(to, "dial").map(drop)
    }

    /// What is dialled for a number or an endpoint, if that is allowed.
    fn endpoint_for(&self, to: &str, key: &str) -> Result<String, CallError> {
        if to.contains('/') {
            words::endpoint(to)?;
            if self.endpoints.iter().any(|endpoint| endpoint == to) {
                return Ok(to.to_owned());
            }
            return denied(format!("{to} is not among the endpoints that may be dialled; add it to {key}.endpoints"));
        }
        words::number("the number", to)?;
        if !self.patterns.iter().any(|pattern| fits(pattern, to)) {
            return denied(format!("the number {to} fits no pattern that may be dialled; add one to {key}.patterns"));
        }
        if !self.template.contains(NUMBER) {
            return denied(format!("nothing says how numbers are dialled; set {key}.endpoint"));
        }
        Ok(self.template.replace(NUMBER, to))
    }

    fn caller_id_for(&self, asked: &str, key: &str) -> Result<String, CallError> {
        if asked.is_empty() {
            return Ok(self.caller_ids.first().cloned().unwrap_or_default());
        }
        words::number("the caller id", asked)?;
        if self.caller_ids.iter().any(|id| id == asked) {
            return Ok(asked.to_owned());
        }
        denied(format!("the number {asked} may not be shown; add it to {key}.caller_ids"))
    }
}

fn check_pattern(pattern: &str) -> Result<(), String> {
    let body = pattern.strip_prefix('_').unwrap_or(pattern);
    let middle = body.strip_suffix(['.', '*']).unwrap_or(body);
    let known = |c: char| c.is_ascii_digit() || "XZN+*#".contains(c.to_ascii_uppercase());
    if body.is_empty() || body.len() > 64 || !middle.chars().all(known) {
        return Err(format!(
            "the pattern {pattern:?} cannot be used; write digits, `X`, `Z`, `N`, `+`, and `.` or `*` at the end"
        ));
    }
    Ok(())
}

/// Whether a number, which has been checked, fits a pattern.
fn fits(pattern: &str, number: &str) -> bool {
    let body = pattern.strip_prefix('_').unwrap_or(pattern);
    let (middle, least_after) = match (body.strip_suffix('.'), body.strip_suffix('*')) {
        (Some(middle), _) => (middle, Some(1)),
        (_, Some(middle)) => (middle, Some(0)),
        _ => (body, None),
    };
    let mut rest = number.chars();
    for wanted in middle.chars() {
        let Some(digit) = rest.next() else { return false };
        let fits = match wanted.to_ascii_uppercase() {
            'X' => digit.is_ascii_digit(),
            'Z' => ('1'..='9').contains(&digit),
            'N' => ('2'..='9').contains(&digit),
            other => other == digit,
        };
        if !fits {
            return false;
        }
    }
    let after = rest.count();
    least_after.map_or(after == 0, |least| after >= least)
}

/// All tenants' policies, and what they have used of them.
#[derive(Default)]
pub(crate) struct Dialling {
    inner: Mutex<HashMap<TenantId, Account>>,
}

#[derive(Default)]
struct Account {
    policy: Option<Arc<DialPolicy>>,
    live: u32,
    /// When calls were placed, the oldest first; of the last minute only.
    placed: VecDeque<Instant>,
}

impl Dialling {
    /// From now on these tenants may call so, and no others.
    pub(crate) fn set(&self, policies: impl IntoIterator<Item = (TenantId, DialPolicy)>) {
        let mut inner = self.inner();
        inner.values_mut().for_each(|account| account.policy = None);
        for (tenant, policy) in policies {
            inner.entry(tenant).or_default().policy = Some(Arc::new(policy));
        }
    }

    /// Lets one call through, or says why not; `own` is what the handler has, where one places it. The call counts as live
    /// until the permit is dropped.
    pub(crate) fn admit(
        self: &Arc<Self>,
        tenant: &TenantId,
        own: Option<&DialNarrowing>,
        to: &str,
        caller_id: &str,
    ) -> Result<(Dialled, DialPermit), CallError> {
        let key = key(tenant);
        let mut inner = self.inner();
        let account = inner.get_mut(tenant).filter(|account| account.policy.is_some());
        let Some((account, policy)) = account.and_then(|a| a.policy.clone().map(|policy| (a, policy))) else {
            return denied(format!("this tenant may place no calls; say in {key} which it may"));
        };
        let dialled = Dialled {
            endpoint: policy.endpoint_for(to, &key)?,
            caller_id: caller_id_for(&policy, own, caller_id, &key)?,
        };
        if let Some(own) = own {
            check_own(own, to)?;
            if account.live >= own.max_concurrent {
                return limit_of_own(account.live, "are up", "max_concurrent");
            }
        }
        if account.live >= policy.max_concurrent {
            return limit(format!(
                "{} calls that this tenant has placed are up, as many as {key}.max_concurrent allows; wait for one to end",
                account.live
            ));
        }
        let now = Instant::now();
        account.placed.retain(|placed| now.duration_since(*placed) < MINUTE);
        if account.placed.len() >= policy.max_per_minute as usize {
            return limit(format!(
                "{} calls were placed in the last minute, as many as {key}.max_per_minute allows; wait a while",
                account.placed.len()
            ));
        }
        if let Some(most) = own.map(|own| own.max_per_minute).filter(|most| account.placed.len() >= *most as usize) {
            return limit_of_own(most, "were placed in the last minute", "max_per_minute");
        }
        account.placed.push_back(now);
        account.live += 1;
        Ok((dialled, DialPermit { dialling: Arc::clone(self), tenant: tenant.clone() }))
    }

    /// Whether a call may be handed there, by a handler that has this.
    pub(crate) fn may_transfer(
        &self,
        tenant: &TenantId,
        own: Option<&DialNarrowing>,
        target: &words::Target,
    ) -> Result<(), CallError> {
        let key = key(tenant);
        match target {
            words::Target::Extension(_, None) => Ok(()),
            words::Target::Extension(_, Some(context)) => self.may_enter(tenant, own, context),
            words::Target::Endpoint(endpoint) => {
                let Some(policy) = self.policy(tenant) else {
                    return denied(format!("calls may not be handed to endpoints; say in {key} which may be dialled"));
                };
                let (is_named, number) = (policy.endpoints.contains(endpoint), policy.number_of(endpoint));
                if !is_named && number.is_none() {
                    return denied(format!("{endpoint} may not be dialled; add it to {key}.endpoints"));
                }
                let is_left = |own: &DialNarrowing| {
                    (is_named && has(&own.endpoints, endpoint)) || number.is_some_and(|number| fits_own(own, number))
                };
                if own.is_none_or(is_left) { Ok(()) } else { denied_to_own(endpoint, "endpoints") }
            }
        }
    }

    /// Whether a dialplan context may be named, by a handler that has this.
    pub(crate) fn may_enter(
        &self,
        tenant: &TenantId,
        own: Option<&DialNarrowing>,
        context: &str,
    ) -> Result<(), CallError> {
        if own.is_some_and(|own| !has(&own.contexts, context)) {
            return denied_to_own(&format!("the context {context}"), "contexts");
        }
        if self.policy(tenant).is_some_and(|policy| policy.contexts.iter().any(|allowed| allowed == context)) {
            return Ok(());
        }
        denied(format!("calls may not be handed to the context {context}; add it to {}.contexts", key(tenant)))
    }

    fn policy(&self, tenant: &TenantId) -> Option<Arc<DialPolicy>> {
        self.inner().get(tenant).and_then(|account| account.policy.clone())
    }

    fn inner(&self) -> MutexGuard<'_, HashMap<TenantId, Account>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DialPolicy {
    /// The number that may be dialled and of which the template makes this endpoint.
    fn number_of<'e>(&self, endpoint: &'e str) -> Option<&'e str> {
        let (before, after) = self.template.split_once(NUMBER)?;
        let number = endpoint.strip_prefix(before)?.strip_suffix(after)?;
        let may = words::number("", number).is_ok() && self.patterns.iter().any(|pattern| fits(pattern, number));
        may.then_some(number)
    }
}

/// Whether a handler that has this may begin a batch of calls to these numbers.
pub(crate) fn check_own_batch<'n>(
    own: &DialNarrowing,
    numbers: impl IntoIterator<Item = &'n str>,
) -> Result<(), CallError> {
    if !own.batches {
        return denied_to_own("a batch", "batches");
    }
    numbers.into_iter().try_for_each(|number| check_own(own, number))
}

/// What a handler may dial of what its tenant may.
fn check_own(own: &DialNarrowing, to: &str) -> Result<(), CallError> {
    if to.contains('/') {
        return if has(&own.endpoints, to) { Ok(()) } else { denied_to_own(to, "endpoints") };
    }
    if fits_own(own, to) { Ok(()) } else { denied_to_own(&format!("the number {to}"), "patterns") }
}

fn fits_own(own: &DialNarrowing, number: &str) -> bool {
    own.patterns.as_ref().is_none_or(|patterns| patterns.iter().any(|pattern| fits(pattern, number)))
}

fn has(left: &Option<Vec<String>>, text: &str) -> bool {
    left.as_ref().is_none_or(|left| left.iter().any(|one| one == text))
}

/// The number to be shown, of those that the handler's manifest leaves it.
fn caller_id_for(
    policy: &DialPolicy,
    own: Option<&DialNarrowing>,
    asked: &str,
    key: &str,
) -> Result<String, CallError> {
    let Some(left) = own.and_then(|own| own.caller_ids.as_ref()) else { return policy.caller_id_for(asked, key) };
    match left.iter().find(|id| asked.is_empty() || *id == asked) {
        Some(id) => policy.caller_id_for(id, key),
        None if asked.is_empty() => Ok(String::new()),
        // Words that are no number are refused as such.
        None => policy.caller_id_for(asked, key).and_then(|_| denied_to_own(&format!("to show {asked}"), "caller_ids")),
    }
}

fn denied_to_own<T>(what: &str, key: &str) -> Result<T, CallError> {
    denied(format!(
        "dial: {what} is not what this handler's manifest leaves it; add it to `capabilities.dial.{key}` there"
    ))
}

/// What a handler is told that places too many.
pub(crate) fn limit_of_own<T>(calls: u32, what: &str, key: &str) -> Result<T, CallError> {
    limit(format!(
        "{calls} calls that this tenant has placed {what}, as many as the handler's manifest allows; wait, or raise \
         capabilities.dial.{key} there"
    ))
}

/// One placed call's share of its tenant's limit.
pub(crate) struct DialPermit {
    dialling: Arc<Dialling>,
    tenant: TenantId,
}

impl Drop for DialPermit {
    fn drop(&mut self) {
        if let Some(account) = self.dialling.inner().get_mut(&self.tenant) {
            account.live = account.live.saturating_sub(1);
        }
    }
}

/// Where the configuration has a tenant's policy.
fn key(tenant: &TenantId) -> String {
    if *tenant == TenantId::default() { "dial".to_owned() } else { format!("tenants.{tenant}.dial") }
}

fn denied<T>(why: String) -> Result<T, CallError> {
    Err(CallError::Denied(why))
}

fn limit<T>(why: String) -> Result<T, CallError> {
    Err(CallError::LimitExceeded(why))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn policy() -> DialPolicy {
        DialPolicy {
            patterns: vec!["+265NXXXXXXXX".into(), "_0Z.".into(), "9*".into()],
            template: "PJSIP/{number}@trunk".into(),
            endpoints: vec!["PJSIP/100".into()],
            caller_ids: vec!["+100".into(), "+200".into()],
            contexts: vec!["sales".into()],
            max_concurrent: 2,
            max_per_minute: 3,
        }
    }

    fn dialling() -> Arc<Dialling> {
        let dialling = Arc::<Dialling>::default();
        dialling.set([(TenantId::from("acme"), policy())]);
        dialling
    }

    fn admit(dialling: &Arc<Dialling>, to: &str, caller_id: &str) -> Result<(Dialled, DialPermit), CallError> {
        dialling.admit(&TenantId::from("acme"), None, to, caller_id)
    }

    #[test]
    fn patterns_fit_as_asterisk_fits_them() {
        for (pattern, good, bad) in [
            ("+265NXXXXXXXX", "+265212345678", "+265112345678"),
            ("_0Z.", "012", "01"),
            ("9*", "9", "8"),
            ("123", "123", "1234"),
            ("X", "0", "10"),
            ("**", "*1", "1"),
        ] {
            assert!(fits(pattern, good) && !fits(pattern, bad), "{pattern}");
        }
        policy().check().unwrap();
        for bad in ["", "_", "1a", "1.2", "[1-3]", "1 2", "${X}"] {
            assert!(DialPolicy { patterns: vec![bad.into()], ..policy() }.check().is_err(), "{bad}");
        }
        assert!(DialPolicy { template: "PJSIP/x".into(), ..policy() }.check().is_err());
        assert!(DialPolicy { template: "PJSIP/{number}&Local/1".into(), ..policy() }.check().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_allowed_is_denied_with_the_key_to_change() {
        let dialling = dialling();
        let (dialled, _permit) = admit(&dialling, "+265212345678", "").unwrap();
        assert_eq!((dialled.endpoint.as_str(), dialled.caller_id.as_str()), ("PJSIP/+265212345678@trunk", "+100"));
        for (to, id, key) in [
            ("+1900", "", "tenants.acme.dial.patterns"),
            ("PJSIP/101", "", "tenants.acme.dial.endpoints"),
            ("PJSIP/100", "+300", "tenants.acme.dial.caller_ids"),
        ] {
            let error = admit(&dialling, to, id).err().unwrap();
            assert!(error.kind() == "denied" && error.to_string().contains(key), "{error}");
        }
        for bad in ["", "12@evil", "12,13", "PJSIP/1&PJSIP/2", "9\r\n", "9${X}", "alice"] {
            assert_eq!(admit(&dialling, bad, "").err().unwrap().kind(), "invalid-argument", "{bad:?}");
        }
        let error = dialling.admit(&TenantId::default(), None, "9", "").err().unwrap();
        assert!(error.kind() == "denied" && error.to_string().contains("say in dial "), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn calls_are_counted_while_they_live_and_by_the_minute() {
        let dialling = dialling();
        let first = admit(&dialling, "91", "").unwrap();
        let _second = admit(&dialling, "92", "").unwrap();
        let why = admit(&dialling, "93", "").err().unwrap();
        assert!(why.kind() == "limit-exceeded" && why.to_string().contains("max_concurrent"), "{why}");
        drop(first);
        let third = admit(&dialling, "93", "").unwrap();
        drop(third);
        let why = admit(&dialling, "94", "").err().unwrap();
        assert!(why.to_string().contains("max_per_minute"), "{why}");
        tokio::time::advance(MINUTE).await;
        admit(&dialling, "94", "").unwrap();
    }

    #[test]
    fn calls_go_where_they_may() {
        let dialling = dialling();
        let may = |target: &str| dialling.may_transfer(&"acme".into(), None, &words::target(target).unwrap());
        for good in ["100", "100@sales", "PJSIP/100", "PJSIP/91@trunk"] {
            may(good).unwrap();
        }
        for bad in ["100@evil", "PJSIP/101", "PJSIP/8@trunk", "PJSIP/91@other", "Local/91@sales"] {
            assert_eq!(may(bad).unwrap_err().kind(), "denied", "{bad}");
        }
        dialling.set([]);
        assert!(may("100").is_ok() && may("100@sales").is_err() && may("PJSIP/100").is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_handlers_manifest_takes_away_of_what_the_tenant_may_and_adds_nothing() {
        let acme = TenantId::from("acme");
        let own = DialNarrowing {
            patterns: Some(vec!["91.".into(), "7.".into()]),
            endpoints: Some(vec!["PJSIP/101".into()]),
            caller_ids: Some(vec!["+200".into()]),
            contexts: Some(Vec::new()),
            ..DialNarrowing::default()
        };
        let dialling = dialling();
        let kind = |tried: Result<String, CallError>| tried.unwrap_or_else(|error| error.kind().to_owned());
        let admit =
            |to: &str, shown: &str| kind(dialling.admit(&acme, Some(&own), to, shown).map(|(d, _)| d.caller_id));
        assert_eq!(admit("912", ""), "+200", "the first that is left");
        assert_eq!(admit("912", "+100"), "denied");
        assert_eq!(admit("912", "x"), "invalid-argument");
        for neither in ["92", "71", "PJSIP/100", "PJSIP/101"] {
            assert_eq!(admit(neither, ""), "denied", "{neither}");
        }
        let may = |target: &str| {
            let target = words::target(target).unwrap();
            kind(dialling.may_transfer(&acme, Some(&own), &target).map(|()| "yes".to_owned()))
        };
        assert_eq!([may("100"), may("PJSIP/912@trunk")], ["yes", "yes"]);
        for neither in ["100@sales", "PJSIP/100", "PJSIP/101", "PJSIP/92@trunk", "PJSIP/71@trunk"] {
            assert_eq!(may(neither), "denied", "{neither}");
        }
        check_own_batch(&own, ["911", "912"]).unwrap();
        assert_eq!(check_own_batch(&own, ["911", "92"]).unwrap_err().kind(), "denied");
        let none = DialNarrowing { batches: false, ..DialNarrowing::default() };
        assert_eq!(check_own_batch(&none, ["911"]).unwrap_err().kind(), "denied");
    }

    #[tokio::test(start_paused = true)]
    async fn a_handlers_own_limits_are_compared_with_what_its_tenant_has_placed() {
        let (acme, dialling) = (TenantId::from("acme"), dialling());
        let one = DialNarrowing { max_concurrent: 1, ..DialNarrowing::default() };
        let (_, permit) = dialling.admit(&acme, Some(&one), "91", "").unwrap();
        let why = dialling.admit(&acme, Some(&one), "91", "").err().unwrap();
        assert!(why.kind() == "limit-exceeded" && why.to_string().contains("max_concurrent"), "{why}");
        drop(permit);
        let once = DialNarrowing { max_per_minute: 1, ..DialNarrowing::default() };
        let why = dialling.admit(&acme, Some(&once), "91", "").err().unwrap();
        assert!(why.kind() == "limit-exceeded" && why.to_string().contains("max_per_minute"), "{why}");
        dialling.admit(&acme, Some(&one), "91", "").unwrap();
    }
}
