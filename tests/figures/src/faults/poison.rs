//! Commands that nobody can take, beside commands for everybody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use roost_harness::{Backend, Federation, Publication, Service, ServiceKind};
use tokio::task::JoinSet;

use super::{in_order, nothing_lost, raw_device};
use crate::fleet::Fleet;
use crate::page::{Page, cores_taken, p50_p99};

const DEVICES: u32 = 200;
const COMMANDS_A_SECOND: u32 = 300;
const TIME: Duration = Duration::from_secs(30);
/// Devices that break off at each command.
const CRASHING: u32 = 10;
/// Commands that cannot be read.
const UNREADABLE: u32 = 200;
/// From one of them to the next: spread over the run, since so many at once would measure a burst, whatever is in it.
const EVERY: Duration = Duration::from_millis(120);

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
    let mut pace = tokio::time::interval(EVERY);
    for number in 0..UNREADABLE {
        pace.tick().await;
        publish(&mut service, &unreadable(number)).await?;
        if number % (UNREADABLE / CRASHING) == 0 {
            let number = number / (UNREADABLE / CRASHING);
            let device = format!("crashing-{number}");
            let topic = format!("devices/{device}/cmd");
            let poison = Publication::command(&device, &topic, b"!", &format!("poison-{number}"));
            publish(&mut service, &poison).await?;
        }
    }
    let sent = Instant::now();
    let mut dead = (0, 0);
    while dead != (CRASHING, UNREADABLE) {
        let letter = service.next().await;
        let id = letter.message_id.unwrap_or_default();
        dead.0 += u32::from(id.starts_with("poison-"));
        dead.1 += u32::from(id.starts_with("unreadable-"));
    }
    let last = sent.elapsed();
    crashing.shutdown().await;
    let tries = tries.load(Ordering::Relaxed);
    ensure!(tries > CRASHING, "{tries} deliveries to {CRASHING} devices");
    let during = running.await??;
    let after = fleet("after-").run().await?;
    let runs = [("alone, before", &before), ("beside poison", &during), ("alone, after", &after)];
    for (_, summary) in runs {
        in_order(nothing_lost(summary, "down")?)?;
    }
    page.heading("Poison");
    page.paragraph(&format!(
        "{DEVICES} devices get {COMMANDS_A_SECOND} commands a second for {} s: alone; then beside {CRASHING} commands for devices that break their connection at each command and \
         come back at once, and beside {UNREADABLE} commands that cannot be read, spread over the run; and alone once more. All of these end in `roost.dead`, each with its reason, the last \
         {:.1} s after it was sent; the {CRASHING} commands that break their devices were delivered {tries} times.",
        TIME.as_secs(),
        last.as_secs_f64()
    ));
    page.table(
        &["", "command p50 / p99", "commands lost", "cores busy"],
        &runs.map(|(name, summary)| {
            vec![name.to_owned(), p50_p99(summary, "down"), "0".to_owned(), cores_taken(summary)]
        }),
    );
    page.command(&beside.line());
    Ok(())
}

fn unreadable(number: u32) -> Publication {
    Publication {
        exchange: "roost.down".to_owned(),
        key: format!("main.nobody{number}"),
        body: b"?".to_vec(),
        message_id: Some(format!("unreadable-{number}")),
        headers: vec![("roost-receipts".to_owned(), "perhaps".to_owned())],
        ..Publication::default()
    }
}

async fn publish(service: &mut Service, publication: &Publication) -> anyhow::Result<()> {
    service.publish(publication).await.ok().context("the broker refused it")
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
