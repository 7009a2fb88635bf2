//! An application message inside the gateway: kept once, however many subscribers wait for it.

mod payload;

use std::time::Duration;

pub(crate) use payload::Payload;
use roost_wire::envelope::header;
use roost_wire::{BootTime, Broadcast, Qos, Topic};

use crate::packet::{
    BinaryData, Delivery, PayloadFormat, Publish, PublishProperties, PublishPropertiesRef, PublishRef, QoS,
    SubscriptionId, Text, UserProperty,
};
use crate::trace;

/// A message that a client published. It shares no read buffer except for a large payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic: Text,
    pub(crate) payload: Payload,
    pub(crate) retain: bool,
    pub(crate) properties: Option<Box<PublishProperties>>,
    /// When its v5 Message Expiry Interval ends.
    pub(crate) expires_at: Option<BootTime>,
}

/// A payload from this size on stays in the buffer it was read into; a smaller one is copied, since it would keep up to
/// 64 KiB alive for as long as it waits.
const SHARED_PAYLOAD_BYTES_MIN: usize = 16 * 1024;

impl Message {
    /// Takes over what a client published, received `now`.
    pub(crate) fn from_publish(now: BootTime, publish: Publish) -> Self {
        let topic = publish.topic.detached();
        Self::from_publish_into(now, publish, topic, Payload::default())
    }

    /// The same with that topic, which shares no read buffer, and in the memory of a payload that is over.
    pub(crate) fn from_publish_into(now: BootTime, publish: Publish, topic: Text, over: Payload) -> Self {
        let payload = match (publish.payload.len(), over) {
            (SHARED_PAYLOAD_BYTES_MIN.., _) => publish.payload.into(),
            (_, Payload::Own(mut bytes)) => {
                bytes.clear();
                bytes.extend_from_slice(&publish.payload);
                Payload::Own(bytes)
            }
            (_, Payload::Shared(_)) => Payload::Own(publish.payload.to_vec()),
        };
        let properties = publish.properties.map(|properties| Box::new(properties.detached()));
        let expiry_s = properties.as_ref().and_then(|p| p.message_expiry_s);
        Self {
            topic,
            payload,
            retain: publish.retain,
            properties,
            expires_at: expiry_s.map(|s| now + Duration::from_secs(s.into())),
        }
    }

    /// What a service, or a device of another gateway, has published for all gateways, received `now`. `None` if a text or a length in it
    /// is one that MQTT does not carry.
    pub(crate) fn from_broadcast(now: BootTime, broadcast: Broadcast) -> Option<Self> {
        let text = |text: Option<String>| text.map(Text::parse).transpose();
        let mut user_properties = Vec::with_capacity(broadcast.user_properties.len());
        for (name, value) in broadcast.user_properties {
            user_properties
                .push(UserProperty { name: Text::parse(name).ok()?, value: Text::parse(value).ok()? });
        }
        if let Some(trace) = broadcast.trace.filter(|_| trace::said(&user_properties).is_none()) {
            user_properties.push(UserProperty {
                name: Text::from_static(header::TRACEPARENT),
                value: Text::parse(trace.to_string()).ok()?,
            });
        }
        let properties = PublishProperties {
            payload_format: broadcast.payload_is_utf8.then_some(PayloadFormat::Utf8),
            content_type: text(broadcast.content_type).ok()?,
            response_topic: text(broadcast.response_topic.map(String::from)).ok()?,
            correlation_data: broadcast.correlation_data.map(BinaryData::parse).transpose().ok()?,
            user_properties,
            ..PublishProperties::default()
        };
        let is_plain = properties == PublishProperties::default();
        Some(Self {
            topic: Text::parse(String::from(broadcast.topic)).ok()?,
            payload: broadcast.payload.into(),
            retain: broadcast.retain,
            properties: (!is_plain).then(|| Box::new(properties)),
            expires_at: broadcast.expires_in_ms.map(|ms| now + Duration::from_millis(ms)),
        })
    }

    /// As another gateway is told of a retained one. `None` if its expiry has passed, or its topic is none that the mesh carries.
    pub(crate) fn to_broadcast(&self, now: BootTime, qos: QoS) -> Option<Broadcast> {
        if self.is_expired(now) {
            return None;
        }
        let properties = self.properties.as_deref().cloned().unwrap_or_default();
        let own = |text: Text| text.as_str().to_owned();
        Some(Broadcast {
            qos: match qos {
                QoS::AtMostOnce => Qos::AtMostOnce,
                QoS::AtLeastOnce | QoS::ExactlyOnce => Qos::AtLeastOnce,
            },
            retain: true,
            expires_in_ms: self
                .expires_at
                .map(|at| u64::try_from(at.since(now).as_millis()).unwrap_or(u64::MAX)),
            content_type: properties.content_type.map(own),
            payload_is_utf8: properties.payload_format == Some(PayloadFormat::Utf8),
            response_topic: properties.response_topic.and_then(|topic| Topic::parse(&topic).ok()),
            correlation_data: properties.correlation_data.map(BinaryData::into_bytes),
            user_properties: properties
                .user_properties
                .into_iter()
                .map(|pair| (own(pair.name), own(pair.value)))
                .collect(),
            ..Broadcast::new(Topic::parse(&self.topic).ok()?, self.payload.clone().into_bytes())
        })
    }

    /// The same message in memory of its own, for one that is kept for long.
    pub(crate) fn detached(&self) -> Self {
        Self { payload: Payload::Own(self.payload.to_vec()), ..self.clone() }
    }

    /// What it counts against bounds in bytes: topic, payload and properties.
    pub(crate) fn bytes(&self) -> usize {
        self.topic.len() + self.payload.len() + self.properties_bytes()
    }

    /// The bytes of its properties that have no bound of their own but the packet's.
    pub(crate) fn properties_bytes(&self) -> usize {
        let Some(p) = &self.properties else { return 0 };
        let pairs: usize = p.user_properties.iter().map(|pair| pair.name.len() + pair.value.len()).sum();
        let text = |text: &Option<Text>| text.as_ref().map_or(0, |text| text.len());
        pairs
            + text(&p.response_topic)
            + text(&p.content_type)
            + p.correlation_data.as_ref().map_or(0, |data| data.len())
    }

    /// Whether its expiry has passed.
    pub(crate) fn is_expired(&self, now: BootTime) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// As a PUBLISH to one subscriber, with what remains of its expiry [MQTT-3.3.2-6].
    pub(crate) fn to_publish<'a>(
        &'a self,
        now: BootTime,
        delivery: Delivery,
        retain: bool,
        subscription_ids: &'a [SubscriptionId],
    ) -> PublishRef<'a> {
        let properties = self.properties.as_deref().map(PublishPropertiesRef::from).unwrap_or_default();
        PublishRef {
            topic: &self.topic,
            delivery,
            retain,
            payload: &self.payload,
            properties: PublishPropertiesRef {
                message_expiry_s: self.expires_at.map(|at| seconds_left(at.since(now))),
                topic_alias: None,
                subscription_ids,
                ..properties
            },
        }
    }
}

/// What is left of a lifetime, in whole seconds, rounded up: what is alive has at least one.
pub(crate) fn seconds_left(left: Duration) -> u32 {
    let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_message_lets_go_of_the_buffer_it_was_read_into() {
        let buffer = Bytes::from(vec![b'x'; 64 * 1024]);
        let publish = |len| Publish {
            topic: Text::from_bytes(buffer.slice(..3)).unwrap(),
            delivery: Delivery::AtMostOnce,
            retain: false,
            payload: buffer.slice(..len),
            properties: None,
        };
        let small = Message::from_publish(BootTime::default(), publish(10));
        assert_ne!(small.payload.as_ptr(), buffer.as_ptr());
        let large = Message::from_publish(BootTime::default(), publish(SHARED_PAYLOAD_BYTES_MIN));
        assert_eq!(large.payload.as_ptr(), buffer.as_ptr());
        assert_ne!(large.detached().payload.as_ptr(), buffer.as_ptr());
    }

    #[test]
    fn expiry_counts_down_and_never_shows_zero_while_alive() {
        let properties = PublishProperties { message_expiry_s: Some(10), ..PublishProperties::default() };
        let publish = Publish {
            topic: Text::from_static("a"),
            delivery: Delivery::AtMostOnce,
            retain: false,
            payload: Bytes::new(),
            properties: Some(Box::new(properties)),
        };
        let message = Message::from_publish(BootTime::from_micros(0), publish);
        for (at_ms, left) in [(0, Some(10)), (9_000, Some(1)), (9_999, Some(1))] {
            let now = BootTime::from_micros(at_ms * 1_000);
            assert!(!message.is_expired(now));
            assert_eq!(
                message.to_publish(now, Delivery::AtMostOnce, false, &[]).properties.message_expiry_s,
                left
            );
        }
        assert!(message.is_expired(BootTime::from_micros(10_000_000)));
    }
}
