//! What of a session MQTT has packets for: a subscription is a SUBSCRIBE with one filter, a message is a PUBLISH. So it is written where it
//! travels to another gateway, and where it is kept on disk.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use roost_wire::BootTime;

use super::LocalCopy;
use crate::message::Message;
use crate::packet::{
    DecodeLimits, Decoder, Encoder, Packet, PacketId, ProtocolVersion, Publish, PublishRef, Subscribe,
    SubscribeFilter, SubscribeProperties, SubscriptionId, Text,
};
use crate::share::Filter;
use crate::subscriptions::Subscription;

pub(crate) const ENCODER: Encoder = Encoder::new(ProtocolVersion::V5);

/// Both sides are the mesh's own, and a session is bounded as a whole.
const LIMITS: DecodeLimits = DecodeLimits {
    packet_bytes_max: u32::MAX,
    connect_bytes_max: 0,
    auth_bytes_max: 0,
    user_properties_max: 64 * 1024,
    filters_max: 1,
};

pub(crate) fn put_subscription(out: &mut BytesMut, filter: &Filter, subscription: &Subscription) {
    let properties = subscription.subscription_id.map(|id| {
        Box::new(SubscribeProperties { subscription_id: Some(id), ..SubscribeProperties::default() })
    });
    let filter = Text::parse(filter.to_string()).expect("a filter came as an MQTT string");
    let filters = vec![SubscribeFilter { filter, options: subscription.options }];
    let subscribe = Packet::Subscribe(Subscribe { packet_id: PacketId::FIRST, filters, properties });
    ENCODER.encode(&subscribe, out).expect("it came in such a packet");
}

pub(crate) fn put_message(
    out: &mut BytesMut,
    now: BootTime,
    packet_id: PacketId,
    dup: bool,
    copy: &LocalCopy,
) {
    ENCODER
        .encode_publish(&as_publish(now, packet_id, dup, copy), out)
        .expect("it came in such a packet, and what cannot be encoded has no room");
}

pub(crate) fn as_publish(now: BootTime, packet_id: PacketId, dup: bool, copy: &LocalCopy) -> PublishRef<'_> {
    copy.message.to_publish(now, copy.delivery(packet_id, dup), copy.retain, &copy.subscription_ids)
}

pub(crate) fn read_subscription(record: Bytes) -> Option<(Filter, Subscription)> {
    let Packet::Subscribe(subscribe) = read_packet(record)? else { return None };
    let [SubscribeFilter { filter, options }] = subscribe.filters.as_slice() else { return None };
    let filter = Filter::parse(filter).ok()?;
    let subscription_id = subscribe.properties.and_then(|properties| properties.subscription_id);
    Some((filter, Subscription { options: *options, subscription_id }))
}

pub(crate) fn read_message(now: BootTime, record: Bytes) -> Option<(PacketId, LocalCopy)> {
    let Packet::Publish(publish) = read_packet(record)? else { return None };
    let (packet_id, qos) = (publish.delivery.packet_id()?, publish.delivery.qos());
    if publish.topic.is_empty() {
        return None;
    }
    let (publish, subscription_ids) = without_subscription_ids(publish);
    let retain = publish.retain;
    let message = Arc::new(Message::from_publish(now, publish));
    Some((packet_id, LocalCopy { message, qos, retain, subscription_ids, share: None }))
}

/// The identifiers are the receiver's, all else is the message's.
fn without_subscription_ids(mut publish: Publish) -> (Publish, Vec<SubscriptionId>) {
    let Some(properties) = &mut publish.properties else { return (publish, Vec::new()) };
    let ids = std::mem::take(&mut properties.subscription_ids);
    if **properties == crate::packet::PublishProperties::default() {
        publish.properties = None;
    }
    (publish, ids)
}

/// The packet that the record is, and nothing behind it.
pub(crate) fn read_packet(record: Bytes) -> Option<Packet> {
    const SUBSCRIBE: u8 = 8;
    let is_subscribe = record.first().is_some_and(|first| first >> 4 == SUBSCRIBE);
    // Only clients send the one, and only servers may put identifiers into the other.
    let mut decoder = match is_subscribe {
        true => Decoder::for_connected_server(ProtocolVersion::V5, LIMITS),
        false => Decoder::for_client(ProtocolVersion::V5, LIMITS),
    };
    let mut bytes = BytesMut::from(record);
    let packet = decoder.decode(&mut bytes).ok().flatten()?;
    bytes.is_empty().then_some(packet)
}
