//! A call from its INVITE to its BYE.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::dialog::{Dialog, Transaction};
use super::message::Message;
use super::{CallError, CallOptions};
use crate::rtp::RtpEndpoint;

/// How long a PBX on the same machine may take for a request within a call.
const REQUEST_LIMIT: Duration = Duration::from_secs(8);

/// How long the refusal may take that follows a CANCEL.
const CANCEL_LIMIT: Duration = Duration::from_secs(4);

/// Who has ended a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndedBy {
    /// This telephone.
    Us,
    /// The other side has sent BYE.
    OtherSide,
}

/// An answered call. Dropping it hangs up, without waiting.
#[derive(Debug)]
pub struct ActiveCall {
    dialog: Arc<Dialog>,
    listener: JoinHandle<()>,
    answered_after: Duration,
    ring_status: u16,
}

impl ActiveCall {
    pub(super) async fn place(pbx: SocketAddr, extension: &str, options: CallOptions) -> Result<Self, CallError> {
        let began = Instant::now();
        let dialog = Dialog::open(pbx, extension, &options.from, options.codec).await?;
        // From here on a failure ends the listener by dropping the call.
        let listener = tokio::spawn(Arc::clone(&dialog).listen());
        let mut call = Self { dialog, listener, answered_after: Duration::ZERO, ring_status: 0 };
        let answered = call.invite(began, &options).await;
        match answered {
            Ok(()) => {
                call.answered_after = began.elapsed();
                Ok(call)
            }
            Err(e) => {
                call.dialog.end(EndedBy::Us);
                Err(e)
            }
        }
    }

    /// From the INVITE to its 200.
    #[must_use]
    pub fn answered_after(&self) -> Duration {
        self.answered_after
    }

    /// The highest provisional status before the answer, such as 180; 0 when there was none.
    #[must_use]
    pub fn ring_status(&self) -> u16 {
        self.ring_status
    }

    /// The audio side: what is heard and said, packet counts, times.
    #[must_use]
    pub fn rtp(&self) -> &RtpEndpoint {
        &self.dialog.rtp
    }

    /// Queues 8 kHz samples to be said; returns the number for [`RtpEndpoint::spoken_at_ms`].
    pub fn speak(&self, signal: &[i16]) -> usize {
        self.rtp().speak(signal)
    }

    /// Everything heard since the telephone was opened, shortly before the INVITE; gaps are silence.
    #[must_use]
    pub fn heard(&self) -> Vec<i16> {
        self.rtp().heard()
    }

    /// Queues key presses as RFC 4733 events, 260 ms each.
    pub fn press_rfc4733(&self, keys: &str) {
        self.rtp().press(keys);
    }

    /// Presses keys by SIP INFO (`application/dtmf-relay`), one after the other.
    ///
    /// # Errors
    /// When the other side does not take one.
    pub async fn press_info(&self, keys: &str) -> Result<()> {
        for key in keys.chars() {
            let body = format!("Signal={key}\r\nDuration=160\r\n");
            let response = self.dialog.ask("INFO", ("application/dtmf-relay", &body), REQUEST_LIMIT).await?;
            ensure!(
                is_good(&response),
                "INFO was refused with {} {}",
                response.status().unwrap_or(0),
                response.reason()
            );
        }
        Ok(())
    }

    /// Puts the other side on hold by a re-INVITE (`sendonly`).
    ///
    /// # Errors
    /// When the other side does not agree.
    pub async fn hold(&self) -> Result<()> {
        self.offer("sendonly").await
    }

    /// Takes the other side back from hold.
    ///
    /// # Errors
    /// When the other side does not agree.
    pub async fn resume(&self) -> Result<()> {
        self.offer("sendrecv").await
    }

    /// Hangs up and waits for the other side to take note. Does nothing when the call has already ended.
    ///
    /// # Errors
    /// When there is no answer to the BYE.
    pub async fn hang_up(&self) -> Result<()> {
        if self.ended().is_some() {
            return Ok(());
        }
        self.dialog.end(EndedBy::Us);
        let response = self.dialog.ask("BYE", ("", ""), REQUEST_LIMIT).await?;
        // 481: both have hung up at once.
        let agreed = is_good(&response) || response.status() == Some(481);
        ensure!(agreed, "BYE was refused with {} {}", response.status().unwrap_or(0), response.reason());
        Ok(())
    }

    /// Who has ended the call; `None` while it is up.
    #[must_use]
    pub fn ended(&self) -> Option<EndedBy> {
        *self.dialog.ended().borrow()
    }

    /// Waits for the other side to hang up; false when the call is still up after so long, or we have ended it.
    pub async fn wait_for_bye(&self, limit: Duration) -> bool {
        let mut ended = self.dialog.ended();
        let ended = timeout(limit, ended.wait_for(Option::is_some)).await;
        matches!(ended, Ok(Ok(by)) if *by == Some(EndedBy::OtherSide))
    }

    /// The methods of the requests that the other side has sent in this call, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.dialog.requests()
    }

    /// The keys that the other side has pressed: by RFC 4733, then by INFO.
    #[must_use]
    pub fn keys_heard(&self) -> String {
        self.rtp().keys_heard() + &self.dialog.keys_by_info()
    }

    async fn invite(&mut self, began: Instant, options: &CallOptions) -> Result<(), CallError> {
        let offer = self.dialog.describe("sendrecv");
        let mut invite = self.dialog.send("INVITE", &options.headers, ("application/sdp", &offer)).await?;
        let limit = options.cancel_after.map_or(options.ring, |early| early.min(options.ring));
        match self.final_response(&mut invite, began + limit).await? {
            Some(response) => self.settle(&invite, &response).await,
            None if self.ring_status == 0 => Err(CallError::NoAnswer { status: 0 }),
            None => {
                self.dialog.cancel(&invite).await?;
                match self.final_response(&mut invite, Instant::now() + CANCEL_LIMIT).await? {
                    Some(response) => self.settle_after_cancel(&invite, &response, options).await,
                    None => Err(CallError::NoAnswer { status: self.ring_status }),
                }
            }
        }
    }

    async fn final_response(&mut self, invite: &mut Transaction, until: Instant) -> Result<Option<Message>, CallError> {
        while let Some(response) = invite.response(&self.dialog, until).await? {
            let status = response.status().unwrap_or(0);
            if status >= 200 {
                return Ok(Some(response));
            }
            self.ring_status = self.ring_status.max(status);
            self.dialog.learn_media(&response);
        }
        Ok(None)
    }

    async fn settle(&self, invite: &Transaction, response: &Message) -> Result<(), CallError> {
        self.dialog.learn(response);
        let accepted = is_good(response);
        let refused = if accepted { None } else { Some(invite.branch.as_str()) };
        self.dialog.acknowledge(invite.sequence, refused).await?;
        if accepted {
            return Ok(());
        }
        Err(CallError::Refused { status: response.status().unwrap_or(0), reason: response.reason().to_owned() })
    }

    /// The answer may have crossed the CANCEL.
    async fn settle_after_cancel(
        &self,
        invite: &Transaction,
        response: &Message,
        options: &CallOptions,
    ) -> Result<(), CallError> {
        let settled = self.settle(invite, response).await;
        match settled {
            Ok(()) => {
                self.hang_up().await?;
                Err(CallError::NoAnswer { status: self.ring_status })
            }
            Err(CallError::Refused { status: 487, .. }) if options.cancel_after.is_none() => {
                Err(CallError::NoAnswer { status: self.ring_status })
            }
            other => other,
        }
    }

    async fn offer(&self, direction: &str) -> Result<()> {
        let offer = self.dialog.describe(direction);
        let mut invite = self.dialog.send("INVITE", &[], ("application/sdp", &offer)).await?;
        let until = Instant::now() + REQUEST_LIMIT;
        loop {
            let Some(response) = invite.response(&self.dialog, until).await? else {
                anyhow::bail!("no answer to a re-INVITE within {REQUEST_LIMIT:?}");
            };
            let Some(status) = response.status().filter(|status| *status >= 200) else { continue };
            let accepted = is_good(&response);
            let refused = if accepted { None } else { Some(invite.branch.as_str()) };
            self.dialog.acknowledge(invite.sequence, refused).await?;
            ensure!(accepted, "the re-INVITE was refused with {status} {}", response.reason());
            return Ok(());
        }
    }
}

impl Drop for ActiveCall {
    fn drop(&mut self) {
        if self.ended().is_none() {
            self.dialog.bye_at_once();
        }
        self.listener.abort();
    }
}

fn is_good(response: &Message) -> bool {
    response.status().is_some_and(|status| (200..300).contains(&status))
}
