//! Commands a second: a service → RabbitMQ → router → RabbitMQ → gateway → device, and the way back to its receipt.

use std::time::Duration;

use super::{BYTES, DEVICES, OnRabbitMq, holds};
use crate::bare_amqp::{self, QueueKind, Reached};
use crate::capacity::{TRIES, highest};
use crate::page::{Page, cores_taken, p50_p99, whole};

const FIRST: f64 = 500.0;

/// The highest rate that holds.
pub(super) async fn measure(page: &mut Page, mesh: &OnRabbitMq, time: Duration) -> anyhow::Result<f64> {
    let before = alone(mesh, time).await?;
    let fleet = |offered: f64| {
        mesh.fleet(DEVICES)
            .with("--rate", 0)
            .lasts(time)
            .with("--size", BYTES)
            .with("--amqp", mesh.amqp())
            .with("--command-rate", offered)
    };
    let (offered, summary) = highest(FIRST, |offered| {
        let fleet = fleet(offered);
        async move {
            let summary = fleet.run().await?;
            let held =
                holds(&summary, "down", "down", offered) && holds(&summary, "receipts", "receipt", offered);
            Ok(held.then_some(summary))
        }
    })
    .await?;
    let after = alone(mesh, time).await?;
    let alone = f64::midpoint(before.rate, after.rate);

    page.heading("Commands down, on RabbitMQ");
    page.paragraph(&format!(
        "A service commands {DEVICES} devices in turn at random, {BYTES} bytes at QoS 1, and takes a final receipt for each. Every \
         command passes RabbitMQ four times, as command (quorum queue), to the gateway (transient queue), as settlement (quorum \
         queue) and as receipt, and is on the router's disk before it is taken from the first. Beside it lapin alone passing each \
         message once, through a quorum queue. A rate of the mesh holds if it does so in one of {TRIES} runs of {} seconds.",
        time.as_secs()
    ));
    let client = |reached: Reached| {
        format!("rabbitmq {:.2} · clients {:.2}", reached.broker_cores, reached.client_cores)
    };
    let row = |what: &str, rate: f64, more: [String; 4]| {
        let [ratio, down, receipt, cores] = more;
        vec![what.to_owned(), whole(rate), ratio, down, receipt, cores]
    };
    let none = || "–".to_owned();
    page.table(
        &[
            "",
            "messages/s",
            "of lapin alone",
            "to the device, p50 / p99",
            "to the receipt, p50 / p99",
            "cores busy",
        ],
        &[
            row("lapin alone, before", before.rate, [none(), none(), none(), client(before)]),
            row("lapin alone, after", after.rate, [none(), none(), none(), client(after)]),
            row(
                "the mesh: the highest rate that holds",
                offered,
                [
                    format!("{:.0}%", 100.0 * offered / alone),
                    p50_p99(&summary, "down"),
                    p50_p99(&summary, "receipt"),
                    cores_taken(&summary),
                ],
            ),
        ],
    );
    page.command(&fleet(offered).line());
    Ok(offered)
}

async fn alone(mesh: &OnRabbitMq, time: Duration) -> anyhow::Result<Reached> {
    bare_amqp::measure(&mesh.amqp(), mesh.rabbitmq, QueueKind::Quorum, BYTES, time).await
}
