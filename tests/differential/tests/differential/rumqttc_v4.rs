//! What rumqttc's codec of MQTT 3.1.1 sees.

use bytes::BytesMut;
use rumqttc::mqttbytes::Error;
use rumqttc::mqttbytes::v4::{Packet, SubscribeReasonCode};

use crate::comparison::is_whole;
use crate::seen::Seen;

pub(crate) fn decode(bytes: &[u8]) -> Result<Option<Packet>, String> {
    match Packet::read(&mut BytesMut::from(bytes), usize::MAX) {
        Ok(packet) => Ok(Some(packet)),
        Err(Error::InsufficientBytes(_)) if !is_whole(bytes) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

pub(crate) fn encode(packet: &Packet) -> Result<BytesMut, String> {
    let mut bytes = BytesMut::new();
    packet.write(&mut bytes, usize::MAX).map_err(|error| error.to_string())?;
    Ok(bytes)
}

pub(crate) fn seen(packet: &Packet) -> Seen {
    match packet {
        Packet::Connect(connect) => {
            let level = match connect.protocol {
                rumqttc::mqttbytes::Protocol::V4 => 4,
                rumqttc::mqttbytes::Protocol::V5 => 5,
            };
            let seen = Seen::of("CONNECT")
                .put("level", level)
                .flag("clean start", connect.clean_session)
                .put("keep alive", connect.keep_alive)
                .put("client id", &connect.client_id)
                .maybe("user name", connect.login.as_ref().map(|login| &login.username))
                .bytes("password", connect.login.as_ref().map(|login| login.password.as_bytes()));
            match &connect.last_will {
                Some(will) => seen.with(
                    "will",
                    Seen::default()
                        .put("topic", &will.topic)
                        .bytes("payload", Some(&will.message))
                        .put("qos", will.qos as u8)
                        .flag("retain", will.retain),
                ),
                None => seen,
            }
        }
        Packet::ConnAck(connack) => Seen::of("CONNACK")
            .flag("session present", connack.session_present)
            .put("reason", return_code(connack.code as u8)),
        Packet::Publish(publish) => Seen::of("PUBLISH")
            .put("topic", &publish.topic)
            .put("qos", publish.qos as u8)
            .unless(0, "id", Some(publish.pkid))
            .flag("dup", publish.dup)
            .flag("retain", publish.retain)
            .bytes("payload", Some(&publish.payload)),
        Packet::PubAck(ack) => Seen::of("PUBACK").put("id", ack.pkid),
        Packet::PubRec(ack) => Seen::of("PUBREC").put("id", ack.pkid),
        Packet::PubRel(ack) => Seen::of("PUBREL").put("id", ack.pkid),
        Packet::PubComp(ack) => Seen::of("PUBCOMP").put("id", ack.pkid),
        Packet::Subscribe(subscribe) => {
            let filters = subscribe
                .filters
                .iter()
                .map(|it| format!("{} {:?}", it.path, (it.qos as u8, false, false, 0)));
            Seen::of("SUBSCRIBE").put("id", subscribe.pkid).list("filter", filters)
        }
        Packet::SubAck(suback) => {
            let code = |code: &SubscribeReasonCode| match code {
                SubscribeReasonCode::Success(qos) => *qos as u8,
                SubscribeReasonCode::Failure => 0x80,
            };
            Seen::of("SUBACK").put("id", suback.pkid).list("reason", suback.return_codes.iter().map(code))
        }
        Packet::Unsubscribe(it) => Seen::of("UNSUBSCRIBE").put("id", it.pkid).list("filter", &it.topics),
        Packet::UnsubAck(it) => Seen::of("UNSUBACK").put("id", it.pkid),
        Packet::PingReq => Seen::of("PINGREQ"),
        Packet::PingResp => Seen::of("PINGRESP"),
        Packet::Disconnect => Seen::of("DISCONNECT"),
    }
}

/// As the gateway names the return codes of 3.1.1.
pub(crate) fn return_code(code: u8) -> u8 {
    [0, 0x84, 0x85, 0x88, 0x86, 0x87].get(usize::from(code)).copied().unwrap_or(code)
}
