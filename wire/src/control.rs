//! What the router tells one gateway, through that gateway's control queue. Commands go through the inbox instead, so that
//! neither waits behind the other.

use serde::{Deserialize, Serialize};

use crate::mesh::Report;
use crate::{BootTime, Device, Incarnation, QuestionId, RouterRun, SessionId, ShardId};

/// A batch of words to one gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlReport {
    /// Which shard's router speaks.
    pub shard: ShardId,
    /// Which run of it. A new one asks for a sync and a snapshot by itself.
    pub run: RouterRun,
    /// What it says, in order.
    pub items: Vec<Control>,
}

/// One thing that the router tells a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Control {
    /// "I have read your heartbeat": the gateway's lease counts from when it *sent* it.
    HeartbeatAnswer {
        /// Which heartbeat.
        number: u64,
        /// When the answer was written, on the router's clock.
        answered_at: BootTime,
    },
    /// "Do you hold this device?" Answered by claim or absent among the sightings.
    Ask {
        /// Which question.
        question: QuestionId,
        /// Which device.
        #[serde(flatten)]
        device: Device,
    },
    /// "Tell me what is in flight": raise the sync number and sync.
    Sync,
    /// "Tell me who is connected": announce a complete snapshot.
    Snapshot,
    /// "Close this session if you still have it."
    Close {
        /// Which device.
        #[serde(flatten)]
        device: Device,
        /// Which of its sessions, and no other.
        session: SessionId,
        /// What the device is told.
        reason: CloseReason,
    },
    /// "A newer process has your id: nothing of yours counts any more." Said instead of an answer to a heartbeat of an
    /// incarnation that was voided, through the control queue that the heartbeat names. A gateway that does not know it hears
    /// nothing, as before.
    Superseded {
        /// The newer incarnation.
        by: Incarnation,
    },
}

/// Why the router has a session closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloseReason {
    /// The device has a newer session elsewhere (v5 0x8E). [MQTT-3.1.4-3]
    TakenOver,
}

impl Report for ControlReport {
    fn items(&self) -> usize {
        self.items.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_back() {
        let device: Device = "acme/d".parse().unwrap();
        let report = ControlReport {
            shard: ShardId(0),
            run: RouterRun(4),
            items: vec![
                Control::HeartbeatAnswer { number: 1, answered_at: BootTime::from_micros(2) },
                Control::Ask { question: QuestionId(1), device: device.clone() },
                Control::Sync,
                Control::Snapshot,
                Control::Close { device, session: SessionId(3), reason: CloseReason::TakenOver },
                Control::Superseded { by: Incarnation(9) },
            ],
        };
        assert_eq!(ControlReport::from_body(&report.to_body()).unwrap(), report);
    }
}
