#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use voxtra_core::{BridgeId, CallId, Direction};

use super::*;
use crate::simulator::report::{EndedBy, PlayedPrompt, TimedEvent};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn report(length: Duration) -> CallReport {
    let samples = length.as_millis() as usize * 8;
    CallReport {
        call: CallId::from("sim-1"),
        caller_id: "1000".to_owned(),
        called_number: "100".to_owned(),
        direction: Direction::Inbound,
        began: Duration::ZERO,
        answered_at: None,
        duration: length,
        ended_by: EndedBy::Caller,
        events: Vec::new(),
        prompts: Vec::new(),
        heard: vec![0; samples],
        said: vec![0; samples],
        dropped_frames: 0,
        missed: Vec::new(),
        steps_left: 0,
        variables: BTreeMap::new(),
    }
}

/// A checker of well-formedness for what we write: elements nest, attributes are quoted and distinct, references known.
fn check_xml(text: &str) -> Result<usize, String> {
    let mut open: Vec<&str> = Vec::new();
    let (mut rest, mut elements) = (text, 0);
    while let Some(at) = rest.find('<') {
        check_references(&rest[..at])?;
        if open.is_empty() && !rest[..at].trim().is_empty() {
            return Err("text outside of the root".to_owned());
        }
        let end = rest[at..].find('>').ok_or("a tag does not end")? + at;
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            if open.pop() != Some(name) {
                return Err(format!("</{name}> closes nothing"));
            }
            continue;
        }
        elements += 1;
        let empty = tag.ends_with('/');
        let tag = tag.trim_end_matches('/');
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        check_attributes(attributes)?;
        if !empty {
            open.push(name);
        }
    }
    if !open.is_empty() || !rest.trim().is_empty() {
        return Err(format!("left open: {open:?}"));
    }
    Ok(elements)
}

fn check_attributes(mut rest: &str) -> Result<(), String> {
    let mut names = Vec::new();
    while let Some((name, after)) = rest.trim_start().split_once("=\"") {
        let (value, after) = after.split_once('"').ok_or("an attribute does not end")?;
        check_references(value)?;
        if names.contains(&name) || name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
            return Err(format!("attribute {name:?}"));
        }
        names.push(name);
        rest = after;
    }
    if rest.trim().is_empty() { Ok(()) } else { Err(format!("in a tag: {rest:?}")) }
}

fn check_references(text: &str) -> Result<(), String> {
    for part in text.split('&').skip(1) {
        if !["amp;", "lt;", "gt;", "quot;", "#39;"].iter().any(|r| part.starts_with(r)) {
            return Err(format!("&{part}"));
        }
    }
    match text.chars().find(|c| *c < ' ' && !"\t\n\r".contains(*c) || "\u{fffe}\u{ffff}".contains(*c)) {
        Some(c) => Err(format!("{c:?} cannot be in XML")),
        None => Ok(()),
    }
}

#[test]
fn the_checker_finds_what_is_wrong() {
    assert_eq!(check_xml("<a b=\"1\"><c/>x &amp; y</a>").unwrap(), 2);
    for bad in
        ["<a>", "<a></b>", "<a b=1/>", "<a b=\"&x\"/>", "<a>&</a>", "<a>\u{1}</a>", "<a b=\"1\" b=\"2\"/>", "<a/>x"]
    {
        assert!(check_xml(bad).is_err(), "{bad}");
    }
}

#[test]
fn everything_that_happened_can_be_found_in_it() {
    let mut report = report(ms(5_000));
    report.answered_at = Some(ms(500));
    report.prompts.push(PlayedPrompt {
        media: "sound:welcome".to_owned(),
        from: ms(600),
        to: ms(3_000),
        end: PromptEnd::Stopped,
    });
    report.events.push(TimedEvent { at: ms(3_000), event: CallerEvent::Pressed('7') });
    let svg = Timeline::new(&report).title("A <test> & more").event(ms(3_020), "dtmf.received").to_svg();
    check_xml(&svg).unwrap();
    for text in [
        "A &lt;test&gt; &amp; more",
        ">welcome</text>",
        ">7</text>",
        ">dtmf.received</text>",
        ">in progress</text>",
        "ringing",
    ] {
        assert!(svg.contains(text), "{text}");
    }
}

#[test]
fn a_call_of_no_length_can_be_drawn() {
    let svg = Timeline::new(&report(Duration::ZERO)).to_svg();
    assert!(check_xml(&svg).unwrap() > 5);
    assert!(!svg.contains("NaN") && !svg.contains("inf"));
}

#[test]
fn what_could_not_be_played_is_marked() {
    let mut report = report(ms(1_000));
    let end = PromptEnd::Failed("no such".to_owned());
    report.events.push(TimedEvent { at: ms(10), event: CallerEvent::PromptEnded("sound:x".to_owned(), end) });
    assert!(Timeline::new(&report).to_svg().contains(">cannot play sound:x</text>"));
}

#[test]
fn what_came_of_a_placed_call_stands_behind_its_lane() {
    let caller = CallReport { answered_at: Some(ms(0)), ..report(ms(9_000)) };
    let busy = CallReport {
        called_number: "PJSIP/+265212345678@trunk".to_owned(),
        began: ms(1_000),
        ended_by: EndedBy::NotAnswered(voxtra_core::HangupCause::Busy),
        ..report(ms(100))
    };
    let mut talks = CallReport {
        called_number: "PJSIP/200".to_owned(),
        began: ms(2_000),
        answered_at: Some(ms(1_000)),
        ended_by: EndedBy::Callee,
        ..report(ms(5_000))
    };
    talks.events.push(TimedEvent { at: ms(1_500), event: CallerEvent::Pressed('4') });
    let prompt = |media: &str, end| PlayedPrompt { media: media.to_owned(), from: ms(1_000), to: ms(4_000), end };
    talks.prompts.push(prompt("sound:beep", PromptEnd::Finished));
    let placed = [busy, talks];
    let svg = Timeline::new(&caller).placed_calls(&placed).to_svg();
    check_xml(&svg).unwrap();
    for text in [
        ">+2652123456…</text>",
        ">PJSIP/200</text>",
        ">not answered: busy (cause 17)</text>",
        ">who was called hung up</text>",
        ">4</text>",
        ">beep</text>",
        "3.00 s to 6.00 s: sound:beep",
    ] {
        assert!(svg.contains(text), "{text}: {svg}");
    }
}

#[test]
fn recordings_at_one_time_stand_below_each_other() {
    let caller = report(ms(8_000));
    let span = |from, to, label: &str| (ms(from), ms(to), label.to_owned());
    let both = [span(4_000, 6_000, "second"), span(0, 5_000, "first"), span(5_000, 8_000, "third")];
    let svg = Timeline::new(&caller).recordings(both).to_svg();
    check_xml(&svg).unwrap();
    let y = |label: &str| {
        let text = svg.lines().find(|line| line.contains(&format!(">{label}</text>"))).unwrap();
        text.split(" y=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap().parse::<f64>().unwrap()
    };
    assert!(y("first") == y("third") && y("second") > y("first"));
    let many = (0..20).map(|n| span(0, 1_000, &format!("r{n}")));
    let svg = Timeline::new(&caller).recordings(many).to_svg();
    assert_eq!(svg.matches("class=\"recorded\"").count(), 8);
}

proptest! {
    #[test]
    fn no_label_and_no_time_makes_it_anything_but_xml(
        length_ms in 0_u64..4_000_000,
        labels in prop::collection::vec((0_u64..5_000_000, any::<String>()), 0..20),
        title in any::<String>(),
    ) {
        let mut report = report(ms(0));
        report.duration = ms(length_ms);
        report.caller_id = title.clone();
        let with = labels.iter().map(|(_, label)| label.clone()).collect();
        let bridged = CallerEvent::Bridged { bridge: BridgeId::from("b"), with };
        report.events.push(TimedEvent { at: ms(length_ms / 2), event: bridged });
        report.events.push(TimedEvent { at: ms(length_ms / 3), event: CallerEvent::Held(title.clone()) });
        let placed = [CallReport { called_number: title.clone(), began: ms(length_ms / 4), ..report.clone() }];
        let events = labels.into_iter().map(|(at, label)| (ms(at), label));
        let recordings = [(ms(length_ms / 2), ms(length_ms / 3), title.clone())];
        let timeline = Timeline::new(&report).title(title).events(events).placed_calls(&placed);
        let svg = timeline.recordings(recordings).to_svg();
        prop_assert!(check_xml(&svg).is_ok(), "{:?}", check_xml(&svg));
        prop_assert!(!svg.contains("NaN"));
    }
}
