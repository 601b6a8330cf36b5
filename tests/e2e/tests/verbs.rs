//! Every verb of the control level, from a real component through the whole host to a real Asterisk. What each does to
//! the other leg is measured in `host/telephony/tests`; here is whether all of it is reached, authorised and answered.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use voxtra_e2e::caller::call;
use voxtra_e2e::served::LONG;
use voxtra_e2e::{HostLog, Setup, serve};

const HANDLERS: &[(&str, &str)] = &[("9000", "every-verb")];

/// The results of a script's statements, by their numbers.
fn results(log: &HostLog) -> BTreeMap<u64, (String, String)> {
    let own = log.of_kind("custom").filter(|event| event.text("name") == "every-verb.result");
    own.filter_map(|event| {
        let data = event.data.get("data")?;
        let text = |key: &str| data.get(key).and_then(|v| v.as_str()).unwrap_or("").to_owned();
        Some((data.get("n")?.as_u64()?, (text("statement"), text("result"))))
    })
    .collect()
}

/// Runs the script of the route `9001` and compares the results; what a wanted result ends with `*` may go on.
async fn script(name: &str, more: &'static str, wanted: &[&str]) -> Result<()> {
    let setup = Setup { handlers: HANDLERS, more: more.into(), ..Setup::default() };
    serve(name, setup, async |served| {
        let caller = call(served.sip(), "9001").await?;
        ensure!(caller.wait_for_bye(Duration::from_secs(60)).await, "the script does not end");
        served.until("the script is done", LONG, |log| results(log).len() >= wanted.len()).await?;
        let got = results(&served.log);
        for ((n, (statement, result)), wanted) in got.iter().zip(wanted) {
            let fits = match wanted.strip_suffix('*') {
                Some(start) => result.starts_with(start),
                None => result == wanted,
            };
            ensure!(fits, "{n} `{statement}` gave {result:?}, not {wanted:?}; all: {got:#?}");
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_reaches_the_pbx_with_every_verb_of_one_call() -> Result<()> {
    script(
        "a_component_reaches_the_pbx_with_every_verb_of_one_call",
        "  - {extension: '9001', handler: every-verb, metadata: {do: 'ring; answer; answer; hold; state; unhold; state; \
         variable-set GREETING hello; variable-get GREETING; variable-get NOBODY; variable-set CHANNEL x; \
         play sound:vm-goodbye; playback sound:demo-congrats; wait 300; playback-stop; playback-wait 2000; \
         record pbx 1200; record host 1200; snoop in out; snoop-hear 300; snoop-play sound:vm-goodbye; snoop-stop; \
         metadata-share do; emit my.event {}; store-set k v; store-get k; store-cas k - w; store-delete k; \
         queue nosuch; dialplan nosuch s 1; batch x 1'}}\n",
        &[
            "ok", "ok", "ok", "ok", "ok on-hold", "ok", "ok in-progress", "ok", "ok hello", "ok none",
            "error invalid-argument*", "ok finished", "ok *", "ok", "ok", "ok stopped", "ok *", "ok *", "ok *", "ok *",
            "ok", "ok", "ok", "ok", "ok 1", "ok 1 v", "ok conflict 1*", "ok yes", "error telephony*", "error denied*", "error denied*",
        ],
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_places_joins_and_parts_calls_within_its_dial_policy() -> Result<()> {
    script(
        "a_component_places_joins_and_parts_calls_within_its_dial_policy",
        "  - {extension: '9001', handler: every-verb, metadata: {do: 'answer; originate Local/tone@callers; \
         on 1 wait-answer 5000; bridge; bridge-add 0 1; wait 500; bridge-play sound:vm-goodbye; bridge-remove 1; \
         bridge-destroy; on 1 hangup; originate Local/busy@callers; on 2 expect ended 5000; originate PJSIP/evil; \
         originate 00900123; transfer echo@callers'}}\n\
         dial: {endpoints: ['Local/tone@callers', 'Local/busy@callers']}\n",
        &[
            "ok",
            "ok 1 *",
            "ok yes",
            "ok *",
            "ok",
            "ok",
            "ok*",
            "ok",
            "ok",
            "ok",
            "ok 2 *",
            "ok ended*",
            "error denied*",
            "error denied*",
            "error denied*",
        ],
    )
    .await
}
