//! Arbitrary packets, valid for a version and a sender.

use std::num::{NonZeroU16, NonZeroU32};

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use super::*;

pub(super) fn version() -> impl Strategy<Value = ProtocolVersion> {
    prop_oneof![
        1 => Just(ProtocolVersion::V31),
        1 => Just(ProtocolVersion::V311),
        2 => Just(ProtocolVersion::V5)
    ]
}

pub(super) fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Client), Just(Side::Server)]
}

/// A packet, its sender and its version.
pub(super) fn sent_packet() -> impl Strategy<Value = (Packet, Side, ProtocolVersion)> {
    (side(), version())
        .prop_flat_map(|(sender, version)| (packet(sender, version), Just(sender), Just(version)))
}

pub(super) fn packet(sender: Side, version: ProtocolVersion) -> BoxedStrategy<Packet> {
    let mut choices = vec![
        publish(sender, version).prop_map(Packet::Publish).boxed(),
        ack(PacketType::Puback, sender, version).prop_map(Packet::Puback).boxed(),
        ack(PacketType::Pubrec, sender, version).prop_map(Packet::Pubrec).boxed(),
        ack(PacketType::Pubrel, sender, version).prop_map(Packet::Pubrel).boxed(),
        ack(PacketType::Pubcomp, sender, version).prop_map(Packet::Pubcomp).boxed(),
    ];
    match sender {
        Side::Client => choices.extend([
            connect(version).prop_map(|connect| Packet::Connect(Box::new(connect))).boxed(),
            subscribe(version).prop_map(Packet::Subscribe).boxed(),
            unsubscribe(version).prop_map(Packet::Unsubscribe).boxed(),
            Just(Packet::Pingreq).boxed(),
        ]),
        Side::Server => choices.extend([
            connack(version).prop_map(Packet::Connack).boxed(),
            suback(version).prop_map(Packet::Suback).boxed(),
            unsuback(version).prop_map(Packet::Unsuback).boxed(),
            Just(Packet::Pingresp).boxed(),
        ]),
    }
    match (sender, version) {
        (Side::Client, ProtocolVersion::V31 | ProtocolVersion::V311) => {
            choices.push(Just(Packet::Disconnect(Disconnect::default())).boxed());
        }
        (Side::Server, ProtocolVersion::V31 | ProtocolVersion::V311) => {}
        (_, ProtocolVersion::V5) => {
            choices.push(disconnect(sender).prop_map(Packet::Disconnect).boxed());
            choices.push(auth(sender).prop_map(Packet::Auth).boxed());
        }
    }
    proptest::strategy::Union::new(choices).boxed()
}

fn text() -> impl Strategy<Value = Text> {
    vec(any::<char>().prop_filter("no NUL", |&c| c != '\0'), 0..24)
        .prop_map(|chars| Text::parse(chars.into_iter().collect::<String>()).unwrap())
}

fn topic_name() -> impl Strategy<Value = Text> {
    "[^+#\0]{1,24}".prop_map(|topic| Text::parse(topic).unwrap())
}

fn topic_filter() -> impl Strategy<Value = Text> {
    "[^\0]{1,24}"
        .prop_filter("shared ones forbid no local", |filter| !filter.starts_with("$share/"))
        .prop_map(|filter| Text::parse(filter).unwrap())
}

fn binary() -> impl Strategy<Value = BinaryData> {
    vec(any::<u8>(), 0..40).prop_map(|bytes| BinaryData::parse(bytes).unwrap())
}

fn secret() -> impl Strategy<Value = Secret> {
    binary().prop_map(Secret::new)
}

fn user_properties() -> impl Strategy<Value = Vec<UserProperty>> {
    vec((text(), text()).prop_map(|(name, value)| UserProperty { name, value }), 0..4)
}

fn packet_id() -> impl Strategy<Value = PacketId> {
    any::<NonZeroU16>().prop_map(PacketId)
}

fn qos() -> impl Strategy<Value = QoS> {
    prop_oneof![Just(QoS::AtMostOnce), Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)]
}

fn subscription_id() -> impl Strategy<Value = SubscriptionId> {
    (1..=SubscriptionId::MAX).prop_map(|value| SubscriptionId::new(value).unwrap())
}

fn payload_format() -> impl Strategy<Value = PayloadFormat> {
    prop_oneof![Just(PayloadFormat::Bytes), Just(PayloadFormat::Utf8)]
}

/// Boxed properties as a decoder gives them: `None` if there are none.
fn boxed<T: Default + PartialEq>(properties: T) -> Option<Box<T>> {
    (properties != T::default()).then(|| Box::new(properties))
}

/// `strategy` in MQTT 5, the empty properties in 3.1.1.
fn in_v5<T: Default + Clone + std::fmt::Debug + 'static>(
    version: ProtocolVersion,
    strategy: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<T> {
    match version {
        ProtocolVersion::V31 | ProtocolVersion::V311 => Just(T::default()).boxed(),
        ProtocolVersion::V5 => prop_oneof![1 => Just(T::default()), 3 => strategy].boxed(),
    }
}

fn method_and_data() -> impl Strategy<Value = (Option<Text>, Option<Secret>)> {
    prop_oneof![Just((None, None)), (text(), of(secret())).prop_map(|(method, data)| (Some(method), data)),]
}

fn connect(version: ProtocolVersion) -> impl Strategy<Value = Connect> {
    (
        (any::<bool>(), any::<u16>(), text()),
        of(will(version)),
        (of(text()), of(secret())),
        in_v5(version, connect_properties()),
    )
        .prop_map(
            move |((clean_start, keep_alive_s, client_id), will, (user_name, password), properties)| {
                // 3.1.1 wants a user name with every password.
                let password = password.filter(|_| version == ProtocolVersion::V5 || user_name.is_some());
                Connect {
                    version,
                    clean_start,
                    keep_alive_s,
                    client_id,
                    will,
                    user_name,
                    password,
                    properties,
                }
            },
        )
}

fn will(version: ProtocolVersion) -> impl Strategy<Value = Will> {
    (topic_name(), binary(), qos(), any::<bool>(), in_v5(version, will_properties())).prop_map(
        |(topic, payload, qos, retain, properties)| Will { topic, payload, qos, retain, properties },
    )
}

fn will_properties() -> impl Strategy<Value = WillProperties> {
    (
        (of(any::<u32>()), of(payload_format()), of(any::<u32>())),
        (of(text()), of(topic_name()), of(binary()), user_properties()),
    )
        .prop_map(|((delay_interval_s, payload_format, message_expiry_s), rest)| {
            let (content_type, response_topic, correlation_data, user_properties) = rest;
            WillProperties {
                delay_interval_s,
                payload_format,
                message_expiry_s,
                content_type,
                response_topic,
                correlation_data,
                user_properties,
            }
        })
}

fn connect_properties() -> impl Strategy<Value = ConnectProperties> {
    (
        (of(any::<u32>()), of(any::<NonZeroU16>()), of(any::<NonZeroU32>()), of(any::<u16>())),
        (of(any::<bool>()), of(any::<bool>())),
        user_properties(),
        method_and_data(),
    )
        .prop_map(
            |(numbers, requests, user_properties, (authentication_method, authentication_data))| {
                ConnectProperties {
                    session_expiry_interval_s: numbers.0,
                    receive_maximum: numbers.1,
                    maximum_packet_size: numbers.2,
                    topic_alias_maximum: numbers.3,
                    request_response_information: requests.0,
                    request_problem_information: requests.1,
                    user_properties,
                    authentication_method,
                    authentication_data,
                }
            },
        )
}

/// A reason code that the packet may carry.
fn reason(packet_type: PacketType, sender: Side) -> impl Strategy<Value = ReasonCode> {
    let allowed: Vec<_> =
        ReasonCode::ALL.iter().copied().filter(|code| code.is_allowed_in(packet_type, sender)).collect();
    proptest::sample::select(allowed)
}

fn connack(version: ProtocolVersion) -> impl Strategy<Value = Connack> {
    let reason = match version {
        ProtocolVersion::V31 | ProtocolVersion::V311 => {
            (0..=5u8).prop_map(|code| ReasonCode::from_connect_return_code(code).unwrap()).boxed()
        }
        ProtocolVersion::V5 => reason(PacketType::Connack, Side::Server).boxed(),
    };
    (any::<bool>(), reason, in_v5(version, connack_properties())).prop_map(
        move |(present, reason, properties)| Connack {
            session_present: present && reason == ReasonCode::Success && version != ProtocolVersion::V31,
            reason,
            properties: boxed(properties),
        },
    )
}

fn connack_properties() -> impl Strategy<Value = ConnackProperties> {
    let maximum_qos = prop_oneof![Just(QoS::AtMostOnce), Just(QoS::AtLeastOnce)];
    (
        (of(any::<u32>()), of(any::<NonZeroU16>()), of(maximum_qos), of(any::<NonZeroU32>())),
        (of(any::<bool>()), of(any::<bool>()), of(any::<bool>()), of(any::<bool>())),
        (of(text()), of(any::<u16>()), of(text()), of(any::<u16>()), of(text()), of(text())),
        user_properties(),
        method_and_data(),
    )
        .prop_map(|(numbers, available, rest, user_properties, authentication)| ConnackProperties {
            session_expiry_interval_s: numbers.0,
            receive_maximum: numbers.1,
            maximum_qos: numbers.2,
            retain_available: available.0,
            maximum_packet_size: numbers.3,
            assigned_client_id: rest.0,
            topic_alias_maximum: rest.1,
            reason_string: rest.2,
            user_properties,
            wildcard_subscription_available: available.1,
            subscription_identifiers_available: available.2,
            shared_subscription_available: available.3,
            server_keep_alive_s: rest.3,
            response_information: rest.4,
            server_reference: rest.5,
            authentication_method: authentication.0,
            authentication_data: authentication.1,
        })
}

fn delivery() -> impl Strategy<Value = Delivery> {
    prop_oneof![
        Just(Delivery::AtMostOnce),
        (packet_id(), any::<bool>()).prop_map(|(packet_id, dup)| Delivery::AtLeastOnce { packet_id, dup }),
        (packet_id(), any::<bool>()).prop_map(|(packet_id, dup)| Delivery::ExactlyOnce { packet_id, dup }),
    ]
}

fn publish(sender: Side, version: ProtocolVersion) -> impl Strategy<Value = Publish> {
    let payload = vec(any::<u8>(), 0..300).prop_map(Bytes::from);
    (
        topic_name(),
        delivery(),
        any::<bool>(),
        payload,
        in_v5(version, publish_properties(sender)),
        any::<bool>(),
    )
        .prop_map(|(topic, delivery, retain, payload, properties, by_alias)| {
            // With an alias the topic may be left out.
            let by_alias = by_alias && properties.topic_alias.is_some();
            let topic = if by_alias { Text::EMPTY } else { topic };
            Publish { topic, delivery, retain, payload, properties: boxed(properties) }
        })
}

fn publish_properties(sender: Side) -> impl Strategy<Value = PublishProperties> {
    let ids = match sender {
        Side::Client => 0..1,
        Side::Server => 0..4,
    };
    (
        (of(payload_format()), of(any::<u32>()), of(any::<NonZeroU16>())),
        (of(topic_name()), of(binary()), of(text())),
        user_properties(),
        vec(subscription_id(), ids),
    )
        .prop_map(|(numbers, fields, user_properties, subscription_ids)| PublishProperties {
            payload_format: numbers.0,
            message_expiry_s: numbers.1,
            topic_alias: numbers.2,
            response_topic: fields.0,
            correlation_data: fields.1,
            user_properties,
            subscription_ids,
            content_type: fields.2,
        })
}

fn ack_properties() -> impl Strategy<Value = AckProperties> {
    (of(text()), user_properties())
        .prop_map(|(reason_string, user_properties)| AckProperties { reason_string, user_properties })
}

fn ack(packet_type: PacketType, sender: Side, version: ProtocolVersion) -> impl Strategy<Value = Ack> {
    let reason = match version {
        ProtocolVersion::V31 | ProtocolVersion::V311 => Just(ReasonCode::Success).boxed(),
        ProtocolVersion::V5 => reason(packet_type, sender).boxed(),
    };
    (packet_id(), reason, in_v5(version, ack_properties())).prop_map(|(packet_id, reason, properties)| Ack {
        packet_id,
        reason,
        properties: boxed(properties),
    })
}

fn subscribe(version: ProtocolVersion) -> impl Strategy<Value = Subscribe> {
    let filter = (topic_filter(), subscribe_options(version))
        .prop_map(|(filter, options)| SubscribeFilter { filter, options });
    let properties =
        (of(subscription_id()), user_properties()).prop_map(|(subscription_id, user_properties)| {
            SubscribeProperties { subscription_id, user_properties }
        });
    (packet_id(), vec(filter, 1..5), in_v5(version, properties)).prop_map(
        |(packet_id, filters, properties)| Subscribe { packet_id, filters, properties: boxed(properties) },
    )
}

fn subscribe_options(version: ProtocolVersion) -> BoxedStrategy<SubscribeOptions> {
    let handling = prop_oneof![
        Just(RetainHandling::SendAlways),
        Just(RetainHandling::SendIfNew),
        Just(RetainHandling::DoNotSend)
    ];
    let full = (qos(), any::<bool>(), any::<bool>(), handling).prop_map(
        |(qos, no_local, retain_as_published, retain_handling)| SubscribeOptions {
            qos,
            no_local,
            retain_as_published,
            retain_handling,
        },
    );
    match version {
        ProtocolVersion::V31 | ProtocolVersion::V311 => {
            qos().prop_map(|qos| SubscribeOptions { qos, ..SubscribeOptions::default() }).boxed()
        }
        ProtocolVersion::V5 => full.boxed(),
    }
}

fn suback(version: ProtocolVersion) -> impl Strategy<Value = Suback> {
    let reason = match version {
        ProtocolVersion::V31 => proptest::sample::select(vec![
            ReasonCode::Success,
            ReasonCode::GrantedQos1,
            ReasonCode::GrantedQos2,
        ])
        .boxed(),
        ProtocolVersion::V311 => proptest::sample::select(vec![
            ReasonCode::Success,
            ReasonCode::GrantedQos1,
            ReasonCode::GrantedQos2,
            ReasonCode::UnspecifiedError,
        ])
        .boxed(),
        ProtocolVersion::V5 => reason(PacketType::Suback, Side::Server).boxed(),
    };
    (packet_id(), vec(reason, 1..5), in_v5(version, ack_properties())).prop_map(
        |(packet_id, reasons, properties)| Suback { packet_id, reasons, properties: boxed(properties) },
    )
}

fn unsubscribe(version: ProtocolVersion) -> impl Strategy<Value = Unsubscribe> {
    let properties = user_properties().prop_map(|user_properties| UnsubscribeProperties { user_properties });
    (packet_id(), vec(topic_filter(), 1..5), in_v5(version, properties)).prop_map(
        |(packet_id, filters, properties)| Unsubscribe { packet_id, filters, properties: boxed(properties) },
    )
}

fn unsuback(version: ProtocolVersion) -> impl Strategy<Value = Unsuback> {
    let count = match version {
        ProtocolVersion::V31 | ProtocolVersion::V311 => 0..1,
        ProtocolVersion::V5 => 1..5,
    };
    (packet_id(), vec(reason(PacketType::Unsuback, Side::Server), count), in_v5(version, ack_properties()))
        .prop_map(|(packet_id, reasons, properties)| Unsuback {
            packet_id,
            reasons,
            properties: boxed(properties),
        })
}

fn disconnect(sender: Side) -> impl Strategy<Value = Disconnect> {
    (reason(PacketType::Disconnect, sender), of(any::<u32>()), of(text()), user_properties(), of(text()))
        .prop_map(move |(reason, expiry, reason_string, user_properties, reference)| {
            let is_client = sender == Side::Client;
            let properties = DisconnectProperties {
                session_expiry_interval_s: expiry.filter(|_| is_client),
                reason_string,
                user_properties,
                server_reference: reference.filter(|_| !is_client),
            };
            Disconnect { reason, properties: boxed(properties) }
        })
}

fn auth(sender: Side) -> impl Strategy<Value = Auth> {
    (reason(PacketType::Auth, sender), method_and_data(), of(text()), user_properties()).prop_map(
        |(reason, (authentication_method, authentication_data), reason_string, user_properties)| {
            let properties =
                AuthProperties { authentication_method, authentication_data, reason_string, user_properties };
            Auth { reason, properties: boxed(properties) }
        },
    )
}
