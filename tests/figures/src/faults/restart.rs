//! A gateway with a full spool is killed, and starts again.

use std::time::{Duration, Instant};

use anyhow::ensure;
use roost_fleet::shell::WanState;
use roost_harness::{RawMqtt, ServiceKind};
use tokio::net::TcpStream;

use super::{Linked, count, until};
use crate::fleet::Fleet;
use crate::page::{Page, whole};

const DEVICES: u32 = 500;
/// What one gateway spools here without being pushed.
const A_SECOND: f64 = 10_000.0;
const BYTES: u32 = 256;

pub(super) async fn measure(page: &mut Page, spooled: u32) -> anyhow::Result<()> {
    let mut mesh = Linked::start().await;
    mesh.all_links_are(WanState::Cut);
    let time = Duration::from_secs_f64((f64::from(spooled) / A_SECOND).max(1.0));
    let fleet = Fleet::of(DEVICES, &[mesh.federation.mqtt_port("eu-1")])
        .publishes(A_SECOND, DEVICES, time)
        .with("--size", BYTES)
        .with("--in-flight", 64)
        .with("--drain", "60s");
    let summary = fleet.run().await?;
    let acknowledged = count(&summary, "acknowledged");
    let before = mesh.spooled().await?;
    let bytes = mesh.spool().await?["bytes"].as_u64().unwrap_or(0);
    ensure!(before >= acknowledged, "{acknowledged} were acknowledged, {before} are in the spool");

    mesh.federation.kill_gateway("eu-1");
    // The service's queue is there before the first event is published again.
    let mut service = mesh.federation.service(ServiceKind::Lapin).await;
    service.consume("roost.up", "#").await;
    let began = Instant::now();
    mesh.federation.launch_gateway("eu-1");
    let port = mesh.federation.mqtt_port("eu-1");
    until("the gateway listens", async || Ok(TcpStream::connect(("127.0.0.1", port)).await.is_ok())).await?;
    let mut first = RawMqtt::connect(port).await;
    first.send_connect(4, b"first").await;
    let connack = first.packet().await;
    ensure!(connack.as_ref().is_some_and(|(kind, body)| *kind == 0x20 && body[1] == 0), "{connack:?}");
    let took = began.elapsed();
    let mut after = 0;
    until("the gateway says what its spool has", async || {
        // It takes devices in before it answers operators.
        let spooled = mesh.spooled().await;
        after = spooled.as_ref().copied().unwrap_or(0);
        Ok(spooled.is_ok())
    })
    .await?;
    ensure!(
        after >= acknowledged,
        "{acknowledged} were acknowledged, {after} are in the spool after the kill"
    );

    mesh.all_links_are(WanState::Whole);
    let mut ids = std::collections::HashSet::new();
    let mut came = 0_u64;
    let began = Instant::now();
    while (ids.len() as u64) < acknowledged {
        let delivery = service.next().await;
        came += 1;
        ids.extend(delivery.message_id);
    }
    let drained = began.elapsed();
    page.heading("`kill -9` with a full spool");
    page.paragraph(&format!(
        "{DEVICES} devices publish {BYTES} bytes at QoS 1 to a gateway whose link is cut, until {} events are acknowledged; then `kill -9`. \
         The time is from the start of the new process to the first CONNACK. Then the link is whole again, and a service takes all of it.",
        whole(acknowledged as f64)
    ));
    page.table(
        &[
            "events in the spool",
            "bytes on disk",
            "bytes per event",
            "first CONNACK after",
            "lost",
            "came twice",
            "drained at",
        ],
        &[vec![
            whole(after as f64),
            format!("{} MiB", whole(bytes as f64 / f64::from(1 << 20))),
            whole(bytes as f64 / before.max(1) as f64),
            format!("{:.0} ms", took.as_secs_f64() * 1e3),
            "0".to_owned(),
            whole((came - ids.len() as u64) as f64),
            format!("{}/s", whole(came as f64 / drained.as_secs_f64())),
        ]],
    );
    page.command(&fleet.line());
    Ok(())
}
