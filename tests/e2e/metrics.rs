//! What every role exports is documented, set when something happens, and names no device.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use roost_harness::{Family, PATIENCE, eventually};

use crate::busy::{Busy, PRIVATE};

/// Only trouble sets these, or they are set for a moment only; each with where a test sets it, or why none can be sure to.
const QUIET: [(&str, &str); 116] = [
    ("roost_backend_blocked_total", "backend: embedded::core::tests, a full memory"),
    ("roost_backend_connections_refused_total", "backend: tests/embedded, the bound on connections"),
    ("roost_backend_dead_lettered_total", "e2e: expired"),
    ("roost_backend_exceptions_total", "backend: embedded::core::tests::closing"),
    ("roost_backend_log_failures_total", "needs a disk that refuses"),
    ("roost_backend_log_pending_bytes", A_MOMENT),
    ("roost_backend_log_stuck", "needs a disk that refuses"),
    ("roost_backend_queue_unacknowledged", A_MOMENT),
    ("roost_backend_redelivered_total", "backend: embedded::core::tests::settling"),
    ("roost_backend_refused_total", "backend: embedded::core::tests::publishing"),
    ("roost_backend_requeued_total", "backend: embedded::core::tests::settling"),
    ("roost_gateway_accepts_failed_total", "needs a process without free descriptors"),
    ("roost_gateway_broadcast_bytes", "gateway: tests::broadcasts"),
    ("roost_gateway_broadcasts_dropped_total", "e2e: broadcasts"),
    ("roost_gateway_broadcasts_total", "e2e: broadcasts"),
    ("roost_gateway_broadcasts_waited_total", "gateway: tests::broadcasts"),
    ("roost_gateway_broadcasts_waiting", "e2e: broadcasts"),
    ("roost_gateway_commands_dropped_total", "gateway: tests::commands"),
    ("roost_gateway_connections_paused", "gateway: tests::backpressure"),
    ("roost_gateway_control_ignored_total", "gateway: tests::link_reports"),
    ("roost_gateway_crossing_bytes", "gateway: tests::crossing"),
    ("roost_gateway_crossing_publishes", "gateway: tests::crossing"),
    ("roost_gateway_event_retries_total", "gateway: tests::publishing"),
    ("roost_gateway_events_dropped_total", "gateway: tests::publishing; e2e: no_amqp"),
    ("roost_gateway_events_spooled_total", "e2e: spool"),
    ("roost_gateway_guest_publishes", "gateway: tests::crossing"),
    ("roost_gateway_lease_lapses_total", "gateway: tests::link_reports"),
    ("roost_gateway_logins_total", "e2e: logging_in"),
    ("roost_gateway_packet_ids_unknown_total", "gateway: tests::exactly_once_down"),
    ("roost_gateway_parked_bytes", "gateway: tests::backpressure"),
    ("roost_gateway_publishes_crossed_total", "gateway: tests::crossing"),
    ("roost_gateway_publishes_parked_total", "gateway: tests::backpressure"),
    ("roost_gateway_publishes_repeated_total", "gateway: tests::exactly_once_up"),
    ("roost_gateway_pubrecs_sent_total", "gateway: tests::exactly_once_up"),
    ("roost_gateway_reports_failed_total", "gateway: tests::link_reports"),
    ("roost_gateway_retained_bytes", "e2e: retained"),
    ("roost_gateway_retained_changes_total", "e2e: retained"),
    ("roost_gateway_retained_deliveries_total", "e2e: retained"),
    ("roost_gateway_retained_learned_total", "e2e: broadcasts"),
    ("roost_gateway_retained_left_behind_total", "gateway: tests::retained"),
    ("roost_gateway_retained_messages", "e2e: retained"),
    ("roost_gateway_retained_refused_total", "gateway: tests::retained"),
    ("roost_gateway_session_fetches", A_MOMENT),
    ("roost_gateway_session_transfer_seconds", "e2e: roaming_sessions"),
    ("roost_gateway_session_transfers_total", "e2e: roaming_sessions"),
    ("roost_gateway_sessions_dropped_total", "gateway: tests::roaming"),
    ("roost_gateway_sessions_given_total", "e2e: roaming_sessions"),
    ("roost_gateway_sessions_restored_total", "e2e: sessions_on_disk"),
    ("roost_gateway_shares_handed_on_total", "e2e: sharing; gateway: tests::sharing_left"),
    ("roost_gateway_sightings_dropped_total", "gateway: tests::link_reports"),
    ("roost_gateway_spool_dropped_total", "gateway: spool::tests"),
    ("roost_gateway_store_dropped_total", "gateway: tests::storing"),
    ("roost_gateway_subscribers_stalled_total", "gateway: tests::backpressure"),
    ("roost_gateway_superseded_total", "router: tests/shell/same_id"),
    ("roost_gateway_sync_reasons_total", "gateway: tests::link_reports"),
    ("roost_gateway_unreadable_total", "needs a stranger that writes to an inbox"),
    ("roost_gateway_uplink_bytes", A_MOMENT),
    ("roost_gateway_uplink_events", A_MOMENT),
    ("roost_gateway_will_bytes", "e2e: wills"),
    ("roost_gateway_wills", "e2e: wills"),
    ("roost_gateway_wills_ended_total", "e2e: wills"),
    ("roost_journal_failures_total", "router: tests/shell/full_disk"),
    ("roost_journal_snapshots_total", "router: tests/shell/compaction"),
    ("roost_journal_stuck", "router: tests/shell/full_disk"),
    ("roost_link_blocked", "ops: link_counts; backend: tests/link/trouble"),
    ("roost_link_channels_renewed_total", "backend: tests/link/publishing"),
    ("roost_link_deliveries_unacknowledged", A_MOMENT),
    ("roost_link_deliveries_waiting", A_MOMENT),
    ("roost_link_downs_total", "ops: link_counts; e2e: no_amqp"),
    ("roost_link_publishes_in_flight", A_MOMENT),
    ("roost_link_publishes_unsent", A_MOMENT),
    ("roost_link_redeliveries_total", "backend: tests/link/consuming"),
    ("roost_link_republished_total", "backend: tests/link/trouble"),
    ("roost_router_answers_total", "e2e: answers"),
    ("roost_router_closes_total", "e2e: roaming"),
    ("roost_router_contests_open", A_MOMENT),
    ("roost_router_contests_total", "router: router::tests::contests"),
    ("roost_router_http_not_taken_total", "router: tests/shell/takeover"),
    ("roost_router_lease_lapses_total", "router: router::tests::membership"),
    ("roost_router_locations_in_doubt", "router: router::tests::gauges"),
    ("roost_router_outputs_gated", A_MOMENT),
    ("roost_router_publications_waiting", A_MOMENT),
    ("roost_router_questions_open", A_MOMENT),
    ("roost_router_questions_waiting", "needs more questions than may be open"),
    ("roost_router_receipts_owed", A_MOMENT),
    ("roost_router_requests_waiting", A_MOMENT),
    ("roost_router_session_transfers_open", A_MOMENT),
    ("roost_router_session_transfers_total", "e2e: roaming_sessions"),
    ("roost_router_syncs_requested_total", "router: router::tests::traces"),
    ("roost_spool_batches_total", "e2e: spool"),
    ("roost_spool_bytes", "e2e: spool"),
    ("roost_spool_bytes_max", "e2e: spool"),
    ("roost_spool_disk_bytes", "e2e: spool"),
    ("roost_spool_durable_lsn", "e2e: spool"),
    ("roost_spool_events", "e2e: spool"),
    ("roost_spool_failures_total", "log: tests, a disk that refuses"),
    ("roost_spool_oldest_seconds", "e2e: spool"),
    ("roost_spool_records_total", "e2e: spool"),
    ("roost_spool_segments", "e2e: spool"),
    ("roost_spool_snapshots_total", "e2e: spool"),
    ("roost_spool_stuck", "log: tests, a disk that refuses"),
    ("roost_spool_sync_seconds", "e2e: spool"),
    ("roost_spool_written_bytes_total", "e2e: spool"),
    ("roost_store_batches_total", "e2e: sessions_on_disk"),
    ("roost_store_commit_seconds", "gateway: shell::store::tests"),
    ("roost_store_commits_total", "gateway: shell::store::tests"),
    ("roost_store_disk_bytes", "gateway: shell::store::tests"),
    ("roost_store_failures_total", "gateway: shell::store::tests"),
    ("roost_store_loading", "gateway: tests::storing"),
    ("roost_store_stuck", "gateway: shell::store::tests"),
    ("roost_store_waiting_batches", "gateway: tests::storing"),
    ("roost_store_waiting_bytes", "gateway: tests::storing"),
    ("roost_store_written_bytes_total", "gateway: shell::store::tests"),
    ("roost_trace_spans_dropped_total", "ops: spans::tests; e2e: spans"),
    ("roost_trace_spans_exported_total", "ops: spans::tests"),
    ("roost_trace_spans_queued", A_MOMENT),
];

const A_MOMENT: &str = "for a moment only, at any load that a test may offer";

/// Labels whose values are given by the deployment or by a standard, and not enumerated on the page.
const OPEN_LABELS: [&str; 5] = ["gateway", "le", "queue", "status", "version"];

fn documentation() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A family as its row of the documentation.
fn row(family: &Family) -> String {
    let Family { name, help, kind, .. } = family;
    let unit = match name.trim_end_matches("_total") {
        name if name.ends_with("_bytes") => "bytes",
        name if name.ends_with("_seconds") => "seconds",
        _ => "",
    };
    let labels: Vec<String> = family.label_names().iter().map(|label| format!("`{label}`")).collect();
    format!("| `{name}` | {kind} | {} | {unit} | {help} |", labels.join(" "))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_documented_set_and_private() {
    let busy = Busy::start().await;
    // What is set once has been set: some of it is so for a moment only.
    let seen = Mutex::new(BTreeMap::<String, bool>::new());
    eventually("what traffic sets is set", PATIENCE, async || {
        let pages = busy.pages().await;
        let mut seen = seen.lock().expect("nobody panics with it");
        for family in pages.iter().flat_map(|(_, families)| families) {
            *seen.entry(family.name.clone()).or_default() |= family.is_set();
        }
        let is_quiet = |name: &String| QUIET.iter().any(|(quiet, _)| quiet == name);
        let never: Vec<&String> =
            seen.iter().filter(|(name, is_set)| !**is_set && !is_quiet(name)).map(|(name, _)| name).collect();
        if never.is_empty() { Ok(()) } else { Err(format!("never set: {never:?}")) }
    })
    .await;
    let pages = busy.pages().await;
    let exported: BTreeSet<&str> =
        pages.iter().flat_map(|(_, page)| page).map(|family| family.name.as_str()).collect();
    for (quiet, _) in QUIET {
        assert!(exported.contains(quiet), "{quiet} is listed as quiet, and nobody exports it");
    }

    let documentation = documentation();
    let rows: BTreeSet<String> = pages.iter().flat_map(|(_, page)| page).map(row).collect();
    let (metrics, _) = documentation.split_once("## Label values").expect("the values have their part");
    let documented: BTreeSet<String> =
        metrics.lines().filter(|line| line.starts_with("| `roost_")).map(str::to_owned).collect();
    let missing: Vec<&String> = rows.difference(&documented).collect();
    let stale: Vec<&String> = documented.difference(&rows).collect();
    assert!(
        missing.is_empty() && stale.is_empty(),
        "docs/metrics.md\nneeds these rows:\n{}\nand not these:\n{}",
        lines(&missing),
        lines(&stale)
    );

    for (role, family) in pages.iter().flat_map(|(role, page)| page.iter().map(move |family| (role, family)))
    {
        for sample in &family.samples {
            for (label, value) in &sample.labels {
                assert!(
                    PRIVATE.iter().all(|name| !value.contains(name)),
                    "{role}: {sample:?} names a device or topic"
                );
                let known = OPEN_LABELS.contains(&label.as_str())
                    || value.is_empty()
                    || documentation.contains(&format!("`{value}`"));
                assert!(known, "{role}: {label}=\"{value}\" of {} is not on docs/metrics.md", family.name);
            }
        }
    }
}

fn lines(rows: &[&String]) -> String {
    rows.iter().map(|row| row.as_str()).collect::<Vec<_>>().join("\n")
}
