//! The differences that are known, each with the clause of the specification that says who is right.

use roost_gateway::packet::{DecodeError, PacketType, ProtocolVersion};

use crate::comparison::{Comparison, Library};

/// Who is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Right {
    /// The gateway's decoder.
    Ours,
    /// Nothing forbids either.
    Either,
}

/// A kind of difference.
pub(crate) struct Class {
    pub(crate) name: &'static str,
    /// MQTT 5.0 where nothing else is said.
    pub(crate) clause: &'static str,
    pub(crate) right: Right,
    pub(crate) is_it: fn(&Comparison) -> bool,
    /// One that is of this class at one of the two libraries at least.
    pub(crate) example: (ProtocolVersion, &'static [u8]),
}

use ProtocolVersion::{V5, V311};
use Right::{Either, Ours};

const fn class(
    name: &'static str,
    clause: &'static str,
    right: Right,
    is_it: fn(&Comparison) -> bool,
    example: (ProtocolVersion, &'static [u8]),
) -> Class {
    Class { name, clause, right, is_it, example }
}

fn is_rumqttc(it: &Comparison) -> bool {
    it.library == Library::Rumqttc
}

fn is_v5(it: &Comparison) -> bool {
    it.version == V5
}

/// The level of a CONNECT, if that is what it is.
fn level(it: &Comparison) -> Option<u8> {
    let body = it.body();
    let name = usize::from(*body.get(1)?);
    (it.is(PacketType::Connect) && body[0] == 0).then(|| body.get(2 + name).copied())?
}

/// A CONNECT that is not of the one version of their codec: MQTT 3.1 is rmqtt's too.
fn is_of_another_version(it: &Comparison) -> bool {
    let theirs: &[u8] = match (it.version, it.library) {
        (V5, _) => &[5],
        (_, Library::Rumqttc) => &[4],
        (_, Library::Rmqtt) => &[3, 4],
    };
    level(it).is_some_and(|level| !theirs.contains(&level))
        || (it.is(PacketType::Connect)
            && it.body().starts_with(b"\x00\x06MQIsdp")
            && (is_rumqttc(it) || is_v5(it)))
}

/// Some property 0x0B stands in it, or a byte that looks so.
fn has_subscription_id(it: &Comparison) -> bool {
    is_rumqttc(it)
        && is_v5(it)
        && (it.is(PacketType::Publish) || it.is(PacketType::Subscribe))
        && it.body().contains(&0x0B)
}

/// The first that fits is it.
pub(crate) const CLASSES: &[Class] = &[
    class(
        "a CONNECT of another version than their codec's, which the gateway takes by its own",
        "MQTT-3.1.2-2",
        Either,
        is_of_another_version,
        (V311, b"\x10\x10\x00\x06MQIsdp\x03\x02\x00\x00\x00\x02v3"),
    ),
    class(
        "the level 3 of MQTT 3.1 under the name of later versions",
        "MQTT-3.1.2-2; 3.1: §3.1, MQIsdp",
        Ours,
        |it| it.they_take(|e| matches!(e, DecodeError::UnsupportedVersion { level: 3 })),
        (V311, b"\x10\x0e\x00\x04MQTT\x03\x02\x00\x00\x00\x02v3"),
    ),
    class(
        "what is wrong is seen before the packet is whole",
        "§4.13: nothing asks to wait",
        Either,
        |it| matches!((&it.ours, &it.theirs), (Err(_), Ok(None))),
        (V311, b"\x41\x02\x00"),
    ),
    class(
        "reserved flags of the fixed header",
        "MQTT-2.1.3-1; 3.1.1: MQTT-2.2.2-2",
        Ours,
        |it| is_rumqttc(it) && it.they_take(|e| matches!(e, DecodeError::ReservedHeaderFlags { .. })),
        (V311, b"\x41\x02\x00\x01"),
    ),
    class(
        "DUP at QoS 0",
        "MQTT-3.3.1-2",
        Ours,
        |it| it.bytes[0] & 0b1110 == 0b1000 && it.they_take(|e| *e == DecodeError::DupWithQos0),
        (V311, b"\x38\x03\x00\x01a"),
    ),
    class(
        "a length with more bytes than it needs",
        "MQTT-1.5.5-1; 3.1.1: §2.2.3, a single byte up to 127",
        Ours,
        |it| it.they_take(|e| *e == DecodeError::VariableIntegerNotMinimal),
        (V5, b"\x40\x82\x00\x00\x01"),
    ),
    class(
        "subscription identifiers are counted as longer than they are, and what stands behind is lost or read as payload",
        "§2.2.2.1, §3.3.2.3.8",
        Ours,
        |it| {
            has_subscription_id(it)
                && (differs_in_properties(it) || it.they_take(is_of_properties) || it.they_refuse())
        },
        (V5, b"\x30\x0a\x00\x01a\x06\x0B\x01\x0B\x01\x0B\x01"),
    ),
    class(
        "a property reaches beyond the length of all properties",
        "§2.2.2.1",
        Ours,
        |it| is_rumqttc(it) && is_v5(it) && it.they_take(|e| *e == DecodeError::Truncated),
        (V5, b"\x40\x09\x00\x01\x80\x02\x1F\x00\x02ab"),
    ),
    class(
        "U+0000 in a string",
        "MQTT-1.5.4-2; 3.1.1: MQTT-1.5.3-2",
        Ours,
        |it| it.body().contains(&0) && it.they_take(|e| *e == DecodeError::StringHasNul),
        (V311, b"\x30\x03\x00\x01\x00"),
    ),
    class(
        "a topic that is not UTF-8",
        "MQTT-1.5.4-1",
        Ours,
        |it| {
            is_rumqttc(it)
                && is_v5(it)
                && std::str::from_utf8(it.body()).is_err()
                && it.they_take(|e| *e == DecodeError::StringNotUtf8)
        },
        (V5, b"\x30\x04\x00\x01\xFF\x00"),
    ),
    class(
        "the packet identifier 0",
        "MQTT-2.2.1-3; 3.1.1: MQTT-2.3.1-1",
        Ours,
        |it| is_rumqttc(it) && it.they_take(|e| *e == DecodeError::PacketIdZero),
        (V311, b"\x40\x02\x00\x00"),
    ),
    class(
        "a wildcard in a topic name",
        "MQTT-3.3.2-2",
        Ours,
        |it| has_wildcard(it) && it.they_take(|e| *e == DecodeError::TopicHasWildcard),
        (V311, b"\x30\x03\x00\x01+"),
    ),
    class(
        "a wildcard in a response topic",
        "MQTT-3.3.2-14",
        Ours,
        |it| has_wildcard(it) && it.they_take(|e| *e == DecodeError::ResponseTopicHasWildcard),
        (V5, b"\x30\x08\x00\x01a\x04\x08\x00\x01+"),
    ),
    class(
        "an empty topic or filter",
        "MQTT-4.7.3-1",
        Ours,
        |it| it.they_take(|e| *e == DecodeError::EmptyTopic),
        (V311, b"\x30\x02\x00\x00"),
    ),
    class(
        "neither topic nor alias",
        "§3.3.2.3.4",
        Ours,
        |it| it.they_take(|e| *e == DecodeError::NoTopicAndNoAlias),
        (V5, b"\x30\x03\x00\x00\x00"),
    ),
    class(
        "the topic alias 0",
        "MQTT-3.3.2-8",
        Ours,
        |it| is_rumqttc(it) && it.they_take(|e| *e == DecodeError::TopicAliasZero),
        (V5, b"\x30\x07\x00\x01a\x03\x23\x00\x00"),
    ),
    class(
        "a subscription identifier from a client, to a decoder that knows no side",
        "MQTT-3.3.4-6",
        Ours,
        |it| it.they_take(|e| *e == DecodeError::SubscriptionIdFromClient),
        (V5, b"\x30\x06\x00\x01a\x02\x0B\x01"),
    ),
    class(
        "UNSUBSCRIBE without a filter",
        "MQTT-3.10.3-2",
        Ours,
        |it| it.is(PacketType::Unsubscribe) && it.they_take(|e| matches!(e, DecodeError::NoFilters(_))),
        (V311, b"\xa2\x02\x00\x01"),
    ),
    class(
        "SUBACK or UNSUBACK without a reason",
        "MQTT-3.8.4-6, MQTT-3.11.3-1",
        Ours,
        |it| it.they_take(|e| matches!(e, DecodeError::NoReasons(_))),
        (V311, b"\x90\x02\x00\x01"),
    ),
    class(
        "a session is present, and the connection refused",
        "MQTT-3.2.2-6; 3.1.1: MQTT-3.2.2-4",
        Ours,
        |it| it.they_take(|e| *e == DecodeError::SessionPresentWithRefusal),
        (V311, b"\x20\x02\x01\x05"),
    ),
    class(
        "reserved flags of CONNACK",
        "MQTT-3.2.2-1",
        Ours,
        |it| is_rumqttc(it) && it.they_take(|e| matches!(e, DecodeError::ConnackReservedFlags(_))),
        (V311, b"\x20\x02\x02\x00"),
    ),
    class(
        "the reserved flag of CONNECT",
        "MQTT-3.1.2-3",
        Ours,
        |it| is_rumqttc(it) && it.they_take(|e| *e == DecodeError::ConnectReservedFlag),
        (V311, b"\x10\x0e\x00\x04MQTT\x04\x03\x00\x00\x00\x02v4"),
    ),
    class(
        "the will's QoS or RETAIN without a will",
        "MQTT-3.1.2-11, MQTT-3.1.2-13",
        Ours,
        |it| {
            it.they_take(|e| {
                matches!(e, DecodeError::WillQosWithoutWill | DecodeError::WillRetainWithoutWill)
            })
        },
        (V5, b"\x10\x0f\x00\x04MQTT\x05\x0A\x00\x00\x00\x00\x02v5"),
    ),
    class(
        "a password without a user name",
        "3.1.1: MQTT-3.1.2-22",
        Ours,
        |it| it.version == V311 && it.they_take(|e| *e == DecodeError::PasswordWithoutUserName),
        (V311, b"\x10\x11\x00\x04MQTT\x04\x42\x00\x00\x00\x02v4\x00\x01p"),
    ),
    class(
        "reserved bits of the subscription options",
        "MQTT-3.8.3-5; 3.1.1: MQTT-3-8.3-4",
        Ours,
        |it| it.they_take(|e| matches!(e, DecodeError::SubscribeOptionsReservedBits(_))),
        (V311, b"\x82\x06\x00\x01\x00\x01a\x04"),
    ),
    class(
        "No Local on a shared subscription",
        "MQTT-3.8.3-4",
        Ours,
        |it| it.they_take(|e| *e == DecodeError::NoLocalShared),
        (V5, b"\x82\x10\x00\x01\x00\x00\x0a$share/g/a\x04"),
    ),
    class(
        "a reason of the other side, to a decoder that knows no side",
        "MQTT-3.14.2-1, MQTT-3.15.2-1",
        Ours,
        |it| {
            (it.is(PacketType::Disconnect) || it.is(PacketType::Auth))
                && it.they_take(|e| matches!(e, DecodeError::InvalidReasonCode { .. }))
        },
        (V5, b"\xe0\x02\x8E\x00"),
    ),
    class(
        "the reserved return code 6",
        "3.1.1: §3.2.2.3",
        Ours,
        |it| {
            it.is(PacketType::Connack)
                && it.version == V311
                && it.body().get(1) == Some(&6)
                && it.they_take(|_| true)
        },
        (V311, b"\x20\x02\x00\x06"),
    ),
    class(
        "a property of the other side, to a decoder that knows no side",
        "MQTT-3.14.2-2, §3.14.2.2.5",
        Ours,
        |it| {
            it.is(PacketType::Disconnect)
                && it.they_take(|e| matches!(e, DecodeError::PropertyNotAllowed { .. }))
        },
        (V5, b"\xe0\x06\x00\x04\x1C\x00\x01s"),
    ),
    class(
        "a property that stands twice",
        "§2.2.2.2, and the section of each property",
        Ours,
        |it| is_rumqttc(it) && it.they_take(|e| matches!(e, DecodeError::DuplicateProperty(_))),
        (V5, b"\x30\x0e\x00\x01a\x0A\x02\x00\x00\x00\x01\x02\x00\x00\x00\x01"),
    ),
    class(
        "a value that a property cannot have",
        "the section of each property",
        Ours,
        |it| it.they_take(|e| matches!(e, DecodeError::PropertyValue { .. })),
        (V5, b"\x20\x08\x00\x00\x05\x27\x00\x00\x00\x00"),
    ),
    class(
        "authentication data without a method",
        "§3.1.2.11.10",
        Ours,
        |it| it.they_take(|e| *e == DecodeError::AuthenticationDataWithoutMethod),
        (V5, b"\xf0\x06\x18\x04\x16\x00\x01d"),
    ),
    class(
        "bytes behind the last field",
        "§2.1.4",
        Ours,
        |it| it.they_take(|e| matches!(e, DecodeError::TrailingBytes(_))),
        (V311, b"\xc0\x01\x00"),
    ),
    class(
        "AUTH with a reason and no length of properties",
        "§3.15.2.1: both are left out, or none",
        Ours,
        |it| {
            it.is(PacketType::Auth) && it.body().len() == 1 && it.they_take(|e| *e == DecodeError::Truncated)
        },
        (V5, b"\xf0\x01\x18"),
    ),
    class(
        "AUTH is not known",
        "§3.15",
        Ours,
        |it| is_rumqttc(it) && it.is(PacketType::Auth) && it.they_refuse(),
        (V5, b"\xf0\x02\x18\x00"),
    ),
    class(
        "DISCONNECT without a reason, or without a length of properties",
        "§3.14.2.1, §3.14.2.2.1",
        Ours,
        |it| is_rumqttc(it) && it.is(PacketType::Disconnect) && it.body().len() < 2 && it.they_refuse(),
        (V5, b"\xe0\x00"),
    ),
    class(
        "DISCONNECT with 0x8C, bad authentication method",
        "§2.4 allows it, §3.14.2.1 does not list it",
        Either,
        |it| {
            is_rumqttc(it)
                && it.is(PacketType::Disconnect)
                && it.body().first() == Some(&0x8C)
                && it.they_refuse()
        },
        (V5, b"\xe0\x02\x8C\x00"),
    ),
    class(
        "a password that is not UTF-8",
        "§3.1.3.6; 3.1.1: §3.1.3.5: binary data",
        Ours,
        |it| {
            is_rumqttc(it)
                && it.is(PacketType::Connect)
                && std::str::from_utf8(it.body()).is_err()
                && it.they_refuse()
        },
        (V311, b"\x10\x14\x00\x04MQTT\x04\xC2\x00\x00\x00\x02v4\x00\x01u\x00\x01\xFF"),
    ),
    class(
        "an empty user name or password is none",
        "MQTT-3.1.2-16 to -19: the flags say whether there is one",
        Ours,
        |it| {
            let of_login = |name: &String| name == "user name" || name == "password";
            is_rumqttc(it) && !it.differing().is_empty() && it.differing().iter().all(of_login)
        },
        (V311, b"\x10\x11\x00\x04MQTT\x04\x82\x00\x00\x00\x02v4\x00\x01u"),
    ),
    class(
        "a message expiry of 0",
        "§3.3.2.3.3, §3.1.3.2.4: any four byte integer",
        Ours,
        |it| {
            it.library == Library::Rmqtt
                && it.body().windows(5).any(|five| five == b"\x02\x00\x00\x00\x00")
                && it.they_refuse()
        },
        (V5, b"\x30\x09\x00\x01a\x05\x02\x00\x00\x00\x00"),
    ),
    class(
        "an empty client identifier without a clean start: the gateway's sessions decide on it, not its decoder",
        "MQTT-3.1.3-6; 3.1.1: MQTT-3.1.3-8, answered with 0x02",
        Ours,
        |it| {
            it.library == Library::Rmqtt
                && matches!(&it.ours, Ok(Some(seen)) if seen.get("client id") == Some("") && seen.get("clean start").is_none())
                && it.they_refuse()
        },
        (V311, b"\x10\x0c\x00\x04MQTT\x04\x00\x00\x00\x00\x00"),
    ),
];

/// Whether only what stands behind the first property differs.
fn differs_in_properties(it: &Comparison) -> bool {
    const BEFORE: [&str; 6] = ["packet", "topic", "qos", "id", "dup", "retain"];
    let differing = it.differing();
    !differing.is_empty() && !differing.iter().any(|name| BEFORE.contains(&name.as_str()))
}

/// What reading on in a wrong place of the properties may lead to.
fn is_of_properties(error: &DecodeError) -> bool {
    matches!(
        error,
        DecodeError::Truncated
            | DecodeError::UnknownProperty(_)
            | DecodeError::PropertyNotAllowed { .. }
            | DecodeError::PropertyValue { .. }
            | DecodeError::DuplicateProperty(_)
            | DecodeError::StringHasNul
            | DecodeError::StringNotUtf8
            | DecodeError::VariableIntegerTooLong
    )
}

fn has_wildcard(it: &Comparison) -> bool {
    it.body().iter().any(|byte| matches!(byte, b'+' | b'#'))
}

/// Which class a difference is of.
pub(crate) fn classify(comparison: &Comparison) -> Option<&'static Class> {
    CLASSES.iter().find(|class| (class.is_it)(comparison))
}
