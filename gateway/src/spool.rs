//! The spool: events whose rule says `spooled`, on this gateway's disk until the backend has confirmed them.
//!
//! ```text
//!  shard ── store ──> log ── durable ──> PUBACK            (or confirmed, if that comes first)
//!              │
//!              └────> line ── window ──> AMQP ── confirmed ──> done ──> mark: what is before it leaves the disk
//! ```
//!
//! All events stand in one line, in the order in which they were stored. The newest of them are still in memory; when the line is longer than
//! that, the oldest are read back from disk, at most as fast as the drain's rate allows. A backlog goes no faster than the path to the backend
//! carries it without a queue, so that it slows nothing else. An event whose rule says `fresh` steps in front of the line while there is one.
//!
//! An event is *done* when the backend has it for good. Everything up to the *cursor* is done; of what is done beyond it the ranges
//! are remembered. Both go to disk as a mark, four times a second: after a crash, what was done since the last mark is published
//! again, with the same ids and marked as replayed.

mod drain_rate;
mod forecast;
mod limits;
mod line;
mod pace;
mod ranges;
mod record;
mod state;

pub use limits::SpoolLimits;
pub use record::SpoolRecordError;
pub use state::{SpoolState, WhenFull};

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use roost_wire::{BootTime, Device, Event, Now, WallTime};

use crate::shard::Backend;
use crate::uplink::{Next, Uplink, retry};
use crate::{
    Count, Counters, Publication, PublishOrigin, PublishOutcome, PublishToken, ShardIndex, SpoolNumber,
    UplinkOrder,
};
use drain_rate::DrainRate;
use forecast::Forecast;
use line::{Head, Line};
use pace::{Pace, Sent};
use ranges::Ranges;
use record::{Stored, decode_mark, encode_mark};

/// What a spool finds on disk when it is opened.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// The number of the last event there.
    pub last: u64,
    /// Everything up to this one was done.
    pub covered: u64,
    /// The mark's record, if there is a mark.
    pub mark: Option<Bytes>,
    /// What the files take.
    pub disk_bytes: u64,
}

/// How the log stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogStands {
    /// The last event that is safe.
    pub durable: u64,
    /// Whether nothing can be written.
    pub is_stuck: bool,
    /// What the files take.
    pub disk_bytes: u64,
}

/// One thing that happened to the spool.
#[derive(Debug)]
pub enum SpoolInput {
    /// A shard has an event for it. The shard has asked whether it is open.
    Store {
        /// Which shard.
        shard: ShardIndex,
        /// The shard's number for it.
        number: SpoolNumber,
        /// The event.
        event: Box<Event>,
        /// Where it is published.
        exchange: String,
        /// Its rule's.
        order: UplinkOrder,
    },
    /// The log stands differently.
    Log(LogStands),
    /// Records that were asked for, from the first on; empty if they cannot be read now.
    Read {
        /// The number of the first.
        first: u64,
        /// Their bytes.
        records: Vec<Bytes>,
    },
    /// A mark is done with.
    Marked {
        /// Whether it is in force; else it could not be written.
        is_in_force: bool,
    },
    /// The outcome of a publication.
    Published {
        /// Which.
        token: PublishToken,
        /// What became of it.
        outcome: PublishOutcome,
    },
    /// The publisher's connection is up, or away. At the start it is away.
    Backend(Backend),
    /// The time of [`Spool::poll_timeout`] has come.
    Tick,
}

/// What the spool wants done, in this order.
#[derive(Debug, PartialEq)]
pub enum SpoolOutput {
    /// Append this to the log. It is the record after the last.
    Append(Bytes),
    /// Read records, from this one on to that one or fewer: [`SpoolInput::Read`].
    Read {
        /// The first.
        from: u64,
        /// The last, which is durable.
        to: u64,
    },
    /// Write a mark and put it in force: [`SpoolInput::Marked`].
    Mark {
        /// Everything up to this one is done, and durable.
        covers: u64,
        /// The mark's record.
        record: Bytes,
    },
    /// The disk cannot be written, so nothing can be marked: what is on it up to this record may go all the same.
    Forget {
        /// Everything up to this number is done.
        up_to: u64,
    },
    /// Publish this: [`SpoolInput::Published`].
    Publish(Box<Publication>),
    /// These events are safe.
    Safe {
        /// Whose.
        shard: ShardIndex,
        /// The shard's numbers.
        numbers: Vec<SpoolNumber>,
    },
    /// It takes events in, or does not: for every shard.
    State(SpoolState),
    /// A record is unreadable: it is passed over and counted.
    Unreadable {
        /// Its number.
        number: u64,
        /// Why.
        why: SpoolRecordError,
    },
}

/// How much there is, for people and for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct SpoolGauges {
    /// Events that are not done.
    pub events: u64,
    /// Bytes on disk and on their way there.
    pub bytes: u64,
    /// The bound on them.
    pub bytes_max: u64,
    /// When the oldest event that is not done was received, as far as that is known.
    pub oldest: Option<WallTime>,
    /// At the rate of the last minute; `None` if it does not grow.
    pub full_in: Option<Duration>,
    /// Whether it takes events in.
    pub state: SpoolState,
}

/// The spool of one gateway.
#[derive(Debug)]
pub struct Spool {
    limits: SpoolLimits,
    backend: Backend,
    log: LogStands,
    last: u64,
    /// Bytes given to the log that are not durable, by number.
    undurable: VecDeque<(u64, u64)>,
    undurable_bytes: u64,
    /// What an earlier run has left may have been published by it.
    of_earlier_run: u64,
    cursor: u64,
    done: Ranges,
    line: Line,
    /// Of a device with an event that is tried again, the later ones.
    held: BTreeMap<Device, VecDeque<(u64, Stored)>>,
    held_events: usize,
    uplink: Uplink<(u64, Sent)>,
    pace: Pace,
    retries: BTreeSet<(BootTime, u64)>,
    drain_rate: DrainRate,
    /// When the event at the head of the line has waited too long, as far as it is known.
    ages_at: Option<BootTime>,
    /// Who has not heard that an event is safe, by its number.
    untold: BTreeMap<u64, (ShardIndex, SpoolNumber)>,
    is_marking: bool,
    is_dirty: bool,
    /// What the disk was told to forget.
    forgotten: u64,
    mark_at: BootTime,
    forecast: Forecast,
    state: SpoolState,
    counters: Counters,
    outputs: VecDeque<SpoolOutput>,
}

/// The cursor goes to disk so often: what is published twice after a crash is what was confirmed since.
const MARK_EVERY: Duration = Duration::from_millis(250);

/// Ranges in a mark. What is done beyond them is published again after a crash.
const RANGES_MAX: usize = 10_000;

/// Events whose turn has come behind one of their device that is tried again. Beyond: the line waits.
const HELD_MAX: usize = 1_000;

impl Spool {
    /// A spool with what was found on disk.
    ///
    /// # Errors
    /// [`SpoolRecordError`] if the mark was written by another build.
    pub fn open(limits: SpoolLimits, now: Now, found: &Found) -> Result<Self, SpoolRecordError> {
        let mut done = match &found.mark {
            Some(mark) => Ranges::from_pairs(decode_mark(mark)?),
            None => Ranges::default(),
        };
        // The mark may be older than what the disk has forgotten since.
        let cursor = done.end_of(found.covered + 1).unwrap_or(found.covered);
        done.remove_up_to(cursor);
        let log = LogStands { durable: found.last, is_stuck: false, disk_bytes: found.disk_bytes };
        Ok(Self {
            backend: Backend::Away,
            log,
            last: found.last,
            undurable: VecDeque::new(),
            undurable_bytes: 0,
            of_earlier_run: found.last,
            cursor,
            line: Line::new(cursor + 1, found.last, done.clone(), limits.memory_events, limits.memory_bytes),
            done,
            held: BTreeMap::new(),
            held_events: 0,
            uplink: Uplink::new(PublishOrigin::Spool, limits.window_events, limits.window_bytes),
            pace: Pace::new(limits.window_events / 2, now.boot),
            retries: BTreeSet::new(),
            drain_rate: DrainRate::new(limits.drain_per_s, now.boot),
            ages_at: None,
            untold: BTreeMap::new(),
            is_marking: false,
            is_dirty: false,
            forgotten: 0,
            mark_at: now.boot + MARK_EVERY,
            forecast: Forecast::default(),
            state: SpoolState::Open,
            counters: Counters::default(),
            outputs: VecDeque::new(),
            limits,
        })
    }

    /// The last record that a mark names. A disk that has forgotten all of its records must give no number up to it once more: the mark would
    /// say of the new one that it is done.
    ///
    /// # Errors
    /// [`SpoolRecordError`] if another build wrote the mark.
    pub fn named_by(mark: &Bytes) -> Result<u64, SpoolRecordError> {
        Ok(decode_mark(mark)?.into_iter().map(|(_, last)| last).max().unwrap_or(0))
    }

    /// Takes in one thing that happened.
    pub fn handle(&mut self, now: Now, input: SpoolInput) {
        match input {
            SpoolInput::Store { shard, number, event, exchange, order } => {
                let stored = Stored { event: *event, exchange, order, stored_at: now.boot };
                self.store(now, (shard, number), stored);
            }
            SpoolInput::Log(stands) => self.log_stands(stands),
            SpoolInput::Read { first, records } => self.was_read(first, &records),
            SpoolInput::Marked { is_in_force } => {
                self.is_marking = false;
                self.is_dirty |= !is_in_force;
            }
            SpoolInput::Published { token, outcome } => self.published(now, token, outcome),
            SpoolInput::Backend(backend) => {
                self.backend = backend;
                self.pace.begin(now.boot);
            }
            SpoolInput::Tick => self.retry(now),
        }
        self.pump(now);
        self.mark(now);
        self.forecast.observe(now.boot, self.bytes());
        self.judge();
    }

    /// The next thing to do; `None` when there is none for now.
    pub fn poll_output(&mut self) -> Option<SpoolOutput> {
        self.outputs.pop_front()
    }

    /// When to come back with [`SpoolInput::Tick`] if nothing happens before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<BootTime> {
        let retry = self.retries.first().map(|(at, _)| *at);
        let mark = self.markable().map(|_| self.mark_at);
        let may_drain = self.backend == Backend::Up
            && self.held_events < HELD_MAX
            && self.line.is_read_back()
            && self.uplink.is_half_empty();
        let drain = may_drain.then(|| self.drain_rate.next()).flatten();
        [retry, mark, drain, self.ages_at, self.forecast.next(self.bytes())].into_iter().flatten().min()
    }

    /// The mark to end with, as the log stands now: everything up to the number is done. `None` if nothing is to be marked.
    pub fn last_mark(&mut self, stands: LogStands) -> Option<(u64, Bytes)> {
        self.log = stands;
        // While one is being written there is none: both may have the same file.
        self.markable().map(|covers| (covers, self.mark_record()))
    }

    /// Whether a mark is being written.
    #[must_use]
    pub fn is_marking(&self) -> bool {
        self.is_marking
    }

    /// How much there is.
    #[must_use]
    pub fn gauges(&self) -> SpoolGauges {
        let bytes = self.bytes();
        SpoolGauges {
            events: self.undone(),
            bytes,
            bytes_max: self.limits.bytes_max,
            oldest: self.oldest(),
            full_in: self.forecast.full_in(bytes, self.limits.bytes_max),
            state: self.state,
        }
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How many events are not done.
    fn undone(&self) -> u64 {
        self.last - self.cursor - self.done.count()
    }

    fn bytes(&self) -> u64 {
        self.log.disk_bytes + self.undurable_bytes
    }

    fn oldest(&self) -> Option<WallTime> {
        let waiting = self.held.values().flatten().map(|(_, stored)| stored.event.received_at);
        let published = self.uplink.events().map(|event| event.received_at);
        let line = self.line.first().map(|(_, stored)| stored.event.received_at);
        waiting.chain(published).chain(line).min()
    }

    fn store(&mut self, now: Now, from: (ShardIndex, SpoolNumber), stored: Stored) {
        self.last += 1;
        self.counters.add(Count::EventSpooled);
        self.pace.arrived();
        let record = Bytes::from(stored.encode());
        self.undurable.push_back((self.last, record.len() as u64));
        self.undurable_bytes += record.len() as u64;
        self.outputs.push_back(SpoolOutput::Append(record));
        self.untold.insert(self.last, from);
        let steps_ahead = stored.order == UplinkOrder::Fresh
            && self.line.is_backlog()
            && self.backend == Backend::Up
            && self.pace.may_step_ahead(now.boot)
            && self.uplink.has_room(stored.event.qos)
            && !self.uplink.is_trying_again(&stored.event.device);
        if steps_ahead {
            self.line.step_ahead(self.last);
            self.publish(now, self.last, stored);
        } else {
            self.line.push(self.last, stored);
        }
    }

    fn log_stands(&mut self, stands: LogStands) {
        self.log = stands;
        while let Some((_, bytes)) = self.undurable.pop_front_if(|(number, _)| *number <= stands.durable) {
            self.undurable_bytes -= bytes;
        }
        let rest = self.untold.split_off(&(stands.durable + 1));
        let safe = std::mem::replace(&mut self.untold, rest);
        let mut by_shard: BTreeMap<ShardIndex, Vec<SpoolNumber>> = BTreeMap::new();
        for (shard, number) in safe.into_values() {
            by_shard.entry(shard).or_default().push(number);
        }
        for (shard, numbers) in by_shard {
            self.outputs.push_back(SpoolOutput::Safe { shard, numbers });
        }
    }

    fn was_read(&mut self, first: u64, records: &[Bytes]) {
        let mut stored = Vec::with_capacity(records.len());
        for (number, bytes) in (first..).zip(records) {
            match Stored::decode(bytes) {
                Ok(event) => stored.push((number, event)),
                Err(why) => {
                    self.counters.add(Count::SpoolUnreadable);
                    self.outputs.push_back(SpoolOutput::Unreadable { number, why });
                    self.line.step_ahead(number);
                    self.is_done(number);
                }
            }
        }
        self.line.was_read(stored);
    }

    /// Drops what is at the head of the line and has waited too long. False if there is nothing of that.
    fn drop_aged(&mut self, now: Now) -> bool {
        self.ages_at = None;
        let Some((number, stored)) = self.line.first() else { return false };
        let age = self.age(now, number, stored.stored_at, stored.event.received_at);
        let (most, reason) = match stored.event.expiry_s.map(|s| Duration::from_secs(s.into())) {
            Some(lifetime) if lifetime < self.limits.age_max => (lifetime, Count::SpoolDroppedExpired),
            Some(_) | None => (self.limits.age_max, Count::SpoolDroppedAge),
        };
        if let Some(left) = most.checked_sub(age).filter(|left| !left.is_zero()) {
            self.ages_at = Some(now.boot + left);
            return false;
        }
        self.line.pop();
        self.counters.add(reason);
        self.is_done(number);
        true
    }

    /// How long an event has waited. The calendar may be set, by years at a first start; only of an earlier run there is nothing better.
    fn age(&self, now: Now, number: u64, stored_at: BootTime, received_at: WallTime) -> Duration {
        let is_of_this_run = number > self.of_earlier_run;
        if is_of_this_run { now.boot.since(stored_at) } else { now.wall.since(received_at) }
    }

    /// Publishes what is at the head of the line, as far as there is room.
    fn pump(&mut self, now: Now) {
        self.drain_rate.refill(now.boot);
        loop {
            let head = self.line.head(self.log.durable);
            if self.drop_aged(now) {
                continue;
            }
            let may_publish = self.backend == Backend::Up && self.held_events < HELD_MAX;
            match head {
                Head::Empty | Head::Reading => return,
                Head::OnDisk { from, to } => {
                    // Also while the backend is away: the age of the oldest is known from it.
                    self.line.reads();
                    return self.outputs.push_back(SpoolOutput::Read { from, to });
                }
                Head::InMemory
                    if may_publish
                        && self.uplink.has_room(roost_wire::Qos::AtLeastOnce)
                        && self.pace.may_go(now.boot) => {}
                Head::ReadBack
                    if may_publish
                        && self.uplink.is_half_empty()
                        && self.pace.may_go(now.boot)
                        && self.drain_rate.take() => {}
                Head::InMemory | Head::ReadBack => return,
            }
            let Some((number, stored)) = self.line.pop() else { return };
            let device = &stored.event.device;
            if self.uplink.is_trying_again(device) {
                // It must not overtake that one.
                self.held.entry(device.clone()).or_default().push_back((number, stored));
                self.held_events += 1;
            } else {
                self.publish(now, number, stored);
            }
        }
    }

    fn publish(&mut self, now: Now, number: u64, stored: Stored) {
        let Stored { mut event, exchange, order: _, stored_at } = stored;
        let age = self.age(now, number, stored_at, event.received_at);
        let lifetime = event.expiry_s.map(|s| Duration::from_secs(s.into()));
        if age > self.limits.age_max {
            self.counters.add(Count::SpoolDroppedAge);
            return self.is_done(number);
        }
        if let Some(lifetime) = lifetime {
            // [MQTT-3.3.2-5] and [MQTT-3.3.2-6]: what has expired is not sent, and what has not, with what is left.
            let Some(left) = lifetime.checked_sub(age).filter(|left| !left.is_zero()) else {
                self.counters.add(Count::SpoolDroppedExpired);
                return self.is_done(number);
            };
            event.expiry_s = Some(crate::message::seconds_left(left));
        }
        event.replayed |= number <= self.of_earlier_run;
        let waiter = Some((number, self.pace.sends(now.boot)));
        let publication = self.uplink.publish(event, &exchange, waiter, None);
        self.outputs.push_back(SpoolOutput::Publish(publication));
    }

    fn published(&mut self, now: Now, token: PublishToken, outcome: PublishOutcome) {
        match self.uplink.published(token, outcome, &mut self.counters) {
            Next::Ended { waiter, end: _, frees, trace: _ } => {
                if let Some((number, sent)) = waiter {
                    self.pace.answered(now.boot, sent, self.line.is_backlog());
                    self.is_done(number);
                }
                if let Some(held) = frees.and_then(|device| self.held.remove(&device)) {
                    self.held_events -= held.len();
                    held.into_iter().for_each(|(number, stored)| self.publish(now, number, stored));
                }
            }
            Next::Publish(publication) => self.outputs.push_back(SpoolOutput::Publish(publication)),
            Next::Retry { number, refusals } => {
                self.pace.refused(now.boot);
                self.retries.insert((now.boot + retry::delay(refusals), number));
            }
            Next::Unknown => {}
        }
    }

    fn retry(&mut self, now: Now) {
        while let Some((_, number)) = self.retries.first().copied().filter(|(at, _)| *at <= now.boot) {
            self.retries.pop_first();
            if let Some(publication) = self.uplink.retry(number) {
                self.pace.sends_again(now.boot);
                self.outputs.push_back(SpoolOutput::Publish(publication));
            }
        }
    }

    /// The backend has it, or it is dropped.
    fn is_done(&mut self, number: u64) {
        if let Some((shard, told)) = self.untold.remove(&number) {
            self.outputs.push_back(SpoolOutput::Safe { shard, numbers: vec![told] });
        }
        self.done.insert(number);
        if let Some(end) = self.done.end_of(self.cursor + 1) {
            self.done.remove_up_to(end);
            self.cursor = end;
        }
        self.is_dirty = true;
    }

    fn mark(&mut self, now: Now) {
        if self.log.is_stuck && self.cursor > self.forgotten {
            self.forgotten = self.cursor;
            self.outputs.push_back(SpoolOutput::Forget { up_to: self.cursor });
        }
        let Some(covers) = self.markable().filter(|_| now.boot >= self.mark_at) else { return };
        self.mark_at = now.boot + MARK_EVERY;
        self.is_marking = true;
        // What is done and not yet durable is marked the next time.
        self.is_dirty = self.cursor > covers;
        let record = self.mark_record();
        self.outputs.push_back(SpoolOutput::Mark { covers, record });
    }

    /// Up to where a mark would reach, if there is anything to mark and a disk to write it to.
    fn markable(&self) -> Option<u64> {
        let covers = self.cursor.min(self.log.durable);
        (self.is_dirty && !self.is_marking && !self.log.is_stuck && covers > 0).then_some(covers)
    }

    /// What is done beyond the cursor. Only what is on disk can be done for good.
    fn mark_record(&self) -> Bytes {
        let durable = self.log.durable;
        let beyond = self.done.iter().filter(|(first, _)| *first <= durable).take(RANGES_MAX);
        encode_mark(beyond.map(|(first, last)| (first, last.min(durable)))).into()
    }

    /// Tells the shards if it takes events in no more, or again.
    fn judge(&mut self) {
        let all_done = self.undone() == 0;
        let state =
            SpoolState::of(&self.log, self.undurable.len(), all_done, self.bytes(), self.limits.bytes_max);
        if state != self.state {
            self.state = state;
            self.outputs.push_back(SpoolOutput::State(state));
        }
    }
}

#[cfg(test)]
mod tests;
