//! What a gateway tells the router about devices, in order, through `roost.sightings.<shard>`.

use serde::{Deserialize, Serialize};

use crate::mesh::Report;
use crate::{
    BootTime, Device, GatewayId, Incarnation, LinkId, QuestionId, Region, RouterRun, SessionId,
    SessionRequest,
};

/// A batch of sightings from one link of one gateway. Their order, within and across reports of a link, is the order in
/// which they happened there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SightingReport {
    /// Which gateway speaks.
    pub gateway: GatewayId,
    /// Its region.
    pub region: Region,
    /// Which run of it. One that the router has not seen voids all records of the others.
    pub incarnation: Incarnation,
    /// Over which link.
    pub link: LinkId,
    /// What it says.
    pub items: Vec<Sighting>,
}

/// One thing that a gateway says about a device or about itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Sighting {
    /// "I am alive": every heartbeat interval, answered by [`crate::Control::HeartbeatAnswer`].
    Heartbeat(Heartbeat),
    /// A CONNECT of this device was accepted.
    Accepted(Present),
    /// This session of the device has ended: its connection is closed. The router removes the location if it is still
    /// this session's.
    Gone {
        /// Which device.
        #[serde(flatten)]
        device: Device,
        /// Which of its sessions.
        session: SessionId,
    },
    /// The answer to a question: the device is here. It stands in order with the other sightings.
    Claim {
        /// Which question.
        question: QuestionId,
        /// In which router run it was asked.
        run: RouterRun,
        /// Where the device is.
        #[serde(flatten)]
        present: Present,
    },
    /// The answer to a question: the device is not here. It stands in order with the other sightings.
    Absent {
        /// Which question.
        question: QuestionId,
        /// In which router run it was asked.
        run: RouterRun,
        /// Which device.
        #[serde(flatten)]
        device: Device,
    },
    /// A part of the complete list of sessions that are connected. The parts of a list follow each other with no other
    /// sighting between them; at the last one, what the list does not name is removed from the gateway's records.
    Snapshot {
        /// Whether this part begins a new list.
        first: bool,
        /// Whether this part ends it.
        last: bool,
        /// The sessions.
        present: Vec<Present>,
    },
    /// A CONNECT waits here for the session that its device had. Answered by [`crate::Control::SessionAnswer`], or by the session
    /// itself. Said only to a router that moves sessions ([`crate::Control::HeartbeatAnswer`]): an older one could not read it.
    WantsSession {
        /// Which device.
        #[serde(flatten)]
        device: Device,
        /// The gateway's number for it.
        request: SessionRequest,
        /// The copy that the gateway has, and that may be stale.
        #[serde(default)]
        held: Option<SessionId>,
        /// When that copy's last CONNECT was accepted, on the clock of the gateway's incarnation.
        #[serde(default)]
        held_since: Option<BootTime>,
        /// When the CONNECT that waits had come, on the same clock.
        #[serde(default)]
        asked_at: Option<BootTime>,
    },
    /// The answer to [`crate::Control::FindSession`]: there is one here.
    HoldsSession {
        /// Which question.
        question: QuestionId,
        /// In which router run it was asked.
        run: RouterRun,
        /// Which one.
        #[serde(flatten)]
        present: Present,
        /// Whether its device is connected.
        connected: bool,
        /// When this was written, on the clock of the gateway's incarnation: after the question, which bounds that clock.
        #[serde(default)]
        at: Option<BootTime>,
    },
    /// The answer to [`crate::Control::FindSession`] or [`crate::Control::MoveSession`]: none comes from here.
    NoSession {
        /// Which question.
        question: QuestionId,
        /// In which router run it was asked.
        run: RouterRun,
        /// Which device.
        #[serde(flatten)]
        device: Device,
        /// Why not.
        reason: NoSessionReason,
        /// When the session was accepted that it had of the device and forgot, since nobody could say whether that was the newest; on the clock
        /// of the gateway's incarnation.
        #[serde(default)]
        forgot: Option<BootTime>,
        /// When this was written, on the clock of the gateway's incarnation.
        #[serde(default)]
        at: Option<BootTime>,
    },
}

/// Why a gateway hands over no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoSessionReason {
    /// It has none of that device.
    Absent,
    /// The device is connected to it in a newer session than the one that was asked for.
    Newer,
    /// It hands over as many as it may at once.
    Busy,
    /// It is too long to be moved.
    TooLarge,
}

/// A device's session that is connected to the gateway that says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Present {
    /// Which device.
    #[serde(flatten)]
    pub device: Device,
    /// Which of its sessions.
    pub session: SessionId,
    /// When its CONNECT was accepted, on the clock of the gateway's incarnation.
    pub accepted_at: BootTime,
}

/// "I am alive", and what the router needs to know where to reach the gateway and how its clock runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Counted within the incarnation.
    pub number: u64,
    /// When it was sent, on the incarnation's clock. If it is answered, the gateway's lease counts from here.
    pub sent_at: BootTime,
    /// The answer that was read last, for the bounds of the clock's offset. None before the first.
    #[serde(default)]
    pub echo: Option<Echo>,
    /// The queue for this link's commands; the router publishes to it through the default exchange.
    pub inbox: String,
    /// The queue for what the router says about anything else.
    pub control: String,
    /// How many devices are connected.
    pub sessions: u64,
    /// Whether it is going away: it keeps its devices for now and takes no new ones.
    #[serde(default)]
    pub draining: bool,
    /// Whether it hands sessions over, and forgets those that are elsewhere.
    #[serde(default)]
    pub moves_sessions: bool,
    /// When the incarnation began, on its own clock: what the one before it kept is lost since.
    #[serde(default)]
    pub started_at: Option<BootTime>,
}

/// What a gateway read in a heartbeat's answer: the router wrote it at `answered_at` on its clock, the gateway read it at
/// `read_at` on its own. With the heartbeat's own way up this bounds the offset between the two clocks on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Echo {
    /// Which router run answered; another run has another clock.
    pub run: RouterRun,
    /// When, on the router's clock.
    pub answered_at: BootTime,
    /// When it was read, on the gateway's clock.
    pub read_at: BootTime,
}

impl Report for SightingReport {
    fn items(&self) -> usize {
        let nested = |item: &Sighting| match item {
            Sighting::Snapshot { present, .. } => present.len(),
            Sighting::Heartbeat(_)
            | Sighting::Accepted(_)
            | Sighting::Gone { .. }
            | Sighting::Claim { .. }
            | Sighting::Absent { .. }
            | Sighting::WantsSession { .. }
            | Sighting::HoldsSession { .. }
            | Sighting::NoSession { .. } => 1,
        };
        self.items.iter().map(nested).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::MeshError;

    fn report() -> SightingReport {
        let device: Device = "acme/d1".parse().unwrap();
        let present =
            Present { device: device.clone(), session: SessionId(7), accepted_at: BootTime::from_micros(12) };
        let run = RouterRun(2);
        SightingReport {
            gateway: "eu-1".parse().unwrap(),
            region: "eu".parse().unwrap(),
            incarnation: Incarnation(9),
            link: LinkId(1),
            items: vec![
                Sighting::Heartbeat(Heartbeat {
                    number: 3,
                    sent_at: BootTime::from_micros(5),
                    echo: Some(Echo {
                        run,
                        answered_at: BootTime::from_micros(1),
                        read_at: BootTime::from_micros(2),
                    }),
                    inbox: "i".to_owned(),
                    control: "c".to_owned(),
                    sessions: 4,
                    draining: false,
                    moves_sessions: true,
                    started_at: Some(BootTime::from_micros(1)),
                }),
                Sighting::Accepted(present.clone()),
                Sighting::Gone { device: device.clone(), session: SessionId(7) },
                Sighting::Claim { question: QuestionId(1), run, present: present.clone() },
                Sighting::Absent { question: QuestionId(2), run, device: device.clone() },
                Sighting::Snapshot { first: true, last: true, present: vec![present.clone()] },
                Sighting::WantsSession {
                    device: device.clone(),
                    request: SessionRequest(4),
                    held: Some(SessionId(3)),
                    held_since: Some(BootTime::from_micros(9)),
                    asked_at: Some(BootTime::from_micros(10)),
                },
                Sighting::HoldsSession {
                    question: QuestionId(3),
                    run,
                    present,
                    connected: true,
                    at: Some(BootTime::from_micros(11)),
                },
                Sighting::NoSession {
                    question: QuestionId(3),
                    run,
                    device,
                    reason: NoSessionReason::Busy,
                    forgot: Some(BootTime::from_micros(7)),
                    at: Some(BootTime::from_micros(12)),
                },
            ],
        }
    }

    #[test]
    fn a_report_reads_back() {
        assert_eq!(SightingReport::from_body(&report().to_body()).unwrap(), report());
    }

    #[test]
    fn what_a_later_version_adds_is_ignored_and_its_version_is_not() {
        let mut json: serde_json::Value = serde_json::from_slice(&report().to_body()).unwrap();
        json["mood"] = "good".into();
        json["items"][1]["altitude_m"] = 12.into();
        assert_eq!(SightingReport::from_body(json.to_string().as_bytes()).unwrap(), report());
        json["version"] = 2.into();
        let error = SightingReport::from_body(json.to_string().as_bytes());
        assert!(matches!(error, Err(MeshError::Version { version: 2 })), "{error:?}");
    }

    #[test]
    fn nonsense_is_refused() {
        for body in
            ["", "{}", "[]", "null", r#"{"version":1}"#, r#"{"version":1,"items":[{"kind":"dance"}]}"#]
        {
            assert!(SightingReport::from_body(body.as_bytes()).is_err(), "{body}");
        }
        let mut many = report();
        many.items = vec![many.items[2].clone(); crate::mesh::ITEMS_MAX + 1];
        let json = serde_json::json!({"version": 1, "gateway": "g", "region": "r", "incarnation": Incarnation(1),
            "link": 1, "items": many.items});
        let error = SightingReport::from_body(json.to_string().as_bytes());
        assert!(matches!(error, Err(MeshError::TooMany { .. })), "{error:?}");
    }
}
