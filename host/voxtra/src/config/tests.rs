#![allow(clippy::unwrap_used, clippy::panic)]
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn no_env(_: &str) -> Option<String> {
    None
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Some(Path::new("voxtra.yaml")), &no_env).map_err(|error| error.in_file("voxtra.yaml"))
}

/// What is wrong with a text, as people see it.
fn wrong(text: &str) -> String {
    match parse(text) {
        Ok(_) => panic!("accepted: {text}"),
        Err(error) => error.to_string(),
    }
}

/// Every key of 0.3.1, none with its default.
const EVERY_KEY: &str = r#"
app_name: my-app
version: "0.2.0"
telephony:
  provider: asterisk
  asterisk:
    base_url: http://pbx:8088
    username: ari
    password: secret
    app_name: stasis-app
    websocket_url: ws://pbx:8088/ari/events?app=stasis-app
  livekit: {url: "ws://lk:7880", api_key: k, api_secret: s}
  sip_trunks:
    - name: trunk
      host: sip.example.com
      port: 5061
      username: u
      password: p
      transport: tls
      codec: pcm_s16le
      do_register: no
media:
  transport: audiosocket
  codec: alaw
  sample_rate: 16000
  channels: 2
  frame_duration_ms: 10
  buffer_size_ms: 100
  enable_echo_cancellation: on
ai:
  stt: {provider: a, api_key: b, model: c, language: d, interim_results: false, punctuate: 0, extra: {deep: [1, 2.5, null, {a: b}]}}
  tts: {provider: a, api_key: b, voice_id: v, model: c, language: d, sample_rate: 24000, extra: {}}
  llm: {provider: a, api_key: b, model: c, temperature: 1, max_tokens: "256", system_prompt: "be kind", extra: {x: y}}
  vad: {enabled: "off", silence_threshold_ms: 1.0, speech_threshold_ms: 2, energy_threshold: "0.5"}
routes:
  - extension: "1000"
    number: "+265*"
    agent: helper
    handler: support
    metadata: {vip: true, level: 3, name: x}
server: {host: 127.0.0.1, port: 9090, debug: yes}
backend:
  webhook:
    url: https://example.com/hook
    signing_secret: s
    events: [call.started, call.ended]
    timeout_seconds: 5
    max_retries: 1
    retry_backoff: 0.5
"#;

#[test]
fn every_key_of_the_python_version_is_accepted_with_its_meaning() {
    let root = parse(EVERY_KEY).unwrap().root;
    assert_eq!((root.app_name.as_str(), root.version.as_str()), ("my-app", "0.2.0"));
    let trunk = root.telephony.sip_trunks.first().unwrap();
    assert_eq!((trunk.port, trunk.do_register, trunk.codec), (5061, false, model::Codec::PcmS16le));
    assert_eq!((root.media.transport, root.media.enable_echo_cancellation), (Transport::Audiosocket, true));
    assert!(!root.ai.stt.punctuate);
    assert_eq!(root.ai.stt.extra.get("deep"), Some(&json!([1, 2.5, null, {"a": "b"}])));
    assert_eq!((root.ai.llm.temperature, root.ai.llm.max_tokens), (1.0, 256));
    assert_eq!((root.ai.vad.enabled, root.ai.vad.silence_threshold_ms, root.ai.vad.energy_threshold), (false, 1, 0.5));
    let route = root.routes.first().unwrap();
    assert_eq!(route.metadata.get("vip"), Some(&json!(true)));
    assert_eq!(root.backend.webhook.unwrap().timeout_seconds, 5.0);
    assert!(root.server.debug);
}

#[test]
fn an_empty_file_is_all_defaults() {
    for text in ["", "# nothing\n", "---\n", "~", "\u{feff}"] {
        let config = parse(text).unwrap();
        assert_eq!(config.root.media.transport, Transport::Auto, "{text:?}");
        assert_eq!(config.asterisk.base_url, "http://localhost:8088");
        assert_eq!((config.asterisk.username.as_str(), config.asterisk.password.0.as_str()), ("asterisk", "asterisk"));
        assert_eq!(config.asterisk.app, "voxtra");
        assert_eq!(config.root.ai.llm.temperature, 0.7);
    }
}

#[test]
fn sections_whose_keys_are_commented_out_are_empty() {
    let config = parse("telephony:\n  asterisk:\n  # username: x\nroutes:\nmedia:\ntenants:\n").unwrap();
    assert!(config.root.routes.is_empty());
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_a_suggestion() {
    assert_eq!(
        wrong("app_name: x\nmeida:\n  codec: ulaw\n"),
        "voxtra.yaml:2: there is no key `meida` here; write `media`, or take it out"
    );
    let text = "telephony:\n  asterisk:\n    base_url: x\n    pasword: y\n";
    assert_eq!(
        wrong(text),
        "voxtra.yaml:4: telephony.asterisk: there is no key `pasword` here; write `password`, or take it out"
    );
    let text = wrong("routes:\n  - extension: '1'\n  - ext: '2'\n");
    assert!(
        text.starts_with("voxtra.yaml:3: routes.1: there is no key `ext` here; take it out, or use one of `extension`"),
        "{text}"
    );
}

#[test]
fn a_wrong_type_is_refused_with_what_was_found_and_what_is_wanted() {
    for (text, wanted) in [
        (
            "server:\n  port: soon\n",
            "voxtra.yaml:2: server.port: found the text `soon`, wanted a whole number; change it",
        ),
        (
            "server:\n  port: 80.5\n",
            "voxtra.yaml:2: server.port: found the number `80.5`, wanted a whole number; change it",
        ),
        (
            "server:\n  debug: maybe\n",
            "voxtra.yaml:2: server.debug: found the text `maybe`, wanted `true` or `false`; change it",
        ),
        (
            "routes:\n  - extension: 0100\n",
            "voxtra.yaml:2: routes.0.extension: found the number `64`, wanted text; put the value between quotes",
        ),
        (
            "server: 8080\n",
            "voxtra.yaml:1: server: found the number `8080`, wanted a section with keys; write the keys below it, indented",
        ),
        ("routes: {}\n", "voxtra.yaml:1: routes: found a section with keys, wanted a list; begin each item with `- `"),
        (
            "app_name:\nversion: '1'\n",
            "voxtra.yaml:1: app_name: found nothing, wanted text; write `\"\"` for empty text, or take the key out",
        ),
        (
            "media:\n  transport: websockt\n",
            "voxtra.yaml:2: media.transport: `websockt` is not possible here; write `websocket`",
        ),
        (
            "- a\n- b\n",
            "voxtra.yaml:1: the file does not consist of `key: value` lines; `voxtra init` writes one that does",
        ),
        (
            "on_failure:\n  then: dance\n",
            "voxtra.yaml:2: on_failure.then: found the text `dance`, wanted `hangup`, `transfer:TARGET` or `handler:NAME`; change it",
        ),
        ("limits:\n  cpu_ms: 1\n", "voxtra.yaml:2: limits.cpu_ms: 1 is out of range; use 10 to 86400000"),
        (
            "limits:\n  cpu_ms: -1\n",
            "voxtra.yaml:2: limits.cpu_ms: found the number `-1`, wanted a whole number from 0 to 4294967295; change it",
        ),
    ] {
        assert_eq!(wrong(text), wanted, "{text}");
    }
}

#[test]
fn numbers_and_truth_values_may_be_written_as_in_the_python_version() {
    let port = |text: &str| parse(&format!("server: {{port: {text}}}")).map(|c| c.root.server.port);
    for (text, wanted) in [
        ("5060", 5060),
        ("'5060'", 5060),
        ("' 12 '", 12),
        ("'5060.0'", 5060),
        ("5060.0", 5060),
        ("1_000", 1000),
        ("'1_000'", 1000),
        ("0x10", 16),
        ("010", 8),
        ("1:30", 90),
        ("true", 1),
        ("-5", -5),
        ("'+5'", 5),
        ("99999999999999999999", i64::MAX),
    ] {
        assert_eq!(port(text).ok(), Some(wanted), "{text}");
    }
    for text in ["5.5", "'0x10'", "'1__0'", "soon", "[]", "~", "{}", ".inf", "1e5", "''"] {
        assert!(port(text).is_err(), "{text}");
    }
    let debug = |text: &str| parse(&format!("server: {{debug: {text}}}")).map(|c| c.root.server.debug);
    for text in ["yes", "On", "true", "1", "1.0", "'T'", "'yes'", "'1'", "y"] {
        assert_eq!(debug(text).ok(), Some(true), "{text}");
    }
    for text in ["no", "off", "0", "'f'", "n", "0.0"] {
        assert_eq!(debug(text).ok(), Some(false), "{text}");
    }
    for text in ["2", "maybe", "[]", "~", "' yes '"] {
        assert!(debug(text).is_err(), "{text}");
    }
    let temperature =
        |text: &str| parse(&format!("ai: {{llm: {{temperature: {text}}}}}")).map(|c| c.root.ai.llm.temperature);
    for (text, wanted) in
        [("1", 1.0), ("'0.5'", 0.5), ("1e2", 100.0), ("no", 0.0), (".inf", f64::INFINITY), ("'1_0'", 10.0)]
    {
        assert_eq!(temperature(text).ok(), Some(wanted), "{text}");
    }
    assert!(temperature(".nan").is_ok_and(f64::is_nan));
    for text in ["hot", "[]", "~", "'1__0'"] {
        assert!(temperature(text).is_err(), "{text}");
    }
}

#[test]
fn what_is_no_yaml_is_refused_with_its_line() {
    for text in ["a: b\n  c: d\n", "a: [1, 2\nb: 3\n", "app_name: \"x\n"] {
        let error = wrong(text);
        assert!(error.starts_with("voxtra.yaml:") && error.contains("this is not YAML"), "{error}");
    }
}

#[test]
fn a_secret_is_never_shown() {
    for text in [
        "telephony:\n  asterisk:\n    password: 987654\n",
        "ai:\n  llm:\n    api_key: [sesame]\n",
        "plugins:\n  registries:\n    - {host: a.example, token: 987654}\n",
        "recordings:\n  sinks:\n    there: {kind: s3, secret_key: 987654}\n",
    ] {
        let error = wrong(text);
        assert!(!error.contains("987654") && !error.contains("sesame"), "{error}");
    }
    let shown = format!("{:?}", parse(EVERY_KEY).unwrap().root.telephony.asterisk);
    assert!(!shown.contains("\"secret\""), "{shown}");
}

#[test]
fn a_variable_is_put_in_wherever_it_stands_and_cannot_break_the_file() {
    let lookup = |name: &str| match name {
        "PW" => Some("a: #b\n- c".to_owned()),
        "PORT" => Some("9999".to_owned()),
        "NUMBER" => Some("12345".to_owned()),
        _ => None,
    };
    let text = "telephony:\n  asterisk:\n    password: ${PW}\n    username: ${NUMBER}\nserver:\n  port: ${PORT}\n";
    let config = Config::parse(text, None, &lookup).unwrap();
    assert_eq!(config.asterisk.password.0, "a: #b\n- c");
    assert_eq!(config.asterisk.username, "12345");
    assert_eq!(config.root.server.port, 9999);
}

#[test]
fn a_missing_variable_is_refused_with_its_line_and_name() {
    assert_eq!(
        wrong("app_name: x\ntelephony:\n  asterisk:\n    password: ${ARI_PW}\n"),
        "voxtra.yaml:4: the environment has no variable ARI_PW; set it, or write the value here"
    );
}

#[test]
fn a_variable_of_the_wrong_kind_is_refused_without_its_value() {
    let error = Config::parse("server:\n  port: ${P}", None, &|_| Some("topsecret".into())).unwrap_err().to_string();
    assert!(error.contains("server.port") && !error.contains("topsecret"), "{error}");
}

#[test]
fn the_environment_fills_in_for_the_file_but_never_overrules_it() {
    let lookup = |name: &str| match name {
        "VOXTRA_ARI_URL" => Some("http://env:1".to_owned()),
        "VOXTRA_ARI_USER" => Some("env-user".to_owned()),
        "VOXTRA_ARI_PASSWORD" => Some(String::new()),
        _ => None,
    };
    let config = Config::parse("telephony:\n  asterisk:\n    username: file-user\n", None, &lookup).unwrap();
    assert_eq!(config.asterisk.base_url, "http://env:1");
    assert_eq!(config.asterisk.username, "file-user");
    assert_eq!(config.asterisk.password.0, "asterisk");
}

#[test]
fn tenants_are_told_apart_by_their_applications() {
    let text = "tenants:\n  acme:\n    app_name: a\n  beta: {app_name: b, routes: [{extension: '1', handler: x}]}\n";
    let config = parse(text).unwrap();
    let apps: Vec<_> = config.tenants().into_iter().map(|(name, t)| (name, t.app_name)).collect();
    let wanted = [("default", "voxtra"), ("acme", "a"), ("beta", "b")].map(|(n, a)| (n.to_owned(), a.to_owned()));
    assert_eq!(apps, wanted);
    let error = wrong("tenants:\n  acme:\n    app_name: voxtra\n");
    assert!(error.starts_with("voxtra.yaml:3: tenants.acme.app_name:") && error.contains("`default`"), "{error}");
    assert!(wrong("tenants:\n  'a/../b': {}\n").contains("letters, digits"));
}

#[test]
fn a_failure_policy_can_be_written_short_and_long() {
    let text = "on_failure: {play: sound:sorry, then: 'transfer:PJSIP/100'}\nroutes:\n  - on_failure:\n      play: [a, b]\n      then: handler:other\n  - on_failure: {}\n";
    let root = parse(text).unwrap().root;
    let wanted = OnFailure { play: Some(vec!["sound:sorry".into()]), then: Then::Transfer("PJSIP/100".into()) };
    assert_eq!(root.on_failure, Some(wanted));
    let policies: Vec<_> = root.routes.into_iter().map(|r| r.on_failure.unwrap()).collect();
    assert_eq!(
        policies[0],
        OnFailure { play: Some(vec!["a".into(), "b".into()]), then: Then::Handler("other".into()) }
    );
    assert_eq!(policies[1], OnFailure::default());
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let load = |path: &Path| Config::load(path, &no_env).unwrap_err().to_string();
    let missing = load(Path::new("/nonexistent/voxtra.yaml"));
    assert!(missing.starts_with("/nonexistent/voxtra.yaml: the file is not there"), "{missing}");
    assert!(load(&std::env::temp_dir()).contains("cannot be read"));
    let path = std::env::temp_dir().join(format!("voxtra-config-{}.yaml", std::process::id()));
    std::fs::write(&path, b"a: b\nc: \xff\n").unwrap();
    assert!(load(&path).contains(".yaml:2: there is a byte that is not UTF-8"));
    std::fs::write(&path, vec![b'#'; (MAX_FILE_BYTES + 1) as usize]).unwrap();
    assert!(load(&path).contains("larger than 1 MiB"));
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn the_state_folder_and_the_plugin_directory_are_apart() {
    let root = std::env::temp_dir().join(format!("voxtra-apart-{}", std::process::id()));
    std::fs::create_dir_all(root.join("handlers")).unwrap();
    std::os::unix::fs::symlink("handlers", root.join("link")).unwrap();
    let place = |name: &str| root.join(name).display().to_string();
    let check = |state: &str, plugins: &str| {
        let config = parse(&format!("state_dir: '{}'", place(state))).unwrap();
        config.check_apart(&root.join(plugins), &no_env).map_err(|error| error.to_string())
    };
    for (state, plugins, wanted) in [
        ("handlers", "handlers", "as well"),
        ("link", "handlers", "as well"),
        ("handlers/state", "link", "is in the plugin directory"),
        ("none/../handlers/state", "handlers", "is in the plugin directory"),
        ("link/../handlers/none/state", "handlers", "is in the plugin directory"),
        ("state", "state/handlers", "is in the state folder"),
        (".", "handlers", "is in the state folder"),
    ] {
        let problem = check(state, plugins).unwrap_err();
        assert!(problem.contains(wanted) && problem.contains(":1:"), "{state} {plugins}: {problem}");
    }
    for (state, plugins) in [("state", "handlers"), ("handlers-state", "handlers"), ("handlers/../state", "link")] {
        assert_eq!(check(state, plugins), Ok(()), "{state} {plugins}");
    }
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn keys_without_effect_are_named() {
    let unused = parse(EVERY_KEY).unwrap().unused();
    assert_eq!(unused.len(), UNUSED.len(), "{unused:#?}");
    assert!(parse("app_name: x").unwrap().unused().is_empty());
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn nothing_that_looks_like_a_configuration_makes_it_panic(
        text in "((telephony|media|routes|server|on_failure|tenants|ai|play|then|port|x|- |  |\\{|\\}|\\[|\\]|: |, |\n|'|\"|\\$\\{X\\}|0|1.5|yes|~|&a|\\*a|<<){0,40})",
    ) {
        let _ = parse(&text);
    }
}
