//! `kill -9` of the router, again and again, under load.

use std::time::{Duration, Instant};

use anyhow::ensure;
use roost_harness::{Backend, Federation, Metrics};

use super::{count, in_order, nothing_lost};
use crate::fleet::Fleet;
use crate::page::{Page, cores_taken, p50_p99, whole};

const DEVICES: u32 = 200;
const EVENTS_A_SECOND: f64 = 250.0;
const COMMANDS_A_SECOND: u32 = 250;
/// From one kill to the next, if the router is ready again that soon.
const EVERY: Duration = Duration::from_millis(2_500);
/// For so long it works between two kills at least.
const WORKS: Duration = Duration::from_secs(1);

pub(super) async fn measure(page: &mut Page, kills: u32) -> anyhow::Result<()> {
    let mut mesh = Federation::start(Backend::RabbitMq).await;
    // With time for starts that take longer.
    let load = EVERY.mul_f64(1.5) * (kills + 4);
    let fleet = Fleet::of(DEVICES, &[mesh.mqtt_port("eu-1"), mesh.mqtt_port("us-1")])
        .publishes(EVENTS_A_SECOND, DEVICES, load)
        .with("--size", 256)
        .with("--jitter", 1)
        .with("--amqp", mesh.broker().uri())
        .with("--command-rate", COMMANDS_A_SECOND)
        .with("--drain", "120s");
    let running = fleet.clone();
    let running = tokio::spawn(async move { running.run().await });
    let loaded = Instant::now();
    tokio::time::sleep(EVERY * 2).await;
    let mut starts = Vec::new();
    for _ in 0..kills {
        let began = Instant::now();
        mesh.kill_router();
        mesh.start_router().await;
        starts.push(began.elapsed());
        tokio::time::sleep(EVERY.saturating_sub(began.elapsed()).max(WORKS)).await;
    }
    ensure!(loaded.elapsed() < load, "the load ended before the kills did: the starts took {starts:?}");
    let summary = running.await??;
    let waits = Metrics::of(&mesh.api()).await.sum("roost_router_commands_in_custody", &[]);
    ensure!(waits == 0.0, "{waits} commands still wait: {summary:?}");
    let median = |starts: &[Duration]| {
        let mut starts = starts.to_vec();
        starts.sort_unstable();
        starts[starts.len() / 2].as_secs_f64()
    };
    let tenth = starts.len().div_ceil(10);
    let (first, last) = (median(&starts[..tenth]), median(&starts[starts.len() - tenth..]));
    let slowest = starts.iter().max().map_or(0.0, Duration::as_secs_f64);
    let (events, commands) = (nothing_lost(&summary, "up")?, in_order(nothing_lost(&summary, "down")?)?);
    let receipts = nothing_lost(&summary, "receipts")?;
    page.heading("`kill -9` of the router under load");
    page.paragraph(&format!(
        "{DEVICES} devices at two gateways publish {} messages a second and get {COMMANDS_A_SECOND} commands a second, of 256 bytes at QoS 1. The \
         router is killed {kills} times, every {:.1} s, and started at once.",
        whole(EVENTS_A_SECOND),
        EVERY.as_secs_f64()
    ));
    page.table(
        &[
            "kills",
            "commands accepted",
            "lost",
            "came twice",
            "out of order",
            "final receipts lost / twice",
            "events lost / twice",
            "kill to ready: first tenth, last tenth, slowest",
            "command p50 / p99",
            "cores busy",
        ],
        &[vec![
            kills.to_string(),
            whole(count(&summary, "commands_confirmed") as f64),
            commands.lost.to_string(),
            whole(commands.duplicates as f64),
            commands.reordered.to_string(),
            format!("{} / {}", receipts.lost, whole(receipts.duplicates as f64)),
            format!("{} / {}", events.lost, whole(events.duplicates as f64)),
            format!("{first:.1}, {last:.1}, {slowest:.1} s"),
            p50_p99(&summary, "down"),
            cores_taken(&summary),
        ]],
    );
    page.command(&fleet.line());
    Ok(())
}
