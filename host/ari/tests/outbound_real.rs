//! Events connections that a real Asterisk opens to us.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use tokio::time::timeout;
use voxtra_ari::{
    AriClient, AriError, Event, EventStream, HangupReason, Originate, OutboundConnection, OutboundListener,
    OutboundOptions, StreamItem,
};
use voxtra_test_support::{Asterisk, AsteriskOptions, PbxUnderTest};

/// Longest that a test waits for anything: only reached when it fails.
const PATIENCE: Duration = Duration::from_secs(20);

async fn listener() -> OutboundListener {
    let options = OutboundOptions::new("asterisk", "a long one");
    OutboundListener::bind("127.0.0.1:0".parse().unwrap(), options).await.unwrap()
}

/// An Asterisk that serves the application `outside` over a connection to the listener.
async fn pbx_for(test: &str, listener: &OutboundListener, password: &str) -> Option<PbxUnderTest> {
    let client = format!(
        "[voxtra]\ntype = websocket_client\nuri = ws://{}/pbx-1\nprotocols = ari\nconnection_type = persistent\n\
         username = asterisk\npassword = {password}\nreconnect_interval = 100\n",
        listener.local_addr()
    );
    let ari = "[out]\ntype = outbound_websocket\nwebsocket_client_id = voxtra\napps = outside\nsubscribe_all = yes\n\
         local_ari_user = voxtra\n";
    let options = AsteriskOptions {
        stasis_apps: vec!["voxtra".to_owned(), "outside".to_owned()],
        extra_config: vec![("websocket_client".to_owned(), client), ("ari".to_owned(), ari.to_owned())],
        ..AsteriskOptions::default()
    };
    Asterisk::for_test(test, options).await.unwrap()
}

async fn accept(listener: &mut OutboundListener) -> OutboundConnection {
    timeout(PATIENCE, listener.accept()).await.expect("a connection in time").expect("a connection")
}

async fn event<T>(events: &mut EventStream, wanted: impl Fn(Event) -> Option<T>) -> T {
    let found = async {
        loop {
            match events.next().await.expect("the stream goes on") {
                StreamItem::Event(event) => {
                    // All that a real Asterisk says is in the taxonomy.
                    assert!(!matches!(*event, Event::Unknown(_)), "{event:?}");
                    if let Some(found) = wanted(*event) {
                        return found;
                    }
                }
                StreamItem::Malformed(malformed) => panic!("{malformed}"),
                _ => {}
            }
        }
    };
    timeout(PATIENCE, found).await.expect("the event in time")
}

#[tokio::test]
async fn asterisk_connects_and_a_call_is_handled_on_its_connection_alone() {
    let mut listener = listener().await;
    let name = "asterisk_connects_and_a_call_is_handled_on_its_connection_alone";
    let Some(pbx) = pbx_for(name, &listener, "a long one").await else { return };
    let connection = accept(&mut listener).await;
    assert_eq!(connection.target(), "/pbx-1");
    assert!(connection.peer().ip().is_loopback());
    let client = AriClient::of_websocket("outside", connection.rest()).unwrap();
    let mut events = connection.into_events();
    assert_eq!(events.next().await, Some(StreamItem::Connected { first: true }));

    let info = client.info().await.unwrap();
    let call = Originate::to_app("Local/silence@callers", "outside").channel_id("call-1").variable("WHO", "me");
    client.originate(&call).await.unwrap();
    let start = event(&mut events, |event| match event {
        Event::StasisStart(start) => Some(start),
        _ => None,
    })
    .await;
    assert_eq!((start.channel.id.as_str(), start.application.as_str()), ("call-1", "outside"));
    assert_eq!(start.asterisk_id, info.system.entity_id);
    client.answer("call-1").await.unwrap();
    assert_eq!(client.get_variable("call-1", "WHO").await.unwrap().as_deref(), Some("me"));
    client.hangup("call-1", HangupReason::Normal).await.unwrap();
    let gone = event(&mut events, |event| match event {
        Event::StasisEnd(end) => Some(end.channel.id),
        _ => None,
    })
    .await;
    assert_eq!(gone, "call-1");
    assert!(pbx.wait_for_channels(0, PATIENCE).await.unwrap());
    assert!(client.get_channel("call-1").await.unwrap_err().gone());
    // What needs HTTP says so.
    let error = client.media_url("x").unwrap_err();
    assert!(matches!(error, AriError::InvalidInput { .. }), "{error:?}");
    events.shutdown().await;
}

#[tokio::test]
async fn asterisk_connects_again_by_itself_after_we_close_and_after_its_own_restart() {
    let mut listener = listener().await;
    let name = "asterisk_connects_again_by_itself_after_we_close_and_after_its_own_restart";
    let Some(pbx) = pbx_for(name, &listener, "a long one").await else { return };
    accept(&mut listener).await.into_events().shutdown().await;

    let second = accept(&mut listener).await;
    let rest = second.rest();
    rest.get(&["asterisk", "ping"], &[]).await.unwrap();
    let mut events = second.into_events();
    pbx.kill().unwrap();
    let ended = async { while events.next().await.is_some() {} };
    timeout(PATIENCE, ended).await.expect("the stream ends with its connection");
    let error = rest.get(&["asterisk", "ping"], &[]).await.unwrap_err();
    assert!(matches!(error, AriError::Transport { .. }), "{error:?}");

    pbx.restart().await.unwrap();
    let third = accept(&mut listener).await;
    third.rest().get(&["asterisk", "ping"], &[]).await.unwrap();
    assert_eq!(listener.stats().connected, 3);
}

#[tokio::test]
async fn an_asterisk_with_the_wrong_password_is_refused_and_counted() {
    let mut listener = listener().await;
    let name = "an_asterisk_with_the_wrong_password_is_refused_and_counted";
    let Some(_pbx) = pbx_for(name, &listener, "a wrong one").await else { return };
    let refused = async {
        while listener.stats().refused_credentials < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, refused).await.expect("it tries, and tries again");
    assert_eq!(listener.stats().connected, 0);
    assert!(timeout(Duration::from_millis(1), listener.accept()).await.is_err());
}
