//! `roost send`.

use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use roost_wire::{Receipt, ReceiptState};
use serde::Serialize;

use crate::api::Api;
use crate::cli::{OfflineArgument, OutputArgument, ReceiptsArgument, SendArguments};
use crate::span;

/// The command ended, and not at the device.
const EXIT_OTHER_FINAL: u8 = 2;
/// No final receipt in time.
const EXIT_NOT_FINAL: u8 = 3;
/// A payload above this is refused by every router; it is not even read.
const PAYLOAD_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A command as the API reads it.
#[derive(Debug, Serialize)]
struct CommandBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<String>,
    #[serde(flatten)]
    payload: Payload,
    qos: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<String>,
    receipts: &'static str,
    offline: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    supersede_key: Option<String>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
enum Payload {
    #[serde(rename = "payload")]
    Text(String),
    #[serde(rename = "payload_base64")]
    Base64(String),
}

/// Sends, waits, prints the receipt.
pub(crate) async fn run(arguments: SendArguments) -> anyhow::Result<ExitCode> {
    let api = Api::new(arguments.api.api.clone())?;
    let body = body(&arguments)?;
    let (_, text) = api.send(&arguments.device, &body, arguments.wait).await?;
    let receipt: Receipt =
        serde_json::from_str(&text).with_context(|| format!("the API answered with no receipt: {text}"))?;
    let mut out = std::io::stdout().lock();
    match arguments.output {
        OutputArgument::Json => writeln!(out, "{text}")?,
        OutputArgument::Text => writeln!(out, "{}", describe(&receipt, arguments.wait))?,
    }
    Ok(exit_code(receipt.state))
}

fn body(arguments: &SendArguments) -> anyhow::Result<CommandBody> {
    let payload = match (&arguments.payload, &arguments.payload_file) {
        (Some(text), _) => Payload::Text(text.clone()),
        (None, Some(file)) => {
            Payload::of(read(file).with_context(|| format!("reading the payload from {}", file.display()))?)
        }
        (None, None) => Payload::Text(String::new()),
    };
    Ok(CommandBody {
        topic: arguments.topic.as_ref().map(ToString::to_string),
        payload,
        qos: arguments.qos,
        expires_ms: arguments.expires.map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX)),
        message_id: arguments.message_id.as_ref().map(ToString::to_string),
        receipts: match arguments.receipts {
            ReceiptsArgument::None => "none",
            ReceiptsArgument::Final => "final",
            ReceiptsArgument::All => "all",
        },
        offline: match arguments.offline {
            OfflineArgument::Park => "park",
            OfflineArgument::Fail => "fail",
        },
        supersede_key: arguments.supersede_key.clone(),
    })
}

impl Payload {
    fn of(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Self::Text(text),
            Err(error) => Self::Base64(STANDARD.encode(error.into_bytes())),
        }
    }
}

fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let source: Box<dyn Read> = if file == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(file)?)
    };
    source.take(PAYLOAD_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > PAYLOAD_BYTES_MAX {
        true => Err(std::io::Error::other(format!("longer than {PAYLOAD_BYTES_MAX} bytes"))),
        false => Ok(bytes),
    }
}

/// The receipt for a person: what became of the command, where, why, and what to do next.
fn describe(receipt: &Receipt, waited: Duration) -> String {
    let mut text = receipt.state.to_string();
    if let Some(gateway) = &receipt.gateway {
        let verb = match receipt.state {
            ReceiptState::Forwarded => "to",
            ReceiptState::Delivered | ReceiptState::Sent => "by",
            ReceiptState::Accepted
            | ReceiptState::Parked
            | ReceiptState::Expired
            | ReceiptState::Rejected
            | ReceiptState::Superseded
            | ReceiptState::Unreachable
            | ReceiptState::Unknown => "last tried by",
        };
        text += &format!(" {verb} {gateway}");
    }
    if let Some(reason) = receipt.reason {
        // The word of the contract, as programs see it.
        let word = serde_json::to_value(reason).ok().and_then(|word| word.as_str().map(str::to_owned));
        text += &format!(": {}", word.unwrap_or_default());
    }
    if let Some(detail) = &receipt.detail {
        text += &format!(" ({detail})");
    }
    let took_ms = receipt.at.as_millis().saturating_sub(receipt.accepted_at.as_millis());
    text += &format!(", after {}", span::show(Duration::from_millis(took_ms)));
    if let Some(id) = &receipt.message_id {
        text += &format!(", message id {id}");
    }
    if receipt.duplicate {
        text +=
            "\nThis message id was sent before: this is that command's receipt, and nothing was sent again.";
    }
    if !receipt.state.is_final() {
        text += &format!(
            "\nNot final after {}; the mesh goes on trying. `roost locate {} --explain` says what it waits for.",
            span::show(waited),
            receipt.device
        );
    }
    text
}

fn exit_code(state: ReceiptState) -> ExitCode {
    match state {
        ReceiptState::Delivered | ReceiptState::Sent => ExitCode::SUCCESS,
        ReceiptState::Expired
        | ReceiptState::Rejected
        | ReceiptState::Superseded
        | ReceiptState::Unreachable
        | ReceiptState::Unknown => ExitCode::from(EXIT_OTHER_FINAL),
        ReceiptState::Accepted | ReceiptState::Parked | ReceiptState::Forwarded => {
            ExitCode::from(EXIT_NOT_FINAL)
        }
    }
}

#[cfg(test)]
mod tests {
    use roost_wire::{CommandId, MessageId, ReceiptReason, WallTime};

    use super::*;

    fn receipt(state: ReceiptState) -> Receipt {
        Receipt {
            version: Receipt::VERSION,
            state,
            device: "d1".parse().unwrap(),
            message_id: Some(MessageId::parse("m-1").unwrap()),
            command_id: CommandId { journal: 1, sequence: 2 },
            epoch: None,
            gateway: None,
            region: None,
            attempt: 0,
            telling: None,
            reason: None,
            detail: None,
            accepted_at: WallTime::from_millis(1_000),
            at: WallTime::from_millis(1_012),
            duplicate: false,
        }
    }

    #[test]
    fn a_receipt_reads_as_a_sentence() {
        let wait = Duration::from_secs(5);
        let delivered =
            Receipt { gateway: Some("eu-1".parse().unwrap()), ..receipt(ReceiptState::Delivered) };
        assert_eq!(describe(&delivered, wait), "delivered by eu-1, after 12 ms, message id m-1");
        let rejected = Receipt {
            reason: Some(ReceiptReason::Invalid),
            detail: Some("no topic".to_owned()),
            ..receipt(ReceiptState::Rejected)
        };
        assert_eq!(describe(&rejected, wait), "rejected: invalid (no topic), after 12 ms, message id m-1");
        let parked = Receipt { reason: Some(ReceiptReason::DeviceAway), ..receipt(ReceiptState::Parked) };
        assert_eq!(
            describe(&parked, wait),
            "parked: device_away, after 12 ms, message id m-1\nNot final after 5.0 s; the mesh goes on trying. \
             `roost locate main/d1 --explain` says what it waits for."
        );
        let again = Receipt { duplicate: true, ..receipt(ReceiptState::Sent) };
        assert!(describe(&again, wait).contains("was sent before"));
    }

    #[test]
    fn bytes_that_are_not_text_travel_as_base64() {
        assert_eq!(Payload::of(b"on".to_vec()), Payload::Text("on".to_owned()));
        assert_eq!(Payload::of(vec![0xff, 0]), Payload::Base64("/wA=".to_owned()));
        let body = CommandBody {
            topic: None,
            payload: Payload::of(vec![0xff]),
            qos: 1,
            expires_ms: None,
            message_id: None,
            receipts: "final",
            offline: "park",
            supersede_key: None,
        };
        assert_eq!(
            serde_json::to_value(body).unwrap(),
            serde_json::json!({"payload_base64": "/w==", "qos": 1, "receipts": "final", "offline": "park"})
        );
    }

    #[test]
    fn the_exit_status_tells_the_three_ends_apart() {
        for state in ReceiptState::ALL {
            let at_the_device = matches!(state, ReceiptState::Delivered | ReceiptState::Sent);
            let expected = match (at_the_device, state.is_final()) {
                (true, _) => ExitCode::SUCCESS,
                (false, true) => ExitCode::from(2),
                (false, false) => ExitCode::from(3),
            };
            assert_eq!(exit_code(state), expected, "{state}");
        }
    }
}
