//! What rmqtt's codec of MQTT 3.1 and 3.1.1 sees.

use bytes::BytesMut;
use rmqtt_codec::v3::{Codec, Packet, SubscribeReturnCode};
use tokio_util::codec::{Decoder, Encoder};

use crate::rumqttc_v4::return_code;
use crate::seen::Seen;

pub(crate) fn decode(bytes: &[u8]) -> Result<Option<Packet>, String> {
    let decoded = Codec::new(0).decode(&mut BytesMut::from(bytes)).map_err(|error| error.to_string())?;
    Ok(decoded.map(|(packet, _)| packet))
}

pub(crate) fn encode(packet: &Packet) -> Result<BytesMut, String> {
    let mut bytes = BytesMut::new();
    Codec::new(0).encode(packet.clone(), &mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

pub(crate) fn seen(packet: &Packet) -> Seen {
    match packet {
        Packet::Connect(connect) => {
            let seen = Seen::of("CONNECT")
                .put("level", connect.protocol.level())
                .flag("clean start", connect.clean_session)
                .put("keep alive", connect.keep_alive)
                .put("client id", &connect.client_id)
                .maybe("user name", connect.username.as_ref())
                .bytes("password", connect.password.as_deref());
            match &connect.last_will {
                Some(will) => seen.with(
                    "will",
                    Seen::default()
                        .put("topic", &will.topic)
                        .bytes("payload", Some(&will.message))
                        .put("qos", will.qos.value())
                        .flag("retain", will.retain),
                ),
                None => seen,
            }
        }
        Packet::ConnectAck(connack) => Seen::of("CONNACK")
            .flag("session present", connack.session_present)
            .put("reason", return_code(connack.return_code.into())),
        Packet::Publish(publish) => Seen::of("PUBLISH")
            .put("topic", &publish.topic)
            .put("qos", publish.qos.value())
            .maybe("id", publish.packet_id)
            .flag("dup", publish.dup)
            .flag("retain", publish.retain)
            .bytes("payload", Some(&publish.payload)),
        Packet::PublishAck { packet_id } => Seen::of("PUBACK").put("id", packet_id),
        Packet::PublishReceived { packet_id } => Seen::of("PUBREC").put("id", packet_id),
        Packet::PublishRelease { packet_id } => Seen::of("PUBREL").put("id", packet_id),
        Packet::PublishComplete { packet_id } => Seen::of("PUBCOMP").put("id", packet_id),
        Packet::Subscribe { packet_id, topic_filters } => {
            let filters = topic_filters
                .iter()
                .map(|(filter, qos)| format!("{filter} {:?}", (qos.value(), false, false, 0)));
            Seen::of("SUBSCRIBE").put("id", packet_id).list("filter", filters)
        }
        Packet::SubscribeAck { packet_id, status } => {
            let code = |code: &SubscribeReturnCode| match code {
                SubscribeReturnCode::Success(qos) => qos.value(),
                SubscribeReturnCode::Failure => 0x80,
            };
            Seen::of("SUBACK").put("id", packet_id).list("reason", status.iter().map(code))
        }
        Packet::Unsubscribe { packet_id, topic_filters } => {
            Seen::of("UNSUBSCRIBE").put("id", packet_id).list("filter", topic_filters)
        }
        Packet::UnsubscribeAck { packet_id } => Seen::of("UNSUBACK").put("id", packet_id),
        Packet::PingRequest => Seen::of("PINGREQ"),
        Packet::PingResponse => Seen::of("PINGRESP"),
        Packet::Disconnect => Seen::of("DISCONNECT"),
    }
}
