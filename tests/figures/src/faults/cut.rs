//! The link between a gateway and the backend is cut for long, then it is whole again.

use std::time::{Duration, Instant};

use anyhow::ensure;
use roost_fleet::shell::WanState;

use super::{Linked, nothing_lost, until};
use crate::fleet::Fleet;
use crate::memory::Memory;
use crate::page::{Page, cores_taken, p50_p99, whole};

const DEVICES: u32 = 200;
/// With the probes half of a thousand: three times that, through a RabbitMQ and a fleet beside them, is what two cores carry with room to spare. Without
/// room live events wait for the processor, however slowly the backlog drains.
const A_SECOND: f64 = 400.0;
/// Before the cut, and behind the drain.
const QUIET: Duration = Duration::from_secs(40);
/// How long live events are timed before the cut, and again while the backlog drains; a short cut has less of a drain.
const TIMED: Duration = Duration::from_secs(30);
/// Devices that publish while the backlog drains, and before the cut: what live events feel.
const PROBES: u32 = 50;
const PROBES_A_SECOND: f64 = 100.0;

pub(super) async fn measure(page: &mut Page, cut: Duration) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    let mut line = String::new();
    for order in ["strict", "fresh"] {
        let (row, command) = one(order, cut).await?;
        rows.push(row);
        line = command;
    }
    page.heading("The link is cut");
    page.paragraph(&format!(
        "{DEVICES} devices publish {} messages a second of 256 bytes at QoS 1, and are acknowledged throughout, while the link to RabbitMQ is cut for {} s. Then \
         the backlog drains while they publish on. A second fleet of {PROBES} devices publishes {} a second beside them, before the cut and again \
         while the backlog drains: its times from publish to service are what live events feel. With `strict` they stand behind the \
         backlog, by definition.",
        whole(A_SECOND),
        cut.as_secs(),
        whole(PROBES_A_SECOND)
    ));
    page.table(
        &[
            "order",
            "backlog",
            "lost",
            "came twice",
            "drained in",
            "drain rate, by the live rate",
            "live p50 / p99 before the cut",
            "during the drain",
            "gateway's memory first / most / last",
            "cores busy",
        ],
        &rows,
    );
    page.command(&line);
    Ok(())
}

async fn one(order: &str, cut: Duration) -> anyhow::Result<(Vec<String>, String)> {
    let mesh = Linked::start().await;
    let port = mesh.federation.mqtt_port("eu-1");
    let uri = mesh.federation.broker().uri();
    let topic = |who: &str| format!("{}/{who}/{{device}}", if order == "fresh" { "fresh" } else { "strict" });
    let timed = TIMED.min(cut / 6);
    let probes = |time: Duration, prefix: &str| {
        Fleet::of(PROBES, &[port])
            .publishes(PROBES_A_SECOND, PROBES, time)
            .with("--prefix", format!("{prefix}-"))
            .with("--topic", topic(prefix))
            .with("--jitter", 1)
            .with("--amqp", &uri)
            .flag("--durable-queues")
            .with("--drain", "600s")
    };
    // A drain at three times the live rate takes half of the cut: one of the three is what comes meanwhile.
    let drains_for = cut / 2 + QUIET;
    let time = QUIET + cut + drains_for;
    let fleet = Fleet::of(DEVICES, &[port])
        .publishes(A_SECOND, DEVICES, time)
        .with("--size", 256)
        .with("--topic", topic("live"))
        .with("--jitter", 1)
        .with("--amqp", &uri)
        .flag("--durable-queues")
        .with("--drain", "600s")
        .watches(&[("gateway", mesh.federation.gateway_pid("eu-1"))]);
    let running = fleet.clone();
    let running = tokio::spawn(async move { running.run().await });
    let began = Instant::now();
    tokio::time::sleep(QUIET / 10).await;
    let before = probes(timed, "before").run().await?;
    tokio::time::sleep(QUIET.saturating_sub(began.elapsed())).await;
    mesh.all_links_are(WanState::Cut);
    tokio::time::sleep(cut).await;
    let backlog = mesh.spooled().await?;
    mesh.all_links_are(WanState::Whole);
    // The link's own retry is not the drain.
    until("the spool drains", async || Ok(mesh.spooled().await? < backlog)).await?;
    let began = Instant::now();
    let during = probes(timed, "during");
    let during = tokio::spawn(async move { during.run().await });
    until("the spool is empty", async || Ok(mesh.spooled().await? == 0)).await?;
    let drained = began.elapsed();
    ensure!(
        drained < drains_for,
        "{order}: {backlog} events took {drained:?} to drain, and devices published for {drains_for:?} of it only: less than three times the live rate"
    );
    let during = during.await??;
    let summary = running.await??;
    for summary in [&before, &during] {
        nothing_lost(summary, "up")?;
    }
    let events = nothing_lost(&summary, "up")?;
    let rate = backlog as f64 / drained.as_secs_f64() + A_SECOND;
    let row = vec![
        order.to_owned(),
        whole(backlog as f64),
        events.lost.to_string(),
        whole(events.duplicates as f64),
        format!("{:.1} s", drained.as_secs_f64()),
        format!("{:.1}×", rate / A_SECOND),
        p50_p99(&before, "up"),
        p50_p99(&during, "up"),
        Memory::of(&summary, "gateway")?.first_most_last(),
        cores_taken(&summary),
    ];
    Ok((row, fleet.line()))
}
