//! One connection between its bytes and the core.

use super::authentication::{Capabilities, Users, server_properties};
use super::content::Content;
use super::encoding::Encoder;
use super::frame::{Frame, FrameKind, take_frame};
use super::request::Request;
use crate::embedded::core::{ConnectionId, Exception, Input, Limits, ReplyCode, UnixMillis};
use amq_protocol::protocol::connection::{self, AMQPMethod};
use bytes::{Buf, BytesMut};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

/// The protocol header of AMQP 0-9-1, which a client sends first and a wrong one is answered with.
const PROTOCOL_HEADER: [u8; 8] = *b"AMQP\0\0\x09\x01";
/// Frames before the agreement: enough for long client properties and tokens, small for strangers.
const HANDSHAKE_FRAME_BYTES_MAX: u32 = 16 << 10;
/// The least frame size that may be agreed (AMQP 0-9-1, 4.2.3: frame-min-size).
const FRAME_BYTES_MIN: u32 = 4096;
/// How long a client may take to answer `connection.close`, in milliseconds; then the socket is closed.
const CLOSE_TIMEOUT_MS: u64 = 5_000;

/// One connection's protocol state.
///
/// ```text
/// Header ─▶ StartOk ─▶ TuneOk ─▶ Open ─▶ Opening ─▶ Running ─▶ ClosedByClient ─▶ Finished
///    └─────────┴──────────┴────────┴────────┴──────────┴─────▶ ClosedByBroker ──────┘
/// ```
#[derive(Debug)]
pub struct Session {
    pub(super) connection: ConnectionId,
    pub(super) limits: Arc<Limits>,
    users: Arc<Users>,
    peer: IpAddr,
    pub(super) state: State,
    user: Arc<str>,
    pub(super) capabilities: Capabilities,
    pub(super) channels_max: u16,
    pub(super) encoder: Encoder,
    pub(super) contents: BTreeMap<u16, Content>,
    /// Channels that the broker closed and the client has not answered for.
    pub(super) closing_channels: BTreeSet<u16>,
    pub(super) blocked: bool,
    pub(super) inputs: VecDeque<Input>,
    pub(super) out: BytesMut,
    written: u64,
    /// Deliveries in `out`: where each ends, counted from the connection's first byte, what it counts, and its bytes.
    pub(super) deliveries: VecDeque<OutgoingDelivery>,
    pub(super) delivery_bytes: usize,
    heartbeat_ms: u64,
    pub(super) last_received: UnixMillis,
    last_sent: UnixMillis,
    /// When the handshake or the closing must be done.
    deadline: Option<UnixMillis>,
}

#[derive(Debug)]
pub(super) struct OutgoingDelivery {
    end: u64,
    cost: usize,
    bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Header,
    StartOk,
    TuneOk,
    Open,
    /// The core was asked.
    Opening,
    Running,
    /// The client closes; the core is cleaning up.
    ClosedByClient,
    /// The broker closes; the client is to answer.
    ClosedByBroker,
    /// Nothing more is read; what is left is written, then the socket is closed.
    Finished,
}

impl Session {
    /// A connection that was just accepted from `peer`.
    pub fn new(
        connection: ConnectionId,
        peer: IpAddr,
        users: Arc<Users>,
        limits: Arc<Limits>,
        now: UnixMillis,
    ) -> Self {
        let deadline = Some(now.plus(limits.handshake_timeout_ms));
        Self {
            connection,
            users,
            peer,
            state: State::Header,
            user: "".into(),
            capabilities: Capabilities::default(),
            channels_max: limits.channels_max,
            encoder: Encoder::new(HANDSHAKE_FRAME_BYTES_MAX),
            limits,
            contents: BTreeMap::new(),
            closing_channels: BTreeSet::new(),
            blocked: false,
            inputs: VecDeque::new(),
            out: BytesMut::new(),
            written: 0,
            deliveries: VecDeque::new(),
            delivery_bytes: 0,
            heartbeat_ms: 0,
            last_received: now,
            last_sent: now,
            deadline,
        }
    }

    /// Takes every whole frame from what was read.
    pub fn handle_bytes(&mut self, now: UnixMillis, buffer: &mut BytesMut) {
        self.last_received = now;
        if self.state == State::Header && !self.take_header(buffer) {
            return;
        }
        loop {
            if self.state == State::Finished {
                return buffer.clear();
            }
            match take_frame(buffer, self.encoder.frame_bytes_max) {
                Ok(None) => return,
                Ok(Some(frame)) => {
                    if let Err(exception) = self.on_frame(now, frame) {
                        self.fail(now, exception);
                    }
                }
                Err(exception) => {
                    // What follows cannot be told from garbage.
                    buffer.clear();
                    self.fail(now, exception);
                    self.finish();
                }
            }
        }
    }

    /// The next input for the core.
    pub fn poll_input(&mut self) -> Option<Input> {
        self.inputs.pop_front()
    }

    /// What is to be written to the socket. Tell [`Session::wrote`] how much was.
    pub fn outgoing(&self) -> &[u8] {
        &self.out
    }

    /// So many bytes of [`Session::outgoing`] were written.
    pub fn wrote(&mut self, now: UnixMillis, bytes: usize) {
        let was_read = self.wants_read();
        self.out.advance(bytes);
        self.written += bytes as u64;
        self.last_sent = now;
        let mut cost = 0;
        while let Some(delivery) = self.deliveries.front()
            && delivery.end <= self.written
        {
            cost += delivery.cost;
            self.delivery_bytes -= delivery.bytes;
            self.deliveries.pop_front();
        }
        if !was_read && self.wants_read() {
            // Its silence until now was ours.
            self.last_received = now;
        }
        if cost > 0 && self.state == State::Running {
            self.inputs.push_back(Input::Written { connection: self.connection, bytes: cost });
        }
    }

    /// Whether the socket is to be read. Not while the connection is blocked as a publisher, nor while more answers
    /// wait for the client than it may leave unread.
    pub fn wants_read(&self) -> bool {
        let answers = self.out.len() - self.delivery_bytes.min(self.out.len());
        !self.blocked && answers <= self.limits.answers_bytes_max && self.state != State::Finished
    }

    /// Bytes of messages that have come and are not whole yet.
    pub fn assembling_bytes(&self) -> u64 {
        self.contents.values().map(Content::received_bytes).sum()
    }

    /// Closes the connection with 506 RESOURCE_ERROR: all connections together hold too much that is not whole.
    pub fn refuse_assembling(&mut self, now: UnixMillis) {
        let text = "too many bytes of unfinished messages on all connections";
        self.fail(now, Exception::new(ReplyCode::ResourceError, text).blamed_on((60, 40)));
    }

    /// Whether the socket is to be closed as soon as everything is written.
    pub fn is_finished(&self) -> bool {
        self.state == State::Finished
    }

    /// Whether the handshake is done, well or not.
    pub fn is_past_handshake(&self) -> bool {
        !matches!(self.state, State::Header | State::StartOk | State::TuneOk | State::Open | State::Opening)
    }

    /// When to call [`Session::handle_timeout`].
    pub fn next_timeout(&self) -> Option<UnixMillis> {
        let beats = (self.heartbeat_ms > 0 && self.state == State::Running).then(|| {
            let send = self.last_sent.plus(self.heartbeat_ms / 2);
            let receive = self.last_received.plus(2 * self.heartbeat_ms);
            if self.wants_read() { send.min(receive) } else { send }
        });
        match (self.deadline, beats) {
            (Some(deadline), Some(beats)) => Some(deadline.min(beats)),
            (one, None) => one,
            (None, other) => other,
        }
    }

    /// Sends the heartbeat that is due; gives up on a client that was silent for two, or that takes too long to agree or
    /// to close. A connection that is not read is not blamed for its silence.
    pub fn handle_timeout(&mut self, now: UnixMillis) {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.inputs.push_back(Input::ConnectionLost { connection: self.connection });
            return self.finish();
        }
        if self.heartbeat_ms == 0 || self.state != State::Running {
            return;
        }
        if !self.wants_read() {
            self.last_received = now;
        } else if self.last_received.plus(2 * self.heartbeat_ms) <= now {
            self.inputs.push_back(Input::ConnectionLost { connection: self.connection });
            return self.finish();
        }
        if self.last_sent.plus(self.heartbeat_ms / 2) <= now {
            self.last_sent = now;
            if self.out.is_empty() {
                self.encoder.heartbeat(&mut self.out);
            }
        }
    }

    /// The broker stops: tells the client so, with 320 CONNECTION_FORCED.
    pub fn shut_down(&mut self, now: UnixMillis) {
        if matches!(self.state, State::Running | State::Opening) {
            self.fail(now, Exception::new(ReplyCode::ConnectionForced, "broker is shutting down"));
        } else if self.state != State::ClosedByBroker {
            self.finish();
        }
    }

    /// True if the header came and is right.
    fn take_header(&mut self, buffer: &mut BytesMut) -> bool {
        let length = buffer.len().min(PROTOCOL_HEADER.len());
        if buffer[..length] != PROTOCOL_HEADER[..length] {
            // AMQP 0-9-1, 4.2.2: answer with the header that is understood, and close.
            buffer.clear();
            self.out.extend_from_slice(&PROTOCOL_HEADER);
            self.finish();
            return false;
        }
        if length < PROTOCOL_HEADER.len() {
            return false;
        }
        buffer.advance(length);
        let start = connection::Start {
            version_major: 0,
            version_minor: 9,
            server_properties: server_properties(),
            mechanisms: "PLAIN AMQPLAIN".into(),
            locales: "en_US".into(),
        };
        self.encoder.connection(AMQPMethod::Start(start), &mut self.out);
        self.state = State::StartOk;
        true
    }

    fn on_frame(&mut self, now: UnixMillis, frame: Frame) -> Result<(), Exception> {
        let Frame { kind, channel, payload } = frame;
        match (kind, self.state) {
            (FrameKind::Heartbeat, _) if channel == 0 => Ok(()),
            (FrameKind::Heartbeat, _) => {
                Err(Exception::new(ReplyCode::FrameError, "heartbeat on a channel other than 0"))
            }
            (_, State::Finished | State::ClosedByClient) => Ok(()),
            (FrameKind::Method, State::ClosedByBroker) => {
                match Request::parse(&payload) {
                    Ok(Request::Connection(AMQPMethod::CloseOk(_))) => self.finish(),
                    Ok(Request::Connection(AMQPMethod::Close(_))) => self.answer_close(),
                    Ok(_) | Err(_) => {}
                }
                Ok(())
            }
            (_, State::ClosedByBroker) => Ok(()),
            // A client may go on before it has heard that the connection is open; the core takes all in order.
            (FrameKind::Method, State::Running | State::Opening) if channel != 0 => {
                self.on_channel_method(channel, &payload)
            }
            (FrameKind::Header, State::Running | State::Opening) => self.on_header(channel, &payload),
            (FrameKind::Body, State::Running | State::Opening) => self.on_body(channel, payload),
            (FrameKind::Method, _) if channel == 0 => match Request::parse(&payload)? {
                Request::Connection(method) => self.on_connection_method(now, method),
                Request::Channel(_) | Request::Publish(_) => {
                    Err(Exception::new(ReplyCode::ChannelError, "channel 0 is the connection's own"))
                }
            },
            (FrameKind::Method | FrameKind::Header | FrameKind::Body, _) => {
                Err(Exception::new(ReplyCode::UnexpectedFrame, "the connection is not open yet"))
            }
        }
    }

    fn on_connection_method(&mut self, now: UnixMillis, method: AMQPMethod) -> Result<(), Exception> {
        match (self.state, method) {
            (State::StartOk, AMQPMethod::StartOk(start)) => {
                self.on_start_ok(now, &start);
                Ok(())
            }
            (State::TuneOk, AMQPMethod::TuneOk(tune)) => self.on_tune_ok(&tune),
            (State::Open, AMQPMethod::Open(open)) => self.on_open(&open),
            (State::Running | State::Opening, AMQPMethod::Close(_)) => {
                self.state = State::ClosedByClient;
                self.contents.clear();
                self.deadline = Some(now.plus(CLOSE_TIMEOUT_MS));
                self.inputs.push_back(Input::ConnectionClosing { connection: self.connection });
                Ok(())
            }
            (_, AMQPMethod::Close(_)) => {
                self.answer_close();
                Ok(())
            }
            (_, _) => Err(Exception::new(
                ReplyCode::CommandInvalid,
                "a connection method that does not belong here",
            )),
        }
    }

    fn on_start_ok(&mut self, now: UnixMillis, start: &connection::StartOk) {
        self.capabilities = Capabilities::read(&start.client_properties);
        match self.users.authenticate(start.mechanism.as_str(), start.response.as_bytes(), self.peer) {
            Ok(user) => {
                self.user = user;
                let tune = connection::Tune {
                    channel_max: self.limits.channels_max,
                    frame_max: self.limits.frame_bytes_max,
                    heartbeat: self.limits.heartbeat_s,
                };
                self.encoder.connection(AMQPMethod::Tune(tune), &mut self.out);
                self.state = State::TuneOk;
            }
            Err(text) if self.capabilities.authentication_failure_close => {
                self.fail(now, Exception::new(ReplyCode::AccessRefused, text).blamed_on((10, 11)));
            }
            // A client that does not know better takes a closed socket for a refusal.
            Err(_) => self.finish(),
        }
    }

    fn on_tune_ok(&mut self, tune: &connection::TuneOk) -> Result<(), Exception> {
        let refuse = |text: String| Err(Exception::new(ReplyCode::NotAllowed, text).blamed_on((10, 31)));
        let ours = self.limits.frame_bytes_max;
        match tune.frame_max {
            0 => self.encoder.frame_bytes_max = ours,
            agreed if agreed < FRAME_BYTES_MIN => {
                return refuse(format!(
                    "negotiated frame_max = {agreed} is lower than the minimum allowed value ({FRAME_BYTES_MIN})"
                ));
            }
            agreed if agreed > ours => {
                return refuse(format!(
                    "negotiated frame_max = {agreed} is higher than the maximum allowed value ({ours})"
                ));
            }
            agreed => self.encoder.frame_bytes_max = agreed,
        }
        let ours = self.limits.channels_max;
        match tune.channel_max {
            0 => self.channels_max = ours,
            agreed if agreed > ours => {
                return refuse(format!(
                    "negotiated channel_max = {agreed} is higher than the maximum allowed value ({ours})"
                ));
            }
            agreed => self.channels_max = agreed,
        }
        self.heartbeat_ms = u64::from(tune.heartbeat) * 1000;
        self.state = State::Open;
        Ok(())
    }

    fn on_open(&mut self, open: &connection::Open) -> Result<(), Exception> {
        let vhost = open.virtual_host.as_str();
        if vhost != "/" {
            let text = format!("vhost {vhost} not found");
            return Err(Exception::new(ReplyCode::NotAllowed, text).blamed_on((10, 40)));
        }
        self.state = State::Opening;
        let (connection, user) = (self.connection, Arc::clone(&self.user));
        self.inputs.push_back(Input::ConnectionOpened { connection, user });
        Ok(())
    }

    pub(super) fn opened(&mut self) {
        if self.state == State::Opening {
            self.state = State::Running;
            self.deadline = None;
            self.encoder.connection(AMQPMethod::OpenOk(connection::OpenOk {}), &mut self.out);
        }
    }

    pub(super) fn answer_close(&mut self) {
        self.encoder.connection(AMQPMethod::CloseOk(connection::CloseOk {}), &mut self.out);
        self.finish();
    }

    /// The connection is at fault: tells the core and the client.
    pub(super) fn fail(&mut self, now: UnixMillis, exception: Exception) {
        if matches!(self.state, State::ClosedByBroker | State::ClosedByClient | State::Finished) {
            return;
        }
        if matches!(self.state, State::Running | State::Opening) {
            self.inputs.push_back(Input::ConnectionLost { connection: self.connection });
        }
        self.close(now, &exception);
    }

    pub(super) fn close(&mut self, now: UnixMillis, exception: &Exception) {
        self.contents.clear();
        self.blocked = false;
        self.encoder.connection_close(exception, &mut self.out);
        self.state = State::ClosedByBroker;
        self.deadline = Some(now.plus(CLOSE_TIMEOUT_MS));
    }

    pub(super) fn finish(&mut self) {
        self.contents.clear();
        self.state = State::Finished;
        self.deadline = None;
    }

    pub(super) fn note_delivery(&mut self, cost: usize, bytes: usize) {
        self.delivery_bytes += bytes;
        let end = self.written + self.out.len() as u64;
        self.deliveries.push_back(OutgoingDelivery { end, cost, bytes });
    }
}
