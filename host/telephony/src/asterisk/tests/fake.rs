//! A small PBX that speaks enough ARI and AudioSocket: it keeps channels, bridges and playbacks, tells what happens to
//! them, and fails where a test wants it to.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

/// The application of every test.
pub(super) const APP: &str = "acme";

/// See the module. Dropping it stops it.
pub(super) struct FakePbx {
    pub(super) base_url: String,
    pub(super) pbx: Arc<Pbx>,
    task: JoinHandle<()>,
}

/// What the PBX has.
pub(super) struct Pbx {
    state: Mutex<State>,
    /// Cuts every events connection.
    cut: broadcast::Sender<()>,
}

#[derive(Default)]
struct State {
    channels: BTreeMap<String, Value>,
    bridges: BTreeMap<String, BTreeSet<String>>,
    playbacks: HashMap<String, String>,
    /// Bodies of requests that tests look at, in order.
    bodies: Vec<Value>,
    /// `METHOD /path?query`, in order.
    seen: Vec<String>,
    /// What a request whose line contains the text is answered with.
    faults: Vec<(String, u16)>,
    /// With the application that each is for.
    events: Vec<(String, mpsc::UnboundedSender<String>)>,
    /// Media channels whose socket is open.
    sockets: BTreeSet<String>,
    /// Media channels that were deleted while their socket was open.
    deleted_with_socket: Vec<String>,
    no_media_start: bool,
    no_media_connection: bool,
    keep_playing: bool,
    refuse_events: bool,
}

impl Drop for FakePbx {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakePbx {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let pbx = Arc::new(Pbx { state: Mutex::default(), cut: broadcast::channel(4).0 });
        let served = Arc::clone(&pbx);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(Arc::clone(&served), stream));
            }
        });
        Self { base_url, pbx, task }
    }
}

impl Pbx {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// A request whose line contains `text` gets this status from now on.
    pub(super) fn fault(&self, text: &str, status: u16) {
        self.state().faults.push((text.to_owned(), status));
    }

    pub(super) fn no_faults(&self) {
        self.state().faults.clear();
    }

    /// Media channels never enter the application.
    pub(super) fn no_media_start(&self) {
        self.state().no_media_start = true;
    }

    /// Media channels never connect.
    pub(super) fn no_media_connection(&self) {
        self.state().no_media_connection = true;
    }

    /// What plays does not end by itself.
    pub(super) fn keep_playing(&self) {
        self.state().keep_playing = true;
    }

    /// Forgets what plays, without a word.
    pub(super) fn lose_playbacks(&self) {
        self.state().playbacks.clear();
    }

    /// What has been asked.
    pub(super) fn seen(&self) -> Vec<String> {
        self.state().seen.clone()
    }

    pub(super) fn bodies(&self) -> Vec<Value> {
        self.state().bodies.clone()
    }

    /// Who is in a bridge.
    pub(super) fn members(&self, bridge: &str) -> Vec<String> {
        self.state().bridges.get(bridge).map(|members| members.iter().cloned().collect()).unwrap_or_default()
    }

    /// A channel that was placed, and is in no application yet.
    fn add_placed(&self, id: &str) {
        let mut placed = channel(id, "Down");
        placed["dialplan"]["app_name"] = "AppDial2".into();
        self.state().channels.insert(id.to_owned(), placed);
    }

    /// A placed channel is gone without an answer.
    pub(super) fn not_answered(&self, id: &str, cause: i64) {
        self.state().channels.remove(id);
        let mut destroyed = event_of("ChannelDestroyed", id, "Down");
        destroyed["cause"] = cause.into();
        self.tell(&event_of("ChannelHangupRequest", id, "Down"));
        self.tell(&destroyed);
    }

    pub(super) fn seen_count(&self, text: &str) -> usize {
        self.state().seen.iter().filter(|line| line.contains(text)).count()
    }

    pub(super) fn channels(&self) -> Vec<String> {
        self.state().channels.keys().cloned().collect()
    }

    pub(super) fn bridges(&self) -> Vec<String> {
        self.state().bridges.keys().cloned().collect()
    }

    pub(super) fn deleted_with_socket(&self) -> Vec<String> {
        self.state().deleted_with_socket.clone()
    }

    /// Tells every events connection.
    pub(super) fn tell(&self, event: &Value) {
        let of = event["application"].as_str().unwrap_or_default();
        self.state().events.retain(|(app, events)| match app == of {
            true => events.send(event.to_string()).is_ok(),
            false => !events.is_closed(),
        });
    }

    pub(super) fn has_events_connection(&self) -> bool {
        self.has_events_connection_of(APP)
    }

    pub(super) fn has_events_connection_of(&self, app: &str) -> bool {
        self.state().events.iter().any(|(of, events)| of == app && !events.is_closed())
    }

    /// A call comes in for another application.
    pub(super) fn call_of(&self, app: &str, id: &str) {
        self.add_channel(id, "Ring");
        let mut start = event_of("StasisStart", id, "Ring");
        start["application"] = app.into();
        self.tell(&start);
    }

    /// A caller of another application hangs up.
    pub(super) fn hang_up_of(&self, app: &str, id: &str) {
        self.forget(id);
        for kind in ["ChannelHangupRequest", "StasisEnd", "ChannelDestroyed"] {
            let mut event = event_of(kind, id, "Up");
            event["application"] = app.into();
            self.tell(&event);
        }
    }

    /// Cuts the events connections; `stay_away`: and takes no new ones.
    pub(super) fn cut_events(&self, stay_away: bool) {
        self.state().refuse_events = stay_away;
        self.state().events.clear();
        let _ = self.cut.send(());
    }

    /// There is a channel; nobody is told.
    pub(super) fn add_channel(&self, id: &str, state: &str) {
        let channel = channel(id, state);
        self.state().channels.insert(id.to_owned(), channel);
    }

    pub(super) fn add_bridge(&self, id: &str) {
        self.state().bridges.insert(id.to_owned(), BTreeSet::new());
    }

    /// A channel is gone; nobody is told.
    pub(super) fn forget(&self, id: &str) {
        self.state().channels.remove(id);
    }

    /// A call comes in.
    pub(super) fn call(&self, id: &str) {
        self.call_in_state(id, "Ring");
    }

    pub(super) fn call_in_state(&self, id: &str, state: &str) {
        self.add_channel(id, state);
        self.tell(&event_of("StasisStart", id, state));
    }

    fn gone(&self, id: &str) {
        if self.state().channels.remove(id).is_some() {
            for kind in ["ChannelHangupRequest", "StasisEnd", "ChannelDestroyed"] {
                self.tell(&event_of(kind, id, "Up"));
            }
        }
    }
}

/// A channel in the application.
fn channel(id: &str, state: &str) -> Value {
    json!({"id": id, "name": format!("PJSIP/caller-{id}"), "state": state,
        "caller": {"name": "Ann", "number": "1001"},
        "dialplan": {"context": "from-sip", "exten": "100", "priority": 1, "app_name": "Stasis", "app_data": format!("{APP},100")}})
}

/// An event that says only which channel.
pub(super) fn event_of(kind: &str, id: &str, state: &str) -> Value {
    json!({"type": kind, "application": APP, "timestamp": "2026-01-01T00:00:00.000+0000", "args": [], "channel": channel(id, state)})
}

async fn serve(pbx: Arc<Pbx>, stream: TcpStream) {
    let mut head = [0u8; 15];
    while stream.peek(&mut head).await.is_ok_and(|n| n > 0 && n < head.len()) {
        tokio::task::yield_now().await;
    }
    if head.starts_with(b"GET /ari/events") {
        serve_events(pbx, stream).await;
    } else {
        serve_rest(pbx, stream).await;
    }
}

async fn serve_events(pbx: Arc<Pbx>, stream: TcpStream) {
    if pbx.state().refuse_events {
        return;
    }
    let mut cut = pbx.cut.subscribe();
    let mut asked = String::new();
    // The handshake's own type.
    #[allow(clippy::result_large_err)]
    let note = |request: &Request, response: Response| {
        asked = request.uri().query().unwrap_or_default().to_owned();
        Ok(response)
    };
    let mut socket = tokio_tungstenite::accept_hdr_async(stream, note).await.unwrap();
    let app = asked.split('&').find_map(|part| part.strip_prefix("app=")).unwrap_or_default().to_owned();
    let (sender, mut events) = mpsc::unbounded_channel();
    pbx.state().events.push((app, sender));
    loop {
        tokio::select! {
            _ = cut.recv() => return,
            event = events.recv() => match event {
                Some(event) => if socket.send(Message::text(event)).await.is_err() { return },
                None => return,
            },
            message = socket.next() => match message {
                Some(Ok(_)) => {}
                _ => return,
            },
        }
    }
}

async fn serve_rest(pbx: Arc<Pbx>, mut stream: TcpStream) {
    while let Some((line, body)) = read_request(&mut stream).await {
        let (status, answer) = answer(&pbx, &line, &body).await;
        let text = if answer.is_null() { String::new() } else { answer.to_string() };
        let answer = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        );
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<(String, Value)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_string();
    let length: usize = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, value)| value.trim().parse().unwrap());
    while bytes.len() < end + length {
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return None;
        }
    }
    let line = head.lines().next()?.trim_end_matches(" HTTP/1.1").to_owned();
    Some((line, serde_json::from_slice(&bytes[end..]).unwrap_or(Value::Null)))
}

async fn answer(pbx: &Arc<Pbx>, line: &str, body: &Value) -> (u16, Value) {
    let fault = {
        let mut state = pbx.state();
        state.seen.push(line.to_owned());
        state.faults.iter().find(|(text, _)| line.contains(text.as_str())).map(|(_, status)| *status)
    };
    if let Some(status) = fault {
        return (status, json!({"message": "as the test wants it"}));
    }
    let (method, target) = line.split_once(' ').unwrap();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path: Vec<&str> = path.trim_start_matches("/ari/").split('/').collect();
    match (method, &path[..]) {
        ("GET", ["asterisk", "ping"]) => (200, json!({"ping": "pong"})),
        ("GET", ["asterisk", "info"]) => (200, json!({"system": {"version": "22.10.1", "entity_id": "e"}})),
        ("GET", ["asterisk", "modules", name]) => (200, json!({"name": name, "status": "Running"})),
        ("GET", ["channels"]) => (200, pbx.state().channels.values().cloned().collect()),
        ("GET", ["bridges"]) => (200, pbx.state().bridges.keys().map(|id| json!({"id": id})).collect()),
        ("POST", ["applications", _, "subscription"]) => (200, json!({"name": APP})),
        ("POST", ["recordings", "live", name, "stop"]) => {
            let recording = json!({"name": name, "format": "wav", "state": "done", "duration": 3});
            pbx.tell(&json!({"type": "RecordingFinished", "application": APP, "recording": recording}));
            (204, Value::Null)
        }
        (_, ["recordings", "live", _, "pause"]) => (204, Value::Null),
        ("POST", ["bridges", id, "removeChannel"]) => {
            let channels: BTreeSet<String> = serde_json::from_value(body["channel"].clone()).unwrap();
            if let Some(members) = pbx.state().bridges.get_mut(*id) {
                members.retain(|member| !channels.contains(member));
            }
            (204, Value::Null)
        }
        ("POST", ["bridges", _, "play", playback]) => {
            pbx.tell(&finished(playback, "done"));
            (201, json!({"id": playback}))
        }
        ("POST", ["channels", "externalMedia"]) => external_media(pbx, body).await,
        ("POST", ["bridges", id]) => {
            pbx.add_bridge(id);
            (200, json!({"id": id}))
        }
        ("POST", ["bridges", id, "addChannel"]) => {
            let channels: BTreeSet<String> = serde_json::from_value(body["channel"].clone()).unwrap();
            if !channels.iter().all(|id| pbx.state().channels.contains_key(id)) {
                return (400, json!({"message": "Channel not found"}));
            }
            // A channel is in one bridge at a time.
            for members in pbx.state().bridges.values_mut() {
                members.retain(|member| !channels.contains(member));
            }
            pbx.state().bridges.entry((*id).to_owned()).or_default().extend(channels);
            (204, Value::Null)
        }
        ("DELETE", ["bridges", id]) => found(pbx.state().bridges.remove(*id).is_some()),
        ("GET", ["playbacks", id]) => match pbx.state().playbacks.contains_key(*id) {
            true => (200, json!({"id": id})),
            false => found(false),
        },
        ("DELETE", ["playbacks", id]) => {
            let playing = pbx.state().playbacks.remove(*id);
            if playing.is_some() {
                pbx.tell(&finished(id, "done"));
            }
            found(playing.is_some())
        }
        ("POST", ["channels", id]) => {
            if pbx.state().channels.contains_key(*id) {
                return (409, json!({"message": "Channel with given unique ID already exists"}));
            }
            pbx.state().bodies.push(body.clone());
            pbx.add_placed(id);
            (200, pbx.state().channels[*id].clone())
        }
        (_, ["channels", id, ..]) if !pbx.state().channels.contains_key(*id) => found(false),
        ("GET", ["channels", id]) => (200, pbx.state().channels[*id].clone()),
        ("DELETE", ["channels", id]) => {
            let with_socket = pbx.state().sockets.contains(*id);
            if with_socket {
                pbx.state().deleted_with_socket.push((*id).to_owned());
            }
            pbx.gone(id);
            (204, Value::Null)
        }
        ("POST", ["channels", id, "answer"]) => {
            pbx.state().channels.insert((*id).to_owned(), channel(id, "Up"));
            pbx.tell(&event_of("ChannelStateChange", id, "Up"));
            (204, Value::Null)
        }
        ("POST", ["channels", id, "play", playback]) => {
            let medium = body["media"][0].as_str().unwrap().to_owned();
            if pbx.state().keep_playing {
                pbx.state().playbacks.insert((*playback).to_owned(), (*id).to_owned());
            } else {
                // Told before the answer is read: both orders happen.
                pbx.tell(&finished(playback, if medium.contains("broken") { "failed" } else { "done" }));
            }
            (201, json!({"id": playback}))
        }
        ("POST", ["channels", _, "dtmf"]) => (204, Value::Null),
        ("POST", ["channels", id, "continue"]) => {
            let mut moved = channel(id, "Up");
            moved["dialplan"]["app_name"] = "MusicOnHold".into();
            pbx.state().channels.insert((*id).to_owned(), moved);
            pbx.tell(&event_of("StasisEnd", id, "Up"));
            (204, Value::Null)
        }
        ("POST", ["channels", _, "snoop", snoop]) => {
            pbx.add_channel(snoop, "Up");
            pbx.tell(&event_of("StasisStart", snoop, "Up"));
            (200, channel(snoop, "Up"))
        }
        ("POST", ["channels", _, "record"]) => {
            pbx.state().bodies.push(body.clone());
            (201, json!({"name": body["name"], "format": "wav", "state": "queued"}))
        }
        ("POST", ["channels", _, "variable"]) => {
            pbx.state().bodies.push(body.clone());
            (204, Value::Null)
        }
        (_, ["channels", _, "ring" | "moh"]) => (204, Value::Null),
        ("POST", ["channels", _, "redirect"]) => (204, Value::Null),
        ("GET", ["channels", _, "variable"]) => match query.contains("DIALPLAN_EXISTS") {
            true => (200, json!({"value": if query.contains("nowhere") { "0" } else { "1" }})),
            false if query.contains("AMDSTATUS") => (200, json!({"value": "HUMAN"})),
            false => (404, json!({"message": "Provided variable was not found"})),
        },
        _ => (404, json!({"message": format!("the fake does not know {line}")})),
    }
}

fn found(found: bool) -> (u16, Value) {
    if found { (204, Value::Null) } else { (404, json!({"message": "not found"})) }
}

fn finished(playback: &str, state: &str) -> Value {
    json!({"type": "PlaybackFinished", "application": APP,
        "playback": {"id": playback, "media_uri": "", "target_uri": "channel:x", "state": state}})
}

/// As Asterisk does it: connects while it is being asked, then the channel enters the application.
async fn external_media(pbx: &Arc<Pbx>, body: &Value) -> (u16, Value) {
    let id = body["channelId"].as_str().unwrap().to_owned();
    let uuid: uuid::Uuid = body["data"].as_str().unwrap().parse().unwrap();
    let host = body["external_host"].as_str().unwrap().to_owned();
    let (connects, starts) = {
        let state = pbx.state();
        (!state.no_media_connection, !state.no_media_start)
    };
    pbx.add_channel(&id, "Down");
    if connects {
        let Ok(Ok(mut socket)) = timeout(Duration::from_secs(1), TcpStream::connect(host)).await else {
            pbx.forget(&id);
            return (500, json!({"message": "Allocation failed"}));
        };
        let mut hello = vec![0x01, 0, 16];
        hello.extend_from_slice(uuid.as_bytes());
        socket.write_all(&hello).await.unwrap();
        pbx.state().sockets.insert(id.clone());
        let (pbx, id) = (Arc::clone(pbx), id.clone());
        tokio::spawn(async move {
            let mut bytes = [0u8; 4096];
            while socket.read(&mut bytes).await.is_ok_and(|n| n > 0) && pbx.state().channels.contains_key(&id) {}
            pbx.state().sockets.remove(&id);
            drop(socket);
            pbx.gone(&id);
        });
    }
    if starts {
        pbx.add_channel(&id, "Up");
        pbx.tell(&event_of("StasisStart", &id, "Up"));
    }
    (200, channel(&id, "Down"))
}
