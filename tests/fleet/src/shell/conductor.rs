//! The conductor: starts crews and backend side, leads them through the run, and collects what they tell.
//!
//! ```text
//!  connecting ── all online, or patience is over ──→ measured ── its time is over, or stopped ──→ draining
//!                                                                                                    │
//!                                            finished ←── nothing is on its way, or patience is over ┘
//! ```

mod collecting;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use roost_backend::AmqpAddress;
use roost_wire::BootTime;
use tokio::sync::mpsc;

use super::backend_side::BackendSide;
use super::clock;
use super::orders::{Order, Report};
use super::process::Watch;
use super::worker::Worker;
use crate::{
    Books, Check, CheckError, Count, Credentials, Figures, Moment, Plan, PlanError, Records, Summary,
};

/// How long the backend side may take to connect.
const AMQP_PATIENCE: Duration = Duration::from_secs(30);
/// How long devices may take to come online beyond what the connect rate needs.
const CONNECT_PATIENCE: Duration = Duration::from_secs(30);
/// Between the decision to begin and the begin: orders have arrived by then.
const BEFORE_BEGIN: Duration = Duration::from_millis(300);
/// After nothing is on its way any more: what comes twice comes by then, most likely.
const SETTLING: Duration = Duration::from_secs(1);
/// How long crews may take to end.
const END_PATIENCE: Duration = Duration::from_secs(30);
/// A process of devices keeps so many descriptors for other things.
const DESCRIPTORS_KEPT: u32 = 200;
/// The conductor looks around so often.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A moment of the timeline.
const MOMENT: Duration = Duration::from_secs(1);

/// What a run needs beside its plan.
#[derive(Debug, Clone)]
pub struct Options {
    /// What the fleet is to do.
    pub plan: Plan,
    /// The backend side, if there is to be one.
    pub amqp: Option<AmqpAddress>,
    /// What devices say of themselves.
    pub credentials: Credentials,
    /// Commands per second over all devices; needs the backend side.
    pub command_rate: f64,
    /// How many worker processes; none is as many as the descriptors ask for, and a thread of this process if one is enough.
    pub workers: Option<u32>,
    /// How a worker process is started: this program, and what makes it one.
    pub worker_program: (PathBuf, Vec<String>),
    /// Processes to watch, by name.
    pub watch: Vec<(String, u32)>,
    /// Bounds to hold the run against.
    pub checks: Vec<Check>,
}

/// What could not be started, or cannot be meant.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// The plan cannot be meant.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A check names nothing that will be measured.
    #[error("--check: {0}")]
    Check(#[from] CheckError),
    /// The certificates or the name for TLS are not good.
    #[error("{0}")]
    Transport(String),
    /// What devices are to say of themselves cannot be said.
    #[error("{0}")]
    Credentials(String),
    /// The backend side did not connect in time.
    #[error("--amqp: no link to {address} within {} s: {trouble}", AMQP_PATIENCE.as_secs())]
    Amqp {
        /// Where.
        address: Box<AmqpAddress>,
        /// What was wrong last.
        trouble: String,
    },
    /// A crew could not be started.
    #[error("starting a worker: {0}")]
    Worker(#[from] std::io::Error),
}

/// Where a run stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// In words.
    pub phase: &'static str,
    /// Devices.
    pub devices: u32,
    /// The last second.
    pub moment: Moment,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Connecting { until: BootTime },
    Measured { end: BootTime },
    Draining { until: BootTime, quiet_since: Option<BootTime> },
    Finishing { until: BootTime },
}

pub(super) struct Conductor<'a, P> {
    options: &'a Options,
    progress: P,
    start: BootTime,
    phase: Phase,
    workers: Vec<Worker>,
    reports: mpsc::Receiver<(usize, Report)>,
    ended: usize,
    backend: Option<BackendSide>,
    watches: Vec<Watch>,
    /// Of the whole run.
    total: Figures,
    /// Since the last look.
    recent: Figures,
    /// Since the last moment.
    passing: Figures,
    moment_at: BootTime,
    timeline: Vec<Moment>,
    online_max: i64,
    began: Option<(BootTime, u64)>,
    measured: Duration,
    records: BTreeMap<u32, Records>,
    remarks: Vec<String>,
}

impl<'a, P: FnMut(&Progress)> Conductor<'a, P> {
    pub(super) async fn start(options: &'a Options, progress: P) -> Result<Self, FleetError> {
        let plan = &options.plan;
        let backend = match &options.amqp {
            Some(address) => Some(connect(plan, address).await?),
            None => None,
        };
        let start = clock::now() + BEFORE_BEGIN;
        let (tell, reports) = mpsc::channel(64);
        let mut workers = Vec::new();
        let shares = shares(plan.devices, options.workers);
        for (number, (first, devices)) in shares.iter().copied().enumerate() {
            let mut worker = match shares.len() == 1 && options.workers.is_none() {
                true => Worker::here()?,
                false => Worker::process(&options.worker_program.0, &options.worker_program.1)?,
            };
            let credentials = Box::new(options.credentials.of_some(first, devices));
            let plan = Box::new(plan.clone());
            let order = Order::Start { plan, credentials, first, devices, at: start };
            // An error means that it has ended, which its missing reports tell.
            let _ = worker.orders.send(order).await;
            let (_, no_reports) = mpsc::channel(1);
            let mut heard = std::mem::replace(&mut worker.reports, no_reports);
            let tell = tell.clone();
            tokio::spawn(async move {
                while let Some(report) = heard.recv().await {
                    if tell.send((number, report)).await.is_err() {
                        return;
                    }
                }
            });
            workers.push(worker);
        }
        let own = std::iter::once(std::process::id()).chain(workers.iter().filter_map(Worker::pid));
        let mut watches = vec![Watch::new("fleet", own.collect())];
        watches.extend(options.watch.iter().map(|(name, pid)| Watch::new(name.clone(), vec![*pid])));
        Ok(Self {
            options,
            progress,
            start,
            phase: Phase::Connecting { until: start + plan.connecting() + CONNECT_PATIENCE },
            workers,
            reports,
            ended: 0,
            backend,
            watches,
            total: Figures::default(),
            recent: Figures::default(),
            passing: Figures::default(),
            moment_at: start,
            timeline: Vec::new(),
            online_max: 0,
            began: None,
            measured: Duration::ZERO,
            records: BTreeMap::new(),
            remarks: Vec::new(),
        })
    }

    pub(super) async fn conduct(mut self, stop: impl Future<Output = ()>) -> Summary {
        let mut stop = pin!(stop);
        let mut stopped = false;
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        while self.ended < self.workers.len() {
            tokio::select! {
                () = &mut stop, if !stopped => {
                    stopped = true;
                    self.remarks.push("the run was stopped before its time".to_owned());
                    self.cease(clock::now()).await;
                }
                report = self.reports.recv() => match report {
                    Some((_, report)) => self.hear(report),
                    None => {
                        self.remarks.push("a worker ended before its time: its devices are not in the verdict".to_owned());
                        break;
                    }
                },
                _ = looks.tick() => {
                    let now = clock::now();
                    self.look(now);
                    if !self.lead(now).await {
                        break;
                    }
                }
            }
        }
        self.look(clock::now());
        self.summarize().await
    }

    /// Leads into the next phase when it is time; `false` when nothing more will come.
    async fn lead(&mut self, now: BootTime) -> bool {
        match self.phase {
            // Whom the broker does not suit ends, and nobody else would fare better.
            Phase::Connecting { .. } if self.total.of(Count::QosRefused) > 0 => self.cease(now).await,
            Phase::Connecting { until } => {
                if self.total.online >= i64::from(self.options.plan.devices) || now >= until {
                    self.begin(now).await;
                }
            }
            Phase::Measured { end } if now >= end => self.cease(now).await,
            Phase::Measured { .. } => {}
            Phase::Draining { until, quiet_since } => {
                let quiet_since = self.is_quiet().then(|| quiet_since.unwrap_or(now));
                self.phase = Phase::Draining { until, quiet_since };
                if now >= until || quiet_since.is_some_and(|since| now.since(since) >= SETTLING) {
                    self.order(&Order::Finish).await;
                    let until = now + END_PATIENCE + self.options.plan.cleaning_up();
                    self.phase = Phase::Finishing { until };
                }
            }
            Phase::Finishing { until } if now >= until => {
                self.remarks
                    .push("a worker did not end in time: its devices are not in the verdict".to_owned());
                return false;
            }
            Phase::Finishing { .. } => {}
        }
        true
    }

    async fn begin(&mut self, now: BootTime) {
        let missing = i64::from(self.options.plan.devices) - self.total.online;
        if missing > 0 {
            self.remarks.push(format!("{missing} devices were not online when the measured time began"));
        }
        let begin = now + BEFORE_BEGIN;
        let end = begin + self.options.plan.duration();
        self.order(&Order::Begin { at: begin }).await;
        if let Some(backend) = self.backend.as_mut().filter(|_| self.options.command_rate > 0.0) {
            backend.send(self.options.command_rate, begin, end);
        }
        self.watches.iter_mut().for_each(Watch::mark);
        self.began = Some((begin, clock::wall_ms()));
        self.phase = Phase::Measured { end };
    }

    /// The measured time is over.
    async fn cease(&mut self, now: BootTime) {
        if let Phase::Draining { .. } | Phase::Finishing { .. } = self.phase {
            return;
        }
        // At its own end nothing more is due, and what was due and is late still goes out.
        let last = match self.phase {
            Phase::Measured { end } if now >= end => end,
            Phase::Connecting { .. }
            | Phase::Measured { .. }
            | Phase::Draining { .. }
            | Phase::Finishing { .. } => {
                self.order(&Order::Cease).await;
                if let Some(backend) = &mut self.backend {
                    backend.cease();
                }
                now
            }
        };
        self.measured = self.began.map_or(Duration::ZERO, |(begin, _)| last.since(begin));
        let until = now + Duration::from_millis(self.options.plan.drain_ms);
        self.phase = Phase::Draining { until, quiet_since: None };
    }

    /// Whether nothing is on its way any more, as far as anybody can know.
    fn is_quiet(&self) -> bool {
        let total = &self.total;
        let acknowledged = total.of(Count::Acknowledged);
        let echoed = !self.options.plan.echo || total.of(Count::EchoReceived) >= acknowledged;
        let consumed = self.backend.as_ref().is_none_or(|backend| {
            backend.with(|ledger| {
                let confirmed = total.of(Count::CommandConfirmed);
                let sent = total.of(Count::CommandOffered) - total.of(Count::CommandFailed);
                let answered = total.of(Count::AnswerAcknowledged);
                ledger.events_new >= acknowledged
                    && ledger.answers_new >= answered
                    && ledger.receipts_new >= confirmed
                    && confirmed >= sent
            })
        });
        total.in_flight <= 0 && echoed && consumed
    }

    async fn order(&self, order: &Order) {
        for worker in &self.workers {
            // An error means that it has ended, which is noticed elsewhere.
            let _ = worker.orders.send(order.clone()).await;
        }
    }
}

async fn connect(plan: &Plan, address: &AmqpAddress) -> Result<BackendSide, FleetError> {
    let mut backend = BackendSide::start(plan, address);
    match backend.ready(AMQP_PATIENCE).await {
        Ok(()) => Ok(backend),
        Err(trouble) => {
            backend.close().await;
            Err(FleetError::Amqp { address: Box::new(address.clone()), trouble })
        }
    }
}

/// First device and number of devices of each worker: as even as can be.
fn shares(devices: u32, workers: Option<u32>) -> Vec<(u32, u32)> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let limit = limit.map_or(u32::MAX, |limit| u32::try_from(limit).unwrap_or(u32::MAX));
    let each = limit.saturating_sub(DESCRIPTORS_KEPT).max(1);
    let workers = workers.unwrap_or(0).max(devices.div_ceil(each)).clamp(1, devices.max(1));
    let bound = |worker: u32| (u64::from(devices) * u64::from(worker) / u64::from(workers)) as u32;
    (0..workers).map(|worker| (bound(worker), bound(worker + 1) - bound(worker))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_device_has_one_worker() {
        for (devices, workers) in [(1, None), (10, Some(3)), (2, Some(5)), (1_000_000, None), (7, Some(7))] {
            let shares = shares(devices, workers);
            let mut next = 0;
            for (first, many) in &shares {
                assert_eq!(*first, next);
                assert!(*many > 0);
                next += many;
            }
            assert_eq!(next, devices);
        }
        assert_eq!(shares(10, Some(3)).len(), 3);
        assert_eq!(shares(10, None).len(), 1);
    }
}
