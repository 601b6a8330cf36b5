//! A mixing bridge that a handler made.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;
use voxtra_ari::{AriError, BridgeType};
use voxtra_core::telephony::Bridge;
use voxtra_core::{BoxFuture, BridgeId, CallError, CallId, SnoopId};

use super::app::App;
use super::error::to_call_error;
use super::leg::EndOutcome;
use super::line::AudioLine;
use super::media_leg::RETRY_AFTER;
use super::playing::{On, play_to_end};
use super::snoop;

/// Legs and snoops that one bridge may have; softmix mixes for each of them.
const MEMBERS_MAX: usize = 256;

struct Shared {
    id: BridgeId,
    app: Arc<App>,
    members: Mutex<Vec<Arc<AudioLine>>>,
    /// The one taking-down, once somebody has asked for it.
    ending: Mutex<Option<EndOutcome>>,
}

struct AsteriskBridge {
    shared: Arc<Shared>,
    runtime: Handle,
}

/// Makes one. Dropping the future leaves none behind.
pub(super) async fn create(app: &Arc<App>, runtime: &Handle) -> Result<Arc<dyn Bridge>, CallError> {
    let id = app.names.new_bridge();
    let shared = Arc::new(Shared {
        id: BridgeId::from(id.as_str()),
        app: Arc::clone(app),
        members: Mutex::default(),
        ending: Mutex::default(),
    });
    app.registry.add_bridge(&id);
    let (reply, made) = oneshot::channel();
    let asking = Arc::clone(&shared);
    runtime.spawn(async move {
        let outcome = asking.app.client.create_bridge(asking.id.as_str(), BridgeType::Mixing, "voxtra").await;
        let uncertain = outcome.as_ref().is_err_and(AriError::transient);
        let failed = outcome.is_err();
        let outcome = outcome.map(drop).map_err(|e| to_call_error("making the bridge", e));
        if reply.send(outcome).is_err() || failed {
            if uncertain {
                sleep(RETRY_AFTER).await;
            }
            asking.begin_end(&Handle::current());
        }
    });
    made.await.unwrap_or(Err(CallError::HungUp))?;
    tracing::info!(app = app.name, bridge = id, "bridge made");
    Ok(Arc::new(AsteriskBridge { shared, runtime: runtime.clone() }))
}

impl Shared {
    async fn add(&self, line: Arc<AudioLine>) -> Result<(), CallError> {
        {
            let mut members = self.members();
            if members.len() >= MEMBERS_MAX {
                return Err(CallError::LimitExceeded(format!(
                    "a bridge has at most {MEMBERS_MAX} members; make another one"
                )));
            }
            // Noted first: whoever takes the bridge down meanwhile gives it back its audio.
            if !members.iter().any(|member| member.channel == line.channel) {
                members.push(Arc::clone(&line));
            }
        }
        let outcome = line.enter(self.id.as_str()).await;
        if outcome.is_err() {
            self.members().retain(|member| member.channel != line.channel);
        }
        outcome
    }

    fn begin_end(self: &Arc<Self>, runtime: &Handle) -> EndOutcome {
        let mut ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outcome) = ending.as_ref() {
            return outcome.clone();
        }
        let (done, outcome) = watch::channel(None);
        *ending = Some(outcome.clone());
        let shared = Arc::clone(self);
        runtime.spawn(async move {
            let members = std::mem::take(&mut *shared.members());
            for member in members {
                // One that cannot is out all the same when the bridge is gone.
                let _ = member.leave(shared.id.as_str()).await;
            }
            let client = &shared.app.client;
            let mut outcome = client.destroy_bridge(shared.id.as_str()).await;
            if outcome.as_ref().is_err_and(AriError::transient) {
                sleep(RETRY_AFTER).await;
                outcome = client.destroy_bridge(shared.id.as_str()).await;
            }
            if let Err(error) = &outcome {
                // Found and taken down when the connection stands again.
                tracing::warn!(bridge = %shared.id, %error, "a bridge could not be taken down");
            }
            shared.app.registry.remove_bridge(shared.id.as_str());
            done.send_replace(Some(outcome.map_err(|e| to_call_error("taking the bridge down", e))));
        });
        outcome
    }

    fn check_there(&self) -> Result<(), CallError> {
        if self.ending.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            return Err(CallError::Telephony("the bridge has been taken down; make another one".to_owned()));
        }
        Ok(())
    }

    fn members(&self) -> std::sync::MutexGuard<'_, Vec<Arc<AudioLine>>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bridge for AsteriskBridge {
    fn id(&self) -> &BridgeId {
        &self.shared.id
    }

    fn add<'a>(&'a self, leg: &'a CallId) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(async move {
            self.shared.check_there()?;
            let app = &self.shared.app;
            let leg = app.registry.leg(&app.channel_of(leg)).ok_or(CallError::HungUp)?;
            leg.check_not_over()?;
            if !leg.is_answered() {
                return Err(CallError::Telephony("this call is not answered; answer it first".to_owned()));
            }
            if leg.inbox.is_away() {
                return Err(CallError::Telephony(
                    "this call is in the dialplan; only one of the host's own can be added".to_owned(),
                ));
            }
            self.shared.add(Arc::clone(&leg.line)).await
        })
    }

    fn remove<'a>(&'a self, leg: &'a CallId) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(async move {
            let channel = self.shared.app.channel_of(leg);
            let member = self.shared.members().iter().find(|member| member.channel == channel).cloned();
            let Some(member) = member else { return Ok(()) };
            member.leave(self.shared.id.as_str()).await?;
            self.shared.members().retain(|member| member.channel != channel);
            Ok(())
        })
    }

    fn add_snoop<'a>(&'a self, snoop: &'a SnoopId) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(async move {
            self.shared.check_there()?;
            self.shared.add(snoop::line_for_bridge(&self.shared.app, snoop)?).await
        })
    }

    fn play<'a>(&'a self, media: &'a [String]) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(async move {
            self.shared.check_there()?;
            let outcome =
                play_to_end(&self.shared.app, On::Bridge(self.shared.id.as_str()), media, &self.runtime).await;
            match outcome {
                // Of a bridge that is not a call.
                Err(CallError::HungUp) => Err(CallError::Telephony("the bridge is gone; make another one".to_owned())),
                other => other,
            }
        })
    }

    fn destroy(&self) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(async move {
            let mut outcome = self.shared.begin_end(&self.runtime);
            match outcome.wait_for(Option::is_some).await.map(|o| o.clone()) {
                Ok(Some(outcome)) => outcome,
                _ => Err(CallError::Telephony("the host stopped while it took the bridge down".to_owned())),
            }
        })
    }
}

impl Drop for AsteriskBridge {
    fn drop(&mut self) {
        self.shared.begin_end(&self.runtime);
    }
}
