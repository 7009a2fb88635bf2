//! An event: a message on its way up from a device.

use bytes::Bytes;

use super::said::Said;
use super::{BroadcastOrigin, Qos, header};
use crate::{
    Device, GatewayId, Incarnation, Message, Properties, Region, RoutingKey, Topic, TraceContext, WallTime,
};

/// One PUBLISH of a device, as services get it from `roost.up`.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Who published.
    pub device: Device,
    /// To which topic.
    pub topic: Topic,
    /// The MQTT payload, untouched.
    pub payload: Bytes,
    /// With which QoS. Above 0 the AMQP message is persistent.
    pub qos: Qos,
    /// With the retain flag?
    pub retain: bool,
    /// With the DUP flag? The device may have published it before.
    pub dup: bool,
    /// The gateway that received it.
    pub gateway: GatewayId,
    /// That gateway's region.
    pub region: Region,
    /// That gateway's run; with `sequence` it makes the event's id.
    pub incarnation: Incarnation,
    /// The event's place among those of that run.
    pub sequence: u64,
    /// When the gateway received it.
    pub received_at: WallTime,
    /// Whether it was published to AMQP before, and may be there twice (with the same id).
    pub replayed: bool,
    /// v5 Content Type.
    pub content_type: Option<String>,
    /// v5 Message Expiry Interval, in seconds.
    pub expiry_s: Option<u32>,
    /// v5 Payload Format Indicator: the payload is UTF-8.
    pub payload_is_utf8: bool,
    /// v5 Response Topic.
    pub response_topic: Option<String>,
    /// v5 Correlation Data.
    pub correlation_data: Option<Bytes>,
    /// v5 User Properties, in order.
    pub user_properties: Vec<(String, String)>,
    /// Where it is in a trace: the header `traceparent`. One that is malformed counts as none.
    pub trace: Option<TraceContext>,
}

/// Why a message is not an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an event: header {header} is missing or wrong")]
pub struct EventError {
    header: &'static str,
}

impl Event {
    /// The deduplication key, the AMQP `message_id`: incarnation and sequence. It stays when the event is published again.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}-{:x}", self.incarnation, self.sequence)
    }

    /// The event as an AMQP message to `exchange`. What lives longer than 49 days lives 49 days there, the most that brokers take.
    #[must_use]
    pub fn into_message(self, exchange: &str) -> Message {
        let message_id = Some(self.id());
        let said = Said {
            qos: self.qos,
            expires_in_ms: self.expiry_s.map(|s| u64::from(s) * 1_000),
            content_type: self.content_type,
            payload_is_utf8: self.payload_is_utf8,
            response_topic: self.response_topic,
            correlation_data: self.correlation_data,
            user_properties: self.user_properties,
            trace: self.trace,
        };
        let mut properties = Properties {
            message_id,
            timestamp_s: Some(self.received_at.as_millis() / 1_000),
            ..said.into_properties()
        };
        properties.set(header::TENANT, self.device.tenant.as_str());
        properties.set(header::DEVICE, self.device.id.as_str());
        properties.set(header::TOPIC, self.topic.as_str());
        properties.set(header::GATEWAY, self.gateway.as_str());
        properties.set(header::REGION, self.region.as_str());
        properties.set(header::QOS, i64::from(u8::from(self.qos)));
        properties.set(header::RETAIN, self.retain);
        properties.set(header::DUP, self.dup);
        properties.set(header::REPLAYED, self.replayed);
        properties.set(header::RECEIVED_AT, self.received_at.as_millis());
        properties.set(header::SEQUENCE, self.sequence);
        let routing_key = RoutingKey::for_event(&self.device, &self.topic).as_str().to_owned();
        Message { exchange: exchange.to_owned(), routing_key, properties, body: self.payload }
    }

    /// The event as a broadcast, an AMQP message to `exchange`: with the topic alone as its key, and the header by which its own gateway
    /// knows it. Else as [`Event::into_message`], so that services may read it as an event.
    #[must_use]
    pub fn into_broadcast(self, exchange: &str) -> Message {
        let routing_key = RoutingKey::for_topic(&self.topic).as_str().to_owned();
        let origin = BroadcastOrigin::header_value(&self.gateway, self.incarnation);
        let mut message = Message { routing_key, ..self.into_message(exchange) };
        message.properties.set(header::ORIGIN, origin);
        message
    }

    /// Reads an event back, as a service in Rust would.
    ///
    /// # Errors
    /// [`EventError`] names the first header that is missing or wrong.
    pub fn from_message(message: &Message) -> Result<Self, EventError> {
        let p = &message.properties;
        let text = |header| p.text(header).ok_or(EventError { header });
        let int = |header| p.int(header).and_then(|i| u64::try_from(i).ok()).ok_or(EventError { header });
        let bool = |header| p.bool(header).ok_or(EventError { header });
        let id = p.message_id.as_deref().and_then(|id| id.split_once('-')).and_then(|(i, _)| i.parse().ok());
        let expiry_s = p.expiration.as_deref().and_then(|ms| ms.parse::<u64>().ok()).map(|ms| ms / 1_000);
        Ok(Self {
            device: Device {
                tenant: text(header::TENANT)?.parse().map_err(|_| EventError { header: header::TENANT })?,
                id: text(header::DEVICE)?.parse().map_err(|_| EventError { header: header::DEVICE })?,
            },
            topic: text(header::TOPIC)?.parse().map_err(|_| EventError { header: header::TOPIC })?,
            payload: message.body.clone(),
            qos: u8::try_from(int(header::QOS)?)
                .ok()
                .and_then(|q| Qos::try_from(q).ok())
                .ok_or(EventError { header: header::QOS })?,
            retain: bool(header::RETAIN)?,
            dup: bool(header::DUP)?,
            gateway: text(header::GATEWAY)?.parse().map_err(|_| EventError { header: header::GATEWAY })?,
            region: text(header::REGION)?.parse().map_err(|_| EventError { header: header::REGION })?,
            incarnation: id.ok_or(EventError { header: "message_id" })?,
            sequence: int(header::SEQUENCE)?,
            received_at: WallTime::from_millis(int(header::RECEIVED_AT)?),
            replayed: bool(header::REPLAYED)?,
            content_type: p.content_type.clone(),
            expiry_s: expiry_s.map(|s| u32::try_from(s).unwrap_or(u32::MAX)),
            payload_is_utf8: p.bool(header::PAYLOAD_UTF8).unwrap_or(false),
            response_topic: p.text(header::RESPONSE_TOPIC).map(str::to_owned),
            correlation_data: header::correlation_data(p).unwrap_or(None),
            user_properties: header::read_user_properties(p)
                .ok_or(EventError { header: header::USER_PROPERTIES })?,
            trace: header::trace(p),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::DeliveryMode;

    fn event(topic: &str, payload: Vec<u8>, pairs: Vec<(String, String)>, sequence: u32) -> Event {
        Event {
            device: "acme/pump 7".parse().unwrap(),
            topic: Topic::parse(topic).unwrap(),
            payload: payload.into(),
            qos: Qos::AtLeastOnce,
            retain: false,
            dup: true,
            gateway: "eu-1".parse().unwrap(),
            region: "eu".parse().unwrap(),
            incarnation: Incarnation(0xfeed),
            sequence: sequence.into(),
            received_at: WallTime::from_millis(1_700_000_000_123),
            replayed: false,
            content_type: Some("text/plain".to_owned()),
            expiry_s: Some(60),
            payload_is_utf8: true,
            response_topic: Some("answers/here".to_owned()),
            correlation_data: Some(Bytes::from_static(b"\xff\x00")),
            user_properties: pairs,
            trace: None,
        }
    }

    #[test]
    fn an_event_is_addressed_and_marked_for_services() {
        let message = event("state/temp.c", b"21".to_vec(), Vec::new(), 255).into_message("roost.up");
        assert_eq!(message.routing_key, "acme.pump 7.state.temp%2Ec");
        assert_eq!(message.properties.message_id.as_deref(), Some("000000000000feed-ff"));
        assert_eq!(message.properties.delivery_mode, DeliveryMode::Persistent);
        assert_eq!(message.properties.expiration.as_deref(), Some("60000"));
        assert_eq!(message.properties.text(header::TOPIC), Some("state/temp.c"));
        assert_eq!(message.body.as_ref(), b"21");
    }

    #[test]
    fn the_longest_expiry_of_mqtt_is_one_that_brokers_take() {
        for (expiry_s, ms) in
            [(0, 0), (4_294_967, 4_294_967_000), (4_294_968, u32::MAX), (u32::MAX, u32::MAX)]
        {
            let event = Event { expiry_s: Some(expiry_s), ..event("a", Vec::new(), Vec::new(), 0) };
            let expiration = event.into_message("roost.up").properties.expiration;
            assert_eq!(expiration, Some(ms.to_string()), "{expiry_s} s");
        }
    }

    #[test]
    fn a_message_that_lacks_a_header_is_not_an_event() {
        let mut message = event("a", Vec::new(), Vec::new(), 0).into_message("roost.up");
        message.properties.headers.remove(header::QOS);
        assert_eq!(Event::from_message(&message), Err(EventError { header: header::QOS }));
    }

    proptest! {
        #[test]
        fn an_event_reads_back(
            topic in "[a-z/é]{1,40}", payload in any::<Vec<u8>>(),
            pairs in proptest::collection::vec((any::<String>(), any::<String>()), 0..4), sequence in any::<u32>(),
        ) {
            let event = event(&topic, payload, pairs, sequence);
            prop_assert_eq!(Event::from_message(&event.clone().into_message("roost.up")), Ok(event));
        }
    }
}
