//! Latency both ways at half of what the mesh can carry.

use std::time::Duration;

use super::{BYTES, DEVICES, OnRabbitMq};
use crate::page::{Page, cores_taken, p50_p99, whole};

pub(super) async fn measure(
    page: &mut Page,
    mesh: &OnRabbitMq,
    (events, commands): (f64, f64),
    time: Duration,
) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    let mut lines = Vec::new();
    let loads = [
        ("half of the events", events / 2.0, 0.0),
        ("half of the commands", 0.0, commands / 2.0),
        ("a quarter of both together", events / 4.0, commands / 4.0),
    ];
    for (what, up, down) in loads {
        let (up, down) = (up.round(), down.round());
        let mut fleet = mesh
            .fleet(DEVICES)
            .publishes(up, DEVICES, time * 2)
            .with("--size", BYTES)
            .with("--jitter", 1)
            .with("--amqp", mesh.amqp());
        if down > 0.0 {
            fleet = fleet.with("--command-rate", down);
        }
        let summary = fleet.run().await?;
        rows.push(vec![
            what.to_owned(),
            format!("{} up, {} down", whole(up), whole(down)),
            p50_p99(&summary, "publish"),
            p50_p99(&summary, "up"),
            p50_p99(&summary, "down"),
            p50_p99(&summary, "receipt"),
            lost(&summary),
            cores_taken(&summary),
        ]);
        lines.push(fleet.line());
    }
    page.heading("Latency at half load, on RabbitMQ");
    page.paragraph(
        "Each from the moment when the message was due, so that a stall counts for all that had to wait behind it. Devices publish \
         at random moments (`--jitter 1`).",
    );
    page.table(
        &[
            "load",
            "messages/s",
            "PUBLISH to PUBACK",
            "event to the service",
            "command to the device",
            "command to its receipt",
            "lost",
            "cores busy",
        ],
        &rows,
    );
    page.command(&lines.join("\n"));
    Ok(())
}

fn lost(summary: &roost_fleet::Summary) -> String {
    summary.verdict.directions().map(|(_, verdict)| verdict.lost).sum::<u64>().to_string()
}
