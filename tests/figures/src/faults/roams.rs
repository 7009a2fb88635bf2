//! Devices move between two gateways while they get commands.

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use roost_fleet::shell::WanState;

use super::{Linked, count, in_order, nothing_lost};
use crate::fleet::Fleet;
use crate::page::{Page, cores_taken, p50_p99, whole};

const DEVICES: u32 = 500;
const COMMANDS_A_SECOND: u32 = 200;
const SCENARIO: &str = "config/fleet/roams.yaml";
/// As long as the scenario moves devices, and a little more.
const TIME: Duration = Duration::from_secs(230);
/// When, and for how long, the gateways' links are of different delay: a tenth of the roams.
const FROM: Duration = Duration::from_secs(100);
const LASTS: Duration = Duration::from_secs(20);
const DELAYS: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(150)];
const ROAMS: u64 = 10_000;

pub(super) async fn measure(page: &mut Page) -> anyhow::Result<()> {
    let mesh = Linked::start().await;
    let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(SCENARIO).canonicalize()?;
    let ports = ["eu-1", "us-1"].map(|gateway| mesh.federation.mqtt_port(gateway));
    let fleet = Fleet::of(DEVICES, &ports)
        .publishes(f64::from(DEVICES) / 10.0, DEVICES, TIME)
        .with("--reconnect", "none")
        .with("--scenario", scenario.display())
        .with("--amqp", mesh.federation.broker().uri())
        .with("--command-rate", COMMANDS_A_SECOND)
        .with("--drain", "60s");
    let running = fleet.clone();
    let running = tokio::spawn(async move { running.run().await });
    tokio::time::sleep(FROM).await;
    for (link, delay) in mesh.links.iter().zip(DELAYS) {
        link.be(WanState::Late(delay));
    }
    tokio::time::sleep(LASTS).await;
    mesh.all_links_are(WanState::Whole);
    let summary = running.await??;
    let roams = count(&summary, "connections_cut");
    ensure!(roams >= ROAMS, "{roams} roams are less than {ROAMS}");
    let (events, commands) = (nothing_lost(&summary, "up")?, in_order(nothing_lost(&summary, "down")?)?);
    page.heading("Roams during commands");
    page.paragraph(&format!(
        "{DEVICES} devices get {COMMANDS_A_SECOND} commands a second and move {} times from one gateway to the other, each without a word to the one that they \
         leave, and at once. For {} s the gateways' links to RabbitMQ are {} and {} ms longer, each way.",
        whole(roams as f64),
        LASTS.as_secs(),
        DELAYS[0].as_millis(),
        DELAYS[1].as_millis(),
    ));
    page.table(
        &[
            "roams",
            "commands accepted",
            "lost",
            "came twice",
            "out of order",
            "events lost / twice",
            "command p50 / p99",
            "cores busy",
        ],
        &[vec![
            whole(roams as f64),
            whole(count(&summary, "commands_confirmed") as f64),
            commands.lost.to_string(),
            whole(commands.duplicates as f64),
            commands.reordered.to_string(),
            format!("{} / {}", events.lost, whole(events.duplicates as f64)),
            p50_p99(&summary, "down"),
            cores_taken(&summary),
        ]],
    );
    page.command(&fleet.line().replace(&*scenario.to_string_lossy(), SCENARIO));
    Ok(())
}
