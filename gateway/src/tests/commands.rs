//! Commands at one gateway: each has one honest answer.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use roost_wire::{Outcome, Qos, Refusal, ReturnReason};

use super::world::*;
use crate::ConnectionId;
use crate::packet::{Ack, Packet, QoS, ReasonCode};
use crate::{Count, Limits};

fn gone(written: bool) -> Outcome {
    Outcome::Gone { written }
}

fn returned(reason: ReturnReason) -> Outcome {
    Outcome::Returned { reason }
}

/// The device `d`, subscribed to its commands.
fn device(world: &mut World) -> ConnectionId {
    let client = world.connect(V5, "d");
    world.subscribe(client, "devices/d/cmd", QoS::AtLeastOnce);
    client
}

#[test]
fn a_command_reaches_the_device_with_its_id_and_ends_with_the_puback() {
    let mut world = World::new();
    let client = device(&mut world);
    let mut command = world.new_command("d", epoch(1, 1));
    command.content_type = Some("text/plain".to_owned());
    command.user_properties = vec![("k".to_owned(), "v".to_owned())];
    command.expires_in_ms = 59_001;
    world.deliver(command.clone());
    assert_eq!(world.outcomes(), []);
    let publish = world.read_publishes(client).remove(0);
    assert_eq!((&*publish.topic, &publish.payload[..]), ("devices/d/cmd", &b"1"[..]));
    let properties = publish.properties.unwrap();
    let pairs: Vec<_> =
        properties.user_properties.iter().map(|p| (p.name.as_str(), p.value.as_str())).collect();
    assert_eq!(pairs, [("k", "v"), ("roost-command-id", &*command.id.to_string())]);
    assert_eq!(properties.content_type.as_deref(), Some("text/plain"));
    assert_eq!(properties.message_expiry_s, Some(60));
    world.puback(client, publish.delivery.packet_id().unwrap());
    assert_eq!(world.outcomes(), [(1, Outcome::Delivered)]);
    assert_eq!(world.gauges().commands, 0);
}

#[test]
fn at_qos_0_a_command_is_sent_when_its_bytes_are_written() {
    for (asked, granted) in [(Qos::AtMostOnce, QoS::AtLeastOnce), (Qos::AtLeastOnce, QoS::AtMostOnce)] {
        let mut world = World::new();
        let client = world.connect(V311, "d");
        world.subscribe(client, "devices/#", granted);
        let mut command = world.new_command("d", epoch(1, 1));
        command.qos = asked;
        world.stick(client);
        world.deliver(command);
        assert_eq!(world.outcomes(), [], "the socket has not taken it");
        world.unstick(client);
        assert_eq!(world.outcomes(), [(1, Outcome::Sent)]);
        assert_eq!(world.read_publishes(client)[0].delivery.qos(), QoS::AtMostOnce);
    }
}

#[test]
fn a_command_goes_to_its_session_only() {
    let mut world = World::new();
    let client = device(&mut world);
    let other = world.connect(V5, "other");
    world.subscribe(other, "devices/#", QoS::AtLeastOnce);
    let command = world.new_command("d", epoch(1, 1));
    world.deliver(command);
    assert_eq!(world.read(client).len(), 1);
    assert_eq!(world.read(other), []);
}

#[test]
fn a_command_for_another_session_finds_it_gone() {
    let mut world = World::new();
    device(&mut world);
    let old = world.new_command("d", epoch(1, 1));
    let client = device(&mut world);
    world.deliver(old);
    let mut unknown = world.new_command("d", epoch(1, 2));
    unknown.device = "nobody".parse().unwrap();
    world.deliver(unknown);
    assert_eq!(world.outcomes(), [(1, gone(false)), (2, gone(false))]);
    assert_eq!(world.read(client), []);
}

#[test]
fn what_the_device_or_its_limits_refuse_is_final() {
    let mut world = World::new();
    let client = device(&mut world);
    let command = world.new_command("d", epoch(1, 1));
    world.deliver(command);
    let packet_id = world.read_publishes(client)[0].delivery.packet_id().unwrap();
    world.send(client, Packet::Puback(Ack::with_reason(packet_id, ReasonCode::QuotaExceeded)));
    let refused = |reason| Outcome::Refused { reason };
    assert_eq!(world.outcomes(), [(1, refused(Refusal::Device { reason_code: 0x97 }))]);

    let mut connect = connect_packet(V5, "d");
    connect.properties.maximum_packet_size = NonZeroU32::new(100);
    let client = world.connect_as(connect);
    world.subscribe(client, "devices/d/cmd", QoS::AtLeastOnce);
    let mut command = world.new_command("d", epoch(1, 2));
    command.payload = vec![b'x'; 100].into();
    world.deliver(command);
    let mut command = world.new_command("d", epoch(1, 3));
    command.expires_in_ms = 0;
    world.deliver(command);
    assert_eq!(world.outcomes(), [(2, refused(Refusal::PacketTooLarge)), (3, refused(Refusal::Expired))]);
    assert_eq!(world.read(client), []);
}

#[test]
fn no_puback_within_the_settle_timeout_ends_the_connection() {
    let mut world = World::new();
    let client = device(&mut world);
    for _ in 0..2 {
        let command = world.new_command("d", epoch(1, 1));
        world.deliver(command);
        world.pass_with_lease(Duration::from_secs(1));
    }
    world.pass_with_lease(Duration::from_millis(27_999));
    assert!(!world.is_closed(client));
    world.pass_with_lease(Duration::from_secs(1));
    assert_eq!(world.outcomes(), [(1, Outcome::TimedOut), (2, gone(true))]);
    assert!(world.is_closed(client));
    assert_eq!(world.count(Count::ClosedSettleTimeout), 1);
}

#[test]
fn gone_says_honestly_whether_the_device_may_have_it() {
    let mut world = World::with(Limits { outgoing_bytes_max: 10_000, ..limits() });
    let mut connect = connect_packet(V5, "d");
    connect.properties.receive_maximum = NonZeroU16::new(3);
    let client = world.connect_as(connect);
    world.subscribe(client, "devices/d/cmd", QoS::AtLeastOnce);
    world.stick(client);
    for _ in 0..4 {
        let command = world.new_command("d", epoch(1, 1));
        world.deliver(command);
    }
    world.cut(client);
    // The first was given to the socket, two were not yet, the last waited for the window.
    assert_eq!(world.outcomes(), [(1, gone(true)), (2, gone(false)), (3, gone(false)), (4, gone(false))]);
    assert_eq!(world.gauges().commands, 0);
}

#[test]
fn commands_wait_for_the_clients_window_in_order() {
    let mut world = World::new();
    let mut connect = connect_packet(V5, "d");
    connect.properties.receive_maximum = NonZeroU16::new(2);
    let client = world.connect_as(connect);
    world.subscribe(client, "#", QoS::AtLeastOnce);
    for _ in 0..5 {
        let command = world.new_command("d", epoch(1, 1));
        world.deliver(command);
    }
    let mut at_qos_0 = world.new_command("d", epoch(1, 1));
    at_qos_0.qos = Qos::AtMostOnce;
    world.deliver(at_qos_0);
    let mut order = Vec::new();
    loop {
        let publishes = world.read_publishes(client);
        if publishes.is_empty() {
            break;
        }
        let acknowledged = publishes.iter().filter(|p| p.delivery.packet_id().is_some()).count();
        assert!(acknowledged <= 2);
        for publish in publishes {
            order.push(publish.payload[0]);
            if let Some(packet_id) = publish.delivery.packet_id() {
                world.puback(client, packet_id);
            }
        }
    }
    assert_eq!(order, b"123456", "the one at QoS 0 does not overtake");
    assert_eq!(world.outcomes().len(), 6);
}

#[test]
fn a_command_that_waits_can_expire_and_ends_the_hold() {
    let mut world = World::new();
    let mut connect = connect_packet(V5, "d");
    connect.properties.receive_maximum = NonZeroU16::new(1);
    let client = world.connect_as(connect);
    world.subscribe(client, "#", QoS::AtLeastOnce);
    for expires_in_ms in [60_000, 1_000, 60_000] {
        let mut command = world.new_command("d", epoch(1, 1));
        command.expires_in_ms = expires_in_ms;
        world.deliver(command);
    }
    world.pass_with_lease(Duration::from_secs(1));
    assert_eq!(
        world.outcomes(),
        [(2, Outcome::Refused { reason: Refusal::Expired }), (3, returned(ReturnReason::HoldEnded))]
    );
    assert_eq!(world.take_publishes(client, true), ["1"]);
    assert_eq!(world.outcomes(), [(1, Outcome::Delivered)]);
}

#[test]
fn bounds_on_commands_return_them() {
    for bounds in [
        Limits { device_commands_max: 1, ..limits() },
        Limits { commands_max: 1, ..limits() },
        Limits { command_bytes_max: 1, ..limits() },
    ] {
        let mut world = World::with(bounds);
        device(&mut world);
        for _ in 0..2 {
            let command = world.new_command("d", epoch(1, 1));
            world.deliver(command);
        }
        assert_eq!(world.outcomes(), [(2, returned(ReturnReason::Full))]);
        assert_eq!(world.count(Count::CommandFull), 1);
    }
}

#[test]
fn a_command_of_another_sync_or_link_is_dropped_without_an_answer() {
    let mut world = World::new();
    let client = device(&mut world);
    let mut command = world.new_command("d", epoch(1, 1));
    command.sync = command.sync.next();
    world.deliver(command.clone());
    command.sync = world.last_sync().0;
    world.deliver_through(9, command);
    assert_eq!((world.outcomes(), world.read(client)), (vec![], vec![]));
    assert_eq!((world.count(Count::CommandOldSync), world.count(Count::CommandOldLink)), (1, 1));
}

#[test]
fn unsubscribing_while_a_command_waits_is_no_subscription() {
    let mut world = World::new();
    let mut connect = connect_packet(V5, "d");
    connect.properties.receive_maximum = NonZeroU16::new(1);
    let client = world.connect_as(connect);
    world.subscribe(client, "#", QoS::AtLeastOnce);
    for _ in 0..2 {
        let command = world.new_command("d", epoch(1, 1));
        world.deliver(command);
    }
    let first = world.read_publishes(client).remove(0);
    let filters = vec![crate::packet::Text::from_static("#")];
    world.send(
        client,
        Packet::Unsubscribe(crate::packet::Unsubscribe { packet_id: id(7), filters, properties: None }),
    );
    assert_eq!(world.outcomes(), [(2, Outcome::NoSubscription)], "it need not wait for that");
    world.puback(client, first.delivery.packet_id().unwrap());
    assert_eq!(world.outcomes(), [(1, Outcome::Delivered)]);
}

#[test]
fn a_client_that_acknowledges_nothing_does_not_hold_commands_for_ever() {
    let mut world = World::new();
    let mut connect = connect_packet(V5, "d");
    connect.properties.receive_maximum = NonZeroU16::new(1);
    let client = world.connect_as(connect);
    world.subscribe(client, "#", QoS::AtLeastOnce);
    let publisher = world.connect(V5, "p");
    world.publish(publisher, "local/t", qos1(1));
    let command = world.new_command("d", epoch(1, 1));
    world.deliver(command);
    world.pass_with_lease(Duration::from_secs(30));
    assert!(world.is_closed(client));
    assert_eq!((world.outcomes(), world.count(Count::ClosedSlow)), (vec![(1, gone(false))], 1));
}
