//! A spool, a disk and a backend.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use roost_wire::{BootTime, Event, Incarnation, Now, Qos, WallTime, envelope::header};

use crate::shard::Backend;
use crate::spool::{Found, LogStands, Spool, SpoolInput, SpoolLimits, SpoolOutput};
use crate::{PublishOutcome, PublishToken, ShardIndex, SpoolNumber, SpoolState, UplinkOrder};

pub(super) fn limits() -> SpoolLimits {
    SpoolLimits {
        bytes_max: 1_000_000,
        age_max: Duration::from_secs(3_600),
        drain_per_s: 100_000,
        window_events: 100,
        window_bytes: 1_000_000,
        memory_events: 100,
        memory_bytes: 1_000_000,
    }
}

pub(super) struct Bench {
    pub(super) spool: Spool,
    limits: SpoolLimits,
    now_us: u64,
    /// By how much somebody has set the calendar forward.
    pub(super) calendar_ahead: Duration,
    /// The disk.
    log: BTreeMap<u64, Bytes>,
    last: u64,
    durable: u64,
    is_stuck: bool,
    /// The record up to which it may all go.
    pub(super) forgotten: u64,
    pub(super) covered: u64,
    mark: Option<Bytes>,
    /// Numbers that were said to be safe, in the order in which that was said.
    pub(super) safe: Vec<u64>,
    pub(super) states: Vec<SpoolState>,
    /// What is at the backend and not answered, by number.
    in_flight: BTreeMap<u64, PublishToken>,
    /// Not taken by the test yet.
    arrived: Vec<u64>,
    /// Of everything that was published, in order.
    pub(super) ids: Vec<String>,
    pub(super) replayed: Vec<bool>,
    pub(super) expiries: Vec<Option<u32>>,
    stored: u64,
}

const START_US: u64 = 1_000_000_000;

impl Bench {
    pub(super) fn new(limits: SpoolLimits) -> Self {
        Self::open(limits, START_US, &Found::default())
    }

    fn open(limits: SpoolLimits, now_us: u64, found: &Found) -> Self {
        let spool = Spool::open(limits.clone(), at(now_us), found).unwrap();
        Self {
            spool,
            limits,
            now_us,
            calendar_ahead: Duration::ZERO,
            log: BTreeMap::new(),
            last: found.last,
            durable: found.last,
            is_stuck: false,
            forgotten: 0,
            covered: found.covered,
            mark: found.mark.clone(),
            safe: Vec::new(),
            states: Vec::new(),
            in_flight: BTreeMap::new(),
            arrived: Vec::new(),
            ids: Vec::new(),
            replayed: Vec::new(),
            expiries: Vec::new(),
            stored: found.last,
        }
    }

    /// What a new run finds: what was durable.
    pub(super) fn crash(&self) -> Self {
        let disk_bytes = self.disk_bytes();
        // What the disk has forgotten is gone from the front, whether the mark has heard of it or not; perhaps nothing is left.
        let mut left = self.log.range(..=self.durable).map(|(lsn, _)| *lsn);
        let named = self.mark.as_ref().map_or(0, |mark| Spool::named_by(mark).unwrap());
        let covered = left.next().map_or(self.covered.max(named), |first| self.covered.max(first - 1));
        let last = self.log.range(..=self.durable).next_back().map_or(covered, |(lsn, _)| *lsn);
        let found = Found { last, covered, mark: self.mark.clone(), disk_bytes };
        let mut after = Self::open(self.limits.clone(), self.now_us + 1_000_000, &found);
        after.log = self.log.range(..=self.durable).map(|(lsn, bytes)| (*lsn, bytes.clone())).collect();
        after.handle(SpoolInput::Tick);
        after
    }

    pub(super) fn store(&mut self, device: &str, order: UplinkOrder) {
        self.put(device, order, None);
    }

    pub(super) fn store_expiring(&mut self, device: &str, seconds: u32) {
        self.put(device, UplinkOrder::Strict, Some(seconds));
    }

    fn put(&mut self, device: &str, order: UplinkOrder, expiry_s: Option<u32>) {
        self.stored += 1;
        let event = Event {
            device: device.parse().unwrap(),
            topic: "a".parse().unwrap(),
            payload: Bytes::from(self.stored.to_string()),
            qos: Qos::AtLeastOnce,
            retain: false,
            dup: false,
            gateway: "eu-1".parse().unwrap(),
            region: "eu".parse().unwrap(),
            incarnation: Incarnation(7),
            sequence: self.stored,
            received_at: self.now().wall,
            replayed: false,
            content_type: None,
            expiry_s,
            payload_is_utf8: false,
            response_topic: None,
            correlation_data: None,
            user_properties: Vec::new(),
            trace: None,
        };
        let (shard, number) = (ShardIndex(0), SpoolNumber(self.stored));
        let exchange = "roost.up".to_owned();
        self.handle(SpoolInput::Store { shard, number, event: Box::new(event), exchange, order });
    }

    /// Everything up to this number is on disk.
    pub(super) fn sync(&mut self, durable: u64) {
        self.durable = self.durable.max(durable.min(self.last));
        self.tell_log();
    }

    pub(super) fn stuck(&mut self, is_stuck: bool) {
        self.is_stuck = is_stuck;
        self.tell_log();
    }

    pub(super) fn up(&mut self) {
        self.handle(SpoolInput::Backend(Backend::Up));
    }

    pub(super) fn away(&mut self) {
        self.handle(SpoolInput::Backend(Backend::Away));
    }

    /// The numbers that were published since the last call.
    pub(super) fn published(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.arrived)
    }

    pub(super) fn in_flight(&self) -> Vec<u64> {
        self.in_flight.keys().copied().collect()
    }

    pub(super) fn confirm(&mut self, number: u64) {
        self.answer(number, PublishOutcome::Confirmed);
    }

    pub(super) fn answer(&mut self, number: u64, outcome: PublishOutcome) {
        let token = self.in_flight.remove(&number).unwrap_or_else(|| panic!("{number} is not in flight"));
        self.handle(SpoolInput::Published { token, outcome });
    }

    /// Confirms whatever comes, in order, until nothing does; what came.
    pub(super) fn drain(&mut self) -> Vec<u64> {
        let mut all = Vec::new();
        loop {
            all.extend(self.published());
            match self.in_flight.first_key_value().map(|(number, _)| *number) {
                Some(number) => self.confirm(number),
                None if self.spool.poll_timeout().is_some() => self.pass(Duration::from_millis(20)),
                None => return all,
            }
            if self.in_flight.is_empty() && self.arrived.is_empty() && self.spool.gauges().events == 0 {
                return all;
            }
        }
    }

    /// Time passes, with every tick that was asked for.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now_us + u64::try_from(time.as_micros()).unwrap();
        while let Some(next) = self.spool.poll_timeout().map(BootTime::as_micros).filter(|next| *next <= end)
        {
            assert!(next >= self.now_us || next + 1_000_000 > self.now_us, "it does not hang in the past");
            self.now_us = self.now_us.max(next);
            self.handle(SpoolInput::Tick);
        }
        self.now_us = end;
        self.handle(SpoolInput::Tick);
    }

    pub(super) fn received_at(&self, number: u64) -> WallTime {
        let bytes = &self.log[&number];
        crate::spool::record::Stored::decode(bytes).unwrap().event.received_at
    }

    pub(super) fn last(&self) -> u64 {
        self.last
    }

    fn disk_bytes(&self) -> u64 {
        self.log.range(..=self.durable).map(|(_, bytes)| bytes.len() as u64).sum()
    }

    fn tell_log(&mut self) {
        let stands =
            LogStands { durable: self.durable, is_stuck: self.is_stuck, disk_bytes: self.disk_bytes() };
        self.handle(SpoolInput::Log(stands));
    }

    fn now(&self) -> Now {
        let now = at(self.now_us);
        Now { wall: now.wall + self.calendar_ahead, ..now }
    }

    fn handle(&mut self, input: SpoolInput) {
        let now = self.now();
        self.spool.handle(now, input);
        while let Some(output) = self.spool.poll_output() {
            match output {
                SpoolOutput::Append(record) => {
                    self.last += 1;
                    self.log.insert(self.last, record);
                }
                SpoolOutput::Read { from, to } => {
                    assert!(from <= to && to <= self.durable, "{from}..={to} of {}", self.durable);
                    let records = (from..=to.min(from + 9)).map(|lsn| self.log[&lsn].clone()).collect();
                    self.spool.handle(now, SpoolInput::Read { first: from, records });
                }
                SpoolOutput::Mark { covers, record } => {
                    assert!(covers <= self.durable && covers >= self.covered);
                    self.covered = covers;
                    self.mark = Some(record);
                    self.log = self.log.split_off(&(covers + 1));
                    self.spool.handle(now, SpoolInput::Marked { is_in_force: true });
                    let stands = LogStands {
                        durable: self.durable,
                        is_stuck: self.is_stuck,
                        disk_bytes: self.disk_bytes(),
                    };
                    self.spool.handle(now, SpoolInput::Log(stands));
                }
                SpoolOutput::Forget { up_to } => {
                    assert!(self.is_stuck, "else there is a mark");
                    self.log = self.log.split_off(&(up_to + 1));
                    self.forgotten = up_to;
                }
                SpoolOutput::Publish(publication) => {
                    let message = &publication.message;
                    let number = std::str::from_utf8(&message.body).unwrap().parse().unwrap();
                    self.in_flight.insert(number, publication.token);
                    self.arrived.push(number);
                    self.ids.push(message.properties.message_id.clone().unwrap());
                    self.replayed.push(message.properties.bool(header::REPLAYED).unwrap());
                    let expiry = message.properties.expiration.as_deref();
                    self.expiries.push(expiry.map(|ms| ms.parse::<u32>().unwrap() / 1_000));
                }
                SpoolOutput::Safe { shard: _, numbers } => {
                    self.safe.extend(numbers.into_iter().map(|SpoolNumber(number)| number));
                }
                SpoolOutput::State(state) => self.states.push(state),
                SpoolOutput::Unreadable { number, why } => panic!("{number}: {why}"),
            }
        }
    }
}

fn at(us: u64) -> Now {
    Now { boot: BootTime::from_micros(us), wall: WallTime::from_millis(1_700_000_000_000 + us / 1_000) }
}
