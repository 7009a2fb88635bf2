//! What the conductor makes of what it hears.

use super::{Books, Conductor, LOOK_EVERY, MOMENT, Moment, Phase, Progress, Report, Summary};
use crate::shell::backend_side::Ledger;
use crate::{Count, Verdict};
use roost_wire::BootTime;

/// Above this the fleet may measure itself.
const CPU_SHARE_MAX: f64 = 0.8;

impl<P: FnMut(&Progress)> Conductor<'_, P> {
    pub(super) fn hear(&mut self, report: Report) {
        match report {
            Report::Figures(figures) if figures.is_whole() => self.recent.add(&figures),
            Report::Figures(_) => {
                self.remarks.push("a worker is of another build, and its figures are not used".to_owned());
            }
            Report::Records(records) => {
                self.records.extend(records.into_iter().map(|records| (records.device, records)));
            }
            Report::Failures(failures) => {
                for (kind, many) in failures {
                    self.remarks.push(format!("{many} {kind}"));
                }
            }
            Report::Ended => self.ended += 1,
        }
    }

    /// Adds up what came since the last look, and makes a moment of it when it is time for one.
    pub(super) fn look(&mut self, now: BootTime) {
        if let Some(backend) = &self.backend {
            backend.with(|ledger| {
                self.recent.add(&ledger.figures);
                ledger.figures.clear();
            });
        }
        self.total.add(&self.recent);
        self.online_max = self.online_max.max(self.total.online);
        self.passing.add(&self.recent);
        self.recent.clear();
        // A look comes a little late, always: it is not to wait for one more.
        if now.since(self.moment_at) >= MOMENT - LOOK_EVERY / 2 {
            self.make_moment(now);
        }
    }

    fn make_moment(&mut self, now: BootTime) {
        let measured = match self.phase {
            Phase::Measured { .. } => self.began.is_some_and(|(begin, _)| begin <= now),
            Phase::Connecting { .. } | Phase::Draining { .. } | Phase::Finishing { .. } => false,
        };
        let mut moment = Moment {
            at_s: now.since(self.start).as_secs_f64(),
            lasted_s: now.since(self.moment_at).as_secs_f64(),
            measured,
            online: self.total.online,
            counts: Summary::counts_of(&self.passing),
            latencies: Summary::latencies_of(&self.passing),
            ..Moment::default()
        };
        for watch in &mut self.watches {
            // What the fleet does after the measured time is no part of its usage.
            let look = if matches!(self.phase, Phase::Finishing { .. }) { None } else { watch.look() };
            if let Some((cpu_cores, rss_bytes, anonymous_bytes)) = look {
                moment.cpu_cores.insert(watch.name.clone(), cpu_cores);
                moment.rss_bytes.insert(watch.name.clone(), rss_bytes);
                moment.anonymous_bytes.insert(watch.name.clone(), anonymous_bytes);
            }
        }
        self.timeline.add(&moment, &self.passing);
        self.passing.clear();
        self.moment_at = now;
        let phase = match self.phase {
            Phase::Connecting { .. } => "connecting",
            Phase::Measured { .. } => "measuring",
            Phase::Draining { .. } => "draining",
            Phase::Finishing { .. } => "finishing",
        };
        let devices = self.options.plan.devices;
        (self.progress)(&Progress { phase, devices, moment });
    }

    pub(super) async fn summarize(mut self) -> Summary {
        let ledger = match self.backend.take() {
            Some(backend) => Some(backend.close().await),
            None => None,
        };
        if let Some(ledger) = &ledger {
            self.total.add(&ledger.figures);
        }
        let has_backend = ledger.is_some();
        let books = self.books(ledger.unwrap_or_default(), has_backend);
        let plan = &self.options.plan;
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
        let mut usages = self.watches.iter().map(|watch| (watch.name.clone(), watch.usage()));
        let (_, fleet) = usages.next().expect("the fleet watches itself");
        let watched = usages.collect();
        if fleet.cpu_cores > CPU_SHARE_MAX * f64::from(cores) {
            self.remarks
                .push("the fleet took most of the machine: its latencies are its own in part".to_owned());
        }
        if self.total.of(Count::SessionLeft) > 0 {
            let left = self.total.of(Count::SessionLeft);
            self.remarks.push(format!("{left} sessions could not be removed and may still be at the broker"));
        }
        let of = |count| self.total.of(count);
        if plan.traffic.qos == 2
            && of(Count::Published) > 0
            && of(Count::Acknowledged) == 0
            && of(Count::ConnectionLost) > 0
        {
            self.remarks.push(
                "no message of QoS 2 was acknowledged, and connections were lost: the broker may refuse it, which MQTT 3.1.1 \
                cannot say"
                    .to_owned(),
            );
        }
        if self.total.of(Count::AmqpLost) > 0 && !plan.durable_queues {
            self.remarks.push(
                "an AMQP link was lost, and the fleet's queue with it: events may be missing for no fault of the mesh"
                    .to_owned(),
            );
        }
        Summary {
            version: Summary::VERSION,
            plan: plan.clone(),
            command_rate: has_backend.then_some(self.options.command_rate),
            began_at_ms: self.began.map_or(0, |(_, wall_ms)| wall_ms),
            measured_s: self.measured.as_secs_f64().max(0.001),
            cores,
            workers: self.crews.count() as u32,
            online_max: self.online_max,
            counts: Summary::counts_of(&self.total),
            latencies: Summary::latencies_of(&self.total),
            verdict: Verdict::of(plan, &books),
            fleet,
            watched,
            timeline: self.timeline.into_moments(),
            checks: Vec::new(),
            remarks: self.remarks,
        }
    }

    fn books(&mut self, ledger: Ledger, has_backend: bool) -> Books {
        let missing = self.options.plan.devices as usize - self.records.len();
        if missing > 0 {
            self.remarks
                .push(format!("{missing} devices did not tell what they have: they are not in the verdict"));
        }
        Books {
            devices: std::mem::take(&mut self.records),
            events: has_backend.then_some(ledger.events),
            confirmed: ledger.confirmed,
            receipts: ledger.receipts,
            delivered: ledger.delivered,
            answers: ledger.answers,
        }
    }
}
