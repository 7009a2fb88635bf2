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

use super::backend_side::BackendSide;
use super::clock;
use super::crew::REPORT_EVERY;
use super::crews::Crews;
use super::orders::{Order, Report};
use super::process::Watch;
use crate::timeline::Timeline;
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
/// What arrives somewhere.
const ARRIVALS: [Count; 5] = [
    Count::EchoReceived,
    Count::CommandReceived,
    Count::EventReceived,
    Count::AnswerReceived,
    Count::ReceiptReceived,
];
/// How long crews may take to end.
const END_PATIENCE: Duration = Duration::from_secs(30);
/// The conductor looks around so often.
const LOOK_EVERY: Duration = REPORT_EVERY;
/// It tells where it stands so often.
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
    Connecting {
        until: BootTime,
    },
    Measured {
        end: BootTime,
    },
    /// `arrived` is how much had when it looked last.
    Draining {
        until: BootTime,
        quiet_since: Option<BootTime>,
        arrived: u64,
    },
    Finishing {
        until: BootTime,
    },
}

pub(super) struct Conductor<'a, P> {
    options: &'a Options,
    progress: P,
    start: BootTime,
    phase: Phase,
    crews: Crews,
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
    timeline: Timeline,
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
        let program = (options.worker_program.0.as_path(), options.worker_program.1.as_slice());
        let crews = Crews::start(plan, &options.credentials, options.workers, program, start).await?;
        let own = std::iter::once(std::process::id()).chain(crews.pids());
        let mut watches = vec![Watch::new("fleet", own.collect())];
        watches.extend(options.watch.iter().map(|(name, pid)| Watch::new(name.clone(), vec![*pid])));
        Ok(Self {
            options,
            progress,
            start,
            phase: Phase::Connecting { until: start + plan.connecting() + CONNECT_PATIENCE },
            crews,
            ended: 0,
            backend,
            watches,
            total: Figures::default(),
            recent: Figures::default(),
            passing: Figures::default(),
            moment_at: start,
            timeline: Timeline::new(plan.duration()),
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
        // In the middle between two reports of the crews.
        let mut looks = tokio::time::interval_at(clock::instant(self.start) + LOOK_EVERY / 2, LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        while self.ended < self.crews.count() {
            tokio::select! {
                () = &mut stop, if !stopped => {
                    stopped = true;
                    self.remarks.push("the run was stopped before its time".to_owned());
                    self.cease(clock::now()).await;
                }
                report = self.crews.next() => match report {
                    Some(report) => self.hear(report),
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
            Phase::Draining { until, quiet_since, arrived: before } => {
                let arrived = ARRIVALS.iter().map(|count| self.total.of(*count)).sum();
                let is_quiet = self.is_quiet() && arrived == before;
                let quiet_since = is_quiet.then(|| quiet_since.unwrap_or(now));
                self.phase = Phase::Draining { until, quiet_since, arrived };
                if now >= until || quiet_since.is_some_and(|since| now.since(since) >= SETTLING) {
                    self.crews.order(&Order::Finish).await;
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
        self.crews.order(&Order::Begin { at: begin }).await;
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
                self.crews.order(&Order::Cease).await;
                if let Some(backend) = &mut self.backend {
                    backend.cease();
                }
                now
            }
        };
        self.measured = self.began.map_or(Duration::ZERO, |(begin, _)| last.since(begin));
        let until = now + Duration::from_millis(self.options.plan.drain_ms);
        self.phase = Phase::Draining { until, quiet_since: None, arrived: 0 };
    }

    /// Whether nothing is on its way any more, as far as sums tell. They tell too much after connections were cut: what arrived and
    /// was never acknowledged stands in for what was acknowledged and has not arrived. So arrivals must have ceased as well.
    fn is_quiet(&self) -> bool {
        let total = &self.total;
        let acknowledged = total.of(Count::Acknowledged);
        let echoed = !self.options.plan.is_heard() || total.of(Count::EchoReceived) >= acknowledged;
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
