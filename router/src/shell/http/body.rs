//! The JSON body of a command.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use roost_ops::Problem;
use roost_wire::{CommandRequest, Device, MessageId, Offline, Qos, ReceiptsWanted, Topic};

use super::bad;

/// As it is written: every field may be absent, none may be unknown.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CommandBody {
    topic: Option<String>,
    payload: Option<String>,
    payload_base64: Option<String>,
    qos: Option<u8>,
    expires_ms: Option<u64>,
    message_id: Option<String>,
    receipts: Option<ReceiptsWanted>,
    offline: Option<Offline>,
    supersede_key: Option<String>,
}

impl CommandBody {
    pub(super) fn parse(body: &[u8]) -> Result<Self, Problem> {
        serde_json::from_slice(body)
            .map_err(|error| bad(format!("the body is not a command: {error}"), "body"))
    }

    /// A command to this device; a message id is drawn if there is none.
    pub(super) fn into_command(self, device: Device) -> Result<CommandRequest, Problem> {
        let payload = self.payload()?;
        let message_id = match &self.message_id {
            Some(id) => MessageId::parse(id).map_err(|error| bad(error.to_string(), "message_id"))?,
            None => {
                MessageId::parse(&format!("http-{:032x}", rand::random::<u128>())).expect("hex is a good id")
            }
        };
        let mut command = CommandRequest::new(device, message_id, payload);
        if let Some(topic) = &self.topic {
            command.topic = Topic::parse(topic).map_err(|error| bad(error.to_string(), "topic"))?;
        }
        command.qos = match self.qos {
            None | Some(1) => Qos::AtLeastOnce,
            Some(0) => Qos::AtMostOnce,
            Some(qos) => return Err(bad(format!("qos is {qos}, commands have 0 or 1"), "qos")),
        };
        command.lifetime_ms = self.expires_ms;
        command.receipts = self.receipts.unwrap_or_default();
        command.offline = self.offline.unwrap_or_default();
        command.supersede_key = self.supersede_key;
        Ok(command)
    }

    fn payload(&self) -> Result<Bytes, Problem> {
        match (&self.payload, &self.payload_base64) {
            (Some(_), Some(_)) => Err(bad("give payload or payload_base64, not both", "payload")),
            (Some(text), None) => Ok(Bytes::copy_from_slice(text.as_bytes())),
            (None, Some(text)) => STANDARD
                .decode(text)
                .map(Bytes::from)
                .map_err(|error| bad(format!("payload_base64 is not base64: {error}"), "payload_base64")),
            (None, None) => Ok(Bytes::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(body: &str) -> Result<CommandRequest, Problem> {
        CommandBody::parse(body.as_bytes())?.into_command("acme/d1".parse().unwrap())
    }

    #[test]
    fn an_empty_body_is_a_command_with_defaults_and_an_id_of_its_own() {
        let (first, second) = (command("{}").unwrap(), command("{}").unwrap());
        assert_eq!(first.topic.as_str(), "devices/d1/cmd");
        assert_eq!((first.qos, first.offline), (Qos::AtLeastOnce, Offline::Park));
        assert_ne!(first.message_id, second.message_id);
    }

    #[test]
    fn payloads_come_as_text_or_base64() {
        assert_eq!(command(r#"{"payload":"on"}"#).unwrap().payload, "on");
        assert_eq!(command(r#"{"payload_base64":"AP8="}"#).unwrap().payload.as_ref(), [0, 255]);
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let bodies = [
            "",
            "[]",
            r#"{"topik":"a"}"#,
            r#"{"topic":"a/#"}"#,
            r#"{"qos":2}"#,
            r#"{"expires_ms":-1}"#,
            r#"{"payload":"a","payload_base64":"YQ=="}"#,
            r#"{"payload_base64":"%"}"#,
            r#"{"message_id":""}"#,
            r#"{"offline":"wait"}"#,
            r#"{"receipts":"some"}"#,
        ];
        for body in bodies {
            assert!(command(body).is_err(), "{body}");
        }
    }
}
