//! How much there is of what comes and goes: for metrics, and changing nothing.

use std::time::Duration;

use roost_wire::{GatewayId, Now};

use super::RouterCore;
use crate::gateway::Standing;

/// The router's depths at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gauges {
    /// Devices in the location table that are connected, as far as it knows.
    pub located_online: usize,
    /// Devices in the location table that are known to be away.
    pub located_away: usize,
    /// Of those that are connected, the ones at a gateway whose lease has lapsed.
    pub located_in_doubt: usize,
    /// How long ago the gateway was last answered that was heard of least recently, of those whose lease runs: no record of a
    /// connected device is unconfirmed for longer.
    pub staleness: Duration,
    /// Devices that the gateways are being asked for.
    pub questions_open: usize,
    /// Devices whose turn to be asked for has not come.
    pub questions_waiting: usize,
    /// Devices that several gateways claim, while these are being asked.
    pub contests_open: usize,
    /// Sessions that gateways have asked for.
    pub transfers_open: usize,
    /// Devices that have commands in custody.
    pub mailboxes: usize,
    /// Commands that wait in mailboxes.
    pub commands_waiting: usize,
    /// Bytes of these commands.
    pub waiting_bytes: usize,
    /// Commands at a gateway.
    pub commands_outstanding: usize,
    /// What is said once its record is on disk.
    pub gated: usize,
    /// Finals that are remembered.
    pub finals: usize,
    /// Each gateway that is known.
    pub gateways: Vec<(GatewayId, GatewayGauges)>,
}

/// One gateway's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayGauges {
    /// Whether commands may be forwarded to it.
    pub standing: Standing,
    /// How many devices it says are connected.
    pub sessions: u64,
    /// How long a word to it and its answer are under way, the waits in both queues included; none before the first echo.
    pub round_trip: Option<Duration>,
    /// How exactly its clock is known; none while a bound is missing.
    pub clock_width: Option<Duration>,
}

impl RouterCore {
    /// What there is now. It looks at every mailbox, so it is for whoever asks now and then.
    #[must_use]
    pub fn gauges(&self, now: Now) -> Gauges {
        let mut gauges = Gauges {
            located_online: self.locations.online(),
            located_away: self.locations.len() - self.locations.online(),
            questions_open: self.questions.len(),
            questions_waiting: self.questions.queued(),
            contests_open: self.locations.contests(),
            transfers_open: self.transfers.len(),
            mailboxes: self.mailboxes.len(),
            gated: self.gated.values().map(Vec::len).sum(),
            finals: self.journal.finals(),
            ..Gauges::default()
        };
        for mailbox in self.mailboxes.values() {
            gauges.commands_waiting += mailbox.waiting_count();
            gauges.waiting_bytes += mailbox.waiting_bytes();
            gauges.commands_outstanding += mailbox.hold.as_ref().map_or(0, |hold| hold.outstanding.len());
        }
        for (id, gateway) in &self.gateways {
            let standing = gateway.standing(self.durable);
            match standing {
                Standing::Lapsed => gauges.located_in_doubt += self.locations.online_at(id),
                Standing::Ready | Standing::NotReady => {
                    let heard = gateway.answered_at.map_or(Duration::ZERO, |at| now.boot.since(at));
                    gauges.staleness = gauges.staleness.max(heard);
                }
            }
            let width = gateway.bounds.offset_micros(now.boot).map(|(low, high)| high - low);
            let own = GatewayGauges {
                standing,
                sessions: gateway.sessions,
                round_trip: gateway.round_trip,
                clock_width: width.and_then(|micros| u64::try_from(micros).ok()).map(Duration::from_micros),
            };
            gauges.gateways.push((id.clone(), own));
        }
        gauges
    }
}
