//! `kill -9` of a gateway, again and again, under load.

use std::time::{Duration, Instant};

use super::{Linked, count, nothing_lost};
use crate::fleet::Fleet;
use crate::page::{Page, cores_taken, p50_p99, whole};

const DEVICES: u32 = 200;
const A_SECOND: f64 = 5_000.0;
/// From one kill to the next: long enough that all devices are back and publish.
const EVERY: Duration = Duration::from_secs(4);

pub(super) async fn measure(page: &mut Page, kills: u32) -> anyhow::Result<()> {
    let mut mesh = Linked::start().await;
    let time = EVERY * (kills + 2);
    let fleet = Fleet::of(DEVICES, &[mesh.federation.mqtt_port("eu-1")])
        .publishes(A_SECOND, DEVICES, time)
        .with("--size", 256)
        .with("--jitter", 1)
        .with("--in-flight", 64)
        .with("--reconnect", "full-jitter")
        .with("--amqp", mesh.federation.broker().uri())
        .with("--drain", "600s");
    let running = fleet.clone();
    let running = tokio::spawn(async move { running.run().await });
    tokio::time::sleep(EVERY * 2).await;
    let mut slowest = Duration::ZERO;
    for _ in 0..kills {
        let began = Instant::now();
        mesh.federation.kill_gateway("eu-1");
        mesh.federation.start_gateway("eu-1").await;
        slowest = slowest.max(began.elapsed());
        tokio::time::sleep(EVERY.saturating_sub(began.elapsed())).await;
    }
    let summary = running.await??;
    let events = nothing_lost(&summary, "up")?;
    page.heading("`kill -9` of a gateway under load");
    page.paragraph(&format!(
        "{DEVICES} devices publish {} messages a second of 256 bytes at QoS 1 to one gateway, which is killed {kills} times, every {} s, and started \
         at once. What comes twice was published before the kill and not yet marked as done: it has the same id, and says `roost-replayed`.",
        whole(A_SECOND),
        EVERY.as_secs()
    ));
    page.table(
        &[
            "kills",
            "acknowledged",
            "lost",
            "came twice",
            "kill to ready, slowest",
            "event p50 / p99",
            "cores busy",
        ],
        &[vec![
            kills.to_string(),
            whole(count(&summary, "acknowledged") as f64),
            events.lost.to_string(),
            whole(events.duplicates as f64),
            format!("{:.1} s", slowest.as_secs_f64()),
            p50_p99(&summary, "up"),
            cores_taken(&summary),
        ]],
    );
    page.command(&fleet.line());
    Ok(())
}
