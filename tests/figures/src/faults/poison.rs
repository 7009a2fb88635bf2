//! Commands that nobody can take, beside commands for everybody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use roost_harness::{Backend, Federation, Publication, ServiceKind};
use tokio::task::JoinSet;

use super::{in_order, nothing_lost, raw_device};
use crate::commands::{command, send};
use crate::fleet::Fleet;
use crate::page::{Page, cores_taken, p50_p99};

const DEVICES: u32 = 200;
const COMMANDS_A_SECOND: u32 = 300;
const TIME: Duration = Duration::from_secs(30);
/// Devices that break off at each command.
const CRASHING: u32 = 10;
/// Commands that cannot be read.
const UNREADABLE: u32 = 200;

pub(super) async fn measure(page: &mut Page) -> anyhow::Result<()> {
    let mesh = Federation::start(Backend::RabbitMq).await;
    let uri = mesh.broker().uri();
    let fleet = |prefix: &str| {
        Fleet::of(DEVICES, &[mesh.mqtt_port("eu-1"), mesh.mqtt_port("us-1")])
            .publishes(f64::from(DEVICES) / 10.0, DEVICES, TIME)
            .with("--jitter", 1)
            .with("--prefix", prefix)
            .with("--amqp", &uri)
            .with("--command-rate", COMMANDS_A_SECOND)
    };
    let before = fleet("before-").run().await?;
    let mut service = mesh.service(ServiceKind::Lapin).await;
    service.consume("roost.dead", "#").await;
    let beside = fleet("beside-");
    let running = beside.clone();
    let running = tokio::spawn(async move { running.run().await });
    // The fleet has its connections by then, and is measured.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let port = mesh.mqtt_port("eu-1");
    let tries = Arc::new(AtomicU32::new(0));
    let mut crashing = JoinSet::new();
    for number in 0..CRASHING {
        crashing.spawn(crash(port, format!("crashing-{number}"), Arc::clone(&tries)));
    }
    let commands =
        (0..CRASHING).map(|number| command(&format!("crashing-{number}"), &format!("poison-{number}")));
    let began = Instant::now();
    send(&uri, commands.collect::<Result<_, _>>()?).await?;
    for number in 0..UNREADABLE {
        let unreadable = Publication {
            exchange: "roost.down".to_owned(),
            key: format!("main.nobody{number}"),
            body: b"?".to_vec(),
            message_id: Some(format!("unreadable-{number}")),
            headers: vec![("roost-receipts".to_owned(), "perhaps".to_owned())],
            ..Publication::default()
        };
        service.publish(&unreadable).await.ok().context("the broker refused it")?;
    }
    let (mut dead, mut slowest) = ((0, 0), Duration::ZERO);
    while dead != (CRASHING, UNREADABLE) {
        let letter = service.next().await;
        let id = letter.message_id.unwrap_or_default();
        dead.0 += u32::from(id.starts_with("poison-"));
        dead.1 += u32::from(id.starts_with("unreadable-"));
        slowest = slowest.max(began.elapsed());
    }
    crashing.shutdown().await;
    let tries = tries.load(Ordering::Relaxed);
    ensure!(tries > CRASHING, "{tries} deliveries to {CRASHING} devices");
    let during = running.await??;
    for summary in [&before, &during] {
        in_order(nothing_lost(summary, "down")?)?;
    }
    page.heading("Poison");
    page.paragraph(&format!(
        "{DEVICES} devices get {COMMANDS_A_SECOND} commands a second, once alone and once beside {CRASHING} devices that break their connection at each command and \
         come back at once, and beside {UNREADABLE} commands that cannot be read. All of these end in `roost.dead`, each with its reason, the last after {:.1} s; the \
         {CRASHING} commands that break their devices were delivered {tries} times.",
        slowest.as_secs_f64()
    ));
    page.table(
        &["", "command p50 / p99", "commands lost", "cores busy"],
        &[("alone", &before), ("beside poison", &during)].map(|(name, summary)| {
            vec![name.to_owned(), p50_p99(summary, "down"), "0".to_owned(), cores_taken(summary)]
        }),
    );
    page.command(&beside.line());
    Ok(())
}

/// A device that breaks off at each command, and comes back.
async fn crash(port: u16, id: String, tries: Arc<AtomicU32>) {
    loop {
        let Ok(mut device) = raw_device(port, &id, 60).await else { continue };
        while let Some((kind, _)) = device.packet().await {
            // PUBLISH, whatever its flags.
            if kind >> 4 == 3 {
                tries.fetch_add(1, Ordering::Relaxed);
                break;
            }
        }
    }
}
