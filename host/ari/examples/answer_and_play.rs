//! Answers every call of an application, plays a prompt, hangs up:
//! `cargo run -p voxtra-ari --example answer_and_play -- http://127.0.0.1:8088 user password app`

use voxtra_ari::{AriClient, AriConfig, AriError, Event, EventOptions, EventStream, HangupReason, Play, StreamItem};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, user, password, app] = arguments.as_slice() else {
        return Err("usage: answer_and_play URL USER PASSWORD APP".into());
    };
    let client = AriClient::new(AriConfig::new(url, user, password, app))?;
    let mut events = EventStream::connect(&client, EventOptions::default()).await?;
    while let Some(item) = events.next().await {
        if let StreamItem::Event(event) = item
            && let Err(error) = serve(&client, *event).await
        {
            eprintln!("{error}"); // a caller may hang up at any moment
        }
    }
    Ok(())
}

async fn serve(client: &AriClient, event: Event) -> Result<(), AriError> {
    match event {
        Event::StasisStart(start) => {
            let id = start.channel.id;
            client.answer(&id).await?;
            let play = Play::list(format!("prompt-{id}"), ["sound:hello-world", "digits:123"]);
            client.play(&id, &play).await?;
        }
        Event::PlaybackFinished(end) => {
            if let Some(id) = end.playback.channel_id() {
                client.hangup(id, HangupReason::Normal).await?;
            }
        }
        _ => {}
    }
    Ok(())
}
