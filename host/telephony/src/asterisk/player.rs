//! What plays on one leg: one medium at a time, lists one after the other.
//!
//! A list is given to the PBX medium by medium, because Asterisk skips one that it cannot play in the middle of a list
//! and says at the end that all went well. No IO here: each input gives the actions to be taken.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use voxtra_core::{CallError, PlaybackId};

use super::names;

/// Lists that may wait on one leg.
const QUEUE_MAX_LISTS: usize = 16;

/// Where the answer to a verb goes.
pub(super) type Reply = oneshot::Sender<Result<(), CallError>>;

/// What is to be done now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Ask the PBX to play; say how that went by [`Player::started`].
    Start { playback: String, medium: String, from: Duration },
    /// It plays: look after it in case its end is never told.
    Watch { playback: String },
    /// Ask the PBX to stop it; say how that went by [`Player::stopped`].
    Stop { playback: String },
    /// Its end will not be told any more.
    Forget { playback: String },
    /// Tell the leg's owner.
    Finished { id: PlaybackId, outcome: Result<(), String> },
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Player {
    current: Option<Current>,
    queue: VecDeque<List>,
    /// Nothing is to be heard for now.
    suspended: bool,
    /// What was interrupted by that.
    interrupted: Option<List>,
}

#[derive(Debug)]
struct List {
    id: PlaybackId,
    media: VecDeque<String>,
    /// Unanswered until the first medium is accepted.
    reply: Option<Reply>,
    /// How much of the next medium was heard already.
    heard: Duration,
}

#[derive(Debug)]
struct Current {
    list: List,
    medium: String,
    playback: String,
    /// Where in the medium it began, and when.
    from: Duration,
    since: Instant,
    /// The PBX has not said yet whether it takes it.
    starting: bool,
    /// Its end, when that was told before the PBX's answer.
    over: Option<Result<(), String>>,
    /// Nothing of its list follows any more.
    stopping: bool,
    /// The PBX is asked to stop it, or will be once it has started.
    stop_asked: bool,
    stop_replies: Vec<Reply>,
}

impl Player {
    /// A list is to be played.
    pub(super) fn play(&mut self, id: PlaybackId, media: Vec<String>, reply: Reply) -> Vec<Action> {
        if self.queue.len() >= QUEUE_MAX_LISTS {
            answer(
                reply,
                Err(CallError::LimitExceeded(format!(
                    "{QUEUE_MAX_LISTS} playings wait on this call already; wait for one to finish"
                ))),
            );
            return Vec::new();
        }
        let media = media.into_iter().flat_map(one_by_one).collect();
        if self.current.is_some() || self.suspended {
            answer(reply, Ok(()));
            self.queue.push_back(List { id, media, reply: None, heard: Duration::ZERO });
            return Vec::new();
        }
        self.queue.push_back(List { id, media, reply: Some(reply), heard: Duration::ZERO });
        self.next_list()
    }

    /// A list is to be stopped.
    pub(super) fn stop(&mut self, id: &PlaybackId, reply: Reply) -> Vec<Action> {
        if let Some(current) = self.current.as_mut().filter(|c| c.list.id == *id) {
            current.stop_replies.push(reply);
            current.stopping = true;
            let asked = std::mem::replace(&mut current.stop_asked, true);
            return if asked || current.starting {
                Vec::new()
            } else {
                vec![Action::Stop { playback: current.playback.clone() }]
            };
        }
        answer(reply, Ok(()));
        if self.interrupted.as_ref().is_some_and(|list| list.id == *id) {
            self.interrupted = None;
            return vec![Action::Finished { id: id.clone(), outcome: Ok(()) }];
        }
        match self.queue.iter().position(|list| list.id == *id) {
            Some(at) => {
                self.queue.remove(at);
                vec![Action::Finished { id: id.clone(), outcome: Ok(()) }]
            }
            None => Vec::new(),
        }
    }

    /// The leg is about to move from one bridge to another, which Asterisk puts off until nothing plays: what plays is
    /// interrupted. [`Player::is_quiet`] says when it is.
    pub(super) fn suspend(&mut self) -> Vec<Action> {
        self.suspended = true;
        match &mut self.current {
            Some(current) if !current.starting && !current.stop_asked => {
                current.stop_asked = true;
                vec![Action::Stop { playback: current.playback.clone() }]
            }
            // One that is starting is stopped when it has started.
            _ => Vec::new(),
        }
    }

    /// It has moved: what was interrupted goes on where it was.
    pub(super) fn resume(&mut self) -> Vec<Action> {
        self.suspended = false;
        if let Some(list) = self.interrupted.take() {
            self.queue.push_front(list);
        }
        if self.current.is_some() { Vec::new() } else { self.next_list() }
    }

    /// Whether it is suspended and nothing plays.
    pub(super) fn is_quiet(&self) -> bool {
        self.suspended && self.current.is_none()
    }

    /// The PBX answered [`Action::Start`].
    pub(super) fn started(&mut self, playback: &str, outcome: Result<(), CallError>) -> Vec<Action> {
        let Some(current) = self.current.as_mut().filter(|c| c.playback == playback && c.starting) else {
            return Vec::new();
        };
        current.starting = false;
        current.since = Instant::now();
        match outcome {
            Ok(()) => {
                if let Some(reply) = current.list.reply.take() {
                    answer(reply, Ok(()));
                }
                if let Some(outcome) = current.over.take() {
                    return self.over_now(outcome);
                }
                let mut actions = vec![Action::Watch { playback: playback.to_owned() }];
                if current.stopping || (self.suspended && !current.stop_asked) {
                    current.stop_asked = true;
                    actions.push(Action::Stop { playback: playback.to_owned() });
                }
                actions
            }
            Err(error) => {
                let mut actions = vec![Action::Forget { playback: playback.to_owned() }];
                match current.list.reply.take() {
                    // Refused before anything was heard: the verb fails, there is nothing to be finished.
                    Some(reply) => {
                        answer(reply, Err(error));
                        self.drop_current();
                        actions.extend(self.next_list());
                    }
                    None => actions.extend(self.over_now(Err(error.to_string()))),
                }
                actions
            }
        }
    }

    /// The PBX said that it is over, or it is found to be.
    pub(super) fn over(&mut self, playback: &str, outcome: Result<(), String>) -> Vec<Action> {
        let Some(current) = self.current.as_mut().filter(|c| c.playback == playback) else { return Vec::new() };
        if current.starting {
            current.over.get_or_insert(outcome);
            return Vec::new();
        }
        self.over_now(outcome)
    }

    /// The PBX answered [`Action::Stop`]. That it is over is told apart.
    pub(super) fn stopped(&mut self, playback: &str, outcome: &Result<(), CallError>) {
        if let Some(current) = self.current.as_mut().filter(|c| c.playback == playback) {
            // It may be asked again; whatever comes of it, this medium is the last of its list.
            if outcome.is_err() {
                current.stop_asked = false;
            }
            for reply in current.stop_replies.drain(..) {
                answer(reply, outcome.clone());
            }
        }
    }

    /// What plays, or is about to.
    pub(super) fn playback(&self) -> Option<&str> {
        self.current.as_ref().map(|c| c.playback.as_str())
    }

    /// The leg is over: whoever waits is told so.
    pub(super) fn hung_up(&mut self) {
        let current = self.current.take();
        let lists = current.into_iter().flat_map(|c| c.stop_replies.into_iter().chain(c.list.reply));
        let lists = lists.chain(self.interrupted.take().and_then(|list| list.reply));
        for reply in lists.chain(self.queue.drain(..).filter_map(|list| list.reply)) {
            answer(reply, Err(CallError::HungUp));
        }
    }

    fn over_now(&mut self, outcome: Result<(), String>) -> Vec<Action> {
        if self.suspended && self.current.as_ref().is_some_and(|current| !current.stopping) {
            self.interrupt();
            return Vec::new();
        }
        let Some(current) = self.current.as_mut() else { return Vec::new() };
        let goes_on = outcome.is_ok() && !current.stopping;
        if goes_on && let Some(medium) = current.list.media.pop_front() {
            return vec![current.begin(medium)];
        }
        let outcome = match outcome {
            // Stopped media are reported as failed when the far end goes meanwhile: we asked for the end.
            Err(_) if current.stopping => Ok(()),
            Err(why) if why.is_empty() => Err(format!(
                "Asterisk could not play {:?}; check that it exists there in a format it reads",
                current.medium
            )),
            Err(why) => Err(format!("Asterisk could not play {:?}: {why}", current.medium)),
            Ok(()) => Ok(()),
        };
        let id = current.list.id.clone();
        self.drop_current();
        let mut actions = vec![Action::Finished { id, outcome }];
        actions.extend(self.next_list());
        actions
    }

    fn interrupt(&mut self) {
        let Some(mut current) = self.current.take() else { return };
        current.list.heard = current.from.saturating_add(current.since.elapsed());
        current.list.media.push_front(current.medium);
        self.interrupted = Some(current.list);
    }

    fn drop_current(&mut self) {
        for reply in self.current.take().into_iter().flat_map(|c| c.stop_replies) {
            answer(reply, Ok(()));
        }
    }

    fn next_list(&mut self) -> Vec<Action> {
        if self.suspended {
            return Vec::new();
        }
        let Some(mut list) = self.queue.pop_front() else { return Vec::new() };
        let Some(medium) = list.media.pop_front() else {
            // An empty list is refused before it comes here; were it not, it would be over at once.
            let id = list.id.clone();
            return std::iter::once(Action::Finished { id, outcome: Ok(()) }).chain(self.next_list()).collect();
        };
        let mut current = Current {
            list,
            medium: String::new(),
            playback: String::new(),
            from: Duration::ZERO,
            since: Instant::now(),
            starting: true,
            over: None,
            stopping: false,
            stop_asked: false,
            stop_replies: Vec::new(),
        };
        let action = current.begin(medium);
        self.current = Some(current);
        vec![action]
    }
}

impl Current {
    fn begin(&mut self, medium: String) -> Action {
        self.playback = names::new_playback();
        self.medium = medium;
        self.starting = true;
        self.over = None;
        self.stop_asked = false;
        self.from = std::mem::take(&mut self.list.heard);
        self.since = Instant::now();
        Action::Start { playback: self.playback.clone(), medium: self.medium.clone(), from: self.from }
    }
}

/// `digits:12` as the sounds that Asterisk says for it: it refuses to stop a `digits:` in the middle (500), a sound it
/// stops at once.
pub(super) fn one_by_one(medium: String) -> Vec<String> {
    let digits = medium.strip_prefix("digits:").unwrap_or_default();
    let sounds: Vec<String> = digits
        .chars()
        .filter_map(|digit| match digit {
            '0'..='9' => Some(format!("sound:digits/{digit}")),
            '*' => Some("sound:digits/star".to_owned()),
            '#' => Some("sound:digits/pound".to_owned()),
            '-' => Some("sound:digits/minus".to_owned()),
            _ => None,
        })
        .collect();
    if sounds.is_empty() { vec![medium] } else { sounds }
}

/// Whoever asked may have gone.
fn answer(reply: Reply, outcome: Result<(), CallError>) {
    let _ = reply.send(outcome);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use oneshot::Receiver;

    type Answer = Receiver<Result<(), CallError>>;

    fn play(player: &mut Player, id: &str, media: &[&str]) -> (Vec<Action>, Answer) {
        let (reply, answer) = oneshot::channel();
        (player.play(id.into(), media.iter().map(|m| (*m).to_owned()).collect(), reply), answer)
    }

    fn stop(player: &mut Player, id: &str) -> (Vec<Action>, Answer) {
        let (reply, answer) = oneshot::channel();
        (player.stop(&id.into(), reply), answer)
    }

    fn started(actions: &[Action]) -> String {
        match actions {
            [.., Action::Start { playback, .. }] => playback.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn finished(id: &str, outcome: Result<(), String>) -> Action {
        Action::Finished { id: id.into(), outcome }
    }

    #[test]
    fn what_is_interrupted_goes_on_where_it_was_and_finishes_once() {
        let mut player = Player::default();
        let (reply, _answer) = oneshot::channel();
        let actions = player.play("p".into(), vec!["sound:a".into(), "sound:b".into()], reply);
        let [Action::Start { playback, .. }] = &actions[..] else { panic!("{actions:?}") };
        assert!(player.started(playback, Ok(())).iter().all(|action| matches!(action, Action::Watch { .. })));
        assert_eq!(player.suspend(), [Action::Stop { playback: playback.clone() }]);
        assert!(!player.is_quiet());
        assert_eq!(player.over(playback, Ok(())), []);
        assert!(player.is_quiet());
        // What is asked for meanwhile waits for its turn.
        let (reply, _answer) = oneshot::channel();
        assert_eq!(player.play("q".into(), vec!["sound:c".into()], reply), []);
        let actions = player.resume();
        assert!(matches!(&actions[..], [Action::Start { medium, .. }] if medium == "sound:a"), "{actions:?}");
        let (reply, _answer) = oneshot::channel();
        let actions = player.stop(&"p".into(), reply);
        assert_eq!(actions, [], "it is stopped when it has started");
    }

    #[test]
    fn what_is_interrupted_can_be_stopped() {
        let mut player = Player::default();
        let (reply, _answer) = oneshot::channel();
        let actions = player.play("p".into(), vec!["sound:a".into()], reply);
        let [Action::Start { playback, .. }] = &actions[..] else { panic!("{actions:?}") };
        assert_eq!(player.suspend(), []);
        let stops = player.started(playback, Ok(()));
        assert!(stops.contains(&Action::Stop { playback: playback.clone() }), "{stops:?}");
        assert_eq!(player.over(playback, Ok(())), []);
        let (reply, _answer) = oneshot::channel();
        assert_eq!(player.stop(&"p".into(), reply), [Action::Finished { id: "p".into(), outcome: Ok(()) }]);
        assert_eq!(player.resume(), []);
    }

    #[test]
    fn a_list_is_played_medium_by_medium_and_finishes_once() {
        let mut player = Player::default();
        let (actions, mut answer) = play(&mut player, "p", &["sound:a", "sound:b"]);
        let first = started(&actions);
        assert!(answer.try_recv().is_err(), "not answered before the PBX takes it");
        player.started(&first, Ok(()));
        assert_eq!(answer.try_recv().unwrap(), Ok(()));
        let second = started(&player.over(&first, Ok(())));
        assert_ne!(first, second);
        player.started(&second, Ok(()));
        assert_eq!(player.over(&second, Ok(())), [finished("p", Ok(()))]);
        assert!(player.over(&second, Ok(())).is_empty() && player.playback().is_none());
    }

    #[test]
    fn a_second_list_waits_for_the_first() {
        let mut player = Player::default();
        let first = started(&play(&mut player, "p", &["sound:a"]).0);
        player.started(&first, Ok(()));
        let (actions, mut answer) = play(&mut player, "q", &["sound:b"]);
        assert!(actions.is_empty());
        assert_eq!(answer.try_recv().unwrap(), Ok(()));
        let actions = player.over(&first, Ok(()));
        assert_eq!(actions[0], finished("p", Ok(())));
        assert!(matches!(&actions[1], Action::Start { medium, .. } if medium == "sound:b"));
    }

    #[test]
    fn a_medium_that_fails_is_named_and_ends_its_list() {
        let mut player = Player::default();
        let first = started(&play(&mut player, "p", &["sound:none", "sound:b"]).0);
        player.started(&first, Ok(()));
        let actions = player.over(&first, Err(String::new()));
        let [Action::Finished { outcome: Err(why), .. }] = &actions[..] else { panic!("{actions:?}") };
        assert!(why.contains("sound:none"), "{why}");
    }

    #[test]
    fn an_end_told_before_the_answer_is_not_lost() {
        let mut player = Player::default();
        let (actions, mut answer) = play(&mut player, "p", &["sound:a"]);
        let first = started(&actions);
        assert!(player.over(&first, Ok(())).is_empty());
        assert_eq!(player.started(&first, Ok(())), [finished("p", Ok(()))]);
        assert_eq!(answer.try_recv().unwrap(), Ok(()));
    }

    #[test]
    fn a_refused_first_medium_fails_the_verb_and_nothing_else() {
        let mut player = Player::default();
        let (actions, mut answer) = play(&mut player, "p", &["sound:a"]);
        let first = started(&actions);
        let refused = CallError::Telephony("no".into());
        assert_eq!(player.started(&first, Err(refused.clone())), [Action::Forget { playback: first }]);
        assert_eq!(answer.try_recv().unwrap(), Err(refused));
    }

    #[test]
    fn a_stop_while_it_starts_is_done_when_it_has_started_and_no_further_medium_follows() {
        let mut player = Player::default();
        let first = started(&play(&mut player, "p", &["sound:a", "sound:b"]).0);
        let (actions, mut answer) = stop(&mut player, "p");
        assert!(actions.is_empty());
        let actions = player.started(&first, Ok(()));
        assert!(actions.contains(&Action::Stop { playback: first.clone() }), "{actions:?}");
        player.stopped(&first, &Ok(()));
        assert_eq!(answer.try_recv().unwrap(), Ok(()));
        assert_eq!(player.over(&first, Err(String::new())), [finished("p", Ok(()))]);
    }

    #[test]
    fn a_medium_that_cannot_be_stopped_is_the_last_of_its_list_and_can_be_tried_again() {
        let mut player = Player::default();
        let first = started(&play(&mut player, "p", &["number:1", "sound:b"]).0);
        player.started(&first, Ok(()));
        let refused = Err(CallError::Telephony("500".into()));
        for _ in 0..2 {
            let (actions, mut answer) = stop(&mut player, "p");
            assert_eq!(actions, [Action::Stop { playback: first.clone() }]);
            player.stopped(&first, &refused);
            assert_eq!(answer.try_recv().unwrap(), refused);
        }
        assert_eq!(player.over(&first, Ok(())), [finished("p", Ok(()))]);
    }

    #[test]
    fn digits_are_said_as_sounds_that_can_be_stopped() {
        let said = |medium: &str| one_by_one(medium.to_owned()).join(" ");
        assert_eq!(said("digits:1*-"), "sound:digits/1 sound:digits/star sound:digits/minus");
        assert_eq!(said("digits:#"), "sound:digits/pound");
        for unchanged in ["sound:a", "digits:", "digits:x", "number:12"] {
            assert_eq!(said(unchanged), unchanged);
        }
    }

    #[test]
    fn stopping_what_waits_or_is_over_is_no_error() {
        let mut player = Player::default();
        let first = started(&play(&mut player, "p", &["sound:a"]).0);
        player.started(&first, Ok(()));
        play(&mut player, "q", &["sound:b"]);
        let (actions, mut answer) = stop(&mut player, "q");
        assert_eq!((actions, answer.try_recv().unwrap()), (vec![finished("q", Ok(()))], Ok(())));
        let (actions, mut answer) = stop(&mut player, "never");
        assert_eq!((actions, answer.try_recv().unwrap()), (vec![], Ok(())));
    }

    #[test]
    fn lists_that_wait_are_bounded() {
        let mut player = Player::default();
        play(&mut player, "p", &["sound:a"]);
        for n in 0..QUEUE_MAX_LISTS {
            assert_eq!(play(&mut player, &n.to_string(), &["sound:a"]).1.try_recv().unwrap(), Ok(()));
        }
        let (_, mut answer) = play(&mut player, "more", &["sound:a"]);
        assert!(matches!(answer.try_recv().unwrap(), Err(CallError::LimitExceeded(_))));
    }

    #[test]
    fn whoever_waits_is_told_that_the_leg_is_over() {
        let mut player = Player::default();
        let (_, mut playing) = play(&mut player, "p", &["sound:a"]);
        let (_, mut stopping) = stop(&mut player, "p");
        player.hung_up();
        assert_eq!(playing.try_recv().unwrap(), Err(CallError::HungUp));
        assert_eq!(stopping.try_recv().unwrap(), Err(CallError::HungUp));
    }
}
