//! A fleet of simulated devices inside `roost dev`, and the microservice that hears and commands them.
//!
//! Devices and service are real clients: they reach the mesh through sockets, and know nothing of its inside. What both
//! ends know of each message is in the books, and the verdict is the difference of those sets.

mod books;
mod commands;
mod plan;
mod screen;
mod verdict;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use rand::RngExt as _;
use roost_backend::AmqpAddress;
use roost_fleet::shell::{Crews, Order, Report, now};
use roost_fleet::{Count, Credentials, Figures, Kind, Plan, Span, Stamp};
use roost_wire::{BootTime, Device, DeviceId, Tenant};
use tokio::time::{Interval, MissedTickBehavior};

use super::microservice::{Heard, Microservice};
use books::Books;

pub(crate) use plan::{LONGEST, Wanted};
pub(crate) use screen::{Screen, clock};
pub(crate) use verdict::Verdict;

/// How often it looks what is due.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How often devices are asked what they have.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// Before the first device connects: all crews have heard of it by then.
const BEFORE_BEGIN: Duration = Duration::from_millis(300);
/// How long devices may take to come online beyond what the connect rate needs.
const CONNECT_PATIENCE: Duration = Duration::from_secs(30);
/// Commands without an end; at it the service sends no more until some have ended, so that a mesh that stands still is not
/// buried under what it cannot do.
const OPEN_MAX: usize = 10_000;
/// Commands sent in one look: what was held up goes out over several.
const SENT_PER_LOOK: u32 = 200;
/// What has come is dealt with in one go, up to so much: the rest of the loop has its turn as well.
const HEARD_PER_STEP: usize = 256;
/// Nothing is on its way any more when nothing has come for this long.
const SETTLING: Duration = Duration::from_secs(1);
/// How long devices may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(20);

/// A running demo.
pub(crate) struct Demo {
    plan: Plan,
    command_rate: f64,
    crews: Crews,
    service: Microservice,
    books: Books,
    figures: Figures,
    ended: usize,
    ticks: Interval,
    start: BootTime,
    began: Option<BootTime>,
    ceased: bool,
    asked_at: BootTime,
    /// Commands that were due or skipped.
    commands_due: u32,
    /// How many were sent; device and serial number of those that the broker has not answered, by that number.
    commands_sent: u64,
    unanswered: BTreeMap<u64, (u32, u32)>,
    /// How many each device was sent.
    next: BTreeMap<u32, u32>,
    so_far: Verdict,
    shown: Shown,
}

/// What the lines were drawn from last, for what grew per second.
#[derive(Debug, Default, Clone, Copy)]
struct Shown {
    at: BootTime,
    events: u64,
    commands: u64,
}

/// What the mesh says of itself, for the lines.
#[derive(Debug, Clone, Default)]
pub(crate) struct AtGateways(pub(crate) Vec<(&'static str, Option<u64>)>);

impl Demo {
    /// Connects the service, and then the devices.
    pub(crate) async fn start(
        wanted: &Wanted,
        gateways: Vec<SocketAddr>,
        amqp: &AmqpAddress,
    ) -> anyhow::Result<Self> {
        let plan = wanted.plan(rand::rng().random(), gateways);
        plan.check()?;
        let mut service = Microservice::connect(amqp);
        // What is said before nobody hears.
        service.is_listening().await;
        let program: PathBuf = std::env::current_exe().context("finding this program, to start devices")?;
        let arguments = ["fleet".to_owned(), "--worker".to_owned()];
        let start = now() + BEFORE_BEGIN;
        let crews =
            Crews::start(&plan, &Credentials::default(), wanted.workers(), (&program, &arguments), start)
                .await?;
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Ok(Self {
            command_rate: wanted.command_rate,
            crews,
            service,
            books: Books::new(plan.run),
            figures: Figures::default(),
            ended: 0,
            ticks,
            start,
            began: None,
            ceased: false,
            asked_at: start,
            commands_due: 0,
            commands_sent: 0,
            unanswered: BTreeMap::new(),
            next: BTreeMap::new(),
            so_far: Verdict::default(),
            shown: Shown::default(),
            plan,
        })
    }

    /// When devices began to publish, once all were there.
    pub(crate) fn began(&self) -> Option<BootTime> {
        self.began
    }

    /// How long devices have been publishing.
    pub(crate) fn since_begin(&self) -> Duration {
        self.began.map_or(Duration::ZERO, |began| now().since(began))
    }

    /// A link between gateway, broker and service breaks now.
    pub(crate) fn broken(&mut self) {
        self.books.broken(now());
    }

    /// All links are whole again.
    pub(crate) fn whole(&mut self) {
        self.books.whole(now());
    }

    /// Does what comes next. To be called again and again. Cancel safe.
    pub(crate) async fn step(&mut self) -> anyhow::Result<()> {
        tokio::select! {
            report = self.crews.next(), if self.ended < self.crews.count() => match report {
                Some(report) => self.hear(report),
                None => anyhow::bail!("devices have ended before their time"),
            },
            heard = self.service.next() => match heard {
                Some(heard) => {
                    self.take(heard);
                    for _ in 0..HEARD_PER_STEP {
                        let Some(heard) = self.service.next_at_hand() else { break };
                        self.take(heard);
                    }
                }
                None => anyhow::bail!("the microservice has ended before its time"),
            },
            _ = self.ticks.tick() => self.look().await,
        }
        Ok(())
    }

    fn hear(&mut self, report: Report) {
        match report {
            Report::Figures(figures) if figures.is_whole() => {
                self.books.down.add(figures.latency(Span::Down));
                self.figures.add(&figures);
            }
            // Workers are this program.
            Report::Figures(_) => {}
            Report::Records(records) => self.books.told(records),
            // Connections that a fault prevented are no news here.
            Report::Failures(_) => {}
            Report::Ended => self.ended += 1,
        }
    }

    fn take(&mut self, heard: Heard) {
        match heard {
            Heard::Event(payload) => self.books.event(now(), &payload),
            Heard::Receipt(receipt) => self.books.receipt(&receipt),
            Heard::Taken(number) => {
                if let Some(key) = self.unanswered.remove(&number) {
                    self.books.commands.confirmed(key);
                }
            }
            Heard::NotTaken(number) => {
                if let Some(key) = self.unanswered.remove(&number) {
                    self.books.commands.refused(key);
                }
            }
        }
    }

    async fn look(&mut self) {
        let now = now();
        self.books.turn(now);
        match self.began {
            None => self.begin(now).await,
            Some(began) if !self.ceased => self.send(now, began),
            Some(_) => {}
        }
        if now.since(self.asked_at) >= ASK_EVERY {
            self.asked_at = now;
            self.so_far = self.books.so_far(self.figures.of(Count::CommandOutOfTurn));
            self.crews.order(&Order::Tell).await;
        }
    }

    async fn begin(&mut self, now: BootTime) {
        let late = self.start + self.plan.connecting() + CONNECT_PATIENCE;
        if self.figures.online >= i64::from(self.plan.devices) || now >= late {
            let at = now + BEFORE_BEGIN;
            self.crews.order(&Order::Begin { at }).await;
            self.began = Some(at);
        }
    }

    /// Sends the commands that are due.
    fn send(&mut self, now: BootTime, began: BootTime) {
        for _ in 0..SENT_PER_LOOK {
            let due =
                began + Duration::from_secs_f64(f64::from(self.commands_due) / self.command_rate.max(1e-9));
            if self.command_rate <= 0.0 || due > now {
                return;
            }
            if self.books.commands.open() < OPEN_MAX && !self.command(due) {
                return; // it goes out in the next look, late
            }
            self.commands_due = self.commands_due.saturating_add(1);
        }
    }

    /// Sends the next command to a device that is drawn; `false` if too many are on their way to the broker.
    fn command(&mut self, due: BootTime) -> bool {
        let device = rand::rng().random_range(0..self.plan.devices);
        let number = self.next.get(&device).copied().unwrap_or_default();
        let stamp =
            Stamp { kind: Kind::Command, run: self.plan.run, device, sequence: number, intended: due };
        let id = DeviceId::parse(&self.plan.client_id(device)).expect("the plan's prefix was checked");
        let to = (Device::new(Tenant::default(), id), self.books.id(device, number));
        let payload = stamp.payload(self.plan.traffic.size as usize);
        if self.service.command(self.commands_sent, to, payload).is_err() {
            return false;
        }
        self.unanswered.insert(self.commands_sent, (device, number));
        self.commands_sent += 1;
        self.next.insert(device, number + 1);
        self.books.commands.sent((device, number));
        true
    }

    /// Publishes and sends nothing more, and waits until nothing is on its way, or for so long. Whether nothing
    /// is.
    pub(crate) async fn settle(&mut self, patience: Duration) -> anyhow::Result<bool> {
        self.ceased = true;
        self.crews.order(&Order::Cease).await;
        let until = now() + patience;
        let mut quiet_since = None;
        loop {
            self.step().await?;
            let now = now();
            quiet_since = self.is_quiet().then(|| quiet_since.unwrap_or(now));
            if now >= until || quiet_since.is_some_and(|since| now.since(since) >= SETTLING) {
                return Ok(quiet_since.is_some());
            }
        }
    }

    /// Whether nothing is on its way any more, as far as anybody can know.
    fn is_quiet(&self) -> bool {
        let commands = &self.books.commands;
        let heard = self.books.events_new >= self.figures.of(Count::Acknowledged);
        heard && self.figures.in_flight <= 0 && commands.open() == 0 && self.unanswered.is_empty()
    }

    /// Devices say goodbye and tell all they have; the service hears the rest for as long as `patience`, and closes. An early end
    /// leaves things on their way, which are not lost.
    pub(crate) async fn finish(mut self, is_early: bool, patience: Duration) -> anyhow::Result<Verdict> {
        self.crews.order(&Order::Finish).await;
        let until = now() + GOODBYE;
        while self.ended < self.crews.count() && now() < until {
            self.step().await?;
        }
        // What they said some seconds ago would hide what happened since.
        ensure!(
            self.ended == self.crews.count(),
            "devices do not end, which is a fault of Roost: without them there is no verdict"
        );
        // Only now is each event known that has to come.
        let until = now() + patience;
        while !is_early && !self.books.have_all_events() && now() < until {
            self.step().await?;
        }
        self.service.close().await;
        Ok(self.books.at_the_end(self.plan.devices, self.figures.of(Count::CommandOutOfTurn), is_early))
    }

    /// The lines of the screen.
    pub(crate) fn lines(&mut self, gateways: &AtGateways) -> Vec<String> {
        let now = now();
        let tally = self.books.commands.tally;
        let shown = Shown { at: now, events: self.books.events_heard, commands: tally.sent };
        let earlier = std::mem::replace(&mut self.shown, shown);
        let since_s = now.since(earlier.at).as_secs_f64();
        // Of the first line there is no rate yet.
        let a_second = |now: u64, then: u64| match earlier.at == BootTime::default() {
            true => 0.0,
            false => (now.saturating_sub(then) as f64 / since_s.max(0.001)).round(),
        };
        let ms = |p99: Option<f64>| p99.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms"));
        let at = |(name, many): &(&str, Option<u64>)| match many {
            Some(many) => format!("{name} {many}"),
            None => format!("{name} away"),
        };
        let devices = gateways.0.iter().map(at).collect::<Vec<_>>().join(", ");
        let phase = match self.began {
            None => format!("connecting, {} of {}", self.figures.online.max(0), self.plan.devices),
            Some(began) => clock(now.since(began)),
        };
        vec![
            format!(
                "{phase} · devices {devices} · events {}/s · commands {}/s · p99 up {}, down {}",
                a_second(shown.events, earlier.events),
                a_second(shown.commands, earlier.commands),
                ms(self.books.up.p99_ms()),
                ms(self.books.down.p99_ms()),
            ),
            format!(
                "commands {}: reached one gateway {}, one after the other {}, two at once {}, asked all {}, on their way {}",
                tally.sent,
                tally.one_gateway,
                tally.in_turn,
                tally.at_once,
                tally.asked,
                self.books.commands.open(),
            ),
            format!(
                "lost {} (late {}) · duplicated {} (allowed {}) · receipts delivered {}, otherwise {}",
                self.so_far.lost(),
                self.so_far.events_late,
                self.so_far.duplicated(),
                self.so_far.repeated(),
                tally.delivered,
                tally.told,
            ),
        ]
    }
}
