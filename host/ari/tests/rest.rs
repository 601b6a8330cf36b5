//! The REST client against a stand-in that answers as told, well or badly.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fake;

use std::time::Duration;

use fake::{FakePbx, Reply, http};
use serde_json::json;
use voxtra_ari::{
    AriClient, AriConfig, AriError, BridgeType, ContinueTo, ExternalMedia, HangupReason, Originate, Play, SendDtmf,
};

const CHANNEL: &str = r#"{"id":"c","name":"PJSIP/a-1","state":"Up"}"#;

#[tokio::test]
async fn every_verb_sends_the_method_path_and_arguments_of_ari() {
    let pbx = FakePbx::rest(|seen| match seen.line.as_str() {
        line if line.contains("/play/") => http(201, r#"{"id":"p","state":"queued"}"#),
        line if line.starts_with("POST /ari/channels/c1") && line.matches('/').count() == 3 => http(200, CHANNEL),
        line if line.contains("externalMedia") => http(200, CHANNEL),
        line if line.ends_with("/ari/bridges/b%2F1") => http(200, r#"{"id":"b/1"}"#),
        line if line.contains("variable?") => http(200, r#"{"value":"v"}"#),
        _ => http(204, ""),
    })
    .await;
    let client = pbx.client();
    let expect = |line: &str, body: serde_json::Value| {
        let seen = pbx.last();
        assert_eq!(seen.line, line);
        if body.is_null() {
            assert_eq!(seen.body, "", "{line}");
        } else {
            assert_eq!(seen.json(), body, "{line}");
            assert!(seen.head.contains("content-type: application/json"), "{}", seen.head);
        }
        // "bob:s3cret"
        assert!(seen.head.contains("authorization: Basic Ym9iOnMzY3JldA=="), "{}", seen.head);
    };
    let nothing = serde_json::Value::Null;

    client.answer("a b/c").await.unwrap();
    expect("POST /ari/channels/a%20b%2Fc/answer", nothing.clone());
    client.ring("c").await.unwrap();
    expect("POST /ari/channels/c/ring", nothing.clone());
    client.ring_stop("c").await.unwrap();
    expect("DELETE /ari/channels/c/ring", nothing.clone());
    client.hangup("c", HangupReason::NoAnswer).await.unwrap();
    expect("DELETE /ari/channels/c?reason=no_answer", nothing.clone());
    client.hangup("c", HangupReason::Q850(88)).await.unwrap();
    expect("DELETE /ari/channels/c?reason_code=88", nothing.clone());
    client.play("c", &Play::list("p/1", ["sound:a,b", "digits:12"]).lang("de")).await.unwrap();
    expect("POST /ari/channels/c/play/p%2F1", json!({"media": ["sound:a,b", "digits:12"], "lang": "de"}));
    client.stop_playback("p/1").await.unwrap();
    expect("DELETE /ari/playbacks/p%2F1", nothing.clone());
    let digits = SendDtmf { dtmf: "1#".into(), between_ms: Some(5), ..SendDtmf::default() };
    client.send_dtmf("c", &digits).await.unwrap();
    expect("POST /ari/channels/c/dtmf", json!({"dtmf": "1#", "between": 5}));
    let place = ContinueTo { context: Some("x".into()), priority: Some(1), ..ContinueTo::default() };
    client.continue_in_dialplan("c", &place).await.unwrap();
    expect("POST /ari/channels/c/continue", json!({"context": "x", "priority": 1}));
    client.redirect("c", "PJSIP/1@t").await.unwrap();
    expect("POST /ari/channels/c/redirect", json!({"endpoint": "PJSIP/1@t"}));
    client.set_variable("c", "A", "1&2=3").await.unwrap();
    expect("POST /ari/channels/c/variable", json!({"variable": "A", "value": "1&2=3"}));
    assert_eq!(client.get_variable("c", "CHANNEL(state)").await.unwrap().as_deref(), Some("v"));
    expect("GET /ari/channels/c/variable?variable=CHANNEL%28state%29", nothing.clone());
    client.originate(&Originate::to_app("Local/1@x", "my app").channel_id("c1").variable("A", "1")).await.unwrap();
    expect("POST /ari/channels/c1", json!({"endpoint": "Local/1@x", "app": "my app", "variables": {"A": "1"}}));
    let uuid = "7f6f9bd2-0f5c-4b5a-9f0e-6b2a4d3d1c11";
    client
        .external_media(&ExternalMedia::audiosocket("h:1", "slin", uuid.parse().unwrap()).channel_id("m"))
        .await
        .unwrap();
    expect(
        "POST /ari/channels/externalMedia",
        json!({"app": "my app", "channelId": "m", "external_host": "h:1", "encapsulation": "audiosocket",
               "transport": "tcp", "connection_type": "client", "format": "slin", "data": uuid}),
    );
    client.create_bridge("b/1", BridgeType::MixingDtmfEvents, "n").await.unwrap();
    expect("POST /ari/bridges/b%2F1", json!({"type": "mixing,dtmf_events", "name": "n"}));
    client.add_to_bridge("b", &["c", "d"]).await.unwrap();
    expect("POST /ari/bridges/b/addChannel", json!({"channel": ["c", "d"]}));
    client.remove_from_bridge("b", "c").await.unwrap();
    expect("POST /ari/bridges/b/removeChannel", json!({"channel": ["c"]}));
    client.destroy_bridge("b").await.unwrap();
    expect("DELETE /ari/bridges/b", nothing.clone());
    let value = client.put(&["deviceStates", "Stasis:x"], &[("deviceState", "BUSY")], None).await.unwrap();
    assert!(value.is_null());
    expect("PUT /ari/deviceStates/Stasis%3Ax?deviceState=BUSY", nothing);
}

#[tokio::test]
async fn each_refusal_is_an_error_of_its_own_that_says_what_asterisk_said() {
    let pbx = FakePbx::rest(|seen| {
        let status: u16 = seen.line.rsplit('/').next().unwrap().parse().unwrap();
        http(status, &format!(r#"{{"message":"said {status}"}}"#))
    })
    .await;
    let client = pbx.client();
    for status in [400, 401, 403, 404, 409, 412, 422, 500, 503] {
        let error = client.get(&["x", &status.to_string()], &[]).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&format!("GET /ari/x/{status}")), "{text}");
        assert!(text.contains(&format!("said {status}")), "{text}");
        assert!(!text.contains("s3cret"), "{text}");
        let right = match &error {
            AriError::BadRequest { .. } => status == 400,
            AriError::Unauthorised { user, .. } => status == 401 && user == "bob",
            AriError::Forbidden { .. } => status == 403,
            AriError::NotFound { .. } => status == 404,
            AriError::Conflict { .. } => status == 409 || status == 412,
            AriError::Unprocessable { .. } => status == 422,
            AriError::Server { status: said, .. } => *said == status && status >= 500,
            _ => false,
        };
        assert!(right, "{status}: {error:?}");
        assert_eq!(error.gone(), status == 404);
        assert_eq!(error.transient(), status >= 500);
    }
}

#[tokio::test]
async fn ending_what_has_ended_is_success_and_everything_else_is_not_found() {
    let pbx = FakePbx::rest(|seen| match seen.line.as_str() {
        line if line.contains("removeChannel") => http(400, r#"{"message":"Channel not found"}"#),
        line if line.contains("variable=GONE") => http(404, r#"{"message":"Provided channel was not found"}"#),
        line if line.contains("variable=NONE") => http(404, r#"{"message":"Provided variable was not found"}"#),
        _ => http(404, r#"{"message":"Channel not found"}"#),
    })
    .await;
    let client = pbx.client();
    client.hangup("c", HangupReason::Normal).await.unwrap();
    client.ring_stop("c").await.unwrap();
    client.stop_playback("p").await.unwrap();
    client.destroy_bridge("b").await.unwrap();
    client.remove_from_bridge("b", "c").await.unwrap();
    assert_eq!(client.module("chan_websocket.so").await.unwrap(), None);
    assert_eq!(client.get_variable("c", "NONE").await.unwrap(), None);
    assert!(client.get_variable("c", "GONE").await.unwrap_err().gone());
    assert!(client.answer("c").await.unwrap_err().gone());
    assert!(client.get_channel("c").await.unwrap_err().gone());
}

#[tokio::test]
async fn answers_that_ari_never_gives_are_malformed() {
    let pbx = FakePbx::rest(|seen| match seen.line.rsplit('/').next().unwrap() {
        "text" => http(200, "hello"),
        "half" => http(200, r#"[{"id":"1""#),
        "shape" => http(200, r#"{"name":"no id"}"#),
        "page" => http(404, "<html>Not Found</html>"),
        "empty" => http(200, ""),
        "huge" => http(200, &format!("[{}]", "1,".repeat(3 * 1024 * 1024))),
        "short" => Reply::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".to_vec()),
        "nohttp" => Reply::Raw(b"SSH-2.0-x\r\n".to_vec()),
        "nothing" => Reply::Raw(Vec::new()),
        other => panic!("{other}"),
    })
    .await;
    let client = pbx.client();
    for id in ["text", "half", "shape", "page", "empty", "huge"] {
        let error = client.get_channel(id).await.unwrap_err();
        assert!(matches!(error, AriError::Malformed { .. }), "{id}: {error:?}");
        assert!(error.to_string().len() < 600, "{id}: {error}");
    }
    for id in ["short", "nohttp", "nothing"] {
        let error = client.get_channel(id).await.unwrap_err();
        assert!(matches!(error, AriError::Transport { .. }), "{id}: {error:?}");
    }
}

#[tokio::test]
async fn no_request_outlives_its_limit() {
    let pbx = FakePbx::rest(|seen| match seen.line.rsplit('/').next().unwrap() {
        "silent" => Reply::Hang,
        _ => http(200, CHANNEL),
    })
    .await;
    let mut config = AriConfig::new(&pbx.base_url, "bob", "s3cret", "app");
    config.request_timeout = Duration::from_millis(200);
    let client = AriClient::new(config).unwrap();
    let patient = AriClient::new(AriConfig::new(&pbx.base_url, "bob", "s3cret", "app")).unwrap();
    let error = client.get_channel("silent").await.unwrap_err();
    assert!(matches!(error, AriError::Timeout { limit_ms: 200, .. }), "{error:?}");
    patient.get_channel("c").await.unwrap();
}

#[tokio::test]
async fn nobody_there_is_a_transport_error_that_says_refused() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let client = AriClient::new(AriConfig::new(url, "bob", "s3cret", "app")).unwrap();
    let error = client.ping().await.unwrap_err();
    assert!(matches!(error, AriError::Transport { .. }), "{error:?}");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn an_id_that_could_address_something_else_is_never_sent() {
    let pbx = FakePbx::rest(|_| http(204, "")).await;
    let client = pbx.client();
    for id in ["", ".", "..", "a\r\nHost: x", "a\0"] {
        let error = client.hangup(id, HangupReason::Normal).await.unwrap_err();
        assert!(matches!(error, AriError::InvalidInput { .. }), "{id:?}: {error:?}");
    }
    assert!(client.play("c", &Play::list("p", Vec::<String>::new())).await.is_err());
    assert!(pbx.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_redirect_is_not_followed_so_that_the_password_stays_here() {
    let pbx = FakePbx::rest(|_| {
        Reply::Raw(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n".to_vec())
    })
    .await;
    let error = pbx.client().ping().await.unwrap_err();
    assert!(matches!(error, AriError::Server { status: 302, .. }), "{error:?}");
}

#[tokio::test]
async fn https_and_wss_to_something_that_speaks_no_tls_are_transport_errors() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 No\r\n\r\n").await;
        }
    });
    // Where there are no root certificates at all, making the client fails, in the same way.
    let outcome = match AriClient::new(AriConfig::new(url, "bob", "s3cret", "app")) {
        Ok(client) => {
            let options = voxtra_ari::EventOptions::default();
            let events = voxtra_ari::EventStream::connect(&client, options).await.map(drop);
            assert!(matches!(events, Err(AriError::Transport { .. })), "{events:?}");
            client.ping().await.map(drop)
        }
        Err(error) => Err(error),
    };
    assert!(matches!(outcome, Err(AriError::Transport { .. })), "{outcome:?}");
    server.abort();
}
