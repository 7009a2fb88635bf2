//! The example reports: one fleet of 15,000 devices against `roost dev` and against mosquitto.

use std::path::Path;
use std::time::Duration;

use roost_fleet::Summary;
use roost_harness::{Backend, Mesh};

use crate::fleet::Fleet;
use crate::machine;
use crate::page::{Page, cores_taken, p50_p99, whole};
use crate::peer::Mosquitto;

const DEVICES: u32 = 15_000;
/// One message of a device in ten seconds.
const A_SECOND: f64 = DEVICES as f64 / 10.0;

/// Writes `roost-dev.html`, `mosquitto.html` and the table of both into `directory`.
pub(crate) async fn measure(directory: &Path, time: Duration) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory)?;
    let fleet = |ports: &[u16], watched: (&str, u32), report: &str| {
        Fleet::of(DEVICES, ports)
            .publishes(A_SECOND, DEVICES, time)
            .with("--size", 256)
            .with("--jitter", 1)
            .watches(&[watched])
            .report(&directory.join(report))
    };
    let mesh = Mesh::start(Backend::Embedded).await;
    let ports = [mesh.mqtt_port("eu-1"), mesh.mqtt_port("us-1")];
    let through_mesh = fleet(&ports, ("roost-dev", mesh.pid()), "roost-dev.html")
        .with("--amqp", mesh.broker().uri())
        .with("--command-rate", 100);
    let first = through_mesh.run().await?;
    drop(mesh);
    let mosquitto = Mosquitto::start().await?;
    let beside = fleet(&[mosquitto.port()], ("mosquitto", mosquitto.pid()), "mosquitto.html");
    let second = beside.run().await?;

    let mut page = Page::titled("One fleet, two brokers");
    page.paragraph(&format!("Measured on {}", machine::describe()));
    page.paragraph(&format!(
        "{} devices publish 256 bytes at QoS 1 once in ten seconds, at random moments. `roost dev` is the whole mesh in one process: \
         two gateways, the router and the embedded backend, where a service consumes every event and sends 100 commands a second. \
         mosquitto acknowledges and has nobody to send to: the two do not do the same work, and the table is not a race. It shows \
         what a fleet is told by each, and that the fleet is not the bottleneck.",
        whole(f64::from(DEVICES))
    ));
    page.table(
        &[
            "broker",
            "connected",
            "messages/s",
            "connect p50 / p99",
            "PUBLISH to PUBACK p50 / p99",
            "event to the service",
            "command to the device",
            "lost",
            "duplicates",
            "resident memory",
            "cores busy",
        ],
        &[row("roost dev", &first), row("mosquitto", &second)],
    );
    page.command(&format!("{}\n{}", through_mesh.line(), beside.line()));
    page.paragraph(
        "The reports: [roost dev](roost-dev.html), [mosquitto](mosquitto.html); each is one page with its plots, without anything \
         from elsewhere.\n\n![roost dev](roost-dev.png)\n\n![mosquitto](mosquitto.png)",
    );
    page.write(&directory.join("README.md"))
}

fn row(broker: &str, summary: &Summary) -> Vec<String> {
    let count = |name: &str| summary.counts.get(name).copied().unwrap_or(0) as f64;
    let known = summary.verdict.directions().next().is_some();
    let sum = |what: fn(&roost_fleet::DirectionVerdict) -> u64| {
        let all: u64 = summary.verdict.directions().map(|(_, verdict)| what(verdict)).sum();
        if known { all.to_string() } else { "not known".to_owned() }
    };
    let rss: u64 = summary.watched.values().map(|usage| usage.rss_bytes).sum();
    vec![
        broker.to_owned(),
        whole(summary.online_max as f64),
        whole(count("published") / summary.measured_s),
        p50_p99(summary, "connect"),
        p50_p99(summary, "publish"),
        p50_p99(summary, "up"),
        p50_p99(summary, "down"),
        sum(|verdict| verdict.lost),
        sum(|verdict| verdict.duplicates),
        format!("{} MiB", whole(rss as f64 / f64::from(1 << 20))),
        cores_taken(summary),
    ]
}
