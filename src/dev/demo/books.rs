//! What both ends know of every message, and what follows from it by set arithmetic.

use std::collections::BTreeMap;
use std::time::Duration;

use roost_fleet::{Arrivals, Kind, Latency, NumberSet, Records, Stamp};
use roost_wire::{BootTime, MessageId, Receipt};

use super::commands::Commands;
use super::verdict::{Duplicates, Verdict};

/// A percentile is of the messages of one to two such times.
const WINDOW: Duration = Duration::from_secs(10);
/// How many of the lost are named.
const EXAMPLES_MAX: usize = 10;

/// The books of a demo.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) run: u32,
    events: BTreeMap<u32, Arrivals>,
    /// Events that the service heard, repeats too.
    pub(super) events_heard: u64,
    /// Those heard for the first time.
    pub(super) events_new: u64,
    event_repeats: Duplicates,
    pub(super) commands: Commands,
    /// What each device said last.
    devices: BTreeMap<u32, Records>,
    /// What was delivered, as receipts say, when devices were asked last.
    delivered_then: BTreeMap<u32, NumberSet>,
    breaks: Breaks,
    pub(super) up: Recent,
    pub(super) down: Recent,
}

/// When links between gateway, broker and service were broken: what was on its way then may come twice.
#[derive(Debug, Default)]
struct Breaks(Vec<(BootTime, Option<BootTime>)>);

/// When a verdict is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Running,
    Ended,
}

/// Latencies of the last while.
#[derive(Debug, Default)]
pub(super) struct Recent {
    earlier: Latency,
    current: Latency,
    since: BootTime,
}

impl Books {
    pub(super) fn new(run: u32) -> Self {
        Self { run, ..Self::default() }
    }

    /// The service heard an event.
    pub(super) fn event(&mut self, now: BootTime, payload: &[u8]) {
        let stamp = Stamp::read(payload, self.run).filter(|stamp| stamp.kind == Kind::Event);
        let Some(stamp) = stamp else { return }; // somebody else's
        self.events_heard += 1;
        if self.events.entry(stamp.device).or_default().note(stamp.sequence) {
            self.events_new += 1;
            self.up.current.record(now.since(stamp.intended));
        } else if self.breaks.meet(stamp.intended, now) {
            self.event_repeats.allowed += 1;
        } else {
            self.event_repeats.forbidden += 1;
        }
    }

    /// The service heard a receipt.
    pub(super) fn receipt(&mut self, receipt: &Receipt) {
        let key = receipt.message_id.as_ref().and_then(|id| self.read_id(id));
        if let Some(key) = key {
            self.commands.receipt(key, receipt);
        }
    }

    /// The id of a command.
    pub(super) fn id(&self, device: u32, number: u32) -> MessageId {
        MessageId::parse(&format!("demo-{:08x}-{device}-{number}", self.run))
            .expect("letters, digits and dashes make an id")
    }

    fn read_id(&self, id: &MessageId) -> Option<(u32, u32)> {
        let rest = id.as_str().strip_prefix("demo-")?.strip_prefix(&format!("{:08x}-", self.run))?;
        let (device, number) = rest.split_once('-')?;
        Some((device.parse().ok()?, number.parse().ok()?))
    }

    /// Devices tell what they have.
    pub(super) fn told(&mut self, records: Vec<Records>) {
        self.devices.extend(records.into_iter().map(|records| (records.device, records)));
    }

    /// A link breaks.
    pub(super) fn broken(&mut self, now: BootTime) {
        self.breaks.0.push((now, None));
    }

    /// All is whole again.
    pub(super) fn whole(&mut self, now: BootTime) {
        self.breaks.0.iter_mut().for_each(|(_, end)| *end = end.or(Some(now)));
    }

    /// Moves the windows of the latencies.
    pub(super) fn turn(&mut self, now: BootTime) {
        self.up.turn(now);
        self.down.turn(now);
    }

    /// What is known so far, just before devices are asked again. An event that was acknowledged is lost if a later one of its
    /// device has been heard and it has not, and late otherwise; what was delivered when devices were asked last must have been
    /// with them.
    pub(super) fn so_far(&mut self, out_of_turn: u64) -> Verdict {
        let verdict = self.verdict(&self.delivered_then, out_of_turn, When::Running);
        self.delivered_then = self.commands.delivered.clone();
        verdict
    }

    /// Whether the service has heard each event that devices say was acknowledged.
    pub(super) fn have_all_events(&self) -> bool {
        let none = NumberSet::default();
        self.devices.iter().all(|(device, records)| {
            let heard = self.events.get(device).map_or(&none, |arrivals| &arrivals.numbers);
            records.acknowledged.count_without(heard) == 0
        })
    }

    /// What is known at the end, when devices have told all they have. What was still on its way when nobody waited any longer
    /// is not lost, if the end came early.
    pub(super) fn at_the_end(&self, devices: u32, out_of_turn: u64, is_early: bool) -> Verdict {
        let missing = u64::from(devices).saturating_sub(self.devices.len() as u64);
        let finals = |device| self.commands.finals.get(device);
        let none = NumberSet::default();
        let open = self.commands.confirmed.iter();
        let unfinished: u64 =
            open.map(|(device, numbers)| numbers.count_without(finals(device).unwrap_or(&none))).sum();
        let when = if is_early { When::Running } else { When::Ended };
        let verdict = self.verdict(&self.commands.delivered, out_of_turn, when);
        let (unfinished, on_their_way) = if is_early { (0, unfinished) } else { (unfinished, 0) };
        Verdict { unfinished, commands_on_their_way: on_their_way, devices_missing: missing, ..verdict }
    }

    fn verdict(&self, delivered: &BTreeMap<u32, NumberSet>, out_of_turn: u64, when: When) -> Verdict {
        let none = NumberSet::default();
        let mut verdict =
            Verdict { events: self.event_repeats, tally: self.commands.tally, ..Verdict::default() };
        let mut repeated = 0;
        for (device, records) in &self.devices {
            let heard = self.events.get(device).map_or(&none, |arrivals| &arrivals.numbers);
            let had = delivered.get(device).unwrap_or(&none);
            verdict.acknowledged += records.acknowledged.len();
            verdict.received += records.commands.numbers.len();
            verdict.reordered += u64::from(records.commands.reordered);
            repeated += u64::from(records.commands.duplicates);
            let behind = match when {
                When::Running => heard.last().unwrap_or_default(),
                When::Ended => u32::MAX,
            };
            let mut lose = |what: &str, expected: &NumberSet, arrived: &NumberSet, behind: u32| {
                let mut lost = expected.count_without(arrived);
                if lost > 0 {
                    lost = expected.without(arrived).take_while(|number| *number <= behind).count() as u64;
                    let room = EXAMPLES_MAX.saturating_sub(verdict.examples.len());
                    let named = expected.without(arrived).take(room.min(lost as usize));
                    verdict.examples.extend(named.map(|number| format!("{what} {device}/{number}")));
                }
                lost
            };
            let (events, commands) = (
                lose("event", &records.acknowledged, heard, behind),
                lose("command", had, &records.commands.numbers, u32::MAX),
            );
            verdict.events_late += records.acknowledged.count_without(heard) - events;
            verdict.events_lost += events;
            verdict.commands_lost += commands;
        }
        let forbidden = out_of_turn.min(repeated);
        verdict.commands = Duplicates { allowed: repeated - forbidden, forbidden };
        verdict
    }
}

impl Breaks {
    /// Whether a link was broken at some time between the two.
    fn meet(&self, from: BootTime, to: BootTime) -> bool {
        self.0.iter().rev().any(|(begin, end)| *begin <= to && end.is_none_or(|end| end >= from))
    }
}

impl Recent {
    pub(super) fn add(&mut self, latency: &Latency) {
        self.current.add(latency);
    }

    /// 99 in a hundred were at most that late, in milliseconds; `None` if there were none.
    pub(super) fn p99_ms(&self) -> Option<f64> {
        let mut both = self.earlier.clone();
        both.add(&self.current);
        both.percentiles().map(|percentiles| percentiles.p99_ms)
    }

    fn turn(&mut self, now: BootTime) {
        if now.since(self.since) >= WINDOW {
            self.earlier = std::mem::take(&mut self.current);
            self.since = now;
        }
    }
}

#[cfg(test)]
mod tests;
