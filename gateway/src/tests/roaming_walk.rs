//! A device that roams between two gateways, in whatever order it, they and the router come to do what they do: as long as it is told
//! that its session is there, nothing that the session took is missing, and nothing that it has acknowledged comes again.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use proptest::prelude::*;
use roost_wire::{
    BootTime, CloseReason, Control, Device, QuestionId, SessionAnswer, SessionArrival, SessionHandOver,
    SessionId, SessionRequest, Sighting,
};

use super::world::*;
use crate::packet::{Packet, PacketId, QoS, ReasonCode};
use crate::shard::Input;
use crate::{ConnectionId, Limits};

#[derive(Debug, Clone)]
enum Step {
    /// The device connects to that gateway; perhaps it begins anew.
    Connect {
        at: usize,
        clean: bool,
    },
    /// Its connection breaks.
    Cut,
    /// It acknowledges the oldest message that it has not.
    Acknowledge,
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
        4 => Just(Step::Acknowledge),
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
#[derive(Default)]
struct Roamer {
    connection: Option<(usize, ConnectionId)>,
    /// Where it was accepted last.
    home: usize,
    unacknowledged: VecDeque<(PacketId, String)>,
    /// What its session took since it was told of a fresh one, and that it has not got.
    owed: BTreeSet<String>,
    settled: BTreeSet<String>,
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
    count: u64,
}

fn device() -> Device {
    "s".parse().unwrap()
}

impl Mesh {
    fn new() -> Self {
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
            device: Roamer::default(),
            count: 0,
        }
    }

    fn step(&mut self, step: Step) {
        for gateway in &mut self.gateways {
            gateway.pass_with_lease(Duration::from_millis(1));
        }
        match step {
            Step::Connect { at, clean } => self.connect(at, clean),
            Step::Cut => {
                if let Some((at, client)) = self.device.connection.take() {
                    self.device.unacknowledged.clear();
                    self.gateways[at].cut(client);
                }
            }
            Step::Acknowledge => {
                let Some((at, client)) = self.device.connection else { return };
                if let Some((packet_id, text)) = self.device.unacknowledged.pop_front() {
                    self.device.settled.insert(text);
                    self.gateways[at].puback(client, packet_id);
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
        let mut connect = persistent(V5, "s");
        connect.clean_start = clean;
        let client = self.gateways[at].begin_connect(connect);
        self.device.connection = Some((at, client));
    }

    fn publish(&mut self, at: usize) {
        self.count += 1;
        let text = self.count.to_string();
        let (gateway, publisher) = (&mut self.gateways[at], self.publishers[at]);
        gateway.send(publisher, Packet::Publish(publish_packet("local/t", text.as_bytes(), qos1(1))));
        let taken = gateway.read_pubacks(publisher) == [(1, ReasonCode::Success)];
        if taken && at == self.device.home {
            self.device.owed.insert(text);
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
                Packet::Connack(connack) => {
                    self.device.home = at;
                    if !connack.session_present {
                        self.device.owed.clear();
                        self.gateways[at].subscribe(client, "local/t", QoS::AtLeastOnce);
                    }
                }
                Packet::Publish(publish) => {
                    let text = String::from_utf8(publish.payload.to_vec()).unwrap();
                    assert!(!self.device.settled.contains(&text), "{text} was acknowledged, and comes again");
                    self.device.owed.remove(&text);
                    self.device.unacknowledged.push_back((publish.delivery.packet_id().unwrap(), text));
                }
                Packet::Disconnect(_) => {}
                other => panic!("{other:?}"),
            }
        }
        if self.gateways[at].is_closed(client) {
            self.device.connection = None;
            self.device.unacknowledged.clear();
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
            while !self.device.unacknowledged.is_empty() {
                self.step(Step::Acknowledge);
            }
            self.step(Step::Pass(500));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn what_a_session_took_comes_once_wherever_its_device_goes(steps in proptest::collection::vec(step(), 1..150)) {
        let mut mesh = Mesh::new();
        for step in steps {
            mesh.step(step);
        }
        mesh.settle();
        prop_assert!(mesh.device.connection.is_some());
        prop_assert!(mesh.device.owed.is_empty(), "missing: {:?}", mesh.device.owed);
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
