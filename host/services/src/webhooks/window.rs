//! The part of the outbox that a worker has in memory: each call's events in their order, and which of them may go.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use super::outbox::Row;

/// What has been read and is not through. A call's first row is either ready, or waits for its time, or is under way.
#[derive(Default)]
pub(super) struct Window {
    calls: HashMap<Arc<str>, Call>,
    /// Calls whose first row may go, by its place in the outbox.
    ready: BTreeMap<i64, Arc<str>>,
    /// Calls whose first row is to be tried again, by its time and its place.
    later: BTreeMap<(i64, i64), Arc<str>>,
    /// Calls of which nothing is in memory, but something on disk.
    unread: Vec<Arc<str>>,
    rows: usize,
    read_to: i64,
}

#[derive(Default)]
struct Call {
    rows: VecDeque<Row>,
    /// What follows, as far as the outbox has been read, is only on disk.
    cut: bool,
}

impl Window {
    /// Rows in memory.
    pub(super) fn len(&self) -> usize {
        self.rows
    }

    /// Everything up to here has been read.
    pub(super) fn read_to(&self) -> i64 {
        self.read_to
    }

    /// Whether nothing could be begun, however much was allowed at one time.
    pub(super) fn stalled(&mut self, now_ms: i64) -> bool {
        self.ripen(now_ms);
        self.ready.is_empty()
    }

    /// Adds the next row of the outbox.
    pub(super) fn add(&mut self, row: Row) {
        self.read_to = row.id;
        if self.calls.get(&row.session_id).is_some_and(|call| call.cut) {
            return;
        }
        self.push(row);
    }

    /// A call of which more has to be read, from its beginning.
    pub(super) fn next_unread(&mut self) -> Option<Arc<str>> {
        self.unread.pop()
    }

    /// The call could not be read.
    pub(super) fn still_unread(&mut self, session_id: Arc<str>) {
        self.unread.push(session_id);
    }

    /// Adds what was read of such a call: all there is up to [`Self::read_to`], or its beginning.
    pub(super) fn add_unread(&mut self, session_id: &Arc<str>, rows: Vec<Row>, all: bool) {
        if rows.is_empty() {
            self.calls.remove(session_id);
            return;
        }
        rows.into_iter().for_each(|row| self.push(row));
        if let Some(call) = self.calls.get_mut(session_id) {
            call.cut = !all;
        }
    }

    /// The oldest row that may go now, which is under way from now on. Else when the soonest may.
    pub(super) fn take(&mut self, now_ms: i64) -> Result<Row, Option<i64>> {
        self.ripen(now_ms);
        while let Some((_, session_id)) = self.ready.pop_first() {
            if let Some(row) = self.calls.get(&session_id).and_then(|call| call.rows.front()) {
                return Ok(row.clone());
            }
        }
        Err(self.later.keys().next().map(|&(due_ms, _)| due_ms))
    }

    /// A row that was under way is through, or dead: the next of its call may go.
    pub(super) fn through(&mut self, row: &Row) {
        let Some(call) = self.calls.get_mut(&row.session_id) else { return };
        if call.rows.pop_front().is_some() {
            self.rows -= 1;
        }
        match (call.rows.front().map(|next| (next.due_ms, next.id)), call.cut) {
            (Some((due_ms, id)), _) => self.place(due_ms, id, &row.session_id),
            (None, true) => self.unread.push(Arc::clone(&row.session_id)),
            (None, false) => drop(self.calls.remove(&row.session_id)),
        }
    }

    /// A row that was under way is to be tried again when it is due.
    pub(super) fn put_off(&mut self, row: Row) {
        self.place(row.due_ms, row.id, &row.session_id);
        if let Some(first) = self.calls.get_mut(&row.session_id).and_then(|call| call.rows.front_mut()) {
            *first = row;
        }
    }

    /// Forgets what stands behind rows that wait for their time, so that there is room for other calls.
    pub(super) fn cut_waiting(&mut self) {
        for session_id in self.later.values() {
            let Some(call) = self.calls.get_mut(session_id).filter(|call| call.rows.len() > 1) else { continue };
            self.rows -= call.rows.len() - 1;
            call.rows.truncate(1);
            call.cut = true;
        }
    }

    fn push(&mut self, row: Row) {
        let (due_ms, id, session_id) = (row.due_ms, row.id, Arc::clone(&row.session_id));
        let call = self.calls.entry(Arc::clone(&session_id)).or_default();
        call.rows.push_back(row);
        self.rows += 1;
        if call.rows.len() == 1 {
            self.place(due_ms, id, &session_id);
        }
    }

    fn place(&mut self, due_ms: i64, id: i64, session_id: &Arc<str>) {
        self.later.insert((due_ms, id), Arc::clone(session_id));
    }

    fn ripen(&mut self, now_ms: i64) {
        while let Some(first) = self.later.first_entry().filter(|first| first.key().0 <= now_ms) {
            let ((_, id), session_id) = first.remove_entry();
            self.ready.insert(id, session_id);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn row(id: i64, session: &str, due_ms: i64) -> Row {
        Row {
            id,
            event_id: "e".into(),
            kind: "call.ended".into(),
            session_id: session.into(),
            body: Bytes::new(),
            attempts: 0,
            due_ms,
        }
    }

    fn window(rows: &[(i64, &str, i64)]) -> Window {
        let mut window = Window::default();
        rows.iter().for_each(|&(id, session, due_ms)| window.add(row(id, session, due_ms)));
        window
    }

    #[test]
    fn a_calls_events_go_one_after_the_other_and_hold_up_no_other_call() {
        let mut window = window(&[(1, "a", 0), (2, "a", 0), (3, "b", 0)]);
        let first = window.take(10).unwrap();
        assert_eq!((first.id, window.take(10).unwrap().id), (1, 3));
        assert_eq!(window.take(10), Err(None));
        window.through(&first);
        assert_eq!((window.take(10).unwrap().id, window.len()), (2, 2));
    }

    #[test]
    fn one_that_waits_for_its_time_keeps_its_call_in_order() {
        let mut window = window(&[(1, "a", 500), (2, "a", 0), (3, "b", 300)]);
        assert_eq!(window.take(10), Err(Some(300)));
        let b = window.take(300).unwrap();
        assert_eq!(b.id, 3);
        window.put_off(Row { due_ms: 900, ..b });
        assert_eq!(window.take(500).unwrap().id, 1);
        assert_eq!(window.take(500), Err(Some(900)));
        assert_eq!((window.take(900).unwrap().id, window.len()), (3, 3));
    }

    #[test]
    fn what_was_cut_is_read_again_and_nothing_twice() {
        let mut window = window(&[(1, "a", 0), (2, "a", 0), (3, "a", 0), (4, "b", 0)]);
        let first = window.take(0).unwrap();
        window.put_off(Row { due_ms: 100, ..first.clone() });
        window.cut_waiting();
        assert_eq!(window.len(), 2);
        window.add(row(5, "a", 0));
        assert_eq!((window.len(), window.read_to()), (2, 5));
        assert_eq!(window.take(0).unwrap().id, 4);
        assert_eq!(window.take(100).unwrap().id, 1);
        window.through(&first);
        assert_eq!(window.take(100), Err(None));
        let unread = window.next_unread().unwrap();
        assert_eq!((&*unread, window.next_unread()), ("a", None));
        window.add_unread(&unread, vec![row(2, "a", 0), row(3, "a", 0)], false);
        let second = window.take(100).unwrap();
        window.through(&second);
        let third = window.take(100).unwrap();
        assert_eq!((second.id, third.id), (2, 3));
        window.through(&third);
        let unread = window.next_unread().unwrap();
        window.add_unread(&unread, vec![row(5, "a", 0)], true);
        window.add(row(6, "a", 0));
        let fifth = window.take(100).unwrap();
        window.through(&fifth);
        assert_eq!((fifth.id, window.take(100).unwrap().id), (5, 6));
    }

    #[test]
    fn a_call_of_which_nothing_is_left_on_disk_is_forgotten() {
        let mut window = window(&[(1, "a", 0), (2, "a", 0)]);
        let first = window.take(0).unwrap();
        window.put_off(Row { due_ms: 1, ..first.clone() });
        window.cut_waiting();
        let again = window.take(1).unwrap();
        window.through(&again);
        let unread = window.next_unread().unwrap();
        window.add_unread(&unread, Vec::new(), true);
        assert!(window.calls.is_empty() && window.len() == 0);
    }
}
