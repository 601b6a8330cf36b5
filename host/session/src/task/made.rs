//! What a call makes beside itself: calls of its handler's own, bridges, snoops, and the listening for machines. All of it
//! goes with the call, and when its handler is done.

use std::sync::{Arc, Weak};
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;
use voxtra_core::verbs::{AnsweredBy, HandlerEvent, MachineDetector, OriginateOptions, Sides, SnoopOptions};
use voxtra_core::{CallError, Capability, EventType};
use voxtra_plugins::host::{BridgeHost, Inherited, SharedCall, SnoopHost};

use super::{CallTask, Done, leg_verb};
use crate::call::{CallShared, Message, Reply, SessionCall};
use crate::handlers::HandlerVersion;
use crate::host::Inner;
use crate::inbox::HangupBy;
use crate::joined::{BridgeCore, HeldBridge, HeldSnoop, SessionBridge, SessionSnoop, SnoopCore};
use crate::options::OnFailure;
use crate::place::{Order, new_id};
use crate::task::Start;

/// Calls that a handler has placed and that are up, at one time.
const CHILDREN_MAX: usize = 16;

/// Bridges of one call at one time.
const BRIDGES_MAX: usize = 8;

/// Snoops of one call at one time.
const SNOOPS_MAX: usize = 8;

/// What machines are listened for at.
const LISTEN_RATE_HZ: u32 = 8_000;

/// How long a listener may take.
const LISTEN_LIMIT: Duration = Duration::from_secs(20);

/// See the module. Most calls have none of it.
#[derive(Default)]
pub(super) struct Made {
    children: Vec<ChildUp>,
    bridges: Vec<(Arc<BridgeCore>, Weak<SessionBridge>)>,
    snoops: Vec<(Arc<SnoopCore>, Weak<SessionSnoop>)>,
    /// What is being made counts too.
    children_coming: usize,
    bridges_coming: usize,
    snoops_coming: usize,
}

/// A call that was placed, and the way to its owner.
struct ChildUp {
    shared: Arc<CallShared>,
    messages: mpsc::Sender<Message>,
}

/// Something was made, or was not. Dropped on its way, what was made goes again.
pub(super) enum MadeDone {
    Child(Result<Child, CallError>, Reply<SharedCall>),
    Bridge(Result<SessionBridge, CallError>, Reply<Arc<dyn BridgeHost>>),
    Snoop(Result<SessionSnoop, CallError>, Reply<Arc<dyn SnoopHost>>),
}

/// A call that was placed and that nobody has yet.
pub(super) struct Child {
    shared: Arc<CallShared>,
    messages: mpsc::Sender<Message>,
    taken: bool,
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.taken {
            end_child(&self.shared);
        }
    }
}

/// Once is enough, and a call that is over does not mind.
fn end_child(child: &CallShared) {
    child.signals.raise(|raised| {
        raised.hangup.get_or_insert(HangupBy::Parent);
    });
}

impl Made {
    /// Forgets what is gone.
    fn prune(&mut self) {
        self.children.retain(|child| !child.shared.state().is_final());
        self.bridges.retain(|(bridge, _)| !bridge.is_gone());
        self.snoops.retain(|(snoop, _)| !snoop.is_gone());
    }
}

fn too_many<T>(count: usize, what: &str, reply: Reply<T>) {
    let why = format!("{count} {what} of this call are there already, as many as one call may have; end one first");
    let _ = reply.send(Err(CallError::LimitExceeded(why)));
}

impl CallTask {
    fn pruned(&mut self) -> &mut Made {
        let made = self.made.get_or_insert_default();
        made.prune();
        made
    }

    pub(super) fn originate(&mut self, options: OriginateOptions, reply: Reply<SharedCall>) {
        let made = self.pruned();
        if made.children.len() + made.children_coming >= CHILDREN_MAX {
            return too_many(CHILDREN_MAX, "placed calls", reply);
        }
        let Some(handler) = self.handler.clone() else {
            let why = "the call has no handler that could place another".to_owned();
            let _ = reply.send(Err(CallError::Denied(why)));
            return;
        };
        self.pruned().children_coming += 1;
        let info = self.shared.info();
        let order = Order {
            tenant: info.tenant.clone(),
            exchange: Arc::clone(&self.exchange),
            id: new_id(),
            to: options.to,
            caller_id: options.caller_id,
            route: info.route.clone(),
            ring_timeout: options.ring_timeout,
            variables: options.variables,
            metadata: options.metadata,
            parent: Some(info.id.clone()),
            start: Start::ByParent(handler),
            on_failure: OnFailure::default(),
            into_dialplan: None,
        };
        let host = Arc::clone(&self.life.host);
        self.work.spawn(async move {
            let placed = leg_verb(Inner::place(&host, order)).await;
            let child = placed.map(|(shared, messages, _)| Child { shared, messages, taken: false });
            Done::Made(MadeDone::Child(child, reply))
        });
    }

    pub(super) fn create_bridge(&mut self, reply: Reply<Arc<dyn BridgeHost>>) {
        let made = self.pruned();
        if made.bridges.len() + made.bridges_coming >= BRIDGES_MAX {
            return too_many(BRIDGES_MAX, "bridges", reply);
        }
        made.bridges_coming += 1;
        let (exchange, host) = (Arc::clone(&self.exchange), Arc::clone(&self.life.host));
        let tenant = self.shared.info.tenant.clone();
        self.work.spawn(async move {
            let bridge = leg_verb(exchange.create_bridge()).await;
            let place = (exchange.name().to_owned(), exchange.app().to_owned());
            let bridge = bridge.map(|bridge| SessionBridge(BridgeCore::new(bridge, tenant, &host, place)));
            Done::Made(MadeDone::Bridge(bridge, reply))
        });
    }

    pub(super) fn snoop(&mut self, options: SnoopOptions, reply: Reply<Arc<dyn SnoopHost>>) {
        let made = self.pruned();
        if made.snoops.len() + made.snoops_coming >= SNOOPS_MAX {
            return too_many(SNOOPS_MAX, "snoops", reply);
        }
        made.snoops_coming += 1;
        let (leg, control) = (Arc::clone(&self.leg), self.life.host.runtimes.control.clone());
        let tenant = self.shared.info.tenant.clone();
        self.work.spawn(async move {
            let snoop = leg_verb(leg.snoop(options)).await;
            let snoop = snoop.map(|snoop| SessionSnoop(SnoopCore::new(snoop, tenant, control)));
            Done::Made(MadeDone::Snoop(snoop, reply))
        });
    }

    /// Something was made: who asked gets it, and the call keeps an eye on it.
    pub(super) fn made(&mut self, done: MadeDone) {
        match done {
            MadeDone::Child(child, reply) => {
                self.pruned().children_coming -= 1;
                match child {
                    Ok(child) => self.child_made(child, reply),
                    Err(error) => drop(reply.send(Err(error))),
                }
            }
            MadeDone::Bridge(bridge, reply) => {
                let made = self.pruned();
                made.bridges_coming -= 1;
                let bridge = bridge.map(Arc::new);
                if let Ok(bridge) = &bridge {
                    made.bridges.push((Arc::clone(&bridge.0), Arc::downgrade(bridge)));
                }
                // Nobody there any more: it is dropped here, and taken down by that.
                let _ = reply.send(bridge.map(|bridge| bridge as Arc<dyn BridgeHost>));
            }
            MadeDone::Snoop(snoop, reply) => {
                let made = self.pruned();
                made.snoops_coming -= 1;
                let snoop = snoop.map(Arc::new);
                if let Ok(snoop) = &snoop {
                    made.snoops.push((Arc::clone(&snoop.0), Arc::downgrade(snoop)));
                }
                let _ = reply.send(snoop.map(|snoop| snoop as Arc<dyn SnoopHost>));
            }
        }
        self.note_made();
    }

    fn child_made(&mut self, mut child: Child, reply: Reply<SharedCall>) {
        let (shared, messages) = (Arc::clone(&child.shared), child.messages.clone());
        let call = SessionCall::new(shared, self.handler.as_deref(), messages, &self.life.host);
        if reply.send(Ok(Arc::new(call))).is_ok() {
            child.taken = true;
            let up = ChildUp { shared: Arc::clone(&child.shared), messages: child.messages.clone() };
            self.pruned().children.push(up);
        }
    }

    /// For whoever looks at the call from outside.
    fn note_made(&mut self) {
        let made = self.pruned();
        let children = made.children.iter().map(|child| child.shared.info.id.clone()).collect();
        let (bridges, snoops) = (made.bridges.len(), made.snoops.len());
        self.shared.note_belongings(|belongings| {
            belongings.children = children;
            belongings.bridges = bridges;
            belongings.snoops = snoops;
        });
    }

    /// The calls that the handler has placed and that are up are this version's from now on, and their owners hear of it.
    pub(super) fn hand_children_over(&mut self, next: &Arc<dyn HandlerVersion>) {
        if self.made.is_none() {
            return;
        }
        let host = Arc::clone(&self.life.host);
        for child in &self.pruned().children {
            // One of the same name always has room.
            let _ = host.hand_over(&child.shared.info.id, Arc::clone(next));
            child.shared.signals.raise(|raised| raised.parent_went_over = true);
        }
    }

    /// The handler that has placed this call is another version by now: what that one's manifest says of a call holds.
    pub(super) fn follow_parent(&mut self) {
        let Some(handler) = self.life.host.holder(&self.shared.info.id).filter(|_| self.start.is_by_parent()) else {
            return;
        };
        self.narrow_call_limit(handler.limits());
        self.hand_children_over(&handler);
        self.handler = Some(handler);
    }

    /// What the handler has left up, for its next version. Its own handles may go then; what it has let go of is gone. What
    /// that version has not got the capability for, it can only let go of.
    pub(super) fn inheritance(&mut self, next: &dyn HandlerVersion) -> Inherited {
        if self.made.is_none() {
            return Inherited::default();
        }
        let host = Arc::clone(&self.life.host);
        let made = self.pruned();
        let call = |child: &ChildUp| {
            let (shared, messages) = (Arc::clone(&child.shared), child.messages.clone());
            Arc::new(SessionCall::new(shared, Some(next), messages, &host)) as SharedCall
        };
        let capabilities = next.capabilities();
        let bridge = |bridge: Arc<SessionBridge>| -> Arc<dyn BridgeHost> {
            if capabilities.has(Capability::Bridge) { bridge } else { Arc::new(HeldBridge(bridge)) }
        };
        let snoop = |snoop: Arc<SessionSnoop>| -> Arc<dyn SnoopHost> {
            if capabilities.has(Capability::Snoop) { snoop } else { Arc::new(HeldSnoop(snoop)) }
        };
        Inherited {
            calls: made.children.iter().map(call).collect(),
            bridges: made.bridges.iter().filter_map(|(_, end)| end.upgrade().map(bridge)).collect(),
            snoops: made.snoops.iter().filter_map(|(_, end)| end.upgrade().map(snoop)).collect(),
        }
    }

    /// The handler is done: the calls that it has placed end. Done twice, it is done once.
    pub(super) fn end_children(&mut self) {
        if let Some(made) = &mut self.made {
            made.children.drain(..).for_each(|child| end_child(&child.shared));
        }
    }

    /// Takes down what was made and is still there.
    pub(super) fn take_down_made(&mut self) {
        if let Some(made) = self.made.take() {
            made.bridges.iter().for_each(|(bridge, _)| drop(bridge.take_down()));
            made.snoops.iter().for_each(|(snoop, _)| drop(snoop.take_away()));
        }
    }

    /// Finds out who has answered, before the handler starts.
    pub(super) fn detect_for_start(&mut self) {
        let by_host = self.life.host.ports.machine_listener.is_some();
        self.detect_machine(if by_host { MachineDetector::Host } else { MachineDetector::Pbx }, None);
    }

    /// Finds out who has answered.
    pub(super) fn detect_machine(&mut self, detector: MachineDetector, reply: Option<Reply<AnsweredBy>>) {
        if !self.shared.is_answered() {
            let why = "nobody has answered yet; wait for `answered`".to_owned();
            return self.not_detected(CallError::InvalidArgument(why), reply);
        }
        let (leg, control) = (Arc::clone(&self.leg), self.life.host.runtimes.control.clone());
        let listener = match detector {
            MachineDetector::Pbx => None,
            MachineDetector::Host => match self.life.host.ports.machine_listener.clone() {
                Some(listener) => Some(listener),
                None => {
                    let why = "this host does not listen for machines itself; ask the PBX to".to_owned();
                    return self.not_detected(CallError::NotConfigured(why), reply);
                }
            },
        };
        let tenant = self.shared.info.tenant.clone();
        self.work.spawn(async move {
            let detected = match listener {
                None => leg_verb(leg.detect_machine()).await,
                Some(listener) => {
                    let listened = async {
                        let options = SnoopOptions { spy: Sides::In, whisper: Sides::None };
                        let snoop = SessionSnoop(SnoopCore::new(leg_verb(leg.snoop(options)).await?, tenant, control));
                        let link = snoop.open_audio(LISTEN_RATE_HZ).await?;
                        let heard = timeout(LISTEN_LIMIT, listener.listen(link.source, link.rate_hz)).await;
                        Ok(heard.unwrap_or(AnsweredBy::NotSure))
                    };
                    listened.await
                }
            };
            match detected {
                Ok(who) => Done::Detected(who, reply),
                Err(error) => Done::NotDetected(error, reply),
            }
        });
    }

    pub(super) fn detected(&mut self, who: AnsweredBy, reply: Option<Reply<AnsweredBy>>) {
        self.answered_by = Some(who);
        self.life.emit(EventType::AnsweredBy, json!({"answered_by": who.as_str()}));
        self.tell_handler(HandlerEvent::AnsweredBy(who));
        match reply {
            Some(reply) => drop(reply.send(Ok(who))),
            None => self.start_handler(),
        }
    }

    pub(super) fn not_detected(&mut self, error: CallError, reply: Option<Reply<AnsweredBy>>) {
        match reply {
            Some(reply) => drop(reply.send(Err(error))),
            // Whoever it is, somebody waits at the other end.
            None => {
                self.report_error(&format!("nobody could find out who answered: {error}"));
                self.start_handler();
            }
        }
    }
}
