//! `kill -9` of router and gateways in turn, at random moments, under load. Then set arithmetic: every acknowledged
//! event is there, every accepted command has one final receipt, the order of each device is kept.
//!
//! Moments are drawn as amounts of progress, not of time, so that a slow machine is hit in the middle of things as a
//! fast one is. `ROOST_KILLS` says how often, `ROOST_SEED` repeats the choices (not the timing of the threads).

mod device;
mod sender;
mod verdict;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use roost_harness::{
    Backend, Federation, PATIENCE, Publication, Seed, Service, ServiceKind, on_both_backends,
};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use verdict::{Evidence, Numbered};

const DEVICES: usize = 8;
const KILLS: usize = 20;
/// Lease and margin (12 s) and settle timeout (30 s), several times over: a bound on a failing run, not a measure.
const SETTLE_PATIENCE: Duration = Duration::from_secs(180);
/// The last message of each queue, which tells its reader that everything before it has been read.
const MARKER: &str = "the end";

/// What the parts of the load do at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Publish, send, receive.
    Load,
    /// Nothing new: what is under way comes to its end.
    Settle,
    /// Report.
    End,
}

/// What the parts of the load share.
#[derive(Clone, Debug)]
struct Stage {
    phase: Arc<watch::Sender<Phase>>,
    /// Acknowledged events and final receipts, so far.
    progress: Arc<watch::Sender<u64>>,
    /// Commands that have no final receipt yet.
    unsettled: Arc<watch::Sender<i64>>,
}

impl Stage {
    fn new() -> Self {
        Self {
            phase: Arc::new(watch::Sender::new(Phase::Load)),
            progress: Arc::default(),
            unsettled: Arc::default(),
        }
    }

    fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    fn advance(&self) {
        self.progress.send_modify(|steps| *steps += 1);
    }

    async fn advanced_by(&self, steps: u64) {
        let mut progress = self.progress.subscribe();
        let goal = *progress.borrow() + steps;
        let reached = timeout(PATIENCE, progress.wait_for(|done| *done >= goal)).await;
        assert!(
            reached.is_ok(),
            "the load has stopped: {} of {goal} steps after {PATIENCE:?}",
            *self.progress.borrow()
        );
    }

    /// Whether every command came to its end. If not, the verdict will name those that did not.
    async fn settled(&self) -> bool {
        timeout(SETTLE_PATIENCE, self.unsettled.subscribe().wait_for(|left| *left == 0)).await.is_ok()
    }
}

async fn nothing_is_lost_by_kills(backend: Backend) {
    let seed = Seed::from_environment();
    let mut mesh = Federation::start(backend).await;
    let stage = Stage::new();
    let mut events = mesh.service(ServiceKind::Lapin).await;
    events.consume("roost.up", "#").await;
    let seen = tokio::spawn(collect(events));
    let (mut devices, mut senders) = (JoinSet::new(), JoinSet::new());
    let ports = ["eu-1", "us-1"].map(|gateway| mesh.mqtt_port(gateway));
    for number in 0..DEVICES {
        devices.spawn(device::run(number, ports, seed.generator(number as u64), stage.clone()));
        senders.spawn(sender::run(number, mesh.service(ServiceKind::Lapin).await, stage.clone()));
    }

    kill_in_turn(&mut mesh, &stage, seed.generator(u64::MAX)).await;

    stage.phase.send_replace(Phase::Settle);
    let settled = stage.settled().await;
    stage.phase.send_replace(Phase::End);
    let mut evidence = Evidence::default();
    for (number, report) in devices.join_all().await {
        evidence.acknowledged.extend(report.acknowledged);
        evidence.received.insert(number, report.connections);
    }
    say_the_end(&mesh).await;
    for report in senders.join_all().await {
        evidence.accepted.extend(report.accepted);
        evidence.finals.extend(report.finals);
    }
    evidence.seen = seen.await.expect("the collector has not panicked");
    eprintln!("seed {seed}, settled {settled}: {evidence}");
    let violations = evidence.violations();
    let row = format!("| {backend:?} | {} | {evidence} | {} |\n", kills(), violations.len());
    write_figures(&format!("kills-{backend:?}"), &row);
    assert!(violations.is_empty(), "seed {seed}: {} violations\n{}", violations.len(), violations.join("\n"));
}

fn kills() -> usize {
    std::env::var("ROOST_KILLS").map_or(KILLS, |text| text.parse().expect("ROOST_KILLS is a number"))
}

/// Leaves a row for the page of figures, if somebody collects them: `tests/long` does.
fn write_figures(name: &str, row: &str) {
    if let Some(folder) = std::env::var_os("ROOST_FIGURES") {
        std::fs::write(Path::new(&folder).join(name), row).expect("the folder for figures can be written");
    }
}

/// Router, `eu-1`, router, `us-1` and so on: each after a random amount of progress, and back after another.
async fn kill_in_turn(mesh: &mut Federation, stage: &Stage, mut random: StdRng) {
    stage.advanced_by(100).await;
    for kill in 0..kills() {
        stage.advanced_by(random.random_range(1..150)).await;
        let down = random.random_range(0..50);
        match kill % 4 {
            0 | 2 => {
                mesh.kill_router();
                stage.advanced_by(down).await; // events go on without a router
                mesh.start_router().await;
            }
            turn => {
                let gateway = if turn == 1 { "eu-1" } else { "us-1" };
                mesh.kill_gateway(gateway);
                stage.advanced_by(down).await; // at the other gateway
                mesh.start_gateway(gateway).await;
            }
        }
    }
}

async fn collect(mut events: Service) -> BTreeSet<Numbered> {
    let mut seen = BTreeSet::new();
    loop {
        let event = events.next().await;
        if event.text() == MARKER {
            return seen;
        }
        seen.insert(event.text().parse().expect("events of the load are numbered"));
    }
}

/// Behind everything that is in the queues now.
async fn say_the_end(mesh: &Federation) {
    let mut service = mesh.service(ServiceKind::Lapin).await;
    let keys = (0..DEVICES).map(|number| ("roost.receipts", format!("main.{}.end", device::id(number))));
    for (exchange, key) in keys.chain([("roost.up", "main.nobody.end".to_owned())]) {
        let body = MARKER.as_bytes().to_vec();
        let marker = Publication { exchange: exchange.to_owned(), key, body, ..Publication::default() };
        service.publish(&marker).await.expect("the broker was not killed");
    }
}

on_both_backends!(nothing_is_lost_by_kills);
