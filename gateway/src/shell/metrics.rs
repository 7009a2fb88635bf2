//! What the world counts, as Prometheus reads it.

use roost_ops::{Exposition, LinkCounts, MetricKind};

use crate::shard::Gauges;
use crate::{Count, Counters};

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
}

/// What the cores never see.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShellCounters {
    accepts_failed: u64,
    unreadable: u64,
}

impl ShellCounters {
    /// Returns whether it is worth a line in the log: the first time, and then each hundredth.
    pub(super) fn accept_failed(&mut self) -> bool {
        self.accepts_failed += 1;
        self.accepts_failed % 100 == 1
    }

    pub(super) fn unreadable(&mut self) {
        self.unreadable += 1;
    }
}

impl Snapshot {
    /// The page for `/metrics`.
    pub(super) fn page(&self) -> String {
        let mut page = Exposition::default();
        let Gauges {
            connections,
            sessions_connected,
            sessions,
            subscriptions,
            uplink_events,
            commands,
            connections_paused,
        } = self.gauges;
        let gauges = [
            ("roost_gateway_connections", "Transport connections.", connections),
            ("roost_gateway_sessions_connected", "Sessions whose client is connected.", sessions_connected),
            ("roost_gateway_sessions", "Sessions, connected or kept.", sessions),
            ("roost_gateway_subscriptions", "Subscriptions.", subscriptions),
            ("roost_gateway_uplink_events", "Events that the backend has not answered.", uplink_events),
            ("roost_gateway_commands", "Commands written or waiting.", commands),
            ("roost_gateway_connections_paused", "Connections that are not read from.", connections_paused),
        ];
        for (name, help, value) in gauges {
            page.family(name, MetricKind::Gauge, help).sample(&[], value);
        }
        self.counted(&mut page);
        page.family("roost_gateway_accepts_failed_total", MetricKind::Counter, "Connections not accepted.")
            .sample(&[], self.shell.accepts_failed);
        page.family(
            "roost_gateway_unreadable_total",
            MetricKind::Counter,
            "Messages of the mesh not readable.",
        )
        .sample(&[], self.shell.unreadable);
        LinkCounts::write(&self.links, &mut page);
        page.finish()
    }

    /// The cores' counts: a family for each metric, with its reasons behind it.
    fn counted(&self, page: &mut Exposition) {
        let mut counts: Vec<(Count, u64)> = self.counters.iter().collect();
        counts.sort_by_key(|(count, _)| count.metric());
        let mut family = "";
        for (count, value) in counts {
            if count.metric() != family {
                family = count.metric();
                let help = format!("Gateway: {}.", family.replace('_', " "));
                page.family(&format!("roost_gateway_{family}_total"), MetricKind::Counter, &help);
            }
            match count.reason() {
                "" => page.sample(&[], value),
                reason => page.sample(&[("reason", reason)], value),
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
                reason => format!("\nroost_gateway_{}_total{{reason=\"{reason}\"}} 0\n", count.metric()),
            };
            assert!(page.contains(&sample), "{sample}");
        }
    }
}
