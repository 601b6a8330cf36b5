//! What routers and filters are asked, and what they answer.

use voxtra_core::CallInfo;

use super::generated::voxtra::call::types;
use super::generated_filter::voxtra::call::filtering;
use super::generated_router::voxtra::call::routing;
use super::{FilterIndices, RouterIndices};
use crate::imports::Kind;
use crate::rule::{Decision, Entry, Export, OutgoingEvent, Verdict};
use crate::store::InstanceData;

impl routing::Host for InstanceData {}

impl filtering::Host for InstanceData {}

/// What an export that may answer with an error of its own gives.
type Answer<T> = wasmtime::Result<Result<T, String>>;

impl Export for RouterIndices {
    const KIND: Kind = Kind::Router;
    type Question = CallInfo;
    type Answer = Option<Decision>;

    async fn ask(&self, (store, instance): Entry<'_>, call: &CallInfo) -> Answer<Option<Decision>> {
        let router = self.load(&mut *store, instance)?;
        let mut call = types::CallInfo::from(call);
        call.route.clear();
        let answer = router.call_route(store, &call).await?;
        Ok(answer.map(|decision| decision.map(Decision::from)))
    }
}

impl Export for FilterIndices {
    const KIND: Kind = Kind::Filter;
    type Question = OutgoingEvent;
    type Answer = Verdict;

    async fn ask(&self, (store, instance): Entry<'_>, event: &OutgoingEvent) -> Answer<Verdict> {
        let filter = self.load(&mut *store, instance)?;
        let answer = filter.call_filter(store, &event.into()).await?;
        Ok(answer.map(Verdict::from))
    }
}

impl From<routing::Decision> for Decision {
    fn from(decision: routing::Decision) -> Self {
        Self { handler: decision.handler.into(), metadata: decision.metadata }
    }
}

impl From<&OutgoingEvent> for filtering::OutgoingEvent {
    fn from(event: &OutgoingEvent) -> Self {
        Self {
            id: event.id.clone(),
            kind: event.kind.clone(),
            session_id: event.session_id.clone(),
            timestamp: event.timestamp.clone(),
            data_json: event.data_json.clone(),
        }
    }
}

impl From<filtering::Verdict> for Verdict {
    fn from(verdict: filtering::Verdict) -> Self {
        match verdict {
            filtering::Verdict::Keep => Self::Keep,
            filtering::Verdict::Change(data_json) => Self::Change(data_json),
            filtering::Verdict::Drop => Self::Drop,
        }
    }
}
