//! What rmqtt's codec of MQTT 5 sees.

use bytes::BytesMut;
use rmqtt_codec::v5::{Codec, Packet, PublishAck, PublishAck2};
use tokio_util::codec::{Decoder, Encoder};

use crate::seen::Seen;

pub(crate) fn decode(bytes: &[u8]) -> Result<Option<Packet>, String> {
    let decoded = Codec::new(0, 0).decode(&mut BytesMut::from(bytes)).map_err(|error| error.to_string())?;
    Ok(decoded.map(|(packet, _)| packet))
}

pub(crate) fn encode(packet: &Packet) -> Result<BytesMut, String> {
    let mut bytes = BytesMut::new();
    Codec::new(0, 0).encode(packet.clone(), &mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

type Pairs = [(bytestring::ByteString, bytestring::ByteString)];

fn pairs(pairs: &Pairs) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

pub(crate) fn seen(packet: &Packet) -> Seen {
    match packet {
        Packet::Connect(connect) => {
            let seen = Seen::of("CONNECT")
                .put("level", 5)
                .flag("clean start", connect.clean_start)
                .put("keep alive", connect.keep_alive)
                .put("client id", &connect.client_id)
                .maybe("user name", connect.username.as_ref())
                .bytes("password", connect.password.as_deref())
                .unless(0, "session expiry", Some(connect.session_expiry_interval_secs))
                .maybe("receive maximum", connect.receive_max)
                .maybe("maximum packet size", connect.max_packet_size)
                .unless(0, "topic alias maximum", Some(connect.topic_alias_max))
                .unless(false, "request response information", Some(connect.request_response_info))
                .unless(true, "request problem information", Some(connect.request_problem_info))
                .maybe("authentication method", connect.auth_method.as_ref())
                .bytes("authentication data", connect.auth_data.as_deref())
                .pairs(pairs(&connect.user_properties));
            match &connect.last_will {
                Some(will) => seen.with(
                    "will",
                    Seen::default()
                        .put("topic", &will.topic)
                        .bytes("payload", Some(&will.message))
                        .put("qos", will.qos.value())
                        .flag("retain", will.retain)
                        .unless(0, "delay", will.will_delay_interval_sec)
                        .unless(0, "payload format", will.is_utf8_payload.map(u8::from))
                        .maybe("expiry", will.message_expiry_interval)
                        .maybe("content type", will.content_type.as_ref())
                        .maybe("response topic", will.response_topic.as_ref())
                        .bytes("correlation data", will.correlation_data.as_deref())
                        .pairs(pairs(&will.user_properties)),
                ),
                None => seen,
            }
        }
        Packet::ConnectAck(connack) => Seen::of("CONNACK")
            .flag("session present", connack.session_present)
            .put("reason", u8::from(connack.reason_code))
            .maybe("session expiry", connack.session_expiry_interval_secs)
            .unless(65_535, "receive maximum", Some(connack.receive_max.get()))
            .unless(2, "maximum qos", Some(connack.max_qos.value()))
            .unless(true, "retain", Some(connack.retain_available))
            .maybe("maximum packet size", connack.max_packet_size)
            .maybe("client id", connack.assigned_client_id.as_ref())
            .unless(0, "topic alias maximum", Some(connack.topic_alias_max))
            .maybe("reason string", connack.reason_string.as_ref())
            .unless(true, "wildcards", Some(connack.wildcard_subscription_available))
            .unless(true, "subscription identifiers", Some(connack.subscription_identifiers_available))
            .unless(true, "shared", Some(connack.shared_subscription_available))
            .maybe("keep alive", connack.server_keepalive_sec)
            .maybe("response information", connack.response_info.as_ref())
            .maybe("server reference", connack.server_reference.as_ref())
            .maybe("authentication method", connack.auth_method.as_ref())
            .bytes("authentication data", connack.auth_data.as_deref())
            .pairs(pairs(&connack.user_properties)),
        Packet::Publish(publish) => {
            let properties = publish.properties.clone().unwrap_or_default();
            Seen::of("PUBLISH")
                .put("topic", &publish.topic)
                .put("qos", publish.qos.value())
                .maybe("id", publish.packet_id)
                .flag("dup", publish.dup)
                .flag("retain", publish.retain)
                .bytes("payload", Some(&publish.payload))
                .unless(0, "payload format", Some(u8::from(properties.is_utf8_payload)))
                .maybe("expiry", properties.message_expiry_interval)
                .maybe("topic alias", properties.topic_alias)
                .maybe("response topic", properties.response_topic.as_ref())
                .bytes("correlation data", properties.correlation_data.as_deref())
                .list("subscription identifier", &properties.subscription_ids)
                .maybe("content type", properties.content_type.as_ref())
                .pairs(pairs(&properties.user_properties))
        }
        Packet::PublishAck(it) => ack("PUBACK", it),
        Packet::PublishReceived(it) => ack("PUBREC", it),
        Packet::PublishRelease(it) => ack_2("PUBREL", it),
        Packet::PublishComplete(it) => ack_2("PUBCOMP", it),
        Packet::Subscribe(subscribe) => {
            let filters = subscribe.topic_filters.iter().map(|(filter, it)| {
                let handling = u8::from(it.retain_handling);
                format!("{filter} {:?}", (it.qos.value(), it.no_local, it.retain_as_published, handling))
            });
            Seen::of("SUBSCRIBE")
                .put("id", subscribe.packet_id)
                .list("filter", filters)
                .maybe("subscription identifier", subscribe.id)
                .pairs(pairs(&subscribe.user_properties))
        }
        Packet::SubscribeAck(it) => Seen::of("SUBACK")
            .put("id", it.packet_id)
            .list("reason", it.status.iter().map(|reason| u8::from(*reason)))
            .maybe("reason string", it.reason_string.as_ref())
            .pairs(pairs(&it.properties)),
        Packet::Unsubscribe(it) => Seen::of("UNSUBSCRIBE")
            .put("id", it.packet_id)
            .list("filter", &it.topic_filters)
            .pairs(pairs(&it.user_properties)),
        Packet::UnsubscribeAck(it) => Seen::of("UNSUBACK")
            .put("id", it.packet_id)
            .list("reason", it.status.iter().map(|reason| u8::from(*reason)))
            .maybe("reason string", it.reason_string.as_ref())
            .pairs(pairs(&it.properties)),
        Packet::PingRequest => Seen::of("PINGREQ"),
        Packet::PingResponse => Seen::of("PINGRESP"),
        Packet::Disconnect(it) => Seen::of("DISCONNECT")
            .unless(0, "reason", Some(u8::from(it.reason_code)))
            .maybe("session expiry", it.session_expiry_interval_secs)
            .maybe("reason string", it.reason_string.as_ref())
            .maybe("server reference", it.server_reference.as_ref())
            .pairs(pairs(&it.user_properties)),
        Packet::Auth(it) => Seen::of("AUTH")
            .unless(0, "reason", Some(u8::from(it.reason_code)))
            .maybe("authentication method", it.auth_method.as_ref())
            .bytes("authentication data", it.auth_data.as_deref())
            .maybe("reason string", it.reason_string.as_ref())
            .pairs(pairs(&it.user_properties)),
    }
}

fn ack(packet: &str, ack: &PublishAck) -> Seen {
    Seen::of(packet)
        .put("id", ack.packet_id)
        .unless(0, "reason", Some(u8::from(ack.reason_code)))
        .maybe("reason string", ack.reason_string.as_ref())
        .pairs(pairs(&ack.properties))
}

fn ack_2(packet: &str, ack: &PublishAck2) -> Seen {
    Seen::of(packet)
        .put("id", ack.packet_id)
        .unless(0, "reason", Some(u8::from(ack.reason_code)))
        .maybe("reason string", ack.reason_string.as_ref())
        .pairs(pairs(&ack.properties))
}
