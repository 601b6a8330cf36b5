//! The program from outside: what it prints, what it writes, its exit codes.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::net::TcpListener;

use support::{Folder, answering, guest};

const UNAUTHORISED: &str = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// A port on which nobody listens.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn info_names_version_engine_contract_and_adapters() {
    let folder = Folder::new();
    let text = folder.run(&["info"]);
    for part in ["voxtra", "wasmtime 48", "voxtra:call@0.1", "asterisk, simulator", "audiosocket, websocket"] {
        assert!(text.done().contains(part), "{part}: {text:?}");
    }
    let json: serde_json::Value = serde_json::from_str(folder.run(&["info", "--json"]).done()).unwrap();
    assert_eq!(json["telephony"], serde_json::json!(["asterisk", "simulator"]));
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn the_starter_configuration_is_accepted_by_check() {
    let folder = Folder::new();
    folder.run(&["init"]).done();
    let check = folder.run(&["check", "--offline"]);
    assert!(check.done().contains("ok    configuration"), "{check:?}");
    assert!(!check.out.contains("bad"), "{check:?}");
}

#[test]
fn init_takes_a_folder_or_a_file_and_overwrites_nothing() {
    let folder = Folder::new();
    folder.run(&["init", "new/place"]).done();
    folder.run(&["init", "other.yaml"]).done();
    let kept = folder.write("voxtra.yaml", "app_name: mine\n");
    assert!(folder.run(&["init"]).refused().contains("voxtra.yaml: the file is there already"));
    assert_eq!(std::fs::read_to_string(kept).unwrap(), "app_name: mine\n");
    folder.run(&["check", "--offline", "-c", "new/place/voxtra.yaml"]).done();
}

#[test]
fn a_broken_configuration_is_refused_by_start_with_file_line_and_advice() {
    let folder = Folder::new();
    for (text, wanted) in [
        ("app_name: x\nmeida: {}\n", "voxtra.yaml:2: there is no key `meida` here; write `media`, or take it out"),
        (
            "server:\n  port: soon\n",
            "voxtra.yaml:2: server.port: found the text `soon`, wanted a whole number; change it",
        ),
        (
            "telephony:\n  asterisk:\n    password: ${VOXTRA_TEST_UNSET}\n",
            "voxtra.yaml:3: the environment has no variable VOXTRA_TEST_UNSET; set it, or write the value here",
        ),
        (
            "telephony: {provider: freeswitch}\n",
            "voxtra.yaml:1: telephony.provider: `freeswitch` is not compiled into this host; write `asterisk`",
        ),
        (
            "media:\n  transport: websockt\n",
            "voxtra.yaml:2: media.transport: `websockt` is not possible here; write `websocket`",
        ),
    ] {
        folder.write("voxtra.yaml", text);
        assert_eq!(folder.run(&["start"]).refused(), wanted);
        let check = folder.run(&["check", "--offline"]);
        assert_eq!(check.code, Some(2), "{check:?}");
        assert!(check.out.contains(wanted), "{check:?}");
    }
    assert!(folder.run(&["start", "-c", "gone.yaml"]).refused().contains("gone.yaml: the file is not there"));
    assert!(folder.run(&["start", "-c", "."]).refused().contains("it cannot be read"));
}

#[test]
fn a_port_in_use_is_refused_with_its_address_and_its_key() {
    let folder = Folder::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    folder.write("voxtra.yaml", format!("app_name: x\nmedia:\n  audiosocket_listen: {address}\n"));
    folder.write("plugins/readme.txt", "");
    let start = folder.run(&["start"]);
    let wanted = format!("voxtra.yaml:3: media.audiosocket_listen: cannot listen on {address}");
    assert!(start.refused().starts_with(&wanted), "{start:?}");
    let check = folder.run(&["check", "--offline"]);
    assert_eq!(check.code, Some(2), "{check:?}");
    assert!(check.out.contains(&wanted), "{check:?}");
}

#[test]
fn a_folder_of_handlers_that_is_not_there_is_refused() {
    let folder = Folder::new();
    let start = folder.run(&["start", "--plugins", "nowhere"]);
    assert!(start.refused().contains("nowhere"), "{start:?}");
    assert!(start.err.contains("--plugins"), "{start:?}");
}

#[test]
fn what_is_no_handler_is_refused_with_a_sentence() {
    let folder = Folder::new();
    folder.write("text.wasm", "hello");
    folder.write("module.wasm", b"\0asm\x01\0\0\0");
    folder.write("empty.wasm", "");
    folder.write("broken.wasm", b"\0asm\x0d\0\x01\0rest");
    for (file, wanted) in [
        ("text.wasm", "not WebAssembly"),
        ("module.wasm", "core WebAssembly module"),
        ("empty.wasm", "empty"),
        ("broken.wasm", "no valid component"),
        ("gone.wasm", "not there"),
        (".", "file name"),
    ] {
        let call = folder.run(&["call", file]);
        assert!(call.refused().contains(wanted), "{file}: {call:?}");
    }
}

#[test]
fn check_reports_every_handler_that_does_not_load() {
    let folder = Folder::new();
    folder.write("plugins/one.wasm", "hello");
    folder.write("plugins/acme/two.wasm", b"\0asm\x01\0\0\0");
    folder.write("plugins/notes.txt", "no handler, no finding");
    let check = folder.run(&["check", "--offline", "--json"]);
    assert_eq!(check.code, Some(2), "{check:?}");
    let json: serde_json::Value = serde_json::from_str(&check.out).unwrap();
    let bad: Vec<_> = json["findings"].as_array().unwrap().iter().filter(|f| f["verdict"] == "bad").collect();
    assert_eq!((json["ok"].as_bool(), bad.len()), (Some(false), 2), "{check:?}");
}

#[test]
fn check_says_what_a_tenants_file_names_and_is_not_there() {
    let folder = Folder::new();
    folder.write(
        "voxtra.yaml",
        "tenants: {acme: {secrets: {known: {value: long-enough, servers: [api.example.com]}}}}\n",
    );
    let named = "secrets = [\"known\", \"crm\"]\nrecording_sinks = [\"local\", \"vault\"]\n";
    folder.write("plugins/acme/tenant.toml", named);
    let check = folder.run(&["check", "--offline"]);
    for part in ["secret `crm`", "tenants.acme.secrets", "vault"] {
        assert!(check.done().contains(part), "{part}: {check:?}");
    }
    assert!(!check.out.contains("`known`") && !check.out.contains("`local`"), "{check:?}");
    // What the operator's own file names stops the start.
    folder.write("voxtra.yaml", "tenants:\n  acme:\n    recording_sinks: [vault]\n");
    let check = folder.run(&["check", "--offline"]);
    assert_eq!(check.code, Some(2), "{check:?}");
    assert!(check.out.contains("voxtra.yaml:3: tenants.acme.recording_sinks: "), "{check:?}");
}

#[test]
fn routes_show_of_two_that_claim_one_the_handler_that_has_served() {
    let folder = Folder::new();
    folder.write("voxtra.yaml", "state_dir: state\n");
    for handler in ["a0", "r9"] {
        folder.write(&format!("plugins/acme/{handler}.wasm"), "not loaded for a list");
        folder.write(&format!("plugins/acme/{handler}.toml"), "routes = [{extension = \"100\"}]");
    }
    let takes = |handler: &str| {
        let routes = folder.run(&["routes", "--json"]);
        let rows: serde_json::Value = serde_json::from_str(routes.done()).unwrap();
        let row = rows.as_array().unwrap().iter().find(|row| row["to"] == "100").unwrap().clone();
        assert_eq!(row["handler"], handler, "{routes:?}");
    };
    takes("a0");
    folder.write("state/versions/handlers/acme/r9.a.json", "its name is enough");
    takes("r9");
}

#[test]
fn a_bad_step_of_a_caller_is_refused() {
    let folder = Folder::new();
    for (args, wanted) in [
        (["--press", "1x"], "no key of a telephone"),
        (["--wait", "soon"], "is no time"),
        (["--say", "gone.wav"], "gone.wav"),
    ] {
        let call = folder.run(&["call", "x.wasm", args[0], args[1]]);
        assert!(call.refused().contains(wanted), "{call:?}");
    }
}

#[test]
fn a_wrong_password_ends_the_start_with_a_sentence_that_does_not_hold_it() {
    let folder = Folder::new();
    folder.write("plugins/readme.txt", "");
    let url = answering(UNAUTHORISED);
    let config = format!("telephony:\n  asterisk:\n    base_url: {url}\n    username: joe\n    password: sesame\n");
    folder.write("voxtra.yaml", config);
    let start = folder.run(&["start", "--log-format", "json"]);
    assert_eq!(start.code, Some(2), "{start:?}");
    let last = start.err.trim_end().lines().last().unwrap();
    assert!(last.starts_with("voxtra.yaml:2: telephony.asterisk: "), "{start:?}");
    assert!(last.contains("joe") && !start.err.contains("sesame"), "{start:?}");
    let check = folder.run(&["check"]);
    assert_eq!(check.code, Some(2), "{check:?}");
    assert!(check.out.contains("joe") && !check.out.contains("sesame"), "{check:?}");
}

#[test]
fn without_a_file_the_environment_is_named() {
    let folder = Folder::new();
    folder.write("plugins/readme.txt", "");
    let mut command = folder.command(&["start"]);
    command.env("VOXTRA_ARI_URL", answering(UNAUTHORISED)).env("VOXTRA_ARI_PASSWORD", "sesame");
    let start = support::Ran::wait(command);
    assert_eq!(start.code, Some(2), "{start:?}");
    let last = start.err.trim_end().lines().last().unwrap();
    assert!(last.starts_with("VOXTRA_ARI_URL, VOXTRA_ARI_USER, VOXTRA_ARI_PASSWORD: "), "{start:?}");
    assert!(!start.err.contains("sesame"), "{start:?}");
}

#[test]
fn a_host_that_starts_before_its_pbx_waits_for_it_and_stops_when_told() {
    let folder = Folder::new();
    folder.write("plugins/broken.wasm", "hello");
    for name in ["TERM", "INT"] {
        let mut command = folder.command(&["start"]);
        command.env("VOXTRA_ARI_URL", format!("http://127.0.0.1:{}", free_port()));
        let mut host = support::Running::spawn(command);
        host.wait_for("not WebAssembly");
        host.wait_for("trying again");
        host.signal(name);
        let (code, lines) = host.end();
        assert_eq!(code, Some(0), "{lines}");
    }
}

#[test]
fn a_second_host_on_one_state_is_refused_before_it_touches_the_firsts_versions() {
    let folder = Folder::new();
    let pbx = format!("telephony: {{asterisk: {{base_url: 'http://127.0.0.1:{}'}}}}", free_port());
    folder.write("voxtra.yaml", format!("state_dir: state\n{pbx}\nmetrics: {{listen: off}}\n"));
    folder.write("plugins/readme.txt", "");
    folder.write("others/minimal.wasm", std::fs::read(guest("minimal")).unwrap());
    let mut first = support::Running::spawn(folder.command(&["start"]));
    first.wait_for("trying again");
    let second = folder.run(&["start", "--plugins", "others"]);
    assert!(second.refused().contains("another host works on"), "{second:?}");
    let known = std::fs::read_dir(folder.path().join("state/versions/handlers")).unwrap();
    assert_eq!(known.count(), 0, "a handler of the second's has a version");
    first.signal("TERM");
    assert_eq!(first.end().0, Some(0));
}

#[test]
fn check_says_that_asterisk_cannot_be_reached() {
    let folder = Folder::new();
    folder.write("plugins/readme.txt", "");
    let url = format!("http://127.0.0.1:{}", free_port());
    folder.write("voxtra.yaml", format!("telephony:\n  asterisk:\n    base_url: {url}\n"));
    let check = folder.run(&["check"]);
    assert_eq!(check.code, Some(2), "{check:?}");
    assert!(check.out.contains("voxtra.yaml:3: telephony.asterisk.base_url: "), "{check:?}");
}

#[test]
fn a_demo_without_its_guests_says_what_to_do() {
    let folder = Folder::new();
    assert!(folder.run(&["demo"]).refused().contains("cargo xtask demo"));
}

#[test]
fn help_shows_examples() {
    let folder = Folder::new();
    for command in ["start", "check", "info", "init", "call", "demo"] {
        let help = folder.run(&[command, "--help"]);
        assert!(help.done().contains("Examples:"), "{help:?}");
    }
}

#[test]
fn inspect_says_in_plain_words_what_a_component_could_do() {
    let folder = Folder::new();
    let ran = folder.run(&["handlers", "inspect", &guest("switchboard")]);
    let text = ran.done();
    for part in [
        "a handler for voxtra:call@0.1.0",
        "It could, as far as its tenant may:",
        "  place calls of its own (originate; needs originate and dial)",
        "It could not:",
        "  record its call",
        "Nothing on its outside keeps this host from taking it.",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let ran = folder.run(&["handlers", "inspect", &guest("hostile/network"), "--json"]);
    let json: serde_json::Value = serde_json::from_str(ran.done()).unwrap();
    assert!(json["refused"].as_str().unwrap().contains("wasi:sockets"), "{json}");
    assert_eq!(json["sha256"].as_str().unwrap().len(), 64);
}

#[test]
fn inspect_answers_to_what_is_no_component_in_one_sentence() {
    let folder = Folder::new();
    folder.write("text.wasm", "hello");
    folder.write("cut.wasm", b"\0asm\x0d\0\x01\0\x07\xff\xff\xff\xff\x0f");
    for (file, wanted) in [
        ("text.wasm", "text.wasm: it is not WebAssembly"),
        ("cut.wasm", "cut.wasm: it is no valid component"),
        ("gone.wasm", "gone.wasm: the file is not there"),
        (".", ".: it is not a file"),
    ] {
        let ran = folder.run(&["handlers", "inspect", file]);
        assert!(ran.refused().contains(wanted), "{ran:?}");
    }
}
