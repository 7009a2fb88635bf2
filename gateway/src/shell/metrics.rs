//! What the world counts, as Prometheus reads it.

mod help;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use roost_backend::shell::{ConsumerFigures, PublisherFigures};
use roost_log::LogStatus;
use roost_ops::{Exposition, Histogram, LinkCounts, MetricKind, SpanFigures, now};

use super::store::StoreFigures;
use crate::shard::Gauges;
use crate::spool::SpoolGauges;
use crate::{Count, Counters, ShardFigures, ShardIndex, SpoolState};

/// The figures of a gateway at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// What the cores counted since the start.
    pub counters: Counters,
    /// What there is now.
    pub gauges: Gauges,
    /// How its AMQP links fare.
    pub links: Vec<LinkCounts>,
    /// What the shell counted.
    pub shell: ShellCounters,
    /// How much its publishers carry, by link.
    pub publishers: Vec<(&'static str, PublisherFigures)>,
    /// How much came through the inbox and the control queue.
    pub inbox: ConsumerFigures,
    /// For how long commands may be delivered if no heartbeat is answered.
    pub lease_left: Duration,
    /// What its spool holds; nothing if there is none.
    pub spool: SpoolGauges,
    /// How the spool's log fares.
    pub spool_log: LogStatus,
    /// How its store of sessions fares; nothing if there is none.
    pub store: StoreFigures,
    /// Its spans.
    pub spans: SpanFigures,
}

/// What each shard counts, as each other one reads it: one place for each.
#[derive(Debug, Clone)]
pub(super) struct AllFigures(Arc<[Mutex<ShardFigures>]>);

impl AllFigures {
    pub(super) fn new(shards: u16) -> Self {
        Self((0..shards).map(|_| Mutex::default()).collect())
    }

    /// One shard has these; gives those of all others together, if there is any other.
    pub(super) fn exchange(&self, here: ShardIndex, figures: ShardFigures) -> Option<ShardFigures> {
        let mut figures = Some(figures);
        let mut others = None;
        for (at, place) in self.0.iter().enumerate() {
            let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
            if at == usize::from(here.0) {
                *place = figures.take().unwrap_or_default();
            } else {
                others.get_or_insert_with(ShardFigures::default).add(&place);
            }
        }
        others
    }
}

/// What the cores never see.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShellCounters {
    accepts_failed: u64,
    unreadable: u64,
    received_bytes: u64,
    sent_bytes: u64,
    session_fetches: Histogram,
}

impl ShellCounters {
    /// So many messages of the mesh could not be read, and nothing else was counted.
    pub(super) fn of_unreadable(unreadable: u64) -> Self {
        Self { unreadable, ..Self::default() }
    }

    fn add(&mut self, other: &Self) {
        self.accepts_failed += other.accepts_failed;
        self.unreadable += other.unreadable;
        self.received_bytes += other.received_bytes;
        self.sent_bytes += other.sent_bytes;
        self.session_fetches.add(&other.session_fetches);
    }

    /// A device has waited so long for its session.
    pub(super) fn fetched(&mut self, took: Duration) {
        self.session_fetches.observe(took);
    }

    /// Returns whether it is worth a line in the log: the first time, and then each hundredth.
    pub(super) fn accept_failed(&mut self) -> bool {
        self.accepts_failed += 1;
        self.accepts_failed % 100 == 1
    }

    pub(super) fn received(&mut self, bytes: usize) {
        self.received_bytes += bytes as u64;
    }

    pub(super) fn sent(&mut self, bytes: usize) {
        self.sent_bytes += bytes as u64;
    }
}

impl Snapshot {
    /// Of all shards, of which the first says what the gateway has once.
    pub(super) fn of_all(shards: &[Arc<Mutex<Self>>]) -> Self {
        let of = |shard: &Arc<Mutex<Self>>| shard.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let all = shards.iter().map(of).reduce(|mut sum, next| {
            sum.add(&next);
            sum
        });
        all.unwrap_or_default()
    }

    /// What a shard counts is added.
    pub(super) fn add(&mut self, shard: &Self) {
        self.counters.add_all(&shard.counters);
        self.gauges.add(&shard.gauges);
        self.shell.add(&shard.shell);
    }

    /// The page for `/metrics`.
    pub(super) fn page(&self) -> String {
        let mut page = Exposition::default();
        self.gauged(&mut page);
        self.counted(&mut page);
        let ShellCounters { accepts_failed, unreadable, received_bytes, sent_bytes, session_fetches } =
            self.shell;
        page.singles(
            MetricKind::Counter,
            [
                (
                    "roost_gateway_accepts_failed_total",
                    "Connections that could not be accepted.",
                    accepts_failed,
                ),
                (
                    "roost_gateway_unreadable_total",
                    "Messages of the mesh that could not be read.",
                    unreadable,
                ),
                (
                    "roost_gateway_received_bytes_total",
                    "Bytes read from devices' connections.",
                    received_bytes,
                ),
                ("roost_gateway_sent_bytes_total", "Bytes written to devices' connections.", sent_bytes),
            ],
        );
        let help = "How long CONNECTs waited for a session that was asked for, whatever came of it.";
        page.family("roost_gateway_session_transfer_seconds", MetricKind::Histogram, help)
            .histogram(&[], &session_fetches);
        LinkCounts::write(&self.links, &mut page);
        PublisherFigures::write(&self.publishers, &mut page);
        ConsumerFigures::write(&[("inbox", self.inbox)], &mut page);
        self.spool(&mut page);
        self.store.write(&mut page);
        self.spans.write(&mut page);
        page.finish()
    }

    fn gauged(&self, page: &mut Exposition) {
        let g = self.gauges;
        page.singles(
            MetricKind::Gauge,
            [
                ("roost_gateway_connections", "Transport connections.", g.connections),
                (
                    "roost_gateway_connections_paused",
                    "Connections that are not read from.",
                    g.connections_paused,
                ),
                (
                    "roost_gateway_sessions_connected",
                    "Sessions whose client is connected.",
                    g.sessions_connected,
                ),
                ("roost_gateway_sessions", "Sessions, connected or kept.", g.sessions),
                ("roost_gateway_subscriptions", "Subscriptions.", g.subscriptions),
                ("roost_gateway_uplink_events", "Events that the backend has not answered.", g.uplink_events),
                (
                    "roost_gateway_uplink_bytes",
                    "Bytes of the events that the backend has not answered.",
                    g.uplink_bytes,
                ),
                ("roost_gateway_commands", "Commands written to their devices or waiting to be.", g.commands),
                ("roost_gateway_command_bytes", "Bytes of the payloads of these commands.", g.command_bytes),
                (
                    "roost_gateway_parked_bytes",
                    "Bytes of publishes that wait for room before they are routed.",
                    g.parked_bytes,
                ),
                ("roost_gateway_queued_messages", "Messages in the queues of sessions.", g.queued_messages),
                (
                    "roost_gateway_queued_bytes",
                    "Bytes of the messages in the queues of sessions.",
                    g.queued_bytes,
                ),
                (
                    "roost_gateway_inflight_messages",
                    "Messages sent to subscribers and not acknowledged.",
                    g.inflight_messages,
                ),
                (
                    "roost_gateway_session_fetches",
                    "Sessions that are asked for, since their devices may have been elsewhere.",
                    g.fetches,
                ),
                (
                    "roost_gateway_crossing_publishes",
                    "Publishes that other shards of the process have not answered.",
                    g.crossing_publishes,
                ),
                (
                    "roost_gateway_crossing_bytes",
                    "Bytes of the publishes that other shards of the process have not answered.",
                    g.crossing_bytes,
                ),
                (
                    "roost_gateway_guest_publishes",
                    "Publishes of other shards' clients that wait for a subscriber of theirs.",
                    g.guest_publishes,
                ),
                ("roost_gateway_retained_messages", "Retained messages.", g.retained_messages),
                (
                    "roost_gateway_retained_bytes",
                    "Bytes of the topics, payloads and properties of the retained messages.",
                    g.retained_bytes,
                ),
                (
                    "roost_gateway_wills",
                    "Wills of clients that are connected, or that may come back before they are published.",
                    g.wills,
                ),
                (
                    "roost_store_waiting_batches",
                    "Changes of sessions that are not on disk yet; what was promised on them waits.",
                    g.store_batches,
                ),
                ("roost_store_waiting_bytes", "Their bytes.", g.store_bytes),
                (
                    "roost_store_loading",
                    "Whether stored sessions are still being read; publishes wait for that.",
                    usize::from(g.store_loading),
                ),
                ("roost_gateway_will_bytes", "Bytes of these wills, and 256 for each.", g.will_bytes),
                (
                    "roost_gateway_broadcasts_waiting",
                    "Broadcasts that wait for a subscriber that is connected and full.",
                    g.broadcasts,
                ),
                (
                    "roost_gateway_broadcast_bytes",
                    "Bytes of the topics, payloads and properties of these broadcasts.",
                    g.broadcast_bytes,
                ),
            ],
        );
        let help = "For how long commands may be delivered if no heartbeat is answered; 0 without a lease.";
        page.family("roost_gateway_lease_remaining_seconds", MetricKind::Gauge, help)
            .sample(&[], self.lease_left.as_secs_f64());
    }

    fn spool(&self, page: &mut Exposition) {
        let g = &self.spool;
        page.singles(
            MetricKind::Gauge,
            [
                ("roost_spool_events", "Events in the spool that the backend does not have.", g.events),
                ("roost_spool_bytes", "Bytes of the spool, on disk and on their way there.", g.bytes),
                ("roost_spool_bytes_max", "The bound on them; 0 without a spool.", g.bytes_max),
            ],
        );
        let age = g.oldest.map_or(Duration::ZERO, |oldest| now().wall.since(oldest));
        let help = "The age of the oldest event in the spool; 0 if there is none.";
        page.family("roost_spool_oldest_seconds", MetricKind::Gauge, help).sample(&[], age.as_secs_f64());
        let help = "When the spool is full, if it grows on as in the last minute; +Inf if it does not grow.";
        let full_in = g.full_in.map_or_else(|| "+Inf".to_owned(), |left| left.as_secs_f64().to_string());
        page.family("roost_spool_full_in_seconds", MetricKind::Gauge, help).sample(&[], full_in);
        let help = "1 for the state of the spool: it takes events in, its disk is bypassed, or it is full.";
        page.family("roost_spool_state", MetricKind::Gauge, help);
        for state in SpoolState::ALL {
            page.sample(&[("state", state.as_str())], u64::from(state == g.state));
        }
        self.spool_log.write("spool", page);
    }

    /// The cores' counts: a family for each metric, with its reasons behind it.
    fn counted(&self, page: &mut Exposition) {
        let mut counts: Vec<(Count, u64)> = self.counters.iter().collect();
        counts.sort_by_key(|(count, _)| count.metric());
        let mut family = "";
        for (count, value) in counts {
            if count.metric() != family {
                family = count.metric();
                page.family(&format!("roost_gateway_{family}_total"), MetricKind::Counter, help::of(family));
            }
            match count.reason() {
                "" => page.sample(&[], value),
                reason => page.sample(&[(count.label(), reason)], value),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_declared_once_with_all_its_reasons_behind_it() {
        let page = Snapshot::default().page();
        let families: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let mut unique = families.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(families.len(), unique.len(), "{page}");
        for count in Count::ALL {
            let sample = match count.reason() {
                "" => format!("\nroost_gateway_{}_total 0\n", count.metric()),
                reason => {
                    format!("\nroost_gateway_{}_total{{{}=\"{reason}\"}} 0\n", count.metric(), count.label())
                }
            };
            assert!(page.contains(&sample), "{sample}");
        }
    }
}
