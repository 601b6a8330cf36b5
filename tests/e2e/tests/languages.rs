//! The contract is not only for Rust: the same menu in Rust, JavaScript and Python, on the simulator and in front of a
//! real PBX.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::sync::OnceCell;
use voxtra_e2e::served::LONG;
use voxtra_e2e::{Served, Setup, hear, recorded, serve};
use voxtra_test_support::files::TempDir;
use voxtra_test_support::host::guests;
use voxtra_test_support::skips::skipped;
use voxtra_test_support::{CallOptions, Host, Phone};

/// The menu that the others are measured by.
const RUST: &str = "ivr-menu";

/// The number that leads to each of the others.
const OTHERS: [(&str, &str); 2] = [("1100", "ivr-menu-js"), ("1200", "ivr-menu-py")];

/// A simulated call takes no time. The engine may have to compile CPython, which takes 5 s where nothing else runs.
const FIRST_LOAD: Duration = Duration::from_secs(120);

/// A prompt is heard well before that.
const SOON: Duration = Duration::from_secs(15);

/// Whether there are such handlers here; that there are none is noted.
fn are_built(test: &str) -> bool {
    let missing = std::env::var("VOXTRA_SCRIPTED_GUESTS_MISSING");
    if let Ok(why) = &missing {
        skipped(test, why);
    }
    missing.is_err()
}

/// A simulated call: what it was like, and what its hang-up hook has said.
struct Account {
    call: Value,
    hook: String,
}

impl Account {
    /// Of a caller who does this.
    async fn of(guest: &str, caller: &[&str]) -> Result<Self> {
        let out = TempDir::new("languages")?;
        let component = guests().join(guest).with_extension("wasm");
        ensure!(component.is_file(), "there is no {}: build it with `cargo xtask guests`", component.display());
        let (component, folder) = (component.to_string_lossy(), out.path().to_string_lossy());
        let args = ["call", &component, "--json", "--stay", "120", "--out", &folder];
        let mut host = Host::start(args.iter().chain(caller))?;
        let code = host.wait(FIRST_LOAD).await?.code();
        let hook = host.wait_for_text("the caller chose", SOON).await.context("the hang-up hook has not run")?;
        let call = host.wait_for(|line| line.starts_with('{'), SOON).await?;
        ensure!(code == Some(0), "{guest} has ended with {code:?}: {call}");
        Ok(Self { call: serde_json::from_str(&call)?, hook: hook.split(" tenant=").next().unwrap().to_owned() })
    }

    /// What people can tell of it: which prompts came and how each ended, what was pressed, who hung up.
    fn conversation(&self) -> Vec<String> {
        let texts = |list: &str, keys: &[&str]| {
            let line = |item: &Value| keys.iter().map(|key| item[*key].to_string()).collect::<Vec<_>>().join(" ");
            self.call[list].as_array().unwrap().iter().map(line).collect::<Vec<_>>()
        };
        let mut told = texts("prompts", &["media", "end"]);
        told.extend(texts("caller", &["text"]));
        told.extend(texts("events", &["type"]));
        told.extend([self.call["ended_by"].to_string(), self.hook.clone()]);
        told
    }
}

/// Has the engine compile each of them into its cache, once for all tests: a host in front of a PBX has to be ready soon.
async fn compile() -> Result<()> {
    static COMPILED: OnceCell<()> = OnceCell::const_new();

    let each = async || {
        for (_, guest) in OTHERS {
            Account::of(guest, &["--hang-up"]).await?;
        }
        Ok(())
    };
    COMPILED.get_or_try_init(each).await.copied()
}

#[tokio::test]
async fn the_menu_is_the_same_in_every_language() -> Result<()> {
    if !are_built("the_menu_is_the_same_in_every_language") {
        return Ok(());
    }
    compile().await?;
    let callers: [(&[&str], &str); 4] = [
        (&["--wait-for-prompt", "vm-press", "--press", "1"], "sound:one-moment-please"),
        (&["--wait-for-prompt", "vm-press", "--press", "5", "--wait", "6s", "--press", "9"], "sound:auth-thankyou"),
        (&[], "sound:sorry"),
        (&["--wait-for-prompt", "vm-press", "--hang-up"], "sound:vm-press"),
    ];
    for (caller, must_hear) in callers {
        let in_rust = Account::of(RUST, caller).await?.conversation();
        assert!(in_rust.iter().any(|line| line.contains(must_hear)), "{caller:?}: {in_rust:#?}");
        for (_, guest) in OTHERS {
            assert_eq!(Account::of(guest, caller).await?.conversation(), in_rust, "{guest}, {caller:?}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_in_javascript_and_python_answer_real_calls() -> Result<()> {
    let name = "handlers_in_javascript_and_python_answer_real_calls";
    if !are_built(name) {
        return Ok(());
    }
    compile().await?;
    serve(name, Setup { handlers: &OTHERS, ..Setup::default() }, async |served| {
        for (number, guest) in OTHERS {
            answer(served, number).await.with_context(|| guest.to_owned())?;
        }
        served.until_over(OTHERS.len()).await?;
        assert_eq!(served.log.reasons(), [("handler-hung-up".to_owned(), OTHERS.len())].into());
        assert_eq!(served.log.handler_lines("the caller chose 1").count(), OTHERS.len());
        assert_eq!(served.log.handler_lines("the caller chose").count(), OTHERS.len());
        Ok(())
    })
    .await
}

/// Hears the menu, presses 1 in it, hears what follows, and is hung up.
async fn answer(served: &Served, number: &str) -> Result<()> {
    let tree = served.pbx.tree().clone();
    let call = Phone::call(served.sip(), number, CallOptions::default()).await?;
    let mut after_ms = 0.0;
    for prompt in ["hello-world", "vm-press", "digits/1"] {
        after_ms = hear(call.rtp(), prompt, &recorded(&tree, prompt)?, after_ms, SOON).await?.offset_ms + 1.0;
    }
    call.press_rfc4733("1");
    for prompt in ["you-entered", "digits/1", "one-moment-please", "vm-goodbye"] {
        let heard = hear(call.rtp(), prompt, &recorded(&tree, prompt)?, after_ms, SOON).await?;
        println!("{number}: {prompt} at {:.0} ms, likeness {:.4}", heard.offset_ms, heard.correlation);
        after_ms = heard.offset_ms + 1.0;
    }
    ensure!(call.wait_for_bye(LONG).await, "the handler did not hang up");
    Ok(())
}
