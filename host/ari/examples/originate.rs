//! Calls an endpoint, plays it a prompt and hangs up; tells how the call went:
//! `cargo run -p voxtra-ari --example originate -- http://127.0.0.1:8088 user password app PJSIP/100`

use voxtra_ari::{AriClient, AriConfig, Event, EventOptions, EventStream, HangupReason, Originate, Play, StreamItem};

/// Chosen here, so that the call's events can be told from others' even before the answer.
const CHANNEL: &str = "originate-example";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, user, password, app, endpoint] = arguments.as_slice() else {
        return Err("usage: originate URL USER PASSWORD APP ENDPOINT".into());
    };
    let client = AriClient::new(AriConfig::new(url, user, password, app))?;
    let mut events = EventStream::connect(&client, EventOptions::default()).await?;
    let mut call = Originate::to_app(endpoint, app).channel_id(CHANNEL).variable("PURPOSE", "example");
    call.timeout_s = Some(20);
    client.originate(&call).await?;
    while let Some(item) = events.next().await {
        let StreamItem::Event(event) = item else { continue };
        match *event {
            Event::StasisStart(start) if start.channel.id == CHANNEL => {
                println!("answered");
                client.play(CHANNEL, &Play::new("greeting", "sound:hello-world")).await?;
            }
            Event::PlaybackFinished(end) if end.playback.id == "greeting" => {
                client.hangup(CHANNEL, HangupReason::Normal).await?;
            }
            Event::ChannelDestroyed(end) if end.channel.id == CHANNEL => {
                println!("over: {} ({})", end.cause_txt, end.cause);
                break;
            }
            _ => {}
        }
    }
    Ok(())
}
