//! CONNECT: who is let in, who is refused and with what reason, and who has to go.

use std::time::Duration;

use bytes::BytesMut;
use roost_wire::Sighting;

use super::world::*;
use crate::packet::{
    Auth, Connect, Disconnect, DisconnectProperties, Packet, ProtocolVersion, ReasonCode, Text,
};
use crate::shard::Input;
use crate::{Count, Hints, Notice};

#[test]
fn what_is_not_there_yet_is_refused_with_its_reason() {
    type Change = fn(&mut Connect);
    let cases: [(&str, Change, ReasonCode, ReasonCode, Count); 3] = [
        (
            "an id with a wildcard",
            |c| c.client_id = Text::from_static("a+b"),
            ReasonCode::ClientIdentifierNotValid,
            ReasonCode::ClientIdentifierNotValid,
            Count::RefusedClientId,
        ),
        (
            "an id that is too long",
            |c| c.client_id = Text::parse("x".repeat(65)).unwrap(),
            ReasonCode::ClientIdentifierNotValid,
            ReasonCode::ClientIdentifierNotValid,
            Count::RefusedClientId,
        ),
        (
            "an id with a control character",
            |c| c.client_id = Text::from_static("a\u{7}"),
            ReasonCode::ClientIdentifierNotValid,
            ReasonCode::ClientIdentifierNotValid,
            Count::RefusedClientId,
        ),
    ];
    for (what, change, in_v5, in_v311, count) in cases {
        for (version, expected) in [(V5, in_v5), (V311, in_v311)] {
            let mut world = World::new();
            let mut connect = connect_packet(version, "d");
            change(&mut connect);
            let (client, connack) = world.try_connect(connect);
            assert_eq!(connack.reason, expected, "{what} in {version:?}");
            assert!(world.is_closed(client), "{what}");
            assert_eq!(world.count(count), 1, "{what}");
            assert_eq!(connack.properties.is_some_and(|p| p.reason_string.is_some()), version == V5);
        }
    }
}

#[test]
fn extended_authentication_is_refused() {
    let mut world = World::new();
    let mut connect = connect_packet(V5, "d");
    connect.properties.authentication_method = Some(Text::from_static("SCRAM"));
    assert_eq!(world.try_connect(connect).1.reason, ReasonCode::BadAuthenticationMethod);
    let client = world.connect(V5, "d");
    let auth = Auth { reason: ReasonCode::ReAuthenticate, properties: None };
    world.send(client, Packet::Auth(auth));
    assert_eq!(world.closed_with(client), Some(ReasonCode::ProtocolError));
}

#[test]
fn credentials_are_not_read() {
    let mut world = World::new();
    let mut connect = connect_packet(V311, "d");
    connect.user_name = Some(Text::from_static("anybody"));
    world.connect_as(connect);
}

#[test]
fn connack_says_what_there_is() {
    let mut world = World::new();
    let (_, connack) = world.try_connect(connect_packet(V5, "d"));
    let properties = connack.properties.unwrap();
    assert_eq!(properties.maximum_qos, None, "QoS 2");
    assert_eq!(properties.retain_available, None, "they are");
    assert_ne!(properties.shared_subscription_available, Some(false));
    assert_eq!(properties.receive_maximum.unwrap().get(), 100);
    assert_eq!(properties.maximum_packet_size.unwrap().get(), 256 * 1024);
    assert_eq!(properties.topic_alias_maximum, Some(16));
    assert_eq!((properties.assigned_client_id, properties.session_expiry_interval_s), (None, None));
}

#[test]
fn response_information_is_told_to_who_asks_for_it_where_the_operator_has_some() {
    let response_information = Some("answers/{device}/".parse().unwrap());
    let hints = Hints { response_information, ..Hints::default() };
    for (hints, asks, told) in [
        (hints.clone(), Some(true), Some("answers/a%2Fb/")),
        (hints.clone(), Some(false), None),
        (hints, None, None),
        (Hints::default(), Some(true), None),
    ] {
        let mut world = World::with_hints(hints);
        let mut connect = connect_packet(V5, "a/b");
        connect.properties.request_response_information = asks;
        let properties = world.try_connect(connect).1.properties.unwrap();
        assert_eq!(properties.response_information.as_deref(), told, "{asks:?} [MQTT-3.1.2-28]");
    }
}

#[test]
fn a_longer_session_expiry_than_allowed_is_cut_and_said() {
    let mut world = World::new();
    let mut connect = connect_packet(V5, "d");
    connect.properties.session_expiry_interval_s = Some(u32::MAX);
    let (_, connack) = world.try_connect(connect);
    assert_eq!(connack.properties.unwrap().session_expiry_interval_s, Some(7 * 24 * 3_600));
}

#[test]
fn an_empty_client_id_is_replaced_by_one_of_its_own() {
    let mut world = World::new();
    let (_, first) = world.try_connect(connect_packet(V5, ""));
    let (_, second) = world.try_connect(connect_packet(V5, ""));
    let ids = [first, second].map(|c| c.properties.unwrap().assigned_client_id.unwrap());
    assert_ne!(ids[0], ids[1]);
    world.connect(V311, "");
    let (_, refused) = world.try_connect(persistent(V311, ""));
    assert_eq!(refused.reason, ReasonCode::ClientIdentifierNotValid, "[MQTT-3.1.3-8]");
}

#[test]
fn a_stranger_that_does_not_begin_with_connect_is_closed_without_a_word() {
    for bytes in [&b"\xc0\x00"[..], b"GET / HTTP/1.1\r\n", b"\x10\xff\xff\xff\x7f", b"\x10\xff\xff\x01"] {
        let mut world = World::new();
        let client = world.open(V311);
        world.send_bytes(client, BytesMut::from(bytes));
        assert!(world.is_closed(client), "{bytes:?}");
        assert_eq!(world.read(client), [], "{bytes:?}");
        assert_eq!(world.count(Count::RefusedMalformed), 1, "{bytes:?}");
        assert!(world.sightings.iter().all(|s| !matches!(s, Sighting::Gone { .. })));
    }
}

#[test]
fn connect_has_to_come_within_ten_seconds_however_slowly_it_drips() {
    let mut world = World::new();
    let client = world.open(V5);
    world.pass(Duration::from_secs(9));
    world.send_bytes(client, BytesMut::from(&b"\x10"[..]));
    assert!(!world.is_closed(client));
    world.pass(Duration::from_secs(1));
    assert!(world.is_closed(client));
    assert_eq!(world.count(Count::RefusedTimeout), 1);
}

#[test]
fn packets_may_come_in_any_pieces() {
    let mut world = World::new();
    let client = world.open(V311);
    let mut bytes = BytesMut::new();
    let encoder = crate::packet::Encoder::new(V311);
    encoder.encode(&Packet::Connect(Box::new(connect_packet(V311, "d"))), &mut bytes).unwrap();
    encoder.encode(&Packet::Pingreq, &mut bytes).unwrap();
    for byte in bytes {
        world.send_bytes(client, BytesMut::from(&[byte][..]));
    }
    let packets = world.read(client);
    assert!(matches!(packets[..], [Packet::Connack(_), Packet::Pingresp]), "{packets:?}");
}

#[test]
fn a_second_connect_and_a_malformed_packet_end_the_connection() {
    for version in [V5, V311] {
        let mut world = World::new();
        let client = world.connect(version, "d");
        world.send(client, Packet::Connect(Box::new(connect_packet(version, "d"))));
        let expected = (version == V5).then_some(ReasonCode::ProtocolError);
        assert_eq!(world.closed_with(client), expected);
        let client = world.connect(version, "e");
        world.send_bytes(client, BytesMut::from(&b"\x00\x00"[..]));
        let expected = (version == V5).then_some(ReasonCode::MalformedPacket);
        assert_eq!(world.closed_with(client), expected);
    }
}

#[test]
fn silence_for_one_and_a_half_keep_alives_ends_the_connection() {
    for (keep_alive_s, after_s) in [(10, Some(15)), (0, None)] {
        let mut world = World::new();
        let mut connect = connect_packet(V5, "d");
        connect.keep_alive_s = keep_alive_s;
        let client = world.connect_as(connect);
        world.pass(Duration::from_secs(10));
        world.send(client, Packet::Pingreq);
        assert_eq!(world.read(client), [Packet::Pingresp]);
        world.pass(Duration::from_millis(14_999));
        assert!(!world.is_closed(client));
        world.pass(Duration::from_secs(3_600));
        match after_s {
            Some(_) => assert_eq!(world.closed_with(client), Some(ReasonCode::KeepAliveTimeout)),
            None => assert!(!world.is_closed(client)),
        }
    }
}

#[test]
fn a_longer_keep_alive_than_there_is_and_none_are_replaced_and_a_v5_client_is_told() {
    let ten = std::num::NonZeroU16::new(10);
    for (version, keep_alive_s, told_s, silence_s) in [
        (V5, 0, Some(10), Some(15)),
        (V5, 11, Some(10), Some(15)),
        (V5, 10, None, Some(15)),
        (V5, 4, None, Some(6)),
        (V311, 0, None, None),
        (V311, 20, None, Some(30)),
    ] {
        let mut world = World::with(crate::Limits { keep_alive_s_max: ten, ..limits() });
        let mut connect = connect_packet(version, "d");
        connect.keep_alive_s = keep_alive_s;
        let (client, connack) = world.try_connect(connect);
        let said_s = connack.properties.and_then(|properties| properties.server_keep_alive_s);
        assert_eq!(said_s, told_s, "{version:?} {keep_alive_s}");
        world.pass(Duration::from_millis(silence_s.unwrap_or(3_600) * 1_000 - 1));
        assert!(!world.is_closed(client), "{version:?} {keep_alive_s}");
        world.pass(Duration::from_millis(1));
        assert_eq!(world.is_closed(client), silence_s.is_some(), "{version:?} {keep_alive_s}");
    }
}

#[test]
fn every_keep_alive_stands_where_there_is_no_longest() {
    for keep_alive_s in [0, u16::MAX] {
        let mut world = World::new();
        let mut connect = connect_packet(V5, "d");
        connect.keep_alive_s = keep_alive_s;
        assert_eq!(
            world.try_connect(connect).1.properties.unwrap().server_keep_alive_s,
            None,
            "[MQTT-3.2.2-22]"
        );
    }
}

#[test]
fn the_older_connection_of_a_device_is_closed() {
    for version in [V5, V311] {
        let mut world = World::new();
        let older = world.connect(version, "d");
        world.sightings.clear();
        let newer = world.connect(version, "d");
        let expected = (version == V5).then_some(ReasonCode::SessionTakenOver);
        assert_eq!(world.closed_with(older), expected);
        assert!(!world.is_closed(newer));
        let [Sighting::Gone { session: gone, .. }, Sighting::Accepted(present)] = &world.sightings[..] else {
            panic!("{:?}", world.sightings)
        };
        assert!(gone < &present.session, "the router hears of the end before the beginning");
        assert_eq!(world.count(Count::ClosedTakenOver), 1);
    }
}

#[test]
fn a_goodbye_is_an_end_like_any() {
    let mut world = World::new();
    let client = world.connect(V5, "d");
    world.sightings.clear();
    world.send(client, Packet::Disconnect(Disconnect::default()));
    assert!(world.is_closed(client));
    assert!(matches!(world.sightings[..], [Sighting::Gone { .. }]));
    assert_eq!(world.gauges(), crate::shard::Gauges::default());
    world.input(Input::Closed { connection: client });
    assert_eq!(world.count(Count::ClosedByClient), 1, "and counted once");
}

#[test]
fn a_session_that_was_to_end_cannot_be_kept_at_the_goodbye() {
    let goodbye = |seconds| {
        let session_expiry_interval_s = Some(seconds);
        let properties =
            DisconnectProperties { session_expiry_interval_s, ..DisconnectProperties::default() };
        Packet::Disconnect(Disconnect { reason: ReasonCode::Success, properties: Some(Box::new(properties)) })
    };
    let mut world = World::new();
    let client = world.connect(V5, "d");
    world.send(client, goodbye(60));
    assert_eq!(world.closed_with(client), Some(ReasonCode::ProtocolError), "[MQTT5 §3.14.2.2.2]");
    let client = world.connect_as(persistent(V5, "d"));
    world.send(client, goodbye(0));
    assert!(world.is_closed(client));
    assert_eq!(world.gauges().sessions, 0, "it may be given up");
}

#[test]
fn bounds_on_connections_and_sessions_hold() {
    let mut world = World::with(crate::Limits { connections_max: 2, sessions_max: 2, ..limits() });
    let kept = world.connect_as(persistent(V311, "a"));
    world.cut(kept);
    world.connect(V311, "b");
    let (_, connack) = world.try_connect(connect_packet(V5, "c"));
    assert_eq!(connack.reason, ReasonCode::QuotaExceeded);
    world.connect(V311, "a");
    let stranger = world.open(ProtocolVersion::V5);
    assert!(world.is_closed(stranger));
    assert_eq!((world.count(Count::RefusedSessions), world.count(Count::RefusedConnections)), (1, 1));
}

#[test]
fn clients_that_take_one_id_from_each_other_are_slowed_down() {
    for (version, refused) in
        [(V5, ReasonCode::ConnectionRateExceeded), (V311, ReasonCode::ServerUnavailable)]
    {
        let mut world = World::new();
        let mut holder = world.connect(version, "d");
        for _ in 0..limits().takeovers_burst {
            let next = world.connect(version, "d");
            assert!(world.is_closed(holder));
            holder = next;
        }
        let (newcomer, connack) = world.try_connect(connect_packet(version, "d"));
        assert_eq!(connack.reason, refused);
        assert!(world.is_closed(newcomer) && !world.is_closed(holder), "the one that is connected stays");
        assert_eq!(world.count(Count::RefusedTakeovers), 1);
        let told = world.notices.iter().find_map(|notice| match notice {
            Notice::SharedClientId { newcomer, holder, .. } => Some((*newcomer, *holder)),
            _ => None,
        });
        assert_eq!(told, Some((newcomer, Some(holder))));
        world.connect(version, "e");
        world.pass_with_lease(limits().takeover_every);
        let next = world.connect(version, "d");
        assert!(world.is_closed(holder), "one turn is back");
        assert_eq!(world.try_connect(connect_packet(version, "d")).1.reason, refused);
        // If nobody is connected nothing is taken over, but the id is contested still; a little later it is free.
        world.cut(next);
        world.pass_with_lease(limits().takeover_every);
        world.connect(version, "d");
    }
}

#[test]
fn a_device_that_reconnects_fast_is_not_refused() {
    let mut world = World::new();
    for _ in 0..10 * limits().takeovers_burst {
        let client = world.connect(V5, "d");
        world.cut(client);
    }
    let mut client = world.connect(V5, "d");
    for _ in 0..3 * limits().takeovers_burst {
        // Nobody saw its old connection end.
        world.pass_with_lease(limits().takeover_every);
        let next = world.connect(V5, "d");
        assert!(world.is_closed(client));
        client = next;
    }
    assert_eq!(world.count(Count::RefusedTakeovers), 0);
}

#[test]
fn a_client_elsewhere_that_takes_the_id_counts_as_much_as_one_here() {
    let mut world = World::new();
    for _ in 0..limits().takeovers_burst {
        let client = world.connect(V5, "d");
        let device = "d".parse().unwrap();
        let session = world.session(&device);
        let reason = roost_wire::CloseReason::TakenOver;
        world.router_says(1, vec![roost_wire::Control::Close { device, session, reason, forget: false }]);
        assert_eq!(world.closed_with(client), Some(ReasonCode::SessionTakenOver));
    }
    let (_, connack) = world.try_connect(connect_packet(V5, "d"));
    assert_eq!(connack.reason, ReasonCode::ConnectionRateExceeded);
}
