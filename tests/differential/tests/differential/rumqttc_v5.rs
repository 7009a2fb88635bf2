//! What rumqttc's codec of MQTT 5 sees.

use bytes::BytesMut;
use rumqttc::v5::mqttbytes::Error;
use rumqttc::v5::mqttbytes::v5::{LastWillProperties, Packet, SubscribeReasonCode};

use crate::comparison::is_whole;
use crate::seen::Seen;

pub(crate) fn decode(bytes: &[u8]) -> Result<Option<Packet>, String> {
    match Packet::read(&mut BytesMut::from(bytes), None) {
        Ok(packet) => Ok(Some(packet)),
        // What ends within its properties is told so as well.
        Err(Error::InsufficientBytes(_)) if !is_whole(bytes) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

pub(crate) fn encode(packet: &Packet) -> Result<BytesMut, String> {
    let mut bytes = BytesMut::new();
    packet.write(&mut bytes, None).map_err(|error| error.to_string())?;
    Ok(bytes)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn seen(packet: &Packet) -> Seen {
    match packet {
        Packet::Connect(connect, will, login) => {
            let mut seen = Seen::of("CONNECT")
                .put("level", 5)
                .flag("clean start", connect.clean_start)
                .put("keep alive", connect.keep_alive)
                .put("client id", &connect.client_id)
                .maybe("user name", login.as_ref().map(|login| &login.username))
                .bytes("password", login.as_ref().map(|login| login.password.as_bytes()));
            if let Some(properties) = &connect.properties {
                seen = seen
                    .unless(0, "session expiry", properties.session_expiry_interval)
                    .maybe("receive maximum", properties.receive_maximum)
                    .maybe("maximum packet size", properties.max_packet_size)
                    .unless(0, "topic alias maximum", properties.topic_alias_max)
                    .unless(
                        false,
                        "request response information",
                        properties.request_response_info.map(is_one),
                    )
                    .unless(true, "request problem information", properties.request_problem_info.map(is_one))
                    .maybe("authentication method", properties.authentication_method.as_ref())
                    .bytes("authentication data", properties.authentication_data.as_deref())
                    .pairs(properties.user_properties.clone());
            }
            match will {
                Some(will) => seen.with(
                    "will",
                    will_properties(will.properties.as_ref())
                        .put("topic", text(&will.topic))
                        .bytes("payload", Some(&will.message))
                        .put("qos", will.qos as u8)
                        .flag("retain", will.retain),
                ),
                None => seen,
            }
        }
        Packet::ConnAck(connack) => {
            let mut seen = Seen::of("CONNACK")
                .flag("session present", connack.session_present)
                .put("reason", connack_reason(packet));
            if let Some(properties) = &connack.properties {
                seen = seen
                    .maybe("session expiry", properties.session_expiry_interval)
                    .unless(65_535, "receive maximum", properties.receive_max)
                    .maybe("maximum qos", properties.max_qos)
                    .unless(true, "retain", properties.retain_available.map(is_one))
                    .maybe("maximum packet size", properties.max_packet_size)
                    .maybe("client id", properties.assigned_client_identifier.as_ref())
                    .unless(0, "topic alias maximum", properties.topic_alias_max)
                    .maybe("reason string", properties.reason_string.as_ref())
                    .unless(true, "wildcards", properties.wildcard_subscription_available.map(is_one))
                    .unless(
                        true,
                        "subscription identifiers",
                        properties.subscription_identifiers_available.map(is_one),
                    )
                    .unless(true, "shared", properties.shared_subscription_available.map(is_one))
                    .maybe("keep alive", properties.server_keep_alive)
                    .maybe("response information", properties.response_information.as_ref())
                    .maybe("server reference", properties.server_reference.as_ref())
                    .maybe("authentication method", properties.authentication_method.as_ref())
                    .bytes("authentication data", properties.authentication_data.as_deref())
                    .pairs(properties.user_properties.clone());
            }
            seen
        }
        Packet::Publish(publish) => {
            let properties = publish.properties.clone().unwrap_or_default();
            Seen::of("PUBLISH")
                .put("topic", text(&publish.topic))
                .put("qos", publish.qos as u8)
                .unless(0, "id", Some(publish.pkid))
                .flag("dup", publish.dup)
                .flag("retain", publish.retain)
                .bytes("payload", Some(&publish.payload))
                .unless(0, "payload format", properties.payload_format_indicator)
                .maybe("expiry", properties.message_expiry_interval)
                .maybe("topic alias", properties.topic_alias)
                .maybe("response topic", properties.response_topic.as_ref())
                .bytes("correlation data", properties.correlation_data.as_deref())
                .list("subscription identifier", &properties.subscription_identifiers)
                .maybe("content type", properties.content_type.as_ref())
                .pairs(properties.user_properties)
        }
        Packet::PubAck(it) => {
            let seen =
                Seen::of("PUBACK").put("id", it.pkid).unless(0, "reason", Some(first_reason(packet, 2)));
            with_ack(seen, it.properties.as_ref().map(|it| (&it.reason_string, &it.user_properties)))
        }
        Packet::PubRec(it) => {
            let seen =
                Seen::of("PUBREC").put("id", it.pkid).unless(0, "reason", Some(first_reason(packet, 2)));
            with_ack(seen, it.properties.as_ref().map(|it| (&it.reason_string, &it.user_properties)))
        }
        Packet::PubRel(it) => {
            let seen =
                Seen::of("PUBREL").put("id", it.pkid).unless(0, "reason", Some(first_reason(packet, 2)));
            with_ack(seen, it.properties.as_ref().map(|it| (&it.reason_string, &it.user_properties)))
        }
        Packet::PubComp(it) => {
            let seen =
                Seen::of("PUBCOMP").put("id", it.pkid).unless(0, "reason", Some(first_reason(packet, 2)));
            with_ack(seen, it.properties.as_ref().map(|it| (&it.reason_string, &it.user_properties)))
        }
        Packet::Subscribe(subscribe) => {
            let filters = subscribe.filters.iter().map(|it| {
                let handling = it.retain_forward_rule.clone() as u8;
                format!("{} {:?}", it.path, (it.qos as u8, it.nolocal, it.preserve_retain, handling))
            });
            let seen = Seen::of("SUBSCRIBE").put("id", subscribe.pkid).list("filter", filters);
            match &subscribe.properties {
                Some(properties) => seen
                    .maybe("subscription identifier", properties.id)
                    .pairs(properties.user_properties.clone()),
                None => seen,
            }
        }
        Packet::SubAck(it) => {
            let seen = Seen::of("SUBACK")
                .put("id", it.pkid)
                .list("reason", it.return_codes.iter().map(suback_reason));
            with_ack(seen, it.properties.as_ref().map(|it| (&it.reason_string, &it.user_properties)))
        }
        Packet::Unsubscribe(it) => {
            let seen = Seen::of("UNSUBSCRIBE").put("id", it.pkid).list("filter", &it.filters);
            match &it.properties {
                Some(properties) => seen.pairs(properties.user_properties.clone()),
                None => seen,
            }
        }
        Packet::UnsubAck(it) => {
            use rumqttc::v5::mqttbytes::v5::UnsubAckReason;
            let code = |reason: &UnsubAckReason| match reason {
                UnsubAckReason::Success => 0,
                UnsubAckReason::NoSubscriptionExisted => 0x11,
                UnsubAckReason::UnspecifiedError => 0x80,
                UnsubAckReason::ImplementationSpecificError => 0x83,
                UnsubAckReason::NotAuthorized => 0x87,
                UnsubAckReason::TopicFilterInvalid => 0x8F,
                UnsubAckReason::PacketIdentifierInUse => 0x91,
            };
            let seen = Seen::of("UNSUBACK").put("id", it.pkid).list("reason", it.reasons.iter().map(code));
            with_ack(seen, it.properties.as_ref().map(|it| (&it.reason_string, &it.user_properties)))
        }
        Packet::PingReq(_) => Seen::of("PINGREQ"),
        Packet::PingResp(_) => Seen::of("PINGRESP"),
        Packet::Disconnect(it) => {
            let seen = Seen::of("DISCONNECT").unless(0, "reason", Some(it.reason_code as u8));
            match &it.properties {
                Some(properties) => seen
                    .maybe("session expiry", properties.session_expiry_interval)
                    .maybe("reason string", properties.reason_string.as_ref())
                    .maybe("server reference", properties.server_reference.as_ref())
                    .pairs(properties.user_properties.clone()),
                None => seen,
            }
        }
        Packet::Auth(_) => Seen::of("AUTH"),
    }
}

type Pairs = Vec<(String, String)>;

fn is_one(value: u8) -> bool {
    value == 1
}

fn will_properties(properties: Option<&LastWillProperties>) -> Seen {
    let Some(properties) = properties else { return Seen::default() };
    Seen::default()
        .unless(0, "delay", properties.delay_interval)
        .unless(0, "payload format", properties.payload_format_indicator)
        .maybe("expiry", properties.message_expiry_interval)
        .maybe("content type", properties.content_type.as_ref())
        .maybe("response topic", properties.response_topic.as_ref())
        .bytes("correlation data", properties.correlation_data.as_deref())
        .pairs(properties.user_properties.clone())
}

fn with_ack(seen: Seen, properties: Option<(&Option<String>, &Pairs)>) -> Seen {
    match properties {
        Some((reason_string, pairs)) => {
            seen.maybe("reason string", reason_string.as_ref()).pairs(pairs.clone())
        }
        None => seen,
    }
}

/// The library's reasons have no numbers of their own: the byte that it writes for one, in that place of the body. What says nothing is not
/// written.
fn first_reason(packet: &Packet, at: usize) -> u8 {
    let bytes = encode(packet).unwrap_or_default();
    let head = 1 + bytes[1..].iter().take_while(|byte| **byte >= 0x80).count() + 1;
    bytes.get(head + at).copied().unwrap_or(0)
}

fn connack_reason(packet: &Packet) -> u8 {
    first_reason(packet, 1)
}

fn suback_reason(reason: &SubscribeReasonCode) -> u8 {
    match reason {
        SubscribeReasonCode::Success(qos) => *qos as u8,
        SubscribeReasonCode::Failure | SubscribeReasonCode::Unspecified => 0x80,
        SubscribeReasonCode::ImplementationSpecific => 0x83,
        SubscribeReasonCode::NotAuthorized => 0x87,
        SubscribeReasonCode::TopicFilterInvalid => 0x8F,
        SubscribeReasonCode::PkidInUse => 0x91,
        SubscribeReasonCode::QuotaExceeded => 0x97,
        SubscribeReasonCode::SharedSubscriptionsNotSupported => 0x9E,
        SubscribeReasonCode::SubscriptionIdNotSupported => 0xA1,
        SubscribeReasonCode::WildcardSubscriptionsNotSupported => 0xA2,
    }
}
