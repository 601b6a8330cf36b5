//! What lanes are made of: grounds and names, bars, waveforms, marks with labels, and the axis.

use std::fmt::Write;
use std::time::Duration;

use super::labels::{fit, rows, width_px};
use super::svg::{Anchor, Svg};
use crate::simulator::LINE_RATE_HZ;

pub(super) const LEFT_PX: f64 = 100.0;
pub(super) const PLOT_PX: f64 = 1_040.0;
pub(super) const ROW_PX: f64 = 18.0;
pub(super) const WAVE_PX: f64 = 52.0;

/// From a row's top to the line that its text stands on.
const BASE_PX: f64 = 13.0;

/// The space between a lane's edge and what is in it.
const INSET_PX: f64 = 4.0;

/// The space between a bar's ends and its label.
pub(super) const BAR_INSET_PX: f64 = 5.0;

/// The narrowest distance of two marks on the axis.
const AXIS_STEP_PX: f64 = 64.0;

/// One stroke of a waveform every so many pixels.
const STROKE_PX: f64 = 2.0;

/// A waveform fills its lane at this sample: speech on a telephone line rarely goes further.
const FULL_WAVE: f64 = 20_000.0;

/// Below this a waveform shows silence.
const WAVE_FLOOR: u16 = 48;

/// From time to pixels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    seconds: f64,
}

impl Scale {
    /// An axis of this length, which is not zero.
    pub(super) fn new(length: Duration) -> Self {
        Self { seconds: length.as_secs_f64() }
    }

    pub(super) fn x(self, at: Duration) -> f64 {
        LEFT_PX + PLOT_PX * (at.as_secs_f64() / self.seconds).min(1.0)
    }

    /// The distance of the marks on the axis, in seconds: a round figure that leaves room for the labels.
    fn step_seconds(self) -> f64 {
        const ROUND: [f64; 14] = [0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0];
        let least = self.seconds * AXIS_STEP_PX / PLOT_PX;
        ROUND.into_iter().find(|step| *step >= least).unwrap_or_else(|| (least / 600.0).ceil() * 600.0)
    }
}

/// The drawing: grounds, lines, and what is in front of them.
pub(super) struct Page {
    pub(super) back: Svg,
    pub(super) lines: Svg,
    pub(super) front: Svg,
}

/// A point in time with a label.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    pub(super) x: f64,
    pub(super) label: String,
    pub(super) tip: String,
    pub(super) is_bad: bool,
}

/// A span of time with a label.
#[derive(Debug, Clone)]
pub(super) struct Bar {
    pub(super) class: &'static str,
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) label: String,
    pub(super) tip: String,
}

impl Bar {
    /// The room for its label.
    fn room_px(&self) -> f64 {
        self.to - self.from - 2.0 * BAR_INSET_PX
    }
}

impl Page {
    /// The ground and the name of a lane.
    pub(super) fn lane(&mut self, name: &str, y: f64, height: f64, width: f64) {
        self.back.rect("lane", LEFT_PX - 6.0, y, width - LEFT_PX + 6.0, height, "");
        self.back.text("name", Anchor::End, LEFT_PX - 14.0, y + BASE_PX + INSET_PX, name);
    }

    /// A waveform in a band of [`WAVE_PX`].
    pub(super) fn wave(&mut self, class: &str, scale: Scale, samples: &[i16], y: f64) {
        let middle = y + WAVE_PX / 2.0;
        let half = WAVE_PX / 2.0 - INSET_PX;
        self.lines.line("zero", LEFT_PX, middle, LEFT_PX + PLOT_PX, middle);
        let mut strokes = String::new();
        for stroke in 0..(PLOT_PX / STROKE_PX) as usize {
            let sample_at = |stroke: usize| {
                (stroke as f64 * STROKE_PX / PLOT_PX * scale.seconds * f64::from(LINE_RATE_HZ)) as usize
            };
            let (from, to) = (sample_at(stroke), sample_at(stroke + 1).min(samples.len()));
            let peak = samples.get(from..to).unwrap_or_default().iter().map(|s| s.unsigned_abs()).max().unwrap_or(0);
            if peak >= WAVE_FLOOR {
                let x = LEFT_PX + (stroke as f64 + 0.5) * STROKE_PX;
                let reach = (f64::from(peak) / FULL_WAVE).min(1.0) * half;
                // Writing to a string cannot fail.
                let _ = write!(strokes, "M{x:.0} {:.1}V{:.1}", middle - reach, middle + reach);
            }
        }
        self.front.path(class, &strokes);
    }

    /// A bar in a row of [`ROW_PX`], with as much of its label as it has room for.
    pub(super) fn bar(&mut self, bar: &Bar, y: f64) {
        self.bar_with(bar, fit(&bar.label, bar.room_px()), y);
    }

    fn bar_with(&mut self, bar: &Bar, label: Option<String>, y: f64) {
        self.front.rect(bar.class, bar.from, y, bar.to - bar.from, ROW_PX, &bar.tip);
        if let Some(label) = label {
            self.front.text("in", Anchor::Start, bar.from + BAR_INSET_PX, y + BASE_PX, &label);
        }
    }

    /// Bars in one row; labels that are too long for theirs go into rows below it. Returns the bottom.
    pub(super) fn bars_with_labels_below(&mut self, bars: &[Bar], most_rows: usize, y: f64) -> f64 {
        let (short, long): (Vec<&Bar>, Vec<&Bar>) = bars.iter().partition(|b| width_px(&b.label) > b.room_px());
        long.iter().for_each(|bar| self.bar(bar, y));
        let labels: Vec<Mark> = short
            .iter()
            .map(|b| Mark { x: b.from, label: b.label.clone(), tip: String::new(), is_bad: false })
            .collect();
        let (bottom, rows) = self.labels(&labels, most_rows, y + ROW_PX);
        for (bar, row) in short.iter().zip(rows) {
            let inside = if row.is_none() { fit(&bar.label, bar.room_px()) } else { None };
            self.bar_with(bar, inside, y);
        }
        bottom
    }

    /// Marks in one row, their labels in rows below. Returns the bottom.
    pub(super) fn marks(&mut self, marks: &[Mark], most_rows: usize, y: f64) -> f64 {
        let (bottom, _) = self.labels(marks, most_rows, y + 10.0);
        for mark in marks {
            self.front.dot(if mark.is_bad { "bad" } else { "mark" }, mark.x, y + 5.0, &mark.tip);
        }
        bottom
    }

    /// A label behind what ends there, in a row of [`ROW_PX`].
    pub(super) fn remark(&mut self, mark: &Mark, y: f64) {
        let class = if mark.is_bad { "label worse" } else { "label" };
        self.front.text(class, Anchor::Start, mark.x + BAR_INSET_PX, y + BASE_PX, &mark.label);
    }

    /// The labels of marks (in order of time), each with a line down to it. Returns the bottom, and each one's row.
    fn labels(&mut self, marks: &[Mark], most_rows: usize, y: f64) -> (f64, Vec<Option<usize>>) {
        let wanted: Vec<_> = marks.iter().map(|m| (m.x, width_px(&m.label) + 4.0)).collect();
        let rows = rows(&wanted, most_rows);
        for (mark, row) in marks.iter().zip(&rows) {
            let Some(row) = row else { continue };
            let top = y + *row as f64 * (ROW_PX - 3.0);
            self.lines.line("lead", mark.x, y, mark.x, top + BASE_PX);
            let class = if mark.is_bad { "label worse" } else { "label" };
            self.front.text(class, Anchor::Start, mark.x + 4.0, top + BASE_PX - 1.0, &mark.label);
        }
        let used = rows.iter().flatten().max().map_or(0, |last| last + 1);
        let bottom = if used == 0 { y } else { y + used as f64 * (ROW_PX - 3.0) + INSET_PX };
        (bottom, rows)
    }

    /// Lines through all lanes at round times, and the times.
    pub(super) fn axis(&mut self, scale: Scale, top: f64, bottom: f64) {
        let step = scale.step_seconds();
        let count = (scale.seconds / step + 1e-9) as usize;
        for mark in 0..=count {
            let seconds = mark as f64 * step;
            let x = LEFT_PX + PLOT_PX * seconds / scale.seconds;
            self.lines.line("grid", x, top, x, bottom + 4.0);
            self.front.text("soft", Anchor::Middle, x, bottom + 4.0 + BASE_PX, &axis_label(seconds, step));
        }
    }
}

fn axis_label(seconds: f64, step: f64) -> String {
    if step >= 15.0 {
        let whole = seconds as u64;
        return format!("{}:{:02}", whole / 60, whole % 60);
    }
    let decimals = match step {
        s if s >= 1.0 => 0,
        s if s >= 0.1 => 1,
        _ => 2,
    };
    format!("{seconds:.decimals$} s")
}
