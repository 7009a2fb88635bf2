//! What it costs that a message crosses from one thread of the gateway to another.

use anyhow::Context as _;
use roost_harness::{Backend, Federation};

use super::flood::Flood;
use super::{ROUNDS, row};
use crate::page::Page;

/// Beside one.
const THREADS: u16 = 4;

/// The same flood through a gateway with one thread and through one with several.
pub(super) async fn measure(page: &mut Page, flood: Flood) -> anyhow::Result<()> {
    let (mut rows, mut ratios) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let mut cost = Vec::new();
        for threads in [1, THREADS] {
            let gateway = Federation::of(Backend::Embedded).await.with_threads(threads).started().await;
            let (port, pid) = (gateway.mqtt_port("eu-1"), gateway.gateway_pid("eu-1"));
            // The same clients through both.
            let outcome = Flood { shards: THREADS, ..flood }.run(port, pid).await;
            let outcome = outcome.with_context(|| format!("{threads} threads, round {round}"))?;
            cost.push(1.0 / outcome.a_cpu_second());
            rows.push(row(&format!("{threads}"), round, &outcome));
        }
        if let [one, several] = cost[..] {
            ratios.push(format!("{:.2}", several / one));
        }
    }
    page.heading("Pairs through one thread and through several");
    page.paragraph(&format!(
        "The same 200 pairs, of which each second one has its publisher and its subscriber in two of {THREADS} shards: half of all messages cross. CPU per message on {THREADS} threads, \
         against one thread: {}. On a machine with fewer processors than threads they take turns.",
        ratios.join(" and ")
    ));
    page.table(
        &[
            "threads",
            "round",
            "acknowledged",
            "deliveries owed",
            "lost",
            "came twice",
            "deliveries/s",
            "deliveries per CPU second",
            "p50 / p99",
        ],
        &rows,
    );
    Ok(())
}
