//! `voxtra call` with the example guests: handlers that call others, record, and ask for what a PBX may not have.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::f64::consts::TAU;
use std::path::Path;

use serde_json::Value;
use support::{Folder, Ran, guest};

/// A folder that has the prompts which are Asterisk's and not ours: half a second of a tone each.
fn with_prompts() -> Folder {
    let folder = Folder::new();
    let tone = (0..4_000).map(|n| (8_000.0 * (f64::from(n) / 8_000.0 * 440.0 * TAU).sin()) as i16);
    let samples: Vec<u8> = tone.flat_map(i16::to_le_bytes).collect();
    let length = samples.len() as u32;
    let mut wav = Vec::from(*b"RIFF");
    wav.extend((36 + length).to_le_bytes());
    wav.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    wav.extend([8_000_u32.to_le_bytes(), 16_000_u32.to_le_bytes()].concat());
    wav.extend(b"\x02\0\x10\0data");
    wav.extend(length.to_le_bytes());
    wav.extend(samples);
    for name in ["vm-intro", "vm-from-phonenumber", "conf-placeintoconf", "conf-thereare"] {
        folder.write(&format!("prompts/{name}.wav"), &wav);
    }
    folder
}

#[track_caller]
fn json(ran: &Ran) -> Value {
    assert_eq!(ran.code, Some(0), "{ran:?}");
    serde_json::from_str(&ran.out).unwrap()
}

fn drawing(folder: &Folder, name: &str) -> String {
    std::fs::read_to_string(folder.path().join(format!("calls/{name}.svg"))).unwrap()
}

/// The two sides of a stereo file at 8 kHz.
fn sides(file: &Path) -> [Vec<i16>; 2] {
    let wav = std::fs::read(file).unwrap();
    assert!(wav.starts_with(b"RIFF") && wav.len() > 44, "{}", file.display());
    let samples: Vec<_> = wav[44..].chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect();
    [0, 1].map(|side| samples.iter().skip(side).step_by(2).copied().collect())
}

/// How loud a part is.
fn rms(samples: &[i16], from_ms: u64, to_ms: u64) -> f64 {
    let at = |ms: u64| (ms as usize * 8).min(samples.len());
    let part = &samples[at(from_ms)..at(to_ms)];
    (part.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / part.len().max(1) as f64).sqrt()
}

/// Louder than any noise, softer than any voice.
const AUDIBLE: f64 = 100.0;

/// Runs statements of the guest `every-verb`; gives the account and the statements' results.
fn every_verb(folder: &Folder, statements: &str, args: &[&str]) -> (Value, Vec<String>) {
    let (handler, script) = (guest("every-verb"), format!("do={statements}"));
    let mut all = vec!["call", &handler, "--json", "--metadata", &script];
    all.extend(args);
    let account = json(&folder.run(&all));
    let events = account["events"].as_array().unwrap().iter();
    let results = events.filter(|event| event["data"]["name"] == "every-verb.result");
    let results = results.map(|event| event["data"]["data"]["result"].as_str().unwrap().to_owned()).collect();
    (account, results)
}

#[test]
fn a_transfer_to_a_busy_callee_is_told_and_drawn() {
    let folder = Folder::new();
    let switchboard = guest("switchboard");
    let call = folder.run(&["call", &switchboard, "--callee", "100=busy"]);
    let told = "placed:    PJSIP/100: not answered: busy (cause 17) after 0.1 s";
    assert!(call.done().contains(told), "{call:?}");
    assert!(call.out.contains("100: call.failed not-answered error=busy"), "{call:?}");
    assert!(call.out.contains("switchboard did its work"), "a busy callee is no failure of the handler's: {call:?}");
    let svg = drawing(&folder, "switchboard");
    assert!(svg.contains(">PJSIP/100</text>") && svg.contains(">not answered: busy (cause 17)</text>"), "{svg}");

    let account = json(&folder.run(&["call", &switchboard, "--callee", "100=busy", "--json"]));
    let placed = &account["placed"][0];
    assert_eq!(
        (&placed["to"], &placed["answered_ms"], &placed["wav"]),
        (&"PJSIP/100".into(), &Value::Null, &Value::Null)
    );
    assert_eq!(placed["ended_by"], "not answered: busy (cause 17)");
    assert_eq!(placed["ended_ms"].as_u64().unwrap() - placed["placed_ms"].as_u64().unwrap(), 100);
}

#[test]
fn each_way_not_to_answer_is_told_by_its_own_name() {
    let folder = Folder::new();
    let switchboard = guest("switchboard");
    for (what, told, after_ms) in [
        ("no-answer", "not answered: no-answer (cause 19)", 20_000),
        ("rejected", "not answered: rejected (cause 21)", 1_000),
        ("congestion", "not answered: congestion (cause 34)", 100),
    ] {
        let callee = format!("100={what}");
        let account = json(&folder.run(&["call", &switchboard, "--callee", &callee, "--json"]));
        let placed = &account["placed"][0];
        assert_eq!(placed["ended_by"], told, "{what}");
        let took_ms = placed["ended_ms"].as_u64().unwrap() - placed["placed_ms"].as_u64().unwrap();
        assert!(took_ms.abs_diff(after_ms) <= 40, "{what}: {took_ms}");
    }
}

#[test]
fn a_callee_who_takes_the_call_and_the_caller_hear_each_other() {
    let folder = with_prompts();
    let switchboard = guest("switchboard");
    let callee = "100=answer@1s: wait for prompt vm-press; press 1; wait 3s; say sound:hello-world; wait 1s; hang up";
    let caller = ["--wait", "6s", "--say", "sound:demo-congrats", "--prompts", "prompts", "--json"];
    let account = json(&folder.run(&[&["call", &switchboard, "--callee", callee], caller.as_slice()].concat()));
    let placed = &account["placed"][0];
    assert_eq!((&placed["ended_by"], &placed["pressed"][0]["key"]), (&"who was called hung up".into(), &"1".into()));
    let ms = |value: &Value| value.as_u64().unwrap();
    assert_eq!(ms(&placed["answered_ms"]) - ms(&placed["placed_ms"]), 1_000);

    let [said, heard] = sides(&folder.path().join(placed["wav"].as_str().unwrap()));
    let pressed_ms = ms(&placed["pressed"][0]["at_ms"]) - ms(&placed["placed_ms"]);
    // From the key on nothing is played to the callee.
    assert!(rms(&said, pressed_ms + 2_500, pressed_ms + 4_500) > AUDIBLE);
    assert!(rms(&heard, pressed_ms + 500, u64::MAX) > AUDIBLE);
    let [_, heard] = sides(&folder.path().join("calls/switchboard.wav"));
    let pressed_ms = ms(&placed["pressed"][0]["at_ms"]);
    assert!(rms(&heard, pressed_ms + 2_500, pressed_ms + 4_500) > AUDIBLE);

    let svg = drawing(&folder, "switchboard");
    for text in ["with PJSIP/100", "vm-from-phonenumber", "who was called hung up", "presses 1"] {
        assert!(svg.contains(text), "{text}: {svg}");
    }
}

#[test]
fn a_conference_draws_each_member_with_what_became_of_it() {
    let folder = with_prompts();
    let conference = guest("conference");
    let call = folder.run(&[
        "call",
        &conference,
        "--prompts",
        "prompts",
        "--metadata",
        "members=200 201 202",
        "--callee",
        "200=answer@1s: wait 8s; hang up",
        "--callee",
        "201=rejected",
        "--callee",
        "202=answer@3s: wait 4s; press *",
    ]);
    for line in [
        "placed:    PJSIP/200: answered after 1.0 s; who was called hung up after 9.0 s",
        "placed:    PJSIP/201: not answered: rejected (cause 21) after 1.0 s",
        "placed:    PJSIP/202: answered after 3.0 s; the host hung up after",
        "calls/conference-callee-3.wav",
    ] {
        assert!(call.done().contains(line), "{line}: {call:?}");
    }
    assert!(!folder.path().join("calls/conference-callee-2.wav").exists(), "nobody was heard there");
    let svg = drawing(&folder, "conference");
    for lane in ["PJSIP/200", "PJSIP/201", "PJSIP/202", "bridge"] {
        assert!(svg.contains(&format!(">{lane}</text>")), "{lane}: {svg}");
    }
}

#[test]
fn what_is_recorded_is_beside_the_drawing_and_in_it() {
    let folder = with_prompts();
    let voicemail = guest("voicemail");
    let steps = ["--wait", "1s", "--say", "sound:demo-congrats", "--press", "#", "--prompts", "prompts"];
    let call = folder.run(&[&["call", &voicemail], steps.as_slice()].concat());
    assert!(call.done().contains("recorded:  by the host: "), "{call:?}");
    assert!(call.out.contains("calls/voicemail-recording-1.wav"), "{call:?}");
    let [said, _] = sides(&folder.path().join("calls/voicemail-recording-1.wav"));
    assert!(rms(&said, 0, u64::MAX) > AUDIBLE, "the message has words in it");
    let svg = drawing(&folder, "voicemail");
    assert!(svg.contains(">recorded</text>") && svg.contains(">by the host</text>"), "{svg}");
    let left: Vec<_> =
        std::fs::read_dir(folder.path().join("calls")).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_str().unwrap().starts_with('.')), "no spool is left: {left:?}");
}

#[test]
fn recordings_by_host_and_pbx_of_caller_and_callee_are_listed_as_they_began() {
    let folder = Folder::new();
    let statements = "answer; record host name=mine sink=archive; originate 200; on 1 wait-answer 5000; \
                      on 1 record pbx name=theirs 1000; record-stop";
    let (account, results) = every_verb(&folder, statements, &["--callee", "200=answer@1s: say sound:demo-congrats"]);
    assert!(results.iter().all(|result| result.starts_with("ok")), "{results:?}");
    let recordings = account["recordings"].as_array().unwrap();
    let told: Vec<_> =
        recordings.iter().map(|r| (r["name"].as_str().unwrap(), r["recorder"].as_str().unwrap())).collect();
    assert_eq!(told, [("mine", "host"), ("theirs", "pbx")]);
    assert_eq!(recordings[1]["call"], account["placed"][0]["call"]);
    for (index, recording) in recordings.iter().enumerate() {
        let wav = recording["wav"].as_str().unwrap();
        assert_eq!(wav, format!("calls/every-verb-recording-{}.wav", index + 1));
        let size = std::fs::metadata(folder.path().join(wav)).unwrap().len();
        assert_eq!(recording["size_bytes"].as_u64().unwrap(), size);
    }
    assert!(drawing(&folder, "every-verb").contains("theirs, by the PBX, of PJSIP/200"));
}

#[test]
fn without_callees_a_handler_that_originates_is_denied_as_a_tenant_without_dial() {
    let folder = Folder::new();
    let call = folder.run(&["call", &guest("switchboard")]);
    assert_eq!(call.code, Some(1), "{call:?}");
    assert!(call.out.contains("denied: this tenant may place no calls; say in dial which it may"), "{call:?}");
    assert!(!call.out.contains("placed:"), "{call:?}");
}

#[test]
fn only_callees_that_are_named_can_be_called() {
    let folder = Folder::new();
    let (account, results) = every_verb(
        &folder,
        "answer; originate 201; originate PJSIP/200; originate PJSIP/desk@trunk; on 1 wait-answer 5000; on 1 detect pbx",
        &["--callee", "200=busy", "--callee", "PJSIP/desk@trunk=machine@500ms"],
    );
    assert!(results[1].starts_with("error denied the number 201"), "{results:?}");
    assert!(results[2].starts_with("error denied PJSIP/200"), "{results:?}");
    assert_eq!(results[4..], ["ok yes", "ok machine"], "{results:?}");
    assert_eq!(account["placed"].as_array().unwrap().len(), 1);
    assert_eq!(account["placed"][0]["to"], "PJSIP/desk@trunk");
}

#[test]
fn what_the_pbx_has_and_has_not_reaches_the_handler() {
    let folder = Folder::new();
    let statements = "answer; variable-get LEVEL; variable-get OTHER; queue support; transfer 100@sales; \
                      transfer 100@inside; transfer 999; dialplan sales 101";
    let args = [
        "--variable",
        "LEVEL=gold",
        "--absent-queue",
        "support",
        "--absent-place",
        "sales,100",
        "--absent-place",
        "999",
    ];
    let (account, results) = every_verb(&folder, statements, &args);
    let wanted = [
        "ok",
        "ok gold",
        "ok none",
        "error telephony the PBX has no queue support",
        "error telephony the PBX's dialplan has no 100@sales",
        "error denied calls may not be handed to the context inside",
        "error telephony the PBX's dialplan has no 999",
    ];
    for (result, wanted) in results.iter().zip(wanted) {
        assert!(result.starts_with(wanted), "{wanted}: {result}");
    }
    assert_eq!(account["ended_by"], "transferred to 101@sales");
    assert_eq!(account["variables"]["LEVEL"], "gold");
}

#[test]
fn a_context_that_is_named_can_be_gone_to() {
    let folder = Folder::new();
    let (account, _) = every_verb(&folder, "answer; transfer 100@sales", &["--context", "sales"]);
    assert_eq!(account["ended_by"], "transferred to 100@sales");
}

#[test]
fn bad_arguments_are_refused_with_a_sentence_that_names_them() {
    let folder = Folder::new();
    let handler = guest("every-verb");
    for (flag, value, wanted) in [
        ("--callee", "100=maybe", "--callee 100=maybe: `maybe` is nothing that a callee does; write `busy`"),
        ("--callee", "100", "--callee 100: nothing says what comes of it; write one such as `100=busy`"),
        ("--absent-queue", "a b", "--absent-queue a b: "),
        ("--absent-place", "a,b,c", "--absent-place a,b,c: "),
        ("--context", "a/b", "--context a/b: "),
        ("--variable", "LEVEL", "--variable \"LEVEL\": it has no value"),
        ("--metadata", "x", "--metadata \"x\": it has no value"),
        ("--metadata", "=x", "--metadata: "),
        ("--prompts", "nowhere", "nowhere"),
        ("--out", "/dev/null/x", "name another folder with --out"),
    ] {
        let ran = folder.run(&["call", &handler, flag, value]);
        assert!(ran.refused().contains(wanted), "{flag} {value}: {ran:?}");
    }
}

#[test]
fn every_flag_of_the_pbx_has_an_example() {
    let folder = Folder::new();
    let help = folder.run(&["call", "--help"]);
    let (_, examples) = help.done().split_once("\nExamples:").unwrap();
    let what = ["=busy", "=answer@2s:", "=machine@", "no-answer", "rejected", "congestion"];
    let flags = ["--callee", "--absent-queue", "--absent-place", "--context", "--variable", "--metadata", "--prompts"];
    for text in flags.iter().chain(&what) {
        assert!(examples.contains(text), "{text}: {examples}");
    }
}
