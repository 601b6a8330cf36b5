//! One SIP dialog: requests with their retransmissions, responses matched to them, and answers to the other side.

use std::collections::HashMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};

use super::call::EndedBy;
use super::message::{Message, answered_direction, finish, media_address, sdp};
use crate::random::Random;
use crate::rtp::{Codec, RtpEndpoint};

/// RFC 3261's T1: the first wait before a request is sent again.
const T1: Duration = Duration::from_millis(500);

/// RFC 3261's T2: the longest such wait.
const T2: Duration = Duration::from_secs(4);

/// Responses to one request that wait to be read.
const RESPONSES: usize = 16;

#[derive(Debug)]
pub(super) struct Dialog {
    socket: UdpSocket,
    local: SocketAddr,
    pbx: SocketAddr,
    from: String,
    tag: String,
    call_id: String,
    codec: Codec,
    pub(super) rtp: RtpEndpoint,
    ended: watch::Sender<Option<EndedBy>>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    random: Random,
    sequence: u32,
    sdp_version: u32,
    /// The To header: with the other side's tag once it has given one.
    to: String,
    /// Where requests go: the other side's Contact once known.
    target: String,
    /// The Record-Route headers of the answer, in the order in which requests carry them.
    routes: Vec<String>,
    waiting: HashMap<u32, mpsc::Sender<Message>>,
    acks: HashMap<u32, String>,
    /// Methods of the other side's requests, in order.
    requests: Vec<String>,
    keys_by_info: String,
}

/// A request on its way.
pub(super) struct Transaction {
    pub(super) sequence: u32,
    pub(super) branch: String,
    text: String,
    responses: mpsc::Receiver<Message>,
}

impl Dialog {
    pub(super) async fn open(pbx: SocketAddr, extension: &str, from: &str, codec: Codec) -> Result<Arc<Self>> {
        let socket = UdpSocket::bind("127.0.0.1:0").await.context("cannot open a SIP port")?;
        let local = socket.local_addr()?;
        let mut random = Random::fresh();
        let target = format!("sip:{extension}@{pbx}");
        let (tag, call_id) = (format!("{:08x}", random.next_u32()), format!("{:016x}@127.0.0.1", random.next_u64()));
        let state = State {
            random,
            sequence: 0,
            sdp_version: 0,
            to: format!("<{target}>"),
            target,
            routes: Vec::new(),
            waiting: HashMap::new(),
            acks: HashMap::new(),
            requests: Vec::new(),
            keys_by_info: String::new(),
        };
        let rtp = RtpEndpoint::open(codec).await?;
        let (ended, _) = watch::channel(None);
        let from = from.to_owned();
        Ok(Arc::new(Self { socket, local, pbx, from, tag, call_id, codec, rtp, ended, state: Mutex::new(state) }))
    }

    /// Our side of the audio, as a new offer or answer.
    pub(super) fn describe(&self, direction: &str) -> String {
        let version = {
            let mut state = self.state();
            state.sdp_version += 1;
            state.sdp_version
        };
        sdp(self.rtp.address(), self.codec, version, direction)
    }

    pub(super) fn ended(&self) -> watch::Receiver<Option<EndedBy>> {
        self.ended.subscribe()
    }

    /// The first reason counts.
    pub(super) fn end(&self, by: EndedBy) {
        self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            ended.get_or_insert(by);
            first
        });
    }

    pub(super) fn requests(&self) -> Vec<String> {
        self.state().requests.clone()
    }

    pub(super) fn keys_by_info(&self) -> String {
        self.state().keys_by_info.clone()
    }

    /// Sends a request; its responses come with [`Transaction::response`].
    pub(super) async fn send(
        &self,
        method: &str,
        headers: &[(String, String)],
        body: (&str, &str),
    ) -> Result<Transaction> {
        let (sender, responses) = mpsc::channel(RESPONSES);
        let (sequence, branch) = {
            let mut state = self.state();
            state.sequence += 1;
            let sequence = state.sequence;
            state.waiting.insert(sequence, sender);
            (sequence, format!("z9hG4bK{:x}", state.random.next_u64()))
        };
        let text = self.request(method, sequence, &branch, headers, body);
        self.transmit(&text).await?;
        Ok(Transaction { sequence, branch, text, responses })
    }

    /// Sends a request and waits for its final response, at most so long.
    pub(super) async fn ask(&self, method: &str, body: (&str, &str), limit: Duration) -> Result<Message> {
        let mut transaction = self.send(method, &[], body).await?;
        let until = Instant::now() + limit;
        loop {
            let response = transaction.response(self, until).await?;
            let response = response.with_context(|| format!("no answer to {method} within {limit:?}"))?;
            if response.status().is_some_and(|status| status >= 200) {
                return Ok(response);
            }
        }
    }

    /// Acknowledges the final response to an INVITE. For a refusal, it carries the INVITE's own branch.
    pub(super) async fn acknowledge(&self, sequence: u32, refused: Option<&str>) -> Result<()> {
        let branch = refused.map_or_else(|| format!("z9hG4bK{:x}", self.state().random.next_u64()), str::to_owned);
        let text = self.request("ACK", sequence, &branch, &[], ("", ""));
        self.state().acks.insert(sequence, text.clone());
        self.transmit(&text).await
    }

    /// CANCEL goes with the INVITE's own number and branch.
    pub(super) async fn cancel(&self, invite: &Transaction) -> Result<()> {
        self.transmit(&self.request("CANCEL", invite.sequence, &invite.branch, &[], ("", ""))).await
    }

    /// Takes up what the other side says about itself in a response to an INVITE.
    pub(super) fn learn(&self, response: &Message) {
        self.learn_media(response);
        let mut state = self.state();
        if let Some(to) = response.header("To") {
            state.to = to.to_owned();
        }
        if let Some(contact) = response.contact().filter(|_| response.status().is_some_and(|s| s < 300)) {
            state.target = contact.to_owned();
            state.routes = response.headers_named("Record-Route").rev().map(str::to_owned).collect();
        }
    }

    /// Where to send audio: a 183 may say so before the answer.
    pub(super) fn learn_media(&self, message: &Message) {
        if let Some(media) = media_address(&message.body) {
            self.rtp.set_remote(media);
        }
    }

    /// A farewell that waits for nothing, for a call that is dropped.
    pub(super) fn bye_at_once(&self) {
        let (sequence, branch) = {
            let mut state = self.state();
            state.sequence += 1;
            (state.sequence, format!("z9hG4bK{:x}", state.random.next_u64()))
        };
        let text = self.request("BYE", sequence, &branch, &[], ("", ""));
        let _ = self.socket.try_send_to(text.as_bytes(), self.pbx);
    }

    /// Reads what comes in, for as long as the call is kept.
    pub(super) async fn listen(self: Arc<Self>) {
        let mut buffer = vec![0; 65_536];
        loop {
            let Ok((length, _)) = self.socket.recv_from(&mut buffer).await else { continue };
            let Some(message) = buffer.get(..length).and_then(Message::parse) else { continue };
            if message.header("Call-ID") != Some(self.call_id.as_str()) {
                continue;
            }
            match message.status() {
                Some(status) => self.responded(message, status).await,
                None => self.asked(&message).await,
            }
        }
    }

    async fn responded(&self, message: Message, status: u16) {
        let Some((sequence, method)) = message.sequence() else { return };
        if method == "CANCEL" {
            return;
        }
        let again = if method == "INVITE" && status >= 200 { self.state().acks.get(&sequence).cloned() } else { None };
        if let Some(ack) = again {
            // The other side has not had our ACK.
            let _ = self.transmit(&ack).await;
            return;
        }
        let waiting = self.state().waiting.get(&sequence).cloned();
        if let Some(waiting) = waiting {
            let _ = waiting.try_send(message);
        }
    }

    async fn asked(&self, request: &Message) {
        let method = request.method();
        if method == "ACK" {
            return;
        }
        self.note(request);
        let (status, body) = match method {
            "INVITE" | "UPDATE" => {
                self.learn_media(request);
                let wanted = method == "INVITE" || !request.body.is_empty();
                ("200 OK", if wanted { self.describe(answered_direction(&request.body)) } else { String::new() })
            }
            "BYE" | "CANCEL" | "OPTIONS" | "INFO" | "NOTIFY" | "MESSAGE" => ("200 OK", String::new()),
            _ => ("501 Not Implemented", String::new()),
        };
        let contact = self.contact();
        let _ = self.transmit(&request.response(status, &contact, &body)).await;
        if method == "BYE" {
            self.end(EndedBy::OtherSide);
        }
    }

    fn note(&self, request: &Message) {
        let mut state = self.state();
        state.requests.push(request.method().to_owned());
        if request.method() == "INFO"
            && let Some(key) = request.body.lines().find_map(|line| line.trim().strip_prefix("Signal="))
        {
            state.keys_by_info.push_str(key.trim());
        }
    }

    fn request(
        &self,
        method: &str,
        sequence: u32,
        branch: &str,
        headers: &[(String, String)],
        body: (&str, &str),
    ) -> String {
        let (local, from, tag, call_id, contact) = (self.local, &self.from, &self.tag, &self.call_id, self.contact());
        let state = self.state();
        let (target, to) = (&state.target, &state.to);
        let mut text = format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch={branch};rport\r\nMax-Forwards: 70\r\n\
             From: \"{from}\" <sip:{from}@{local}>;tag={tag}\r\nTo: {to}\r\nCall-ID: {call_id}\r\n\
             CSeq: {sequence} {method}\r\nContact: <{contact}>\r\n\
             Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, UPDATE\r\n"
        );
        for route in &state.routes {
            let _ = write!(text, "Route: {route}\r\n");
        }
        for (name, value) in headers {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        finish(&mut text, body.0, body.1);
        text
    }

    fn contact(&self) -> String {
        format!("sip:{}@{}", self.from, self.local)
    }

    async fn transmit(&self, text: &str) -> Result<()> {
        self.socket.send_to(text.as_bytes(), self.pbx).await.context("cannot send a SIP message")?;
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transaction {
    /// The next response, sending the request again for as long as there has been none; `None` when the time is up.
    pub(super) async fn response(&mut self, dialog: &Dialog, until: Instant) -> Result<Option<Message>> {
        let mut wait = T1;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match timeout(left.min(wait), self.responses.recv()).await {
                Ok(response) => {
                    self.text.clear();
                    return Ok(response);
                }
                Err(_) if left <= wait => return Ok(None),
                Err(_) if self.text.is_empty() => {}
                Err(_) => dialog.transmit(&self.text).await?,
            }
            wait = (wait * 2).min(T2);
        }
    }
}
