//! A cluster of three RabbitMQ nodes behind the mesh, whose nodes die, lose each other, and run out of memory.
//!
//! It needs namespaces of its own, for network, mounts and processes (`tests/long cluster` makes them): its networks meet nobody's,
//! and whatever is left of it goes with them.

mod network;
mod nodes;
mod pause;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use roost_fleet::Summary;
use roost_harness::Federation;

use crate::faults::{count, in_order, nothing_lost};
use crate::fleet::Fleet;
use crate::machine;
use crate::page::{Page, cores_taken, whole};
use nodes::Cluster;
use pause::Pause;

const DEVICES: u32 = 100;
const EVENTS_A_SECOND: f64 = 300.0;
const COMMANDS_A_SECOND: u32 = 50;
/// Before a fault, and behind its end.
const QUIET: Duration = Duration::from_secs(15);
/// How long nodes are apart: RabbitMQ notices after at most 75 s (`net_ticktime` 60 s, and a quarter).
const APART: Duration = Duration::from_secs(90);
const ALARM: Duration = Duration::from_secs(60);
/// How long a killed node stays away.
const DEAD: Duration = Duration::from_secs(20);
/// After healing, the first confirm has to come within it.
const RESUMES: Duration = Duration::from_secs(10);

/// Every fault, in the order of the page.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Kill(usize),
    /// This one is cut off from the others; services and gateways reach all of them.
    Minority(usize),
    /// Each is cut off from the others: nobody has a majority.
    Apart,
    Alarm,
}

impl Fault {
    fn name(self) -> String {
        match self {
            Self::Kill(node) => format!("`kill -9` of node {}, back after {} s", node + 1, DEAD.as_secs()),
            Self::Minority(node) => {
                format!("node {} cut off from the others for {} s", node + 1, APART.as_secs())
            }
            Self::Apart => format!("all three cut off from each other for {} s", APART.as_secs()),
            Self::Alarm => format!("memory alarm for {} s", ALARM.as_secs()),
        }
    }

    /// How long it lasts, with what may go wrong about it.
    fn lasts(self) -> Duration {
        match self {
            Self::Kill(_) => DEAD + Duration::from_secs(60),
            Self::Minority(_) | Self::Apart => APART + Duration::from_secs(30),
            Self::Alarm => ALARM + Duration::from_secs(15),
        }
    }

    /// Begins it and ends it; when it ended.
    async fn happens(self, cluster: &mut Cluster) -> anyhow::Result<Instant> {
        match self {
            Self::Kill(node) => {
                cluster.kill(node).await?;
                tokio::time::sleep(DEAD).await;
                let healed = Instant::now();
                cluster.start_again(node).await?;
                Ok(healed)
            }
            Self::Minority(node) => {
                cluster.network().cut_off(node)?;
                tokio::time::sleep(APART).await;
                cluster.network().join(node)?;
                Ok(Instant::now())
            }
            Self::Apart => {
                for node in 0..nodes::NODES {
                    cluster.network().cut_off(node)?;
                }
                tokio::time::sleep(APART).await;
                for node in 0..nodes::NODES {
                    cluster.network().join(node)?;
                }
                Ok(Instant::now())
            }
            Self::Alarm => {
                cluster.memory(1)?;
                tokio::time::sleep(ALARM).await;
                cluster.memory(nodes::MEMORY_MIB)?;
                Ok(Instant::now())
            }
        }
    }
}

/// Measures and writes the page. Fails if anything was lost, or publishing did not resume in time.
pub(crate) async fn measure(page: &Path, only_first: Option<usize>) -> anyhow::Result<()> {
    let mut cluster = Cluster::start().await?;
    let mesh = Federation::on(&cluster.uri()).started().await;
    let faults = (0..nodes::NODES).map(Fault::Kill);
    let faults = faults.chain((0..nodes::NODES).map(Fault::Minority)).chain([Fault::Apart, Fault::Alarm]);
    let mut rows = Vec::new();
    let mut line = String::new();
    for fault in faults.take(only_first.unwrap_or(usize::MAX)) {
        eprintln!("{}", fault.name());
        let (row, command) = one(fault, &mut cluster, &mesh).await.with_context(|| fault.name())?;
        rows.push(row);
        line = command;
    }
    let mut out = Page::titled("A cluster of three RabbitMQ nodes");
    out.paragraph(&format!("Measured on {}", machine::describe()));
    out.paragraph(&format!(
        "`tests/long cluster`: {}, three nodes on this machine, each in a network namespace of its own, `cluster_partition_handling = pause_minority`; the queues of \
         the mesh and of the service are quorum queues. Gateways, router and service know all three addresses (`amqp://…@node,node,node`). {DEVICES} devices at two gateways publish {} events \
         a second and get {COMMANDS_A_SECOND} commands a second throughout. A pause is the longest time in which a gateway's count of confirmed events did not grow; \
         publishing resumes when it grows after the fault has ended. Lost is set arithmetic over unique ids.",
        cluster.version()?,
        whole(EVENTS_A_SECOND)
    ));
    out.table(
        &[
            "fault",
            "events",
            "lost / twice",
            "commands",
            "lost / twice / out of order",
            "longest pause",
            "resumes after",
            "gateway's memory before, most",
            "cores busy",
        ],
        &rows,
    );
    out.command(&line);
    out.write(page)
}

async fn one(
    fault: Fault,
    cluster: &mut Cluster,
    mesh: &Federation,
) -> anyhow::Result<(Vec<String>, String)> {
    let time = QUIET + fault.lasts() + QUIET;
    let fleet = Fleet::of(DEVICES, &[mesh.mqtt_port("eu-1"), mesh.mqtt_port("us-1")])
        .publishes(EVENTS_A_SECOND, DEVICES, time)
        .with("--size", 256)
        .with("--jitter", 1)
        .with("--amqp", cluster.uri())
        .flag("--durable-queues")
        .with("--command-rate", COMMANDS_A_SECOND)
        .with("--drain", "120s")
        .watches(&[("gateway", mesh.gateway_pid("eu-1"))]);
    let running = fleet.clone();
    let running = tokio::spawn(async move { running.run().await });
    let pause = Pause::watch(mesh.admin("eu-1"));
    tokio::time::sleep(QUIET).await;
    pause.begins();
    let healed = fault.happens(cluster).await?;
    let (longest, resumed) = pause.ends(healed).await?;
    let summary = running.await??;
    cluster.is_whole().await?;
    let (events, commands) = (nothing_lost(&summary, "up")?, in_order(nothing_lost(&summary, "down")?)?);
    nothing_lost(&summary, "receipts")?;
    ensure!(resumed < RESUMES, "publishing resumed {resumed:?} after healing");
    let (before, most) = memory(&summary)?;
    let row = vec![
        fault.name(),
        whole(count(&summary, "acknowledged") as f64),
        format!("{} / {}", events.lost, whole(events.duplicates as f64)),
        whole(count(&summary, "commands_confirmed") as f64),
        format!("{} / {} / {}", commands.lost, whole(commands.duplicates as f64), commands.reordered),
        format!("{:.1} s", longest.as_secs_f64()),
        format!("{:.1} s", resumed.as_secs_f64()),
        format!("{:.0}, {:.0} MiB", before, most),
        cores_taken(&summary),
    ];
    Ok((row, fleet.line()))
}

/// Of the gateway, in MiB: before the fault, and the most.
fn memory(summary: &Summary) -> anyhow::Result<(f64, f64)> {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let of = |moment: &roost_fleet::Moment| moment.rss_bytes.get("gateway").copied();
    let measured = summary.timeline.iter().filter(|moment| moment.measured);
    let levels: Vec<u64> = measured.filter_map(of).collect();
    let before = levels.first().copied().context("the gateway was not watched")?;
    Ok((mib(before), mib(levels.into_iter().max().unwrap_or(before))))
}
