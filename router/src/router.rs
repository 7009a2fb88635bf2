//! The whole router: a plain state machine. This file holds its state and the ways in and out; each kind of thing that can happen
//! has a file of its own.

mod answers;
mod contests;
mod dead_letter;
mod expiry;
mod explain;
mod gauges;
mod intake;
mod leases;
mod offer;
mod publications;
mod questions;
mod receipts;
mod rivals;
mod run;
mod settlements;
mod sightings;
mod supersede;
mod syncs;
#[cfg(test)]
mod tests;
mod tracing;
mod transfers;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub use gauges::{GatewayGauges, Gauges};
use publications::Publications;
use roost_backend::contract;
use roost_wire::{
    BootTime, Device, GatewayId, Now, RouterRun, SessionHandOver, ShardId, TraceContext, WallTime,
};

use syncs::EarlySync;

use crate::custody::Mailbox;
use crate::gateway::Gateway;
use crate::journal::{Journal, Record};
use crate::location::Locations;
use crate::question::Questions;
use crate::timeline::Timelines;
use crate::timers::{Timer, Timers};
use crate::trace::Traces;
use crate::transfer::Transfers;
use crate::{Counters, Input, Limits, Lsn, Output, Queue};

/// The router's core. Feed it inputs with the time; after each, drain [`RouterCore::poll_output`] and perform what it gives.
#[derive(Debug)]
pub struct RouterCore {
    shard: ShardId,
    limits: Limits,
    journal: Journal,
    /// The journal's own number.
    id: u32,
    /// This run; before it has begun, the last one of the journal.
    run: RouterRun,
    /// The record of this run: nothing is said to a gateway, and nothing forwarded, before it is durable.
    run_lsn: Lsn,
    /// The newest run that a gateway has spoken of.
    heard: RouterRun,
    last: Lsn,
    /// The newest record that sightings have led to. No later sighting is acknowledged, and no device's coming or going told, before
    /// it is durable.
    sighted: Lsn,
    durable: Lsn,
    outputs: VecDeque<Output>,
    /// What is said once a record is durable. Bounded by the commands in custody and what the queues' prefetch lets in.
    gated: BTreeMap<Lsn, Vec<Output>>,
    /// Commands whose record is not durable yet, in order.
    unsafe_yet: VecDeque<(Lsn, u64)>,
    /// Devices with a command that takes the place of others, once the ends of those are durable; in order. Bounded by the commands in
    /// custody.
    behind: VecDeque<(Lsn, Device)>,
    timers: Timers,
    locations: Locations,
    gateways: BTreeMap<GatewayId, Gateway>,
    /// Gateways that may hold commands of the run before.
    recovering: BTreeSet<GatewayId>,
    /// Syncs of runs that no sighting has named yet. Bounded like the gateways.
    early_syncs: BTreeMap<GatewayId, EarlySync>,
    questions: Questions,
    /// Sessions that gateways have asked for.
    transfers: Transfers,
    /// Devices with commands in custody: bounded by those.
    mailboxes: BTreeMap<Device, Mailbox>,
    publications: Publications,
    /// Commands whose answer is being published, each with the id of the message it came in. Bounded by the prefetch of the
    /// settlement queue.
    answering: BTreeMap<u64, Box<str>>,
    epochs: u64,
    markers: u64,
    is_paused: bool,
    counters: Counters,
    timelines: Timelines,
    traces: Traces,
}

impl RouterCore {
    /// Takes custody of what was replayed: `journal` has every record applied, `last` is the number of the last one in the log
    /// ([`Lsn::ZERO`] if there is none), `entropy` is 64 random bits (the journal's own number is drawn from it, once).
    ///
    /// Commands are taken from here on; to the gateways nothing is said before [`RouterCore::begin_run`].
    #[must_use]
    pub fn open(now: Now, shard: ShardId, limits: Limits, journal: Journal, last: Lsn, entropy: u64) -> Self {
        let id = journal.id().unwrap_or((entropy >> 32) as u32 ^ entropy as u32);
        let mut core = Self::bare(shard, limits, journal, last, id);
        if core.journal.id().is_none() {
            // The first command's id has the journal's number in it.
            core.record(Record::RunStarted { run: core.run, journal: id });
        }
        core.know_gateways(now);
        core.fill_mailboxes(now);
        core.publish_owed();
        if core.is_recovered() {
            core.recovered(now);
        }
        core
    }

    /// [`RouterCore::open`] and [`RouterCore::begin_run`] at once, for who has the shard for itself.
    #[must_use]
    pub fn start(
        now: Now,
        shard: ShardId,
        limits: Limits,
        journal: Journal,
        last: Lsn,
        entropy: u64,
    ) -> Self {
        let id = journal.id().unwrap_or((entropy >> 32) as u32 ^ entropy as u32);
        let mut core = Self::bare(shard, limits, journal, last, id);
        core.begin_run(now);
        core
    }

    fn bare(shard: ShardId, limits: Limits, journal: Journal, last: Lsn, id: u32) -> Self {
        Self {
            shard,
            id,
            locations: Locations::new(limits.locations_max, limits.contests_max),
            timelines: Timelines::new(limits.timelines_max),
            limits,
            run: journal.run(),
            journal,
            run_lsn: run::NOT_BEGUN,
            heard: RouterRun::default(),
            last,
            sighted: Lsn::ZERO,
            durable: last,
            outputs: VecDeque::new(),
            gated: BTreeMap::new(),
            unsafe_yet: VecDeque::new(),
            behind: VecDeque::new(),
            timers: Timers::default(),
            gateways: BTreeMap::new(),
            recovering: BTreeSet::new(),
            early_syncs: BTreeMap::new(),
            questions: Questions::default(),
            transfers: Transfers::default(),
            mailboxes: BTreeMap::new(),
            publications: Publications::default(),
            answering: BTreeMap::new(),
            epochs: 0,
            markers: 0,
            is_paused: false,
            counters: Counters::default(),
            traces: Traces::default(),
        }
    }

    /// Takes in one thing that happened.
    pub fn handle(&mut self, now: Now, input: Input) {
        match input {
            Input::Delivered { queue, source, message } => match queue {
                Queue::Commands => self.command_came(now, source, message),
                Queue::Expired => self.expired_came(now, source, message),
                Queue::Sightings => {
                    let before = self.last;
                    let is_session = SessionHandOver::is_in(&message);
                    // A session that is handed on is acknowledged when the next inbox has it.
                    let is_handed_on = is_session && self.session_came(now, source, &message);
                    if !is_session {
                        self.sightings_came(now, &message);
                    }
                    // Which run of a gateway is the newer one is said here and nowhere else: it is read again until it is on disk. And
                    // none is acknowledged before those that came before it: read again alone, these would be the newest.
                    if self.last != before {
                        self.sighted = self.last;
                    }
                    if !is_handed_on {
                        self.say_after(self.sighted, Output::Ack(source));
                    }
                }
                Queue::Settlements if message.exchange == contract::ANSWERS => {
                    self.answer_came(now, source, message);
                }
                Queue::Settlements => {
                    self.settlements_came(now, &message);
                    // What it led to must be on disk first: nobody says "delivered" twice.
                    self.say_after(self.last, Output::Ack(source));
                }
            },
            Input::Http { request, command } => self.http_came(now, request, command),
            Input::Durable { lsn } => self.durable(now, lsn),
            Input::Published { token, outcome } => self.published(now, token, outcome),
            Input::Tick => {}
        }
        self.tick(now);
    }

    /// The next effect, in order; `None` when there is none for now.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to come back with [`Input::Tick`] if nothing happens before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<BootTime> {
        self.timers.next()
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What the journal holds, with all records given out so far.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The records that stand for all records given out so far, up to [`RouterCore::last`].
    #[must_use]
    pub fn snapshot(&self) -> Vec<Record> {
        self.journal.snapshot()
    }

    /// The number of the last record given out, drained from the outputs or not.
    #[must_use]
    pub fn last(&self) -> Lsn {
        self.last
    }

    /// This run; before it has begun, the last one of the journal, or 0.
    #[must_use]
    pub fn run(&self) -> RouterRun {
        self.run
    }

    /// Whether commands may be forwarded: after a start every gateway that may still hold some must have synced, or its
    /// lease must have lapsed. For `/readyz`.
    ///
    /// Before a run has begun nothing can be forwarded, since nobody is known to be anywhere; then it says whether the
    /// commands in custody are nobody else's, and so may end by themselves.
    #[must_use]
    pub fn is_recovered(&self) -> bool {
        (self.run_lsn <= self.durable || !self.has_run()) && self.recovering.is_empty()
    }

    fn tick(&mut self, now: Now) {
        while let Some(timer) = self.timers.pop(now.boot) {
            match timer {
                Timer::Expiry(sequence) => self.expiry_due(now, sequence),
                Timer::Settle(device) => self.settle_due(now, &device),
                Timer::Offer(device) => self.rested(now, &device),
                Timer::Lease(gateway) => self.lease_due(now, &gateway),
                Timer::Question(device) => self.question_due(now, &device),
                Timer::Transfer(device) => self.transfer_due(&device),
                Timer::Publish(token) => self.publish_due(token),
            }
        }
        self.forget(now.wall);
    }

    /// Forgets a few finals with each input, so that none of them pays for all.
    fn forget(&mut self, now: WallTime) {
        const BATCH: usize = 8;
        for _ in 0..self.journal.forget(now, self.limits.finals_max, BATCH) {
            self.counters.drop(crate::DropReason::ForgottenEarly);
        }
    }

    /// Appends a record, and changes the index by it.
    fn record(&mut self, record: Record) -> Lsn {
        let trace = self.trace_of(&record);
        self.journal.apply(&record);
        self.last = self.last.next();
        self.say(Output::Journal { lsn: self.last, record, trace });
        self.last
    }

    /// Where the command that begins or ends by this record is in its trace.
    fn trace_of(&self, record: &Record) -> Option<TraceContext> {
        match record {
            Record::Accepted(command) => command.request.trace,
            Record::Finished { end, .. } => {
                self.journal.command(end.receipt.command_id.sequence)?.command.request.trace
            }
            Record::RunStarted { .. }
            | Record::Used { .. }
            | Record::Given { .. }
            | Record::TakenBack { .. }
            | Record::Interrupted { .. }
            | Record::Tried { .. }
            | Record::ReceiptPublished { .. }
            | Record::Answered { .. }
            | Record::GatewaySeen { .. }
            | Record::GatewaySynced { .. }
            | Record::GatewayLost { .. } => None,
        }
    }

    fn say(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    /// Says it once the record is durable.
    fn say_after(&mut self, gate: Lsn, output: Output) {
        match gate <= self.durable {
            true => self.say(output),
            false => self.gated.entry(gate).or_default().push(output),
        }
    }

    fn durable(&mut self, now: Now, lsn: Lsn) {
        let before = self.durable;
        self.durable = before.max(lsn);
        while let Some(entry) = self.gated.first_entry().filter(|entry| *entry.key() <= lsn) {
            let outputs = entry.remove();
            self.outputs.extend(outputs);
        }
        let mut safe = Vec::new();
        while let Some((_, sequence)) = self.unsafe_yet.pop_front_if(|(gate, _)| *gate <= lsn) {
            self.accepted_durably(now, sequence);
            safe.push(sequence);
        }
        // Whoever is offered takes the later ones of its device with it: by now their senders know that they are accepted.
        for sequence in safe {
            self.offer_accepted(now, sequence);
        }
        self.offer_behind(now);
        let run_is_durable = before < self.run_lsn && self.run_lsn <= self.durable;
        if run_is_durable && self.is_recovered() {
            self.recovered(now);
        }
        self.offer_where_ready(now, before);
    }

    /// The end of a start: what has waited for it goes on.
    fn recovered(&mut self, now: Now) {
        self.expire_overdue(now);
        let devices: Vec<Device> = self.mailboxes.keys().cloned().collect();
        for device in devices {
            self.offer(now, &device);
        }
    }
}
