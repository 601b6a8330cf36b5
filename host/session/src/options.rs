//! How a host treats its calls: limits, and what is done when a handler fails.

use std::time::Duration;

use tokio::runtime::Handle;
use voxtra_core::HandlerName;
use voxtra_plugins::Guests;

use crate::breaker::BreakerOptions;

/// What the host's calls may use up. Every limit is for one call unless it says otherwise.
#[derive(Debug, Clone)]
pub struct HostOptions {
    /// Calls that can be up at once, over all tenants. Default 2,000.
    pub max_calls: usize,
    /// From its start, the longest that a call may last. Default 4 h.
    pub call_limit: Duration,
    /// How long a handler may still run after the end of its call. Default 5 s.
    pub handler_grace: Duration,
    /// How long the hang-up hook may take. Default 5 s.
    pub hook_limit: Duration,
    /// How long hanging up may take. Default 10 s; the telephony adapter has limits of its own below it.
    pub leg_end_limit: Duration,
    /// How long the prompts of a failure policy may play. Default 30 s.
    pub failure_prompt_limit: Duration,
    /// How long an accepted transfer may take until the leg has gone. Default 35 s: a far end that was told to call
    /// somebody else is given 30 s for it by the adapter.
    pub transfer_limit: Duration,
    /// The longest recording, whatever a handler asks for. Default 4 h.
    pub recording_limit: Duration,
    /// How long the prompts of a drain may play to a call. Default 15 s.
    pub farewell_limit: Duration,
    /// How long a handler may take to begin, from when it is wanted until its instance is made. A call that would wait
    /// longer, because the guests' runtime is saturated or the pool is full, is refused at once. Default 500 ms.
    pub start_budget: Duration,
    /// When a handler version that fails is left alone.
    pub breaker: BreakerOptions,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            max_calls: 2_000,
            call_limit: Duration::from_secs(4 * 60 * 60),
            handler_grace: Duration::from_secs(5),
            hook_limit: Duration::from_secs(5),
            leg_end_limit: Duration::from_secs(10),
            failure_prompt_limit: Duration::from_secs(30),
            transfer_limit: Duration::from_secs(35),
            recording_limit: Duration::from_secs(4 * 60 * 60),
            farewell_limit: Duration::from_secs(15),
            start_budget: Duration::from_millis(500),
            breaker: BreakerOptions::default(),
        }
    }
}

impl HostOptions {
    /// No limit is so long that it overflows a clock.
    pub(crate) fn clamped(mut self) -> Self {
        const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);
        let limits = [
            &mut self.call_limit,
            &mut self.transfer_limit,
            &mut self.recording_limit,
            &mut self.farewell_limit,
            &mut self.start_budget,
            &mut self.breaker.cool_down,
        ];
        for limit in limits {
            *limit = (*limit).min(LONGEST);
        }
        self
    }
}

/// Where tasks run.
#[derive(Debug, Clone)]
pub struct Runtimes {
    /// The calls' owner tasks: no guest code, no audio.
    pub control: Handle,
    /// The handlers. May be the same as `control` where a test or a simulated call has one thread for everything.
    pub guests: Guests,
}

impl Runtimes {
    /// Everything on one runtime.
    pub fn single(handle: Handle) -> Self {
        Self { control: handle.clone(), guests: handle.into() }
    }
}

/// What the caller gets whose handler returned an error, trapped, went over a limit or could not start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OnFailure {
    /// Prompts; the call is answered for them when it was not. `None`: [`OnFailure::DEFAULT_PROMPT`]. An empty list:
    /// silence, and a call that was not answered stays so.
    pub play: Option<Vec<String>>,
    /// What follows the prompts.
    pub then: Then,
}

impl OnFailure {
    /// What is played when nothing else is said. One of Asterisk's own sounds, and of the simulator's.
    pub const DEFAULT_PROMPT: &'static str = "sound:tt-somethingwrong";

    pub(crate) fn prompts(&self) -> Vec<String> {
        self.play.clone().unwrap_or_else(|| vec![Self::DEFAULT_PROMPT.to_owned()])
    }
}

/// What follows the prompts of a failure policy. If it fails too, the call is hung up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Then {
    /// The call is hung up.
    #[default]
    HangUp,
    /// The call is handed to an extension or endpoint of the PBX.
    Transfer(String),
    /// Another handler of the tenant takes the call. When that one fails, the call is hung up.
    Handler(HandlerName),
}
