//! The lanes of where calls stand: this one, its bridges, the calls that the host placed; and what was recorded.

use std::time::Duration;

use super::labels::{fit, width_px};
use super::lanes::{Bar, LEFT_PX, Mark, Page, ROW_PX, Scale};
use super::{LABEL_MAX_PX, LANE_GAP_PX, Timeline, bar, keys, prompts};
use crate::simulator::callee::number_of;
use crate::simulator::report::{CallReport, CallerEvent, EndedBy, TimedEvent};

const LANE_PX: f64 = ROW_PX + 8.0;

/// The most rows of labels below what a callee heard, and of recordings at one time.
const PLACED_LABEL_ROWS: usize = 2;
const RECORDING_ROWS: usize = 8;

/// The room for a lane's name.
const NAME_PX: f64 = LEFT_PX - 16.0;

impl Timeline<'_> {
    pub(super) fn draw_state(&self, page: &mut Page, scale: Scale, y: f64, width: f64) -> f64 {
        page.lane("call", y, LANE_PX, width);
        for bar in states(self.report, scale, Duration::ZERO) {
            page.bar(&bar, y + 4.0);
        }
        y + LANE_PX
    }

    /// Who was in a bridge with the caller, and when.
    pub(super) fn draw_bridges(&self, page: &mut Page, scale: Scale, y: f64, width: f64) -> f64 {
        let bars = self.bridges(scale);
        if bars.is_empty() {
            return y;
        }
        let top = y + LANE_GAP_PX;
        page.lane("bridge", top, LANE_PX, width);
        bars.iter().for_each(|bar| page.bar(bar, top + 4.0));
        top + LANE_PX
    }

    /// Each in a lane: where it stood with what came of it behind, the keys and what was played below.
    pub(super) fn draw_placed(&self, page: &mut Page, scale: Scale, mut y: f64, width: f64, outcomes: &[Mark]) -> f64 {
        for (placed, outcome) in self.placed.iter().zip(outcomes) {
            let (top, offset) = (y + LANE_GAP_PX, self.offset(placed));
            for bar in states(placed, scale, offset) {
                page.bar(&bar, top + 4.0);
            }
            page.remark(outcome, top + 4.0);
            y = top + LANE_PX;
            for bars in [prompts(placed, scale, offset), keys(placed, scale, offset)] {
                if !bars.is_empty() {
                    y = page.bars_with_labels_below(&bars, PLACED_LABEL_ROWS, y) + 4.0;
                }
            }
            page.lane(&lane_name(&placed.called_number), top, y - top, width);
        }
        y
    }

    /// What came of a call that the host placed, at its end.
    pub(super) fn outcome(&self, placed: &CallReport, scale: Scale) -> Mark {
        let text = placed.ended_by.to_string();
        let end = self.offset(placed).saturating_add(placed.duration);
        Mark {
            x: scale.x(end),
            label: fit(&text, LABEL_MAX_PX).unwrap_or_default(),
            tip: String::new(),
            is_bad: matches!(placed.ended_by, EndedBy::NotAnswered(_) | EndedBy::Refused { .. }),
        }
    }

    /// What was recorded, each in the first row that is free then.
    pub(super) fn draw_recordings(&self, page: &mut Page, scale: Scale, y: f64, width: f64) -> f64 {
        if self.recordings.is_empty() {
            return y;
        }
        let top = y + LANE_GAP_PX;
        let mut recordings: Vec<_> = self.recordings.iter().collect();
        recordings.sort_by_key(|(from, ..)| *from);
        // Of each row, when it is free again.
        let mut rows: Vec<Duration> = Vec::new();
        for (from, to, label) in recordings {
            let row = match rows.iter().position(|free| free <= from) {
                Some(row) => row,
                None if rows.len() < RECORDING_ROWS => {
                    rows.push(Duration::ZERO);
                    rows.len() - 1
                }
                None => continue,
            };
            if let Some(free) = rows.get_mut(row) {
                *free = *to;
            }
            page.bar(&bar(scale, "recorded", label, (*from, *to), label), top + 4.0 + row as f64 * (ROW_PX + 4.0));
        }
        let bottom = top + 4.0 + rows.len() as f64 * (ROW_PX + 4.0);
        page.lane("recorded", top, bottom - top, width);
        bottom
    }

    /// How much later than this call another one began.
    pub(super) fn offset(&self, other: &CallReport) -> Duration {
        other.began.saturating_sub(self.report.began)
    }

    fn bridges(&self, scale: Scale) -> Vec<Bar> {
        let mut bars = Vec::new();
        let mut open: Option<(Duration, String)> = None;
        let closing = CallerEvent::Ended(self.report.ended_by.clone());
        let end = (self.report.duration, &closing);
        for (at, event) in self.report.events.iter().map(|e| (e.at, &e.event)).chain([end]) {
            let next = match event {
                CallerEvent::Bridged { with, .. } if with.is_empty() => Some((at, "alone".to_owned())),
                CallerEvent::Bridged { with, .. } => Some((at, format!("with {}", with.join(", ")))),
                CallerEvent::Unbridged(_) | CallerEvent::Ended(_) => None,
                _ => continue,
            };
            if let Some((from, label)) = open.take().filter(|(from, _)| *from < at) {
                bars.push(bar(scale, "bridged", &label, (from, at), &label));
            }
            open = next;
        }
        bars
    }
}

/// Who was called, or the number in it when that is too long.
fn lane_name(called: &str) -> String {
    if width_px(called) <= NAME_PX {
        return called.to_owned();
    }
    fit(number_of(called), NAME_PX).unwrap_or_default()
}

/// Where a call stood, from its first ring to its end.
fn states(report: &CallReport, scale: Scale, offset: Duration) -> Vec<Bar> {
    let mut changes: Vec<(Duration, Change)> = report.events.iter().filter_map(held).collect();
    changes.extend(report.answered_at.map(|at| (at, Change::Answered)));
    changes.push((report.duration, Change::Ended));
    changes.sort_by_key(|(at, _)| *at);
    let (mut is_answered, mut on_hold, mut since) = (false, false, Duration::ZERO);
    let mut bars = Vec::new();
    for (at, change) in changes {
        let (class, name) = match (on_hold, is_answered) {
            (true, _) => ("held", "on hold"),
            (false, true) => ("up", "in progress"),
            (false, false) => ("ringing", "ringing"),
        };
        if since < at {
            let span = (offset.saturating_add(since), offset.saturating_add(at));
            bars.push(bar(scale, class, name, span, name));
        }
        since = at;
        match change {
            Change::Answered => is_answered = true,
            Change::Held(held) => on_hold = held,
            Change::Ended => break,
        }
    }
    bars
}

enum Change {
    Answered,
    Held(bool),
    Ended,
}

fn held(event: &TimedEvent) -> Option<(Duration, Change)> {
    match event.event {
        CallerEvent::Held(_) => Some((event.at, Change::Held(true))),
        CallerEvent::Unheld => Some((event.at, Change::Held(false))),
        _ => None,
    }
}
