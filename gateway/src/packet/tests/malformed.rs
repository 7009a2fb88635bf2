//! One row for each thing that can be wrong: the bytes, the error, the clause and the reason code to answer with.

use super::*;

/// What is wrong with the bytes of one row.
struct Case {
    sender: Side,
    version: ProtocolVersion,
    bytes: Vec<u8>,
    error: DecodeError,
    clause: &'static str,
    reason: u8,
}

/// A packet with the right length in front of its body.
fn framed(first: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 128, "one byte of length is enough here");
    let mut bytes = vec![first, body.len() as u8];
    bytes.extend_from_slice(body);
    bytes
}

/// A PUBLISH of topic `t` from a client of MQTT 5 with these properties.
fn publish_with(properties: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 1, b't', properties.len() as u8];
    body.extend_from_slice(properties);
    framed(0x30, &body)
}

/// A CONNECT with this level, these flags, properties (MQTT 5) and payload.
fn connect_with(level: u8, flags: u8, properties: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut body = b"\x00\x04MQTT".to_vec();
    body.extend_from_slice(&[level, flags, 0, 60]);
    if level == 5 {
        body.push(properties.len() as u8);
        body.extend_from_slice(properties);
    }
    body.extend_from_slice(payload);
    framed(0x10, &body)
}

fn connack_with(properties: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 0, properties.len() as u8];
    body.extend_from_slice(properties);
    framed(0x20, &body)
}

fn subscribe_with(options: u8) -> Vec<u8> {
    framed(0x82, &[0, 1, 0, 0, 1, b'f', options])
}

struct Table {
    sender: Side,
    version: ProtocolVersion,
    cases: Vec<Case>,
}

impl Table {
    fn new(sender: Side, version: ProtocolVersion) -> Self {
        Self { sender, version, cases: Vec::new() }
    }

    fn row(mut self, bytes: Vec<u8>, error: DecodeError, clause: &'static str, reason: u8) -> Self {
        let (sender, version) = (self.sender, self.version);
        self.cases.push(Case { sender, version, bytes, error, clause, reason });
        self
    }

    /// Each row is refused as it says, whether its bytes come at once or one by one.
    fn check(self, decoder: impl Fn(Side, ProtocolVersion) -> Decoder) {
        for Case { sender, version, bytes, error, clause, reason } in self.cases {
            let context = format!("{bytes:02x?} from {sender:?} in {version:?}");
            let at_once = decoder(sender, version).decode(&mut BytesMut::from(&bytes[..]));
            assert_eq!(at_once, Err(error), "{context}");
            assert_eq!(error.clause(), clause, "{context}");
            assert_eq!(error.reason().byte(), reason, "{context}");

            let mut decoder = decoder(sender, version);
            let mut buffer = BytesMut::new();
            let one_by_one = bytes.iter().find_map(|byte| {
                buffer.extend_from_slice(&[*byte]);
                decoder.decode(&mut buffer).transpose()
            });
            assert_eq!(one_by_one, Some(Err(error)), "{context}");
        }
    }
}

fn connected(sender: Side, version: ProtocolVersion) -> Decoder {
    decoder(
        sender,
        version,
        DecodeLimits { user_properties_max: 1, filters_max: 1, ..DecodeLimits::default() },
    )
}

fn stranger(_: Side, _: ProtocolVersion) -> Decoder {
    Decoder::for_server(DecodeLimits::default())
}

fn not_allowed(packet_type: PacketType, property: Property) -> DecodeError {
    DecodeError::PropertyNotAllowed { packet_type, property }
}

fn reserved_flags(packet_type: PacketType, flags: u8) -> DecodeError {
    DecodeError::ReservedHeaderFlags { packet_type, flags }
}

fn bad_reason(packet_type: PacketType, code: u8) -> DecodeError {
    DecodeError::InvalidReasonCode { packet_type, code }
}

#[test]
fn fixed_headers() {
    use DecodeError as E;
    use PacketType as P;
    Table::new(Side::Client, ProtocolVersion::V5)
        .row(vec![0x00], E::ReservedPacketType(0), "MQTT5 §2.1.2", 0x81)
        .row(vec![0x10], E::SecondConnect, "MQTT-3.1.0-2", 0x82)
        .row(vec![0x20], E::WrongDirection(P::Connack), "MQTT5 §2.1.2", 0x82)
        .row(vec![0x90], E::WrongDirection(P::Suback), "MQTT5 §2.1.2", 0x82)
        .row(vec![0xB0], E::WrongDirection(P::Unsuback), "MQTT5 §2.1.2", 0x82)
        .row(vec![0xD0], E::WrongDirection(P::Pingresp), "MQTT5 §2.1.2", 0x82)
        .row(vec![0x36], E::PublishQos3, "MQTT-3.3.1-4", 0x81)
        .row(vec![0x3E], E::PublishQos3, "MQTT-3.3.1-4", 0x81)
        .row(vec![0x38], E::DupWithQos0, "MQTT-3.3.1-2", 0x81)
        .row(vec![0x41], reserved_flags(P::Puback, 1), "MQTT-2.1.3-1", 0x81)
        .row(vec![0x52], reserved_flags(P::Pubrec, 2), "MQTT-2.1.3-1", 0x81)
        .row(vec![0x60], reserved_flags(P::Pubrel, 0), "MQTT-3.6.1-1", 0x81)
        .row(vec![0x78], reserved_flags(P::Pubcomp, 8), "MQTT-2.1.3-1", 0x81)
        .row(vec![0x80], reserved_flags(P::Subscribe, 0), "MQTT-3.8.1-1", 0x81)
        .row(vec![0xA3], reserved_flags(P::Unsubscribe, 3), "MQTT-3.10.1-1", 0x81)
        .row(vec![0xC4], reserved_flags(P::Pingreq, 4), "MQTT-2.1.3-1", 0x81)
        .row(vec![0xE1], reserved_flags(P::Disconnect, 1), "MQTT-3.14.1-1", 0x81)
        .row(vec![0xF1], reserved_flags(P::Auth, 1), "MQTT-3.15.1-1", 0x81)
        .row(vec![0x30, 0x80, 0x80, 0x80, 0x80], E::VariableIntegerTooLong, "MQTT5 §1.5.5", 0x81)
        .row(vec![0xC0, 0x80, 0x00], E::VariableIntegerNotMinimal, "MQTT-1.5.5-1", 0x81)
        .row(framed(0xC0, &[0]), E::TrailingBytes(1), "MQTT5 §2.1.4", 0x81)
        .check(connected);
    Table::new(Side::Client, ProtocolVersion::V311)
        .row(vec![0xF0], E::ReservedPacketType(15), "MQTT5 §2.1.2", 0x81)
        .row(framed(0xE0, &[0]), E::TrailingBytes(1), "MQTT5 §2.1.4", 0x81)
        .check(connected);
    Table::new(Side::Server, ProtocolVersion::V311)
        .row(vec![0x10], E::WrongDirection(P::Connect), "MQTT5 §2.1.2", 0x82)
        .row(vec![0x82], E::WrongDirection(P::Subscribe), "MQTT5 §2.1.2", 0x82)
        .row(vec![0xA2], E::WrongDirection(P::Unsubscribe), "MQTT5 §2.1.2", 0x82)
        .row(vec![0xC0], E::WrongDirection(P::Pingreq), "MQTT5 §2.1.2", 0x82)
        .row(vec![0xE0], E::WrongDirection(P::Disconnect), "MQTT5 §2.1.2", 0x82)
        .check(connected);
}

#[test]
fn connects() {
    use DecodeError as E;
    let id = b"\x00\x01d";
    let with_will = |topic: &[u8]| [&id[..], &[0], topic, &[0, 0]].concat();
    Table::new(Side::Client, ProtocolVersion::V311)
        .row(vec![0x30], E::FirstPacketNotConnect(PacketType::Publish), "MQTT-3.1.0-1", 0x82)
        .row(vec![0xF0], E::FirstPacketNotConnect(PacketType::Auth), "MQTT-3.1.0-1", 0x82)
        .row(vec![0x11], reserved_flags(PacketType::Connect, 1), "MQTT-2.1.3-1", 0x81)
        .row(
            vec![0x10, 0xFF, 0xFF, 0x7F],
            E::PacketTooLarge { len: 2_097_155, max: 16_384 },
            "MQTT-3.2.2-15",
            0x95,
        )
        .row(framed(0x10, b"\x00\x04HTTP\x04"), E::ProtocolName, "MQTT-3.1.2-1", 0x84)
        .row(framed(0x10, b"\x00\x06MQIsdp\x04"), E::UnsupportedVersion { level: 4 }, "MQTT-3.1.2-2", 0x84)
        .row(framed(0x10, b"\x00\x04MQTT\x03"), E::UnsupportedVersion { level: 3 }, "MQTT-3.1.2-2", 0x84)
        .row(framed(0x10, b"\x00\x04MQTT\x06"), E::UnsupportedVersion { level: 6 }, "MQTT-3.1.2-2", 0x84)
        .row(framed(0x10, b"\x00\x04MQTT"), E::Truncated, "MQTT5 §2.1.4", 0x81)
        .row(framed(0x10, b"\x00\x09MQTT"), E::Truncated, "MQTT5 §2.1.4", 0x81)
        .row(connect_with(4, 0x03, &[], id), E::ConnectReservedFlag, "MQTT-3.1.2-3", 0x81)
        .row(connect_with(4, 0x0A, &[], id), E::WillQosWithoutWill, "MQTT-3.1.2-11", 0x81)
        .row(connect_with(4, 0x22, &[], id), E::WillRetainWithoutWill, "MQTT-3.1.2-13", 0x81)
        .row(connect_with(4, 0x1E, &[], id), E::WillQos3, "MQTT-3.1.2-12", 0x81)
        .row(connect_with(4, 0x42, &[], id), E::PasswordWithoutUserName, "MQTT311 MQTT-3.1.2-22", 0x81)
        .row(connect_with(4, 0x02, &[], b""), E::Truncated, "MQTT5 §2.1.4", 0x81)
        .row(connect_with(4, 0x82, &[], id), E::Truncated, "MQTT5 §2.1.4", 0x81)
        .row(connect_with(4, 0x02, &[], b"\x00\x01d!"), E::TrailingBytes(1), "MQTT5 §2.1.4", 0x81)
        .row(connect_with(4, 0x02, &[], b"\x00\x01\xFF"), E::StringNotUtf8, "MQTT-1.5.4-1", 0x81)
        .row(connect_with(4, 0x02, &[], b"\x00\x03\xED\xA0\x80"), E::StringNotUtf8, "MQTT-1.5.4-1", 0x81)
        .row(connect_with(4, 0x02, &[], b"\x00\x01\x00"), E::StringHasNul, "MQTT-1.5.4-2", 0x81)
        .row(connect_with(4, 0x06, &[], b"\x00\x01d\x00\x00\x00\x00"), E::EmptyTopic, "MQTT-4.7.3-1", 0x81)
        .row(connect_with(5, 0x06, &[], &with_will(b"\x00\x01#")), E::TopicHasWildcard, "MQTT-3.3.2-2", 0x81)
        .row(
            connect_with(5, 0x02, &[0x16, 0, 0], id),
            E::AuthenticationDataWithoutMethod,
            "MQTT5 §3.1.2.11.10",
            0x82,
        )
        .row(
            connect_with(5, 0x02, &[0x23, 0, 1], id),
            not_allowed(PacketType::Connect, Property::TopicAlias),
            "MQTT5 §2.2.2.2",
            0x81,
        )
        .row(
            connect_with(5, 0x02, &[0x18, 0, 0, 0, 1], id),
            not_allowed(PacketType::Connect, Property::WillDelayInterval),
            "MQTT5 §2.2.2.2",
            0x81,
        )
        .row(
            connect_with(5, 0x06, &[], b"\x00\x01d\x05\x11\x00\x00\x00\x01\x00\x01w\x00\x00"),
            not_allowed(PacketType::Connect, Property::SessionExpiryInterval),
            "MQTT5 §2.2.2.2",
            0x81,
        )
        .check(stranger);
}

#[test]
fn property_values_of_connect_and_connack() {
    use Property as P;
    let value = |property, value| DecodeError::PropertyValue { property, value };
    let id = b"\x00\x01d";
    let connect = |properties: &[u8]| connect_with(5, 0x02, properties, id);
    Table::new(Side::Client, ProtocolVersion::V5)
        .row(connect(&[0x21, 0, 0]), value(P::ReceiveMaximum, 0), "MQTT5 §3.1.2.11.3", 0x82)
        .row(connect(&[0x27, 0, 0, 0, 0]), value(P::MaximumPacketSize, 0), "MQTT5 §3.1.2.11.4", 0x82)
        .row(connect(&[0x19, 2]), value(P::RequestResponseInformation, 2), "MQTT5 §3.1.2.11.6", 0x82)
        .row(connect(&[0x17, 255]), value(P::RequestProblemInformation, 255), "MQTT5 §3.1.2.11.7", 0x82)
        .row(
            connect_with(5, 0x06, &[], b"\x00\x01d\x02\x01\x02\x00\x01w\x00\x00"),
            value(P::PayloadFormatIndicator, 2),
            "MQTT5 §3.3.2.3.2",
            0x82,
        )
        .row(
            connect(&[0x17, 0, 0x17, 0]),
            DecodeError::DuplicateProperty(P::RequestProblemInformation),
            "MQTT5 §3.1.2.11.7",
            0x82,
        )
        .check(stranger);
    let table = Table::new(Side::Server, ProtocolVersion::V5)
        .row(framed(0x20, &[2, 0, 0]), DecodeError::ConnackReservedFlags(2), "MQTT-3.2.2-1", 0x81)
        .row(framed(0x20, &[1, 0x87, 0]), DecodeError::SessionPresentWithRefusal, "MQTT-3.2.2-6", 0x82)
        .row(framed(0x20, &[0, 0x8E, 0]), bad_reason(PacketType::Connack, 0x8E), "MQTT-3.2.2-8", 0x81)
        .row(framed(0x20, &[0, 0]), DecodeError::Truncated, "MQTT5 §2.1.4", 0x81)
        .row(connack_with(&[0x21, 0, 0]), value(P::ReceiveMaximum, 0), "MQTT5 §3.1.2.11.3", 0x82)
        .row(connack_with(&[0x24, 2]), value(P::MaximumQos, 2), "MQTT5 §3.2.2.3.4", 0x82)
        .row(connack_with(&[0x25, 2]), value(P::RetainAvailable, 2), "MQTT5 §3.2.2.3.5", 0x82)
        .row(connack_with(&[0x28, 2]), value(P::WildcardSubscriptionAvailable, 2), "MQTT5 §3.2.2.3.11", 0x82)
        .row(
            connack_with(&[0x29, 2]),
            value(P::SubscriptionIdentifierAvailable, 2),
            "MQTT5 §3.2.2.3.12",
            0x82,
        )
        .row(connack_with(&[0x2A, 2]), value(P::SharedSubscriptionAvailable, 2), "MQTT5 §3.2.2.3.13", 0x82)
        .row(
            connack_with(&[0x16, 0, 0]),
            DecodeError::AuthenticationDataWithoutMethod,
            "MQTT5 §3.1.2.11.10",
            0x82,
        );
    table.check(connected);
    Table::new(Side::Server, ProtocolVersion::V311)
        .row(framed(0x20, &[0, 6]), bad_reason(PacketType::Connack, 6), "MQTT-3.2.2-8", 0x81)
        .row(framed(0x20, &[1, 5]), DecodeError::SessionPresentWithRefusal, "MQTT-3.2.2-6", 0x82)
        .row(framed(0x20, &[0, 0, 0]), DecodeError::TrailingBytes(1), "MQTT5 §2.1.4", 0x81)
        .check(connected);
}

#[test]
fn publishes() {
    use DecodeError as E;
    let publish = |property| not_allowed(PacketType::Publish, property);
    Table::new(Side::Client, ProtocolVersion::V5)
        .row(framed(0x30, &[0]), E::Truncated, "MQTT5 §2.1.4", 0x81)
        .row(framed(0x30, b"\x00\x02t"), E::Truncated, "MQTT5 §2.1.4", 0x81)
        .row(framed(0x30, b"\x00\x01t"), E::Truncated, "MQTT5 §2.1.4", 0x81)
        .row(framed(0x30, b"\x00\x01\xC0\x00"), E::StringNotUtf8, "MQTT-1.5.4-1", 0x81)
        .row(framed(0x30, b"\x00\x01+\x00"), E::TopicHasWildcard, "MQTT-3.3.2-2", 0x81)
        .row(framed(0x30, b"\x00\x03a/#\x00"), E::TopicHasWildcard, "MQTT-3.3.2-2", 0x81)
        .row(framed(0x30, b"\x00\x00\x00"), E::NoTopicAndNoAlias, "MQTT5 §3.3.2.1", 0x82)
        .row(framed(0x32, b"\x00\x01t\x00\x00\x00"), E::PacketIdZero, "MQTT-2.2.1-3", 0x82)
        .row(framed(0x34, b"\x00\x01t\x00"), E::Truncated, "MQTT5 §2.1.4", 0x81)
        .row(framed(0x30, b"\x00\x01t\x05\x01"), E::Truncated, "MQTT5 §2.1.4", 0x81)
        .row(framed(0x30, b"\x00\x01t\x80\x00"), E::VariableIntegerNotMinimal, "MQTT-1.5.5-1", 0x81)
        .row(publish_with(&[0x02, 0, 0]), E::Truncated, "MQTT5 §2.1.4", 0x81)
        .row(publish_with(&[0x23, 0, 0]), E::TopicAliasZero, "MQTT-3.3.2-8", 0x94)
        .row(publish_with(&[0x0B, 1]), E::SubscriptionIdFromClient, "MQTT-3.3.4-6", 0x82)
        .row(publish_with(b"\x08\x00\x01#"), E::ResponseTopicHasWildcard, "MQTT-3.3.2-14", 0x81)
        .row(publish_with(b"\x08\x00\x00"), E::EmptyTopic, "MQTT-4.7.3-1", 0x81)
        .row(publish_with(b"\x26\x00\x01a\x00\x01\x00"), E::StringHasNul, "MQTT-1.5.4-2", 0x81)
        .row(publish_with(&[0x7F, 0]), E::UnknownProperty(0x7F), "MQTT5 §2.2.2.2", 0x81)
        .row(publish_with(&[0x82, 1]), E::UnknownProperty(0x82), "MQTT5 §2.2.2.2", 0x81)
        .row(
            publish_with(&[0x11, 0, 0, 0, 1]),
            publish(Property::SessionExpiryInterval),
            "MQTT5 §2.2.2.2",
            0x81,
        )
        .row(publish_with(b"\x1F\x00\x01r"), publish(Property::ReasonString), "MQTT5 §2.2.2.2", 0x81)
        .row(
            publish_with(&[0x01, 1, 0x01, 1]),
            E::DuplicateProperty(Property::PayloadFormatIndicator),
            "MQTT5 §3.3.2.3.2",
            0x82,
        )
        .row(
            publish_with(&[0x01, 2]),
            E::PropertyValue { property: Property::PayloadFormatIndicator, value: 2 },
            "MQTT5 §3.3.2.3.2",
            0x82,
        )
        .row(
            publish_with(&[0x26, 0, 0, 0, 0, 0x26, 0, 0, 0, 0]),
            E::TooManyUserProperties { max: 1 },
            "limit of this implementation",
            0x97,
        )
        .check(connected);
    Table::new(Side::Server, ProtocolVersion::V5)
        .row(
            publish_with(&[0x0B, 0]),
            E::PropertyValue { property: Property::SubscriptionIdentifier, value: 0 },
            "MQTT5 §3.8.2.1.2",
            0x82,
        )
        .check(connected);
    Table::new(Side::Client, ProtocolVersion::V311)
        .row(framed(0x30, b"\x00\x00"), E::EmptyTopic, "MQTT-4.7.3-1", 0x81)
        .row(framed(0x32, b"\x00\x01t\x00\x00"), E::PacketIdZero, "MQTT-2.2.1-3", 0x82)
        .check(connected);
}

#[test]
fn acknowledgements() {
    use DecodeError as E;
    use PacketType as P;
    Table::new(Side::Client, ProtocolVersion::V5)
        .row(framed(0x40, &[0]), E::Truncated, "MQTT5 §2.1.4", 0x81)
        .row(framed(0x40, &[0, 0]), E::PacketIdZero, "MQTT-2.2.1-3", 0x82)
        .row(framed(0x62, &[0, 0]), E::PacketIdZero, "MQTT-2.2.1-3", 0x82)
        .row(framed(0x40, &[0, 1, 0x92]), bad_reason(P::Puback, 0x92), "MQTT-3.4.2-1", 0x81)
        .row(framed(0x50, &[0, 1, 0x01]), bad_reason(P::Pubrec, 0x01), "MQTT-3.5.2-1", 0x81)
        .row(framed(0x62, &[0, 1, 0x80]), bad_reason(P::Pubrel, 0x80), "MQTT-3.6.2-1", 0x81)
        .row(framed(0x70, &[0, 1, 0xFF]), bad_reason(P::Pubcomp, 0xFF), "MQTT-3.7.2-1", 0x81)
        .row(framed(0x40, &[0, 1, 0, 0, 0]), E::TrailingBytes(1), "MQTT5 §2.1.4", 0x81)
        .row(
            framed(0x40, &[0, 1, 0, 3, 0x21, 0, 1]),
            not_allowed(P::Puback, Property::ReceiveMaximum),
            "MQTT5 §2.2.2.2",
            0x81,
        )
        .row(
            framed(0x40, &[0, 1, 0, 6, 0x1F, 0, 0, 0x1F, 0, 0]),
            E::DuplicateProperty(Property::ReasonString),
            "MQTT5 §3.2.2.3.9",
            0x82,
        )
        .check(connected);
    Table::new(Side::Client, ProtocolVersion::V311)
        .row(framed(0x40, &[0, 1, 0]), E::TrailingBytes(1), "MQTT5 §2.1.4", 0x81)
        .check(connected);
    Table::new(Side::Server, ProtocolVersion::V5)
        .row(framed(0x90, &[0, 1, 0]), E::NoReasons(P::Suback), "MQTT-3.8.4-6", 0x82)
        .row(framed(0xB0, &[0, 1, 0]), E::NoReasons(P::Unsuback), "MQTT-3.8.4-6", 0x82)
        .row(framed(0x90, &[0, 1, 0, 3]), bad_reason(P::Suback, 3), "MQTT-3.9.3-2", 0x81)
        .row(framed(0xB0, &[0, 1, 0, 1]), bad_reason(P::Unsuback, 1), "MQTT-3.11.3-2", 0x81)
        .check(connected);
    Table::new(Side::Server, ProtocolVersion::V311)
        .row(framed(0x90, &[0, 1, 0x87]), bad_reason(P::Suback, 0x87), "MQTT-3.9.3-2", 0x81)
        .row(framed(0x90, &[0, 1]), E::NoReasons(P::Suback), "MQTT-3.8.4-6", 0x82)
        .row(framed(0xB0, &[0, 1, 0]), E::TrailingBytes(1), "MQTT5 §2.1.4", 0x81)
        .check(connected);
}

#[test]
fn subscribes_and_unsubscribes() {
    use DecodeError as E;
    use PacketType as P;
    let reserved = E::SubscribeOptionsReservedBits;
    let too_many = |packet_type| E::TooManyFilters { packet_type, max: 1 };
    Table::new(Side::Client, ProtocolVersion::V5)
        .row(framed(0x82, &[0, 0, 0, 0, 1, b'f', 0]), E::PacketIdZero, "MQTT-2.2.1-3", 0x82)
        .row(framed(0x82, &[0, 1, 0]), E::NoFilters(P::Subscribe), "MQTT-3.8.3-2", 0x82)
        .row(framed(0x82, &[0, 1, 0, 0, 0, 0]), E::EmptyTopic, "MQTT-4.7.3-1", 0x81)
        .row(framed(0x82, &[0, 1, 0, 0, 1, b'f']), E::Truncated, "MQTT5 §2.1.4", 0x81)
        .row(subscribe_with(0x03), E::SubscribeQos3, "MQTT5 §3.8.3.1", 0x82)
        .row(subscribe_with(0x30), E::RetainHandling3, "MQTT5 §3.8.3.1", 0x82)
        .row(subscribe_with(0x40), reserved(0x40), "MQTT-3.8.3-5", 0x81)
        .row(subscribe_with(0x80), reserved(0x80), "MQTT-3.8.3-5", 0x81)
        .row(framed(0x82, b"\x00\x01\x00\x00\x0A$share/g/f\x04"), E::NoLocalShared, "MQTT-3.8.3-4", 0x82)
        .row(
            framed(0x82, b"\x00\x01\x00\x00\x01a\x00\x00\x01b\x00"),
            too_many(P::Subscribe),
            "limit of this implementation",
            0x97,
        )
        .row(
            framed(0x82, &[0, 1, 4, 0x0B, 1, 0x0B, 2, 0, 1, b'f', 0]),
            E::DuplicateProperty(Property::SubscriptionIdentifier),
            "MQTT5 §3.8.2.1.2",
            0x82,
        )
        .row(
            framed(0x82, &[0, 1, 2, 0x0B, 0, 0, 1, b'f', 0]),
            E::PropertyValue { property: Property::SubscriptionIdentifier, value: 0 },
            "MQTT5 §3.8.2.1.2",
            0x82,
        )
        .row(framed(0xA2, &[0, 0, 0, 0, 1, b'f']), E::PacketIdZero, "MQTT-2.2.1-3", 0x82)
        .row(framed(0xA2, &[0, 1, 0]), E::NoFilters(P::Unsubscribe), "MQTT-3.10.3-2", 0x82)
        .row(framed(0xA2, &[0, 1, 0, 0, 0]), E::EmptyTopic, "MQTT-4.7.3-1", 0x81)
        .row(
            framed(0xA2, b"\x00\x01\x00\x00\x01a\x00\x01b"),
            too_many(P::Unsubscribe),
            "limit of this implementation",
            0x97,
        )
        .row(
            framed(0xA2, &[0, 1, 2, 0x0B, 1, 0, 1, b'f']),
            not_allowed(P::Unsubscribe, Property::SubscriptionIdentifier),
            "MQTT5 §2.2.2.2",
            0x81,
        )
        .check(connected);
    Table::new(Side::Client, ProtocolVersion::V311)
        .row(framed(0x82, &[0, 1]), E::NoFilters(P::Subscribe), "MQTT-3.8.3-2", 0x82)
        .row(framed(0x82, &[0, 1, 0, 1, b'f', 0x04]), reserved(4), "MQTT-3.8.3-5", 0x81)
        .row(framed(0x82, &[0, 1, 0, 1, b'f', 0x03]), E::SubscribeQos3, "MQTT5 §3.8.3.1", 0x82)
        .row(framed(0xA2, &[0, 1]), E::NoFilters(P::Unsubscribe), "MQTT-3.10.3-2", 0x82)
        .check(connected);
}

#[test]
fn disconnects_and_auths() {
    use DecodeError as E;
    use PacketType as P;
    Table::new(Side::Client, ProtocolVersion::V5)
        .row(framed(0xE0, &[0x8E]), bad_reason(P::Disconnect, 0x8E), "MQTT-3.14.2-1", 0x81)
        .row(framed(0xE0, &[0x01]), bad_reason(P::Disconnect, 0x01), "MQTT-3.14.2-1", 0x81)
        .row(framed(0xE0, &[0, 0, 0]), E::TrailingBytes(1), "MQTT5 §2.1.4", 0x81)
        .row(
            framed(0xE0, &[0, 3, 0x1C, 0, 0]),
            not_allowed(P::Disconnect, Property::ServerReference),
            "MQTT5 §2.2.2.2",
            0x81,
        )
        .row(framed(0xF0, &[]), bad_reason(P::Auth, 0), "MQTT-3.15.2-1", 0x81)
        .row(framed(0xF0, &[0x00, 0]), bad_reason(P::Auth, 0), "MQTT-3.15.2-1", 0x81)
        .row(framed(0xF0, &[0x18]), E::Truncated, "MQTT5 §2.1.4", 0x81)
        .row(
            framed(0xF0, &[0x18, 3, 0x16, 0, 0]),
            E::AuthenticationDataWithoutMethod,
            "MQTT5 §3.1.2.11.10",
            0x82,
        )
        .check(connected);
    Table::new(Side::Server, ProtocolVersion::V5)
        .row(framed(0xE0, &[0x04]), bad_reason(P::Disconnect, 4), "MQTT-3.14.2-1", 0x81)
        .row(
            framed(0xE0, &[0, 5, 0x11, 0, 0, 0, 0]),
            not_allowed(P::Disconnect, Property::SessionExpiryInterval),
            "MQTT5 §2.2.2.2",
            0x81,
        )
        .row(framed(0xF0, &[0x19, 0]), bad_reason(P::Auth, 0x19), "MQTT-3.15.2-1", 0x81)
        .check(connected);
}

#[test]
fn a_refusal_is_sent_in_the_version_that_the_client_spoke() {
    let cases: [(&[u8], Option<ProtocolVersion>); 8] = [
        (b"\x30", None),
        (b"\x10\x07\x00\x04HTTP\x04", None),
        (b"\x10\x09\x00\x06MQIsdp\x03", Some(ProtocolVersion::V31)),
        (b"\x10\x09\x00\x06MQIsdp\x04", Some(ProtocolVersion::V311)),
        (b"\x10\x07\x00\x04MQTT\x06", Some(ProtocolVersion::V5)),
        // mosquitto's bridge asks like this first, and without the bit when it is refused
        (b"\x10\x07\x00\x04MQTT\x84", Some(ProtocolVersion::V311)),
        (b"\x10\x08\x00\x04MQTT\x04\x01", Some(ProtocolVersion::V311)),
        (b"\x10\x08\x00\x04MQTT\x05\x01", Some(ProtocolVersion::V5)),
    ];
    for (bytes, version) in cases {
        let mut decoder = Decoder::for_server(DecodeLimits::default());
        assert!(decoder.decode(&mut BytesMut::from(bytes)).is_err(), "{bytes:x?}");
        assert_eq!(decoder.version(), version, "{bytes:x?}");
    }
}

#[test]
fn a_payload_is_checked_against_its_declared_format_on_request() {
    let publish = |format, payload: &'static [u8]| Publish {
        topic: Text::from_static("t"),
        delivery: Delivery::AtMostOnce,
        retain: false,
        payload: bytes::Bytes::from_static(payload),
        properties: Some(Box::new(PublishProperties { payload_format: format, ..Default::default() })),
    };
    assert!(publish(None, b"\xff").payload_is_as_declared());
    assert!(publish(Some(PayloadFormat::Bytes), b"\xff").payload_is_as_declared());
    assert!(publish(Some(PayloadFormat::Utf8), "ü".as_bytes()).payload_is_as_declared());
    assert!(!publish(Some(PayloadFormat::Utf8), b"\xff").payload_is_as_declared());
}
