//! A gateway with thousands of devices is killed, and they go to the next one.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use roost_harness::{Backend, Federation, Metrics, ServiceKind};

use super::{count, in_order, nothing_lost, until};
use crate::commands::{command, send};
use crate::fleet::Fleet;
use crate::page::{Page, cores_taken, whole};

/// At both gateways together.
const DEVICES: u32 = 10_000;
const TIME: Duration = Duration::from_secs(45);
const COMMANDS_A_SECOND: u32 = 50;

pub(super) async fn measure(page: &mut Page) -> anyhow::Result<()> {
    let mut mesh = Federation::start(Backend::RabbitMq).await;
    let uri = mesh.broker().uri();
    let fleet = Fleet::of(DEVICES, &[mesh.mqtt_port("eu-1"), mesh.mqtt_port("us-1")])
        .publishes(f64::from(DEVICES) / 20.0, DEVICES, TIME)
        .with("--jitter", 1)
        .with("--reconnect", "exponential")
        .with("--reconnect-spread", "7500ms")
        .with("--reconnect-first", "500ms")
        .with("--reconnect-max", "8s")
        .with("--amqp", &uri)
        .with("--command-rate", COMMANDS_A_SECOND)
        .with("--drain", "40s");
    let running = fleet.clone();
    let running = tokio::spawn(async move { running.run().await });
    let (router, survivor) = (mesh.api(), mesh.admin("us-1"));
    until("every device is known", async || {
        let known = Metrics::of(&router).await.sum("roost_router_locations", &["state=\"online\""]);
        Ok(known as u32 == DEVICES)
    })
    .await?;
    let mut service = mesh.service(ServiceKind::Lapin).await;
    service.consume("roost.receipts", "*.*.delivered").await;
    // Devices begin at the gateways in turn.
    let moved: Vec<_> = (0..DEVICES).step_by(2).map(|number| format!("fleet-{number:06}")).collect();
    let commands: Vec<_> =
        moved.iter().map(|id| command(id, &format!("back-{id}"))).collect::<Result<_, _>>()?;

    let killed = Instant::now();
    mesh.kill_gateway("eu-1");
    send(&uri, commands).await?;
    let all_back = async {
        until("every device is back", async || {
            let connected = Metrics::of(&survivor).await.sum("roost_gateway_sessions_connected", &[]);
            Ok(connected as u32 == DEVICES)
        })
        .await?;
        anyhow::Ok(killed.elapsed())
    };
    let all_commanded = async {
        let mut waiting: std::collections::HashSet<_> = moved.iter().map(|id| format!("back-{id}")).collect();
        while !waiting.is_empty() {
            let receipt = service.next_within(super::PATIENCE).await;
            let receipt = receipt.with_context(|| format!("{} devices have no command", waiting.len()))?;
            waiting.remove(receipt.correlation_id.as_deref().unwrap_or_default());
        }
        anyhow::Ok(killed.elapsed())
    };
    let (back, commanded) = tokio::join!(all_back, all_commanded);
    let (back, commanded) = (back?, commanded?);
    let summary = running.await??;
    let (events, commands) = (nothing_lost(&summary, "up")?, in_order(nothing_lost(&summary, "down")?)?);
    ensure!(count(&summary, "connections_lost") >= u64::from(DEVICES) / 2, "no gateway was lost");
    page.heading("A gateway with 5,000 devices is killed");
    page.paragraph(&format!(
        "Half of {} devices lose their gateway; each tries it again after 0.5 to 8 s, drawn evenly, is refused, and goes to the other one. Right behind the \
         kill a service sends one command to each of them. Times are from the kill: until the last is connected, and until the last has acknowledged its \
         command. The fleet's own {COMMANDS_A_SECOND} commands a second go on, and what was in flight at the kill waits for the lease.",
        whole(f64::from(DEVICES))
    ));
    page.table(
        &[
            "devices",
            "all back after",
            "all commanded after",
            "commands lost / twice",
            "events lost / twice",
            "cores busy",
        ],
        &[vec![
            whole(moved.len() as f64),
            format!("{:.1} s", back.as_secs_f64()),
            format!("{:.1} s", commanded.as_secs_f64()),
            format!("{} / {}", commands.lost, commands.duplicates),
            format!("{} / {}", events.lost, events.duplicates),
            cores_taken(&summary),
        ]],
    );
    page.command(&fleet.line());
    Ok(())
}
