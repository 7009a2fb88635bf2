//! What the router tells one gateway, through that gateway's control queue. Commands go through the inbox instead, so that
//! neither waits behind the other.

use serde::{Deserialize, Serialize};

use crate::mesh::Report;
use crate::{BootTime, Device, Incarnation, QuestionId, RouterRun, SessionId, SessionRequest, ShardId};

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
        /// Whether it moves sessions between gateways. An older router does not, and says nothing of it.
        #[serde(default)]
        moves_sessions: bool,
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
        /// The device has a newer session elsewhere: what is kept of this one, connected or not, is to be forgotten. An older
        /// gateway keeps it.
        #[serde(default)]
        forget: bool,
    },
    /// "Nobody can say whether this session is its device's newest": so it is resumed nowhere. It ends with its connection, and at once
    /// if it has none. Said only to gateways that move sessions.
    Forget {
        /// Which device.
        #[serde(flatten)]
        device: Device,
        /// Which of its sessions, or one that has been resumed from it since.
        session: SessionId,
    },
    /// "Do you have a session of this device, connected or not?" Answered by [`crate::Sighting::HoldsSession`] or `NoSession`. Asked
    /// only of gateways that move sessions, as [`Control::MoveSession`].
    FindSession {
        /// Which question.
        question: QuestionId,
        /// Which device.
        #[serde(flatten)]
        device: Device,
    },
    /// "Its device is elsewhere: hand its session over." Answered by the session itself ([`crate::SessionHandOver`]) or by
    /// [`crate::Sighting::NoSession`].
    MoveSession {
        /// Which question.
        question: QuestionId,
        /// Which device.
        #[serde(flatten)]
        device: Device,
        /// The session that the router knows of. One that is connected and another one stays where it is.
        session: SessionId,
    },
    /// The answer to [`crate::Sighting::WantsSession`], if no session comes.
    SessionAnswer {
        /// Which request.
        request: SessionRequest,
        /// Which device.
        #[serde(flatten)]
        device: Device,
        /// What is known.
        answer: SessionAnswer,
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

/// What the router knows of a session that a gateway has asked for and that does not come from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionAnswer {
    /// The copy that the gateway has is the device's newest.
    Current,
    /// Nobody has one.
    Nobody,
    /// The gateway that had it is dead, or its lease has lapsed: what it has is lost or stale.
    OwnerDead,
    /// The gateway that has it does not move sessions.
    OwnerCannot,
    /// Too many are on their way.
    Busy,
    /// The device has asked for it at another gateway since.
    Elsewhere,
    /// The gateway that has it has not answered in time.
    TimedOut,
    /// Nobody can say which copy is the newest, or whether there was a newer one that is lost: none is resumed.
    Undecided,
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
                Control::HeartbeatAnswer {
                    number: 1,
                    answered_at: BootTime::from_micros(2),
                    moves_sessions: true,
                },
                Control::Ask { question: QuestionId(1), device: device.clone() },
                Control::Sync,
                Control::Snapshot,
                Control::Close {
                    device: device.clone(),
                    session: SessionId(3),
                    reason: CloseReason::TakenOver,
                    forget: true,
                },
                Control::Forget { device: device.clone(), session: SessionId(3) },
                Control::FindSession { question: QuestionId(2), device: device.clone() },
                Control::MoveSession {
                    question: QuestionId(2),
                    device: device.clone(),
                    session: SessionId(3),
                },
                Control::SessionAnswer {
                    request: SessionRequest(5),
                    device,
                    answer: SessionAnswer::OwnerDead,
                },
                Control::Superseded { by: Incarnation(9) },
            ],
        };
        assert_eq!(ControlReport::from_body(&report.to_body()).unwrap(), report);
    }

    #[test]
    fn what_an_older_router_says_moves_no_sessions() {
        let body = r#"{"version":1,"shard":0,"run":4,"items":[
            {"kind":"heartbeat_answer","number":1,"answered_at":2},
            {"kind":"close","tenant":"acme","device":"d","session":3,"reason":"taken_over"}]}"#;
        let items = ControlReport::from_body(body.as_bytes()).unwrap().items;
        assert!(matches!(items[0], Control::HeartbeatAnswer { moves_sessions: false, .. }));
        assert!(matches!(items[1], Control::Close { forget: false, .. }));
    }
}
