//! What is no packet, or none that a client may send: it is told in MQTT 5, and ends the connection (2.1, 2.2, 4.8, 4.13).

use crate::case::{At, Case, case};
use crate::client::Client;
use crate::packets::{Publish, ack_with, framed, properties, subscribe, unsubscribe};

pub(crate) const CASES: &[Case] = &[
    case!(reserved_flags_of_the_fixed_header_end_the_connection,
        v4: ["MQTT-2.2.2-1", "MQTT-2.2.2-2", "MQTT-4.8.0-1"],
        v5: ["MQTT-2.1.3-1", "MQTT-4.13.1-1"]),
    case!(flags_of_pubrel_are_0010,
        v4: ["MQTT-3.6.1-1"],
        v5: ["MQTT-3.6.1-1"]),
    case!(flags_of_subscribe_are_0010,
        v4: ["MQTT-3.8.1-1"],
        v5: ["MQTT-3.8.1-1"]),
    case!(flags_of_unsubscribe_are_0010,
        v4: ["MQTT-3.10.1-1"],
        v5: ["MQTT-3.10.1-1"]),
    case!(flags_of_disconnect_are_0000,
        v4: ["MQTT-3.14.1-1"],
        v5: ["MQTT-3.14.1-1"]),
    case!(flags_of_auth_are_0000,
        v4: [],
        v5: ["MQTT-3.15.1-1"]),
    case!(a_packet_id_is_not_zero,
        v4: ["MQTT-2.3.1-1"],
        v5: ["MQTT-2.2.1-3"]),
    case!(a_publish_has_no_qos_3,
        v4: ["MQTT-3.3.1-4"],
        v5: ["MQTT-3.3.1-4"]),
    case!(a_publish_of_qos_0_does_not_come_again,
        v4: ["MQTT-3.3.1-2"],
        v5: ["MQTT-3.3.1-2"]),
    case!(a_topic_name_is_utf_8_and_comes_first,
        v4: ["MQTT-1.5.3-1", "MQTT-1.5.3-2", "MQTT-3.3.2-1"],
        v5: ["MQTT-1.5.4-1", "MQTT-1.5.4-2", "MQTT-3.3.2-1"]),
    case!(strings_in_properties_are_utf_8,
        v4: [],
        v5: ["MQTT-1.5.4-1", "MQTT-1.5.4-2", "MQTT-1.5.7-1", "MQTT-3.3.2-13", "MQTT-3.3.2-19"]),
    case!(a_response_topic_has_no_wildcard,
        v4: [],
        v5: ["MQTT-3.3.2-14"]),
    case!(a_variable_byte_integer_is_as_short_as_it_can_be,
        v4: [],
        v5: ["MQTT-1.5.5-1"]),
    case!(a_publish_of_a_client_has_no_subscription_identifier,
        v4: [],
        v5: ["MQTT-3.3.4-6"]),
    case!(an_acknowledgement_has_a_reason_code_of_its_own,
        v4: [],
        v5: ["MQTT-3.4.2-1", "MQTT-3.5.2-1", "MQTT-3.6.2-1", "MQTT-3.7.2-1", "MQTT-3.14.2-1", "MQTT-3.15.2-1"]),
];

/// Each of these packets, sent by a client that is connected, ends its connection with this reason.
async fn each_ends_the_connection(at: At, reason: u8, packets: &[Vec<u8>]) {
    for packet in packets {
        let mut client = Client::clean(at, "a").await;
        client.send(packet).await;
        client.expect_disconnect(reason).await;
    }
}

/// The same packet with each of these flags.
async fn flags_end_the_connection(at: At, packet: &[u8], flags: &[u8]) {
    let with = |flags: &u8| [&[packet[0] & 0xF0 | flags], &packet[1..]].concat();
    each_ends_the_connection(at, 0x81, &flags.iter().map(with).collect::<Vec<_>>()).await;
}

const ALL_BUT_0000: [u8; 15] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
const ALL_BUT_0010: [u8; 15] = [0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

async fn reserved_flags_of_the_fixed_header_end_the_connection(at: At) {
    for first in [0x40, 0x50, 0x70] {
        flags_end_the_connection(at, &framed(first, &[0, 1]), &ALL_BUT_0000).await;
    }
    flags_end_the_connection(at, &[0xC0, 0], &ALL_BUT_0000).await;
}

async fn flags_of_pubrel_are_0010(at: At) {
    flags_end_the_connection(at, &framed(0x62, &[0, 1]), &ALL_BUT_0010).await;
}

async fn flags_of_subscribe_are_0010(at: At) {
    flags_end_the_connection(at, &subscribe(at.level, 1, &[("a", 0)], &[]), &ALL_BUT_0010).await;
}

async fn flags_of_unsubscribe_are_0010(at: At) {
    flags_end_the_connection(at, &unsubscribe(at.level, 1, &["a"]), &ALL_BUT_0010).await;
}

async fn flags_of_disconnect_are_0000(at: At) {
    flags_end_the_connection(at, &[0xE0, 0], &ALL_BUT_0000).await;
}

async fn flags_of_auth_are_0000(at: At) {
    flags_end_the_connection(at, &[0xF0, 0], &ALL_BUT_0000).await;
}

async fn a_packet_id_is_not_zero(at: At) {
    let topic = at.topic("t");
    let packets = [
        Publish::new(&topic, b"x").at(1, 0).bytes(at.level),
        Publish::new(&topic, b"x").at(2, 0).bytes(at.level),
        subscribe(at.level, 0, &[(&topic, 0)], &[]),
        unsubscribe(at.level, 0, &[&topic]),
        framed(0x62, &[0, 0]),
    ];
    each_ends_the_connection(at, 0x82, &packets).await;
}

async fn a_publish_has_no_qos_3(at: At) {
    let topic = at.topic("t");
    let packets = [0, 1, 0b1000].map(|flag| {
        let mut packet = Publish::new(&topic, b"x").at(3, 1).bytes(at.level);
        packet[0] |= flag;
        packet
    });
    each_ends_the_connection(at, 0x81, &packets).await;
}

async fn a_publish_of_qos_0_does_not_come_again(at: At) {
    let packet = Publish::new(&at.topic("t"), b"x").again().bytes(at.level);
    each_ends_the_connection(at, 0x81, &[packet]).await;
}

async fn a_topic_name_is_utf_8_and_comes_first(at: At) {
    let behind = properties(at.level, &[]);
    let with = |topic: &[u8]| framed(0x30, &[topic, &behind].concat());
    // Not UTF-8, a surrogate, the null character, longer than the packet, not there.
    let topics = [&b"\x00\x02\xC3\x28"[..], b"\x00\x03\xED\xA0\x80", b"\x00\x01\x00", b"\xFF\xFFa", b""];
    each_ends_the_connection(at, 0x81, &topics.map(with)).await;
}

async fn strings_in_properties_are_utf_8(at: At) {
    let topic = at.topic("t");
    let mut packets = Vec::new();
    for bad in [&b"\x00\x02\xC3\x28"[..], b"\x00\x03\xED\xA0\x80", b"\x00\x01\x00"] {
        // Content Type, Response Topic, the name of a User Property, and its value.
        for before in [&[0x03][..], &[0x08], &[0x26], &[0x26, 0, 1, b'a']] {
            let behind: &[u8] = if before == [0x26] { &[0, 0] } else { &[] };
            let property = [before, bad, behind].concat();
            packets.push(Publish::new(&topic, b"x").with(&property).bytes(5));
        }
    }
    each_ends_the_connection(at, 0x81, &packets).await;
}

async fn a_response_topic_has_no_wildcard(at: At) {
    let topic = at.topic("t");
    let packets = [&b"\x08\x00\x01#"[..], b"\x08\x00\x03a/+"]
        .map(|property| Publish::new(&topic, b"x").with(property).bytes(5));
    each_ends_the_connection(at, 0x81, &packets).await;
}

async fn a_variable_byte_integer_is_as_short_as_it_can_be(at: At) {
    // The packet's length, the properties' length, five bytes.
    let packets =
        [&[0xC0, 0x80, 0x00][..], b"\x30\x06\x00\x01t\x80\x00x", &[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 1]];
    each_ends_the_connection(at, 0x81, &packets.map(<[u8]>::to_vec)).await;
}

async fn a_publish_of_a_client_has_no_subscription_identifier(at: At) {
    let packet = Publish::new(&at.topic("t"), b"x").with(&[0x0B, 1]).bytes(5);
    each_ends_the_connection(at, 0x82, &[packet]).await;
}

async fn an_acknowledgement_has_a_reason_code_of_its_own(at: At) {
    let packets = [
        ack_with(0x40, 1, 0x92),
        ack_with(0x50, 1, 0x01),
        ack_with(0x62, 1, 0x80),
        ack_with(0x70, 1, 0xFF),
        framed(0xE0, &[0x03]),
        framed(0xF0, &[0x03, 0]),
    ];
    each_ends_the_connection(at, 0x81, &packets).await;
}
