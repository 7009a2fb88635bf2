//! QoS 2 against mosquitto, and against brokers that do not take it.

use roost_fleet::shell::run;
use roost_fleet::{Action, Backoff, Reconnect, Step};
use roost_gateway::packet::{Ack, Connack, ConnackProperties, Packet, PacketType, QoS};
use roost_harness::ReservedPort;

use crate::fake_broker::{broker, politely};
use crate::measured::{loses_nothing, measure, options, plan};
use crate::mosquitto::{OPEN, mosquitto};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_ways_at_qos_2_nothing_is_lost_or_doubled() {
    let directory = tempfile::tempdir().unwrap();
    let port = ReservedPort::any();
    let _server = mosquitto(directory.path(), &port, OPEN).await;
    for v5 in [false, true] {
        let mut plan = plan(port.number());
        (plan.mqtt.v5, plan.traffic.qos) = (v5, 2);
        loses_nothing(plan).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_carry_qos_2_through_storms() {
    let directory = tempfile::tempdir().unwrap();
    let port = ReservedPort::any();
    // What waits for a device that is away is kept, however much it is.
    let lines = format!("{OPEN}max_queued_messages 0\n");
    let _server = mosquitto(directory.path(), &port, &lines).await;
    for v5 in [false, true] {
        let mut plan = plan(port.number());
        (plan.mqtt.v5, plan.mqtt.persistent) = (v5, true);
        (plan.traffic.qos, plan.traffic.rate, plan.duration_ms, plan.devices) = (2, 100.0, 3_000, 20);
        let storm = |at_ms| Step { at_ms, share: 1.0, action: Action::Cut };
        plan.scenario.steps = (1..=5).map(|storms| storm(storms * 500)).collect();
        plan.reconnect = Reconnect { backoff: Backoff::None, spread_ms: 100 };
        plan.drain_ms = 30_000;
        let checks = "lost=0,duplicates=0,abandoned=0,acknowledged=6000,connections_cut=100";
        let summary = measure(plan, checks).await.unwrap();
        assert!(summary.passed(), "v5 {v5}: {summary}");
    }
}

/// Takes QoS 1 at most: says so in CONNACK if asked by MQTT 5, else ends whoever sends more.
async fn modest() -> u16 {
    let answers = |packet: &Packet| match packet {
        Packet::Connect(connect) => {
            let properties = ConnackProperties { maximum_qos: Some(QoS::AtLeastOnce), ..Default::default() };
            let is_v5 = connect.version == roost_gateway::packet::ProtocolVersion::V5;
            let properties = is_v5.then(|| Box::new(properties));
            vec![Packet::Connack(Connack { properties, ..Connack::default() })]
        }
        Packet::Publish(_) => panic!("the connection ends"),
        _ => politely(packet),
    };
    broker(answers).await.port()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_without_qos_2_is_told_and_ends_the_run() {
    let mut plan = plan(modest().await);
    (plan.traffic.qos, plan.duration_ms) = (2, 3_600_000);
    let summary = measure(plan, "qos_refused=10,published=0,online_max=0").await.unwrap();
    assert!(summary.passed(), "{summary}");
    let expected = "devices have ended: the broker takes messages up to QoS 1 only (CONNACK)";
    assert!(summary.remarks.iter().any(|remark| remark.ends_with(expected)), "{summary}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mqtt_3_1_1_cannot_say_so_and_the_summary_guesses() {
    let mut plan = plan(modest().await);
    (plan.traffic.qos, plan.mqtt.v5, plan.drain_ms) = (2, false, 500);
    let summary = measure(plan, "acknowledged=0,connections_lost>0").await.unwrap();
    assert!(summary.passed(), "{summary}");
    assert!(summary.remarks.iter().any(|remark| remark.contains("may refuse it")), "{summary}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_released_message_that_came_twice_all_the_same_is_found_out() {
    // Sends each message back twice, under two identifiers: what exactly once is there to prevent.
    let answers = |packet: &Packet| match packet {
        Packet::Publish(publish) => {
            let id = publish.delivery.packet_id().unwrap();
            let back = |id| {
                let delivery = roost_gateway::packet::Delivery::ExactlyOnce { packet_id: id, dup: false };
                Packet::Publish(roost_gateway::packet::Publish { delivery, ..publish.clone() })
            };
            vec![Packet::Pubrec(Ack::success(id)), back(id), back(id.next())]
        }
        Packet::Pubrel(ack) => vec![Packet::Pubcomp(Ack::success(ack.packet_id))],
        Packet::Pubrec(ack) => vec![Packet::Pubrel(Ack::success(ack.packet_id))],
        other if other.packet_type() == PacketType::Pubcomp => Vec::new(),
        _ => politely(packet),
    };
    let mut plan = plan(broker(answers).await.port());
    // One at a time, so that the second identifier is free.
    (plan.traffic.qos, plan.traffic.in_flight_max) = (2, 1);
    let options = options(plan, "lost=0,duplicates=50");
    let summary = run(&options, std::future::pending(), |_| {}).await.unwrap();
    assert!(summary.passed(), "{summary}");
}
