//! What a gateway tells the router about commands, in order, through `roost.settle.<shard>`.

use serde::{Deserialize, Serialize};

use crate::mesh::Report;
use crate::{CommandId, Device, Epoch, GatewayId, Incarnation, LinkId, RouterRun, SessionId, SyncNumber};

/// What stands in the settlement queue: reports of gateways, and the router's own marks, which it reads to know that
/// everything before them has been read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum SettlementReport {
    /// A batch from one link of one gateway, in the order in which it happened there.
    Gateway {
        /// Which gateway speaks.
        gateway: GatewayId,
        /// Which run of it.
        incarnation: Incarnation,
        /// Over which link the commands came.
        link: LinkId,
        /// What it says.
        items: Vec<SettlementItem>,
    },
    /// The router's own mark.
    Marker {
        /// Which run of the router wrote it.
        run: RouterRun,
        /// Counted within that run.
        number: u64,
    },
}

/// One thing that a gateway says about a command or a device's subscriptions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SettlementItem {
    /// What became of one command.
    Settled(Settlement),
    /// The device has sent a SUBSCRIBE since it was answered "no subscription". Stands behind that answer.
    Subscribed {
        /// Which device.
        #[serde(flatten)]
        device: Device,
        /// In which session.
        session: SessionId,
    },
    /// A part of the complete list of commands in flight at the gateway. The parts of a list follow each other with nothing
    /// between them. At the last one the list replaces what the router believed to be outstanding there.
    Sync {
        /// The gateway's new sync number; commands with another are dropped there from now on.
        number: SyncNumber,
        /// Whether this part begins a new list.
        first: bool,
        /// Whether this part ends it.
        last: bool,
        /// The commands.
        in_flight: Vec<InFlight>,
    },
}

/// What became of one attempt to deliver a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settlement {
    /// Which command.
    pub command: CommandId,
    /// To whom.
    #[serde(flatten)]
    pub device: Device,
    /// In which session.
    pub session: SessionId,
    /// In which hold. Only `delivered` and `sent` count for another hold than the current one.
    pub epoch: Epoch,
    /// The answer.
    pub outcome: Outcome,
}

/// A command that is in flight: written to its session, not acknowledged yet, or waiting there for its turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFlight {
    /// Which command.
    pub command: CommandId,
    /// To whom.
    #[serde(flatten)]
    pub device: Device,
    /// In which session.
    pub session: SessionId,
    /// In which hold.
    pub epoch: Epoch,
}

/// The answer to a delivery. The first one other than `Delivered` and `Sent` ends the hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The device sent a PUBACK. Final.
    Delivered,
    /// Written to the connection at QoS 0. Final.
    Sent,
    /// The session has no subscription that matches the topic. Nothing was written.
    NoSubscription,
    /// The session is not there, or its connection closed before an answer.
    Gone {
        /// Whether the command had been written, so that the device may have it.
        written: bool,
    },
    /// No PUBACK within the settle timeout; the connection was closed.
    TimedOut,
    /// The device or its limits refuse this command. Final: `rejected`.
    Refused {
        /// Why.
        reason: Refusal,
    },
    /// Not written, for a reason that is the gateway's; the router tries again.
    Returned {
        /// Why.
        reason: ReturnReason,
    },
}

/// Why a command will never be delivered to this device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "refusal", rename_all = "snake_case")]
pub enum Refusal {
    /// The device answered with a v5 PUBACK reason code of 0x80 or above.
    Device {
        /// The code.
        reason_code: u8,
    },
    /// Longer than the client's Maximum Packet Size. [MQTT-3.1.2-24]
    PacketTooLarge,
    /// Its lifetime ended at the gateway before it was written.
    Expired,
}

/// Why a gateway gives a command back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReturnReason {
    /// The hold it belongs to has ended.
    HoldEnded,
    /// A newer hold is known.
    StaleEpoch,
    /// The gateway's lease has lapsed.
    LeaseLapsed,
    /// The gateway's own bound on commands is reached.
    Full,
    /// The gateway is shutting down.
    Draining,
}

impl Outcome {
    /// Whether the command needs no other attempt: it counts whatever the epoch.
    #[must_use]
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Delivered | Self::Sent)
    }
}

impl Report for SettlementReport {
    fn items(&self) -> usize {
        let nested = |item: &SettlementItem| match item {
            SettlementItem::Sync { in_flight, .. } => in_flight.len().max(1),
            SettlementItem::Settled(_) | SettlementItem::Subscribed { .. } => 1,
        };
        match self {
            Self::Gateway { items, .. } => items.iter().map(nested).sum(),
            Self::Marker { .. } => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_report_reads_back() {
        let device: Device = "d".parse().unwrap();
        let command = CommandId { journal: 5, sequence: 6 };
        let session = SessionId(2);
        let epoch = Epoch { run: RouterRun(1), counter: 3 };
        let outcomes = [
            Outcome::Delivered,
            Outcome::Sent,
            Outcome::NoSubscription,
            Outcome::Gone { written: true },
            Outcome::TimedOut,
            Outcome::Refused { reason: Refusal::Device { reason_code: 0x97 } },
            Outcome::Refused { reason: Refusal::PacketTooLarge },
            Outcome::Returned { reason: ReturnReason::HoldEnded },
        ];
        let settled = |outcome| {
            SettlementItem::Settled(Settlement { command, device: device.clone(), session, epoch, outcome })
        };
        let mut items: Vec<_> = outcomes.into_iter().map(settled).collect();
        items.push(SettlementItem::Subscribed { device: device.clone(), session });
        items.push(SettlementItem::Sync {
            number: SyncNumber(4),
            first: true,
            last: false,
            in_flight: vec![InFlight { command, device: device.clone(), session, epoch }],
        });
        let gateway = SettlementReport::Gateway {
            gateway: "eu-1".parse().unwrap(),
            incarnation: Incarnation(1),
            link: LinkId(1),
            items,
        };
        let marker = SettlementReport::Marker { run: RouterRun(1), number: 9 };
        for report in [gateway, marker] {
            assert_eq!(SettlementReport::from_body(&report.to_body()).unwrap(), report);
        }
    }
}
