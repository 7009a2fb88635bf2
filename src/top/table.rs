//! Two looks at each role, as a table of rates and levels.

use super::exposition::Exposition;

/// One role, as it answered twice.
#[derive(Debug)]
pub(crate) struct Look {
    /// Where it was asked.
    pub(crate) address: String,
    /// What it said before, if it did.
    pub(crate) before: Option<Exposition>,
    /// What it says now, or why it says nothing.
    pub(crate) now: Result<Exposition, String>,
}

/// What a column shows.
enum Column {
    /// A level: the sum of these series.
    Level(&'static [&'static str]),
    /// How much more in a second: of the sum of these series.
    Rate(&'static [&'static str]),
    /// A level in MiB.
    Mebibytes(&'static str),
}

use Column::{Level, Mebibytes, Rate};

const GATEWAY: &[(&str, Column)] = &[
    ("devices", Level(&["roost_gateway_sessions_connected"])),
    ("connects/s", Rate(&["roost_gateway_connects_accepted_total"])),
    ("in/s", Rate(&["roost_gateway_messages_received_total"])),
    ("out/s", Rate(&["roost_gateway_messages_sent_total"])),
    ("events/s", Rate(&["roost_gateway_events_total"])),
    ("unconfirmed", Level(&["roost_gateway_uplink_events"])),
    ("commands/s", Rate(&["roost_gateway_commands_taken_total"])),
    ("held", Level(&["roost_gateway_commands"])),
    ("queued", Level(&["roost_gateway_queued_messages"])),
    ("paused", Level(&["roost_gateway_connections_paused"])),
    ("drops/s", Rate(&["roost_gateway_events_dropped_total", "roost_gateway_local_dropped_total"])),
    ("refusals/s", Rate(&["roost_gateway_connects_refused_total", "roost_gateway_publishes_refused_total"])),
    ("lease s", Level(&["roost_gateway_lease_remaining_seconds"])),
];

const ROUTER: &[(&str, Column)] = &[
    ("locations", Level(&["roost_router_locations"])),
    ("in doubt", Level(&["roost_router_locations_in_doubt"])),
    ("accepted/s", Rate(&["roost_router_commands_accepted_total"])),
    ("forwarded/s", Rate(&["roost_router_forwarded_total"])),
    ("receipts/s", Rate(&["roost_router_receipts_total"])),
    ("custody", Level(&["roost_router_commands_in_custody"])),
    ("waiting", Level(&["roost_router_mailbox_commands"])),
    ("at gateways", Level(&["roost_router_commands_outstanding"])),
    ("asked/s", Rate(&["roost_router_questions_total"])),
    ("owed", Level(&["roost_router_receipts_owed"])),
    ("records/s", Rate(&["roost_journal_records_total"])),
    ("lapses", Level(&["roost_router_lease_lapses_total"])),
];

const BACKEND: &[(&str, Column)] = &[
    ("connections", Level(&["roost_backend_connections"])),
    ("published/s", Rate(&["roost_backend_published_total"])),
    ("delivered/s", Rate(&["roost_backend_delivered_total"])),
    ("confirmed/s", Rate(&["roost_backend_confirmed_total"])),
    ("dead/s", Rate(&["roost_backend_dead_lettered_total"])),
    ("dropped/s", Rate(&["roost_backend_dropped_total"])),
    ("messages MiB", Mebibytes("roost_backend_memory_bytes")),
    ("log MiB", Mebibytes("roost_backend_log_disk_bytes")),
];

/// Of every process.
const PROCESS: &[(&str, Column)] = &[
    ("cpu cores", Rate(&["roost_process_cpu_seconds_total"])),
    ("RSS MiB", Mebibytes("roost_process_resident_memory_bytes")),
];

/// The tables, one for each role that answers; `seconds` lie between the two looks.
pub(crate) fn tables(looks: &[Look], seconds: f64) -> String {
    let mut text = String::new();
    for (role, columns) in [("gateway", GATEWAY), ("router", ROUTER), ("backend", BACKEND)] {
        let columns = || columns.iter().chain(PROCESS);
        let mut rows = Vec::new();
        for look in looks {
            let Ok(now) = look.now.as_ref() else { continue };
            if now.role.as_deref() != Some(role) {
                continue;
            }
            let state = if now.sum("roost_ready") == Some(1.0) { "ready" } else { "NOT READY" };
            let values = columns().map(|(_, column)| column.show(look.before.as_ref(), now, seconds));
            rows.push([look.address.clone(), state.to_owned()].into_iter().chain(values).collect());
        }
        if !rows.is_empty() {
            let head = [role, ""].into_iter().chain(columns().map(|(name, _)| *name));
            rows.insert(0, head.map(str::to_owned).collect());
            text += &aligned(&rows);
            text.push('\n');
        }
    }
    for look in looks {
        if let Err(why) = &look.now {
            text += &format!("{} does not answer: {why}\n", look.address);
        }
    }
    text
}

impl Column {
    fn show(&self, before: Option<&Exposition>, now: &Exposition, seconds: f64) -> String {
        let sum = |page: &Exposition, names: &[&str]| -> Option<f64> {
            let known: Vec<f64> = names.iter().filter_map(|name| page.sum(name)).collect();
            (!known.is_empty()).then(|| known.iter().sum())
        };
        let shown = match self {
            Self::Level(names) => sum(now, names).map(|level| short(level, 0)),
            Self::Mebibytes(name) => now.sum(name).map(|bytes| short(bytes / 1_048_576.0, 1)),
            Self::Rate(names) => sum(now, names).and_then(|after| {
                // A series appears with its first count: before, it was 0. A process that has started anew counts from 0 too.
                let earlier = sum(before?, names).unwrap_or_default();
                let more = if after < earlier { after } else { after - earlier };
                Some(short(more / seconds, if more / seconds < 10.0 { 2 } else { 0 }))
            }),
        };
        shown.unwrap_or_else(|| "-".to_owned())
    }
}

fn short(value: f64, digits: usize) -> String {
    if value == 0.0 { "0".to_owned() } else { format!("{value:.digits$}") }
}

/// Columns below each other: the first to the left, the others to the right.
fn aligned(rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            text += &match column {
                0 => format!("{cell:<width$}"),
                _ => format!("  {cell:>width$}"),
            };
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> Exposition {
        Exposition::parse(text)
    }

    fn look(before: Option<&str>, now: &str) -> Look {
        Look { address: "127.0.0.1:8083".to_owned(), before: before.map(page), now: Ok(page(now)) }
    }

    #[test]
    fn rates_are_between_two_looks_and_levels_are_of_the_last() {
        let before = "roost_build_info{role=\"backend\"} 1\nroost_backend_published_total 100\nroost_process_cpu_seconds_total 1\n";
        let now = "roost_build_info{role=\"backend\"} 1\nroost_ready 1\nroost_backend_published_total 400\n\
            roost_backend_connections 3\nroost_process_cpu_seconds_total 1.5\nroost_process_resident_memory_bytes 52428800\n";
        let text = tables(&[look(Some(before), now)], 2.0);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0][..4], ["backend", "connections", "published/s", "delivered/s"]);
        assert_eq!(lines[1][..5], ["127.0.0.1:8083", "ready", "3", "150", "-"]);
        assert_eq!(lines[1][lines[1].len() - 2..], ["0.25", "50.0"]);
    }

    #[test]
    fn a_process_that_started_anew_counts_from_zero_and_one_look_has_no_rates() {
        let now = "roost_build_info{role=\"backend\"} 1\nroost_backend_published_total 8\n";
        let restarted = tables(&[look(Some("roost_backend_published_total 900\n"), now)], 2.0);
        assert!(restarted.contains("NOT READY") && restarted.contains(" 4.00"), "{restarted}");
        assert!(!tables(&[look(None, now)], 2.0).contains("4.00"));
    }

    #[test]
    fn who_does_not_answer_is_named_with_the_reason() {
        let silent = Look { now: Err("connection refused".into()), ..look(None, "") };
        assert_eq!(tables(&[silent], 1.0), "127.0.0.1:8083 does not answer: connection refused\n");
    }
}
