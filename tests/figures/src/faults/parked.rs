//! The router starts again with a journal full of commands for devices that are away.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use roost_harness::{Backend, Connect, Device, DeviceKind, Federation, Metrics};

use super::until;
use crate::commands::{command, send};
use crate::page::{Page, whole};

const DEVICES: u32 = 1_000;
/// As many as a mailbox takes.
const EACH: u32 = 100;
const RESTARTS: u32 = 5;

pub(super) async fn measure(page: &mut Page) -> anyhow::Result<()> {
    let mut mesh = Federation::start(Backend::RabbitMq).await;
    let device = |number: u32| format!("parked-{number}");
    let name = |number: u32, round: u32| format!("parked-{number}-{round}");
    let commands = (0..EACH).flat_map(|round| (0..DEVICES).map(move |number| (number, round)));
    let commands: Vec<_> = commands
        .map(|(number, round)| command(&device(number), &name(number, round)))
        .collect::<Result<_, _>>()?;
    let sent = send(&mesh.broker().uri(), commands).await?;
    let api = mesh.api();
    until("every command is parked", async || {
        let metrics = Metrics::of(&api).await;
        let (waiting, away) = ("roost_router_mailbox_commands", "roost_router_commands_outstanding");
        Ok(metrics.sum(waiting, &[]) as u64 == sent && metrics.sum(away, &[]) == 0.0)
    })
    .await?;
    let bytes = Metrics::of(&api).await.sum("roost_journal_disk_bytes", &[]);

    let (mut first, mut ready, mut all) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    for number in 0..RESTARTS {
        mesh.kill_router();
        // CONNECT waits for no router; its device is there when the router looks.
        let id = device(number);
        let mut there =
            Device::connected(DeviceKind::RumqttcV4, &Connect::to(mesh.mqtt_port("eu-1"), &id)).await;
        there.subscribe(&format!("devices/{id}/cmd"), 1).await.ok().context("its subscription is refused")?;
        let began = Instant::now();
        let delivering = async {
            let mut after = None;
            for round in 0..EACH {
                let message = there.next().await.ok().context("its connection was lost")?;
                after.get_or_insert_with(|| began.elapsed());
                ensure!(message.text() == name(number, round), "{} came as number {round}", message.text());
            }
            Ok((after.expect("there is at least one"), began.elapsed()))
        };
        let (delivered, is_ready) = tokio::join!(delivering, async {
            mesh.start_router().await;
            began.elapsed()
        });
        let (one, every) = delivered?;
        (first, ready, all) = (first.max(one), ready.max(is_ready), all.max(every));
        there.disconnect().await;
    }
    page.heading("A router restart with parked commands");
    page.paragraph(&format!(
        "{DEVICES} devices that were never seen have {EACH} commands each; the router is killed and started again {RESTARTS} times, each time with another of the \
         devices connected and subscribed meanwhile. Times are the slowest, from the start of the process: to the first command at the device, to \
         its last (in order), and to a router that says that it is ready."
    ));
    page.table(
        &["commands parked", "journal", "first command after", "its last after", "ready after"],
        &[vec![
            whole(sent as f64),
            format!("{} MiB", whole(bytes / f64::from(1 << 20))),
            format!("{:.2} s", first.as_secs_f64()),
            format!("{:.2} s", all.as_secs_f64()),
            format!("{:.2} s", ready.as_secs_f64()),
        ]],
    );
    Ok(())
}
