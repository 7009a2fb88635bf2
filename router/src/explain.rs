//! Answers for people and for the HTTP API: where a device is, how sure that is, what a send would do right now; and which
//! gateways there are. Plain values, as JSON by serde.

use roost_wire::{Device, Epoch, GatewayId, Incarnation, LinkId, Region, SessionId, SyncNumber, WallTime};
use serde::Serialize;

/// Everything about one device.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// Which device.
    #[serde(flatten)]
    pub device: Device,
    /// Whether it is connected, as far as the router knows; none if it is unknown.
    pub online: Option<bool>,
    /// Where it is, or was last.
    pub location: Option<LocationView>,
    /// What waits for it.
    pub mailbox: MailboxView,
    /// What a send would do right now.
    pub decision: DecisionView,
}

/// Where a device is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LocationView {
    /// At which gateway.
    pub gateway: GatewayId,
    /// In which region.
    pub region: Region,
    /// In which run of it.
    pub incarnation: Incarnation,
    /// In which session.
    pub session: SessionId,
    /// When the router learnt it, in milliseconds since 1970.
    pub since: WallTime,
    /// How long ago that was, in milliseconds.
    pub age_ms: u64,
    /// How exactly the router knows when the session began, in microseconds; none while the gateway's clock has no bounds.
    pub accepted_within_micros: Option<i64>,
    /// How long ago the gateway was last answered, in milliseconds; none if not in this run.
    pub answered_ago_ms: Option<u64>,
    /// Whether the gateway's lease runs.
    pub lease_runs: bool,
    /// In words: how sure the router is.
    pub sure: String,
}

/// What waits for a device.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct MailboxView {
    /// Commands that wait.
    pub waiting: usize,
    /// Their payload in bytes.
    pub waiting_bytes: usize,
    /// Commands at a gateway.
    pub outstanding: usize,
    /// For how long the oldest of them has been there without an answer.
    pub unanswered_ms: Option<u64>,
    /// The hold they are in.
    pub epoch: Option<Epoch>,
    /// Whose hold it is.
    pub held_by: Option<GatewayId>,
    /// Whether that hold is ending: nothing more is given to it.
    pub hold_is_ending: bool,
    /// What the first command waits for, in words.
    pub blocked_by: Option<String>,
}

/// What a send would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DecisionView {
    /// `forward`, `ask`, `park` or `reject`.
    pub kind: &'static str,
    /// Why, enumerated; empty where the kind says it all.
    pub reason: &'static str,
    /// Both in words.
    pub words: String,
    /// The gateways it is about.
    pub gateways: Vec<GatewayId>,
}

/// One gateway.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GatewayView {
    /// Which.
    pub gateway: GatewayId,
    /// Its region, once it has said so.
    pub region: Option<Region>,
    /// Its newest run.
    pub incarnation: Incarnation,
    /// The link it was last heard over.
    pub link: Option<LinkId>,
    /// `ready`, `not_ready` or `lapsed`.
    pub standing: &'static str,
    /// Whether it is going away.
    pub draining: bool,
    /// How many devices it says are connected.
    pub sessions: u64,
    /// How many devices the router has recorded there.
    pub located: usize,
    /// How many devices have a hold there.
    pub holds: usize,
    /// How long ago it was last answered, in milliseconds.
    pub answered_ago_ms: Option<u64>,
    /// The sync that was read last.
    pub sync: Option<SyncNumber>,
    /// The router's clock minus its own, at least and at most, in microseconds.
    pub offset_micros: Option<(i64, i64)>,
}
