//! What came of a run.

use std::collections::BTreeMap;

use roost_router::decide::{ParkReason, RejectReason};

use crate::diagram::{Focus, draw};
use crate::fault::{Disk, FaultKind};
use crate::rules;
use crate::settings::{COMMANDS_MIN, DEVICES_MIN, FAULTS_MIN, Plan};
use crate::story::Story;
use crate::world::{World, append_failed};

/// One run, judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// The hash of its trace: the same in every run of the seed.
    pub hash: u64,
    /// How many events the trace has.
    pub events: u64,
    /// How long it took on its own clock, in seconds.
    pub seconds: u64,
    /// The broken rules, in words.
    pub broken: Vec<String>,
    /// How often each thing happened.
    pub happened: BTreeMap<String, u64>,
}

/// What a set of runs has to meet together, so that what it proves is not nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    /// How often each thing happened, in all runs.
    pub happened: BTreeMap<String, u64>,
    /// How many runs.
    pub runs: u64,
}

/// Runs one seed to its end.
#[must_use]
pub fn run(plan: Plan) -> Report {
    let mut world = World::new(plan);
    world.run();
    let broken = rules::check(&mut world);
    let mut happened = std::mem::take(&mut world.witness.happened);
    let mut note = |what: String, times: u64| *happened.entry(what).or_default() += times;
    for counters in world.router.counters() {
        for ((kind, reason), times) in &counters.decisions {
            note(decision(kind, reason), *times);
        }
        for ((state, reason), times) in &counters.receipts {
            note(format!("receipt: {state} {reason}"), *times);
        }
        if counters.contests > 0 {
            note(CONTESTED.to_owned(), counters.contests);
        }
        for (reason, times) in &counters.drops {
            note(format!("router drop: {}", reason.as_str()), *times);
        }
    }
    for gateway in &mut world.gateways {
        for (count, times) in gateway.take_counts().into_iter().filter(|(_, times)| *times > 0) {
            note(format!("gateway: {} {}", count.metric(), count.reason()), times);
        }
        note("a publication was sent again".to_owned(), gateway.replayed());
    }
    note("a publication was sent again".to_owned(), world.service.replayed());
    note("devices".to_owned(), world.devices.len() as u64);
    note("commands".to_owned(), world.service.orders.len() as u64);
    note("commands delivered to a device".to_owned(), world.witness.arrivals.len() as u64);
    note("events acknowledged".to_owned(), world.witness.safe_events.len() as u64);
    Report {
        seed: plan.seed,
        hash: world.trace.hash(),
        events: world.trace.lines(),
        seconds: world.at / crate::time::SECOND,
        broken,
        happened,
    }
}

/// Runs one seed once more and draws who sent what to whom round the first rule that it breaks, or round a device.
#[must_use]
pub fn diagram(plan: Plan, device: Option<usize>) -> String {
    let mut world = World::new(plan);
    world.story = Story::new(true);
    world.run();
    let broken = rules::check(&mut world);
    // What names a device or command is told better than what names none.
    let focus =
        |words: &String| Some((Focus::of(words), words.clone())).filter(|(focus, _)| focus.is_of_something());
    let (focus, title) = match device {
        Some(index) => (Focus { device: Some(index), ..Focus::default() }, format!("device {index}")),
        None => match broken.iter().find_map(focus) {
            Some((focus, words)) => (world.completed(focus), words),
            None => return "no broken rule names a device or a command: name a device\n".to_owned(),
        },
    };
    draw(&world.story, &focus, &format!("seed {}: {title}", plan.seed))
}

impl Report {
    /// What this run should have had by itself and had not.
    #[must_use]
    pub fn too_small(&self) -> Vec<String> {
        let faults = self.happened.iter().filter(|(what, _)| what.starts_with("fault: "));
        let faults: u64 = faults.map(|(_, times)| times).sum();
        let had = |what: &str| self.happened.get(what).copied().unwrap_or_default();
        let least = [
            ("devices", had("devices"), DEVICES_MIN),
            ("commands", had("commands"), COMMANDS_MIN),
            ("faults", faults, FAULTS_MIN),
        ];
        let small = least.into_iter().filter(|(_, had, least)| *had < *least as u64);
        small.map(|(what, had, least)| format!("{had} {what}, at least {least} are wanted")).collect()
    }
}

impl Coverage {
    /// Adds a run.
    pub fn add(&mut self, report: &Report) {
        self.runs += 1;
        for (what, times) in &report.happened {
            *self.happened.entry(what.clone()).or_default() += times;
        }
    }

    /// Every kind of fault, every kind of decision with every reason, and every kind of duplicate that never occurred.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let faults = FaultKind::NAMES.into_iter().map(|name| format!("fault: {name}"));
        let parks = ParkReason::ALL.into_iter().map(|reason| decision("park", reason.as_str()));
        let rejects = RejectReason::NAMES.into_iter().map(|reason| decision("reject", reason));
        let plain = [decision("forward", ""), decision("ask", "")];
        let others = [
            CONTESTED,
            "a lease lapsed",
            "a delivery came again",
            "a publication was sent again",
            append_failed(Disk::Journal),
            append_failed(Disk::Log),
            append_failed(Disk::Spool(0)),
            "a device did not read, and its kernel was full",
            "gateway: events_spooled ",
            "gateway: publishes_parked spool_full",
            "gateway: connects_refused spool_full",
            "gateway: sessions_ended elsewhere",
            "gateway: sessions_ended stale",
        ];
        let outcomes = TRANSFERS.into_iter().map(|outcome| format!("gateway: session_transfers {outcome}"));
        let rare = RARE.into_iter().filter(|_| self.runs >= RARE_BY).map(str::to_owned);
        let all = faults.chain(parks).chain(rejects).chain(plain).chain(others.map(str::to_owned));
        let all = all.chain(outcomes).chain(rare);
        all.filter(|what| !self.happened.contains_key(what)).collect()
    }
}

/// What becomes of sessions that are asked for. All gateways of a run move sessions or none does, of one version and within all bounds:
/// the other outcomes can't occur.
const TRANSFERS: [&str; 10] = [
    "current",
    "kept",
    "left",
    "moved",
    "nobody",
    "owner_dead",
    "superseded",
    "timed_out",
    "undecided",
    "unreachable",
];

/// What occurs once in a few hundred runs: asked for only where there are so many.
const RARE: [&str; 2] = ["gateway: session_transfers elsewhere", "gateway: sessions_given newer"];
const RARE_BY: u64 = 2_000;

/// Two gateways claimed a device, and both were asked.
const CONTESTED: &str = "two gateways were asked about one device";

fn decision(kind: &str, reason: &str) -> String {
    format!("decision: {kind} {reason}").trim_end().to_owned()
}
