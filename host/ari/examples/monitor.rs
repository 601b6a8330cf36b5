//! Prints every event of an application until Ctrl-C:
//! `cargo run -p voxtra-ari --example monitor -- http://127.0.0.1:8088 user password app`

use voxtra_ari::{AriClient, AriConfig, EventOptions, EventStream, StreamItem};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, user, password, app] = arguments.as_slice() else {
        return Err("usage: monitor URL USER PASSWORD APP".into());
    };
    let client = AriClient::new(AriConfig::new(url, user, password, app))?;
    println!("Asterisk {}", client.info().await?.system.version);
    let mut options = EventOptions::default();
    options.subscribe_all = true;
    let mut events = EventStream::connect(&client, options).await?;
    loop {
        tokio::select! {
            item = events.next() => match item {
                Some(StreamItem::Event(event)) => {
                    println!("{} {}", event.kind(), event.channel_id().unwrap_or("-"));
                }
                Some(other) => println!("{other:?}"),
                None => break,
            },
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    events.shutdown().await;
    Ok(())
}
