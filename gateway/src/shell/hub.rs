//! What the gateway has once, however many shards: its links to the backend and the router, its spool and its store.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use roost_backend::contract;
use roost_backend::shell::{Consumer, Delivered, DeliveryToken, Published};
use roost_log::LogStatus;
use roost_ops::{Readiness, now};
use roost_wire::mesh::Report as _;
use roost_wire::{BootTime, ControlReport, Delivery, Device, LinkId, Now, SessionArrival, SettlementItem};
use tokio::sync::Notify;

use super::links::Links;
use super::metrics::{ShellCounters, Snapshot};
use super::outbox::Outbox;
use super::pumps::Side;
use super::spool::Disk;
use super::store::{SharedStore, StoreDisk};
use super::telling::Telling;
use crate::link::{FromShard, Link, LinkInput, LinkOutput};
use crate::shard::{Backend, Input, Output};
use crate::spool::{Spool, SpoolInput, SpoolOutput};
use crate::{
    BroadcastNumber, BroadcastsGiven, Count, Counters, Placement, PublishOrigin, PublishOutcome,
    PublishToken, ShardIndex,
};

/// It runs on the first shard's thread.
pub(super) struct Hub {
    shards: u16,
    link: Link,
    pub(super) uplink: Outbox,
    pub(super) mesh: Outbox,
    pub(super) spool: Option<(Spool, Disk)>,
    pub(super) store: Option<SharedStore>,
    /// Answers broadcasts.
    pub(super) consumer: Option<Rc<Consumer>>,
    next_broadcast: u64,
    /// Broadcasts of the present link that not all shards have taken: no more than the broker sends ahead.
    broadcasts: BTreeMap<BroadcastNumber, DeliveryToken>,
    /// These, and those of earlier links.
    broadcasts_given: BroadcastsGiven,
    /// What the spool's log said last.
    pub(super) spool_status: LogStatus,
    /// Woken in a drain when everything that was said to the router is confirmed.
    pub(super) settled: Rc<Notify>,
    /// Woken when a mark of the spool is written.
    pub(super) marked: Rc<Notify>,
    is_draining: bool,
    /// Counted by those who carry their events.
    pub(super) links: Links,
    readiness: Readiness,
    counters: Counters,
    unreadable: u64,
    /// What the shards are to be told.
    told: VecDeque<(ShardIndex, Input)>,
}

impl Hub {
    pub(super) fn new(
        shards: u16,
        link: Link,
        (uplink, mesh): (Outbox, Outbox),
        readiness: Readiness,
    ) -> Self {
        Self {
            shards,
            link,
            uplink,
            mesh,
            spool: None,
            store: None,
            consumer: None,
            next_broadcast: 0,
            broadcasts: BTreeMap::new(),
            broadcasts_given: BroadcastsGiven::new(shards),
            spool_status: LogStatus::default(),
            settled: Rc::default(),
            marked: Rc::default(),
            is_draining: false,
            links: Links::new(),
            readiness,
            counters: Counters::default(),
            unreadable: 0,
            told: VecDeque::new(),
        }
    }

    /// There is a spool: events may go there from now on.
    pub(super) fn has_spool(&mut self, core: Spool, disk: Disk) {
        let state = core.gauges().state;
        self.spool = Some((core, disk));
        self.spool_input(SpoolInput::Tick);
        self.tell_all(|| Input::Spool(state));
    }

    /// There is a store, as the shards were told before anything else.
    pub(super) fn has_store(&mut self, disk: StoreDisk) {
        self.store = Some(SharedStore::new(disk, self.shards));
    }

    /// The store can't be written, and why, or can again.
    pub(super) fn store_is_stuck(&mut self, why: Option<String>) {
        let is_stuck = why.is_some();
        Telling::store(why, &self.readiness);
        self.tell_all(|| Input::StoreStuck { is_stuck });
    }

    /// The publisher of events or of reports is up, away or blocked.
    pub(super) fn backend(&mut self, side: Side, backend: Backend) {
        match side {
            Side::Uplink => {
                self.tell_all(|| Input::Backend(backend));
                self.spool_input(SpoolInput::Backend(backend));
            }
            Side::Mesh => self.link.handle(now(), LinkInput::Backend(backend)),
        }
    }

    /// Outcomes of publications, as many as are at hand.
    pub(super) fn published(&mut self, outcomes: impl IntoIterator<Item = (u64, Published)>) {
        let now = now();
        for (token, outcome) in outcomes {
            let token = PublishToken(token);
            let outcome = match outcome {
                Published::Confirmed => PublishOutcome::Confirmed,
                Published::Returned { .. } => PublishOutcome::Returned,
                Published::Nacked => PublishOutcome::Nacked,
                Published::Lost => PublishOutcome::Lost,
                Published::Refused { reason } => {
                    tracing::warn!(%reason, "AMQP cannot carry a message; it counts as refused");
                    PublishOutcome::Nacked
                }
            };
            match token.origin() {
                PublishOrigin::Link => self.link.handle(now, LinkInput::Published { token, outcome }),
                PublishOrigin::Shard(shard) => self.tell(shard, Input::Published { token, outcome }),
                PublishOrigin::Spool => {
                    if let Some((spool, _)) = &mut self.spool {
                        spool.handle(now, SpoolInput::Published { token, outcome });
                    }
                }
            }
        }
        self.uplink.push();
        self.mesh.push();
    }

    pub(super) fn link_up(&mut self, link: LinkId, inbox: String, control: String, broadcasts: &str) {
        self.tell_all(|| Input::BroadcastsLink { queue: Some(broadcasts.to_owned()) });
        self.link.handle(now(), LinkInput::Up { link, inbox, control });
    }

    pub(super) fn link_down(&mut self, link: LinkId) {
        // Its queues are gone, and nothing of them can be acknowledged any more.
        self.broadcasts.clear();
        self.tell_all(|| Input::BroadcastsLink { queue: None });
        self.link.handle(now(), LinkInput::Down { link });
    }

    /// Commands and sessions, from the inbox of this link.
    pub(super) fn inbox(&mut self, link: LinkId, delivered: &Delivered) {
        if SessionArrival::is_in(&delivered.message) {
            return self.session(delivered);
        }
        match Delivery::from_message(&delivered.message) {
            Ok(delivery) => {
                Telling::command(&delivery);
                let shard = self.shard_of(&delivery.device);
                self.tell(shard, Input::Delivery { link, delivery: Box::new(delivery) });
            }
            Err(error) => {
                self.unreadable += 1;
                tracing::warn!(%error, "dropped a message from the inbox");
            }
        }
    }

    /// A session that a device had elsewhere, from an inbox.
    fn session(&mut self, delivered: &Delivered) {
        match SessionArrival::from_message(&delivered.message) {
            Ok(arrival) => {
                let shard = self.shard_of(&arrival.device);
                self.tell(shard, Input::Session(Box::new(arrival)));
            }
            Err(error) => {
                self.unreadable += 1;
                tracing::warn!(%error, "dropped a message from the inbox");
            }
        }
    }

    /// A broadcast, from the present link's queue of them.
    pub(super) fn broadcast(&mut self, delivered: Delivered) {
        let number = BroadcastNumber(self.next_broadcast);
        self.next_broadcast += 1;
        self.broadcasts.insert(number, delivered.token);
        self.broadcasts_given.give(number);
        let message = Box::new(delivered.message);
        for shard in 1..self.shards {
            self.tell(ShardIndex(shard), Input::Broadcast { number, message: message.clone() });
        }
        self.tell(ShardIndex(0), Input::Broadcast { number, message });
    }

    /// A broadcast that the present link's queue of them has lost.
    pub(super) fn broadcast_missed(&mut self, delivered: &Delivered) {
        let has_expired = contract::has_expired(&delivered.message);
        self.tell(ShardIndex(0), Input::BroadcastMissed { has_expired });
    }

    /// A shard has taken a broadcast: the last one acknowledges it.
    fn broadcast_taken(&mut self, number: BroadcastNumber, outcome: Option<Count>) {
        let Some(outcome) = self.broadcasts_given.taken(number, outcome) else { return };
        outcome.iter().for_each(|outcome| self.counters.add(*outcome));
        if let (Some(token), Some(consumer)) = (self.broadcasts.remove(&number), &self.consumer) {
            consumer.ack(token);
        }
    }

    /// A report, from the control queue of this link.
    pub(super) fn control(&mut self, link: LinkId, delivered: &Delivered) {
        match ControlReport::from_body(&delivered.message.body) {
            Ok(report) => self.link.handle(now(), LinkInput::Control { link, report }),
            Err(error) => {
                self.unreadable += 1;
                tracing::warn!(%error, "dropped a message from the control queue");
            }
        }
    }

    /// Whether the router has, or will get, everything that was said to it.
    pub(super) fn is_settled(&self) -> bool {
        self.link.is_settled()
    }

    pub(super) fn drain(&mut self) {
        self.is_draining = true;
        self.link.handle(now(), LinkInput::Drain);
    }

    /// Something happened to the spool.
    pub(super) fn spool_input(&mut self, input: SpoolInput) {
        if let Some((spool, _)) = &mut self.spool {
            spool.handle(now(), input);
        }
    }

    pub(super) fn tick(&mut self, now: Now) {
        self.link.handle(now, LinkInput::Tick);
        if let Some((spool, _)) = &mut self.spool {
            spool.handle(now, SpoolInput::Tick);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<BootTime> {
        let spool = self.spool.as_ref().and_then(|(spool, _)| spool.poll_timeout());
        [self.link.poll_timeout(), spool].into_iter().flatten().min()
    }

    /// Its part of what the gateway counts.
    pub(super) fn snapshot(&self) -> Snapshot {
        let mut counters = self.counters.clone();
        counters.add_all(self.link.counters());
        if let Some((spool, _)) = &self.spool {
            counters.add_all(spool.counters());
        }
        Snapshot {
            counters,
            links: self.links.counts(),
            shell: ShellCounters::of_unreadable(self.unreadable),
            publishers: vec![("uplink", self.uplink.figures()), ("mesh", self.mesh.figures())],
            spool: self.spool.as_ref().map(|(spool, _)| spool.gauges()).unwrap_or_default(),
            spool_log: self.spool_status.clone(),
            store: self.store.as_ref().map(SharedStore::status).unwrap_or_default(),
            lease_left: self.link.lease_until().map_or(Duration::ZERO, |until| until.since(now().boot)),
            ..Snapshot::default()
        }
    }

    /// A shard asks for this.
    pub(super) fn asked(&mut self, now: Now, shard: ShardIndex, output: Output) {
        match output {
            Output::Publish(publication) => self.uplink.publish(*publication),
            Output::Spool { number, event, exchange, order } => {
                self.spool_input(SpoolInput::Store { shard, number, event, exchange, order });
            }
            Output::Store(batch) => {
                if let Some(store) = &mut self.store {
                    store.write(shard, *batch);
                }
            }
            Output::ReadSession { device, prefix } => {
                if let Some(store) = &mut self.store {
                    store.disk.read(device, prefix);
                }
            }
            Output::BroadcastTaken { number, outcome } => self.broadcast_taken(number, outcome),
            Output::Link(word) => {
                if let FromShard::Settlement(SettlementItem::Settled(settlement)) = &word {
                    Telling::settlement(settlement);
                }
                self.link.handle(now, LinkInput::FromShard { shard, word });
            }
            Output::Write { .. }
            | Output::Close { .. }
            | Output::PauseReading { .. }
            | Output::ResumeReading { .. }
            | Output::HandOver { .. }
            | Output::Shard { .. }
            | Output::Notice(_)
            | Output::Trace(_)
            | Output::Drained => debug_assert!(false, "that is done in the shard's own thread: {output:?}"),
        }
    }

    /// Does all that its cores ask for, and gives what a shard is to be told next.
    pub(super) fn poll_told(&mut self) -> Option<(ShardIndex, Input)> {
        loop {
            if let Some(told) = self.told.pop_front() {
                return Some(told);
            }
            let mut is_quiet = true;
            while let Some(output) = self.spool.as_mut().and_then(|(spool, _)| spool.poll_output()) {
                is_quiet = false;
                self.spool_asks(output);
            }
            while let Some(output) = self.link.poll_output() {
                is_quiet = false;
                self.link_asks(output);
            }
            if is_quiet {
                break;
            }
        }
        if self.is_draining && self.is_settled() {
            self.settled.notify_one();
        }
        None
    }

    pub(super) fn tell(&mut self, shard: ShardIndex, input: Input) {
        self.told.push_back((shard, input));
    }

    pub(super) fn tell_all(&mut self, input: impl Fn() -> Input) {
        self.told.extend((0..self.shards).map(|shard| (ShardIndex(shard), input())));
    }

    pub(super) fn shard_of(&self, device: &Device) -> ShardIndex {
        Placement::new(ShardIndex(0), self.shards).shard_of(device)
    }

    fn spool_asks(&mut self, output: SpoolOutput) {
        let Some((_, disk)) = &mut self.spool else { return };
        match output {
            SpoolOutput::Append(record) => disk.append(record),
            SpoolOutput::Read { from, to } => disk.read(from, to),
            SpoolOutput::Mark { covers, record } => disk.mark(covers, record),
            SpoolOutput::Forget { up_to } => disk.forget(up_to),
            SpoolOutput::Publish(publication) => self.uplink.publish(*publication),
            SpoolOutput::Safe { shard, numbers } => self.tell(shard, Input::Spooled { numbers }),
            SpoolOutput::State(state) => {
                Telling::spool(state, &self.readiness, self.spool_status.stuck.as_deref());
                self.tell_all(|| Input::Spool(state));
            }
            SpoolOutput::Unreadable { number, why } => {
                tracing::error!(number, %why, "an event of the spool is passed over: another build wrote it");
            }
        }
    }

    fn link_asks(&mut self, output: LinkOutput) {
        match output {
            LinkOutput::Publish(publication) => self.mesh.publish(*publication),
            LinkOutput::ToShard { shard, word } => self.tell(shard, Input::Link(word)),
            LinkOutput::Superseded { by } => {
                // A balancer sends devices to the one that is believed.
                self.readiness
                    .not_ready("gateway id", format!("another process has this id: incarnation {by}"));
                tracing::error!(
                    %by,
                    "another process has this gateway's id, and the router believes that one: stop one of the two, and restart \
                     this one if it is to stay"
                );
            }
        }
    }
}
