//! What Prometheus reads of the host as a whole, and where. Tenants' calls are counted by the registry itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use voxtra_core::{BoxFuture, TenantId};
use voxtra_plugins::Runtime;
use voxtra_services::metering::MeterStore;
use voxtra_services::metrics::{Registry, Samples, Source, serve};
use voxtra_services::webhooks::{Letters, WebhookSink};
use voxtra_session::Host;
use voxtra_telephony::asterisk::AsteriskAdapter;
use voxtra_telephony::media::MediaThreads;

use super::egress::HandlersHttp;
use super::pbx::Pbx;
use super::services::Services;
use crate::config::{Config, Listen};

/// The parts of a host that know numbers. Held weakly where they hold the registry themselves.
pub(crate) struct Parts {
    host: Weak<Host>,
    runtime: Arc<Runtime>,
    pbxs: Vec<(String, AsteriskAdapter)>,
    media: Arc<MediaThreads>,
    webhooks: Arc<WebhookSink>,
    letters: Arc<Letters>,
    meters: MeterStore,
    http: Arc<HandlersHttp>,
}

impl Parts {
    pub(crate) fn new(
        host: &Arc<Host>,
        runtime: Arc<Runtime>,
        pbxs: &[Pbx],
        media: &Arc<MediaThreads>,
        services: &Services,
        http: &Arc<HandlersHttp>,
    ) -> Self {
        Self {
            host: Arc::downgrade(host),
            runtime,
            pbxs: pbxs.iter().map(|pbx| (pbx.name.clone(), pbx.adapter.clone())).collect(),
            media: Arc::clone(media),
            webhooks: Arc::clone(&services.webhooks),
            letters: Arc::clone(&services.letters),
            meters: services.meters.clone(),
            http: Arc::clone(http),
        }
    }

    /// Tells these too, and what is wrong with them.
    pub(crate) fn add_to(self, registry: &Registry) {
        let pbxs = self.pbxs.clone();
        registry.check("pbx", move || {
            // One that serves no tenant has nothing to be connected.
            let is_away = |(_, adapter): &&(String, AsteriskAdapter)| {
                !adapter.apps().is_empty() && adapter.stats().connected_apps.is_empty()
            };
            match pbxs.iter().find(is_away) {
                Some((name, _)) => Err(format!("no application is connected to {name}; look at the host's log")),
                None => Ok(()),
            }
        });
        let meters = self.meters.clone();
        registry.check("metering", move || match meters.stats().lost {
            0 => Ok(()),
            lost => Err(format!("{lost} records of calls are lost since the start; look at the database's disk")),
        });
        registry.add(self);
    }

    fn tell_calls(&self, samples: &mut Samples) {
        let Some(host) = self.host.upgrade() else { return };
        samples.gauge("voxtra_active_calls", "Calls that are up.", &[], host.active() as f64);
        let mut tenants: BTreeMap<TenantId, u32> = BTreeMap::new();
        host.calls().iter().for_each(|call| *tenants.entry(call.info.tenant.clone()).or_default() += 1);
        for (tenant, calls) in tenants {
            let help = "Calls that are up, of tenants that have some.";
            samples.gauge("voxtra_tenant_active_calls", help, &[("tenant", tenant.as_str())], calls.into());
        }
        for (tenant, events) in host.withheld_events() {
            let help = "Events that did not leave because a filter did not see them.";
            samples.counter("voxtra_withheld_events_total", help, &[("tenant", tenant.as_str())], events as f64);
        }
        let stats = host.stats();
        for (name, help, count) in [
            ("voxtra_calls_started_total", "Calls that were taken.", stats.started),
            ("voxtra_calls_refused_total", "Calls that were not taken.", stats.refused),
            ("voxtra_calls_refused_busy_total", "Calls whose handler could not begin in time.", stats.refused_busy),
            ("voxtra_calls_lost_total", "Calls whose owner vanished.", stats.lost),
            ("voxtra_handlers_cut_off_total", "Handlers that did not return in time.", stats.handlers_cut_off),
            ("voxtra_dropped_leg_events_total", "Events of legs that found no room.", stats.dropped_leg_events),
            ("voxtra_dropped_handler_events_total", "Events that handlers missed.", stats.dropped_handler_events),
            ("voxtra_dropped_digits_total", "Keys that no handler took.", stats.dropped_digits),
            ("voxtra_dropped_events_total", "Events that found no room before a filter.", stats.dropped_events),
            ("voxtra_rule_failures_total", "Routers that failed or were late.", stats.rule_failures),
            ("voxtra_filter_failures_total", "Filters that failed or were late.", stats.filter_failures),
            ("voxtra_breaker_skipped_total", "Calls that a failing version did not get.", stats.breaker_skipped),
            ("voxtra_canaries_withdrawn_total", "Versions on trial that were withdrawn.", stats.canaries_withdrawn),
        ] {
            samples.counter(name, help, &[], count as f64);
        }
    }

    fn tell_instances(&self, samples: &mut Samples) {
        let usage = self.runtime.usage();
        for (name, help, count) in [
            ("voxtra_instances", "Instances of components that are alive.", usage.instances),
            ("voxtra_instance_memories", "Their memories.", usage.memories),
            ("voxtra_instance_tables", "Their tables.", usage.tables),
            ("voxtra_instance_stacks", "Their stacks.", usage.stacks),
            ("voxtra_instances_max", "Instances for which there is room.", self.runtime.options().max_instances.into()),
        ] {
            samples.gauge(name, help, &[], count as f64);
        }
    }

    fn tell_pbxs(&self, samples: &mut Samples) {
        for (name, adapter) in &self.pbxs {
            let (stats, labels) = (adapter.stats(), [("pbx", name.as_str())]);
            let connected = "Applications whose events come.";
            samples.gauge("voxtra_pbx_connected_apps", connected, &labels, stats.connected_apps.len() as f64);
            samples.gauge("voxtra_pbx_legs", "Legs that are up.", &labels, stats.legs as f64);
            for (name, help, count) in [
                ("voxtra_pbx_calls_total", "Calls that were taken.", stats.accepted),
                ("voxtra_pbx_refused_calls_total", "Calls that were refused.", stats.refused),
                ("voxtra_pbx_media_total", "Audio that was set up.", stats.media_opened),
                ("voxtra_pbx_media_failures_total", "Audio that could not be set up.", stats.media_failed),
                ("voxtra_pbx_orphans_total", "Channels and bridges that nobody knew.", stats.orphans),
                ("voxtra_pbx_dropped_inputs_total", "Events that found no room.", stats.dropped_inputs),
            ] {
                samples.counter(name, help, &labels, count as f64);
            }
        }
    }

    fn tell_media(&self, samples: &mut Samples) {
        let stats = self.media.stats();
        samples.gauge("voxtra_media_connections", "Audio connections.", &[], stats.connections as f64);
        for (name, help, count) in [
            ("voxtra_media_frames_in_total", "Frames received.", stats.frames_in),
            ("voxtra_media_frames_out_total", "Frames sent, filler not counted.", stats.frames_out),
            ("voxtra_media_filler_frames_total", "Frames of silence sent.", stats.filler_frames),
            ("voxtra_media_dropped_in_frames_total", "Received frames nobody read.", stats.dropped_inbound_frames),
            ("voxtra_media_dropped_out_frames_total", "Frames without room.", stats.dropped_outbound_frames),
            ("voxtra_media_late_ticks_total", "Ticks more than 10 ms late.", stats.late_ticks),
            ("voxtra_media_lost_connections_total", "Connections that broke.", stats.lost_connections),
        ] {
            samples.counter(name, help, &[], count as f64);
        }
    }

    /// Of requests that are over without an error, calls' records tell.
    fn tell_http(&self, samples: &mut Samples) {
        for (tenant, counters) in self.http.counters() {
            let under_way = "Handlers' requests over HTTP that are under way.";
            let of_tenant = [("tenant", tenant.as_str())];
            samples.gauge("voxtra_http_under_way", under_way, &of_tenant, counters.under_way.into());
            for (reason, errors) in counters.errors.into_iter().filter(|(_, errors)| *errors > 0) {
                let labels = [("tenant", tenant.as_str()), ("reason", reason.as_str())];
                let help = "Handlers' requests over HTTP that were refused or failed, by why.";
                samples.counter("voxtra_http_errors_total", help, &labels, errors as f64);
            }
        }
    }

    async fn tell_kept(&self, samples: &mut Samples) {
        let stats = self.webhooks.stats();
        let meters = self.meters.stats();
        for (name, help, count) in [
            ("voxtra_webhooks_delivered_total", "Events that a webhook has taken.", stats.delivered),
            ("voxtra_webhooks_failed_attempts_total", "Attempts that did not go through.", stats.failed_attempts),
            ("voxtra_webhooks_dead_total", "Events that became dead letters.", stats.dead),
            ("voxtra_webhooks_lost_total", "Events that could not be kept.", stats.lost),
            ("voxtra_meter_kept_total", "Records of calls that are on disk.", meters.kept),
            ("voxtra_meter_lost_total", "Records of calls that found no room.", meters.lost),
        ] {
            samples.counter(name, help, &[], count as f64);
        }
        samples.gauge("voxtra_meter_waiting", "Records of calls not on disk yet.", &[], meters.waiting as f64);
        match self.letters.count().await {
            Ok((waiting, dead)) => {
                samples.gauge("voxtra_webhooks_waiting", "Events to be delivered.", &[], waiting as f64);
                samples.gauge("voxtra_webhooks_dead_letters", "Dead letters that are kept.", &[], dead as f64);
            }
            Err(error) => tracing::debug!(%error, "the outbox cannot be counted"),
        }
    }
}

impl Source for Parts {
    fn collect<'a>(&'a self, samples: &'a mut Samples) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let version = [("version", env!("CARGO_PKG_VERSION"))];
            samples.gauge("voxtra_build_info", "Always 1; the label says which version runs.", &version, 1.0);
            self.tell_calls(samples);
            self.tell_instances(samples);
            self.tell_pbxs(samples);
            self.tell_media(samples);
            self.tell_http(samples);
            self.tell_kept(samples).await;
        })
    }
}

/// Serves until it is dropped.
pub(crate) struct Told(AbortHandle);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Tells whoever asks where the configuration says. An address that cannot be had is a warning: calls matter more.
pub(crate) async fn listen(config: &Config, registry: &Arc<Registry>) -> Option<Told> {
    let Listen::At(address) = config.root.metrics.listen else { return None };
    let listening = async {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok::<_, std::io::Error>((listener, address))
    };
    match listening.await {
        Ok((listener, address)) => {
            tracing::info!("metrics are at http://{address}/metrics");
            Some(Told(tokio::spawn(serve(listener, Arc::clone(registry))).abort_handle()))
        }
        Err(error) => {
            let problem = format!(
                "no metrics are told, because {address} cannot be listened on ({error}); write a free address, or `off`"
            );
            tracing::warn!("{}", config.error_at(&["metrics", "listen"], problem));
            None
        }
    }
}
