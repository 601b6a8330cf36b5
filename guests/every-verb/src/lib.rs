//! A test guest that does what a script in its call's note `do` says: any verb of the contract, from a real component.
//!
//! # The script
//! Statements with `;` or line ends between, done in order. A statement is a verb and its words; `"two words"` are one word,
//! and what is inside `{}` or `""` holds no end of a statement. In front of it may stand `on N`: then it is about the
//! N-th call that `originate` has placed (from 1; 0 is the handler's own, as when nothing is said).
//!
//! Each statement has a result: `ok`, `ok VALUE` or `error KIND TEXT`. KIND is the contract's name (`hung-up`,
//! `invalid-argument`, ...) or `script` for what is not understood. The result of the n-th statement, counted from 1, is
//! kept as the note `result.n`, logged, and emitted as the event `every-verb.result` with `n`, `statement` and `result`
//! (not when the note `quiet` is set). The script goes on after an error. At its end the handler returns. A call keeps 64
//! notes: of a longer script, the later results are only logged and emitted.
//!
//! | statement | what it does; its value |
//! | --- | --- |
//! | `answer`, `ring`, `unhold` | the verb |
//! | `hangup [CAUSE]` | cause as in the contract; `normal` |
//! | `hold [CLASS]` | the verb |
//! | `transfer TARGET`, `queue NAME [KEY=VALUE ...]` | `transfer-to`, `transfer-to-queue` |
//! | `dialplan [CONTEXT [EXTENSION [PRIORITY]]]` | `continue-in-dialplan`; `-` leaves one out |
//! | `variable-set NAME VALUE`, `variable-get NAME` | the variable, or `none` |
//! | `metadata-set KEY VALUE`, `metadata-get KEY`, `metadata-share KEY ...` | the note, or `none` |
//! | `info`, `state`, `duration` | what is known; the state; milliseconds |
//! | `play MEDIA ...`, `play-until KEYS MEDIA ...` | `finished`, `stopped` or `interrupted KEY` |
//! | `playback MEDIA ...`, `playback-stop`, `playback-wait MS` | `start-playback`: its id; then of the last one |
//! | `gather MIN MAX TERMINATORS [MEDIA ...]`, `listen MAX MS` | `DIGITS END`; terminators `-`: none |
//! | `dtmf KEYS` | `send-dtmf` |
//! | `record host\|pbx [beep] [name=N] [max=MS] [silence=MS] [sink=S] [MS]` | its id; with MS, it is stopped after so long: `NAME DURATION-MS SIZE-BYTES` |
//! | `record-pause`, `record-resume`, `record-stop` | of the call's last one; `record-stop` as above |
//! | `originate TO [ring=MS] [caller=NUMBER] [var=KEY:VALUE] [meta=KEY:VALUE]` | `N ID`, N as for `on` |
//! | `wait-answer MS` | `yes` or `no`; used with `on` |
//! | `bridge`, `bridge-add N ...`, `bridge-remove N`, `bridge-add-snoop` | the bridge's id; there is one at a time |
//! | `bridge-play MEDIA ...`, `bridge-destroy`, `bridge-drop` | the last drops the handle |
//! | `snoop SPY WHISPER` | `none`, `in`, `out` or `both` each; its id; there is one at a time |
//! | `snoop-play MEDIA ...`, `snoop-hear MS`, `snoop-tone HZ MS`, `snoop-stop`, `snoop-drop` | as below |
//! | `hear MS`, `tone HZ MS` | listens to the call's audio at 8 kHz: `MS ms RMS rms HZ hz`; says a tone into it |
//! | `detect host\|pbx` | `human`, `machine` or `not-sure` |
//! | `emit NAME JSON` | the verb; all that follows the name is the JSON |
//! | `http METHOD URL [NAME:VALUE]...` | the answer's status, headers and text; NAME is a header's, or `body`, `timeout` (ms) or `redirects` |
//! | `store-get KEY`, `store-set KEY VALUE [TTL-MS]`, `store-delete KEY` | `VERSION VALUE` or `none`; the version; `yes` or `no` |
//! | `store-cas KEY VERSION VALUE` | `stored VERSION` or `conflict VERSION`; `-`: if there is nothing |
//! | `store-add KEY N`, `store-keys PREFIX LIMIT` | the sum, by compare-and-set; the keys with spaces between |
//! | `batch HANDLER NUMBER ...`, `batch-status`, `batch-cancel` | its id; then of the last one: `TOTAL total DONE done ...` |
//! | `event MS` | the next event, or `error timeout` |
//! | `expect NAME MS` | events until one of that name, such as `answered`, `dtmf`, `playback-finished`, `ended` |
//! | `wait MS` | sleeps; events keep |
//! | `log LEVEL TEXT` | a line of the log |
//! | `fail TEXT`, `trap` | the handler returns an error; it panics |
//!
//! When the note `hook-counter` is set, the hang-up hook adds 1 to the number that the tenant's store has under that key,
//! and keeps the call's end under the same key with `.reason`.

mod run;
mod script;
mod sound;
mod verbs;

use voxtra_sdk::prelude::*;

#[handler]
fn handle(call: &Call) -> Result<()> {
    let script = call.metadata("do").unwrap_or_default();
    run::Run::new(call).script(&script)
}

#[on_hangup]
fn ended(call: &EndedCall) -> Result<()> {
    log::info!("the hang-up hook runs"; reason = format!("{:?}", call.reason));
    if let Some(key) = call.metadata("hook-counter") {
        store::update(key, |old| store::parse(old).unwrap_or(0_u32).saturating_add(1).to_string())?;
        store::set(&format!("{key}.reason"), format!("{:?}", call.reason))?;
    }
    Ok(())
}
