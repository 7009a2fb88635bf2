//! Operations happen to a shard and to the naive broker; after each of them both must have said the same to every client, and hold as much.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU16;
use std::time::Duration;

use bytes::BytesMut;
use roost_gateway::packet::{DecodeLimits, Decoder, Delivery, Encoder, Packet, PacketId, ProtocolVersion};
use roost_gateway::shard::{Backend, Gauges, Input, Output, Shard, ShardConfig};
use roost_gateway::{ConnectionId, Limits, Publication, PublishOutcome, WhenAwayFull};
use roost_wire::{BootTime, Incarnation, Now, WallTime};

use super::fault::Fault;
use super::met::Met;
use super::model::{
    Amounts, Broker, RECEIVE_MAXIMUM, SESSION_EXPIRY_MAX_S, SUBSCRIPTIONS_MAX, Settings, WhenFull, Word,
    speaks_v5,
};
use super::operation::{Answer, CLIENTS, Operation};
use super::packets;

/// The client's end of a connection.
struct Wire {
    client: usize,
    decoder: Decoder,
    bytes: BytesMut,
    /// What has come, and what should have; compared as long as the client reads.
    read: Vec<Word>,
    expected: Vec<Word>,
    /// What it has read and not answered.
    unanswered: Vec<(u16, Answer)>,
    aliases: BTreeMap<u16, String>,
    is_stuck: bool,
    /// Bytes that the socket has not taken.
    held: usize,
}

pub(super) struct Walk {
    shard: Shard,
    broker: Broker,
    wires: BTreeMap<u64, Wire>,
    events: VecDeque<Publication>,
    now_ms: u64,
    next_connection: u64,
    next_message: u64,
    turn: usize,
    fault: Option<Fault>,
}

type Outcome = Result<(), String>;

impl Walk {
    pub(super) fn new(settings: Settings, fault: Option<Fault>) -> Self {
        let now_ms = 1_000;
        let mut walk = Self {
            shard: Shard::new(shard_config(settings, fault)),
            broker: Broker::new(settings, now_ms),
            wires: BTreeMap::new(),
            events: VecDeque::new(),
            now_ms,
            next_connection: 0,
            next_message: 0,
            turn: 0,
            fault,
        };
        walk.shard.handle(walk.now(), Input::Backend(Backend::Up));
        walk
    }

    pub(super) fn into_met(self) -> Met {
        self.broker.met
    }

    /// Each operation has a millisecond of its own, so that no two things are ever due at once.
    pub(super) fn step(&mut self, operation: Operation) -> Outcome {
        self.turn += 1;
        self.broker.met.note("operation");
        let seconds = if let Operation::Pass { seconds } = operation { seconds } else { 0 };
        self.pass_to(self.now_ms + seconds * 1_000 + 1)?;
        self.perform(operation)?;
        self.broker.settle();
        self.compare()
    }

    /// Everybody comes back, reads and acknowledges all; then all leave for good, and nothing is left.
    pub(super) fn finish(&mut self) -> Outcome {
        for client in 0..CLIENTS {
            self.step(Operation::Unstick(client))?;
            while !self.events.is_empty() {
                self.step(Operation::Confirm(0))?;
            }
            if self.broker.connection_of(client).is_none() {
                self.step(Operation::Connect(client, packets::RESUME))?;
            }
        }
        for client in (0..CLIENTS).cycle().take(CLIENTS * 4) {
            while self.unanswered(client) > 0 {
                self.step(Operation::Acknowledge { client, nth: 0, refuses: false })?;
            }
        }
        let Gauges { queued_messages, queued_bytes, inflight_messages, .. } = self.shard.gauges();
        if (queued_messages, queued_bytes, inflight_messages) != (0, 0, 0) {
            return Err(format!(
                "all was acknowledged, and {queued_messages} wait, {inflight_messages} are in flight"
            ));
        }
        for client in 0..CLIENTS {
            self.step(Operation::Leave { client, keeps_will: false, expiry_s: None })?;
        }
        while !self.events.is_empty() {
            self.step(Operation::Confirm(0))?;
        }
        self.step(Operation::Pass { seconds: u64::from(SESSION_EXPIRY_MAX_S) + 1 })?;
        let gauges = Gauges { retained_messages: 0, retained_bytes: 0, ..self.shard.gauges() };
        if gauges == Gauges::default() {
            Ok(())
        } else {
            Err(format!("all have left, and there is {gauges:?}"))
        }
    }

    // --- what happens

    fn perform(&mut self, operation: Operation) -> Outcome {
        match operation {
            Operation::Connect(client, wish) => {
                self.next_connection += 1;
                let number = self.next_connection;
                self.wires.insert(number, Wire::new(client));
                let opened = Input::Opened { connection: ConnectionId(number), entropy: number };
                self.input(opened)?;
                let payload = self.payload();
                self.broker.connect(client, number, &wish, &payload);
                self.send_on(number, packets::connect(client, &wish, &payload))
            }
            Operation::Leave { client, keeps_will, expiry_s } => {
                self.send(client, packets::disconnect(client, keeps_will, expiry_s), |broker| {
                    broker.leave(client, keeps_will, expiry_s);
                })
            }
            Operation::Break(client) => {
                let Some(number) = self.broker.connection_of(client) else { return Ok(()) };
                self.broker.lose_connection(client);
                self.wires.remove(&number);
                self.input(Input::Closed { connection: ConnectionId(number) })
            }
            Operation::Subscribe { client, first, second, id } => {
                let filters: Vec<_> = [Some(first), second].into_iter().flatten().collect();
                let packet = packets::subscribe(client, packets::SUBSCRIBE_ID, &filters, id);
                self.send(client, packet, |broker| {
                    broker.subscribe(client, packets::SUBSCRIBE_ID, &filters, id);
                })
            }
            Operation::Unsubscribe { client, filter } => {
                let packet = packets::unsubscribe(packets::SUBSCRIBE_ID, filter);
                self.send(client, packet, |broker| broker.unsubscribe(client, packets::SUBSCRIBE_ID, filter))
            }
            Operation::Publish(client, wish) => {
                if wish.qos > 0 && self.broker.reads_no_publish_of(client) {
                    return Ok(());
                }
                let payload = if wish.is_empty { String::new() } else { self.payload() };
                let packet = packets::publish(client, &wish, &payload);
                self.send(client, packet, |broker| broker.publish(client, &wish, &payload))
            }
            Operation::Acknowledge { client, nth, refuses } => {
                let Some((id, answer)) = self.take_unanswered(client, nth) else { return Ok(()) };
                let answer = match answer {
                    Answer::Pubrec { .. } => Answer::Pubrec { refuses },
                    Answer::Puback | Answer::Pubcomp => answer,
                };
                self.answer(client, answer, id)
            }
            Operation::Stray { client, answer, id } if self.broker.knows_all_ids(client) => {
                self.answer(client, answer, id)
            }
            Operation::Stray { .. } => Ok(()),
            Operation::Release { client, id } => {
                self.send(client, packets::pubrel(id), |broker| broker.release(client, id))
            }
            Operation::Ping(client) => self.send(client, Packet::Pingreq, |broker| broker.ping(client)),
            Operation::Confirm(nth) => self.confirm(nth),
            Operation::Stick(client) => {
                if let Some(wire) = self.wire_of(client) {
                    wire.is_stuck = true;
                }
                Ok(())
            }
            Operation::Unstick(client) => self.unstick(client),
            Operation::Pass { .. } => Ok(()),
        }
    }

    fn answer(&mut self, client: usize, answer: Answer, id: u16) -> Outcome {
        self.send(client, packets::answer(client, answer, id), |broker| {
            broker.acknowledge(client, answer, id)
        })
    }

    fn confirm(&mut self, nth: usize) -> Outcome {
        if self.broker.events() != self.events.len() {
            return Err(format!(
                "{} events are on their way, not {}",
                self.events.len(),
                self.broker.events()
            ));
        }
        let Some(last) = self.events.len().checked_sub(1) else { return Ok(()) };
        let nth = nth.min(last);
        self.broker.confirm(nth);
        let nth = if self.fault == Some(Fault::ConfirmationMisplaced) { last - nth } else { nth };
        let Some(event) = self.events.remove(nth) else { return Ok(()) };
        self.input(Input::Published { token: event.token, outcome: PublishOutcome::Confirmed })
    }

    fn unstick(&mut self, client: usize) -> Outcome {
        let Some(number) = self.broker.connection_of(client) else { return Ok(()) };
        let Some(wire) = self.wires.get_mut(&number).filter(|wire| wire.is_stuck) else { return Ok(()) };
        wire.is_stuck = false;
        match std::mem::take(&mut wire.held) {
            0 => Ok(()),
            bytes => self.input(Input::Written { connection: ConnectionId(number), bytes }),
        }
    }

    /// Both take in what a client sends, if it is connected.
    fn send(&mut self, client: usize, packet: Packet, told: impl FnOnce(&mut Broker)) -> Outcome {
        let Some(number) = self.broker.connection_of(client) else { return Ok(()) };
        self.broker.heard(client);
        told(&mut self.broker);
        self.send_on(number, packet)
    }

    fn send_on(&mut self, number: u64, mut packet: Packet) -> Outcome {
        if self.fault.is_some_and(|fault| !fault.spoil_packet(&mut packet)) {
            return Ok(());
        }
        let Some(wire) = self.wires.get(&number) else { return Ok(()) };
        let mut bytes = BytesMut::new();
        Encoder::new(version(wire.client)).encode(&packet, &mut bytes).map_err(|error| error.to_string())?;
        self.input(Input::Received { connection: ConnectionId(number), bytes })
    }

    fn payload(&mut self) -> String {
        self.next_message += 1;
        self.next_message.to_string()
    }

    fn wire_of(&mut self, client: usize) -> Option<&mut Wire> {
        self.wires.get_mut(&self.broker.connection_of(client)?)
    }

    fn unanswered(&mut self, client: usize) -> usize {
        self.wire_of(client).map_or(0, |wire| wire.unanswered.len())
    }

    fn take_unanswered(&mut self, client: usize, nth: usize) -> Option<(u16, Answer)> {
        let wire = self.wire_of(client)?;
        let last = wire.unanswered.len().checked_sub(1)?;
        Some(wire.unanswered.remove(nth.min(last)))
    }

    // --- the shard

    fn now(&self) -> Now {
        Now { boot: BootTime::from_micros(self.now_ms * 1_000), wall: WallTime::from_millis(self.now_ms) }
    }

    fn pass_to(&mut self, to_ms: u64) -> Outcome {
        let is_running = self.fault != Some(Fault::TimersStand);
        while let Some(at) =
            self.shard.poll_timeout().map(|at| at.as_micros().div_ceil(1_000)).filter(|_| is_running)
        {
            if at > to_ms {
                break;
            }
            self.now_ms = at.max(self.now_ms);
            self.input(Input::Tick)?;
        }
        self.now_ms = to_ms;
        self.broker.advance(to_ms);
        Ok(())
    }

    fn input(&mut self, input: Input) -> Outcome {
        self.shard.handle(self.now(), input);
        while let Some(output) = self.shard.poll_output() {
            match output {
                Output::Write { connection, bytes } => {
                    let Some(wire) = self.wires.get_mut(&connection.0) else { continue };
                    if wire.held > 0 {
                        return Err("two writes at a time".to_owned());
                    }
                    wire.receive(&bytes)?;
                    if wire.is_stuck {
                        wire.held = bytes.len();
                    } else {
                        self.shard.handle(self.now(), Input::Written { connection, bytes: bytes.len() });
                    }
                }
                Output::Close { connection, last, .. } => {
                    let wire = self.wires.get_mut(&connection.0).ok_or("it was closed before")?;
                    wire.receive(&last)?;
                    wire.read.push(Word::Closed);
                }
                Output::Publish(publication) => self.events.push_back(*publication),
                Output::PauseReading { .. } | Output::ResumeReading { .. } => {
                    return Err("nothing is to wait here".to_owned());
                }
                Output::HandOver { .. }
                | Output::Shard { .. }
                | Output::Spool { .. }
                | Output::Store(_)
                | Output::ReadSession { .. }
                | Output::BroadcastTaken { .. }
                | Output::Drained => {
                    return Err(format!("not asked for: {output:?}"));
                }
                Output::Link(_) | Output::Notice(_) | Output::Trace(_) => {}
            }
        }
        Ok(())
    }

    // --- the comparison

    fn compare(&mut self) -> Outcome {
        for (number, word) in std::mem::take(&mut self.broker.words) {
            // What was said to a connection that has broken is lost.
            if let Some(wire) = self.wires.get_mut(&number) {
                wire.expected.push(word);
            }
        }
        for (number, mut wire) in std::mem::take(&mut self.wires) {
            let is_closed = wire.expected.contains(&Word::Closed);
            if wire.is_stuck {
                if is_closed != wire.read.contains(&Word::Closed) {
                    return Err(format!("client {}: closed, or not", wire.client));
                }
                if !wire.read.is_empty() {
                    self.broker.met.note("sent while the socket takes nothing");
                }
            } else {
                self.compare_wire(&mut wire).map_err(|error| format!("client {}: {error}", wire.client))?;
            }
            if !is_closed {
                self.wires.insert(number, wire);
            }
        }
        self.compare_events()?;
        let (there, expected) = (amounts(&self.shard.gauges()), self.broker.amounts());
        if there != expected {
            return Err(format!("there is {there:?}, not {expected:?}"));
        }
        Ok(())
    }

    /// Publishes at QoS 0, those above, and answers are each in order by themselves [MQTT-4.6.0-5].
    fn compare_wire(&mut self, wire: &mut Wire) -> Outcome {
        let mut read = std::mem::take(&mut wire.read);
        let expected = std::mem::take(&mut wire.expected);
        if let Some(fault) = self.fault {
            fault.spoil_words(&mut read, self.turn);
        }
        for line in [Line::Answers, Line::AtMostOnce, Line::Acknowledged] {
            let mut read = read.iter().filter(|word| Line::of(word) == line);
            let mut expected = expected.iter().filter(|word| Line::of(word) == line);
            loop {
                let (it, wanted) = match (read.next(), expected.next()) {
                    (None, None) => break,
                    (Some(it), Some(wanted)) => (it, wanted),
                    (it, wanted) => return Err(format!("got {it:?}, not {wanted:?}")),
                };
                self.broker.met.note("packet compared");
                if !is_same(it, wanted) {
                    return Err(format!("got {it:?}, not {wanted:?}"));
                }
                if let (Word::Publish(it), Word::Publish(wanted)) = (it, wanted)
                    && let Some(id) = it.id
                {
                    self.broker.learn(wire.client, wanted.serial, id)?;
                }
                wire.unanswered.extend(answer_to(it));
            }
        }
        Ok(())
    }

    fn compare_events(&mut self) -> Outcome {
        let expected = std::mem::take(&mut self.broker.published);
        let came = self.events.iter().skip(self.events.len().saturating_sub(expected.len()));
        let came: Vec<_> =
            came.map(|event| String::from_utf8_lossy(&event.message.body).into_owned()).collect();
        if came != expected || self.events.len() != self.broker.events() {
            return Err(format!("events {came:?}, not {expected:?}; {} are on their way", self.events.len()));
        }
        Ok(())
    }
}

/// What is in order by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Answers,
    AtMostOnce,
    Acknowledged,
}

impl Line {
    fn of(word: &Word) -> Self {
        match word {
            Word::Publish(heard) if heard.qos == 0 => Self::AtMostOnce,
            Word::Publish(_) => Self::Acknowledged,
            _ => Self::Answers,
        }
    }
}

/// Where the packet id is not known yet it is the gateway's choice.
fn is_same(read: &Word, expected: &Word) -> bool {
    match (read, expected) {
        (Word::Publish(read), Word::Publish(expected)) => {
            let id = expected.id.or(read.id);
            let expected = super::model::Heard { serial: 0, id, ..expected.clone() };
            (read.qos > 0) == read.id.is_some() && *read == expected
        }
        (read, expected) => read == expected,
    }
}

fn answer_to(word: &Word) -> Option<(u16, Answer)> {
    match word {
        Word::Publish(heard) => {
            let answer = if heard.qos == 1 { Answer::Puback } else { Answer::Pubrec { refuses: false } };
            Some((heard.id?, answer))
        }
        Word::Pubrel { id, reason: 0 } => Some((*id, Answer::Pubcomp)),
        _ => None,
    }
}

impl Wire {
    fn new(client: usize) -> Self {
        Self {
            client,
            decoder: Decoder::for_client(version(client), DecodeLimits::default()),
            bytes: BytesMut::new(),
            read: Vec::new(),
            expected: Vec::new(),
            unanswered: Vec::new(),
            aliases: BTreeMap::new(),
            is_stuck: false,
            held: 0,
        }
    }

    fn receive(&mut self, bytes: &[u8]) -> Outcome {
        self.bytes.extend_from_slice(bytes);
        while let Some(packet) = self.decoder.decode(&mut self.bytes).map_err(|error| error.to_string())? {
            self.read.push(packets::word(packet, &mut self.aliases)?);
        }
        Ok(())
    }
}

pub(super) fn version(client: usize) -> ProtocolVersion {
    if speaks_v5(client) { ProtocolVersion::V5 } else { ProtocolVersion::V311 }
}

/// For [`Fault::RepeatUnderAnotherId`].
pub(super) fn under_another_id(delivery: Delivery) -> Delivery {
    match delivery {
        Delivery::ExactlyOnce { packet_id, dup: true } => {
            let packet_id = PacketId::new(packet_id.value() + 100).unwrap_or(packet_id);
            Delivery::ExactlyOnce { packet_id, dup: true }
        }
        other => other,
    }
}

fn amounts(gauges: &Gauges) -> Amounts {
    Amounts {
        sessions: gauges.sessions,
        connected: gauges.sessions_connected,
        subscriptions: gauges.subscriptions,
        queued: gauges.queued_messages,
        inflight: gauges.inflight_messages,
        retained: gauges.retained_messages,
        wills: gauges.wills,
        events: gauges.uplink_events,
    }
}

/// Nobody waits for anybody here: a client that acknowledges nothing has all the room there is, and all the time.
fn shard_config(settings: Settings, fault: Option<Fault>) -> ShardConfig {
    const FOR_EVER: Duration = Duration::from_secs(1_000_000);
    let limits = Limits {
        inflight_max: NonZeroU16::new(settings.inflight_max).unwrap_or(NonZeroU16::MIN),
        receive_maximum: NonZeroU16::new(RECEIVE_MAXIMUM).unwrap_or(NonZeroU16::MIN),
        subscriptions_max: SUBSCRIPTIONS_MAX,
        session_expiry_max: Duration::from_secs(SESSION_EXPIRY_MAX_S.into()),
        queue_messages_max: if fault == Some(Fault::QueueEndless) { 1_000 } else { settings.queue_max },
        when_away_full: match settings.when_full {
            WhenFull::DropNewest => WhenAwayFull::DropNewest,
            WhenFull::DropOldest => WhenAwayFull::DropOldest,
            WhenFull::Refuse => WhenAwayFull::Refuse,
        },
        stalled_after: Duration::ZERO,
        stalled_queue_factor: 1_000_000,
        stall_timeout: FOR_EVER,
        patience: FOR_EVER,
        takeovers_burst: 1_000_000,
        session_transfer: Duration::ZERO,
        ..Limits::default()
    };
    let (gateway, region) = ("eu-1".parse().expect("a good id"), "eu".parse().expect("a good region"));
    ShardConfig { limits, ..ShardConfig::new(gateway, region, Incarnation(1), 1) }
}
