//! The devices of one thread.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use roost_wire::BootTime;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use super::clock;
use super::device_task::DeviceTask;
use super::logins::Logins;
use super::orders::{Order, Report};
use super::socket::Connector;
use crate::{Count, Device, Effects, Figures, Plan, Records, Weights};

/// How often a crew tells its figures.
pub(super) const REPORT_EVERY: Duration = Duration::from_millis(250);
/// One read takes so much at most: what a broker sends a device in a burst.
const BUFFER_BYTES: usize = 64 * 1024;
/// Records in one report.
const RECORDS_PER_REPORT: usize = 500;
/// Different reasons that are told apart.
const REASONS_MAX: usize = 20;
/// How long devices may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(10);

/// A crew of devices, all in the calling thread.
#[derive(Debug)]
pub struct Crew;

/// What the devices of a crew share.
pub(super) struct Post {
    pub(super) plan: Plan,
    pub(super) weights: Weights,
    pub(super) connector: Connector,
    pub(super) logins: Logins,
    pub(super) effects: RefCell<Effects>,
    pub(super) buffer: RefCell<Box<[u8]>>,
    orders: Cell<u8>,
    begin: Cell<Option<BootTime>>,
    /// How often devices were asked what they know.
    asked: Cell<u32>,
    /// Whom an order wakes, by seat.
    bells: RefCell<Vec<Option<Waker>>>,
    records: RefCell<Vec<Records>>,
    /// What went wrong, and how often.
    failures: RefCell<BTreeMap<String, u64>>,
}

impl Post {
    pub(super) const BEGUN: u8 = 1;
    pub(super) const CEASED: u8 = 2;
    pub(super) const FINISHED: u8 = 4;

    pub(super) fn orders(&self) -> (u8, Option<BootTime>) {
        (self.orders.get(), self.begin.get())
    }

    /// How often devices were asked to hand in their records.
    pub(super) fn asked(&self) -> u32 {
        self.asked.get()
    }

    pub(super) fn source(&self, device: u32) -> Option<IpAddr> {
        let sources = &self.plan.sources;
        (!sources.is_empty()).then(|| sources[device as usize % sources.len()])
    }

    pub(super) fn listen(&self, seat: usize, waker: &Waker) {
        let bell = &mut self.bells.borrow_mut()[seat];
        if !bell.as_ref().is_some_and(|bell| bell.will_wake(waker)) {
            *bell = Some(waker.clone());
        }
    }

    pub(super) fn hand_in(&self, records: Records) {
        self.records.borrow_mut().push(records);
    }

    pub(super) fn note_failure(&self, error: &io::Error) {
        let reason = match error.get_ref() {
            Some(inner) => inner.to_string(),
            None => error.kind().to_string(),
        };
        self.note_trouble(format!("connections could not be made: {reason}"));
    }

    /// What is remarked at the end, with how often it was.
    pub(super) fn note_trouble(&self, reason: String) {
        let mut failures = self.failures.borrow_mut();
        let is_room = failures.len() < REASONS_MAX || failures.contains_key(&reason);
        let reason = if is_room { reason } else { "troubles of other kinds".to_owned() };
        *failures.entry(reason).or_default() += 1;
    }

    fn order(&self, order: u8) {
        self.orders.set(self.orders.get() | order);
        self.ring();
    }

    /// Asks every device for its records, unless some of the last answer are still here.
    fn ask(&self) {
        if self.records.borrow().is_empty() {
            self.asked.set(self.asked.get().wrapping_add(1));
            self.ring();
        }
    }

    /// As many records as one report takes; `None` if there are none.
    fn take_records(&self) -> Option<Vec<Records>> {
        let mut records = self.records.borrow_mut();
        let many = records.len().min(RECORDS_PER_REPORT);
        // The oldest first: what a device says later stands.
        (many > 0).then(|| records.drain(..many).collect())
    }

    fn ring(&self) {
        for bell in self.bells.borrow().iter().flatten() {
            bell.wake_by_ref();
        }
    }

    fn take_figures(&self) -> Option<Box<Figures>> {
        let mut effects = self.effects.borrow_mut();
        (effects.figures != Figures::default()).then(|| Box::new(std::mem::take(&mut effects.figures)))
    }
}

impl Crew {
    /// Runs a crew until it is told to finish, or its orders end; the first order must be [`Order::Start`]. Needs a runtime of
    /// one thread. When `reports` is full, figures wait and add up.
    pub async fn run(mut orders: mpsc::Receiver<Order>, reports: mpsc::Sender<Report>) {
        let Some(Order::Start { plan, credentials, first, devices, at }) = orders.recv().await else {
            return;
        };
        // Whoever leads a crew has tried this before.
        let Ok(connector) = Connector::new(&plan.transport) else { return };
        let Ok(logins) = Logins::new(&credentials, &plan, first + devices - 1) else { return };
        drop(credentials);
        let post = Rc::new(Post {
            logins,
            connector,
            weights: Weights::new(plan.devices, plan.traffic.zipf),
            plan: *plan,
            effects: RefCell::default(),
            buffer: RefCell::new(vec![0; BUFFER_BYTES].into_boxed_slice()),
            orders: Cell::new(0),
            begin: Cell::new(None),
            asked: Cell::new(0),
            bells: RefCell::new(vec![None; devices as usize]),
            records: RefCell::default(),
            failures: RefCell::default(),
        });
        LocalSet::new()
            .run_until(async {
                let mut tasks = tokio::task::JoinSet::new();
                for seat in 0..devices {
                    let device = Device::new(&post.plan, first + seat, at);
                    tasks.spawn_local(DeviceTask::new(Rc::clone(&post), seat as usize, device));
                }
                follow(&post, at, &mut orders, &reports).await;
                let goodbye = async { while tasks.join_next().await.is_some() {} };
                let patience = GOODBYE + post.plan.cleaning_up();
                if tokio::time::timeout(patience, goodbye).await.is_err()
                    && !post.plan.cleaning_up().is_zero()
                {
                    let left = tasks.len() as u64;
                    post.effects.borrow_mut().figures.count_many(Count::SessionLeft, left);
                }
            })
            .await;
        tell_all(&post, &reports).await;
    }
}

async fn follow(
    post: &Post,
    start: BootTime,
    orders: &mut mpsc::Receiver<Order>,
    reports: &mpsc::Sender<Report>,
) {
    // All crews tell at the same moments: as many reports of each fall into one second as into any other.
    let mut ticks = tokio::time::interval_at(clock::instant(start), REPORT_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Begin { at }) => {
                    post.begin.set(Some(at));
                    post.order(Post::BEGUN);
                }
                Some(Order::Tell) => post.ask(),
                Some(Order::Cease) => post.order(Post::CEASED),
                Some(Order::Start { .. }) => {}
                Some(Order::Finish) | None => return post.order(Post::FINISHED),
            },
            _ = ticks.tick() => {
                // Reserved first: what finds no room stays where it adds up.
                if let Ok(room) = reports.try_reserve() && let Some(figures) = post.take_figures() {
                    room.send(Report::Figures(figures));
                }
                while let Ok(room) = reports.try_reserve() && let Some(records) = post.take_records() {
                    room.send(Report::Records(records));
                }
            }
        }
    }
}

async fn tell_all(post: &Post, reports: &mpsc::Sender<Report>) {
    // An error means that nobody wants to know any more.
    if let Some(figures) = post.take_figures() {
        let _ = reports.send(Report::Figures(figures)).await;
    }
    while let Some(records) = post.take_records() {
        let _ = reports.send(Report::Records(records)).await;
    }
    let failures = post.failures.take();
    if !failures.is_empty() {
        let _ = reports.send(Report::Failures(failures)).await;
    }
    let _ = reports.send(Report::Ended).await;
}
