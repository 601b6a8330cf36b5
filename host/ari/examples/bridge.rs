//! Lets callers talk with each other, two by two: the first waits with music for the second.
//! `cargo run -p voxtra-ari --example bridge -- http://127.0.0.1:8088 user password app`

use voxtra_ari::{AriClient, AriConfig, AriError, BridgeType, Event, EventOptions, EventStream, StreamItem};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, user, password, app] = arguments.as_slice() else {
        return Err("usage: bridge URL USER PASSWORD APP".into());
    };
    let client = AriClient::new(AriConfig::new(url, user, password, app))?;
    let mut events = EventStream::connect(&client, EventOptions::default()).await?;
    let mut waiting = None;
    while let Some(item) = events.next().await {
        let StreamItem::Event(event) = item else { continue };
        match *event {
            Event::StasisStart(start) => {
                let caller = start.channel.id;
                client.answer(&caller).await?;
                match waiting.take() {
                    None => {
                        client.start_moh(&caller, None).await?;
                        waiting = Some(caller);
                    }
                    Some(first) => connect(&client, &first, &caller).await?,
                }
            }
            // The other one is told by the bridge being empty: here, simply by silence.
            Event::StasisEnd(end) if waiting.as_deref() == Some(&end.channel.id) => waiting = None,
            _ => {}
        }
    }
    Ok(())
}

async fn connect(client: &AriClient, first: &str, second: &str) -> Result<(), AriError> {
    client.stop_moh(first).await?;
    // One bridge a pair, with the first caller's id in its own.
    let bridge = client.create_bridge(&format!("pair-{first}"), BridgeType::Mixing, "").await?;
    println!("{first} and {second} talk in {}", bridge.id);
    client.add_to_bridge(&bridge.id, &[first, second]).await
}
