//! A device that roams between two gateways, in whatever order it, they and the router come to do what they do: as long as it is told
//! that its session is there, nothing that the session took is missing, and nothing that it has acknowledged comes again. At QoS 2 nothing
//! comes twice, and nothing that it publishes is more than one event.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use proptest::prelude::*;
use roost_wire::{
    BootTime, CloseReason, Control, Device, Event, QuestionId, SessionAnswer, SessionArrival,
    SessionHandOver, SessionId, SessionRequest, Sighting,
};

use super::world::*;
use crate::packet::{Ack, Connack, Packet, QoS, ReasonCode};
use crate::shard::Input;
use crate::{ConnectionId, Limits, PublishOutcome};

#[derive(Debug, Clone)]
enum Step {
    /// The device connects to that gateway; perhaps it begins anew.
    Connect {
        at: usize,
        clean: bool,
    },
    /// Its connection breaks.
    Cut,
    /// It says the next of what it has to answer.
    Acknowledge,
    /// It publishes an event at QoS 2; the packet is lost if it is not connected.
    Send,
    /// The backend has the oldest event of that gateway.
    Confirm(usize),
    /// Somebody publishes at that gateway.
    Publish(usize),
    /// The router reads the next word of that gateway.
    RouterReads(usize),
    /// That gateway reads the router's next word.
    GatewayReads(usize),
    /// That gateway's lease lapses and comes back.
    Lapse(usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let clean = prop_oneof![9 => Just(false), 1 => Just(true)];
    prop_oneof![
        6 => (0..2_usize, clean).prop_map(|(at, clean)| Step::Connect { at, clean }),
        4 => Just(Step::Cut),
        6 => Just(Step::Acknowledge),
        4 => Just(Step::Send),
        4 => (0..2_usize).prop_map(Step::Confirm),
        8 => (0..2_usize).prop_map(Step::Publish),
        12 => (0..2_usize).prop_map(Step::RouterReads),
        12 => (0..2_usize).prop_map(Step::GatewayReads),
        1 => (0..2_usize).prop_map(Step::Lapse),
        2 => (1..3_000_u64).prop_map(Step::Pass),
    ]
}

/// A word on its way to the router.
enum Up {
    Sighting(Sighting),
    Session(SessionHandOver),
}

enum Down {
    Control(Control),
    Session(SessionArrival),
}

/// What the device knows.
struct Roamer {
    peer: Peer,
    connection: Option<(usize, ConnectionId)>,
    /// Where it was accepted last.
    home: usize,
    /// What it has to say on this connection, each with the message that it is about.
    replies: VecDeque<(Packet, Option<String>)>,
    /// What its session took since it was told of a fresh one, and that it has not got.
    owed: BTreeSet<String>,
    settled: BTreeSet<String>,
    got: BTreeSet<String>,
}

struct Mesh {
    gateways: [World; 2],
    publishers: [ConnectionId; 2],
    up: [VecDeque<Up>; 2],
    down: [VecDeque<Down>; 2],
    /// The device's location as the router has it, and when that session was accepted: the clocks agree here.
    location: Option<(usize, SessionId, BootTime)>,
    /// Who waits, and for which question.
    open: Option<(usize, SessionRequest, QuestionId)>,
    device: Roamer,
    /// Of what the device subscribes to, and of what is published there.
    qos: QoS,
    /// To what: as any, or as the only member of a group.
    filter: &'static str,
    /// The ids under which events went to the backend, by payload.
    events: BTreeMap<String, BTreeSet<String>>,
    count: u64,
}

fn device() -> Device {
    "s".parse().unwrap()
}

impl Mesh {
    fn new(qos: QoS, filter: &'static str) -> Self {
        // It connects as often as it likes.
        let limits = Limits { takeovers_burst: 1_000_000, ..limits() };
        let mut gateways = [World::roaming_with(limits.clone()), World::roaming_with(limits)];
        let publishers = gateways.each_mut().map(|gateway| gateway.connect(V5, "p"));
        for gateway in &mut gateways {
            gateway.sightings.clear();
        }
        Self {
            gateways,
            publishers,
            up: Default::default(),
            down: Default::default(),
            location: None,
            open: None,
            device: Roamer {
                peer: Peer::new(V5, "s"),
                connection: None,
                home: 0,
                replies: VecDeque::new(),
                owed: BTreeSet::new(),
                settled: BTreeSet::new(),
                got: BTreeSet::new(),
            },
            qos,
            filter,
            events: BTreeMap::new(),
            count: 0,
        }
    }

    fn step(&mut self, step: Step) {
        self.look();
        for gateway in &mut self.gateways {
            gateway.pass_with_lease(Duration::from_millis(1));
        }
        match step {
            Step::Connect { at, clean } => self.connect(at, clean),
            Step::Cut => {
                if let Some((at, client)) = self.device.connection {
                    self.disconnected();
                    self.gateways[at].cut(client);
                }
            }
            Step::Acknowledge => {
                let Some((at, client)) = self.device.connection else { return };
                if let Some((reply, text)) = self.device.replies.pop_front() {
                    self.device.settled.extend(text);
                    self.gateways[at].send(client, reply);
                }
            }
            Step::Send => self.send(),
            Step::Confirm(at) => {
                if !self.gateways[at].events.is_empty() {
                    self.gateways[at].answer_event(PublishOutcome::Confirmed);
                }
            }
            Step::Publish(at) => self.publish(at),
            Step::RouterReads(at) => self.router_reads(at),
            Step::GatewayReads(at) => self.gateway_reads(at),
            Step::Lapse(at) => {
                self.gateways[at].pass(Duration::from_secs(11));
                self.gateways[1 - at].pass_with_lease(Duration::from_secs(11));
                self.gateways[at].answer_heartbeats(1);
            }
            Step::Pass(ms) => {
                for gateway in &mut self.gateways {
                    gateway.pass_with_lease(Duration::from_millis(ms));
                }
            }
        }
        self.hear();
    }

    fn connect(&mut self, at: usize, clean: bool) {
        if self.device.connection.is_some() {
            self.step(Step::Cut);
        }
        // A device takes longer to connect again than the word of where it was takes to get around.
        while self.up.iter().flatten().any(|up| matches!(up, Up::Sighting(Sighting::Accepted(_)))) {
            self.router_reads(0);
            self.router_reads(1);
        }
        while self.down[at].iter().any(|down| matches!(down, Down::Control(Control::Close { .. }))) {
            self.gateway_reads(at);
            self.hear();
        }
        let mut connect = self.device.peer.connect_packet();
        connect.clean_start = clean;
        let client = self.gateways[at].begin_connect(connect);
        self.device.connection = Some((at, client));
    }

    fn disconnected(&mut self) {
        self.device.connection = None;
        self.device.peer.connection = None;
        self.device.replies.clear();
    }

    fn publish(&mut self, at: usize) {
        self.count += 1;
        let text = self.count.to_string();
        let (gateway, publisher) = (&mut self.gateways[at], self.publishers[at]);
        let delivery = if self.qos == QoS::ExactlyOnce { qos2(1) } else { qos1(1) };
        gateway.send(publisher, Packet::Publish(publish_packet("local/t", text.as_bytes(), delivery)));
        let taken = match gateway.read(publisher).pop() {
            Some(Packet::Puback(ack)) => ack.reason == ReasonCode::Success,
            Some(Packet::Pubrec(ack)) => {
                gateway.send(publisher, Packet::Pubrel(Ack::success(id(1))));
                gateway.read(publisher);
                ack.reason == ReasonCode::Success
            }
            other => panic!("{other:?}"),
        };
        if taken && at == self.device.home {
            self.device.owed.insert(text);
        }
    }

    fn send(&mut self) {
        if self.device.peer.unanswered() < 20 {
            self.count += 1;
            let at = self.device.connection.map_or(0, |(at, _)| at);
            let payload = self.count.to_string();
            self.device.peer.publish(&mut self.gateways[at], "up", payload, QoS::ExactlyOnce);
        }
    }

    fn router_reads(&mut self, at: usize) {
        match self.up[at].pop_front() {
            Some(Up::Sighting(Sighting::Accepted(present))) if present.device == device() => {
                self.open.take_if(|(asker, ..)| *asker == at);
                match self.location {
                    Some((_, _, newer)) if newer > present.accepted_at => self.forget(at, present.session),
                    before => {
                        self.location = Some((at, present.session, present.accepted_at));
                        if let Some((old, session, _)) = before.filter(|(old, ..)| *old != at) {
                            self.forget(old, session);
                        }
                    }
                }
            }
            Some(Up::Sighting(Sighting::Gone { device: gone, session })) if gone == device() => {
                if self.location.is_some_and(|(gateway, ..)| gateway != at) {
                    self.forget(at, session);
                }
            }
            Some(Up::Sighting(Sighting::WantsSession { request, held, .. })) => {
                if let Some((asker, older, question)) = self.open {
                    self.open = Some((at, request, question));
                    return self.answer(asker, older, SessionAnswer::Elsewhere);
                }
                self.count += 1;
                let question = QuestionId(self.count);
                match self.location {
                    Some((gateway, session, _)) if gateway != at => {
                        self.open = Some((at, request, question));
                        let order = Control::MoveSession { question, device: device(), session };
                        self.down[gateway].push_back(Down::Control(order));
                    }
                    _ if held.is_some() => self.answer(at, request, SessionAnswer::Current),
                    _ => self.answer(at, request, SessionAnswer::Nobody),
                }
            }
            Some(Up::Sighting(Sighting::NoSession { question, .. })) => {
                if let Some((asker, request, _)) = self.open.take_if(|open| open.2 == question) {
                    self.answer(asker, request, SessionAnswer::Nobody);
                }
            }
            Some(Up::Session(SessionHandOver { device, question, body, .. })) => {
                if let Some((asker, request, _)) = self.open.take_if(|open| open.2 == question) {
                    let arrival = SessionArrival { device, request, body };
                    self.down[asker].push_back(Down::Session(arrival));
                }
            }
            Some(Up::Sighting(_)) | None => {}
        }
    }

    fn forget(&mut self, at: usize, session: SessionId) {
        let (device, reason) = (device(), CloseReason::TakenOver);
        let close = Control::Close { device, session, reason, forget: true };
        self.down[at].push_back(Down::Control(close));
    }

    fn answer(&mut self, at: usize, request: SessionRequest, answer: SessionAnswer) {
        let answer = Control::SessionAnswer { request, device: device(), answer };
        self.down[at].push_back(Down::Control(answer));
    }

    fn gateway_reads(&mut self, at: usize) {
        match self.down[at].pop_front() {
            Some(Down::Control(control)) => self.gateways[at].router_says(1, vec![control]),
            Some(Down::Session(arrival)) => self.gateways[at].input(Input::Session(Box::new(arrival))),
            None => {}
        }
    }

    /// What was said since is on its way, and what came for the device is looked at.
    fn hear(&mut self) {
        for at in 0..2 {
            let gateway = &mut self.gateways[at];
            self.up[at].extend(std::mem::take(&mut gateway.sightings).into_iter().map(Up::Sighting));
            self.up[at].extend(std::mem::take(&mut gateway.given).into_iter().map(Up::Session));
        }
        let Some((at, client)) = self.device.connection else { return };
        for packet in self.gateways[at].read(client) {
            match packet {
                Packet::Connack(connack) => self.accepted(at, client, &connack),
                packet => self.react(packet),
            }
        }
        if self.gateways[at].is_closed(client) {
            self.disconnected();
        }
    }

    fn accepted(&mut self, at: usize, client: ConnectionId, connack: &Connack) {
        self.device.home = at;
        if !connack.session_present {
            self.device.owed.clear();
            self.gateways[at].subscribe(client, self.filter, self.qos);
        }
        self.device.peer.connected(&mut self.gateways[at], client, connack);
    }

    fn react(&mut self, packet: Packet) {
        let text = match &packet {
            Packet::Publish(publish) => Some(String::from_utf8(publish.payload.to_vec()).unwrap()),
            _ => None,
        };
        let device = &mut self.device;
        if let Some(text) = &text {
            assert!(!device.settled.contains(text), "{text} was acknowledged, and comes again");
            device.owed.remove(text);
        }
        if let Some(reply) = device.peer.react(packet) {
            device.replies.push_back((reply, text));
        }
        for text in device.peer.got.drain(..) {
            let is_new = device.got.insert(text.clone());
            assert!(is_new || self.qos != QoS::ExactlyOnce, "{text} came twice");
        }
    }

    /// What the device publishes at QoS 2 is one event, at whichever gateway.
    fn look(&mut self) {
        for publication in self.gateways.iter().flat_map(|gateway| &gateway.events) {
            let event = Event::from_message(&publication.message).unwrap();
            let payload = String::from_utf8(event.payload.to_vec()).unwrap();
            let ids = self.events.entry(payload).or_default();
            ids.insert(event.id());
            assert_eq!(ids.len(), 1, "{event:?} is there twice");
        }
    }

    /// The device stays where it is now, or comes back; everybody reads what is there.
    fn settle(&mut self) {
        for round in 0..60 {
            if self.device.connection.is_none() {
                self.connect(round % 2, false);
                self.hear();
            }
            for at in 0..2 {
                while !self.up[at].is_empty() {
                    self.step(Step::RouterReads(at));
                }
                while !self.down[at].is_empty() {
                    self.step(Step::GatewayReads(at));
                }
            }
            for at in 0..2 {
                while !self.gateways[at].events.is_empty() {
                    self.step(Step::Confirm(at));
                }
            }
            while !self.device.replies.is_empty() {
                self.step(Step::Acknowledge);
            }
            self.step(Step::Pass(500));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn what_a_session_took_comes_once_wherever_its_device_goes(
        steps in proptest::collection::vec(step(), 1..150),
        exactly_once in any::<bool>(),
        is_shared in any::<bool>(),
    ) {
        let qos = if exactly_once { QoS::ExactlyOnce } else { QoS::AtLeastOnce };
        let mut mesh = Mesh::new(qos, if is_shared { "$share/g/local/+" } else { "local/t" });
        for step in steps {
            mesh.step(step);
        }
        mesh.settle();
        prop_assert!(mesh.device.connection.is_some());
        prop_assert!(mesh.device.owed.is_empty(), "missing: {:?}", mesh.device.owed);
        prop_assert_eq!(mesh.device.peer.unanswered(), 0);
        for (payload, _) in &mesh.device.peer.answered {
            prop_assert!(mesh.events.contains_key(payload), "{} was acknowledged and is nowhere", payload);
        }
        let sessions: usize = mesh.gateways.iter().map(|gateway| gateway.shard.gauges().sessions).sum();
        prop_assert_eq!(sessions, 3, "two publishers and one device");
        let fetches: usize = mesh.gateways.iter().map(|gateway| gateway.shard.gauges().fetches).sum();
        prop_assert_eq!(fetches, 0);
        for gateway in &mesh.gateways {
            prop_assert_eq!(gateway.shard.gauges().connections_paused, 0);
            prop_assert!(gateway.link.is_settled());
        }
    }
}
