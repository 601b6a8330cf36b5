//! Every verb that takes a text, with the text in each of its places.

use voxtra_sdk::prelude::*;
use voxtra_sdk::{Batch, DialplanPlace, StartedBatch, store};

/// A verb's place for a text.
pub(crate) type Verb = (&'static str, fn(&Call, &str) -> Result<(), Error>);

/// Those that name something that is kept in a file, or in the store.
pub(crate) const NAMES: &[Verb] = &[
    ("play-file", |call, text| call.play(format!("file:{text}"))),
    ("play-recording", |call, text| call.play(format!("recording:{text}"))),
    ("play-sound", |call, text| call.play(format!("sound:{text}"))),
    ("record-name", |call, text| record(call, RecordOptions::new().name(text))),
    ("record-sink", |call, text| record(call, RecordOptions::new().sink(text))),
    ("store-get", |_, text| store::get(text).map(drop)),
    ("store-set", |_, text| store::set(text, text).map(drop)),
    ("batch-handler", |_, text| Batch::handled_by(text).number("100", &[]).start().map(drop)),
];

/// All but [`LAST`].
pub(crate) const ALL: &[Verb] = &[
    ("hold", |call, text| call.hold_with(text).and_then(|()| call.unhold())),
    ("variable-name", |call, text| call.set_variable(text, "x")),
    ("variable-value", |call, text| call.set_variable("INJECTED", text)),
    ("variable-read", |call, text| call.variable(text).map(drop)),
    ("note-name", |call, text| call.set_metadata(text, "x")),
    ("note-value", |call, text| call.set_metadata("injected", text)),
    ("note-shared", |call, text| call.share_metadata(&[text])),
    ("play", |call, text| call.play(text)),
    ("play-sound", |call, text| call.play(format!("sound:{text}"))),
    ("play-recording", |call, text| call.play(format!("recording:{text}"))),
    ("play-file", |call, text| call.play(format!("file:{text}"))),
    ("play-digits", |call, text| call.play(format!("digits:{text}"))),
    ("play-number", |call, text| call.play(format!("number:{text}"))),
    ("play-characters", |call, text| call.play(format!("characters:{text}"))),
    ("play-tone", |call, text| call.play(format!("tone:{text}"))),
    ("play-https", |call, text| call.play(format!("https:{text}"))),
    ("play-until", |call, text| call.play_until(text, "digits:1").map(drop)),
    ("playback", |call, text| call.start_playback(text).and_then(|playback| playback.stop())),
    ("gather-prompt", |call, text| call.gather(briefly().prompt(text)).map(drop)),
    ("gather-terminators", |call, text| call.gather(briefly().terminators(text)).map(drop)),
    ("send-dtmf", |call, text| call.send_dtmf(text)),
    ("record-name", |call, text| record(call, RecordOptions::new().name(text))),
    ("record-sink", |call, text| record(call, RecordOptions::new().sink(text))),
    ("emit-name", |call, text| call.emit(text, "{}")),
    ("emit-data", |call, text| call.emit("injected", text)),
    ("store-get", |_, text| store::get(text).map(drop)),
    ("store-set", |_, text| store::set(text, text).map(drop)),
    ("store-keys", |_, text| store::keys(text, 10).map(drop)),
    ("batch-name", |_, text| Batch::handled_by("x").name(text).number("100", &[]).start().map(drop)),
    ("batch-handler", |_, text| Batch::handled_by(text).number("100", &[]).start().map(drop)),
    ("batch-number", |_, text| Batch::handled_by("x").number(text, &[]).start().map(drop)),
    ("batch-retries", |_, text| Batch::handled_by("x").retries(text).number("100", &[]).start().map(drop)),
    ("batch-id", |_, text| StartedBatch::of(text).status().map(drop)),
    ("bridge-play", |call, text| call.create_bridge().and_then(|bridge| bridge.play(text))),
    ("snoop-play", |call, text| call.snoop(Sides::None, Sides::Out).and_then(|snoop| snoop.play(text))),
    ("dial-to", |call, text| call.originate(Originate::to(text)).map(drop)),
    ("dial-caller-id", |call, text| call.originate(Originate::to("100").caller_id(text)).map(drop)),
    ("dial-variable-name", |call, text| call.originate(Originate::to("100").variable(text, "x")).map(drop)),
    ("dial-variable-value", |call, text| call.originate(Originate::to("100").variable("X", text)).map(drop)),
    ("dial-note-name", |call, text| call.originate(Originate::to("100").metadata(text, "x")).map(drop)),
];

/// Those that hand the call on when they are taken: after that there is no call left to try the others on.
pub(crate) const LAST: &[Verb] = &[
    ("queue-note-name", |call, text| call.transfer_to_queue("no-such-queue", &[(text, "x")])),
    ("queue-note-value", |call, text| call.transfer_to_queue("no-such-queue", &[("x", text)])),
    ("queue", |call, text| call.transfer_to_queue(text, &[])),
    ("dialplan-context", |call, text| {
        call.continue_in_dialplan(&DialplanPlace { context: Some(text.to_owned()), ..DialplanPlace::default() })
    }),
    ("dialplan-extension", |call, text| call.continue_in_dialplan(&DialplanPlace::extension(text))),
    ("transfer", |call, text| call.transfer_to(text)),
];

fn briefly() -> Gather {
    Gather::new().first_timeout(Duration::from_millis(1)).inter_digit_timeout(Duration::from_millis(1))
}

fn record(call: &Call, options: RecordOptions) -> Result<(), Error> {
    call.record(options)?.stop().map(drop)
}
