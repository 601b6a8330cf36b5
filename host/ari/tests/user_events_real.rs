//! Events that a program makes up, calls that applications claim, and variables that events report, on a real Asterisk.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod real_pbx;

use std::collections::BTreeMap;

use real_pbx::{APP, Pbx, client, event};
use serde_json::json;
use voxtra_ari::{AriError, BridgeType, Event, EventOptions, EventStream, Originate};

#[tokio::test]
async fn a_user_event_reaches_its_application_with_its_values_and_nobody_else() {
    let name = "a_user_event_reaches_its_application_with_its_values_and_nobody_else";
    let Some(mut pbx) = Pbx::start(name).await else { return };
    pbx.called("silence", "c1").await;
    let other = client(&pbx.asterisk, "other");
    let mut others = EventStream::connect(&other, EventOptions::default()).await.unwrap();
    let values = BTreeMap::from([("colour".to_owned(), json!("dark, red")), ("count".to_owned(), json!(3))]);
    other.send_user_event("it happened", "other", &["channel:c1"], &values).await.unwrap();
    let happened = event(&mut others, "ChannelUserevent", Some("c1")).await;
    let Event::ChannelUserevent(happened) = *happened else { panic!("{happened:?}") };
    assert_eq!((happened.eventname.as_str(), happened.application.as_str()), ("it happened", "other"));
    assert_eq!((&happened.userevent["colour"], &happened.userevent["count"]), (&json!("dark, red"), &json!(3)));
    let none = BTreeMap::new();
    other.send_user_event("bare", APP, &[], &none).await.unwrap();
    // The first that the channel's own application gets: the one above was not for it.
    let event = pbx.event("ChannelUserevent", None).await;
    assert!(matches!(&*event, Event::ChannelUserevent(e) if e.eventname == "bare" && e.channel.is_none()), "{event:?}");

    let error = other.send_user_event("x", "nobody", &[], &none).await.unwrap_err();
    assert!(matches!(error, AriError::NotFound { .. }), "{error:?}");
    let error = other.send_user_event("x", "other", &["channel:gone"], &none).await.unwrap_err();
    assert!(matches!(error, AriError::Unprocessable { .. }), "{error:?}");
}

#[tokio::test]
async fn the_first_application_to_claim_an_offered_call_gets_it() {
    let name = "the_first_application_to_claim_an_offered_call_gets_it";
    let Some(mut pbx) = Pbx::start(name).await else { return };
    // Left out of the private Asterisk otherwise.
    pbx.client.load_module("res_stasis_broadcast.so").await.unwrap();
    pbx.client.load_module("app_stasis_broadcast.so").await.unwrap();
    let said = pbx.asterisk.cli("dialplan add extension offered,1,StasisBroadcast,10000 into callers").await.unwrap();
    assert!(said.contains("added"), "{said}");
    let other = client(&pbx.asterisk, "other");
    let mut others = EventStream::connect(&other, EventOptions::default()).await.unwrap();
    let error = other.claim_call("gone").await.unwrap_err();
    assert!(matches!(error, AriError::NotFound { .. }), "{error:?}");

    let mut call = Originate::to_app("Local/offered@callers/n", APP).channel_id("caller");
    call.formats = Some("slin".into());
    pbx.client.originate(&call).await.unwrap();
    let offered = pbx.event("CallBroadcast", None).await.channel_id().unwrap().to_owned();
    assert_eq!(event(&mut others, "CallBroadcast", None).await.channel_id(), Some(offered.as_str()));
    other.claim_call(&offered).await.unwrap();
    event(&mut others, "StasisStart", Some(&offered)).await;
    let error = pbx.client.claim_call(&offered).await.unwrap_err();
    assert!(matches!(error, AriError::Conflict { .. } | AriError::NotFound { .. }), "{error:?}");
    other.answer(&offered).await.unwrap();
}

#[tokio::test]
async fn a_reported_variable_is_in_the_later_events_and_another_is_not() {
    let name = "a_reported_variable_is_in_the_later_events_and_another_is_not";
    let Some(mut pbx) = Pbx::start(name).await else { return };
    pbx.called("silence", "c1").await;
    pbx.client.set_variable("c1", "QUIET", "1").await.unwrap();
    pbx.client.set_reported_variable("c1", "LOUD", "2").await.unwrap();
    pbx.client.create_bridge("b1", BridgeType::Mixing, "").await.unwrap();
    pbx.client.set_reported_bridge_variable("b1", "TOPIC", "3").await.unwrap();
    pbx.client.add_to_bridge("b1", &["c1"]).await.unwrap();
    let entered = pbx.event("ChannelEnteredBridge", Some("c1")).await;
    let Event::ChannelEnteredBridge(entered) = *entered else { panic!("{entered:?}") };
    let channel = entered.channel.unwrap();
    assert_eq!((channel.variable("LOUD"), channel.variable("QUIET")), (Some("2"), None));
    assert_eq!(entered.bridge.bridgevars.get("TOPIC"), Some(&json!("3")), "{:?}", entered.bridge);
}
