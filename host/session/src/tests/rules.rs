//! Dispatch rules: asked in order before the static routes, and never in a call's way.

use std::future::pending;

use tokio::time::Instant;
use voxtra_core::{CallInfo, Direction, EventType};
use voxtra_plugins::Outcome;

use super::*;
use crate::ports::{Decision, RoutingRules};
use crate::router::Route;

/// A rule that does this.
enum Rule {
    Nothing,
    Chooses(&'static str),
    Fails,
    Hangs,
    Elsewhere,
}

impl RoutingRules for Rule {
    fn applies(&self, tenant: &TenantId) -> bool {
        !matches!(self, Self::Elsewhere) && *tenant == TenantId::default()
    }

    fn decide<'a>(
        &'a self,
        _tenant: &'a TenantId,
        call: &'a CallInfo,
    ) -> BoxFuture<'a, Result<Option<Decision>, String>> {
        Box::pin(async move {
            assert_eq!((call.route.as_str(), call.direction), ("", Direction::Inbound));
            match self {
                Self::Nothing | Self::Elsewhere => Ok(None),
                Self::Chooses(name) => Ok(Some(Decision {
                    handler: HandlerName::from(*name),
                    metadata: vec![("by".into(), "rule".into())],
                })),
                Self::Fails => Err("no".into()),
                Self::Hangs => pending().await,
            }
        })
    }
}

/// Which handler and route a call gets, how long that takes, and what was counted.
async fn routed(rules: Vec<Rule>, handlers: &[&'static str]) -> (String, u128, u64) {
    let notes = Notes::default();
    let handler = |name: &'static str| {
        let seen = notes.clone();
        TestHandler::new(name, move |call| {
            let seen = seen.clone();
            async move {
                seen.add(format!("{name} {} {:?}", call.info().route, call.metadata_list()));
                Outcome::Returned
            }
        })
    };
    let kit = Kit::with_ports(handlers.iter().map(|name| handler(name)), |ports| {
        ports.rules = rules.into_iter().map(|rule| Arc::new(rule) as Arc<dyn RoutingRules>).collect();
    });
    let route = Route { name: "static".into(), metadata: vec![("by".into(), "route".into())], ..Route::default() };
    let tenant = TenantRoutes { app: "voxtra".into(), routes: vec![route], ..TenantRoutes::default() };
    kit.host.set_router(Router::new([tenant]).unwrap());
    let began = Instant::now();
    kit.call("c1");
    kit.host.idle().await;
    kit.assert_ended_once("c1");
    let took_ms = began.elapsed().as_millis();
    (notes.all().first().cloned().unwrap_or_else(|| kit.end_reason()), took_ms, kit.host.stats().rule_failures)
}

const STATIC: &str = r#""default static [(\"by\", \"route\")]""#;
const VIP: &str = r#""vip vip [(\"by\", \"rule\")]""#;

#[tokio::test(start_paused = true)]
async fn the_first_rule_that_decides_wins_and_the_static_routes_come_last() {
    use Rule::*;
    for (rules, wanted, failures) in [
        (vec![Nothing, Chooses("vip"), Chooses("default")], VIP, 0),
        (vec![Nothing], STATIC, 0),
        (vec![Elsewhere], STATIC, 0),
        (vec![Fails, Chooses("vip")], VIP, 1),
        (vec![Chooses("gone"), Nothing], STATIC, 1),
    ] {
        let (took, _, counted) = routed(rules, &["default", "vip"]).await;
        assert_eq!((took.as_str(), counted), (wanted, failures));
    }
}

#[tokio::test(start_paused = true)]
async fn slow_rules_are_skipped_and_all_of_them_have_half_a_second() {
    use Rule::*;
    let (took, ms, counted) = routed(vec![Hangs, Chooses("vip")], &["default", "vip"]).await;
    assert_eq!((took.as_str(), counted), (VIP, 1));
    assert!((200..210).contains(&ms), "{ms}");
    let (took, ms, counted) = routed(vec![Hangs, Hangs, Hangs, Hangs, Hangs], &["default"]).await;
    assert_eq!((took.as_str(), counted), (STATIC, 5));
    assert!((500..510).contains(&ms), "{ms}");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_nobody_takes_after_all_is_refused_with_a_reason() {
    let kit = Kit::with_ports([TestHandler::new("vip", |_| pending())], |ports| {
        ports.rules = vec![Arc::new(Rule::Nothing)];
    });
    let leg = kit.call("c1");
    kit.host.idle().await;
    assert!(kit.said(EventType::CallFailed, "error").contains("default.wasm"));
    let rejected = voxtra_core::fake::LegVerb::End(voxtra_core::HangupCause::Rejected);
    assert_eq!(leg.verbs(), [rejected]);
    kit.assert_ended_once("c1");
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_leaves_while_rules_decide_is_gone() {
    let kit = Kit::with_ports([TestHandler::default(|_| pending())], |ports| ports.rules = vec![Arc::new(Rule::Hangs)]);
    let leg = kit.call("c1");
    hang_up(&leg);
    kit.host.idle().await;
    assert_eq!(kit.end_reason(), "caller-hung-up");
    kit.assert_ended_once("c1");
}

#[tokio::test(start_paused = true)]
async fn a_rule_may_choose_past_a_handler_that_is_full_and_one_that_is_full_is_not_chosen() {
    let waits = |name: &str| {
        let mut handler = TestHandler::new(name, |_| pending());
        handler.limits.calls_at_once = Some(1);
        handler
    };
    let kit = Kit::with_ports([waits("default"), waits("vip")], |ports| {
        ports.rules = vec![Arc::new(Rule::Chooses("vip"))];
    });
    for id in ["c1", "c2", "c3"] {
        kit.call(id);
        settle().await;
    }
    let up: Vec<_> = kit.host.calls().iter().map(|call| format!("{} {}", call.info.id, call.handler)).collect();
    assert_eq!(up, ["c1 vip", "c2 default"]);
    assert_eq!((kit.end_reason_of("c3").as_str(), kit.host.stats().rule_failures), ("handler-failed", 2));
    assert!(kit.said(EventType::Error, "message").contains("may have 1"));
}

/// Says `no`, when it is told to.
struct Told(Arc<tokio::sync::Notify>, &'static str);

impl RoutingRules for Told {
    fn applies(&self, _tenant: &TenantId) -> bool {
        true
    }

    fn decide<'a>(
        &'a self,
        _tenant: &'a TenantId,
        _call: &'a CallInfo,
    ) -> BoxFuture<'a, Result<Option<Decision>, String>> {
        Box::pin(async move {
            self.0.notified().await;
            Ok(Some(Decision { handler: HandlerName::from(self.1), metadata: Vec::new() }))
        })
    }
}

#[tokio::test(start_paused = true)]
async fn new_calls_are_asked_of_the_new_rules_and_one_under_way_of_its_own() {
    let (old, new) = (Arc::<tokio::sync::Notify>::default(), Arc::<tokio::sync::Notify>::default());
    let handlers = ["default", "old", "new"].map(|name| TestHandler::new(name, |_| pending()));
    let kit = Kit::with_ports(handlers, |ports| ports.rules = vec![Arc::new(Told(old.clone(), "old"))]);
    kit.call("c1");
    settle().await;
    kit.host.set_rules(vec![Arc::new(Told(new.clone(), "new"))]);
    kit.call("c2");
    settle().await;
    old.notify_one();
    new.notify_one();
    settle().await;
    kit.host.set_rules(Vec::new());
    kit.call("c3");
    settle().await;
    let up: Vec<_> = kit.host.calls().iter().map(|call| format!("{} {}", call.info.id, call.handler)).collect();
    assert_eq!(up, ["c1 old", "c2 new", "c3 default"]);
    assert_eq!(kit.host.stats().rule_failures, 0);
}
