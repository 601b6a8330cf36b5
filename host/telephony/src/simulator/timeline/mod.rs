//! A drawing of a simulated call: one SVG file that needs nothing else, readable on light and dark ground.
//!
//! From the top: where the call stands; what the caller says (as a waveform) and presses; what the caller hears, with
//! the prompts as bars; with whom it is in a bridge; the calls that the host placed, with what came of each, what the
//! callee pressed and heard; what was recorded; and events of the host's own, each if there are any. Times are those of
//! the report.

mod labels;
mod lanes;
mod states;
mod svg;

#[cfg(test)]
mod tests;

use std::time::Duration;

use super::report::{CallReport, CallerEvent, PlayedPrompt, PromptEnd};
use labels::{fit, width_px};
use lanes::{BAR_INSET_PX, Bar, LEFT_PX, Mark, PLOT_PX, Page, ROW_PX, Scale, WAVE_PX};
use svg::{Anchor, Svg};

const TOP_PX: f64 = 60.0;
const LANE_GAP_PX: f64 = 10.0;

/// The widest label; longer ones are cut, and whole where one points at the mark.
const LABEL_MAX_PX: f64 = 260.0;

/// The least room at the right of the plot; there is more when the labels of the last events need it.
const RIGHT_PX: f64 = 20.0;

/// The most rows in which the labels of events and of bars are stacked; of more, only the marks are drawn.
const EVENT_ROWS: usize = 14;
const LABEL_ROWS: usize = 4;

/// The most lanes of calls that the host placed.
const MAX_PLACED_LANES: usize = 20;

/// Text in bars is white on both grounds, so the bars' colours are the same on both.
const STYLE: &str = "
text{font:11px system-ui,'DejaVu Sans',Helvetica,Arial,sans-serif;fill:#24292f}
text.title{font-size:15px;font-weight:600}text.name{font-weight:600;fill:#57606a}text.soft{fill:#57606a}text.in{fill:#fff}
.ground{fill:#fff}.lane{fill:#f3f4f6}.grid{stroke:#d8dce1}.zero{stroke:#b4bac2}.lead{stroke:#a9b0b8}
.ringing{fill:#9a6700}.up{fill:#2f7d4f}.held{fill:#a1480f}.bridged{fill:#0f6f78}.speech{fill:#1f5fbf}.key{fill:#0b3d91}.prompt{fill:#7145c4}.recorded{fill:#b3261e}.cut{fill:#99407f}
.said{stroke:#1f6feb;stroke-width:1.4}.heard{stroke:#8250df;stroke-width:1.4}.mark{fill:#57606a}.bad{fill:#cf222e}
.label{paint-order:stroke;stroke:#f3f4f6;stroke-width:3px;stroke-linejoin:round}text.worse{fill:#cf222e}
@media (prefers-color-scheme:dark){
text{fill:#e6edf3}text.name,text.soft{fill:#9aa4af}.ground{fill:#0d1117}.lane{fill:#1a2029}.grid{stroke:#2f3640}
.zero{stroke:#4b535d}.lead{stroke:#5b636d}.said{stroke:#58a6ff}.heard{stroke:#bc8cff}.mark{fill:#9aa4af}
.bad{fill:#f85149}.label{stroke:#1a2029}text.worse{fill:#ff7b72}}
";

/// A drawing to be made of a call.
#[derive(Debug, Clone)]
pub struct Timeline<'a> {
    report: &'a CallReport,
    title: Option<String>,
    events: Vec<(Duration, String)>,
    placed: &'a [CallReport],
    recordings: Vec<(Duration, Duration, String)>,
}

impl<'a> Timeline<'a> {
    /// A drawing of this call.
    pub fn new(report: &'a CallReport) -> Self {
        Self { report, title: None, events: Vec::new(), placed: &[], recordings: Vec::new() }
    }

    /// What stands above it; by default the numbers.
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// Adds an event of the host at a time since the first ring, in any order.
    pub fn event(mut self, at: Duration, label: impl Into<String>) -> Self {
        self.events.push((at, label.into()));
        self
    }

    /// Adds several events.
    pub fn events(mut self, events: impl IntoIterator<Item = (Duration, String)>) -> Self {
        self.events.extend(events);
        self
    }

    /// Adds calls that the host placed, a lane each; of more than 20, the first.
    pub fn placed_calls(mut self, reports: &'a [CallReport]) -> Self {
        self.placed = reports.get(..MAX_PLACED_LANES).unwrap_or(reports);
        self
    }

    /// Adds recordings, each with its beginning and its end since the first ring; of more than 8 at one time, only some.
    pub fn recordings(mut self, recordings: impl IntoIterator<Item = (Duration, Duration, String)>) -> Self {
        self.recordings.extend(recordings);
        self
    }

    /// The SVG file's text.
    pub fn to_svg(&self) -> String {
        let scale = Scale::new(self.length());
        let marks = self.marks(scale);
        let (speech, keys, prompts) =
            (self.speech(scale), keys(self.report, scale, Duration::ZERO), prompts(self.report, scale, Duration::ZERO));
        let of_placed = |placed: &CallReport| super::timeline::prompts(placed, scale, self.offset(placed));
        let of_placed: Vec<_> = self.placed.iter().flat_map(of_placed).collect();
        let bars = [&speech, &keys, &prompts, &of_placed].into_iter().flatten().map(|bar| (bar.from, &bar.label));
        let outcomes: Vec<_> = self.placed.iter().map(|placed| self.outcome(placed, scale)).collect();
        let labels = marks.iter().chain(&outcomes).map(|mark| (mark.x, &mark.label)).chain(bars);
        let ends = labels.map(|(x, label)| x + width_px(label) + RIGHT_PX);
        let width = ends.fold(LEFT_PX + PLOT_PX + RIGHT_PX, f64::max);
        let lane_width = width - RIGHT_PX / 2.0;

        let mut page = Page { back: Svg::new(), lines: Svg::new(), front: Svg::new() };
        let mut y = TOP_PX;
        y = self.draw_state(&mut page, scale, y, lane_width) + LANE_GAP_PX;
        y = self.draw_said(&mut page, scale, y, lane_width, (&speech, &keys)) + LANE_GAP_PX;
        y = self.draw_heard(&mut page, scale, y, lane_width, &prompts);
        y = self.draw_bridges(&mut page, scale, y, lane_width);
        y = self.draw_placed(&mut page, scale, y, lane_width, &outcomes);
        y = self.draw_recordings(&mut page, scale, y, lane_width);
        if !marks.is_empty() {
            let top = y + LANE_GAP_PX;
            y = page.marks(&marks, EVENT_ROWS, top + 4.0);
            page.lane("events", top, y - top, lane_width);
        }
        page.axis(scale, TOP_PX, y);
        self.finish(page, width, y + 28.0)
    }

    fn finish(&self, page: Page, width: f64, height: f64) -> String {
        let report = self.report;
        let heading = self.title.clone().unwrap_or_else(|| {
            let caller = if report.caller_id.is_empty() { "(withheld)" } else { &report.caller_id };
            format!("{caller} calls {}", report.called_number)
        });
        let summary = format!("call {} · {:.2} s · {}", report.call, report.duration.as_secs_f64(), report.ended_by);
        let mut head = Svg::new();
        head.rect("ground", 0.0, 0.0, width, height, "");
        // The heading's letters are larger.
        head.text("title", Anchor::Start, 16.0, 26.0, &fit(&heading, width * 0.65).unwrap_or_default());
        head.text("soft", Anchor::Start, 16.0, 46.0, &fit(&summary, width - 32.0).unwrap_or_default());
        let title = format!("{heading}: {summary}");
        Svg::file(&[head, page.back, page.lines, page.front], width, height, &title, STYLE)
    }

    /// What the axis spans: the call, and within reason events and calls after it (a hook that runs when it is over, say).
    fn length(&self) -> Duration {
        let call = self.report.duration.max(Duration::from_millis(100));
        let placed = self.placed.iter().map(|placed| self.offset(placed).saturating_add(placed.duration));
        let recorded = self.recordings.iter().map(|(_, to, _)| *to);
        let last = self.events.iter().map(|(at, _)| *at).chain(placed).chain(recorded).max().unwrap_or_default();
        call.max(last.min(call.saturating_add(Duration::from_secs(10))))
    }

    /// The host's events, and of the report's those that have no lane.
    fn marks(&self, scale: Scale) -> Vec<Mark> {
        let trouble = self.report.events.iter().filter_map(|event| {
            let text = match &event.event {
                CallerEvent::Missed(what) => what.clone(),
                CallerEvent::PromptEnded(media, PromptEnd::Failed(_)) => format!("cannot play {media}"),
                _ => return None,
            };
            Some((event.at, text, true))
        });
        let events = self.events.iter().map(|(at, text)| (*at, text.clone(), false));
        let mut all: Vec<_> = events.chain(trouble).collect();
        all.sort_by_key(|(at, ..)| *at);
        let mark = |(at, text, is_bad): (Duration, String, bool)| Mark {
            x: scale.x(at),
            label: fit(&text, LABEL_MAX_PX).unwrap_or_default(),
            tip: format!("{:.3} s: {text}", at.as_secs_f64()),
            is_bad,
        };
        all.into_iter().map(mark).collect()
    }

    fn draw_said(&self, page: &mut Page, scale: Scale, y: f64, width: f64, (speech, keys): (&[Bar], &[Bar])) -> f64 {
        page.wave("said", scale, &self.report.said, y);
        let mut bottom = y + WAVE_PX;
        if !speech.is_empty() {
            bottom = page.bars_with_labels_below(speech, LABEL_ROWS, bottom) + 4.0;
        }
        if !keys.is_empty() {
            keys.iter().for_each(|bar| page.bar(bar, bottom));
            bottom += ROW_PX + 4.0;
        }
        page.lane("caller says", y, bottom - y, width);
        bottom
    }

    fn speech(&self, scale: Scale) -> Vec<Bar> {
        let mut spans: Vec<(&str, Duration, Duration)> = Vec::new();
        for event in &self.report.events {
            match (&event.event, spans.last_mut()) {
                (CallerEvent::SpeechStarted(name), _) => spans.push((name, event.at, self.report.duration)),
                (CallerEvent::SpeechEnded, Some((_, _, to))) => *to = event.at,
                _ => {}
            }
        }
        spans.into_iter().map(|(name, from, to)| bar(scale, "speech", short_name(name), (from, to), name)).collect()
    }

    fn draw_heard(&self, page: &mut Page, scale: Scale, y: f64, width: f64, prompts: &[Bar]) -> f64 {
        page.wave("heard", scale, &self.report.heard, y);
        let mut bottom = y + WAVE_PX;
        if !prompts.is_empty() {
            bottom = page.bars_with_labels_below(prompts, LABEL_ROWS, bottom) + 4.0;
        }
        page.lane("caller hears", y, bottom - y, width);
        bottom
    }
}

/// The keys; those that would cover each other stand together. Their call began so much later than the axis.
fn keys(report: &CallReport, scale: Scale, offset: Duration) -> Vec<Bar> {
    let mut groups: Vec<(f64, String)> = Vec::new();
    for event in &report.events {
        let CallerEvent::Pressed(key) = event.event else { continue };
        let x = scale.x(offset.saturating_add(event.at));
        match groups.last_mut() {
            Some((from, keys)) if x < *from + key_width_px(keys) + 2.0 => keys.push(key),
            _ => groups.push((x, key.to_string())),
        }
    }
    let to_bar = |(from, keys): (f64, String)| {
        let label = fit(&keys, LABEL_MAX_PX).unwrap_or_default();
        Bar { class: "key", from, to: from + key_width_px(&label), label, tip: format!("presses {keys}") }
    };
    groups.into_iter().map(to_bar).collect()
}

/// What was played; to a call that began so much later than the axis.
fn prompts(report: &CallReport, scale: Scale, offset: Duration) -> Vec<Bar> {
    let prompts = report.prompts.iter().filter(|p| !matches!(p.end, PromptEnd::Failed(_)));
    let to_bar = |p: &PlayedPrompt| {
        let class = if p.end == PromptEnd::Finished { "prompt" } else { "cut" };
        let span = (offset.saturating_add(p.from), offset.saturating_add(p.to));
        bar(scale, class, short_name(&p.media), span, &format!("{}: {}", p.media, p.end))
    };
    prompts.map(to_bar).collect()
}

fn bar(scale: Scale, class: &'static str, label: &str, (from, to): (Duration, Duration), tip: &str) -> Bar {
    let tip = format!("{:.2} s to {:.2} s: {tip}", from.as_secs_f64(), to.as_secs_f64());
    Bar { class, from: scale.x(from), to: scale.x(to), label: fit(label, LABEL_MAX_PX).unwrap_or_default(), tip }
}

/// What tells sounds and files apart.
fn short_name(name: &str) -> &str {
    let name = name.strip_prefix("sound:").unwrap_or(name);
    name.rsplit(['/', '\\']).next().filter(|file| file.ends_with(".wav")).unwrap_or(name)
}

fn key_width_px(keys: &str) -> f64 {
    width_px(keys) + 2.0 * BAR_INSET_PX + 0.5
}
