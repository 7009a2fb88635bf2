//! What the gateway's decoder sees.

use bytes::BytesMut;
use roost_gateway::packet::{
    Ack, AckProperties, DecodeError, DecodeLimits, Decoder, Packet, PacketType, ProtocolVersion, QoS, Side,
    UserProperty, WillProperties,
};

use crate::seen::Seen;

/// Decodes one packet, as the side that may receive it.
pub(crate) fn decode(
    bytes: &[u8],
    version: ProtocolVersion,
    sender: Side,
) -> Result<Option<Packet>, DecodeError> {
    let packet_type = PacketType::from_number(bytes.first().map_or(0, |first| first >> 4));
    let sender = match packet_type {
        Some(it) if !it.is_sent_by(sender, version) && sender == Side::Client => Side::Server,
        Some(it) if !it.is_sent_by(sender, version) => Side::Client,
        _ => sender,
    };
    let mut decoder = match (packet_type, sender) {
        (Some(PacketType::Connect), _) => Decoder::for_server(DecodeLimits::default()),
        (_, Side::Client) => Decoder::for_connected_server(version, DecodeLimits::default()),
        (_, Side::Server) => Decoder::for_client(version, DecodeLimits::default()),
    };
    decoder.decode(&mut BytesMut::from(bytes))
}

/// Its fields.
pub(crate) fn seen(packet: &Packet) -> Seen {
    match packet {
        Packet::Connect(connect) => {
            let properties = &connect.properties;
            let will = connect.will.as_ref().map(|will| {
                will_properties(&will.properties)
                    .put("topic", &*will.topic)
                    .bytes("payload", Some(&will.payload))
                    .put("qos", will.qos.byte())
                    .flag("retain", will.retain)
            });
            let seen = Seen::of("CONNECT")
                .put("level", connect.version.level())
                .flag("clean start", connect.clean_start)
                .put("keep alive", connect.keep_alive_s)
                .put("client id", &*connect.client_id)
                .maybe("user name", connect.user_name.as_deref())
                .bytes("password", connect.password.as_ref().map(|password| &**password.expose()))
                .unless(0, "session expiry", properties.session_expiry_interval_s)
                .maybe("receive maximum", properties.receive_maximum)
                .maybe("maximum packet size", properties.maximum_packet_size)
                .unless(0, "topic alias maximum", properties.topic_alias_maximum)
                .unless(false, "request response information", properties.request_response_information)
                .unless(true, "request problem information", properties.request_problem_information)
                .maybe("authentication method", properties.authentication_method.as_deref())
                .bytes(
                    "authentication data",
                    properties.authentication_data.as_ref().map(|it| &**it.expose()),
                )
                .pairs(pairs(&properties.user_properties));
            match will {
                Some(will) => seen.with("will", will),
                None => seen,
            }
        }
        Packet::Connack(connack) => {
            let properties = connack.properties.as_deref().cloned().unwrap_or_default();
            Seen::of("CONNACK")
                .flag("session present", connack.session_present)
                .put("reason", connack.reason.byte())
                .maybe("session expiry", properties.session_expiry_interval_s)
                .unless(65_535, "receive maximum", properties.receive_maximum.map(|max| max.get()))
                .maybe("maximum qos", properties.maximum_qos.map(QoS::byte))
                .unless(true, "retain", properties.retain_available)
                .maybe("maximum packet size", properties.maximum_packet_size)
                .maybe("client id", properties.assigned_client_id.as_deref())
                .unless(0, "topic alias maximum", properties.topic_alias_maximum)
                .maybe("reason string", properties.reason_string.as_deref())
                .unless(true, "wildcards", properties.wildcard_subscription_available)
                .unless(true, "subscription identifiers", properties.subscription_identifiers_available)
                .unless(true, "shared", properties.shared_subscription_available)
                .maybe("keep alive", properties.server_keep_alive_s)
                .maybe("response information", properties.response_information.as_deref())
                .maybe("server reference", properties.server_reference.as_deref())
                .maybe("authentication method", properties.authentication_method.as_deref())
                .bytes(
                    "authentication data",
                    properties.authentication_data.as_ref().map(|it| &**it.expose()),
                )
                .pairs(pairs(&properties.user_properties))
        }
        Packet::Publish(publish) => {
            let properties = publish.properties.as_deref().cloned().unwrap_or_default();
            Seen::of("PUBLISH")
                .put("topic", &*publish.topic)
                .put("qos", publish.delivery.qos().byte())
                .maybe("id", publish.delivery.packet_id())
                .flag("dup", publish.delivery.dup())
                .flag("retain", publish.retain)
                .bytes("payload", Some(&publish.payload))
                .unless(0, "payload format", properties.payload_format.map(|format| format as u8))
                .maybe("expiry", properties.message_expiry_s)
                .maybe("topic alias", properties.topic_alias)
                .maybe("response topic", properties.response_topic.as_deref())
                .bytes("correlation data", properties.correlation_data.as_deref())
                .list("subscription identifier", properties.subscription_ids.iter().map(|id| id.value()))
                .maybe("content type", properties.content_type.as_deref())
                .pairs(pairs(&properties.user_properties))
        }
        Packet::Puback(it) => ack("PUBACK", it),
        Packet::Pubrec(it) => ack("PUBREC", it),
        Packet::Pubrel(it) => ack("PUBREL", it),
        Packet::Pubcomp(it) => ack("PUBCOMP", it),
        Packet::Subscribe(subscribe) => {
            let properties = subscribe.properties.as_deref().cloned().unwrap_or_default();
            let filters = subscribe.filters.iter().map(|it| {
                let options = it.options;
                let handling = options.retain_handling as u8;
                let flags = (options.qos.byte(), options.no_local, options.retain_as_published, handling);
                format!("{} {flags:?}", &*it.filter)
            });
            Seen::of("SUBSCRIBE")
                .put("id", subscribe.packet_id)
                .list("filter", filters)
                .maybe("subscription identifier", properties.subscription_id.map(|id| id.value()))
                .pairs(pairs(&properties.user_properties))
        }
        Packet::Suback(it) => {
            let reasons = it.reasons.iter().map(|reason| reason.byte());
            ack_properties(
                Seen::of("SUBACK").put("id", it.packet_id).list("reason", reasons),
                it.properties.as_deref(),
            )
        }
        Packet::Unsubscribe(it) => {
            let properties = it.properties.as_deref().cloned().unwrap_or_default();
            Seen::of("UNSUBSCRIBE")
                .put("id", it.packet_id)
                .list("filter", it.filters.iter().map(|filter| filter.to_string()))
                .pairs(pairs(&properties.user_properties))
        }
        Packet::Unsuback(it) => {
            let reasons = it.reasons.iter().map(|reason| reason.byte());
            ack_properties(
                Seen::of("UNSUBACK").put("id", it.packet_id).list("reason", reasons),
                it.properties.as_deref(),
            )
        }
        Packet::Pingreq => Seen::of("PINGREQ"),
        Packet::Pingresp => Seen::of("PINGRESP"),
        Packet::Disconnect(disconnect) => {
            let properties = disconnect.properties.as_deref().cloned().unwrap_or_default();
            Seen::of("DISCONNECT")
                .unless(0, "reason", Some(disconnect.reason.byte()))
                .maybe("session expiry", properties.session_expiry_interval_s)
                .maybe("reason string", properties.reason_string.as_deref())
                .maybe("server reference", properties.server_reference.as_deref())
                .pairs(pairs(&properties.user_properties))
        }
        Packet::Auth(auth) => {
            let properties = auth.properties.as_deref().cloned().unwrap_or_default();
            Seen::of("AUTH")
                .unless(0, "reason", Some(auth.reason.byte()))
                .maybe("authentication method", properties.authentication_method.as_deref())
                .bytes(
                    "authentication data",
                    properties.authentication_data.as_ref().map(|it| &**it.expose()),
                )
                .maybe("reason string", properties.reason_string.as_deref())
                .pairs(pairs(&properties.user_properties))
        }
    }
}

fn pairs(properties: &[UserProperty]) -> Vec<(String, String)> {
    properties.iter().map(|it| (it.name.to_string(), it.value.to_string())).collect()
}

fn will_properties(properties: &WillProperties) -> Seen {
    Seen::default()
        .unless(0, "delay", properties.delay_interval_s)
        .unless(0, "payload format", properties.payload_format.map(|format| format as u8))
        .maybe("expiry", properties.message_expiry_s)
        .maybe("content type", properties.content_type.as_deref())
        .maybe("response topic", properties.response_topic.as_deref())
        .bytes("correlation data", properties.correlation_data.as_deref())
        .pairs(pairs(&properties.user_properties))
}

fn ack(packet: &str, ack: &Ack) -> Seen {
    let seen = Seen::of(packet).put("id", ack.packet_id).unless(0, "reason", Some(ack.reason.byte()));
    ack_properties(seen, ack.properties.as_deref())
}

fn ack_properties(seen: Seen, properties: Option<&AckProperties>) -> Seen {
    let properties = properties.cloned().unwrap_or_default();
    seen.maybe("reason string", properties.reason_string.as_deref()).pairs(pairs(&properties.user_properties))
}
