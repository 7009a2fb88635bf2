//! A session on its way from one gateway to another: to the router, and on to the inbox of the gateway where its device is. The body
//! is the gateways' own; the router forwards it unread.

use bytes::Bytes;

use super::header;
use crate::{
    DeliveryMode, Device, DeviceId, GatewayId, Incarnation, Message, Properties, QuestionId, RouterRun,
    SessionId, SessionRequest, Tenant,
};

/// A gateway gives a session away. It stands among its sightings and counts as the end of that session there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionHandOver {
    /// Whose.
    pub device: Device,
    /// Who gives it away.
    pub gateway: GatewayId,
    /// In which run.
    pub incarnation: Incarnation,
    /// Which session it was there.
    pub session: SessionId,
    /// Which [`crate::Control::MoveSession`] it answers.
    pub question: QuestionId,
    /// In which router run that was said.
    pub run: RouterRun,
    /// The session.
    pub body: Bytes,
}

/// A session has come to the gateway that asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionArrival {
    /// Whose.
    pub device: Device,
    /// Which [`crate::Sighting::WantsSession`] it answers.
    pub request: SessionRequest,
    /// The session.
    pub body: Bytes,
}

/// Why a message is not a session. A peer of another version, or a stranger, published it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a session: header {header} is missing or wrong")]
pub struct SessionError {
    header: &'static str,
}

/// By this both queues tell a session from what else is in them.
const CONTENT_TYPE: &str = "application/vnd.roost.session";

const INCARNATION: &str = "roost-incarnation";
const SESSION: &str = "roost-session";
const QUESTION: &str = "roost-question";
const RUN: &str = "roost-run";
const REQUEST: &str = "roost-request";

/// Whether a message carries a session.
fn is_session(message: &Message) -> bool {
    message.properties.content_type.as_deref() == Some(CONTENT_TYPE)
}

impl SessionHandOver {
    /// Whether a message among the sightings is one of these.
    #[must_use]
    pub fn is_in(message: &Message) -> bool {
        is_session(message)
    }

    /// As an AMQP message to that exchange and key. Persistent: for the moment it is the only copy.
    #[must_use]
    pub fn into_message(self, exchange: &str, routing_key: &str, user_id: Option<String>) -> Message {
        let mut properties = properties(&self.device, DeliveryMode::Persistent);
        properties.user_id = user_id;
        properties.set(header::GATEWAY, self.gateway.as_str());
        properties.set(INCARNATION, self.incarnation.to_string());
        properties.set(SESSION, self.session.0);
        properties.set(QUESTION, self.question.0);
        properties.set(RUN, self.run.0);
        Message {
            exchange: exchange.to_owned(),
            routing_key: routing_key.to_owned(),
            properties,
            body: self.body,
        }
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`SessionError`] names the first header that is missing or wrong; the router drops the message and counts it.
    pub fn from_message(message: &Message) -> Result<Self, SessionError> {
        let p = &message.properties;
        Ok(Self {
            device: device(p)?,
            gateway: read(p, header::GATEWAY)?,
            incarnation: read(p, INCARNATION)?,
            session: SessionId(number(p, SESSION)?),
            question: QuestionId(number(p, QUESTION)?),
            run: RouterRun(number(p, RUN)?),
            body: message.body.clone(),
        })
    }
}

impl SessionArrival {
    /// Whether a message in an inbox is one of these.
    #[must_use]
    pub fn is_in(message: &Message) -> bool {
        is_session(message)
    }

    /// As an AMQP message to one inbox, through the default exchange. Transient, as the inbox is.
    #[must_use]
    pub fn into_message(self, inbox: &str) -> Message {
        let mut properties = properties(&self.device, DeliveryMode::Transient);
        properties.set(REQUEST, self.request.0);
        Message { exchange: String::new(), routing_key: inbox.to_owned(), properties, body: self.body }
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`SessionError`] names the first header that is missing or wrong; the gateway drops the message and counts it.
    pub fn from_message(message: &Message) -> Result<Self, SessionError> {
        let p = &message.properties;
        let request = SessionRequest(number(p, REQUEST)?);
        Ok(Self { device: device(p)?, request, body: message.body.clone() })
    }
}

fn properties(device: &Device, delivery_mode: DeliveryMode) -> Properties {
    let mut properties =
        Properties { content_type: Some(CONTENT_TYPE.to_owned()), delivery_mode, ..Properties::default() };
    properties.set(header::TENANT, device.tenant.as_str());
    properties.set(header::DEVICE, device.id.as_str());
    properties
}

fn device(p: &Properties) -> Result<Device, SessionError> {
    Ok(Device::new(read::<Tenant>(p, header::TENANT)?, read::<DeviceId>(p, header::DEVICE)?))
}

fn read<T: std::str::FromStr>(p: &Properties, header: &'static str) -> Result<T, SessionError> {
    p.text(header).and_then(|text| text.parse().ok()).ok_or(SessionError { header })
}

fn number(p: &Properties, header: &'static str) -> Result<u64, SessionError> {
    p.int(header).and_then(|int| u64::try_from(int).ok()).ok_or(SessionError { header })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hand_over() -> SessionHandOver {
        SessionHandOver {
            device: "acme/d.1".parse().unwrap(),
            gateway: "eu-1".parse().unwrap(),
            incarnation: Incarnation(0xbeef),
            session: SessionId(3),
            question: QuestionId(4),
            run: RouterRun(1_700_000_000_000),
            body: Bytes::from_static(b"\x01\xff"),
        }
    }

    #[test]
    fn a_session_reads_back_on_both_ways() {
        let message = hand_over().into_message("roost.mesh", "sightings.0", Some("guest".to_owned()));
        assert!(SessionHandOver::is_in(&message));
        assert_eq!(SessionHandOver::from_message(&message), Ok(hand_over()));
        let arrival = SessionArrival {
            device: "acme/d.1".parse().unwrap(),
            request: SessionRequest(7),
            body: Bytes::from_static(b"\x01"),
        };
        let message = arrival.clone().into_message("inbox");
        assert!(SessionArrival::is_in(&message));
        assert_eq!(SessionArrival::from_message(&message), Ok(arrival));
    }

    #[test]
    fn a_message_that_lacks_a_header_is_no_session() {
        for header in [header::TENANT, header::DEVICE, header::GATEWAY, INCARNATION, SESSION, QUESTION, RUN] {
            let mut message = hand_over().into_message("roost.mesh", "k", None);
            message.properties.headers.remove(header);
            assert_eq!(SessionHandOver::from_message(&message), Err(SessionError { header }));
        }
        let message = hand_over().into_message("roost.mesh", "k", None);
        assert_eq!(SessionArrival::from_message(&message), Err(SessionError { header: REQUEST }));
        assert!(!SessionArrival::is_in(&Message { properties: Properties::default(), ..message }));
    }
}
