//! What sequences of operations have met: one that meets little shows little.

use std::collections::BTreeMap;

/// How often each thing happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Met(BTreeMap<&'static str, u64>);

impl Met {
    /// Everything that is counted besides the operations.
    pub const ALL: [&'static str; 39] = [
        "operation",
        "packet compared",
        "session resumed",
        "session begun anew",
        "connection taken over",
        "session expired",
        "session expiry granted less than asked",
        "silence ended a connection",
        "sent again with DUP",
        "PUBREL again on a new connection",
        "sent while the socket takes nothing",
        "lost on the way, sent again",
        "waits for the receive maximum",
        "message expired in a queue",
        "dropped: away and full, the newest",
        "dropped: away and full, the oldest",
        "refused: away and full",
        "QoS 0 for one that is away",
        "several subscriptions match",
        "not to its own publisher",
        "Retain As Published",
        "subscription replaced",
        "subscription refused: full",
        "subscription refused: no filter",
        "retained message set",
        "retained message deleted",
        "retained message expired",
        "retained message to a subscriber",
        "retained message gone before its turn",
        "will at the end of its connection",
        "will after its delay",
        "will with the end of its session",
        "will discarded by a goodbye",
        "will dropped: its client is back",
        "publish repeated at QoS 2",
        "receive maximum exceeded",
        "released too early",
        "acknowledged out of order",
        "acknowledgement of nothing",
    ];

    pub(crate) fn note(&mut self, what: &'static str) {
        debug_assert!(Self::ALL.contains(&what), "{what} is not listed");
        *self.0.entry(what).or_default() += 1;
    }

    /// How often that happened.
    #[must_use]
    pub fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }

    /// Adds what another sequence has met.
    pub fn add(&mut self, other: &Self) {
        for (what, times) in &other.0 {
            *self.0.entry(what).or_default() += times;
        }
    }
}
