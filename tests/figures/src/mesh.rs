//! The figures of the mesh, each beside a peer measured in the same run.

mod commands;
mod events;
mod idle;
mod latency;
mod pairs;
mod storm;

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use roost_fleet::Summary;
use roost_harness::{Backend, Federation};

use crate::fleet::Fleet;
use crate::machine;
use crate::page::Page;

/// One section of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    Events,
    Commands,
    Latency,
    Idle,
    Pairs,
    Storm,
}

/// Devices of the throughput runs: enough to be many, few enough that they cost little.
const DEVICES: u32 = 200;
/// Bytes of each payload.
const BYTES: usize = 256;
/// A rate holds when that share of what was offered got through …
const THROUGH: f64 = 0.97;
/// … and this much time was enough for all but one in a hundred: else a queue is growing somewhere.
const P99_MAX_MS: f64 = 1_000.0;

/// Measures and writes the page.
pub(crate) async fn measure(page: &Path, time: Duration, only: &[Part]) -> anyhow::Result<()> {
    let wanted = |part| only.is_empty() || only.contains(&part);
    let mut out = Page::titled("The mesh beside its peers");
    out.paragraph(&format!("Measured on {}", machine::describe()));
    out.paragraph(
        "`tests/long figures` repeats all of it. Rates are what this machine's cores share among fleet, mesh and broker, so quote \
         the ratios, and CPU seconds; the fleet's own share stands beside each figure. A rate *holds* when 97% of what was offered \
         got through, nothing was lost, and the p99 stayed below a second. What limits each stands in \
         [limits.md](limits.md), with the profiles.",
    );
    let mesh = OnRabbitMq::start().await?;
    let mut capacity = Capacity::default();
    if wanted(Part::Events) || wanted(Part::Latency) {
        capacity.events = Some(events::measure(&mut out, &mesh, time).await?);
    }
    if wanted(Part::Commands) || wanted(Part::Latency) {
        capacity.commands = Some(commands::measure(&mut out, &mesh, time).await?);
    }
    if let (true, Capacity { events: Some(events), commands: Some(commands) }) =
        (wanted(Part::Latency), &capacity)
    {
        latency::measure(&mut out, &mesh, (*events, *commands), time).await?;
    }
    if wanted(Part::Storm) {
        storm::measure(&mut out, &mesh).await?;
    }
    drop(mesh);
    if wanted(Part::Idle) {
        idle::measure(&mut out).await?;
    }
    if wanted(Part::Pairs) {
        pairs::measure(&mut out, time).await?;
    }
    out.write(page)
}

/// The highest rates that held.
#[derive(Debug, Default)]
struct Capacity {
    events: Option<f64>,
    commands: Option<f64>,
}

/// Every role as a process of its own, on RabbitMQ.
struct OnRabbitMq {
    federation: Federation,
    rabbitmq: u32,
}

impl OnRabbitMq {
    async fn start() -> anyhow::Result<Self> {
        let rabbitmq = std::env::var("ROOST_TEST_RABBITMQ_PID")
            .context("ROOST_TEST_RABBITMQ_PID is not set: start with tests/long")?;
        Ok(Self { federation: Federation::start(Backend::RabbitMq).await, rabbitmq: rabbitmq.parse()? })
    }

    /// Devices at the first gateway, and everybody's CPU in the report.
    fn fleet(&self, devices: u32) -> Fleet {
        Fleet::of(devices, &[self.federation.mqtt_port("eu-1")]).watches(&[
            ("gateway", self.federation.gateway_pid("eu-1")),
            ("router", self.federation.router_pid()),
            ("rabbitmq", self.rabbitmq),
        ])
    }

    fn amqp(&self) -> String {
        self.federation.broker().uri()
    }
}

/// Whether a rate holds, going by one direction of the verdict and its latency.
fn holds(summary: &Summary, direction: &str, span: &str, offered: f64) -> bool {
    let Some((_, verdict)) = summary.verdict.directions().find(|(name, _)| *name == direction) else {
        return false;
    };
    let through = verdict.arrived as f64 / summary.measured_s;
    let in_time = summary.latencies.get(span).is_some_and(|latency| latency.p99_ms < P99_MAX_MS);
    verdict.lost == 0 && through >= THROUGH * offered && in_time
}
