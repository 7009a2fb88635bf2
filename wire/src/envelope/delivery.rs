//! A command on its way from the router to one gateway's inbox.

use bytes::Bytes;

use super::{Qos, header};
use crate::{
    CommandId, DeliveryMode, Device, DeviceId, Epoch, Message, Properties, SessionId, SyncNumber, Tenant,
    Topic, TraceContext,
};

/// One attempt to deliver a command: what the gateway needs, and whose turn it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// Which command; the same at every attempt.
    pub id: CommandId,
    /// To whom.
    pub device: Device,
    /// In which session of that device, and in no other.
    pub session: SessionId,
    /// The hold it belongs to. The gateway refuses an older one.
    pub epoch: Epoch,
    /// The gateway's sync number as the router last read it. The gateway drops a command that carries another.
    pub sync: SyncNumber,
    /// 1 for the first.
    pub attempt: u32,
    /// What remains of the lifetime, in milliseconds: a deadline, and the v5 Message Expiry Interval.
    pub expires_in_ms: u64,
    /// On which topic.
    pub topic: Topic,
    /// The payload, untouched.
    pub payload: Bytes,
    /// 0 or 1.
    pub qos: Qos,
    /// To the device as v5 Content Type.
    pub content_type: Option<String>,
    /// To the device as v5 Correlation Data, beside a Response Topic. None: nobody waits for its answer.
    pub correlation_id: Option<String>,
    /// To the device as v5 User Properties, in order.
    pub user_properties: Vec<(String, String)>,
    /// Where it is in a trace: the header `traceparent`. One that is malformed counts as none.
    pub trace: Option<TraceContext>,
}

/// Why a message in an inbox is not a delivery. A router of another version, or a stranger, published it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a delivery: header {header} is missing or wrong")]
pub struct DeliveryError {
    header: &'static str,
}

const SESSION: &str = "roost-session";
const EPOCH: &str = "roost-epoch";
const SYNC: &str = "roost-sync";
const ATTEMPT: &str = "roost-attempt";
const EXPIRES_IN_MS: &str = "roost-expires-in-ms";

impl Delivery {
    /// The delivery as an AMQP message to one inbox, through the default exchange. Transient: the journal is what lasts.
    #[must_use]
    pub fn into_message(self, inbox: &str) -> Message {
        let mut properties = Properties {
            message_id: Some(self.id.to_string()),
            content_type: self.content_type,
            correlation_id: self.correlation_id,
            delivery_mode: DeliveryMode::Transient,
            ..Properties::default()
        };
        properties.set(header::COMMAND_ID, self.id.to_string());
        properties.set(header::TENANT, self.device.tenant.as_str());
        properties.set(header::DEVICE, self.device.id.as_str());
        properties.set(header::TOPIC, self.topic.as_str());
        properties.set(header::QOS, i64::from(u8::from(self.qos)));
        properties.set(SESSION, self.session.0);
        properties.set(EPOCH, self.epoch.to_string());
        properties.set(SYNC, self.sync.0);
        properties.set(ATTEMPT, i64::from(self.attempt));
        properties.set(EXPIRES_IN_MS, self.expires_in_ms);
        if !self.user_properties.is_empty() {
            properties.set(header::USER_PROPERTIES, header::user_properties(&self.user_properties));
        }
        if let Some(trace) = self.trace {
            properties.set(header::TRACEPARENT, trace.to_string());
        }
        Message { exchange: String::new(), routing_key: inbox.to_owned(), properties, body: self.payload }
    }

    /// Reads a delivery from an inbox.
    ///
    /// # Errors
    /// [`DeliveryError`] names the first header that is missing or wrong; the gateway drops the message and counts it.
    pub fn from_message(message: &Message) -> Result<Self, DeliveryError> {
        let p = &message.properties;
        let int = |header| p.int(header).and_then(|i| u64::try_from(i).ok()).ok_or(DeliveryError { header });
        let qos = int(header::QOS)?;
        Ok(Self {
            id: read(p, header::COMMAND_ID)?,
            device: Device::new(read::<Tenant>(p, header::TENANT)?, read::<DeviceId>(p, header::DEVICE)?),
            session: SessionId(int(SESSION)?),
            epoch: read(p, EPOCH)?,
            sync: SyncNumber(int(SYNC)?),
            attempt: u32::try_from(int(ATTEMPT)?).map_err(|_| DeliveryError { header: ATTEMPT })?,
            expires_in_ms: int(EXPIRES_IN_MS)?,
            topic: read(p, header::TOPIC)?,
            payload: message.body.clone(),
            qos: match qos {
                0 => Qos::AtMostOnce,
                1 => Qos::AtLeastOnce,
                _ => return Err(DeliveryError { header: header::QOS }),
            },
            content_type: p.content_type.clone(),
            correlation_id: p.correlation_id.clone(),
            user_properties: header::read_user_properties(p)
                .ok_or(DeliveryError { header: header::USER_PROPERTIES })?,
            trace: header::trace(p),
        })
    }
}

fn read<T: std::str::FromStr>(p: &Properties, header: &'static str) -> Result<T, DeliveryError> {
    p.text(header).and_then(|text| text.parse().ok()).ok_or(DeliveryError { header })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::RouterRun;

    fn delivery(payload: Vec<u8>, session: u32, counter: u64, qos: u8) -> Delivery {
        Delivery {
            id: CommandId { journal: 1, sequence: 2 },
            device: "acme/d.1".parse().unwrap(),
            session: SessionId(session.into()),
            epoch: Epoch { run: RouterRun(3), counter },
            sync: SyncNumber(4),
            attempt: 2,
            expires_in_ms: 86_400_000,
            topic: Topic::parse("devices/d.1/cmd").unwrap(),
            payload: payload.into(),
            qos: Qos::try_from(qos).unwrap(),
            content_type: None,
            correlation_id: Some("question".to_owned()),
            user_properties: vec![("k".to_owned(), "v".to_owned())],
            trace: TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").ok(),
        }
    }

    #[test]
    fn a_message_without_a_turn_is_not_a_delivery() {
        for header in [SESSION, EPOCH, SYNC, ATTEMPT, EXPIRES_IN_MS, header::COMMAND_ID, header::TOPIC] {
            let mut message = delivery(Vec::new(), 1, 1, 1).into_message("inbox");
            message.properties.headers.remove(header);
            assert_eq!(Delivery::from_message(&message), Err(DeliveryError { header }));
        }
    }

    proptest! {
        #[test]
        fn a_delivery_reads_back(payload in any::<Vec<u8>>(), session in any::<u32>(), counter in any::<u64>(), qos in 0..=1_u8) {
            let delivery = delivery(payload, session, counter, qos);
            prop_assert_eq!(Delivery::from_message(&delivery.clone().into_message("inbox")), Ok(delivery));
        }
    }
}
