//! One simulated device.
//!
//! ```text
//!            due            made          CONNACK        SUBACK
//!  Away ──────────→ Opening ─────→ Greeting ────→ Subscribing ────→ Online
//!    ↑                 │ failed, refused, timed out   │               │
//!    └─────────────────┴──────────────────────────────┴─── lost, cut ─┘
//! ```

mod leaving;
mod publishing;
mod receiving;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::BytesMut;
use roost_gateway::packet::{
    Connack, Connect, ConnectProperties, Encoder, Packet, PacketId, QoS, ReasonCode, Secret, Subscribe,
    SubscribeFilter, SubscribeOptions, Text,
};
use roost_wire::BootTime;
use serde::{Deserialize, Serialize};

use crate::scenario::Action;
use crate::{Arrivals, Count, Figures, NumberSet, Plan, Schedule, Span};

use self::publishing::InFlight;

/// How long a session outlives its connection, where devices are persistent (MQTT 5; 3.1.1 has no such bound).
const SESSION_EXPIRY_S: u32 = 3_600;

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
    waits: u16,
    begin: Option<BootTime>,
    finished: bool,
    /// Whether a broker has accepted it: then there may be a session to remove.
    accepted: bool,
    /// It connects once more, to remove its session.
    leaving: bool,
    schedule: Option<Schedule>,
    in_flight: VecDeque<InFlight>,
    /// Messages of QoS 2 that came and were not released yet.
    unreleased: Vec<PacketId>,
    next_id: PacketId,
    last_written: BootTime,
    ping_sent: Option<BootTime>,
    reads_from: BootTime,
    /// The greatest command of this connection.
    last_command: Option<u32>,
    records: Records,
}

/// What a device knows of its messages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Records {
    /// Its index.
    pub device: u32,
    /// Own messages that were acknowledged; at QoS 0 written. They must arrive.
    pub acknowledged: NumberSet,
    /// Commands whose answer was acknowledged; at QoS 0 written. The answers must arrive.
    pub answered: NumberSet,
    /// Own messages that came back; with pairs those of the device that it listens to.
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

/// What a broker can say against a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The connection was refused.
    Refused(ReasonCode),
    /// The connection was ended.
    Disconnected(ReasonCode),
    /// It takes messages up to this quality of service only, and the plan is to send better ones.
    MaximumQos(QoS),
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
    /// What the broker has said against the device.
    pub trouble: Option<Trouble>,
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
            waits: 0,
            begin: None,
            finished: false,
            accepted: false,
            leaving: false,
            schedule: None,
            in_flight: VecDeque::new(),
            unreleased: Vec::new(),
            next_id: PacketId::FIRST,
            last_written: start,
            ping_sent: None,
            reads_from: start,
            last_command: None,
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

    /// Takes what it knows of its messages; what comes later is not noted.
    pub fn take_records(&mut self) -> Records {
        std::mem::replace(&mut self.records, Records { device: self.index, ..Records::default() })
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
            Input::Finish => self.finish(plan, now, effects),
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
            State::Away { .. } if self.finished && !self.leaving => self.state = State::Ended,
            State::Away { until } if until <= now => self.open(plan, until, now, effects),
            State::Opening { deadline, .. }
            | State::Greeting { deadline, .. }
            | State::Subscribing { deadline }
                if deadline <= now =>
            {
                self.count_unless_leaving(Count::ConnectTimedOut, effects);
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
        let weight = if plan.publishes(self.index) { weight } else { 0.0 };
        self.schedule = Some(Schedule::new(plan, weight, self.index, at));
        self.step = plan.scenario.next(plan.seed, self.index, 0).map(|(step, after)| (step, at + after));
    }

    /// It publishes nothing more, and stays.
    pub fn cease(&mut self) {
        self.schedule = None;
        self.step = None;
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
        self.count_unless_leaving(Count::ConnectAttempts, effects);
        effects.open = Some(self.broker);
        let deadline = now + Duration::from_millis(plan.mqtt.connect_timeout_ms);
        self.state = State::Opening { due, deadline };
    }

    fn greet(&mut self, plan: &Plan, now: BootTime, login: Login, effects: &mut Effects) {
        let State::Opening { due, deadline } = self.state else { return };
        let client_id = plan.client_id(self.index);
        let connect = Connect {
            version: plan.mqtt.version(),
            clean_start: !plan.mqtt.persistent || self.leaving,
            keep_alive_s: plan.mqtt.keep_alive_s,
            will: None,
            user_name: login.user_name,
            password: login.password,
            properties: ConnectProperties {
                session_expiry_interval_s: (plan.mqtt.v5 && plan.mqtt.persistent && !self.leaving)
                    .then_some(SESSION_EXPIRY_S),
                ..ConnectProperties::default()
            },
            client_id: text(client_id),
        };
        self.state = State::Greeting { due, deadline };
        self.ping_sent = None;
        self.last_written = now;
        self.write(plan, &Packet::Connect(Box::new(connect)), effects);
    }

    fn accepted(&mut self, plan: &Plan, now: BootTime, connack: &Connack, effects: &mut Effects) {
        let State::Greeting { due, deadline } = self.state else { return };
        if self.leaving {
            return self.leave(plan, effects);
        }
        self.accepted = true;
        if let Some(qos) = maximum_qos(connack).filter(|qos| *qos < plan.traffic.qos()) {
            effects.trouble = Some(Trouble::MaximumQos(qos));
            effects.figures.count(Count::QosRefused);
            return self.finish(plan, now, effects);
        }
        if !connack.session_present {
            self.lose_session(plan, effects);
        }
        effects.figures.count(Count::Connected);
        effects.figures.took(Span::Connect, now.since(due));
        self.waits = 0;
        self.last_command = None;
        let filters: Vec<SubscribeFilter> = [
            plan.commands.then(|| (plan.command_topic(self.index), QoS::AtLeastOnce)),
            plan.heard_by(self.index)
                .map(|publisher| (plan.topic(publisher), plan.traffic.qos().max(QoS::AtLeastOnce))),
        ]
        .into_iter()
        .flatten()
        .map(|(filter, qos)| SubscribeFilter {
            filter: text(filter),
            options: SubscribeOptions { qos, ..SubscribeOptions::default() },
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
        self.send_again(plan, effects);
    }

    fn closed(&mut self, plan: &Plan, now: BootTime, loss: Loss, effects: &mut Effects) {
        match (self.state, loss) {
            _ if self.leaving => {}
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
            self.unreleased = Vec::new();
        }
        if self.finished {
            return self.stay_behind(effects);
        }
        if !was_online {
            self.next_broker(plan);
        }
        let wait = plan.reconnect.wait(plan.seed, self.index, self.waits);
        self.waits = self.waits.saturating_add(1);
        self.state = State::Away { until: now + wait };
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

    fn write(&mut self, plan: &Plan, packet: &Packet, effects: &mut Effects) {
        Encoder::new(plan.mqtt.version())
            .encode(packet, &mut effects.wire)
            .expect("a device sends only what its version has, and no limit was set");
    }
}

/// Absent is 2. (3.2.2.3.4)
fn maximum_qos(connack: &Connack) -> Option<QoS> {
    connack.properties.as_ref()?.maximum_qos
}

fn text(text: String) -> Text {
    Text::parse(text).expect("the plan was checked: short, and without zero bytes")
}

#[cfg(test)]
mod tests;
