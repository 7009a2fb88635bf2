use std::time::Duration;

use bytes::Bytes;
use roost_gateway::packet::{
    Ack, BinaryData, Connack, DecodeLimits, Decoder, Delivery, Publish, PublishProperties, ReasonCode, Suback,
};

use super::*;
use crate::plan::tests::plan;
use crate::{Backoff, Kind, Reconnect, Scenario, Stamp, Step};

const START: BootTime = BootTime::from_micros(1_000_000);

/// A device, and the broker's end of its connection.
struct World {
    plan: Plan,
    device: Device,
    effects: Effects,
    decoder: Decoder,
    now: BootTime,
    opened: Vec<u16>,
    closed: u32,
}

impl World {
    fn new(plan: Plan) -> Self {
        assert_eq!(plan.check(), Ok(()));
        let device = Device::new(&plan, 0, START);
        let decoder = Decoder::for_server(DecodeLimits::default());
        Self { plan, device, effects: Effects::default(), decoder, now: START, opened: vec![], closed: 0 }
    }

    /// A device that is online, with the measured time begun.
    fn online(plan: Plan) -> Self {
        let mut world = Self::new(plan);
        world.connect();
        world.device.begin(&world.plan, world.now, 1.0);
        world
    }

    fn connect(&mut self) {
        assert!(matches!(self.give(Input::Tick)[..], []));
        assert!(matches!(self.give(Input::Opened(Login::default()))[..], [Packet::Connect(_)]));
        self.give(Input::Received(Packet::Connack(Connack::default())));
    }

    /// Gives an input, and returns what the device writes.
    fn give(&mut self, input: Input) -> Vec<Packet> {
        self.device.handle(&self.plan, self.now, input, &mut self.effects);
        self.opened.extend(self.effects.open.take());
        let closes = std::mem::take(&mut self.effects.close);
        self.closed += u32::from(closes);
        let mut packets = Vec::new();
        while let Some(packet) = self.decoder.decode(&mut self.effects.wire).unwrap() {
            packets.push(packet);
        }
        if closes {
            self.decoder = Decoder::for_server(DecodeLimits::default());
        }
        packets
    }

    fn lose(&mut self) {
        self.decoder = Decoder::for_server(DecodeLimits::default());
        self.give(Input::Closed(Loss::ByPeer));
    }

    fn after(&mut self, time: Duration) -> Vec<Packet> {
        self.now = self.now + time;
        self.give(Input::Tick)
    }

    /// Lets time pass up to the device's own alarm.
    fn at_alarm(&mut self) -> Vec<Packet> {
        self.now = self.now.max(self.device.timeout(&self.plan, false).unwrap());
        self.give(Input::Tick)
    }

    fn count(&self, count: Count) -> u64 {
        self.effects.figures.of(count)
    }

    fn puback(&mut self, id: u16) {
        let ack = Ack::success(PacketId::new(id).unwrap());
        self.give(Input::Received(Packet::Puback(ack)));
    }
}

fn publishes(packets: &[Packet]) -> Vec<(u32, u16, bool)> {
    let publish = |packet: &Packet| match packet {
        Packet::Publish(publish) => {
            let id = publish.delivery.packet_id().map_or(0, PacketId::value);
            Some((Stamp::read(&publish.payload, 7).unwrap().sequence, id, publish.delivery.dup()))
        }
        _ => None,
    };
    packets.iter().filter_map(publish).collect()
}

#[test]
fn a_device_connects_in_its_turn_and_subscribes_before_it_is_online() {
    let mut plan = plan();
    (plan.commands, plan.echo, plan.connect_rate) = (true, true, 2.0);
    let mut world = World::new(plan);
    world.device = Device::new(&world.plan, 3, START);
    assert!(world.after(Duration::from_millis(1_400)).is_empty() && world.opened.is_empty());
    world.after(Duration::from_millis(150));
    assert_eq!(world.opened, [0]);
    let [Packet::Connect(connect)] = &world.give(Input::Opened(Login::default()))[..] else {
        panic!("CONNECT")
    };
    assert_eq!((connect.client_id.as_str(), connect.clean_start), ("fleet-000003", true));
    let subscribe = world.give(Input::Received(Packet::Connack(Connack::default())));
    let [Packet::Subscribe(subscribe)] = &subscribe[..] else { panic!("SUBSCRIBE") };
    let filters: Vec<&str> = subscribe.filters.iter().map(|filter| filter.filter.as_str()).collect();
    assert_eq!(filters, ["devices/fleet-000003/cmd", "devices/fleet-000003/state"]);
    assert_eq!(world.effects.figures.online, 0);
    let reasons = vec![ReasonCode::Success; 2];
    let suback = Suback { packet_id: subscribe.packet_id, reasons, properties: None };
    world.give(Input::Received(Packet::Suback(suback)));
    assert_eq!(world.effects.figures.online, 1);
    // From the due time, 1.5 s after the start, and not from the attempt.
    let connect = world.effects.figures.latency(Span::Connect).percentiles().unwrap();
    assert!((connect.max_ms - 50.0).abs() < 0.1, "{connect:?}");
}

#[test]
fn a_stall_is_seen_in_every_message_that_it_held_up() {
    let mut plan = plan();
    plan.traffic.rate = 10.0;
    let mut world = World::online(plan);
    let first = world.after(Duration::from_secs(1));
    assert_eq!(publishes(&first).len(), 4, "the window is full: {first:?}");
    for id in 1..=4 {
        world.puback(id);
    }
    world.now = world.now + Duration::from_secs(1);
    for id in 5..=8 {
        world.puback(id);
    }
    let latency = world.effects.figures.latency(Span::Publish).percentiles().unwrap();
    assert_eq!((latency.count, world.count(Count::Acknowledged)), (8, 8));
    assert!(latency.max_ms > 1_400.0, "the fifth was due half a second before it could go: {latency:?}");
    assert_eq!(world.device.records().acknowledged.len(), 8);
}

#[test]
fn a_session_sends_again_what_had_no_answer_and_without_one_it_is_abandoned() {
    for persistent in [true, false] {
        let mut plan = plan();
        plan.mqtt.persistent = persistent;
        plan.traffic.rate = 2.0;
        plan.reconnect = Reconnect { backoff: Backoff::None, spread_ms: 0 };
        let mut world = World::online(plan);
        assert_eq!(publishes(&world.after(Duration::from_secs(1))), [(0, 1, false), (1, 2, false)]);
        world.puback(1);
        world.lose();
        world.at_alarm();
        world.give(Input::Opened(Login::default()));
        let again = world.give(Input::Received(Packet::Connack(Connack::default())));
        match persistent {
            true => assert_eq!(publishes(&again), [(1, 2, true)]),
            false => assert_eq!(publishes(&again), []),
        }
        assert_eq!(world.count(Count::Abandoned), u64::from(!persistent));
        assert_eq!(world.effects.figures.in_flight, i64::from(persistent));
        assert_eq!(world.device.records().acknowledged.len(), 1);
    }
}

#[test]
fn what_is_due_while_it_is_away_waits_up_to_the_bound() {
    let mut plan = plan();
    (plan.traffic.rate, plan.traffic.backlog_max, plan.traffic.in_flight_max) = (10.0, 5, 100);
    let mut world = World::online(plan);
    world.lose();
    world.now = world.now + Duration::from_secs(4);
    world.connect();
    let sent = world.count(Count::Published);
    assert!((5..=7).contains(&sent), "{sent} were sent");
    assert!((32..=35).contains(&world.count(Count::Skipped)), "{} skipped", world.count(Count::Skipped));
}

#[test]
fn commands_are_acknowledged_and_noted_with_their_duplicates() {
    let mut plan = plan();
    plan.traffic.rate = 0.0;
    let mut world = World::online(plan);
    let command = |device, sequence| {
        let stamp = Stamp { kind: Kind::Command, run: 7, device, sequence, intended: START };
        Packet::Publish(Publish {
            topic: Text::from_static("devices/fleet-000000/cmd"),
            delivery: Delivery::AtLeastOnce { packet_id: PacketId::FIRST, dup: false },
            retain: false,
            payload: stamp.payload(64),
            properties: None,
        })
    };
    for sequence in [0, 1, 1] {
        let answer = world.give(Input::Received(command(0, sequence)));
        assert_eq!(answer, [Packet::Puback(Ack::success(PacketId::FIRST))]);
    }
    assert_eq!(world.give(Input::Received(command(5, 0))).len(), 1, "another's is answered all the same");
    let commands = &world.device.records().commands;
    assert_eq!((commands.numbers.len(), commands.duplicates), (2, 1));
    assert_eq!(world.count(Count::CommandOutOfTurn), 1, "one came again without a break");
    assert_eq!(world.effects.figures.latency(Span::Down).count(), 2);
}

#[test]
fn a_silent_device_pings_and_gives_up_a_silent_broker() {
    let mut plan = plan();
    (plan.traffic.rate, plan.mqtt.keep_alive_s) = (0.0, 10);
    let mut world = World::online(plan);
    assert_eq!(world.at_alarm(), [Packet::Pingreq]);
    world.give(Input::Received(Packet::Pingresp));
    assert_eq!(world.at_alarm(), [Packet::Pingreq]);
    assert_eq!((world.now.since(START), world.closed), (Duration::from_secs(20), 0));
    world.at_alarm();
    assert_eq!((world.closed, world.effects.figures.online, world.count(Count::ConnectionLost)), (1, 0, 1));
}

#[test]
fn who_is_refused_waits_longer_and_tries_the_next_broker() {
    let mut plan = plan();
    plan.brokers.push("127.0.0.1:1884".parse().unwrap());
    plan.reconnect =
        Reconnect { backoff: Backoff::Exponential { first_ms: 100, max_ms: 1_000 }, spread_ms: 0 };
    let mut world = World::new(plan);
    let mut waits = Vec::new();
    for _ in 0..5 {
        world.at_alarm();
        world.give(Input::Opened(Login::default()));
        let refused = Connack { reason: ReasonCode::ServerUnavailable, ..Connack::default() };
        world.give(Input::Received(Packet::Connack(refused)));
        waits.push(world.device.timeout(&world.plan, false).unwrap().since(world.now).as_millis());
    }
    assert_eq!(waits, [100, 200, 400, 800, 1_000]);
    assert_eq!((world.opened.as_slice(), world.closed), (&[0, 1, 0, 1, 0][..], 5));
}

#[test]
fn only_the_first_try_after_a_lost_connection_is_spread() {
    let mut plan = plan();
    plan.reconnect =
        Reconnect { backoff: Backoff::Exponential { first_ms: 100, max_ms: 1_000 }, spread_ms: 60_000 };
    let mut world = World::online(plan);
    world.lose();
    let wait = |world: &World| world.device.timeout(&world.plan, false).unwrap().since(world.now).as_millis();
    assert!(wait(&world) > 1_000, "{}", wait(&world));
    world.at_alarm();
    world.give(Input::Closed(Loss::ByPeer));
    assert_eq!(wait(&world), 200);
}

#[test]
fn a_scenario_cuts_moves_and_slows() {
    let mut plan = plan();
    plan.brokers.push("127.0.0.1:1884".parse().unwrap());
    plan.traffic.rate = 0.0;
    plan.reconnect = Reconnect { backoff: Backoff::None, spread_ms: 0 };
    let step = |at_ms, action| Step { at_ms, share: 1.0, action };
    plan.scenario = Scenario {
        steps: vec![
            step(1_000, Action::Cut),
            step(2_000, Action::Roam),
            step(3_000, Action::RegionLoss { broker: 1, for_ms: 1_000 }),
            step(5_000, Action::Slow { for_ms: 2_000 }),
        ],
    };
    let mut world = World::online(plan);
    let begin = world.now;
    for cuts in 1..=3 {
        world.at_alarm();
        assert_eq!(
            (world.count(Count::ConnectionCut), world.now.since(begin)),
            (cuts, Duration::from_secs(cuts))
        );
        world.at_alarm();
        world.give(Input::Opened(Login::default()));
        world.give(Input::Received(Packet::Connack(Connack::default())));
        world.now = begin + Duration::from_secs(cuts);
    }
    assert_eq!(world.opened, [0, 0, 1, 0]);
    world.at_alarm();
    assert_eq!(world.device.reads_from().since(begin), Duration::from_secs(7));
}

#[test]
fn at_the_end_it_says_goodbye_and_does_nothing_more() {
    let mut world = World::online(plan());
    let last = world.give(Input::Finish);
    assert_eq!(world.count(Count::Skipped), 10, "what was never sent is told");
    assert!(matches!(last.last(), Some(Packet::Disconnect(_))), "{last:?}");
    assert!(world.device.has_ended() && world.closed == 1);
    assert_eq!((world.device.timeout(&world.plan, false), world.effects.figures.online), (None, 0));
    let mut away = World::new(plan());
    away.give(Input::Finish);
    assert!(away.device.has_ended() && away.opened.is_empty());
}

#[test]
fn what_is_no_business_of_a_client_ends_the_connection() {
    let mut world = World::online(plan());
    world.give(Input::Received(Packet::Pubrec(Ack::success(PacketId::FIRST))));
    assert_eq!((world.count(Count::ProtocolError), world.closed), (1, 1));
    assert_eq!(Stamp::read(&Bytes::from_static(b"hello"), 7), None);
}

#[test]
fn a_session_that_it_has_not_is_no_business_of_its_own() {
    for (persistent, closed) in [(false, 1), (true, 0)] {
        let mut plan = plan();
        plan.mqtt.persistent = persistent;
        let mut world = World::new(plan);
        world.give(Input::Tick);
        world.give(Input::Opened(Login::default()));
        let session_present = true;
        world.give(Input::Received(Packet::Connack(Connack { session_present, ..Connack::default() })));
        assert_eq!((world.closed, world.count(Count::ProtocolError)), (closed, u64::from(closed)));
    }
}

/// A device of QoS 2 with a session, online, that has published one message.
fn with_one_published(v5: bool) -> World {
    let mut plan = plan();
    (plan.mqtt.persistent, plan.mqtt.v5, plan.traffic.qos) = (true, v5, 2);
    plan.reconnect = Reconnect { backoff: Backoff::None, spread_ms: 0 };
    plan.traffic.in_flight_max = 1;
    let mut world = World::online(plan);
    assert_eq!(publishes(&world.after(Duration::from_secs(1))), [(0, 1, false)]);
    world
}

impl World {
    /// Loses the connection and makes another.
    fn come_back(&mut self, session_present: bool) -> Vec<Packet> {
        self.lose();
        self.at_alarm();
        self.give(Input::Opened(Login::default()));
        self.give(Input::Received(Packet::Connack(Connack { session_present, ..Connack::default() })))
    }
}

#[test]
fn exactly_once_goes_on_where_it_was_when_the_connection_ended() {
    let id = PacketId::FIRST;
    let mut world = with_one_published(true);
    assert_eq!(publishes(&world.come_back(true)), [(0, 1, true)]);
    let release = Packet::Pubrel(Ack::success(id));
    assert_eq!(world.give(Input::Received(Packet::Pubrec(Ack::success(id)))), std::slice::from_ref(&release));
    assert_eq!(world.come_back(true), [release], "a released message is never published again");
    assert_eq!(world.count(Count::Acknowledged), 0);
    // The broker had completed it before the connection was lost.
    let gone = Ack::with_reason(id, ReasonCode::PacketIdentifierNotFound);
    world.give(Input::Received(Packet::Pubcomp(gone)));
    assert_eq!((world.count(Count::Acknowledged), world.effects.figures.in_flight), (1, 0));
    assert!(world.device.records().acknowledged.contains(0));
}

#[test]
fn without_its_session_nobody_knows_what_became_of_a_message_of_qos_2() {
    let mut world = with_one_published(false);
    assert_eq!(publishes(&world.come_back(false)), []);
    assert_eq!((world.count(Count::Abandoned), world.effects.figures.in_flight), (1, 0));
}

#[test]
fn a_message_of_qos_2_that_comes_again_before_its_release_is_the_same() {
    let mut world = with_one_published(true);
    world.plan.echo = true;
    let echo = |sequence| {
        let stamp = Stamp { kind: Kind::Event, run: 7, device: 0, sequence, intended: START };
        Input::Received(Packet::Publish(Publish {
            topic: Text::from_static("devices/fleet-000000/state"),
            delivery: Delivery::ExactlyOnce { packet_id: PacketId::FIRST, dup: false },
            retain: false,
            payload: stamp.payload(64),
            properties: None,
        }))
    };
    let id = PacketId::FIRST;
    for _ in 0..2 {
        assert_eq!(world.give(echo(0)), [Packet::Pubrec(Ack::success(id))]);
    }
    world.come_back(true);
    assert_eq!(world.give(echo(0)), [Packet::Pubrec(Ack::success(id))]);
    let release = || Input::Received(Packet::Pubrel(Ack::success(id)));
    assert_eq!(world.give(release()), [Packet::Pubcomp(Ack::success(id))]);
    let unknown = Ack::with_reason(id, ReasonCode::PacketIdentifierNotFound);
    assert_eq!(world.give(release()), [Packet::Pubcomp(unknown)]);
    world.give(echo(1));
    let echoes = &world.device.records().echoes;
    assert_eq!((echoes.numbers.len(), echoes.duplicates), (2, 0));
}

#[test]
fn a_command_is_answered_once_where_it_asks_for_it_or_the_plan_says() {
    let command = |sequence, properties| {
        let stamp = Stamp { kind: Kind::Command, run: 7, device: 0, sequence, intended: START };
        Input::Received(Packet::Publish(Publish {
            topic: Text::from_static("devices/fleet-000000/cmd"),
            delivery: Delivery::AtMostOnce,
            retain: false,
            payload: stamp.payload(64),
            properties,
        }))
    };
    let asks = |topic| {
        let correlation_data = Some(BinaryData::parse(vec![7, 8]).unwrap());
        let response_topic = Some(Text::from_static(topic));
        Some(Box::new(PublishProperties { response_topic, correlation_data, ..PublishProperties::default() }))
    };
    let mut plan = plan();
    (plan.mqtt.v5, plan.traffic.rate, plan.answer) = (true, 0.0, Some("answers/{device}".parse().unwrap()));
    let mut world = World::online(plan);
    let asked = world.give(command(0, asks("here")));
    let [Packet::Publish(answer)] = &asked[..] else { panic!("{asked:?}") };
    let data = answer.properties.as_ref().unwrap().correlation_data.as_ref().unwrap();
    assert_eq!((answer.topic.as_str(), &data[..]), ("here", &[7, 8][..]));
    let stamp = Stamp::read(&answer.payload, 7).unwrap();
    assert_eq!((stamp.kind, stamp.sequence, stamp.intended), (Kind::Answer, 0, START));
    assert!(world.give(command(0, asks("here"))).is_empty(), "it has come before");
    let planned = world.give(command(1, None));
    let [Packet::Publish(answer)] = &planned[..] else { panic!("{planned:?}") };
    assert_eq!(answer.topic.as_str(), "answers/fleet-000000");
    assert!(world.give(command(2, asks("a/#"))).is_empty());
    world.puback(1);
    assert_eq!((world.device.records().answered.len(), world.count(Count::Acknowledged)), (1, 0));
    assert_eq!((world.count(Count::AnswerPublished), world.effects.figures.in_flight), (2, 1));
    for sequence in 3..20 {
        world.give(command(sequence, None));
    }
    assert_eq!(world.effects.figures.in_flight, 8, "a window of four, and four");
    assert_eq!(world.count(Count::AnswerSkipped), 17 - 7);
}

#[test]
fn who_is_away_at_the_end_connects_once_more_to_remove_its_session() {
    let mut world = with_one_published(false);
    world.lose();
    world.give(Input::Finish);
    assert!(!world.device.has_ended());
    let connects = world.count(Count::ConnectAttempts);
    let greeting = world.give(Input::Opened(Login::default()));
    assert!(matches!(&greeting[..], [Packet::Connect(connect)] if connect.clean_start), "{greeting:?}");
    let last = world.give(Input::Received(Packet::Connack(Connack::default())));
    assert!(matches!(last[..], [Packet::Disconnect(_)]) && world.device.has_ended());
    assert_eq!((world.count(Count::SessionRemoved), world.count(Count::ConnectAttempts)), (1, connects));
    let mut alone = with_one_published(false);
    alone.lose();
    alone.give(Input::Finish);
    alone.give(Input::Closed(Loss::NotMade));
    assert!(alone.device.has_ended() && alone.count(Count::SessionLeft) == 1);
}
