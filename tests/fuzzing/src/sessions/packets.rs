//! Operations as the packets of their clients, and packets as words.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use bytes::Bytes;
use roost_gateway::packet::{
    Ack, BinaryData, Connect, ConnectProperties, Delivery, Disconnect, DisconnectProperties, Packet,
    PacketId, Publish, PublishProperties, QoS, ReasonCode, RetainHandling, Subscribe, SubscribeFilter,
    SubscribeOptions, SubscribeProperties, SubscriptionId, Text, Unsubscribe, Will, WillProperties,
};

use super::model::{Heard, Word, speaks_v5};
use super::operation::{Answer, ConnectWish, FILTERS, FilterWish, PublishWish, TOPICS, WillWish};
use super::walk::version;

/// Of SUBSCRIBE and UNSUBSCRIBE, which are answered at once.
pub(super) const SUBSCRIBE_ID: u16 = 99;

/// How a client comes back in the end.
pub(super) const RESUME: ConnectWish = ConnectWish {
    clean_start: false,
    expiry_s: Some(5),
    receive_maximum: None,
    keep_alive_s: 0,
    topic_aliases: 0,
    will: None,
};

fn id(id: u16) -> PacketId {
    PacketId::new(id).unwrap_or(PacketId::FIRST)
}

fn qos(qos: u8) -> QoS {
    [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(qos)]
}

pub(super) fn connect(client: usize, wish: &ConnectWish, will_payload: &str) -> Packet {
    let is_v5 = speaks_v5(client);
    let properties = ConnectProperties {
        session_expiry_interval_s: wish.expiry_s,
        receive_maximum: wish.receive_maximum.and_then(NonZeroU16::new),
        topic_alias_maximum: Some(wish.topic_aliases),
        ..ConnectProperties::default()
    };
    Packet::Connect(Box::new(Connect {
        version: version(client),
        clean_start: wish.clean_start,
        keep_alive_s: wish.keep_alive_s,
        client_id: Text::from_static(["a", "b", "c", "d"][client]),
        will: wish.will.map(|wish| will(&wish, will_payload, is_v5)),
        user_name: None,
        password: None,
        properties: if is_v5 { properties } else { ConnectProperties::default() },
    }))
}

fn will(wish: &WillWish, payload: &str, is_v5: bool) -> Will {
    let properties = WillProperties {
        delay_interval_s: Some(wish.delay_s),
        message_expiry_s: wish.expiry_s,
        ..WillProperties::default()
    };
    Will {
        topic: Text::from_static(TOPICS[wish.topic]),
        payload: BinaryData::parse(payload.to_owned()).expect("it is short"),
        qos: qos(wish.qos),
        retain: wish.retain,
        properties: if is_v5 { properties } else { WillProperties::default() },
    }
}

pub(super) fn disconnect(client: usize, keeps_will: bool, expiry_s: Option<u32>) -> Packet {
    if !speaks_v5(client) {
        return Packet::Disconnect(Disconnect::default());
    }
    let properties =
        DisconnectProperties { session_expiry_interval_s: expiry_s, ..DisconnectProperties::default() };
    let reason = if keeps_will { ReasonCode::DisconnectWithWill } else { ReasonCode::Success };
    Packet::Disconnect(Disconnect { reason, properties: Some(Box::new(properties)) })
}

pub(super) fn subscribe(
    client: usize,
    packet_id: u16,
    filters: &[FilterWish],
    subscription: Option<u32>,
) -> Packet {
    let is_v5 = speaks_v5(client);
    let filter = |wish: &FilterWish| SubscribeFilter {
        filter: Text::from_static(FILTERS[wish.filter]),
        options: SubscribeOptions {
            qos: qos(wish.qos),
            no_local: is_v5 && wish.no_local,
            retain_as_published: is_v5 && wish.retain_as_published,
            retain_handling: match wish.retain_handling {
                _ if !is_v5 => RetainHandling::SendAlways,
                0 => RetainHandling::SendAlways,
                1 => RetainHandling::SendIfNew,
                _ => RetainHandling::DoNotSend,
            },
        },
    };
    let properties = SubscribeProperties {
        subscription_id: subscription.and_then(SubscriptionId::new),
        ..SubscribeProperties::default()
    };
    Packet::Subscribe(Subscribe {
        packet_id: id(packet_id),
        filters: filters.iter().map(filter).collect(),
        properties: is_v5.then(|| Box::new(properties)),
    })
}

pub(super) fn unsubscribe(packet_id: u16, filter: usize) -> Packet {
    let filters = vec![Text::from_static(FILTERS[filter])];
    Packet::Unsubscribe(Unsubscribe { packet_id: id(packet_id), filters, properties: None })
}

pub(super) fn publish(client: usize, wish: &PublishWish, payload: &str) -> Packet {
    let packet_id = id(wish.id);
    let delivery = match qos(wish.qos) {
        QoS::AtMostOnce => Delivery::AtMostOnce,
        QoS::AtLeastOnce => Delivery::AtLeastOnce { packet_id, dup: wish.dup },
        QoS::ExactlyOnce => Delivery::ExactlyOnce { packet_id, dup: wish.dup },
    };
    let properties = PublishProperties { message_expiry_s: wish.expiry_s, ..PublishProperties::default() };
    Packet::Publish(Publish {
        topic: Text::from_static(TOPICS[wish.topic]),
        delivery,
        retain: wish.retain,
        payload: Bytes::from(payload.to_owned()),
        properties: (speaks_v5(client) && wish.expiry_s.is_some()).then(|| Box::new(properties)),
    })
}

pub(super) fn pubrel(packet_id: u16) -> Packet {
    Packet::Pubrel(Ack::success(id(packet_id)))
}

pub(super) fn answer(client: usize, answer: Answer, packet_id: u16) -> Packet {
    let ack = Ack::success(id(packet_id));
    match answer {
        Answer::Puback => Packet::Puback(ack),
        Answer::Pubrec { refuses } if refuses && speaks_v5(client) => {
            Packet::Pubrec(Ack::with_reason(id(packet_id), ReasonCode::UnspecifiedError))
        }
        Answer::Pubrec { .. } => Packet::Pubrec(ack),
        Answer::Pubcomp => Packet::Pubcomp(ack),
    }
}

/// What a client has read; an alias stands for its topic.
pub(super) fn word(packet: Packet, aliases: &mut BTreeMap<u16, String>) -> Result<Word, String> {
    let of = |ack: &Ack| (ack.packet_id.value(), ack.reason.byte());
    let bytes = |reasons: &[ReasonCode]| reasons.iter().map(|reason| reason.byte()).collect();
    Ok(match packet {
        Packet::Connack(connack) if connack.reason == ReasonCode::Success => Word::Connack {
            session_present: connack.session_present,
            expiry_s: connack.properties.and_then(|properties| properties.session_expiry_interval_s),
        },
        Packet::Suback(suback) => {
            Word::Suback { id: suback.packet_id.value(), reasons: bytes(&suback.reasons) }
        }
        Packet::Unsuback(ack) => Word::Unsuback { id: ack.packet_id.value(), reasons: bytes(&ack.reasons) },
        Packet::Publish(publish) => Word::Publish(heard(publish, aliases)?),
        Packet::Puback(ack) => Word::Puback { id: of(&ack).0, reason: of(&ack).1 },
        Packet::Pubrec(ack) => Word::Pubrec { id: of(&ack).0, reason: of(&ack).1 },
        Packet::Pubrel(ack) => Word::Pubrel { id: of(&ack).0, reason: of(&ack).1 },
        Packet::Pubcomp(ack) => Word::Pubcomp { id: of(&ack).0, reason: of(&ack).1 },
        Packet::Pingresp => Word::Pingresp,
        Packet::Disconnect(disconnect) => Word::Disconnect { reason: disconnect.reason.byte() },
        other => return Err(format!("nobody asked for {other:?}")),
    })
}

fn heard(publish: Publish, aliases: &mut BTreeMap<u16, String>) -> Result<Heard, String> {
    let properties = publish.properties.map(|properties| *properties).unwrap_or_default();
    let mut topic = publish.topic.as_str().to_owned();
    if let Some(alias) = properties.topic_alias {
        if topic.is_empty() {
            topic = aliases.get(&alias.get()).cloned().ok_or("an alias that stands for nothing")?;
        } else {
            aliases.insert(alias.get(), topic.clone());
        }
    }
    let mut subscription_ids: Vec<u32> = properties.subscription_ids.iter().map(|id| id.value()).collect();
    subscription_ids.sort_unstable();
    Ok(Heard {
        serial: 0,
        id: publish.delivery.packet_id().map(PacketId::value),
        topic,
        payload: String::from_utf8_lossy(&publish.payload).into_owned(),
        qos: publish.delivery.qos().byte(),
        dup: publish.delivery.dup(),
        retain: publish.retain,
        expiry_s: properties.message_expiry_s,
        subscription_ids,
    })
}
