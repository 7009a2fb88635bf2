//! What the embedded broker counts, as Prometheus reads it.

use std::collections::BTreeMap;

use roost_backend::embedded::LogFigures;
use roost_backend::embedded::core::{Counters, DeathReason, DropReason, QueueStatistics, ReplyCode};
use roost_ops::{Exposition, MetricKind};

/// The page. A queue is a label only if it is one of the contract's durable ones: those are few, and have fixed names. Without
/// `log` the broker keeps everything in memory.
pub(super) fn page(counters: &Counters, queues: &[QueueStatistics], log: Option<&LogFigures>) -> String {
    let mut page = Exposition::default();
    totals(counters, &mut page);
    by_reason(counters, &mut page);
    page.family("roost_backend_connections", MetricKind::Gauge, "Connections open now.")
        .sample(&[], counters.connections);
    page.family("roost_backend_memory_bytes", MetricKind::Gauge, "Bytes of all messages in memory.")
        .sample(&[], counters.memory_bytes);
    depths(queues, &mut page);
    if let Some(log) = log {
        log_figures(log, &mut page);
    }
    page.finish()
}

fn totals(counters: &Counters, page: &mut Exposition) {
    page.singles(
        MetricKind::Counter,
        [
            ("roost_backend_connections_opened_total", "Connections opened.", counters.connections_opened),
            ("roost_backend_channels_opened_total", "Channels opened.", counters.channels_opened),
            (
                "roost_backend_connections_refused_total",
                "Connections refused at the bound.",
                counters.connections_refused,
            ),
            (
                "roost_backend_published_total",
                "Messages published to an exchange that was there.",
                counters.published,
            ),
            ("roost_backend_confirmed_total", "Publishes confirmed.", counters.confirmed),
            ("roost_backend_refused_total", "Publishes refused because a queue was full.", counters.refused),
            ("roost_backend_returned_total", "Messages returned as unroutable.", counters.returned),
            ("roost_backend_delivered_total", "Deliveries, redeliveries among them.", counters.delivered),
            (
                "roost_backend_redelivered_total",
                "Deliveries of what was delivered before.",
                counters.redelivered,
            ),
            ("roost_backend_acknowledged_total", "Acknowledgements.", counters.acknowledged),
            ("roost_backend_requeued_total", "Messages put back to their place.", counters.requeued),
            ("roost_backend_blocked_total", "Connections told that they are blocked.", counters.blocked),
            ("roost_backend_log_records_total", "Log records written.", counters.logged),
        ],
    );
}

fn by_reason(counters: &Counters, page: &mut Exposition) {
    let help = "Messages dead-lettered, by reason.";
    page.family("roost_backend_dead_lettered_total", MetricKind::Counter, help);
    for reason in DeathReason::ALL {
        page.sample(&[("reason", reason.name())], of(&counters.dead_lettered, reason));
    }
    let help = "Messages dropped for good, by reason.";
    page.family("roost_backend_dropped_total", MetricKind::Counter, help);
    for reason in DropReason::ALL {
        page.sample(&[("reason", reason.name())], of(&counters.dropped, reason));
    }
    let help = "AMQP exceptions raised, by the name of their reply code.";
    page.family("roost_backend_exceptions_total", MetricKind::Counter, help);
    for code in ReplyCode::ALL {
        page.sample(&[("reason", &code.name().to_ascii_lowercase())], of(&counters.exceptions, code));
    }
}

/// Every reason is on the page from the start, so that its first increase is seen as one.
fn of<R: Ord>(counts: &BTreeMap<R, u64>, reason: R) -> u64 {
    counts.get(&reason).copied().unwrap_or_default()
}

fn depths(queues: &[QueueStatistics], page: &mut Exposition) {
    type Depth = fn(&QueueStatistics) -> u64;
    let families: [(&str, &str, Depth); 4] = [
        ("roost_backend_queue_messages", "Messages in a durable queue of the mesh.", |queue| {
            queue.ready + queue.unacknowledged
        }),
        ("roost_backend_queue_unacknowledged", "Of these, delivered and not acknowledged.", |queue| {
            queue.unacknowledged
        }),
        ("roost_backend_queue_ready_bytes", "Bytes of the bodies that wait in a durable queue.", |queue| {
            queue.ready_bytes
        }),
        ("roost_backend_queue_consumers", "Consumers of a durable queue of the mesh.", |queue| {
            queue.consumers
        }),
    ];
    for (name, help, depth) in families {
        page.family(name, MetricKind::Gauge, help);
        for queue in queues.iter().filter(|queue| queue.durable && queue.name.starts_with("roost.")) {
            page.sample(&[("queue", &queue.name)], depth(queue));
        }
    }
}

fn log_figures(log: &LogFigures, page: &mut Exposition) {
    let LogFigures { syncs, written_bytes, pending_bytes, disk_bytes, failures, failing } = log;
    let help = "Time to write a batch of the broker's log and make it safe.";
    page.family("roost_backend_log_sync_seconds", MetricKind::Histogram, help).histogram(&[], syncs);
    let help = "Bytes written to the broker's log.";
    page.family("roost_backend_log_written_bytes_total", MetricKind::Counter, help)
        .sample(&[], written_bytes);
    let help = "Times that the broker's log could not be written.";
    page.family("roost_backend_log_failures_total", MetricKind::Counter, help).sample(&[], failures);
    page.singles(
        MetricKind::Gauge,
        [
            (
                "roost_backend_log_pending_bytes",
                "Bytes that wait for the broker's log.",
                *pending_bytes as u64,
            ),
            ("roost_backend_log_disk_bytes", "Bytes of the broker's log on disk.", *disk_bytes),
            ("roost_backend_log_stuck", "Whether the broker's log cannot be written.", u64::from(*failing)),
        ],
    );
}
