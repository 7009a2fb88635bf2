//! What is refused or left out for its size.

use std::num::{NonZeroU16, NonZeroU32};

use super::*;

#[test]
fn a_declared_256_megabytes_is_refused_from_its_header_alone() {
    let huge = [0x30, 0xFF, 0xFF, 0xFF, 0x7F];
    for version in [ProtocolVersion::V311, ProtocolVersion::V5] {
        let mut decoder = decoder(Side::Client, version, DecodeLimits::default());
        let mut buffer = BytesMut::with_capacity(16);
        buffer.extend_from_slice(&huge);
        let capacity = buffer.capacity();
        let refused = DecodeError::PacketTooLarge { len: 268_435_460, max: 262_144 };
        assert_eq!(decoder.packet_len(&buffer), Err(refused));
        assert_eq!(decoder.decode(&mut buffer), Err(refused));
        assert_eq!(buffer.capacity(), capacity);
        assert_eq!(refused.reason(), ReasonCode::PacketTooLarge);
    }
}

#[test]
fn before_connect_the_limit_is_smaller() {
    let limits = DecodeLimits { connect_bytes_max: 100, packet_bytes_max: 1_000, ..DecodeLimits::default() };
    let mut stranger = Decoder::for_server(limits);
    let refused = Err(DecodeError::PacketTooLarge { len: 101, max: 100 });
    assert_eq!(stranger.decode(&mut BytesMut::from(&[0x10, 99][..])), refused);
    assert_eq!(stranger.version(), None);
    // At the limit it is awaited; afterwards the other limit holds.
    assert_eq!(Decoder::for_server(limits).decode(&mut BytesMut::from(&[0x10, 98][..])), Ok(None));
    let mut known = decoder(Side::Client, ProtocolVersion::V5, limits);
    assert_eq!(known.decode(&mut BytesMut::from(&[0x30, 0xE5, 0x07][..])), Ok(None));
    assert_eq!(
        known.decode(&mut BytesMut::from(&[0x30, 0xE6, 0x07][..])),
        Err(DecodeError::PacketTooLarge { len: 1_001, max: 1_000 })
    );
}

#[test]
fn while_a_client_authenticates_the_limit_is_smaller() {
    let limits = DecodeLimits { auth_bytes_max: 100, packet_bytes_max: 1_000, ..DecodeLimits::default() };
    let mut decoder = decoder(Side::Client, ProtocolVersion::V5, limits);
    let auth = |body_bytes| BytesMut::from(&[0xF0, body_bytes][..]);
    decoder.authenticating(true);
    assert_eq!(decoder.decode(&mut auth(98)), Ok(None));
    let refused = Err(DecodeError::PacketTooLarge { len: 101, max: 100 });
    assert_eq!(decoder.decode(&mut auth(99)), refused);
    decoder.authenticating(false);
    assert_eq!(decoder.decode(&mut auth(99)), Ok(None));
}

#[test]
fn user_properties_and_filters_are_counted() {
    let limits = DecodeLimits { user_properties_max: 2, filters_max: 2, ..DecodeLimits::default() };
    let v5 = ProtocolVersion::V5;
    let pair = UserProperty { name: Text::EMPTY, value: Text::EMPTY };
    for count in 1..=3u32 {
        let user_properties = vec![pair.clone(); count as usize];
        let properties = PublishProperties { user_properties, ..PublishProperties::default() };
        let publish = Packet::Publish(Publish {
            topic: Text::from_static("t"),
            delivery: Delivery::AtMostOnce,
            retain: false,
            payload: bytes::Bytes::new(),
            properties: Some(Box::new(properties)),
        });
        let decoded = decoder(Side::Client, v5, limits).decode(&mut encoded(&publish, v5));
        let expected =
            if count > 2 { Err(DecodeError::TooManyUserProperties { max: 2 }) } else { Ok(Some(publish)) };
        assert_eq!(decoded, expected);

        let filter = SubscribeFilter { filter: Text::from_static("#"), options: SubscribeOptions::default() };
        let packet_id = PacketId::FIRST;
        let subscribe = Packet::Subscribe(Subscribe {
            packet_id,
            filters: vec![filter; count as usize],
            properties: None,
        });
        let decoded = decoder(Side::Client, v5, limits).decode(&mut encoded(&subscribe, v5));
        let expected = if count > 2 {
            let packet_type = PacketType::Subscribe;
            Err(DecodeError::TooManyFilters { packet_type, max: 2 })
        } else {
            Ok(Some(subscribe))
        };
        assert_eq!(decoded, expected);
    }
    assert_eq!(DecodeError::TooManyUserProperties { max: 2 }.reason(), ReasonCode::QuotaExceeded);
}

fn talkative_puback() -> Packet {
    let pair = UserProperty { name: Text::from_static("n"), value: Text::from_static("v") };
    let properties =
        AckProperties { reason_string: Some(Text::from_static("because")), user_properties: vec![pair] };
    Packet::Puback(Ack {
        packet_id: PacketId::FIRST,
        reason: ReasonCode::QuotaExceeded,
        properties: Some(Box::new(properties)),
    })
}

fn decode_puback(bytes: &[u8]) -> Ack {
    let decoded = decoder(Side::Server, ProtocolVersion::V5, WIDE).decode(&mut BytesMut::from(bytes));
    let Ok(Some(Packet::Puback(ack))) = decoded else { panic!("{decoded:?}") };
    ack
}

#[test]
fn diagnostics_are_dropped_before_a_packet_is_too_large() {
    // Whole: 2 of header, 2 + 1 + 1 of body, 10 of reason string, 7 of user property.
    let whole = Encoder::new(ProtocolVersion::V5);
    assert_eq!(whole.encoded_len(&talkative_puback()), Ok(23));
    for (max, has_user_property, has_reason_string) in
        [(23, true, true), (22, false, true), (16, false, true), (15, false, false), (5, false, false)]
    {
        let encoder = Encoder { packet_bytes_max: max, ..whole };
        let mut out = BytesMut::new();
        encoder.encode(&talkative_puback(), &mut out).unwrap();
        assert!(out.len() <= max as usize);
        let ack = decode_puback(&out);
        assert_eq!(ack.reason, ReasonCode::QuotaExceeded);
        let properties = ack.properties.unwrap_or_default();
        assert_eq!(!properties.user_properties.is_empty(), has_user_property, "{max}");
        assert_eq!(properties.reason_string.is_some(), has_reason_string, "{max}");
    }
    let encoder = Encoder { packet_bytes_max: 4, ..whole };
    let mut out = BytesMut::from(&b"kept"[..]);
    let refused = encoder.encode(&talkative_puback(), &mut out);
    assert_eq!(refused, Err(EncodeError::TooLarge { len: 5, max: 4 }));
    assert_eq!(&out[..], b"kept");
}

/// Every packet of a server that may carry a reason string or user properties, with both.
fn talkative_packets() -> Vec<Packet> {
    let reason_string = Some(Text::from_static("because"));
    let user_properties = vec![UserProperty { name: Text::from_static("n"), value: Text::from_static("v") }];
    let packet_id = PacketId::FIRST;
    let properties = Some(Box::new(AckProperties {
        reason_string: reason_string.clone(),
        user_properties: user_properties.clone(),
    }));
    let ack = || Ack { packet_id, reason: ReasonCode::Success, properties: properties.clone() };
    let reasons = vec![ReasonCode::Success];
    let publish = PublishProperties { user_properties: user_properties.clone(), ..Default::default() };
    vec![
        Packet::Puback(ack()),
        Packet::Pubrec(ack()),
        Packet::Pubrel(ack()),
        Packet::Pubcomp(ack()),
        Packet::Suback(Suback { packet_id, reasons: reasons.clone(), properties: properties.clone() }),
        Packet::Unsuback(Unsuback { packet_id, reasons, properties: properties.clone() }),
        Packet::Auth(Auth {
            reason: ReasonCode::Success,
            properties: Some(Box::new(AuthProperties {
                reason_string: reason_string.clone(),
                user_properties: user_properties.clone(),
                ..AuthProperties::default()
            })),
        }),
        Packet::Publish(Publish {
            topic: Text::from_static("t"),
            delivery: Delivery::AtMostOnce,
            retain: false,
            payload: bytes::Bytes::new(),
            properties: Some(Box::new(publish)),
        }),
        Packet::Connack(Connack {
            session_present: false,
            reason: ReasonCode::Success,
            properties: Some(Box::new(ConnackProperties {
                reason_string: reason_string.clone(),
                user_properties: user_properties.clone(),
                ..ConnackProperties::default()
            })),
        }),
        Packet::Disconnect(Disconnect {
            reason: ReasonCode::ServerShuttingDown,
            properties: Some(Box::new(DisconnectProperties {
                reason_string,
                user_properties,
                ..DisconnectProperties::default()
            })),
        }),
    ]
}

/// Whether it has any property.
fn has_properties(packet: &Packet) -> bool {
    match packet {
        Packet::Puback(ack) | Packet::Pubrec(ack) | Packet::Pubrel(ack) | Packet::Pubcomp(ack) => {
            ack.properties.is_some()
        }
        Packet::Suback(suback) => suback.properties.is_some(),
        Packet::Unsuback(unsuback) => unsuback.properties.is_some(),
        Packet::Auth(auth) => auth.properties.is_some(),
        Packet::Publish(publish) => publish.properties.is_some(),
        Packet::Connack(connack) => connack.properties.is_some(),
        Packet::Disconnect(disconnect) => disconnect.properties.is_some(),
        Packet::Connect(_)
        | Packet::Subscribe(_)
        | Packet::Unsubscribe(_)
        | Packet::Pingreq
        | Packet::Pingresp => false,
    }
}

#[test]
fn a_client_that_wants_no_problem_information_gets_it_only_where_it_always_may_come() {
    let v5 = ProtocolVersion::V5;
    for problem_information in [true, false] {
        let encoder = Encoder { problem_information, ..Encoder::new(v5) };
        for packet in talkative_packets() {
            let mut out = BytesMut::new();
            encoder.encode(&packet, &mut out).unwrap();
            let received = decoder(Side::Server, v5, WIDE).decode(&mut out).unwrap().unwrap();
            let always = matches!(packet, Packet::Publish(_) | Packet::Connack(_) | Packet::Disconnect(_));
            assert_eq!(
                has_properties(&received),
                problem_information || always,
                "[MQTT-3.1.2-29]: {packet:?}"
            );
        }
    }
}

/// With the plain packet as the largest that the peer takes, and one byte more each time, up to all that there is to say.
#[test]
fn no_packet_grows_beyond_its_maximum_for_what_it_says_besides() {
    let v5 = Encoder::new(ProtocolVersion::V5);
    for packet in talkative_packets() {
        // What a PUBLISH carries is its publisher's, and not the gateway's to leave out [MQTT-3.3.2-17].
        if matches!(packet, Packet::Publish(_)) {
            continue;
        }
        let len = |max| {
            let encoder = Encoder { packet_bytes_max: max, ..v5 };
            let mut out = BytesMut::new();
            encoder.encode(&packet, &mut out).map(|()| out.len() as u32)
        };
        let whole = v5.encoded_len(&packet).unwrap() as u32;
        let plain = (1..whole).find(|max| len(*max).is_ok()).unwrap();
        assert!(plain + 10 < whole, "{packet:?}");
        for max in plain..=whole {
            let sent = len(max).unwrap();
            assert!(sent <= max, "{sent} bytes where {max} are taken: {packet:?}");
        }
        assert_eq!((len(plain), len(whole)), (Ok(plain), Ok(whole)), "{packet:?}");
    }
}

#[test]
fn an_encoder_takes_the_clients_wishes_from_its_connect() {
    let mut connect = Connect {
        version: ProtocolVersion::V5,
        clean_start: true,
        keep_alive_s: 0,
        client_id: Text::EMPTY,
        will: None,
        user_name: None,
        password: None,
        properties: ConnectProperties::default(),
    };
    assert_eq!(Encoder::for_client(&connect), Encoder::new(ProtocolVersion::V5));
    connect.properties.maximum_packet_size = NonZeroU32::new(77);
    connect.properties.request_problem_information = Some(false);
    let expected = Encoder { version: ProtocolVersion::V5, packet_bytes_max: 77, problem_information: false };
    assert_eq!(Encoder::for_client(&connect), expected);
}

fn publish_ref<'a>(topic: &'a str, payload: &'a [u8]) -> PublishRef<'a> {
    PublishRef {
        topic,
        delivery: Delivery::AtMostOnce,
        retain: false,
        payload,
        properties: PublishPropertiesRef::default(),
    }
}

#[test]
fn a_publish_is_measured_against_the_peers_maximum() {
    let encoder = Encoder { packet_bytes_max: 10, ..Encoder::new(ProtocolVersion::V311) };
    assert_eq!(encoder.publish_len(&publish_ref("t", b"12345")), Ok(10));
    let mut out = BytesMut::new();
    let refused = encoder.encode_publish(&publish_ref("t", b"123456"), &mut out);
    assert_eq!(refused, Err(EncodeError::TooLarge { len: 11, max: 10 }));
    assert!(out.is_empty());
}

#[test]
fn a_publish_head_and_its_payload_are_the_publish() {
    let encoder = Encoder::new(ProtocolVersion::V5);
    let ids = [SubscriptionId::new(7).unwrap()];
    let properties = PublishPropertiesRef { subscription_ids: &ids, ..PublishPropertiesRef::default() };
    let publish = PublishRef { properties, ..publish_ref("a/b", &[9; 200]) };
    let (mut whole, mut parts) = (BytesMut::new(), BytesMut::new());
    encoder.encode_publish(&publish, &mut whole).unwrap();
    encoder.encode_publish_head(&publish, &mut parts).unwrap();
    assert_eq!(parts.len(), whole.len() - 200);
    parts.extend_from_slice(publish.payload);
    assert_eq!(parts, whole);
}

#[test]
fn what_cannot_be_a_packet_is_not_encoded() {
    let mut out = BytesMut::new();
    let long = "x".repeat(65_536);
    for version in [ProtocolVersion::V311, ProtocolVersion::V5] {
        let encoder = Encoder::new(version);
        let encode = |publish, out: &mut BytesMut| encoder.encode_publish(&publish, out);
        assert_eq!(encode(publish_ref("", b""), &mut out), Err(EncodeError::NoTopic));
        assert_eq!(encode(publish_ref(&long, b""), &mut out), Err(EncodeError::FieldTooLong(65_536)));
    }
    // An alias stands for the topic only where there are aliases.
    let properties = PublishPropertiesRef { topic_alias: NonZeroU16::new(1), ..Default::default() };
    let by_alias = PublishRef { properties, ..publish_ref("", b"") };
    let v311 = Encoder::new(ProtocolVersion::V311);
    assert_eq!(v311.encode_publish(&by_alias, &mut out), Err(EncodeError::NoTopic));
    assert_eq!(
        v311.encode(&Packet::Auth(Auth::default()), &mut out),
        Err(EncodeError::NotInVersion(PacketType::Auth))
    );
    assert!(out.is_empty());
    assert!(Encoder::new(ProtocolVersion::V5).encode_publish(&by_alias, &mut out).is_ok());
}

#[test]
fn in_3_1_1_reasons_become_the_nearest_return_code() {
    let v311 = ProtocolVersion::V311;
    for (reason, code) in [
        (ReasonCode::Success, 0),
        (ReasonCode::UnsupportedProtocolVersion, 1),
        (ReasonCode::ClientIdentifierNotValid, 2),
        (ReasonCode::ServerBusy, 3),
        (ReasonCode::BadUserNameOrPassword, 4),
        (ReasonCode::Banned, 5),
    ] {
        let connack = Packet::Connack(Connack { reason, ..Connack::default() });
        assert_eq!(&encoded(&connack, v311)[..], &[0x20, 2, 0, code]);
    }
    let suback = Packet::Suback(Suback {
        packet_id: PacketId::FIRST,
        reasons: vec![ReasonCode::GrantedQos1, ReasonCode::TopicFilterInvalid],
        properties: None,
    });
    assert_eq!(&encoded(&suback, v311)[..], &[0x90, 4, 0, 1, 1, 0x80]);
}
