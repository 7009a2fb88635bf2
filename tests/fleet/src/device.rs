//! One simulated device.
//!
//! ```text
//!            due            made          CONNACK        SUBACK
//!  Away ──────────→ Opening ─────→ Greeting ────→ Subscribing ────→ Online
//!    ↑                 │ failed, refused, timed out   │               │
//!    └─────────────────┴──────────────────────────────┴─── lost, cut ─┘
//! ```

mod receiving;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::BytesMut;
use roost_gateway::packet::{
    Connect, ConnectProperties, Delivery, Disconnect, Encoder, Packet, PacketId, PublishPropertiesRef,
    PublishRef, QoS, ReasonCode, Secret, Subscribe, SubscribeFilter, SubscribeOptions, Text,
};
use roost_wire::BootTime;
use serde::{Deserialize, Serialize};

use crate::scenario::Action;
use crate::{Arrivals, Count, Figures, Kind, NumberSet, Plan, Schedule, Span, Stamp};

/// How long a PINGRESP may take before the connection is given up.
const PING_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a session outlives its connection, where devices are persistent (MQTT 5; 3.1.1 has no such bound).
const SESSION_EXPIRY_S: u32 = 3_600;
/// Messages written in one turn: so that one device that has much to catch up does not hold up the others.
const PUBLISHES_PER_TURN: usize = 32;

/// One device as a state machine: without socket, clock or chance.
#[derive(Debug)]
pub struct Device {
    index: u32,
    state: State,
    /// Which of the plan's brokers it is at, or will try.
    broker: u16,
    /// The next step of the scenario that it has a part in, and when.
    step: Option<(u16, BootTime)>,
    /// Attempts in vain since the last CONNACK.
    failures: u16,
    begin: Option<BootTime>,
    finished: bool,
    schedule: Option<Schedule>,
    in_flight: VecDeque<InFlight>,
    next_id: PacketId,
    last_written: BootTime,
    ping_sent: Option<BootTime>,
    reads_from: BootTime,
    records: Records,
}

/// What a device knows of its messages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Records {
    /// Its index.
    pub device: u32,
    /// Own messages that were acknowledged; at QoS 0 written. They must arrive.
    pub acknowledged: NumberSet,
    /// Own messages that came back.
    pub echoes: Arrivals,
    /// Commands that came.
    pub commands: Arrivals,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Away { until: BootTime },
    Opening { due: BootTime, deadline: BootTime },
    Greeting { due: BootTime, deadline: BootTime },
    Subscribing { deadline: BootTime },
    Online,
    Ended,
}

/// A message that waits for its PUBACK.
#[derive(Debug, Clone, Copy)]
struct InFlight {
    id: PacketId,
    sequence: u32,
    due: BootTime,
}

/// What happens to a device.
#[derive(Debug)]
pub enum Input {
    /// Nothing more is expected: say goodbye.
    Finish,
    /// The transport is made; the device is to say this of itself.
    Opened(Login),
    /// A packet came.
    Received(Packet),
    /// The transport is gone.
    Closed(Loss),
    /// Time has passed, or there is room to write again.
    Tick,
}

/// What a device says of itself to its broker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Login {
    /// Who it is.
    pub user_name: Option<Text>,
    /// What proves it.
    pub password: Option<Secret>,
}

/// Why a transport is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// It could not be made.
    NotMade,
    /// The other side, or the network, ended it.
    ByPeer,
    /// What came is no MQTT.
    NotMqtt,
}

/// What a device wants done; the caller owns it, and one serves all devices.
#[derive(Debug, Default)]
pub struct Effects {
    /// To be written to the transport, in this order.
    pub wire: BytesMut,
    /// A transport is to be made, to this broker.
    pub open: Option<u16>,
    /// The transport is to be ended, after what is to be written. The device expects no [`Input::Closed`] for it.
    pub close: bool,
    /// Why the broker has refused the connection.
    pub refused: Option<ReasonCode>,
    /// What was counted and timed.
    pub figures: Figures,
    /// What was to be written before is not written yet: the device publishes nothing more until it is.
    pub blocked: bool,
}

impl Device {
    /// A device that connects at `start`, moved by its place in the fleet and the connect rate.
    #[must_use]
    pub fn new(plan: &Plan, index: u32, start: BootTime) -> Self {
        let until = start + Duration::from_secs_f64(f64::from(index) / plan.connect_rate);
        let brokers = plan.brokers.len().clamp(1, usize::from(u16::MAX));
        Self {
            index,
            state: State::Away { until },
            broker: (index as usize % brokers) as u16,
            step: None,
            failures: 0,
            begin: None,
            finished: false,
            schedule: None,
            in_flight: VecDeque::new(),
            next_id: PacketId::FIRST,
            last_written: start,
            ping_sent: None,
            reads_from: start,
            records: Records { device: index, ..Records::default() },
        }
    }

    /// Its place in the fleet.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// What it knows of its messages.
    #[must_use]
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// Whether it will do nothing more.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// From when on it reads; before, what comes is left in the socket.
    #[must_use]
    pub fn reads_from(&self) -> BootTime {
        self.reads_from
    }

    /// When it wants [`Input::Tick`] next; `blocked` as in [`Effects::blocked`].
    #[must_use]
    pub fn timeout(&self, plan: &Plan, blocked: bool) -> Option<BootTime> {
        let alarm = match self.state {
            State::Away { until } => Some(until),
            State::Opening { deadline, .. }
            | State::Greeting { deadline, .. }
            | State::Subscribing { deadline } => Some(deadline),
            State::Online if blocked => None,
            State::Online => [self.publish_due(plan), self.ping_due(plan)].into_iter().flatten().min(),
            State::Ended => None,
        };
        let step = self.step.map(|(_, at)| at).filter(|_| self.has_transport());
        [alarm, step].into_iter().flatten().min()
    }

    /// Takes an input, and adds to `effects` what follows from it.
    pub fn handle(&mut self, plan: &Plan, now: BootTime, input: Input, effects: &mut Effects) {
        match input {
            Input::Finish => self.finish(plan, effects),
            Input::Opened(login) => self.greet(plan, now, login, effects),
            Input::Received(packet) => self.receive(plan, now, packet, effects),
            Input::Closed(loss) => self.closed(plan, now, loss, effects),
            Input::Tick => {}
        }
        self.advance(plan, now, effects);
    }

    /// Does what is due.
    fn advance(&mut self, plan: &Plan, now: BootTime, effects: &mut Effects) {
        self.suffer(plan, now, effects);
        match self.state {
            State::Away { until } if until <= now && !self.finished => self.open(plan, until, now, effects),
            State::Away { .. } if self.finished => self.state = State::Ended,
            State::Opening { deadline, .. }
            | State::Greeting { deadline, .. }
            | State::Subscribing { deadline }
                if deadline <= now =>
            {
                effects.figures.count(Count::ConnectTimedOut);
                self.hang_up(plan, now, effects);
            }
            State::Online if !effects.blocked => self.serve(plan, now, effects),
            State::Online
            | State::Away { .. }
            | State::Opening { .. }
            | State::Greeting { .. }
            | State::Subscribing { .. }
            | State::Ended => {}
        }
    }

    /// The measured time begins, or is to begin, then; `weight` is the device's part of the traffic
    /// ([`crate::Weights`]). [`Input::Tick`] follows.
    pub fn begin(&mut self, plan: &Plan, at: BootTime, weight: f64) {
        self.begin = Some(at);
        self.schedule = Some(Schedule::new(plan, weight, self.index, at));
        self.step = plan.scenario.next(plan.seed, self.index, 0).map(|(step, after)| (step, at + after));
    }

    /// It publishes nothing more, and stays.
    pub fn cease(&mut self) {
        self.schedule = None;
        self.step = None;
    }

    fn finish(&mut self, plan: &Plan, effects: &mut Effects) {
        self.finished = true;
        while self.schedule.as_mut().and_then(|schedule| schedule.take(plan, self.index)).is_some() {
            effects.figures.count(Count::Skipped);
        }
        if self.state == State::Online {
            self.write(plan, &Packet::Disconnect(Disconnect::default()), effects);
            effects.figures.online -= 1;
        }
        self.forget_in_flight(effects);
        effects.close |= self.has_transport();
        self.state = State::Ended;
    }

    // --- the connection

    fn open(&mut self, plan: &Plan, due: BootTime, now: BootTime, effects: &mut Effects) {
        let at = self.begin.map(|begin| now.since(begin));
        // As many tries as there are brokers: if all are lost, the one at hand is as good as any.
        for _ in 0..plan.brokers.len() {
            if at.is_none_or(|at| !plan.scenario.is_lost(self.broker, at)) {
                break;
            }
            self.next_broker(plan);
        }
        effects.figures.count(Count::ConnectAttempts);
        effects.open = Some(self.broker);
        let deadline = now + Duration::from_millis(plan.mqtt.connect_timeout_ms);
        self.state = State::Opening { due, deadline };
    }

    fn greet(&mut self, plan: &Plan, now: BootTime, login: Login, effects: &mut Effects) {
        let State::Opening { due, deadline } = self.state else { return };
        let client_id = plan.client_id(self.index);
        let connect = Connect {
            version: plan.mqtt.version(),
            clean_start: !plan.mqtt.persistent,
            keep_alive_s: plan.mqtt.keep_alive_s,
            will: None,
            user_name: login.user_name,
            password: login.password,
            properties: ConnectProperties {
                session_expiry_interval_s: (plan.mqtt.v5 && plan.mqtt.persistent).then_some(SESSION_EXPIRY_S),
                ..ConnectProperties::default()
            },
            client_id: text(client_id),
        };
        self.state = State::Greeting { due, deadline };
        self.ping_sent = None;
        self.last_written = now;
        self.write(plan, &Packet::Connect(Box::new(connect)), effects);
    }

    fn accepted(&mut self, plan: &Plan, now: BootTime, effects: &mut Effects) {
        let State::Greeting { due, deadline } = self.state else { return };
        effects.figures.count(Count::Connected);
        effects.figures.took(Span::Connect, now.since(due));
        self.failures = 0;
        let filters: Vec<SubscribeFilter> = [
            plan.commands.then(|| plan.command_topic(self.index)),
            plan.echo.then(|| plan.topic(self.index)),
        ]
        .into_iter()
        .flatten()
        .map(|filter| SubscribeFilter {
            filter: text(filter),
            options: SubscribeOptions { qos: QoS::AtLeastOnce, ..SubscribeOptions::default() },
        })
        .collect();
        if filters.is_empty() {
            return self.come_online(plan, now, effects);
        }
        let packet_id = self.take_id();
        self.write(plan, &Packet::Subscribe(Subscribe { packet_id, filters, properties: None }), effects);
        self.state = State::Subscribing { deadline };
    }

    fn come_online(&mut self, plan: &Plan, now: BootTime, effects: &mut Effects) {
        effects.figures.online += 1;
        self.state = State::Online;
        self.last_written = now;
        // Only a session that outlived its connection has some. [MQTT-4.4.0-1]
        for message in std::mem::take(&mut self.in_flight) {
            effects.figures.count(Count::PublishedAgain);
            self.write_publish(plan, message, true, effects);
            self.in_flight.push_back(message);
        }
    }

    fn closed(&mut self, plan: &Plan, now: BootTime, loss: Loss, effects: &mut Effects) {
        match (self.state, loss) {
            (State::Away { .. } | State::Ended, _) => return,
            (_, Loss::NotMade) => effects.figures.count(Count::ConnectFailed),
            (_, Loss::ByPeer) => effects.figures.count(Count::ConnectionLost),
            (_, Loss::NotMqtt) => effects.figures.count(Count::ProtocolError),
        }
        self.go_away(plan, now, effects);
    }

    /// Ends the connection from this side, without DISCONNECT.
    fn hang_up(&mut self, plan: &Plan, now: BootTime, effects: &mut Effects) {
        effects.close = true;
        self.go_away(plan, now, effects);
    }

    fn go_away(&mut self, plan: &Plan, now: BootTime, effects: &mut Effects) {
        let was_online = self.state == State::Online;
        if was_online {
            effects.figures.online -= 1;
        }
        if !plan.mqtt.persistent {
            self.forget_in_flight(effects);
        }
        if self.finished {
            self.state = State::Ended;
            return;
        }
        let wait = plan.reconnect.wait(plan.seed, self.index, self.failures);
        if !was_online {
            self.next_broker(plan);
            self.failures = self.failures.saturating_add(1);
        }
        self.state = State::Away { until: now + wait };
    }

    fn forget_in_flight(&mut self, effects: &mut Effects) {
        let forgotten = self.in_flight.len();
        self.in_flight = VecDeque::new();
        effects.figures.count_many(Count::Abandoned, forgotten as u64);
        effects.figures.in_flight -= forgotten as i64;
    }

    fn next_broker(&mut self, plan: &Plan) {
        self.broker = (self.broker + 1) % plan.brokers.len().max(1) as u16;
    }

    fn has_transport(&self) -> bool {
        match self.state {
            State::Away { .. } | State::Ended => false,
            State::Opening { .. } | State::Greeting { .. } | State::Subscribing { .. } | State::Online => {
                true
            }
        }
    }

    // --- the scenario

    fn suffer(&mut self, plan: &Plan, now: BootTime, effects: &mut Effects) {
        while let (Some((step, at)), Some(begin)) = (self.step, self.begin) {
            if at > now {
                break;
            }
            let next = plan.scenario.next(plan.seed, self.index, step + 1);
            self.step = next.map(|(step, after)| (step, begin + after));
            match plan.scenario.steps[usize::from(step)].action {
                Action::Cut => self.cut(plan, now, effects),
                Action::Roam => {
                    self.cut(plan, now, effects);
                    self.next_broker(plan);
                }
                Action::RegionLoss { broker, .. } if broker == self.broker => self.cut(plan, now, effects),
                Action::RegionLoss { .. } => {}
                Action::Slow { for_ms } => self.reads_from = at + Duration::from_millis(for_ms),
            }
        }
    }

    fn cut(&mut self, plan: &Plan, now: BootTime, effects: &mut Effects) {
        if self.has_transport() && !self.finished {
            effects.figures.count(Count::ConnectionCut);
            self.hang_up(plan, now, effects);
        }
    }

    // --- publishing

    fn serve(&mut self, plan: &Plan, now: BootTime, effects: &mut Effects) {
        self.skip_overdue(plan, now, effects);
        for _ in 0..PUBLISHES_PER_TURN {
            if self.publish_due(plan).is_none_or(|due| due > now) {
                break;
            }
            self.publish(plan, now, effects);
        }
        if self.ping_sent.is_some_and(|sent| now.since(sent) >= PING_TIMEOUT) {
            effects.figures.count(Count::ConnectionLost);
            return self.hang_up(plan, now, effects);
        }
        if self.ping_sent.is_none() && self.ping_due(plan).is_some_and(|due| due <= now) {
            self.ping_sent = Some(now);
            self.last_written = now;
            self.write(plan, &Packet::Pingreq, effects);
        }
    }

    fn skip_overdue(&mut self, plan: &Plan, now: BootTime, effects: &mut Effects) {
        let Some(schedule) = &mut self.schedule else { return };
        for _ in 0..schedule.overdue(now, plan.traffic.backlog_max) {
            schedule.take(plan, self.index);
            effects.figures.count(Count::Skipped);
        }
    }

    fn publish(&mut self, plan: &Plan, now: BootTime, effects: &mut Effects) {
        let taken = self.schedule.as_mut().and_then(|schedule| schedule.take(plan, self.index));
        let Some((sequence, due)) = taken else { return };
        effects.figures.count(Count::Published);
        self.last_written = now;
        let id = self.take_id();
        let message = InFlight { id, sequence, due };
        self.write_publish(plan, message, false, effects);
        match plan.traffic.qos() {
            QoS::AtMostOnce => {
                effects.figures.count(Count::Acknowledged);
                effects.figures.took(Span::Publish, now.since(due));
                self.records.acknowledged.insert(sequence);
            }
            QoS::AtLeastOnce | QoS::ExactlyOnce => {
                effects.figures.in_flight += 1;
                self.in_flight.push_back(message);
            }
        }
    }

    fn write_publish(&self, plan: &Plan, message: InFlight, dup: bool, effects: &mut Effects) {
        let stamp = Stamp {
            kind: Kind::Event,
            run: plan.run,
            device: self.index,
            sequence: message.sequence,
            intended: message.due,
        };
        let payload = stamp.payload(plan.traffic.size as usize);
        let delivery = match plan.traffic.qos() {
            QoS::AtMostOnce => Delivery::AtMostOnce,
            QoS::AtLeastOnce | QoS::ExactlyOnce => Delivery::AtLeastOnce { packet_id: message.id, dup },
        };
        let publish = PublishRef {
            topic: &plan.topic(self.index),
            delivery,
            retain: false,
            payload: &payload,
            properties: PublishPropertiesRef::default(),
        };
        Encoder::new(plan.mqtt.version())
            .encode_publish(&publish, &mut effects.wire)
            .expect("the topic pattern was parsed, the size is bounded, and no limit was set");
    }

    /// When the next message can go; `None` while the window is full.
    fn publish_due(&self, plan: &Plan) -> Option<BootTime> {
        let has_room = self.in_flight.len() < usize::from(plan.traffic.in_flight_max);
        self.schedule.as_ref().and_then(Schedule::due).filter(|_| has_room)
    }

    fn ping_due(&self, plan: &Plan) -> Option<BootTime> {
        let keep_alive = Duration::from_secs(u64::from(plan.mqtt.keep_alive_s));
        match self.ping_sent {
            Some(sent) => Some(sent + PING_TIMEOUT),
            None => (!keep_alive.is_zero()).then(|| self.last_written + keep_alive),
        }
    }

    fn take_id(&mut self) -> PacketId {
        // In the window there are far fewer than there are identifiers.
        while self.in_flight.iter().any(|message| message.id == self.next_id) {
            self.next_id = self.next_id.next();
        }
        let id = self.next_id;
        self.next_id = id.next();
        id
    }

    fn write(&mut self, plan: &Plan, packet: &Packet, effects: &mut Effects) {
        Encoder::new(plan.mqtt.version())
            .encode(packet, &mut effects.wire)
            .expect("a device sends only what its version has, and no limit was set");
    }
}

fn text(text: String) -> Text {
    Text::parse(text).expect("the plan was checked: short, and without zero bytes")
}

#[cfg(test)]
mod tests;
