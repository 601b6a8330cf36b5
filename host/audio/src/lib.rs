//! What the host does to audio, as pure functions and small state machines.
//!
//! Audio is signed 16-bit mono. Time is a parameter everywhere, so that everything here runs the same on a virtual
//! clock. The crate exists so that the adapters of the telephony port, the simulator and the tests share one
//! implementation of everything that has to be exact.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`queue`] | the bounded queues behind a [`voxtra_core::media::MediaLink`] |
//! | [`pacer`] | decides when audio goes out: never far ahead, never held back while behind |
//! | [`g711`] | mu-law and A-law |
//! | [`resample`] | 8, 16, 24 and 48 kHz into each other, as a stream |
//! | [`wav`] | reads and writes WAV files, joins both directions of a call into one stream |
//! | [`machine_detection`] | tells an answering machine from a person, and hears its beep |
//! | [`tone`] | keys, beeps and the tones of a line |
//! | [`pcm`] | samples to bytes and back |
//!
//! What it does not do: no sockets, no tasks, no timers, no files (a reader or writer is handed to it).

pub mod g711;
pub mod machine_detection;
pub mod pacer;
pub mod pcm;
pub mod queue;
pub mod resample;
pub mod tone;
pub mod wav;

pub use machine_detection::{DetectorOptions, MachineDetection};
pub use pacer::Pacer;
pub use queue::{InboundQueue, OutboundQueue};
pub use resample::Resampler;
pub use wav::{StereoStream, read_wav};
