//! A will: what a client wants published when its connection ends without its goodbye [MQTT-3.1.2-7].

use std::sync::Arc;
use std::time::Duration;

use roost_wire::{BootTime, Device, Topic};

use crate::message::Message;
use crate::packet::{self, Delivery, Publish, PublishProperties, QoS};

/// A will that is kept: with its connection, and then with its session.
#[derive(Debug)]
pub(crate) struct Will {
    message: Message,
    qos: QoS,
    /// How long its session may be away before it is published.
    pub(crate) delay: Duration,
}

/// The will of a session whose connection has ended.
#[derive(Debug)]
pub(crate) struct PendingWill {
    pub(crate) will: Box<Will>,
    /// When it is published, if the session does not end before.
    pub(crate) due_at: BootTime,
}

/// A will that is to be published now.
#[derive(Debug)]
pub(crate) struct DueWill {
    pub(crate) device: Device,
    pub(crate) message: Arc<Message>,
    pub(crate) qos: QoS,
    /// What it was counted with while it was kept.
    pub(crate) bytes: usize,
}

/// Why a will cannot be published, and so is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WillError {
    /// Its topic is not one that the mesh carries.
    Topic,
    /// It is not the UTF-8 that it says it is.
    PayloadFormat,
}

/// What a will costs beside its bytes.
const OVERHEAD_BYTES: usize = 256;

impl Will {
    /// Takes over what a CONNECT brought, into memory of its own.
    ///
    /// # Errors
    /// [`WillError`] says why it could not be published.
    pub(crate) fn new(will: &packet::Will) -> Result<Self, WillError> {
        Topic::check(&will.topic).map_err(|_| WillError::Topic)?;
        let properties = &will.properties;
        let of_message = PublishProperties {
            payload_format: properties.payload_format,
            message_expiry_s: properties.message_expiry_s,
            response_topic: properties.response_topic.clone(),
            correlation_data: properties.correlation_data.clone(),
            user_properties: properties.user_properties.clone(),
            content_type: properties.content_type.clone(),
            ..PublishProperties::default()
        };
        let has_any = of_message != PublishProperties::default();
        let publish = Publish {
            topic: will.topic.clone(),
            delivery: Delivery::AtMostOnce,
            retain: will.retain,
            payload: will.payload.bytes().clone(),
            properties: has_any.then(|| Box::new(of_message)),
        };
        if !publish.payload_is_as_declared() {
            return Err(WillError::PayloadFormat);
        }
        let delay = Duration::from_secs(properties.delay_interval_s.unwrap_or(0).into());
        // Its life begins when it is published.
        let message = Message::from_publish(BootTime::default(), publish.detached());
        Ok(Self { message, qos: will.qos, delay })
    }

    /// What it counts against the bound on all wills.
    pub(crate) fn bytes(&self) -> usize {
        self.message.bytes() + OVERHEAD_BYTES
    }

    /// What it publishes.
    pub(crate) fn message(&self) -> &Message {
        &self.message
    }

    /// Its time has come: its expiry counts from now on (MQTT5 §3.1.3.2.4).
    pub(crate) fn due(self, now: BootTime, device: Device) -> DueWill {
        let bytes = self.bytes();
        let Self { mut message, qos, .. } = self;
        let expiry_s = message.properties.as_ref().and_then(|properties| properties.message_expiry_s);
        message.expires_at = expiry_s.map(|s| now + Duration::from_secs(s.into()));
        DueWill { device, message: Arc::new(message), qos, bytes }
    }
}
