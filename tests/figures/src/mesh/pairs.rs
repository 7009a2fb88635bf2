//! Device to device at one gateway, beside mosquitto: what a message costs in CPU.

use std::time::Duration;

use roost_fleet::Summary;
use roost_harness::{Backend, Federation};

use super::BYTES;
use crate::fleet::Fleet;
use crate::page::{Page, fleet_cores, p50_p99, whole};
use crate::peer::Mosquitto;

const PAIRS: u32 = 200;
/// What all pairs together are offered.
const OFFERED: [f64; 2] = [2_000.0, 10_000.0];
/// Each twice, in turns, since the machine is not ours alone.
const ROUNDS: usize = 2;

pub(super) async fn measure(page: &mut Page, time: Duration) -> anyhow::Result<()> {
    let federation = Federation::start(Backend::Embedded).await;
    let mosquitto = Mosquitto::start().await?;
    let brokers = [
        ("gateway", federation.mqtt_port("eu-1"), federation.gateway_pid("eu-1")),
        ("mosquitto", mosquitto.port(), mosquitto.pid()),
    ];
    let mut rows = Vec::new();
    let mut lines = Vec::new();
    for offered in OFFERED {
        for round in 1..=ROUNDS {
            for (name, port, pid) in brokers {
                let fleet = Fleet::of(2 * PAIRS, &[port])
                    .flag("--pairs")
                    .publishes(offered, PAIRS, time)
                    .with("--topic", "local/{device}")
                    .with("--size", BYTES)
                    .with("--jitter", 1)
                    .watches(&[("broker", pid)]);
                let summary = fleet.run().await?;
                rows.push(row(name, round, offered, &summary));
                if round == 1 {
                    lines.push(fleet.line());
                }
            }
        }
    }
    page.heading("Device to device at one gateway, beside mosquitto");
    page.paragraph(&format!(
        "{PAIRS} devices publish {BYTES} bytes at QoS 1, each to one subscriber at QoS 1, under `local/`, which the gateway keeps to \
         itself. A message per CPU second is one that its subscriber has, by the CPU that the broker's process used.",
    ));
    page.table(
        &[
            "broker",
            "round",
            "offered/s",
            "arrived/s",
            "messages per CPU second",
            "p50 / p99",
            "lost",
            "broker's cores",
            "fleet",
        ],
        &rows,
    );
    page.command(&lines.join("\n"));
    Ok(())
}

fn row(broker: &str, round: usize, offered: f64, summary: &Summary) -> Vec<String> {
    let verdict = summary.verdict.echo.clone().unwrap_or_default();
    let rate = verdict.arrived as f64 / summary.measured_s;
    let cores = summary.watched.get("broker").map_or(0.0, |usage| usage.cpu_cores);
    vec![
        broker.to_owned(),
        round.to_string(),
        whole(offered),
        whole(rate),
        whole(rate / cores.max(f64::EPSILON)),
        p50_p99(summary, "echo"),
        verdict.lost.to_string(),
        format!("{cores:.2}"),
        fleet_cores(summary),
    ]
}
