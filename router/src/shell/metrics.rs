//! What the router counts, as Prometheus reads it.

use std::collections::BTreeMap;

use roost_ops::{Exposition, LinkCounts, MetricKind};

use super::log::LogStatus;
use crate::Counters;

/// The figures of a router at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// What the core counted since the start.
    pub counters: Counters,
    /// The number of its run; 0 before it has the shard's lock for the first time.
    pub run: u64,
    /// How its AMQP links fare.
    pub links: Vec<LinkCounts>,
    /// How the journal's log fares.
    pub log: LogStatus,
    /// Commands that the mesh answers for.
    pub commands_in_custody: usize,
    /// Bytes of their payloads and headers.
    pub bytes_in_custody: usize,
    /// Commands that have ended and whose final receipt is not confirmed.
    pub receipts_owed: usize,
    /// HTTP requests that wait for their command.
    pub requests_waiting: usize,
    /// Publications that wait for the publisher.
    pub publications_waiting: usize,
    /// Commands over HTTP that were not taken, by reason.
    pub not_taken: BTreeMap<&'static str, u64>,
}

impl Snapshot {
    /// Its part of the page for `/metrics`.
    pub(super) fn write(&self, page: &mut Exposition) {
        use MetricKind::{Counter, Gauge};
        let c = &self.counters;
        let plain = [
            ("roost_router_commands_accepted_total", "Commands taken into custody.", c.accepted),
            ("roost_router_duplicates_total", "Commands that repeated a message id.", c.duplicates),
            ("roost_router_forwarded_total", "Commands put into an inbox, each attempt.", c.forwarded),
            ("roost_router_questions_total", "Devices asked for, of all gateways at once.", c.questions),
            ("roost_router_closes_total", "Sessions that the router had closed.", c.closes),
            ("roost_router_syncs_requested_total", "Syncs asked for.", c.syncs_requested),
            ("roost_router_syncs_total", "Syncs read to their end.", c.syncs),
            ("roost_router_snapshots_total", "Snapshots read to their end.", c.snapshots),
            ("roost_router_lease_lapses_total", "Leases of gateways that lapsed.", c.lapses),
        ];
        for (name, help, value) in plain {
            page.family(name, Counter, help).sample(&[], value);
        }
        page.family("roost_router_decisions_total", Counter, "Decisions by kind and reason.");
        for ((kind, reason), value) in &c.decisions {
            page.sample(&[("kind", kind), ("reason", reason)], value);
        }
        page.family("roost_router_receipts_total", Counter, "Receipts by state and reason, wanted or not.");
        for ((state, reason), value) in &c.receipts {
            page.sample(&[("state", state.as_str()), ("reason", reason)], value);
        }
        page.family(
            "roost_router_drops_total",
            Counter,
            "What was dropped, refused or done again, by reason.",
        );
        for (reason, value) in &c.drops {
            page.sample(&[("reason", reason.as_str())], value);
        }
        page.family(
            "roost_router_http_not_taken_total",
            Counter,
            "Commands over HTTP that were not taken, by reason.",
        );
        for (reason, value) in &self.not_taken {
            page.sample(&[("reason", reason)], value);
        }
        self.journal(page);
        LinkCounts::write(&self.links, page);
        page.family("roost_router_run", Gauge, "The number of the run; 0 before the shard's lock is held.")
            .sample(&[], self.run);
        page.family("roost_router_commands_in_custody", Gauge, "Commands that the mesh answers for.")
            .sample(&[], self.commands_in_custody);
        page.family("roost_router_custody_bytes", Gauge, "Bytes of their payloads and headers.")
            .sample(&[], self.bytes_in_custody);
        let help =
            "Commands that have ended and whose final receipt is not confirmed; they count as custody.";
        page.family("roost_router_receipts_owed", Gauge, help).sample(&[], self.receipts_owed);
        page.family("roost_router_requests_waiting", Gauge, "HTTP requests that wait for their command.")
            .sample(&[], self.requests_waiting);
        page.family("roost_router_publications_waiting", Gauge, "Publications that wait for the publisher.")
            .sample(&[], self.publications_waiting);
    }

    fn journal(&self, page: &mut Exposition) {
        use MetricKind::{Counter, Gauge};
        let log = &self.log;
        let LogStatus { durable, stuck, batches, written_bytes, failures, segments, snapshots, .. } = log;
        let counters = [
            ("roost_journal_batches_total", "Batches written and synced.", *batches),
            ("roost_journal_written_bytes_total", "Bytes written, with frames.", *written_bytes),
            ("roost_journal_failures_total", "Writes and syncs that failed.", *failures),
            ("roost_journal_snapshots_total", "Snapshots that took the place of segments.", *snapshots),
        ];
        for (name, help, value) in counters {
            page.family(name, Counter, help).sample(&[], value);
        }
        let gauges = [
            ("roost_journal_durable_lsn", "The last record on disk.", durable.0),
            ("roost_journal_segments", "Segments on disk.", *segments),
            ("roost_journal_disk_bytes", "Bytes on disk.", log.segment_bytes + log.snapshot_bytes),
            (
                "roost_journal_stuck",
                "Whether nothing can be written at the moment.",
                u64::from(stuck.is_some()),
            ),
        ];
        for (name, help, value) in gauges {
            page.family(name, Gauge, help).sample(&[], value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_declared_once() {
        let mut page = Exposition::default();
        Snapshot::default().write(&mut page);
        let page = page.finish();
        let mut families: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let declared = families.len();
        families.sort_unstable();
        families.dedup();
        assert_eq!(families.len(), declared, "{page}");
        assert!(page.contains("roost_journal_stuck 0\n"));
    }
}
