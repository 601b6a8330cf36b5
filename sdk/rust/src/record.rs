//! Recording.

use std::time::Duration;

use crate::bindings::handler::voxtra::call::call_session::{RecordOptions as ContractOptions, Recorder};
use crate::bindings::handler::voxtra::call::types::RecordingInfo;
use crate::time::{from_ms, to_ms};
use crate::{Call, Error};

/// How [`Call::record`] is to be done.
///
/// ```
/// use std::time::Duration;
/// use voxtra_sdk::{RecordOptions, Recorder};
///
/// let message = RecordOptions::new()
///     .name("message-1")
///     .recorder(Recorder::Pbx)
///     .beep()
///     .max_duration(Duration::from_secs(120))
///     .max_silence(Duration::from_secs(4));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordOptions {
    options: ContractOptions,
}

impl RecordOptions {
    /// By the host (stereo, the other side left, what it hears right), under a name that the host makes, without a beep,
    /// until it is stopped, to where the operator keeps recordings.
    pub fn new() -> Self {
        Self {
            options: ContractOptions {
                name: String::new(),
                recorder: Recorder::Host,
                beep: false,
                max_duration_ms: 0,
                max_silence_ms: 0,
                sink: String::new(),
            },
        }
    }

    /// Its name: letters, digits, `-`, `_` and `.`, at most 64.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.options.name = name.into();
        self
    }

    /// Who records.
    pub fn recorder(mut self, recorder: Recorder) -> Self {
        self.options.recorder = recorder;
        self
    }

    /// A tone tells the caller.
    pub fn beep(mut self) -> Self {
        self.options.beep = true;
        self
    }

    /// It ends after so long; zero: the host's own limit.
    pub fn max_duration(mut self, duration: Duration) -> Self {
        self.options.max_duration_ms = to_ms(duration);
        self
    }

    /// It ends when nobody has spoken for so long; zero: never.
    pub fn max_silence(mut self, duration: Duration) -> Self {
        self.options.max_silence_ms = to_ms(duration);
        self
    }

    /// Where it is kept: the name of a sink in the operator's configuration.
    pub fn sink(mut self, sink: impl Into<String>) -> Self {
        self.options.sink = sink.into();
        self
    }

    pub(crate) fn options(&self) -> &ContractOptions {
        &self.options
    }
}

impl Default for RecordOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// A recording under way, begun by [`Call::record`]. Dropping it does not end it: the end of the call does.
#[derive(Debug)]
pub struct Recording<'call> {
    call: &'call Call,
    id: String,
}

impl<'call> Recording<'call> {
    pub(crate) fn new(call: &'call Call, id: String) -> Self {
        Self { call, id }
    }

    /// Its id: unique in this host, opaque.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Leaves out what follows.
    ///
    /// # Errors
    /// As said at [`Call`]; [`Error::InvalidArgument`] when it has ended by itself.
    pub fn pause(&self) -> Result<(), Error> {
        Ok(self.call.inner().record_pause(true)?)
    }

    /// Goes on after [`Recording::pause`].
    ///
    /// # Errors
    /// As said there.
    pub fn resume(&self) -> Result<(), Error> {
        Ok(self.call.inner().record_pause(false)?)
    }

    /// Ends it.
    ///
    /// # Errors
    /// As [`Recording::pause`].
    pub fn stop(self) -> Result<Recorded, Error> {
        Ok(self.call.inner().record_stop()?.into())
    }
}

/// A recording that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Unique in this host, opaque.
    pub id: String,
    /// As [`RecordOptions::name`] said, or made by the host.
    pub name: String,
    /// Without the pauses.
    pub duration: Duration,
    /// Of the file, in bytes.
    pub size_bytes: u64,
}

impl From<RecordingInfo> for Recorded {
    fn from(info: RecordingInfo) -> Self {
        Self { id: info.id, name: info.name, duration: from_ms(info.duration_ms), size_bytes: info.size_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_reaches_the_host_in_its_units() {
        let options = RecordOptions::new().name("a").beep().max_duration(Duration::from_secs(2)).sink("s3");
        let options = options.options();
        assert_eq!((options.name.as_str(), options.sink.as_str(), options.beep), ("a", "s3", true));
        assert_eq!((options.max_duration_ms, options.max_silence_ms), (2_000, 0));
        assert_eq!(options.recorder, Recorder::Host);
    }
}
