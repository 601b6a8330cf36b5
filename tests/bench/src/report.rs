//! The figures as a table for people and as one flat JSON object for programs. Keys are added, never taken away.

use serde_json::{Map, Value, json};

use crate::attacks::{self, Measured};
use crate::echo::{Echo, Side};
use crate::many::Many;
use crate::sandbox::Sandbox;
use crate::setup::CallSetup;
use crate::swaps::Swaps;
use crate::webhooks::Webhooks;

/// All that was measured.
pub(crate) struct Report {
    pub(crate) sandbox: Sandbox,
    pub(crate) echo: Vec<Echo>,
    pub(crate) webhooks: Webhooks,
    pub(crate) setup: CallSetup,
    pub(crate) swaps: Swaps,
    pub(crate) many: Many,
    pub(crate) attacks: Vec<Measured>,
}

impl Report {
    pub(crate) fn to_json(&self) -> String {
        let (s, w, c) = (&self.sandbox, &self.webhooks, &self.setup);
        let echo: Map<String, Value> = self.echo.iter().map(|e| (e.calls.to_string(), echo_json(e))).collect();
        let (swaps, many) = (&self.swaps, &self.many);
        let mut report = json!({
            "instance_ns_p50": s.instance_ns,
            "bare_instance_ns_p50": s.bare_instance_ns,
            "host_call_ns_p50": s.host_call_ns,
            "bare_host_call_ns_p50": s.bare_host_call_ns,
            "memory_bytes_per_call": self.memory_bytes_per_call(),
            "echo": echo,
            "calls_per_second_setup": c.calls_per_second,
            "bare_calls_per_second_setup": c.bare_calls_per_second,
            "call_setup_us_p50": c.setup_us_p50,
            "call_setup_us_p99": c.setup_us_p99,
            "caller_setup_us_p50": c.caller_us_p50,
            "caller_setup_us_p99": c.caller_us_p99,
            "bare_caller_setup_us_p50": c.bare_caller_us_p50,
            "bare_caller_setup_us_p99": c.bare_caller_us_p99,
            "webhook_events_per_second": w.host_per_second,
            "bare_webhook_events_per_second": w.bare_per_second,
            "calls_per_second_instances": s.instances_per_second,
            "bare_calls_per_second_instances": s.bare_instances_per_second,
            "swap_ms_p50": swaps.ms_p50,
            "swap_ms_p99": swaps.ms_p99,
            "start_1000_handlers_ms": many.start_ms,
            "idle_bytes_1000_handlers": many.idle_bytes,
            "idle_bytes_no_handler": many.empty_bytes,
            "virtual_calls": many.calls,
            "virtual_calls_ms": many.calls_ms,
        });
        if let (Some(worst), Some(report)) = (attacks::worst(&self.attacks), report.as_object_mut()) {
            report.insert("frame_p99_us_quiet".to_owned(), worst.quiet_us_p99().into());
            report.insert("frame_p99_us_attack".to_owned(), worst.attack_us_p99().into());
        }
        report.to_string()
    }

    pub(crate) fn to_table(&self) -> String {
        let s = &self.sandbox;
        let mut table = sandbox_table(s);
        for e in &self.echo {
            table += &echo_table(e);
        }
        table += &format!("{:<34}{:>12}\n", "memory a call, bytes", self.memory_bytes_per_call());
        let (c, w) = (&self.setup, &self.webhooks);
        table += "calls from Asterisk (bare: its own Echo())\n";
        table += &row("  calls a second", f64::from(c.calls_per_second), f64::from(c.bare_calls_per_second), 0);
        table += &row("  INVITE to audio, us p50", c.caller_us_p50 as f64, c.bare_caller_us_p50 as f64, 0);
        table += &row("  INVITE to audio, us p99", c.caller_us_p99 as f64, c.bare_caller_us_p99 as f64, 0);
        table += &format!("{:<34}{:>12}\n", "  StasisStart to audio, us p50", c.setup_us_p50);
        table += &format!("{:<34}{:>12}\n", "  StasisStart to audio, us p99", c.setup_us_p99);
        table += &row("webhook events a second", w.host_per_second as f64, w.bare_per_second as f64, 0);
        table += &swaps_table(&self.swaps);
        table += &many_table(&self.many);
        table += &attacks::to_table(&self.attacks);
        table
    }

    /// Of the largest run: the pools' first pages weigh least there.
    fn memory_bytes_per_call(&self) -> u64 {
        self.echo.iter().max_by_key(|e| e.calls).map(|e| e.host.bytes_per_call).unwrap_or_default()
    }
}

/// For a terminal.
pub(crate) fn sandbox_table(s: &Sandbox) -> String {
    let mut table = format!("{:<34}{:>12}{:>12}{:>8}\n", "", "host", "bare", "ratio");
    table += &row("store + instance, ns p50", s.instance_ns as f64, s.bare_instance_ns as f64, 0);
    table += &row("instances a second", s.instances_per_second as f64, s.bare_instances_per_second as f64, 0);
    table += &row("one host call, ns p50", s.host_call_ns as f64, s.bare_host_call_ns as f64, 0);
    table
}

/// For a terminal.
pub(crate) fn swaps_table(swaps: &Swaps) -> String {
    let mut table = format!("{:<34}{:>12}\n", "last byte to first call, ms p50", swaps.ms_p50);
    table += &format!("{:<34}{:>12}\n", "last byte to first call, ms p99", swaps.ms_p99);
    table
}

/// For a terminal.
pub(crate) fn many_table(many: &Many) -> String {
    let mut table = format!("{} handlers\n", many.handlers);
    for (what, figure) in [
        ("  start from the cache, ms", many.start_ms),
        ("  the slowest start, ms", many.slowest_start_ms),
        ("  idle memory, bytes", many.idle_bytes),
        ("  idle memory without them, bytes", many.empty_bytes),
        ("  calls in virtual time", many.calls),
        ("  what they took, ms", many.calls_ms),
        ("  what they lasted, s", many.talked_s),
    ] {
        table += &format!("{what:<34}{figure:>12}\n");
    }
    table
}

pub(crate) fn echo_table(echo: &Echo) -> String {
    let mut table = format!("{} echo calls\n", echo.calls);
    table += &row("  delay, us p50", echo.host.delay_us_p50 as f64, echo.bare.delay_us_p50 as f64, 0);
    table += &row("  delay, us p99", echo.host.delay_us_p99 as f64, echo.bare.delay_us_p99 as f64, 0);
    table += &row("  CPU a call, % of a core", echo.host.cpu_percent_per_call, echo.bare.cpu_percent_per_call, 4);
    table += &counts("  late frames (over 40 ms)", &echo.host, &echo.bare, |side| side.late_frames);
    table += &counts("  dropped frames", &echo.host, &echo.bare, |side| side.dropped_frames);
    table
}

fn echo_json(echo: &Echo) -> Value {
    json!({
        "added_delay_us_p50": echo.host.delay_us_p50,
        "added_delay_us_p99": echo.host.delay_us_p99,
        "bare_delay_us_p50": echo.bare.delay_us_p50,
        "bare_delay_us_p99": echo.bare.delay_us_p99,
        "cpu_percent_per_call": rounded(echo.host.cpu_percent_per_call),
        "bare_cpu_percent_per_call": rounded(echo.bare.cpu_percent_per_call),
        "late_frames": echo.host.late_frames,
        "dropped_frames": echo.host.dropped_frames,
    })
}

fn rounded(percent: f64) -> f64 {
    (percent * 10_000.0).round() / 10_000.0
}

fn row(what: &str, host: f64, bare: f64, digits: usize) -> String {
    let ratio = if bare > 0.0 { format!("{:.2}", host / bare) } else { "-".into() };
    format!("{what:<34}{host:>12.digits$}{bare:>12.digits$}{ratio:>8}\n")
}

fn counts(what: &str, host: &Side, bare: &Side, of: fn(&Side) -> u64) -> String {
    format!("{what:<34}{:>12}{:>12}\n", of(host), of(bare))
}
