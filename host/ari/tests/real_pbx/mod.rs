//! A real Asterisk, its events, and telephones that call it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code, unreachable_pub)]

use std::time::Duration;

use tokio::time::{sleep, timeout};
use voxtra_ari::{AriClient, AriConfig, AriError, Event, EventOptions, EventStream, Originate, StreamItem};
use voxtra_test_support::match_audio::rms;
use voxtra_test_support::phone::ActiveCall;
use voxtra_test_support::{Asterisk, AsteriskOptions, CallOptions, PbxUnderTest, Phone};

pub const LIMIT: Duration = Duration::from_secs(15);
pub const APP: &str = "voxtra";

/// Above this, somebody is heard; silence with a little noise is far below.
const AUDIBLE_RMS: f64 = 100.0;

/// An Asterisk, a client of it, and the events of its application.
pub struct Pbx {
    pub asterisk: PbxUnderTest,
    pub client: AriClient,
    pub events: EventStream,
}

impl Pbx {
    /// `None` where there can be no Asterisk: the test is noted as skipped.
    pub async fn start(name: &str) -> Option<Self> {
        let options = AsteriskOptions { stasis_apps: vec![APP.into(), "other".into()], ..AsteriskOptions::default() };
        let asterisk = Asterisk::for_test(name, options).await.unwrap()?;
        let client = client(&asterisk, APP);
        let events = EventStream::connect(&client, EventOptions::default()).await.unwrap();
        Some(Self { asterisk, client, events })
    }

    /// The next event of this kind about this channel (if any is named).
    pub async fn event(&mut self, kind: &str, channel_id: Option<&str>) -> Box<Event> {
        event(&mut self.events, kind, channel_id).await
    }

    /// A telephone that has called, was answered, and its channel's id.
    pub async fn caller(&mut self, number: &str) -> (ActiveCall, String) {
        let phone = Phone::call(self.asterisk.sip_addr(), "100", CallOptions::from(number));
        let (client, events) = (&self.client, &mut self.events);
        let answering = async {
            let start = event(events, "StasisStart", None).await;
            let id = start.channel_id().unwrap().to_owned();
            client.answer(&id).await.unwrap();
            id
        };
        let (phone, id) = tokio::join!(phone, answering);
        (phone.unwrap(), id)
    }

    /// One of the known callers in the application, under this id.
    pub async fn called(&mut self, who: &str, id: &str) {
        let mut call = Originate::to_app(format!("Local/{who}@callers/n"), APP).channel_id(id);
        call.formats = Some("slin".into());
        self.client.originate(&call).await.unwrap();
        self.event("StasisStart", Some(id)).await;
    }
}

/// A client of this Asterisk as an application.
pub fn client(asterisk: &Asterisk, app: &str) -> AriClient {
    AriClient::new(AriConfig::new(asterisk.ari_url(), asterisk.user(), asterisk.password(), app)).unwrap()
}

/// The next event of this kind about this channel (if any is named).
pub async fn event(events: &mut EventStream, kind: &str, channel_id: Option<&str>) -> Box<Event> {
    let waited = timeout(LIMIT, async {
        loop {
            let Some(StreamItem::Event(event)) = events.next().await else { continue };
            if event.kind() == kind && (channel_id.is_none() || event.channel_id() == channel_id) {
                return event;
            }
        }
    });
    waited.await.unwrap_or_else(|_| panic!("no {kind} of {channel_id:?}"))
}

/// Asks until the answer is right.
pub async fn until<F, Fut>(what: &str, mut right: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let asked = timeout(LIMIT, async {
        while !right().await {
            sleep(Duration::from_millis(50)).await;
        }
    });
    asked.await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Waits until the telephone hears somebody.
pub async fn hears(phone: &ActiveCall, what: &str) {
    let from = phone.heard().len();
    until(what, || async { phone.heard().get(from..).is_some_and(|new| new.len() > 1600 && rms(new) > AUDIBLE_RMS) })
        .await;
}

/// Waits until the telephone has heard nothing for as long as it takes to say so.
pub async fn hears_nothing(phone: &ActiveCall, what: &str) {
    until(what, || async {
        let from = phone.heard().len();
        sleep(Duration::from_millis(400)).await;
        phone.heard().get(from..).is_none_or(|new| rms(new) < AUDIBLE_RMS)
    })
    .await;
}

/// Says that something is not there (any more).
pub fn gone<T: std::fmt::Debug>(outcome: Result<T, AriError>) {
    let error = outcome.unwrap_err();
    assert!(matches!(error, AriError::NotFound { .. }) && error.gone(), "{error:?}");
}
