//! Events a second: PUBLISH → gateway → RabbitMQ → a service, each PUBACK after the confirm.

use std::time::Duration;

use super::{BYTES, DEVICES, OnRabbitMq, holds};
use crate::bare_amqp::{self, QueueKind, Reached};
use crate::capacity::{TRIES, highest};
use crate::page::{Page, cores_taken, p50_p99, whole};

const FIRST: f64 = 2_000.0;

/// The highest rate that holds.
pub(super) async fn measure(page: &mut Page, mesh: &OnRabbitMq, time: Duration) -> anyhow::Result<f64> {
    let before = alone(mesh, time).await?;
    let fleet = |offered: f64| {
        mesh.fleet(DEVICES)
            .publishes(offered, DEVICES, time)
            .with("--size", BYTES)
            .with("--qos", 1)
            .with("--amqp", mesh.amqp())
    };
    let (offered, summary) = highest(FIRST, |offered| {
        let fleet = fleet(offered);
        async move {
            let summary = fleet.run().await?;
            Ok(holds(&summary, "up", "up", offered).then_some(summary))
        }
    })
    .await?;
    let after = alone(mesh, time).await?;
    let alone = f64::midpoint(before.rate, after.rate);

    page.heading("Events up, on RabbitMQ");
    page.paragraph(&format!(
        "{DEVICES} devices publish {BYTES} bytes at QoS 1 to one gateway; a service consumes `roost.up`. Beside it lapin alone: one \
         publisher with confirms and one consumer, {BYTES} bytes and an event's headers through a topic exchange into an exclusive \
         queue, before and after. A rate of the mesh holds if it does so in one of {TRIES} runs of {} seconds.",
        time.as_secs()
    ));
    let client = |reached: Reached| {
        format!("rabbitmq {:.2} · clients {:.2}", reached.broker_cores, reached.client_cores)
    };
    let row = |what: &str, rate: f64, more: [String; 3]| {
        let [ratio, latency, cores] = more;
        vec![what.to_owned(), whole(rate), ratio, latency, cores]
    };
    let none = || "–".to_owned();
    page.table(
        &["", "messages/s", "of lapin alone", "p50 / p99", "cores busy"],
        &[
            row("lapin alone, before", before.rate, [none(), none(), client(before)]),
            row("lapin alone, after", after.rate, [none(), none(), client(after)]),
            row(
                "the mesh: the highest rate that holds",
                offered,
                [format!("{:.0}%", 100.0 * offered / alone), p50_p99(&summary, "up"), cores_taken(&summary)],
            ),
        ],
    );
    page.command(&fleet(offered).line());
    Ok(offered)
}

async fn alone(mesh: &OnRabbitMq, time: Duration) -> anyhow::Result<Reached> {
    bare_amqp::measure(&mesh.amqp(), mesh.rabbitmq, QueueKind::Exclusive, BYTES, time).await
}
