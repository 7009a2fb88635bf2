//! What the router counts, as Prometheus reads it.

use std::collections::BTreeMap;

use roost_backend::shell::{ConsumerFigures, PublisherFigures};
use roost_ops::{Exposition, LinkCounts, MetricKind, SpanFigures};

use crate::gateway::Standing;
use crate::{Counters, DropReason, GatewayGauges, Gauges, TransferOutcome};
use roost_log::LogStatus;

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
    /// Depths of the core; at their defaults in the figures that are kept between questions.
    pub gauges: Gauges,
    /// How much its publisher carries.
    pub publisher: PublisherFigures,
    /// How much its consumers carry, by link.
    pub consumers: Vec<(&'static str, ConsumerFigures)>,
    /// Commands over HTTP that were not taken, by reason.
    pub not_taken: BTreeMap<&'static str, u64>,
    /// Its spans.
    pub spans: SpanFigures,
}

impl Snapshot {
    /// Its part of the page for `/metrics`.
    pub(super) fn write(&self, page: &mut Exposition) {
        use MetricKind::{Counter, Gauge};
        let c = &self.counters;
        page.singles(
            Counter,
            [
                ("roost_router_commands_accepted_total", "Commands taken into custody.", c.accepted),
                ("roost_router_duplicates_total", "Commands that repeated a message id.", c.duplicates),
                ("roost_router_forwarded_total", "Commands put into an inbox, each attempt.", c.forwarded),
                ("roost_router_questions_total", "Devices asked for, of all gateways at once.", c.questions),
                (
                    "roost_router_contests_total",
                    "Devices that several gateways claimed and for which these were asked.",
                    c.contests,
                ),
                ("roost_router_closes_total", "Sessions that the router had closed.", c.closes),
                ("roost_router_syncs_requested_total", "Syncs asked for.", c.syncs_requested),
                ("roost_router_syncs_total", "Syncs read to their end.", c.syncs),
                ("roost_router_snapshots_total", "Snapshots read to their end.", c.snapshots),
                ("roost_router_lease_lapses_total", "Leases of gateways that lapsed.", c.lapses),
                (
                    "roost_router_answers_total",
                    "Answers of devices in the queues of those who wait.",
                    c.answers,
                ),
            ],
        );
        page.family("roost_router_decisions_total", Counter, "Decisions by kind and reason.");
        for ((kind, reason), value) in &c.decisions {
            page.sample(&[("kind", kind), ("reason", reason)], value);
        }
        let help = "Sessions that gateways asked for, by what became of that.";
        page.family("roost_router_session_transfers_total", Counter, help);
        for outcome in TransferOutcome::ALL {
            let value = c.transfers.get(&outcome).copied().unwrap_or_default();
            page.sample(&[("outcome", outcome.as_str())], value);
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
        for reason in DropReason::ALL {
            page.sample(&[("reason", reason.as_str())], c.drops.get(&reason).copied().unwrap_or_default());
        }
        page.family(
            "roost_router_http_not_taken_total",
            Counter,
            "Commands over HTTP that were not taken, by reason.",
        );
        for (reason, value) in &self.not_taken {
            page.sample(&[("reason", reason)], value);
        }
        self.log.write("journal", page);
        self.depths(page);
        self.gateways(page);
        LinkCounts::write(&self.links, page);
        self.spans.write(page);
        PublisherFigures::write(&[("publisher", self.publisher)], page);
        ConsumerFigures::write(&self.consumers, page);
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

    fn depths(&self, page: &mut Exposition) {
        let g = &self.gauges;
        let help = "Devices in the location table, by what it knows of them.";
        page.family("roost_router_locations", MetricKind::Gauge, help)
            .sample(&[("state", "online")], g.located_online)
            .sample(&[("state", "away")], g.located_away);
        page.singles(
            MetricKind::Gauge,
            [
                (
                    "roost_router_locations_in_doubt",
                    "Devices in the location table whose gateway's lease has lapsed.",
                    g.located_in_doubt,
                ),
                (
                    "roost_router_questions_open",
                    "Devices that the gateways are being asked for.",
                    g.questions_open,
                ),
                (
                    "roost_router_questions_waiting",
                    "Devices whose turn to be asked for has not come.",
                    g.questions_waiting,
                ),
                (
                    "roost_router_contests_open",
                    "Devices that several gateways claim, while these are being asked.",
                    g.contests_open,
                ),
                (
                    "roost_router_session_transfers_open",
                    "Sessions that gateways have asked for, while they are looked for and moved.",
                    g.transfers_open,
                ),
                ("roost_router_mailboxes", "Devices that have commands in custody.", g.mailboxes),
                ("roost_router_mailbox_commands", "Commands that wait in mailboxes.", g.commands_waiting),
                (
                    "roost_router_mailbox_bytes",
                    "Bytes of the commands that wait in mailboxes.",
                    g.waiting_bytes,
                ),
                (
                    "roost_router_commands_outstanding",
                    "Commands that are at a gateway and not settled.",
                    g.commands_outstanding,
                ),
                (
                    "roost_router_outputs_gated",
                    "Publications and acknowledgements that wait for their record to be on disk.",
                    g.gated,
                ),
                ("roost_router_finals", "Ended commands that are remembered.", g.finals),
            ],
        );
        let help = "For how long at most a location of a connected device has not been confirmed.";
        page.family("roost_router_location_staleness_seconds", MetricKind::Gauge, help)
            .sample(&[], g.staleness.as_secs_f64());
    }

    fn gateways(&self, page: &mut Exposition) {
        type Figure = fn(&GatewayGauges) -> Option<f64>;
        let families: [(&str, &str, Figure); 4] = [
            ("roost_router_gateway_ready", "Whether commands may be forwarded to the gateway.", |gateway| {
                Some(f64::from(u8::from(gateway.standing == Standing::Ready)))
            }),
            ("roost_router_gateway_sessions", "Devices that the gateway says are connected.", |gateway| {
                Some(gateway.sessions as f64)
            }),
            (
                "roost_router_gateway_round_trip_seconds",
                "How long a word to the gateway and its answer are under way, waits in queues and in the router included.",
                |gateway| gateway.round_trip.map(|took| took.as_secs_f64()),
            ),
            (
                "roost_router_gateway_clock_width_seconds",
                "How exactly the gateway's clock is known: sightings closer than this cannot be ordered.",
                |gateway| gateway.clock_width.map(|width| width.as_secs_f64()),
            ),
        ];
        for (name, help, figure) in families {
            page.family(name, MetricKind::Gauge, help);
            for (id, gateway) in &self.gauges.gateways {
                if let Some(value) = figure(gateway) {
                    page.sample(&[("gateway", id.as_str())], value);
                }
            }
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
