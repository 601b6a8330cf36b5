//! What each statement does.

use std::time::Instant;

use voxtra_sdk::http::Request;
use voxtra_sdk::prelude::*;
use voxtra_sdk::store::Swap;
use voxtra_sdk::{Batch, DialplanPlace};

use crate::run::{Done, Failure, Run};
use crate::script::{Words, pair};
use crate::sound::{RATE_HZ, hear, say_tone};

impl Run<'_> {
    pub(crate) fn verb(&mut self, about: usize, verb: &str, words: Words<'_>) -> Done {
        match verb.split_once('-').map_or(verb, |(family, _)| family) {
            "record" => self.record(about, verb, words),
            "bridge" => self.bridge(verb, words),
            "snoop" => self.snoop(about, verb, words),
            "store" => store_verb(verb, words),
            "batch" => self.batch(verb, words),
            "http" => http_verb(words),
            "playback" => self.playback(about, verb, words),
            "originate" => self.originate(about, words),
            _ => plain(self.call(about)?, verb, words),
        }
    }

    fn record(&mut self, about: usize, verb: &str, words: Words<'_>) -> Done {
        match verb {
            "record" => {
                let (options, stop_after) = record_options(words)?;
                let recording = self.call(about)?.record(options)?;
                let id = recording.id().to_owned();
                self.keep_recording(about, recording);
                let Some(duration) = stop_after else { return Ok(id) };
                std::thread::sleep(duration);
                Ok(recorded(&self.take_recording(about)?.stop()?))
            }
            "record-pause" => done(self.recording(about)?.pause()),
            "record-resume" => done(self.recording(about)?.resume()),
            "record-stop" => Ok(recorded(&self.take_recording(about)?.stop()?)),
            _ => Err(unknown(verb)),
        }
    }

    fn bridge(&mut self, verb: &str, mut words: Words<'_>) -> Done {
        if verb == "bridge" {
            let bridge = self.call(0)?.create_bridge()?;
            let id = bridge.id();
            self.bridge = Some(bridge);
            return Ok(id);
        }
        if verb == "bridge-drop" {
            self.bridge = None;
            return Ok(String::new());
        }
        let bridge = self.bridge.as_ref().ok_or_else(|| Failure::Script("there is no bridge".to_owned()))?;
        match verb {
            "bridge-add" => {
                for word in words {
                    bridge.add(self.call(number(word)?)?)?;
                }
                Ok(String::new())
            }
            "bridge-remove" => done(bridge.remove(self.call(words.number("N")?)?)),
            "bridge-add-snoop" => {
                let snoop = self.snoop.as_ref().ok_or_else(|| Failure::Script("there is no snoop".to_owned()))?;
                done(bridge.add_snoop(snoop))
            }
            "bridge-play" => done(bridge.play(words.all())),
            "bridge-destroy" => done(bridge.destroy()),
            _ => Err(unknown(verb)),
        }
    }

    fn snoop(&mut self, about: usize, verb: &str, mut words: Words<'_>) -> Done {
        if verb == "snoop" {
            let (spy, whisper) = (sides(words.word("SPY")?)?, sides(words.word("WHISPER")?)?);
            let snoop = self.call(about)?.snoop(spy, whisper)?;
            let id = snoop.id();
            self.snoop = Some(snoop);
            return Ok(id);
        }
        if verb == "snoop-drop" {
            self.snoop = None;
            return Ok(String::new());
        }
        let snoop = self.snoop.as_ref().ok_or_else(|| Failure::Script("there is no snoop".to_owned()))?;
        match verb {
            "snoop-play" => done(snoop.play(words.all())),
            "snoop-hear" => Ok(hear(&snoop.open_audio(RATE_HZ)?, ms(words.number("MS")?))?),
            "snoop-tone" => {
                let (tone_hz, duration) = (words.number("HZ")?, ms(words.number("MS")?));
                done(say_tone(&snoop.open_audio(RATE_HZ)?, tone_hz, duration))
            }
            "snoop-stop" => done(snoop.stop()),
            _ => Err(unknown(verb)),
        }
    }

    fn playback(&mut self, about: usize, verb: &str, mut words: Words<'_>) -> Done {
        if verb == "playback" {
            let playback = self.call(about)?.start_playback(words.all())?;
            let id = playback.id();
            self.playback = Some(playback);
            return Ok(id);
        }
        let playback = self.playback.as_ref().ok_or_else(|| Failure::Script("nothing plays".to_owned()))?;
        match verb {
            "playback-stop" => done(playback.stop()),
            "playback-wait" => Ok(outcome(playback.wait(ms(words.number("MS")?))?)),
            _ => Err(unknown(verb)),
        }
    }

    fn originate(&mut self, about: usize, mut words: Words<'_>) -> Done {
        let mut options = Originate::to(words.word("TO")?);
        for word in words {
            options = match pair(word, '=')? {
                ("ring", value) => options.ring_timeout(ms(number(value)?)),
                ("caller", value) => options.caller_id(value),
                ("var", value) => pair(value, ':').map(|(key, value)| options.variable(key, value))?,
                ("meta", value) => pair(value, ':').map(|(key, value)| options.metadata(key, value))?,
                _ => return Err(Failure::Script(format!("{word:?} is no option of originate"))),
            };
        }
        let call = self.call(about)?.originate(options)?;
        let id = call.id();
        Ok(format!("{} {id}", self.place(call)))
    }

    fn batch(&mut self, verb: &str, mut words: Words<'_>) -> Done {
        if verb == "batch" {
            let batch = Batch::handled_by(words.word("HANDLER")?).name("every-verb");
            let batch = words.fold(batch, |batch, number| batch.number(number, &[])).start()?;
            let id = batch.id().to_owned();
            self.batch = Some(batch);
            return Ok(id);
        }
        let batch = self.batch.as_ref().ok_or_else(|| Failure::Script("there is no batch".to_owned()))?;
        match verb {
            "batch-status" => {
                let s = batch.status()?;
                Ok(format!(
                    "{} total {} done {} live {} answered {} failed {}",
                    s.total,
                    s.done,
                    s.live,
                    s.answered,
                    s.failed,
                    if s.finished { "finished" } else { "under way" }
                ))
            }
            "batch-cancel" => done(batch.cancel()),
            _ => Err(unknown(verb)),
        }
    }
}

/// Verbs that leave nothing behind but what they do.
fn plain(call: &Call, verb: &str, mut words: Words<'_>) -> Done {
    match verb {
        "answer" => done(call.answer()),
        "ring" => done(call.ring()),
        "hangup" => done(call.hangup_with(cause(words.next().unwrap_or("normal"))?)),
        "hold" => done(call.hold_with(words.next().unwrap_or_default())),
        "unhold" => done(call.unhold()),
        "transfer" => done(call.transfer_to(words.word("TARGET")?)),
        "queue" => {
            let queue = words.word("NAME")?;
            let metadata = words.map(|word| pair(word, '=')).collect::<Result<Vec<_>, _>>()?;
            done(call.transfer_to_queue(queue, &metadata))
        }
        "dialplan" => done(call.continue_in_dialplan(&place(words)?)),
        "variable-set" => done(call.set_variable(words.word("NAME")?, words.next().unwrap_or_default())),
        "variable-get" => Ok(call.variable(words.word("NAME")?)?.unwrap_or_else(|| "none".to_owned())),
        "metadata-set" => done(call.set_metadata(words.word("KEY")?, words.next().unwrap_or_default())),
        "metadata-get" => Ok(call.metadata(words.word("KEY")?).unwrap_or_else(|| "none".to_owned())),
        "metadata-share" => done(call.share_metadata(&words.collect::<Vec<_>>())),
        "info" => Ok(format!("{:?}", call.info())),
        "state" => Ok(kebab(&format!("{:?}", call.state()))),
        "duration" => Ok(call.duration().as_millis().to_string()),
        "play" => Ok(outcome(call.play_until("", words.all())?)),
        "play-until" => {
            let keys = words.word("KEYS")?;
            Ok(outcome(call.play_until(keys, words.all())?))
        }
        "gather" => gather(call, words),
        "listen" => Ok(digits(&call.listen_dtmf(words.number("MAX")?, ms(words.number("MS")?))?)),
        "dtmf" => done(call.send_dtmf(words.word("KEYS")?)),
        "wait-answer" => Ok(yes(call.wait_for_answer(ms(words.number("MS")?))?)),
        "hear" => Ok(hear(&call.open_audio(RATE_HZ)?, ms(words.number("MS")?))?),
        "tone" => {
            let (tone_hz, duration) = (words.number("HZ")?, ms(words.number("MS")?));
            done(say_tone(&call.open_audio(RATE_HZ)?, tone_hz, duration))
        }
        "detect" => {
            let detector = match words.word("host or pbx")? {
                "host" => MachineDetector::Host,
                "pbx" => MachineDetector::Pbx,
                other => return Err(Failure::Script(format!("{other:?} is not host or pbx"))),
            };
            Ok(kebab(&format!("{:?}", call.detect_machine(detector)?)))
        }
        "emit" => {
            let name = words.word("NAME")?;
            done(call.emit(name, words.rest()))
        }
        "event" => Ok(event(&call.next_event(ms(words.number("MS")?))?.ok_or(Error::Timeout)?)),
        "expect" => expect(call, words.word("NAME")?, ms(words.number("MS")?)),
        "wait" => {
            std::thread::sleep(ms(words.number("MS")?));
            Ok(String::new())
        }
        "log" => log_line(words),
        "fail" => Err(Failure::Wanted(words.rest().to_owned())),
        #[allow(clippy::panic)] // That is what was asked for.
        "trap" => panic!("the script wants a trap"),
        _ => Err(unknown(verb)),
    }
}

fn http_verb(mut words: Words<'_>) -> Done {
    let mut request = Request::new(words.word("METHOD")?, words.word("URL")?);
    for word in words {
        let (name, value) = pair(word, ':')?;
        request = match name {
            "body" => request.body(value),
            "timeout" => request.timeout(ms(number(value)?)),
            "redirects" => request.max_redirects(number(value)?),
            _ => request.header(name, value),
        };
    }
    let answer = request.send()?;
    let headers: Vec<_> = answer.headers.iter().map(|(name, value)| format!("{name}:{value}")).collect();
    Ok(format!("{} {} {}", answer.status, headers.join(" "), answer.text().unwrap_or("bytes")))
}

fn store_verb(verb: &str, mut words: Words<'_>) -> Done {
    let key = words.word("KEY")?;
    match verb {
        "store-get" => Ok(match store::get(key)? {
            Some(entry) => format!("{} {}", entry.version, String::from_utf8_lossy(&entry.value)),
            None => "none".to_owned(),
        }),
        "store-set" => {
            let value = words.word("VALUE")?;
            let version = match words.next() {
                Some(ttl_ms) => store::set_for(key, value, ms(number(ttl_ms)?))?,
                None => store::set(key, value)?,
            };
            Ok(version.to_string())
        }
        "store-cas" => {
            let expected = words.word("VERSION")?;
            let expected = if expected == "-" { None } else { Some(number(expected)?) };
            Ok(match store::compare_and_set(key, expected, words.word("VALUE")?, None)? {
                Swap::Stored(version) => format!("stored {version}"),
                Swap::Conflict(found) => format!("conflict {}", found.map_or(0, |entry| entry.version)),
            })
        }
        "store-add" => {
            let more: i64 = words.number("N")?;
            let add = |old: Option<&[u8]>| store::parse(old).unwrap_or(0_i64).saturating_add(more).to_string();
            Ok(store::update(key, add)?)
        }
        "store-delete" => Ok(yes(store::delete(key)?)),
        "store-keys" => Ok(store::keys(key, words.number("LIMIT")?)?.join(" ")),
        _ => Err(unknown(verb)),
    }
}

fn gather(call: &Call, mut words: Words<'_>) -> Done {
    let gather = Gather::new().min_digits(words.number("MIN")?).max_digits(words.number("MAX")?);
    let terminators = words.word("TERMINATORS")?;
    let gather = if terminators == "-" { gather } else { gather.terminators(terminators) };
    Ok(digits(&call.gather(gather.prompt(words.all()))?))
}

fn record_options(mut words: Words<'_>) -> Result<(RecordOptions, Option<Duration>), Failure> {
    let mut options = RecordOptions::new().recorder(match words.word("host or pbx")? {
        "host" => Recorder::Host,
        "pbx" => Recorder::Pbx,
        other => return Err(Failure::Script(format!("{other:?} is not host or pbx"))),
    });
    let mut stop_after = None;
    for word in words {
        options = match word.split_once('=') {
            None if word == "beep" => options.beep(),
            None => {
                stop_after = Some(ms(number(word)?));
                options
            }
            Some(("name", value)) => options.name(value),
            Some(("max", value)) => options.max_duration(ms(number(value)?)),
            Some(("silence", value)) => options.max_silence(ms(number(value)?)),
            Some(("sink", value)) => options.sink(value),
            Some(_) => return Err(Failure::Script(format!("{word:?} is no option of record"))),
        };
    }
    Ok((options, stop_after))
}

fn place(mut words: Words<'_>) -> Result<DialplanPlace, Failure> {
    let mut said = || words.next().filter(|word| *word != "-");
    let (context, extension, priority) = (said(), said(), said());
    Ok(DialplanPlace {
        context: context.map(str::to_owned),
        extension: extension.map(str::to_owned),
        priority: priority.map(number).transpose()?,
    })
}

fn expect(call: &Call, name: &str, timeout: Duration) -> Done {
    let began = Instant::now();
    loop {
        let left = timeout.saturating_sub(began.elapsed());
        let told = event(&call.next_event(left)?.ok_or(Error::Timeout)?);
        if told.split(' ').next() == Some(name) {
            return Ok(told);
        }
    }
}

/// An event by the contract's name, and what it says.
fn event(event: &Event) -> String {
    match event {
        Event::Ringing => "ringing".to_owned(),
        Event::Answered => "answered".to_owned(),
        Event::Dtmf(key) => format!("dtmf {}", key.digit),
        Event::MediaStarted => "media-started".to_owned(),
        Event::MediaStopped => "media-stopped".to_owned(),
        Event::PlaybackFinished { id, outcome: Ok(end) } => format!("playback-finished {id} {}", outcome(*end)),
        Event::PlaybackFinished { id, outcome: Err(why) } => format!("playback-finished {id} failed {why}"),
        Event::RecordingFinished(recording) => format!("recording-finished {}", recorded(recording)),
        Event::RecordingFailed { id, reason } => format!("recording-failed {id} {reason}"),
        Event::AnsweredBy(who) => format!("answered-by {}", kebab(&format!("{who:?}"))),
        Event::UpgradeReady => "upgrade-ready".to_owned(),
        Event::Ended(reason) => format!("ended {reason:?}"),
    }
}

fn log_line(mut words: Words<'_>) -> Done {
    let level = match words.word("LEVEL")? {
        "trace" => log::Level::Trace,
        "debug" => log::Level::Debug,
        "info" => log::Level::Info,
        "warn" => log::Level::Warn,
        "error" => log::Level::Error,
        other => return Err(Failure::Script(format!("{other:?} is no level"))),
    };
    log::write(level, words.rest(), &[]);
    Ok(String::new())
}

fn outcome(outcome: PlayOutcome) -> String {
    match outcome {
        PlayOutcome::Finished => "finished".to_owned(),
        PlayOutcome::Stopped => "stopped".to_owned(),
        PlayOutcome::Interrupted(key) => format!("interrupted {key}"),
    }
}

fn digits(digits: &Digits) -> String {
    format!("{} {}", digits.digits, kebab(&format!("{:?}", digits.ended_by))).trim_start().to_owned()
}

fn recorded(recording: &Recorded) -> String {
    format!("{} {} {}", recording.name, recording.duration.as_millis(), recording.size_bytes)
}

fn cause(word: &str) -> Result<HangupCause, Failure> {
    Ok(match word {
        "normal" => HangupCause::Normal,
        "busy" => HangupCause::Busy,
        "no-answer" => HangupCause::NoAnswer,
        "rejected" => HangupCause::Rejected,
        "congestion" => HangupCause::Congestion,
        other => return Err(Failure::Script(format!("{other:?} is no cause"))),
    })
}

fn sides(word: &str) -> Result<Sides, Failure> {
    Ok(match word {
        "none" => Sides::None,
        "in" => Sides::In,
        "out" => Sides::Out,
        "both" => Sides::Both,
        other => return Err(Failure::Script(format!("{other:?} is not none, in, out or both"))),
    })
}

fn done(result: Result<(), Error>) -> Done {
    Ok(result.map(|()| String::new())?)
}

fn yes(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

fn number<T: std::str::FromStr>(word: &str) -> Result<T, Failure> {
    word.parse().map_err(|_| Failure::Script(format!("{word:?} is not a number")))
}

fn ms(ms: u32) -> Duration {
    Duration::from_millis(ms.into())
}

fn unknown(verb: &str) -> Failure {
    Failure::Script(format!("there is no verb {verb:?}"))
}

/// A name of the generated bindings as the contract writes it; they print as `CallState::InProgress`.
fn kebab(name: &str) -> String {
    let name = name.rsplit("::").next().unwrap_or(name);
    name.char_indices().fold(String::new(), |mut kebab, (at, c)| {
        if c.is_ascii_uppercase() && at > 0 {
            kebab.push('-');
        }
        kebab.push(c.to_ascii_lowercase());
        kebab
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_contracts() {
        assert_eq!(kebab("CallState::InProgress"), "in-progress");
        assert_eq!(kebab("Human"), "human");
    }
}
