//! What the router tells the sender of a command.

use serde::{Deserialize, Serialize};

use crate::{
    CommandId, DeliveryMode, Device, Epoch, GatewayId, Message, MessageId, Properties, Region, RouterRun,
    RoutingKey, WallTime,
};

/// The state of one command, as JSON on `roost.receipts`. Every accepted command ends in exactly one final state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Always 1 in this version of the contract.
    pub version: u8,
    /// Where the command stands.
    pub state: ReceiptState,
    /// To whom it was sent.
    #[serde(flatten)]
    pub device: Device,
    /// The sender's id for it; absent if it had none, which is why it was rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<MessageId>,
    /// The mesh's id for it.
    pub command_id: CommandId,
    /// The hold it was last given to a gateway in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// The gateway it was last given to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewayId>,
    /// That gateway's region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Region>,
    /// How often it was given to a gateway.
    pub attempt: u32,
    /// Which one it is of the receipts whose state can come more than once (parked, forwarded).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telling: Option<Telling>,
    /// Why it is in this state, where that needs saying.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<ReceiptReason>,
    /// What exactly was wrong, in words, where that helps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// When the mesh took custody, in milliseconds since 1970.
    pub accepted_at: WallTime,
    /// When this state was reached, in milliseconds since 1970.
    pub at: WallTime,
    /// Whether this repeats the receipt of an earlier command with the same message id.
    #[serde(default)]
    pub duplicate: bool,
}

/// The name of one of a command's receipts among those whose state can come more than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Telling {
    /// The run of the router that tells it.
    pub run: RouterRun,
    /// Counted per command in that run, from 1.
    pub number: u32,
}

/// Where a command stands: `accepted → parked ⇄ forwarded →` one of the final ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReceiptState {
    /// In the journal: the mesh answers for it.
    Accepted,
    /// Waiting for its device.
    Parked,
    /// Given to a gateway.
    Forwarded,
    /// Final: the device acknowledged it.
    Delivered,
    /// Final: written to the device at QoS 0.
    Sent,
    /// Final: its lifetime ended first.
    Expired,
    /// Final: it can't be delivered, for the stated reason.
    Rejected,
    /// Final: a later command with the same supersede key took its place.
    Superseded,
    /// Final: the device is away and the sender asked not to wait.
    Unreachable,
    /// Final: in flight when its gateway or its device's connection was lost, and it ended before an answer. The device may
    /// have it.
    Unknown,
}

/// Why a command is in its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReceiptReason {
    /// Parked or unreachable: the device is known to be away.
    DeviceAway,
    /// Parked or unreachable: no gateway holds the device.
    DeviceUnknown,
    /// Parked: the device is connected and has no subscription that matches the topic.
    NoSubscription,
    /// Parked: the gateways are being asked.
    Asking,
    /// Parked: the gateway's lease has lapsed, or its last hold is not settled yet.
    GatewayUnsure,
    /// Parked: the gateway or the device was lost before an answer; it will be sent again.
    Interrupted,
    /// Rejected: the message is not a command.
    Invalid,
    /// Rejected: the lifetime asked for is above the limit.
    LifetimeTooLong,
    /// Rejected: the payload is longer than a command may be.
    TooLarge,
    /// Rejected: the device's mailbox is full, by count or by bytes.
    MailboxFull,
    /// Rejected: the router's own bound on commands in custody is reached.
    RouterFull,
    /// Rejected: commands for the tenant's devices take all of its share of the router's custody.
    TenantFull,
    /// Rejected: the device answered with a reason code of 0x80 or above.
    DeviceRefused,
    /// Rejected: longer than the client's Maximum Packet Size.
    PacketTooLarge,
    /// Rejected: delivered too often without an answer.
    DeliveryLimit,
    /// Expired before the router had custody.
    ExpiredInQueue,
}

impl ReceiptState {
    /// All of them, in the order in which a command can meet them.
    pub const ALL: [Self; 10] = [
        Self::Accepted,
        Self::Parked,
        Self::Forwarded,
        Self::Delivered,
        Self::Sent,
        Self::Expired,
        Self::Rejected,
        Self::Superseded,
        Self::Unreachable,
        Self::Unknown,
    ];

    /// Whether nothing comes after it.
    #[must_use]
    pub const fn is_final(self) -> bool {
        match self {
            Self::Accepted | Self::Parked | Self::Forwarded => false,
            Self::Delivered
            | Self::Sent
            | Self::Expired
            | Self::Rejected
            | Self::Superseded
            | Self::Unreachable
            | Self::Unknown => true,
        }
    }

    /// The state as receipts and routing keys write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Parked => "parked",
            Self::Forwarded => "forwarded",
            Self::Delivered => "delivered",
            Self::Sent => "sent",
            Self::Expired => "expired",
            Self::Rejected => "rejected",
            Self::Superseded => "superseded",
            Self::Unreachable => "unreachable",
            Self::Unknown => "unknown",
        }
    }
}

impl Receipt {
    /// The version of the contract that this build writes.
    pub const VERSION: u8 = 1;

    /// The AMQP `message_id`: command id and state, and which telling it is where a state can come more than once. A receipt that
    /// is published again has the same one, and no other has it.
    #[must_use]
    pub fn id(&self) -> String {
        let state = self.state.as_str();
        match self.telling {
            None => format!("{}.{state}", self.command_id),
            Some(Telling { run, number }) => format!("{}.{state}.{}-{number}", self.command_id, run.0),
        }
    }

    /// The receipt as an AMQP message to `exchange`, with the key `tenant.device.state`.
    #[must_use]
    pub fn to_message(&self, exchange: &str) -> Message {
        let properties = Properties {
            message_id: Some(self.id()),
            correlation_id: self.message_id.as_ref().map(ToString::to_string),
            content_type: Some("application/json".to_owned()),
            delivery_mode: DeliveryMode::Persistent,
            timestamp_s: Some(self.at.as_millis() / 1_000),
            ..Properties::default()
        };
        Message {
            exchange: exchange.to_owned(),
            routing_key: RoutingKey::for_state(&self.device, self.state.as_str()).as_str().to_owned(),
            properties,
            body: serde_json::to_vec(self).expect("a receipt has no map with keys that are not text").into(),
        }
    }
}

impl std::fmt::Display for ReceiptState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(state: ReceiptState) -> Receipt {
        Receipt {
            version: Receipt::VERSION,
            state,
            device: "acme/d.1".parse().unwrap(),
            message_id: Some(MessageId::parse("m-1").unwrap()),
            command_id: CommandId { journal: 1, sequence: 2 },
            epoch: Some(Epoch::default()),
            gateway: Some("eu-1".parse().unwrap()),
            region: Some("eu".parse().unwrap()),
            attempt: 1,
            telling: None,
            reason: None,
            detail: None,
            accepted_at: WallTime::from_millis(1),
            at: WallTime::from_millis(2),
            duplicate: false,
        }
    }

    #[test]
    fn a_receipt_is_addressed_by_device_and_state_and_refers_to_the_command() {
        let message = receipt(ReceiptState::Delivered).to_message("roost.receipts");
        assert_eq!(message.routing_key, "acme.d%2E1.delivered");
        assert_eq!(message.properties.correlation_id.as_deref(), Some("m-1"));
        assert_eq!(message.properties.message_id.as_deref(), Some("00000001-2.delivered"));
        let json: serde_json::Value = serde_json::from_slice(&message.body).unwrap();
        assert_eq!(
            (&json["state"], &json["tenant"], &json["device"]),
            (&"delivered".into(), &"acme".into(), &"d.1".into())
        );
        assert_eq!(
            serde_json::from_slice::<Receipt>(&message.body).unwrap(),
            receipt(ReceiptState::Delivered)
        );
    }

    #[test]
    fn what_can_come_again_has_an_id_per_telling() {
        let told = |run, number| Receipt {
            telling: Some(Telling { run: RouterRun(run), number }),
            ..receipt(ReceiptState::Forwarded)
        };
        assert_eq!(told(7, 2).id(), "00000001-2.forwarded.7-2");
        assert!(told(7, 2).id() != told(7, 3).id() && told(7, 2).id() != told(8, 2).id());
        let json = serde_json::to_value(told(7, 2)).unwrap();
        assert_eq!(json["telling"], serde_json::json!({"run": 7, "number": 2}));
        assert_eq!(serde_json::from_value::<Receipt>(json).unwrap(), told(7, 2));
    }

    #[test]
    fn states_print_as_json_writes_them() {
        for state in ReceiptState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
    }
}
