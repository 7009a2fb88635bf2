//! A broadcast: a message for every subscriber of a topic, on all gateways.

use bytes::Bytes;

use super::said::Said;
use super::{Qos, header};
use crate::{
    DeliveryMode, Device, DeviceId, GatewayId, HeaderValue, Incarnation, Message, Properties, RoutingKey,
    Tenant, Topic, TraceContext, WallTime,
};

/// One message on `roost.fanout`, from a service or from a device of another gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct Broadcast {
    /// To which topic: the header `roost-topic`.
    pub topic: Topic,
    /// The payload, untouched.
    pub payload: Bytes,
    /// 0 or 1: AMQP's `delivery_mode` 2 is QoS 1.
    pub qos: Qos,
    /// Whether it is the last one of its topic for who subscribes later: the header `roost-retain`.
    pub retain: bool,
    /// Which gateway took it in from a device; none if a service published it.
    pub origin: Option<BroadcastOrigin>,
    /// How long it is of use, in milliseconds: AMQP's `expiration`.
    pub expires_in_ms: Option<u64>,
    /// v5 Content Type.
    pub content_type: Option<String>,
    /// v5 Payload Format Indicator: the payload is UTF-8.
    pub payload_is_utf8: bool,
    /// v5 Response Topic.
    pub response_topic: Option<Topic>,
    /// v5 Correlation Data.
    pub correlation_data: Option<Bytes>,
    /// v5 User Properties, in order.
    pub user_properties: Vec<(String, String)>,
    /// Where it is in a trace: the header `traceparent`. One that is malformed counts as none.
    pub trace: Option<TraceContext>,
}

/// Where a device has published a broadcast. That gateway's own subscribers have had it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BroadcastOrigin {
    /// The gateway and its run: the header `roost-origin`, `gateway/incarnation`.
    pub gateway: GatewayId,
    /// That gateway's run.
    pub incarnation: Incarnation,
    /// When it was published there, by that gateway's clock.
    pub received_at: WallTime,
    /// Who published it.
    pub device: Device,
}

/// Why a message on `roost.fanout` is not a broadcast. Its publisher is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a broadcast: {what} is missing or wrong")]
pub struct BroadcastError {
    what: &'static str,
}

impl Broadcast {
    /// A broadcast at QoS 1 with nothing else.
    #[must_use]
    pub fn new(topic: Topic, payload: Bytes) -> Self {
        Self {
            topic,
            payload,
            qos: Qos::AtLeastOnce,
            retain: false,
            origin: None,
            expires_in_ms: None,
            content_type: None,
            payload_is_utf8: false,
            response_topic: None,
            correlation_data: None,
            user_properties: Vec::new(),
            trace: None,
        }
    }

    /// The broadcast of a service as an AMQP message to `exchange`. What lives longer than 49 days lives 49 days there, the most that
    /// brokers take.
    #[must_use]
    pub fn into_message(self, exchange: &str) -> Message {
        let said = Said {
            qos: self.qos,
            expires_in_ms: self.expires_in_ms,
            content_type: self.content_type,
            payload_is_utf8: self.payload_is_utf8,
            response_topic: self.response_topic.map(|topic| topic.as_str().to_owned()),
            correlation_data: self.correlation_data,
            user_properties: self.user_properties,
            trace: self.trace,
        };
        let mut properties = said.into_properties();
        properties.set(header::TOPIC, self.topic.as_str());
        if self.retain {
            properties.set(header::RETAIN, true);
        }
        let routing_key = RoutingKey::for_topic(&self.topic).as_str().to_owned();
        Message { exchange: exchange.to_owned(), routing_key, properties, body: self.payload }
    }

    /// Reads a broadcast as it came from `roost.fanout`.
    ///
    /// # Errors
    /// [`BroadcastError`] names the first header or property that is missing or wrong; the gateway drops the message and counts it.
    pub fn from_message(message: &Message) -> Result<Self, BroadcastError> {
        let p = &message.properties;
        let payload_is_utf8 = flag(p, header::PAYLOAD_UTF8)?;
        if payload_is_utf8 && std::str::from_utf8(&message.body).is_err() {
            return Err(wrong(header::PAYLOAD_UTF8));
        }
        let topic = |header| p.text(header).and_then(|text| Topic::parse(text).ok()).ok_or(wrong(header));
        Ok(Self {
            topic: topic(header::TOPIC)?,
            payload: message.body.clone(),
            qos: match p.delivery_mode {
                DeliveryMode::Transient => Qos::AtMostOnce,
                DeliveryMode::Persistent => Qos::AtLeastOnce,
            },
            retain: flag(p, header::RETAIN)?,
            origin: match p.headers.contains_key(header::ORIGIN) {
                true => Some(BroadcastOrigin::read(p)?),
                false => None,
            },
            expires_in_ms: match &p.expiration {
                Some(ms) => Some(ms.parse().map_err(|_| wrong("expiration"))?),
                None => None,
            },
            content_type: p.content_type.clone(),
            payload_is_utf8,
            response_topic: match p.headers.contains_key(header::RESPONSE_TOPIC) {
                true => Some(topic(header::RESPONSE_TOPIC)?),
                false => None,
            },
            correlation_data: header::correlation_data(p).ok_or(wrong(header::CORRELATION_DATA))?,
            user_properties: header::read_user_properties(p).ok_or(wrong(header::USER_PROPERTIES))?,
            trace: header::trace(p),
        })
    }
}

impl BroadcastOrigin {
    /// The value of the header `roost-origin`.
    #[must_use]
    pub fn header_value(gateway: &GatewayId, incarnation: Incarnation) -> String {
        format!("{gateway}/{incarnation}")
    }

    fn read(p: &Properties) -> Result<Self, BroadcastError> {
        let parts = p.text(header::ORIGIN).and_then(|text| text.split_once('/'));
        let (gateway, incarnation) = parts.ok_or(wrong(header::ORIGIN))?;
        let millis = p.int(header::RECEIVED_AT).and_then(|ms| u64::try_from(ms).ok());
        let tenant: Option<Tenant> = p.text(header::TENANT).and_then(|text| text.parse().ok());
        let id: Option<DeviceId> = p.text(header::DEVICE).and_then(|text| text.parse().ok());
        Ok(Self {
            gateway: gateway.parse().map_err(|_| wrong(header::ORIGIN))?,
            incarnation: incarnation.parse().map_err(|_| wrong(header::ORIGIN))?,
            received_at: WallTime::from_millis(millis.ok_or(wrong(header::RECEIVED_AT))?),
            device: Device::new(tenant.ok_or(wrong(header::TENANT))?, id.ok_or(wrong(header::DEVICE))?),
        })
    }
}

fn wrong(what: &'static str) -> BroadcastError {
    BroadcastError { what }
}

/// A header that is true or false; false if it is absent.
fn flag(p: &Properties, name: &'static str) -> Result<bool, BroadcastError> {
    match p.headers.get(name) {
        None => Ok(false),
        Some(HeaderValue::Bool(flag)) => Ok(*flag),
        Some(_) => Err(wrong(name)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Event;

    fn broadcast() -> Broadcast {
        Broadcast::new(Topic::parse("broadcast/a.b").unwrap(), Bytes::from_static(b"x"))
    }

    fn event() -> Event {
        Event {
            device: "acme/d1".parse().unwrap(),
            topic: Topic::parse("broadcast/a.b").unwrap(),
            payload: Bytes::from_static(b"x"),
            qos: Qos::ExactlyOnce,
            retain: true,
            dup: false,
            gateway: "eu-1".parse().unwrap(),
            region: "eu".parse().unwrap(),
            incarnation: Incarnation(7),
            sequence: 1,
            received_at: WallTime::from_millis(1_700_000_000_123),
            replayed: false,
            content_type: None,
            expiry_s: Some(60),
            payload_is_utf8: false,
            response_topic: None,
            correlation_data: None,
            user_properties: vec![("k".to_owned(), "v".to_owned())],
            trace: None,
        }
    }

    #[test]
    fn an_event_is_a_broadcast_of_its_gateway() {
        let message = event().into_broadcast("roost.fanout");
        assert_eq!(message.routing_key, "broadcast.a%2Eb");
        let read = Broadcast::from_message(&message).unwrap();
        let origin = read.origin.unwrap();
        assert_eq!((origin.gateway.as_str(), origin.incarnation), ("eu-1", Incarnation(7)));
        assert_eq!((origin.device, origin.received_at), (event().device, event().received_at));
        assert_eq!((read.qos, read.retain, read.expires_in_ms), (Qos::AtLeastOnce, true, Some(60_000)));
        assert_eq!(read.user_properties, event().user_properties);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let with = |name: &str, value: HeaderValue| {
            let mut message = broadcast().into_message("roost.fanout");
            message.properties.set(name, value);
            Broadcast::from_message(&message).map(drop).unwrap_err().what
        };
        let text = |text: &str| HeaderValue::Text(text.to_owned());
        assert_eq!(with(header::TOPIC, text("a/#")), header::TOPIC);
        assert_eq!(with(header::TOPIC, HeaderValue::Int(1)), header::TOPIC);
        assert_eq!(with(header::RETAIN, text("true")), header::RETAIN);
        assert_eq!(with(header::ORIGIN, text("eu-1")), header::ORIGIN);
        assert_eq!(with(header::ORIGIN, text("eu-1/0000000000000001")), header::RECEIVED_AT);
        assert_eq!(with(header::RESPONSE_TOPIC, text("+")), header::RESPONSE_TOPIC);
        assert_eq!(with(header::CORRELATION_DATA, HeaderValue::Int(1)), header::CORRELATION_DATA);
        assert_eq!(with(header::USER_PROPERTIES, text("k=v")), header::USER_PROPERTIES);
        let mut message = Broadcast { payload: Bytes::from_static(b"\xff"), ..broadcast() }.into_message("x");
        message.properties.set(header::PAYLOAD_UTF8, true);
        assert_eq!(Broadcast::from_message(&message), Err(wrong(header::PAYLOAD_UTF8)));
        let mut message = broadcast().into_message("x");
        message.properties.expiration = Some("soon".to_owned());
        assert_eq!(Broadcast::from_message(&message), Err(wrong("expiration")));
    }

    #[test]
    fn what_lives_longer_than_brokers_take_lives_as_long_as_they_do() {
        let most = u64::from(u32::MAX);
        for (asked, written) in [(0, 0), (most, most), (most + 1, most), (u64::MAX, most)] {
            let message =
                Broadcast { expires_in_ms: Some(asked), ..broadcast() }.into_message("roost.fanout");
            assert_eq!(message.properties.expiration, Some(written.to_string()), "{asked} ms");
        }
    }

    proptest! {
        #[test]
        fn a_broadcast_reads_back(
            payload in any::<Vec<u8>>(), retain in any::<bool>(), qos in 0..=1_u8, expires_in_ms in any::<Option<u32>>(),
            pairs in proptest::collection::vec((any::<String>(), any::<String>()), 0..4), data in any::<Option<Vec<u8>>>(),
        ) {
            let broadcast = Broadcast {
                payload: payload.into(),
                qos: Qos::try_from(qos).unwrap(),
                retain,
                expires_in_ms: expires_in_ms.map(u64::from),
                content_type: Some("text/plain".to_owned()),
                response_topic: Topic::parse("answers/here").ok(),
                correlation_data: data.map(Bytes::from),
                user_properties: pairs,
                ..broadcast()
            };
            prop_assert_eq!(Broadcast::from_message(&broadcast.clone().into_message("roost.fanout")), Ok(broadcast));
        }
    }
}
