//! A mailbox: records what a caller says until `#`, 60 seconds, or 5 seconds of silence, and saves it here.
//! `cargo run -p voxtra-ari --example record -- http://127.0.0.1:8088 user password app`

use voxtra_ari::{
    AriClient, AriConfig, AriError, Event, EventOptions, EventStream, HangupReason, Record, StreamItem, TerminateOn,
};

/// A minute of 16-bit audio at 8 kHz has 1 MB.
const MAX_BYTES: u64 = 2_000_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, user, password, app] = arguments.as_slice() else {
        return Err("usage: record URL USER PASSWORD APP".into());
    };
    let client = AriClient::new(AriConfig::new(url, user, password, app))?;
    let mut events = EventStream::connect(&client, EventOptions::default()).await?;
    while let Some(item) = events.next().await {
        let StreamItem::Event(event) = item else { continue };
        match *event {
            Event::StasisStart(start) => {
                if let Err(error) = record(&client, &start.channel.id).await {
                    eprintln!("{error}");
                }
            }
            Event::RecordingFinished(end) => save(&client, &end.recording.name).await?,
            _ => {}
        }
    }
    Ok(())
}

async fn record(client: &AriClient, caller: &str) -> Result<(), AriError> {
    client.answer(caller).await?;
    let message = Record::new(format!("messages/{caller}"), "wav")
        .max_duration_s(60)
        .max_silence_s(5)
        .terminate_on(TerminateOn::Hash)
        .beep();
    client.record(caller, &message).await.map(drop)
}

async fn save(client: &AriClient, name: &str) -> Result<(), Box<dyn std::error::Error>> {
    let file = format!("{}.wav", name.replace('/', "-"));
    let mut out = tokio::fs::File::create(&file).await?;
    let length_bytes = client.save_recording(name, MAX_BYTES, &mut out).await?;
    client.delete_recording(name).await?;
    println!("{file}: {length_bytes} bytes");
    // Those who have hung up themselves are gone, which is as good.
    let caller = name.trim_start_matches("messages/");
    client.hangup(caller, HangupReason::Normal).await?;
    Ok(())
}
