//! `voxtra demo`: three calls without a PBX, and recordings that hold what the demo says they hold.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use voxtra_e2e::caller::SAME;
use voxtra_e2e::shipped;
use voxtra_test_support::Host;
use voxtra_test_support::files::TempDir;
use voxtra_test_support::host::{Stream, guests};
use voxtra_test_support::match_audio::{Match, find, rms};
use voxtra_test_support::signals::{RATE_HZ, read_channels};

const LIMIT: Duration = Duration::from_secs(120);

/// What a quiet line may hum.
const QUIET_RMS: f64 = 10.0;

/// The caller and what the caller hears.
struct Recording {
    caller: Vec<i16>,
    heard: Vec<i16>,
}

impl Recording {
    fn read(path: &Path) -> Result<Self> {
        let mut channels = read_channels(path)?;
        assert_eq!(channels.len(), 2, "{} is not stereo", path.display());
        let heard = channels.pop().unwrap();
        Ok(Self { caller: channels.pop().unwrap(), heard })
    }

    fn heard(&self, prompt: &str) -> Result<Match> {
        look_for(prompt, &self.heard).with_context(|| format!("{prompt} in what the caller hears"))
    }
}

fn look_for(prompt: &str, signal: &[i16]) -> Result<Match> {
    let found = find(&shipped(prompt)?, signal);
    let good = found.filter(|found| found.correlation >= SAME);
    good.with_context(|| format!("the best place is {found:?}"))
}

#[tokio::test]
async fn the_demo_makes_three_calls_and_its_recordings_hold_them() -> Result<()> {
    let out = TempDir::new("demo")?;
    let (guests, folder) = (guests(), out.path().join("made"));
    let mut host = Host::start(["demo", "--guests", &guests.to_string_lossy(), "--out", &folder.to_string_lossy()])?;
    let code = host.wait(LIMIT).await?.code();
    // Its last lines may come a moment after its end.
    host.wait_for_text("demo: ", Duration::from_secs(5)).await?;
    assert_eq!(code, Some(0), "{}", host.last_lines());
    let lines = host.lines();
    let last = lines.iter().rfind(|line| line.stream == Stream::Stdout).map(|line| line.text.as_str());
    assert_eq!(last, Some("demo: 3 calls, 3 ended, 0 lost"));
    assert!(!lines.iter().any(|line| line.text.contains("NOT OK")), "{}", host.last_lines());

    for name in ["ivr-menu", "echo", "trap"] {
        drawing_is_whole(&folder.join(format!("{name}.svg")))?;
    }
    let pressed = lines.iter().find_map(|line| line.text.split_once("the caller presses "));
    let (_, key) = pressed.context("no key was pressed")?;
    menu(&Recording::read(&folder.join("ivr-menu.wav"))?, key.trim())?;
    echo(&Recording::read(&folder.join("echo.wav"))?)?;
    trap(&Recording::read(&folder.join("trap.wav"))?)
}

/// The menu is heard, a key follows it, and is said back.
fn menu(call: &Recording, key: &str) -> Result<()> {
    let digit = format!("digits/{key}");
    let told = ["hello-world", "vm-press", "you-entered", &digit, "vm-goodbye"];
    let heard: Vec<Match> = told.iter().map(|prompt| call.heard(prompt)).collect::<Result<_>>()?;
    // The menu says digits too, so that the place of the one that was pressed is not sure.
    let surely: Vec<f64> = [0, 1, 2, 4].map(|n: usize| heard[n].offset_ms).into();
    assert!(surely.is_sorted(), "the prompts came as {heard:?}");
    assert!(look_for("sorry", &call.heard).is_err(), "a prompt that was not played");
    Ok(())
}

/// The caller speaks, and the same words come back a little later.
fn echo(call: &Recording) -> Result<()> {
    let said = look_for("demo-congrats", &call.caller).context("what the caller says")?;
    let came_back = call.heard("demo-congrats")?;
    let delay_ms = came_back.offset_ms - said.offset_ms;
    println!("demo: the echo came {delay_ms:.1} ms later, likeness {:.4}", came_back.correlation);
    assert!((0.0..400.0).contains(&delay_ms), "{delay_ms}");
    Ok(())
}

/// The handler breaks; the caller, who says nothing, hears why.
fn trap(call: &Recording) -> Result<()> {
    let sorry = call.heard("tt-somethingwrong")?;
    println!("demo: the failure prompt is at {:.0} ms, likeness {:.4}", sorry.offset_ms, sorry.correlation);
    assert!(rms(&call.caller) < QUIET_RMS, "the caller of the trap says nothing");
    let length_ms = call.heard.len() as f64 * 1000.0 / f64::from(RATE_HZ);
    assert!(sorry.offset_ms < length_ms, "{length_ms}");
    Ok(())
}

fn drawing_is_whole(path: &Path) -> Result<()> {
    let svg = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{}", path.display());
    for label in ["call.started", "call.ended"] {
        assert!(svg.contains(label), "{} does not show {label}", path.display());
    }
    // Every element that is opened is closed, or closes itself.
    let opened = svg.matches('<').count() - svg.matches("</").count();
    let closed = svg.matches("</").count() + svg.matches("/>").count();
    assert_eq!(opened, closed, "{}", path.display());
    Ok(())
}
