//! A command as a service asks for it on `roost.down`.

use bytes::Bytes;

use super::said::expiration;
use super::{Qos, header};
use crate::{DeliveryMode, Device, Message, MessageId, Properties, RoutingKey, Topic, TraceContext};

/// What a sender wants delivered, to which device, and what it wants to hear of it.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandRequest {
    /// To whom: the routing key `tenant.device`.
    pub device: Device,
    /// The idempotency key, AMQP's `message_id`. Required.
    pub message_id: MessageId,
    /// On which topic the device gets it: `roost-topic`, by default `devices/{device}/cmd`.
    pub topic: Topic,
    /// The payload, untouched.
    pub payload: Bytes,
    /// 0 or 1: AMQP's `delivery_mode` 2 is QoS 1.
    pub qos: Qos,
    /// How long the mesh may try, in milliseconds: AMQP's `expiration`. Absent: the router's default.
    pub lifetime_ms: Option<u64>,
    /// Which receipts the sender wants.
    pub receipts: ReceiptsWanted,
    /// A queue that gets them besides `roost.receipts`.
    pub receipt_to: Option<String>,
    /// What to do while the device is away.
    pub offline: Offline,
    /// Commands with the same key replace each other while they wait.
    pub supersede_key: Option<String>,
    /// Where the device's answer goes.
    pub reply_to: Option<String>,
    /// What the device's answer refers to.
    pub correlation_id: Option<String>,
    /// MIME type, to the device as v5 Content Type.
    pub content_type: Option<String>,
    /// To the device as v5 User Properties, in order.
    pub user_properties: Vec<(String, String)>,
    /// Where it is in a trace: the header `traceparent`. One that is malformed counts as none.
    pub trace: Option<TraceContext>,
}

/// Which receipts a sender wants: header `roost-receipts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReceiptsWanted {
    /// None at all.
    None,
    /// The final one.
    #[default]
    Final,
    /// Each state.
    All,
}

/// What to do with a command while its device is away: header `roost-offline`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Offline {
    /// Keep it until the device is back or the lifetime has ended.
    #[default]
    Park,
    /// End it as `unreachable`.
    Fail,
}

/// Why a message on `roost.down` is not a command, with what could be read of it, so that a receipt can be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a command: {problem}")]
pub struct CommandError {
    /// The device, if the routing key names one.
    pub device: Option<Device>,
    /// The message id, if there is a good one.
    pub message_id: Option<MessageId>,
    /// The queue that wants the receipt, if the headers name one.
    pub receipt_to: Option<String>,
    /// What is wrong. The sender is at fault; the same message will be refused again.
    pub problem: CommandProblem,
}

/// What is wrong with a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandProblem {
    /// The routing key names no device.
    #[error("{0}")]
    Key(String),
    /// There is no `message_id`, which is the idempotency key.
    #[error("message_id is missing; it is the idempotency key")]
    NoMessageId,
    /// A property or header has a value that it cannot have.
    #[error("{name} is {value:?}, expected {expected}")]
    Value {
        /// Which property or header.
        name: &'static str,
        /// What it holds.
        value: String,
        /// What it may hold.
        expected: String,
    },
}

impl CommandRequest {
    /// A command with the default for everything that has one: QoS 1, final receipt, parked while the device is away.
    #[must_use]
    pub fn new(device: Device, message_id: MessageId, payload: Bytes) -> Self {
        Self {
            topic: Topic::default_for_commands(&device.id),
            device,
            message_id,
            payload,
            qos: Qos::AtLeastOnce,
            lifetime_ms: None,
            receipts: ReceiptsWanted::default(),
            receipt_to: None,
            offline: Offline::default(),
            supersede_key: None,
            reply_to: None,
            correlation_id: None,
            content_type: None,
            user_properties: Vec::new(),
            trace: None,
        }
    }

    /// The command as an AMQP message to `exchange`, as a sender in Rust would publish it.
    #[must_use]
    pub fn into_message(self, exchange: &str) -> Message {
        let mut properties = Properties {
            message_id: Some(self.message_id.as_str().to_owned()),
            content_type: self.content_type,
            delivery_mode: match self.qos {
                Qos::AtMostOnce => DeliveryMode::Transient,
                Qos::AtLeastOnce | Qos::ExactlyOnce => DeliveryMode::Persistent,
            },
            expiration: self.lifetime_ms.map(expiration),
            reply_to: self.reply_to,
            correlation_id: self.correlation_id,
            ..Properties::default()
        };
        properties.set(header::TOPIC, self.topic.as_str());
        properties.set(header::RECEIPTS, self.receipts.as_str());
        properties.set(header::OFFLINE, self.offline.as_str());
        if let Some(queue) = self.receipt_to {
            properties.set(header::RECEIPT_TO, queue);
        }
        if let Some(key) = self.supersede_key {
            properties.set(header::SUPERSEDE_KEY, key);
        }
        if !self.user_properties.is_empty() {
            properties.set(header::USER_PROPERTIES, header::user_properties(&self.user_properties));
        }
        if let Some(trace) = self.trace {
            properties.set(header::TRACEPARENT, trace.to_string());
        }
        let routing_key = RoutingKey::for_device(&self.device).as_str().to_owned();
        Message { exchange: exchange.to_owned(), routing_key, properties, body: self.payload }
    }

    /// Reads a command as it came from `roost.down`.
    ///
    /// # Errors
    /// [`CommandError`] says what is wrong; with a device in it a `rejected` receipt is owed.
    pub fn from_message(message: &Message) -> Result<Self, Box<CommandError>> {
        let p = &message.properties;
        let device = RoutingKey::device(&message.routing_key);
        let message_id = p.message_id.as_deref().map(MessageId::parse);
        let receipt_to = p.text(header::RECEIPT_TO).map(str::to_owned);
        let fail = |problem| {
            Box::new(CommandError {
                device: device.clone().ok(),
                message_id: message_id.clone().and_then(Result::ok),
                receipt_to: receipt_to.clone(),
                problem,
            })
        };
        let to = device.clone().map_err(|e| fail(CommandProblem::Key(e.to_string())))?;
        let id = match message_id.clone() {
            None => return Err(fail(CommandProblem::NoMessageId)),
            Some(id) => id.map_err(|e| fail(value("message_id", p.message_id.as_deref(), e)))?,
        };
        let mut command = Self::new(to, id, message.body.clone());
        command.qos = match p.delivery_mode {
            DeliveryMode::Transient => Qos::AtMostOnce,
            DeliveryMode::Persistent => Qos::AtLeastOnce,
        };
        command.read_headers(p).map_err(fail)?;
        command.receipt_to = receipt_to;
        Ok(command)
    }

    fn read_headers(&mut self, p: &Properties) -> Result<(), CommandProblem> {
        if let Some(topic) = text(p, header::TOPIC)? {
            self.topic = Topic::parse(topic).map_err(|e| value(header::TOPIC, Some(topic), e))?;
        }
        if let Some(ms) = &p.expiration {
            let parsed = ms.parse().map_err(|_| value("expiration", Some(ms), "milliseconds as digits"))?;
            self.lifetime_ms = Some(parsed);
        }
        if let Some(wanted) = text(p, header::RECEIPTS)? {
            self.receipts = ReceiptsWanted::parse(wanted)
                .ok_or_else(|| value(header::RECEIPTS, Some(wanted), "none, final or all"))?;
        }
        if let Some(offline) = text(p, header::OFFLINE)? {
            self.offline = Offline::parse(offline)
                .ok_or_else(|| value(header::OFFLINE, Some(offline), "park or fail"))?;
        }
        self.supersede_key = text(p, header::SUPERSEDE_KEY)?.map(str::to_owned);
        self.trace = header::trace(p);
        self.user_properties = header::read_user_properties(p)
            .ok_or_else(|| value(header::USER_PROPERTIES, Some("…"), "a list of pairs of text"))?;
        self.reply_to.clone_from(&p.reply_to);
        self.correlation_id.clone_from(&p.correlation_id);
        self.content_type.clone_from(&p.content_type);
        Ok(())
    }
}

impl ReceiptsWanted {
    /// The header's value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Final => "final",
            Self::All => "all",
        }
    }

    /// Reads the header's value.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::None, Self::Final, Self::All].into_iter().find(|wanted| wanted.as_str() == text)
    }
}

impl Offline {
    /// The header's value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Park => "park",
            Self::Fail => "fail",
        }
    }

    /// Reads the header's value.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Park, Self::Fail].into_iter().find(|offline| offline.as_str() == text)
    }
}

/// A header that must be text if it is there at all.
fn text<'a>(p: &'a Properties, name: &'static str) -> Result<Option<&'a str>, CommandProblem> {
    match (p.headers.get(name), p.text(name)) {
        (Some(other), None) => Err(value(name, Some(&format!("{other:?}")), "text")),
        (_, text) => Ok(text),
    }
}

fn value(name: &'static str, value: Option<&str>, expected: impl ToString) -> CommandProblem {
    CommandProblem::Value {
        name,
        value: value.unwrap_or_default().to_owned(),
        expected: expected.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::HeaderValue;

    fn request() -> CommandRequest {
        CommandRequest::new(
            "main/d1".parse().unwrap(),
            MessageId::parse("m-1").unwrap(),
            Bytes::from_static(b"on"),
        )
    }

    fn problem(change: impl FnOnce(&mut Message)) -> Box<CommandError> {
        let mut message = request().into_message("roost.down");
        change(&mut message);
        CommandRequest::from_message(&message).unwrap_err()
    }

    #[test]
    fn a_plain_message_is_a_command_with_defaults() {
        let properties = Properties { message_id: Some("m".to_owned()), ..Properties::default() };
        let message = Message {
            exchange: String::new(),
            routing_key: "main.d1".to_owned(),
            properties,
            body: Bytes::new(),
        };
        let command = CommandRequest::from_message(&message).unwrap();
        assert_eq!(command.topic.as_str(), "devices/d1/cmd");
        assert_eq!(
            (command.qos, command.receipts, command.offline),
            (Qos::AtMostOnce, ReceiptsWanted::Final, Offline::Park)
        );
        assert_eq!(command.lifetime_ms, None);
    }

    #[test]
    fn what_is_wrong_is_said_with_what_could_be_read() {
        let error = problem(|m| m.properties.message_id = None);
        assert_eq!(error.problem, CommandProblem::NoMessageId);
        assert_eq!(error.device, Some("d1".parse().unwrap()));
        let error = problem(|m| m.routing_key = "nobody".to_owned());
        assert!(matches!(*error, CommandError { device: None, problem: CommandProblem::Key(_), .. }));
        assert!(error.message_id.is_some());
        let wrong: [fn(&mut Properties); 6] = [
            |p| p.set(header::TOPIC, "a/#"),
            |p| p.set(header::TOPIC, 7_i64),
            |p| p.set(header::RECEIPTS, "some"),
            |p| p.set(header::OFFLINE, "wait"),
            |p| p.expiration = Some("soon".to_owned()),
            |p| p.set(header::USER_PROPERTIES, HeaderValue::List(vec![true.into()])),
        ];
        for change in wrong {
            let error = problem(|m| change(&mut m.properties));
            assert!(matches!(error.problem, CommandProblem::Value { .. }), "{error}");
        }
    }

    proptest! {
        #[test]
        fn a_command_reads_back(payload in any::<Vec<u8>>(), lifetime_ms in any::<Option<u32>>(), qos in 0..=1_u8, key in any::<Option<String>>()) {
            let mut command = request();
            command.payload = payload.into();
            command.lifetime_ms = lifetime_ms.map(u64::from);
            command.qos = Qos::try_from(qos).unwrap();
            command.supersede_key = key;
            command.receipts = ReceiptsWanted::All;
            command.offline = Offline::Fail;
            command.receipt_to = Some("my-receipts".to_owned());
            command.user_properties = vec![("a".to_owned(), "b".to_owned()), ("a".to_owned(), String::new())];
            prop_assert_eq!(CommandRequest::from_message(&command.clone().into_message("roost.down")), Ok(command));
        }
    }
}
