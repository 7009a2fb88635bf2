//! A cluster of three RabbitMQ nodes behind the mesh, whose nodes die, lose each other, and run out of memory.
//!
//! It needs namespaces of its own, for network, mounts and processes (`tests/long cluster` makes them): its networks meet nobody's,
//! and whatever is left of it goes with them.

mod network;
mod nodes;
mod pause;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use roost_fleet::DirectionVerdict;
use roost_harness::{Federation, Metrics};

use crate::faults::{count, in_order, nothing_lost};
use crate::fleet::Fleet;
use crate::machine;
use crate::memory::Memory;
use crate::page::{Page, cores_taken, whole};
use nodes::Cluster;
use pause::Pause;

const DEVICES: u32 = 100;
const EVENTS_A_SECOND: f64 = 300.0;
const COMMANDS_A_SECOND: u32 = 50;
/// How long everything lasts.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// Before a fault, and behind its end.
    quiet: Duration,
    /// How long nodes are apart.
    apart: Duration,
    alarm: Duration,
    /// How long a killed node stays away.
    dead: Duration,
}

/// For the figures. RabbitMQ notices that a node is cut off after at most 75 s (`net_ticktime` 60 s, and a quarter).
const WHOLE: Pace = Pace {
    quiet: Duration::from_secs(15),
    apart: Duration::from_secs(90),
    alarm: Duration::from_secs(60),
    dead: Duration::from_secs(20),
};

/// For a check of what matters most: nothing is lost. Nodes are apart for less than RabbitMQ takes to notice: none of them pauses, and what goes
/// through the one that is cut off stands still until it is back or its queues have other leaders.
const SHORT: Pace = Pace {
    quiet: Duration::from_secs(4),
    apart: Duration::from_secs(10),
    alarm: Duration::from_secs(10),
    dead: Duration::from_secs(5),
};

/// After healing, the first confirm has to come within it.
const RESUMES: Duration = Duration::from_secs(10);

/// Every fault, in the order of the page.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// `kill -9` of this node.
    Kill(usize),
    /// This one is cut off from the others; services and gateways reach all of them.
    Minority(usize),
    /// Each is cut off from the others: nobody has a majority.
    Apart,
    Alarm,
}

impl Fault {
    /// All of them.
    fn all() -> Vec<Self> {
        let nodes = 0..nodes::NODES;
        let each = nodes.clone().map(Self::Kill).chain(nodes.map(Self::Minority));
        each.chain([Self::Apart, Self::Alarm]).collect()
    }

    /// As on the command line.
    fn key(self) -> String {
        match self {
            Self::Kill(node) => format!("kill-{}", node + 1),
            Self::Minority(node) => format!("minority-{}", node + 1),
            Self::Apart => "apart".to_owned(),
            Self::Alarm => "alarm".to_owned(),
        }
    }

    fn name(self, pace: Pace) -> String {
        let apart = pace.apart.as_secs();
        match self {
            Self::Kill(node) => {
                format!("`kill -9` of node {}, back after {} s", node + 1, pace.dead.as_secs())
            }
            Self::Minority(node) => format!("node {} cut off from the others for {apart} s", node + 1),
            Self::Apart => format!("all three cut off from each other for {apart} s"),
            Self::Alarm => format!("memory alarm for {} s", pace.alarm.as_secs()),
        }
    }

    /// How long it lasts, with what may go wrong about it.
    fn lasts(self, pace: Pace) -> Duration {
        match self {
            Self::Kill(_) => pace.dead + pace.quiet * 4,
            Self::Minority(_) | Self::Apart => pace.apart + pace.quiet * 2,
            Self::Alarm => pace.alarm + pace.quiet,
        }
    }

    /// Begins it and ends it; when it ended, and RabbitMQ had a majority of nodes again.
    async fn happens(self, cluster: &mut Cluster, pace: Pace) -> anyhow::Result<Healed> {
        match self {
            Self::Kill(node) => {
                cluster.kill(node).await?;
                tokio::time::sleep(pace.dead).await;
                let healed = Instant::now();
                cluster.start_again(node).await?;
                Ok(Healed::at(healed))
            }
            Self::Minority(node) => {
                cluster.network().cut_off(node)?;
                tokio::time::sleep(pace.apart).await;
                cluster.network().join(node)?;
                Ok(Healed::at(Instant::now()))
            }
            Self::Apart => {
                for node in 0..nodes::NODES {
                    cluster.network().cut_off(node)?;
                }
                tokio::time::sleep(pace.apart).await;
                for node in 0..nodes::NODES {
                    cluster.network().join(node)?;
                }
                let network = Instant::now();
                cluster.has_majority().await?;
                Ok(Healed { network, majority: Instant::now() })
            }
            Self::Alarm => {
                cluster.memory(1)?;
                tokio::time::sleep(pace.alarm).await;
                cluster.memory(nodes::MEMORY_MIB)?;
                Ok(Healed::at(Instant::now()))
            }
        }
    }
}

/// When a fault was over.
#[derive(Debug, Clone, Copy)]
struct Healed {
    network: Instant,
    /// Nodes that were all in a minority stop, and take their time to start again; nobody can publish before that.
    majority: Instant,
}

impl Healed {
    /// A majority was there throughout.
    fn at(network: Instant) -> Self {
        Self { network, majority: network }
    }
}

/// Measures those faults, or all of them, and writes the page after each; rows of others stay. Fails if anything was lost, or
/// publishing did not resume in time. In short it is one node that is killed and cut off, and an alarm, and no time is judged.
pub(crate) async fn measure(page: &Path, is_short: bool, only: &[String]) -> anyhow::Result<()> {
    let (pace, all) = match is_short {
        true => (SHORT, vec![Fault::Kill(0), Fault::Minority(0), Fault::Alarm]),
        false => (WHOLE, Fault::all()),
    };
    let unknown = only.iter().find(|key| !all.iter().any(|fault| fault.key() == **key));
    ensure!(unknown.is_none(), "no such fault: {unknown:?}");
    let mut cluster = Cluster::start().await?;
    let mesh = Federation::on(&cluster.uri()).started().await;
    let mut rows = rows_of(page)?;
    for fault in all.iter().copied().filter(|fault| only.is_empty() || only.contains(&fault.key())) {
        let name = fault.name(pace);
        eprintln!("{name}");
        let (row, line, resumed) =
            one(fault, pace, &mut cluster, &mesh).await.with_context(|| name.clone())?;
        ensure!(is_short || resumed < RESUMES, "{name}: publishing resumed {resumed:?} after healing");
        rows.insert(name, row);
        let ordered = all.iter().filter_map(|fault| rows.get(&fault.name(pace)).cloned()).collect::<Vec<_>>();
        written(&ordered, &line, &cluster)?.write(page)?;
    }
    Ok(())
}

fn written(rows: &[Vec<String>], line: &str, cluster: &Cluster) -> anyhow::Result<Page> {
    let mut out = Page::titled("A cluster of three RabbitMQ nodes");
    out.paragraph(&format!("Measured on {}", machine::describe()));
    out.paragraph(&format!(
        "`tests/long cluster`, `tests/long cluster --only NAME` for one of {}: {}, three nodes on this machine, each in a network namespace of its own, `cluster_partition_handling = pause_minority`; the queues of \
         the mesh and of the service are quorum queues. Gateways, router and service know all three addresses (`amqp://…@node,node,node`). {DEVICES} devices at two gateways publish {} events \
         a second and get {COMMANDS_A_SECOND} commands a second throughout. A pause is the longest time in which a gateway's count of confirmed events did not grow; \
         publishing resumes when it grows after the fault has ended. Nodes that see no majority stop themselves, and start again when they do: where all three were apart, *RabbitMQ back after* is \
         how long after the end of the fault two nodes serve together again, and publishing resumes so long after that. Lost is set arithmetic over unique ids. A node of RabbitMQ that has not come back by itself {} s after \
         the end of the fleet is restarted, and the row says so.",
        Fault::all().into_iter().map(Fault::key).collect::<Vec<_>>().join(", "),
        cluster.version()?,
        whole(EVENTS_A_SECOND),
        COMES_BACK.as_secs()
    ));
    out.table(&HEAD, rows);
    out.command(line);
    Ok(out)
}

const HEAD: [&str; 12] = [
    "fault",
    "events",
    "lost / twice / out of order",
    "commands",
    "lost / twice / out of order",
    "longest pause",
    "RabbitMQ back after",
    "resumes after",
    "gateway's memory first / most / last",
    "nodes restarted",
    "cores busy",
    "commit",
];

/// How long a node of RabbitMQ may take to be part of the cluster again when the fleet has ended.
const COMES_BACK: Duration = Duration::from_secs(60);

/// The rows of a page that was written before, by their faults.
fn rows_of(page: &Path) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    if !page.exists() {
        return Ok(BTreeMap::new());
    }
    let text = std::fs::read_to_string(page).with_context(|| page.display().to_string())?;
    if !text.contains(&format!("| {} |", HEAD.join(" | "))) {
        // Its columns mean something else.
        return Ok(BTreeMap::new());
    }
    let cells = |line: &str| -> Option<Vec<String>> {
        let inner = line.strip_prefix("| ")?.strip_suffix(" |")?;
        Some(inner.split(" | ").map(str::to_owned).collect())
    };
    let rows = text.lines().filter_map(cells).filter(|row| row.len() == HEAD.len() && row[0] != HEAD[0]);
    Ok(rows.map(|row| (row[0].clone(), row)).collect())
}

/// The row, the fleet's command, and how long after its end events were confirmed again.
async fn one(
    fault: Fault,
    pace: Pace,
    cluster: &mut Cluster,
    mesh: &Federation,
) -> anyhow::Result<(Vec<String>, String, Duration)> {
    let time = pace.quiet + fault.lasts(pace) + pace.quiet;
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
    tokio::time::sleep(pace.quiet).await;
    pause.begins();
    let healed = fault.happens(cluster, pace).await?;
    let (longest, resumed) = pause.ends(healed.network).await?;
    let back = healed.majority - healed.network;
    let resumed = resumed.saturating_sub(back);
    let summary = running.await??;
    let judged = async || -> anyhow::Result<_> {
        let (events, commands) = (nothing_lost(&summary, "up")?, in_order(nothing_lost(&summary, "down")?)?);
        nothing_lost(&summary, "receipts")?;
        Ok((events, commands))
    };
    let (events, commands) = match judged().await {
        Ok(judged) => judged,
        Err(error) => return Err(error.context(whereabouts(mesh, cluster).await)),
    };
    let restarted = cluster.comes_back(COMES_BACK).await?;
    let row = vec![
        fault.name(pace),
        whole(count(&summary, "acknowledged") as f64),
        kept(events),
        whole(count(&summary, "commands_confirmed") as f64),
        kept(commands),
        format!("{:.1} s", longest.as_secs_f64()),
        format!("{:.1} s", back.as_secs_f64()),
        format!("{:.1} s", resumed.as_secs_f64()),
        Memory::of(&summary, "gateway")?.first_most_last(),
        if restarted.is_empty() { "none".to_owned() } else { restarted.join(", ") },
        cores_taken(&summary),
        machine::commit(),
    ];
    Ok((row, fleet.line(), resumed))
}

/// Lost, came twice, out of order.
fn kept(verdict: &DirectionVerdict) -> String {
    format!("{} / {} / {}", verdict.lost, whole(verdict.duplicates as f64), verdict.reordered)
}

/// Where what is missing may be: how gateways' events ended, and what is in the queues beside the service's.
async fn whereabouts(mesh: &Federation, cluster: &Cluster) -> String {
    let mut said = Vec::new();
    for gateway in ["eu-1", "us-1"] {
        let metrics = Metrics::of(&mesh.admin(gateway)).await;
        for reason in ["confirmed", "unrouted", "dead"] {
            let label = format!("reason={reason:?}");
            said.push(format!("{gateway} {reason} {}", metrics.sum("roost_gateway_events_total", &[&label])));
        }
    }
    match cluster.depths().await {
        Ok(depths) => said.push(depths),
        Err(error) => said.push(format!("queues: {error:#}")),
    }
    said.join(", ")
}
