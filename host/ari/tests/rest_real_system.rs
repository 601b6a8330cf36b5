//! The verbs that are not about calls, against a real Asterisk, each by its effect.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod real_pbx;

use std::path::PathBuf;

use real_pbx::{APP, LIMIT, Pbx, gone, until};
use tokio::net::UdpSocket;
use tokio::time::timeout;
use voxtra_ari::model::{ConfigField, DeviceStateValue, EndpointState};
use voxtra_ari::{AriError, EventRules, SendMessage};

fn folder(pbx: &Pbx, name: &str) -> PathBuf {
    pbx.asterisk.spool().parent().unwrap().join(name)
}

#[tokio::test]
async fn asterisk_its_modules_its_variables_and_its_logs() {
    let Some(pbx) = Pbx::start("ari: asterisk, modules, variables, logs").await else { return };
    let client = &pbx.client;
    let info = client.info().await.unwrap();
    assert!(info.system.version.starts_with(|c: char| c.is_ascii_digit()), "{info:?}");
    assert!(!info.build.machine.is_empty() && !info.status.startup_time.is_empty(), "{info:?}");
    assert_eq!(client.ping().await.unwrap().asterisk_id, info.system.entity_id);

    // Modules: listed, loaded, unloaded, reloaded.
    let modules = client.list_modules().await.unwrap();
    assert!(modules.iter().any(|module| module.name == "chan_pjsip.so" && module.running()), "{modules:?}");
    let module = "func_groupcount.so";
    assert_eq!(client.module(module).await.unwrap(), None);
    client.load_module(module).await.unwrap();
    assert!(client.module(module).await.unwrap().unwrap().running());
    let again = client.load_module(module).await;
    assert!(matches!(again, Err(AriError::Conflict { .. })), "{again:?}");
    client.unload_module(module).await.unwrap();
    assert_eq!(client.module(module).await.unwrap(), None);
    client.unload_module(module).await.unwrap();
    gone(client.reload_module(module).await);
    let dialplan = folder(&pbx, "etc/extensions.conf");
    let text = std::fs::read_to_string(&dialplan).unwrap() + "\n[brand-new]\nexten => 1,1,NoOp(hello)\n";
    std::fs::write(&dialplan, text).unwrap();
    client.reload_module("pbx_config.so").await.unwrap();
    assert!(pbx.asterisk.cli("dialplan show brand-new").await.unwrap().contains("hello"));

    // Variables: read back here, and by the dialplan.
    assert_eq!(client.get_global_variable("NEVER_SET").await.unwrap(), "");
    client.set_global_variable("COLOUR", "red & \"blue\", 100 %").await.unwrap();
    assert_eq!(client.get_global_variable("COLOUR").await.unwrap(), "red & \"blue\", 100 %");
    assert!(pbx.asterisk.cli("dialplan show globals").await.unwrap().contains("red & \"blue\", 100 %"));

    // Logs: a file comes, is begun again, and is no longer written.
    client.add_log_channel("extra", "notice,warning,error").await.unwrap();
    let logs = client.list_log_channels().await.unwrap();
    let extra = logs.iter().find(|log| log.channel.ends_with("/extra")).unwrap_or_else(|| panic!("{logs:?}"));
    assert_eq!((extra.kind.as_str(), extra.status.as_str()), ("File", "Enabled"));
    assert!(extra.configuration.to_lowercase().contains("warning"), "{extra:?}");
    let twice = client.add_log_channel("extra", "notice").await;
    assert!(matches!(twice, Err(AriError::Conflict { .. })), "{twice:?}");
    // Something to log: a device of another technology cannot be set.
    client.set_device_state("PJSIP/caller", &DeviceStateValue::Busy).await.unwrap_err();
    until("the log is written", || async {
        std::fs::metadata(folder(&pbx, "log/extra")).is_ok_and(|file| file.len() > 0)
    })
    .await;
    client.rotate_log_channel("extra").await.unwrap();
    assert!(folder(&pbx, "log/extra.0").metadata().unwrap().len() > 0);
    client.delete_log_channel("extra").await.unwrap();
    assert!(!client.list_log_channels().await.unwrap().iter().any(|log| log.channel.ends_with("/extra")));
    client.delete_log_channel("extra").await.unwrap();
    gone(client.rotate_log_channel("extra").await);
}

#[tokio::test]
async fn configuration_objects_can_be_made_read_and_removed() {
    let Some(pbx) = Pbx::start("ari: dynamic configuration").await else { return };
    // Passwords in memory, where they can be written to.
    std::fs::write(folder(&pbx, "etc/sorcery.conf"), "[res_pjsip]\nauth = memory\n").unwrap();
    pbx.asterisk.restart().await.unwrap();
    let client = &pbx.client;
    gone(client.get_dynamic_config("res_pjsip", "auth", "bob").await);
    let fields = [
        ConfigField::new("auth_type", "userpass"),
        ConfigField::new("username", "bob"),
        ConfigField::new("password", "p&\"w, d"),
    ];
    let has = |fields: &[ConfigField], name: &str, value: &str| fields.contains(&ConfigField::new(name, value));
    let made = client.put_dynamic_config("res_pjsip", "auth", "bob", &fields).await.unwrap();
    assert!(has(&made, "username", "bob") && has(&made, "password", "p&\"w, d"), "{made:?}");
    assert!(pbx.asterisk.cli("pjsip show auths").await.unwrap().contains("bob/bob"));
    client.put_dynamic_config("res_pjsip", "auth", "bob", &[ConfigField::new("username", "rob")]).await.unwrap();
    let read = client.get_dynamic_config("res_pjsip", "auth", "bob").await.unwrap();
    assert!(has(&read, "username", "rob"), "{read:?}");
    client.delete_dynamic_config("res_pjsip", "auth", "bob").await.unwrap();
    gone(client.get_dynamic_config("res_pjsip", "auth", "bob").await);
    client.delete_dynamic_config("res_pjsip", "auth", "bob").await.unwrap();
    // Endpoints are in a file, which cannot be written to.
    let refused = client.put_dynamic_config("res_pjsip", "endpoint", "x", &[ConfigField::new("context", "c")]).await;
    assert!(matches!(refused, Err(AriError::Forbidden { .. })), "{refused:?}");
}

#[tokio::test]
async fn device_states_and_sounds() {
    let Some(mut pbx) = Pbx::start("ari: device states, sounds").await else { return };
    let client = pbx.client.clone();
    // The application hears of a device that it has asked for, and of none that it has not.
    let subscribed = client.subscribe(APP, &["deviceState:Stasis:door"]).await.unwrap();
    assert_eq!(subscribed.device_names, ["Stasis:door"]);
    client.set_device_state("Stasis:door", &DeviceStateValue::Busy).await.unwrap();
    pbx.event("DeviceStateChanged", None).await;
    assert_eq!(client.get_device_state("Stasis:door").await.unwrap().state, DeviceStateValue::Busy);
    let listed = client.list_device_states().await.unwrap();
    assert!(listed.iter().any(|device| device.name == "Stasis:door"), "{listed:?}");
    assert!(pbx.asterisk.cli("core show globals").await.is_ok());
    let foreign = client.set_device_state("PJSIP/caller", &DeviceStateValue::Busy).await;
    assert!(matches!(foreign, Err(AriError::Conflict { .. })), "{foreign:?}");
    client.delete_device_state("Stasis:door").await.unwrap();
    assert!(client.list_device_states().await.unwrap().is_empty());
    client.delete_device_state("Stasis:door").await.unwrap();
    assert!(client.unsubscribe(APP, &["deviceState:Stasis:door"]).await.unwrap().device_names.is_empty());

    // Sounds, all of them and by language and format.
    let sound = client.get_sound("hello-world").await.unwrap();
    let file = sound.formats.first().unwrap();
    assert_eq!(file.language, "en");
    let matching = client.list_sounds(Some("en"), Some(&file.format)).await.unwrap();
    assert!(matching.iter().any(|sound| sound.id == "hello-world"));
    let all = client.list_sounds(None, None).await.unwrap();
    assert!(all.len() >= matching.len() && matching.len() > 100, "{} of {}", matching.len(), all.len());
    assert!(client.list_sounds(Some("tlh"), None).await.unwrap().is_empty());
    gone(client.get_sound("no-such-sound").await);
}

#[tokio::test]
async fn mailboxes_where_the_modules_that_keep_them_are() {
    let name = "ari: mailboxes";
    let Some(pbx) = Pbx::start(name).await else { return };
    let client = &pbx.client;
    for module in ["res_mwi_external.so", "res_stasis_mailbox.so", "res_ari_mailboxes.so"] {
        // Those that have been tried in vain without the one before are still known.
        client.unload_module(module).await.unwrap();
        if client.load_module(module).await.is_ok() {
            continue;
        }
        // Debian leaves the first one out. What the verbs say then must not look like a mailbox that is gone.
        let error = client.list_mailboxes().await.unwrap_err();
        assert!(!error.gone() || error.to_string().contains("mailbox"), "{error:?}");
        voxtra_test_support::skips::skipped(name, &format!("this Asterisk has no {module}"));
        return;
    }
    gone(client.get_mailbox("1001@home").await);
    client.set_mailbox("1001@home", 2, 3).await.unwrap();
    let mailbox = client.get_mailbox("1001@home").await.unwrap();
    assert_eq!((mailbox.name.as_str(), mailbox.old_messages, mailbox.new_messages), ("1001@home", 2, 3));
    assert_eq!(client.list_mailboxes().await.unwrap(), [mailbox]);
    client.delete_mailbox("1001@home").await.unwrap();
    gone(client.get_mailbox("1001@home").await);
    client.delete_mailbox("1001@home").await.unwrap();
}

#[tokio::test]
async fn endpoints_messages_and_applications() {
    let Some(mut pbx) = Pbx::start("ari: endpoints, messages, applications").await else { return };
    let client = pbx.client.clone();
    let endpoints = client.list_endpoints_of("PJSIP").await.unwrap();
    assert!(endpoints.iter().any(|endpoint| endpoint.resource == "caller"), "{endpoints:?}");
    assert!(client.list_endpoints().await.unwrap().len() >= endpoints.len());
    let endpoint = client.get_endpoint("PJSIP", "caller").await.unwrap();
    assert_eq!((endpoint.technology.as_str(), endpoint.channel_ids.len()), ("PJSIP", 0));
    assert!(!matches!(endpoint.state, EndpointState::Other(_)), "{endpoint:?}");
    gone(client.get_endpoint("PJSIP", "nobody").await);
    let (_phone, id) = pbx.caller("1001").await;
    assert_eq!(client.get_endpoint("PJSIP", "caller").await.unwrap().channel_ids, std::slice::from_ref(&id));

    // A message arrives as a SIP MESSAGE.
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let to = format!("pjsip:caller/sip:bob@{}", socket.local_addr().unwrap());
    let message = SendMessage::new("sip:alice@127.0.0.1", "Hello Bob & \"all\"");
    client.send_message(&to, &message).await.unwrap();
    let mut packet = vec![0; 4096];
    let (length, _) = timeout(LIMIT, socket.recv_from(&mut packet)).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(packet.get(..length).unwrap()).into_owned();
    assert!(text.starts_with("MESSAGE sip:bob@") && text.ends_with("Hello Bob & \"all\""), "{text}");
    let nobody = client.send_message("carrier-pigeon:bob", &message).await;
    assert!(nobody.is_err(), "{nobody:?}");

    // Applications: who there is, and which events they get.
    let application = client.get_application(APP).await.unwrap();
    assert!(application.channel_ids.contains(&id), "{application:?}");
    assert!(client.list_applications().await.unwrap().iter().any(|application| application.name == APP));
    gone(client.get_application("nobody").await);
    let missing = client.subscribe(APP, &["channel:no-such-channel"]).await;
    assert!(matches!(missing, Err(AriError::Unprocessable { .. })), "{missing:?}");
    let rules = EventRules { allowed: None, disallowed: Some(vec!["ChannelVarset".into()]) };
    let filtered = client.set_event_filter(APP, &rules).await.unwrap();
    assert_eq!(filtered.events_disallowed.iter().map(|rule| rule.kind.as_str()).collect::<Vec<_>>(), ["ChannelVarset"]);
    client.set_variable(&id, "UNHEARD", "1").await.unwrap();
    client.set_event_filter(APP, &EventRules { disallowed: Some(Vec::new()), ..rules }).await.unwrap();
    client.set_variable(&id, "HEARD", "1").await.unwrap();
    let first = pbx.event("ChannelVarset", Some(&id)).await;
    assert!(format!("{first:?}").contains("HEARD") && !format!("{first:?}").contains("UNHEARD"), "{first:?}");
    client.hangup(&id, voxtra_ari::HangupReason::Normal).await.unwrap();
    until("the endpoint has no channel", || async {
        client.get_endpoint("PJSIP", "caller").await.unwrap().channel_ids.is_empty()
    })
    .await;
}
