//! A naive broker: what each client must get, by the words of the specification and of the gateway's limits. Vectors and linear scans,
//! and no code of the gateway's.

mod deliver;
mod publish;
mod session;
mod subscribe;

use session::{Connection, Received, Session};

use super::met::Met;
use super::operation::{ConnectWish, WillWish};

/// What the gateway is told to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) inflight_max: u16,
    pub(crate) queue_max: usize,
    pub(crate) when_full: WhenFull,
}

/// What becomes of a message for a session that is away and has as many as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhenFull {
    DropNewest,
    DropOldest,
    Refuse,
}

/// Publishes of one client that may be unanswered.
pub(crate) const RECEIVE_MAXIMUM: u16 = 4;
/// Subscriptions of one session.
pub(crate) const SUBSCRIPTIONS_MAX: usize = 3;
/// For how long a session is kept at most.
pub(crate) const SESSION_EXPIRY_MAX_S: u32 = 20;

/// What a connection's client reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Word {
    Connack { session_present: bool, expiry_s: Option<u32> },
    Suback { id: u16, reasons: Vec<u8> },
    Unsuback { id: u16, reasons: Vec<u8> },
    Publish(Heard),
    Puback { id: u16, reason: u8 },
    Pubrec { id: u16, reason: u8 },
    Pubrel { id: u16, reason: u8 },
    Pubcomp { id: u16, reason: u8 },
    Pingresp,
    Disconnect { reason: u8 },
    Closed,
}

/// A PUBLISH as it comes to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Heard {
    /// Names the sending at QoS 1 and 2, since the gateway chooses the packet id. 0 at QoS 0, and in what was read.
    pub(crate) serial: u64,
    /// None at QoS 0, and where it is not known yet.
    pub(crate) id: Option<u16>,
    pub(crate) topic: String,
    pub(crate) payload: String,
    pub(crate) qos: u8,
    pub(crate) dup: bool,
    pub(crate) retain: bool,
    pub(crate) expiry_s: Option<u32>,
    pub(crate) subscription_ids: Vec<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    topic: &'static str,
    payload: String,
    retain: bool,
    expires_at: Option<u64>,
}

#[derive(Debug)]
struct Kept {
    message: Message,
    qos: u8,
    publisher: usize,
    number: u64,
}

#[derive(Debug)]
struct DueWill {
    client: usize,
    message: Message,
    qos: u8,
}

#[derive(Debug)]
struct Event {
    waiter: Option<Waiter>,
}

#[derive(Debug, Clone, Copy)]
enum Waiter {
    /// The publish with this number on that connection.
    Connection { number: u64, publish: u64 },
    /// What was published at QoS 2 under this id in that session.
    Session { serial: u64, id: u16 },
}

/// How much there is, to be compared with what the gateway says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Amounts {
    pub(crate) sessions: usize,
    pub(crate) connected: usize,
    pub(crate) subscriptions: usize,
    pub(crate) queued: usize,
    pub(crate) inflight: usize,
    pub(crate) retained: usize,
    pub(crate) wills: usize,
    pub(crate) events: usize,
}

/// The broker.
#[derive(Debug)]
pub(crate) struct Broker {
    settings: Settings,
    /// In milliseconds.
    now: u64,
    /// At most one of each client.
    sessions: Vec<Session>,
    kept: Vec<Kept>,
    due_wills: Vec<DueWill>,
    /// On their way to the backend.
    events: Vec<Event>,
    next: u64,
    pub(crate) met: Met,
    /// What was said, by connection; for the walk to take.
    pub(crate) words: Vec<(u64, Word)>,
    /// Payloads that went to the backend; for the walk to take.
    pub(crate) published: Vec<String>,
}

pub(crate) fn speaks_v5(client: usize) -> bool {
    client.is_multiple_of(2)
}

impl Broker {
    pub(crate) fn new(settings: Settings, now: u64) -> Self {
        Self {
            settings,
            now,
            sessions: Vec::new(),
            kept: Vec::new(),
            due_wills: Vec::new(),
            events: Vec::new(),
            next: 0,
            met: Met::default(),
            words: Vec::new(),
            published: Vec::new(),
        }
    }

    pub(crate) fn amounts(&self) -> Amounts {
        let sum = |of: fn(&Session) -> usize| self.sessions.iter().map(of).sum();
        let with_connections = self.sessions.iter().filter_map(|session| session.connection.as_ref());
        Amounts {
            sessions: self.sessions.len(),
            connected: with_connections.clone().count(),
            subscriptions: sum(|session| session.subscriptions.len()),
            queued: sum(Session::queued),
            inflight: sum(|session| session.sent.len()),
            retained: self.kept.len(),
            wills: with_connections.filter(|connection| connection.will.is_some()).count()
                + sum(|session| usize::from(session.will.is_some()))
                + self.due_wills.len(),
            events: self.events.len(),
        }
    }

    /// The client's connection, by number.
    pub(crate) fn connection_of(&self, client: usize) -> Option<u64> {
        Some(self.sessions.iter().find(|it| it.client == client)?.connection.as_ref()?.number)
    }

    /// Whether the gateway reads nothing more of a client until it has answered some of its publishes.
    pub(crate) fn reads_no_publish_of(&self, client: usize) -> bool {
        let connection =
            self.sessions.iter().find(|it| it.client == client).and_then(|it| it.connection.as_ref());
        !speaks_v5(client) && connection.is_some_and(|it| it.pending.len() >= usize::from(RECEIVE_MAXIMUM))
    }

    /// Whether the client has read the packet id of everything that was sent to it: else it might answer what it does not know.
    pub(crate) fn knows_all_ids(&self, client: usize) -> bool {
        let session = self.sessions.iter().find(|it| it.client == client);
        session.is_none_or(|session| session.sent.iter().all(|sent| sent.id.is_some()))
    }

    /// The gateway has chosen a packet id; an error if the client has one of that name open.
    pub(crate) fn learn(&mut self, client: usize, serial: u64, id: u16) -> Result<(), String> {
        let Some(session) = self.sessions.iter_mut().find(|it| it.client == client) else { return Ok(()) };
        let is_taken = session.sent.iter().any(|it| it.id == Some(id) && it.serial != serial);
        if is_taken || session.released.contains(&id) {
            return Err(format!("packet id {id} is in use"));
        }
        if let Some(sent) = session.sent.iter_mut().find(|sent| sent.serial == serial) {
            sent.id = Some(id);
        }
        Ok(())
    }

    // --- time

    pub(crate) fn advance(&mut self, to: u64) {
        while let Some(at) = self.next_deadline().filter(|at| *at <= to) {
            self.now = at;
            self.fire();
            self.settle();
        }
        self.now = to;
        self.forget_expired();
    }

    fn next_deadline(&self) -> Option<u64> {
        let of_session = |session: &Session| {
            let silence = session.connection.as_ref().and_then(Connection::silent_at);
            let will = session.will.as_ref().filter(|_| session.connection.is_none()).map(|(at, _)| *at);
            [silence, session.expires_at, will].into_iter().flatten().min()
        };
        self.sessions.iter().filter_map(of_session).min()
    }

    /// What is due now happens. No two things are due in the same millisecond but those of one session.
    fn fire(&mut self) {
        let now = self.now;
        for client in 0..super::operation::CLIENTS {
            let Some(session) = self.session(client) else { continue };
            if session.connection.as_ref().and_then(Connection::silent_at) == Some(now) {
                self.met.note("silence ended a connection");
                self.end_connection(client, Some(0x8D));
                continue;
            }
            if session.expires_at == Some(now) {
                self.met.note("session expired");
                self.end_session(client);
                continue;
            }
            if session.will.as_ref().is_some_and(|(at, _)| *at == now) && session.connection.is_none() {
                self.met.note("will after its delay");
                self.publish_wills_of(client);
            }
        }
    }

    fn forget_expired(&mut self) {
        let before = self.kept.len();
        let now = self.now;
        self.kept.retain(|kept| !kept.message.is_expired(now));
        for _ in self.kept.len()..before {
            self.met.note("retained message expired");
        }
    }

    /// After each thing that happened: wills whose time has come, and what there is room for.
    pub(crate) fn settle(&mut self) {
        self.forget_expired();
        while !self.due_wills.is_empty() {
            let DueWill { client, mut message, qos } = self.due_wills.remove(0);
            message.expires_at = message.expires_at.map(|lifetime| self.now + lifetime);
            self.route(Some(client), message, qos, None);
        }
        for at in 0..self.sessions.len() {
            self.pump(at);
        }
    }

    // --- sessions

    fn session(&mut self, client: usize) -> Option<&mut Session> {
        self.sessions.iter_mut().find(|session| session.client == client)
    }

    fn say(&mut self, connection: u64, word: Word) {
        self.words.push((connection, word));
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(crate) fn connect(&mut self, client: usize, number: u64, wish: &ConnectWish, will_payload: &str) {
        if self.connection_of(client).is_some() {
            self.met.note("connection taken over");
            self.end_connection(client, Some(0x8E));
        }
        if wish.clean_start && self.session(client).is_some() {
            self.end_session(client);
        }
        let is_v5 = speaks_v5(client);
        let wished_s = match (is_v5, wish.clean_start) {
            (true, _) => wish.expiry_s.unwrap_or(0),
            (false, true) => 0,
            (false, false) => u32::MAX,
        };
        let granted_s = wished_s.min(SESSION_EXPIRY_MAX_S);
        let session_present = self.session(client).is_some();
        self.met.note(if session_present { "session resumed" } else { "session begun anew" });
        if !session_present {
            let serial = self.number();
            self.sessions.push(Session::new(client, serial));
        }
        let receive_maximum = wish.receive_maximum.filter(|_| is_v5).unwrap_or(u16::MAX);
        let connection = Connection {
            number,
            heard_at: self.now,
            keep_alive_ms: u64::from(wish.keep_alive_s) * 1_000,
            window: usize::from(receive_maximum.min(self.settings.inflight_max)),
            will: wish.will.as_ref().map(|will| will_of(will, will_payload, is_v5)),
            wished_expiry: wished_s > 0,
            pending: Vec::new(),
        };
        let session = self.session(client).expect("it was there, or was made");
        let had_will = session.will.take().is_some();
        session.connection = Some(connection);
        session.expires_at = None;
        session.expiry_ms = u64::from(granted_s) * 1_000;
        let released = session.released.clone();
        if had_will {
            self.met.note("will dropped: its client is back");
        }
        let expiry_s = (is_v5 && granted_s != wished_s).then_some(granted_s);
        if expiry_s.is_some() {
            self.met.note("session expiry granted less than asked");
        }
        self.say(number, Word::Connack { session_present, expiry_s });
        // [MQTT-4.4.0-1]
        for id in released {
            self.met.note("PUBREL again on a new connection");
            self.say(number, Word::Pubrel { id, reason: 0 });
        }
        // What it is owed comes before its older connection's will.
        if let Some(at) = self.sessions.iter().position(|session| session.client == client) {
            self.pump(at);
        }
    }

    pub(crate) fn leave(&mut self, client: usize, keeps_will: bool, expiry_s: Option<u32>) {
        let Some(session) = self.session(client) else { return };
        let Some(connection) = &mut session.connection else { return };
        let is_v5 = speaks_v5(client);
        if let Some(expiry_s) = expiry_s.filter(|_| is_v5) {
            // A session that was to end with its connection cannot be kept after all.
            if !connection.wished_expiry && expiry_s > 0 {
                return self.end_connection(client, Some(0x82));
            }
            session.expiry_ms = u64::from(expiry_s.min(SESSION_EXPIRY_MAX_S)) * 1_000;
        }
        if !(is_v5 && keeps_will) && connection.will.take().is_some() {
            self.met.note("will discarded by a goodbye");
        }
        self.end_connection(client, None);
    }

    /// The gateway closes a connection, with a word to a client of MQTT 5.
    fn end_connection(&mut self, client: usize, reason: Option<u8>) {
        let Some(number) = self.connection_of(client) else { return };
        if let Some(reason) = reason.filter(|_| speaks_v5(client)) {
            self.say(number, Word::Disconnect { reason });
        }
        self.say(number, Word::Closed);
        self.lose_connection(client);
    }

    /// A connection is gone: its session goes on without it, or ends with it.
    pub(crate) fn lose_connection(&mut self, client: usize) {
        let now = self.now;
        let Some(session) = self.session(client) else { return };
        let Some(connection) = session.connection.take() else { return };
        session.will = connection.will.map(|(delay_ms, will)| (now + delay_ms, will));
        for sent in &mut session.sent[..session.sent_now] {
            sent.dup = true;
        }
        session.sent_now = 0;
        for (_, received) in &mut session.received {
            if let Received::Told(reason) = *received {
                *received = Received::Settled(reason);
            }
        }
        if session.expiry_ms == 0 {
            return self.end_session(client);
        }
        session.expires_at = Some(now + session.expiry_ms);
        if session.will.as_ref().is_some_and(|(at, _)| *at <= now) {
            self.met.note("will at the end of its connection");
            self.publish_wills_of(client);
        }
    }

    fn end_session(&mut self, client: usize) {
        if self.session(client).is_some_and(|session| session.will.is_some()) {
            self.met.note("will with the end of its session");
        }
        self.publish_wills_of(client);
        self.sessions.retain(|session| session.client != client);
    }

    fn publish_wills_of(&mut self, client: usize) {
        let will = self.session(client).and_then(|session| session.will.take());
        self.due_wills.extend(will.map(|(_, (message, qos))| DueWill { client, message, qos }));
    }

    /// Something came from a client.
    pub(crate) fn heard(&mut self, client: usize) {
        let now = self.now;
        if let Some(connection) = self.session(client).and_then(|session| session.connection.as_mut()) {
            connection.heard_at = now;
        }
    }

    pub(crate) fn ping(&mut self, client: usize) {
        if let Some(number) = self.connection_of(client) {
            self.say(number, Word::Pingresp);
        }
    }
}

impl Message {
    fn is_expired(&self, now: u64) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

/// With its delay. Until it is published its expiry is a lifetime.
fn will_of(wish: &WillWish, payload: &str, is_v5: bool) -> (u64, (Message, u8)) {
    let message = Message {
        topic: super::operation::TOPICS[wish.topic],
        payload: payload.to_owned(),
        retain: wish.retain,
        expires_at: wish.expiry_s.filter(|_| is_v5).map(|s| u64::from(s) * 1_000),
    };
    let delay_ms = if is_v5 { u64::from(wish.delay_s) * 1_000 } else { 0 };
    (delay_ms, (message, wish.qos))
}
