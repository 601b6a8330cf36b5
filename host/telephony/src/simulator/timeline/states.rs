//! The lanes of where calls stand: this one, its bridges, and the calls that the host placed.

use std::time::Duration;

use super::labels::fit;
use super::lanes::{Bar, LEFT_PX, Page, ROW_PX, Scale};
use super::{LANE_GAP_PX, Timeline, bar};
use crate::simulator::report::{CallReport, CallerEvent, TimedEvent};

const LANE_PX: f64 = ROW_PX + 8.0;

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

    pub(super) fn draw_placed(&self, page: &mut Page, scale: Scale, mut y: f64, width: f64) -> f64 {
        for placed in self.placed {
            let top = y + LANE_GAP_PX;
            page.lane(&fit(&placed.called_number, NAME_PX).unwrap_or_default(), top, LANE_PX, width);
            for bar in states(placed, scale, self.offset(placed)) {
                page.bar(&bar, top + 4.0);
            }
            y = top + LANE_PX;
        }
        y
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
