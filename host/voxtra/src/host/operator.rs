//! What the operator is answered at the admin socket.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use voxtra_artifacts::store::HistoryEntry;
use voxtra_artifacts::{HandlerKey, VersionPrefix};
use voxtra_core::{BoxFuture, CallId, TenantId, wire};
use voxtra_loader::{Keeper, VersionLine};
use voxtra_services::batch::{BatchOptions, Target};
use voxtra_services::webhooks::WebhookSink;
use voxtra_session::{ActiveCall, Host, TrialStatus};

use super::batches::BatchDesk;
use super::pbx::Exchanges;
use crate::admin::{Answer, Answers, BatchQuestion, HandlerQuestion, Question};

/// Answers for one host.
pub(crate) struct Operator {
    pub(crate) host: Arc<Host>,
    pub(crate) keeper: Keeper,
    pub(crate) batches: Arc<BatchDesk>,
    pub(crate) webhooks: Arc<WebhookSink>,
    pub(crate) exchanges: Exchanges,
}

impl Answers for Operator {
    fn answer(&self, question: Question) -> BoxFuture<'_, Answer> {
        Box::pin(async move {
            match self.asked(question).await {
                Ok(value) => Answer::Ok(value),
                Err(error) => Answer::Error(format!("{error:#}")),
            }
        })
    }
}

impl Operator {
    async fn asked(&self, question: Question) -> anyhow::Result<Value> {
        Ok(match question {
            Question::Sessions => self.host.calls().iter().map(call_json).collect(),
            Question::Session { id } => {
                let calls = self.host.calls();
                let call = calls.iter().find(|call| call.info.id.as_str() == id).ok_or_else(|| no_call(&id))?;
                call_json(call)
            }
            Question::Hangup { id } => {
                if !self.host.hangup(&CallId::from(id.as_str())) {
                    return Err(no_call(&id));
                }
                json!({"id": id})
            }
            Question::BatchStart { tenant, name, csv, options } => {
                self.start_batch(&tenant, &name, &csv, options).await?
            }
            Question::Batches => self.batches.list().await?.into(),
            Question::BatchStatus { id } => self.batches.show(&id).await?,
            Question::BatchCancel { id } => {
                self.batches.cancel(&id).await?;
                json!({"id": id})
            }
            Question::BatchResult { id } => self.batches.result_csv(&id).await?.into(),
            Question::Handlers => {
                let trials = self.host.canaries();
                self.keeper.list().await?.iter().map(|line| version_json(line, &trials)).collect()
            }
            Question::HandlerHistory(asked) => {
                self.keeper.history(key(&asked)?).await?.iter().map(history_json).collect()
            }
            Question::HandlerRollBack(asked) => {
                let version = self.keeper.roll_back(key(&asked)?, prefix(&asked)?, asked.by).await?;
                json!({"version": version.short()})
            }
            Question::HandlerPin(asked) => {
                let version = self.keeper.pin(key(&asked)?, prefix(&asked)?, asked.by).await?;
                json!({"version": version.short()})
            }
            Question::HandlerUnpin(asked) => {
                self.keeper.unpin(key(&asked)?, asked.by).await?;
                Value::Null
            }
            Question::WebhooksWake => {
                self.webhooks.wake();
                Value::Null
            }
        })
    }

    async fn start_batch(&self, tenant: &str, name: &str, csv: &str, asked: BatchQuestion) -> anyhow::Result<Value> {
        let tenant = TenantId::new(tenant);
        if !self.exchanges.has_tenant(&tenant) {
            anyhow::bail!("there is no tenant {tenant}; name one of the configuration");
        }
        let options = options(asked)?;
        let started = self.batches.start_csv(&tenant, name, csv, options).await;
        let (id, refused) = started.map_err(|why| anyhow::anyhow!(why))?;
        let refused = refused.iter().map(|row| json!({"line": row.line, "number": row.number, "reason": row.reason}));
        Ok(json!({"id": id.as_str(), "refused": refused.collect::<Vec<_>>()}))
    }
}

fn key(asked: &HandlerQuestion) -> anyhow::Result<HandlerKey> {
    Ok(HandlerKey::new(&TenantId::new(asked.tenant.as_str()), &asked.name.as_str().into())?)
}

fn prefix(asked: &HandlerQuestion) -> anyhow::Result<Option<VersionPrefix>> {
    Ok(asked.version.as_deref().map(str::parse).transpose()?)
}

fn version_json(line: &VersionLine, trials: &[TrialStatus]) -> Value {
    let key = &line.key;
    let counted = line.trial.as_ref().and_then(|trial| {
        let is_it = |status: &&TrialStatus| {
            (&status.tenant, &status.handler, &status.version) == (key.tenant(), key.handler(), &trial.version)
        };
        trials.iter().find(is_it).map(|status| status.counts)
    });
    json!({
        "on_trial": line.trial.as_ref().map(|trial| &trial.version),
        "trial_percent": line.trial.as_ref().map(|trial| trial.percent),
        "trial_calls": counted.map(|counts| counts.calls),
        "trial_failures": counted.map(|counts| counts.failures),
        "tenant": line.key.tenant(),
        "name": line.key.handler(),
        "version": line.serving,
        "pinned": line.pinned,
        "versions": line.versions,
    })
}

fn history_json(entry: &HistoryEntry) -> Value {
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(entry.at_ms);
    json!({
        "at": wire::timestamp(at),
        "why": entry.why.as_str(),
        "version": entry.version.short(),
        "current": entry.current.short(),
        "by": entry.by,
        "note": entry.note,
    })
}

fn options(asked: BatchQuestion) -> anyhow::Result<BatchOptions> {
    let wrong = |what: &str, why: String| anyhow::anyhow!("{what}: {why}");
    Ok(BatchOptions {
        target: asked.handler.map_or(Target::Routes, Target::Handler),
        caller_id: asked.caller_id,
        concurrency: asked.concurrency,
        calls_per_second: f64::from(asked.calls_per_10_s) / 10.0,
        retries: asked.retries.parse().map_err(|error| wrong("--retry", error))?,
        hours: asked.hours.map(|hours| hours.parse()).transpose().map_err(|error| wrong("--hours", error))?,
        ring_timeout_ms: asked.ring_timeout_ms,
        detect_machine: asked.detect_machine,
        variables: Vec::new(),
    })
}

fn no_call(id: &str) -> anyhow::Error {
    anyhow::anyhow!("there is no call {id}; `voxtra sessions` lists those that are up")
}

fn call_json(call: &ActiveCall) -> Value {
    let info = &call.info;
    let metadata: serde_json::Map<String, Value> =
        call.metadata.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    json!({
        "id": info.id,
        "tenant": info.tenant,
        "state": call.state.as_str(),
        "direction": info.direction.as_str(),
        "caller_id": info.caller_id,
        "called_number": info.called_number,
        "route": info.route,
        "pbx": call.exchange,
        "handler": call.handler,
        "version": call.version,
        "since": wire::timestamp(call.since),
        "age_ms": SystemTime::now().duration_since(call.since).unwrap_or(Duration::ZERO).as_millis() as u64,
        "duration_ms": call.duration_ms,
        "parent": call.parent.as_ref().map(ToString::to_string),
        "children": call.children.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "recording": call.recording.as_ref().map(ToString::to_string),
        "bridges": call.bridges,
        "snoops": call.snoops,
        "metadata": metadata,
    })
}
