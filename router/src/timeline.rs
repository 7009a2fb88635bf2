//! What happened to each command, step by step, for the person who asks "why?": kept in memory, bounded, and of no weight in any
//! decision.

use std::collections::VecDeque;

use roost_wire::{
    CommandId, Device, Epoch, GatewayId, MessageId, Outcome, ReceiptReason, ReceiptState, Refusal,
    ReturnReason, WallTime,
};
use serde::Serialize;

use crate::DropReason;
use crate::counters::reason_text;
use crate::decide::{Decision, ParkReason, RejectReason};

/// One thing that happened to a command, as the router saw it. Small, since every command takes half a dozen: gateways are
/// named by their number here.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// It was taken in.
    Taken(Way),
    /// Its record is on disk: the mesh answers for it.
    Safe,
    /// It was decided about.
    Decided(Decided),
    /// It was put into a gateway's inbox.
    Forwarded { gateway: Named, epoch: Epoch, attempt: u32 },
    /// A gateway said what became of it; whether that counts depends on the hold it is of.
    Answered { gateway: Named, epoch: Epoch, outcome: Outcome },
    /// Its inbox was gone: it came back by itself.
    CameBack,
    /// The gateway's sync does not list it: it never had it, or dropped it.
    NotHeld,
    /// Its gateway was lost: the device may have it.
    Interrupted,
    /// The same message id came again.
    Repeated,
    /// A later command with its supersede key took its place; boxed, since a step is small.
    Superseded { by: Box<MessageId> },
    /// It ended.
    Ended { state: ReceiptState, reason: Option<ReceiptReason> },
    /// The broker has its final receipt.
    Told,
    /// The device's answer is in the queue of who waits for it.
    Replied,
    /// The device's answer did not get there.
    ReplyLost(DropReason),
}

/// A decision, with its gateways by number.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Decided {
    Forward(Named),
    Ask(Box<[Named]>),
    Park(ParkReason),
    Reject(RejectReason),
}

/// A gateway's number among the names that were met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Named(u16);

/// How a command came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the shard queue.
    Amqp,
    /// Out of the shard queue, where its lifetime had ended.
    Expired,
    /// Out of the shard queue, to which it had come back too often.
    GivenUp,
    /// By the HTTP API.
    Http,
}

/// The steps of the commands that were taken last.
#[derive(Debug)]
pub(crate) struct Timelines {
    max: usize,
    /// In the order of their places in the journal.
    commands: VecDeque<Timeline>,
    /// The gateways that steps name: at most [`NAMES_MAX`].
    names: Vec<GatewayId>,
}

#[derive(Debug)]
struct Timeline {
    sequence: u64,
    first: Vec<Noted>,
    /// The newest of those that come after.
    last: VecDeque<Noted>,
    left_out: u64,
}

#[derive(Debug)]
struct Noted {
    at: WallTime,
    step: Step,
    /// How often it happened in a row.
    times: u32,
}

/// Four times the gateways that a router knows at once. One more is "a gateway" in the words of a step.
const NAMES_MAX: usize = 4_096;

/// Of each command the first steps are kept, and the last: what is between is counted.
const FIRST_MAX: usize = 8;
const LAST_MAX: usize = 24;

/// The answer to "why?": as JSON, and each step in words.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TimelineView {
    /// To whom it was sent.
    #[serde(flatten)]
    pub device: Device,
    /// The sender's id for it.
    pub message_id: MessageId,
    /// The mesh's id for it.
    pub command_id: CommandId,
    /// What happened, in order.
    pub steps: Vec<StepView>,
    /// How many steps between the first and the last ones are not kept.
    pub left_out: u64,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepView {
    /// When, in milliseconds since 1970; the first time, if it happened several times in a row.
    pub at: WallTime,
    /// What, enumerated.
    pub step: &'static str,
    /// The same in words.
    pub words: String,
    /// How often in a row.
    pub times: u32,
}

impl Timelines {
    /// Of so many commands.
    pub(crate) fn new(max: usize) -> Self {
        Self { max, commands: VecDeque::new(), names: Vec::new() }
    }

    /// A command begins, behind all others. If there are too many, the one that was taken first is forgotten.
    pub(crate) fn begin(&mut self, at: WallTime, sequence: u64, way: Way) {
        if self.max == 0 {
            return;
        }
        while self.commands.len() >= self.max {
            self.commands.pop_front();
        }
        let mut first = Vec::with_capacity(FIRST_MAX);
        first.push(Noted { at, step: Step::Taken(way), times: 1 });
        self.commands.push_back(Timeline { sequence, first, last: VecDeque::new(), left_out: 0 });
    }

    /// Something happened to a command.
    pub(crate) fn note(&mut self, at: WallTime, sequence: u64, step: Step) {
        if let Ok(place) = self.place(sequence) {
            self.commands[place].note(at, step);
        }
    }

    /// It was decided about a command.
    pub(crate) fn decided(&mut self, at: WallTime, sequence: u64, decision: &Decision) {
        let decided = match decision {
            Decision::Forward(gateway) => Decided::Forward(self.named(gateway)),
            Decision::Ask(gateways) => {
                Decided::Ask(gateways.iter().map(|gateway| self.named(gateway)).collect())
            }
            Decision::Park(reason) => Decided::Park(*reason),
            Decision::Reject(reason) => Decided::Reject(*reason),
        };
        self.note(at, sequence, Step::Decided(decided));
    }

    /// A step by its name and in words, and to whom it gave the command if it did.
    pub(crate) fn told(&self, step: &Step) -> (&'static str, String, Option<(GatewayId, Epoch)>) {
        let given = match step {
            Step::Forwarded { gateway: Named(place), epoch, .. } => {
                self.names.get(usize::from(*place)).map(|name| (name.clone(), *epoch))
            }
            Step::Taken(_)
            | Step::Safe
            | Step::Decided(_)
            | Step::Answered { .. }
            | Step::CameBack
            | Step::NotHeld
            | Step::Interrupted
            | Step::Repeated
            | Step::Superseded { .. }
            | Step::Ended { .. }
            | Step::Told
            | Step::Replied
            | Step::ReplyLost(_) => None,
        };
        (step.name(), step.words(&self.names), given)
    }

    /// The number of a gateway's name. Once there are [`NAMES_MAX`], a new one has the number that stands for no name.
    pub(crate) fn named(&mut self, gateway: &GatewayId) -> Named {
        let place = match self.names.iter().position(|name| name == gateway) {
            Some(place) => place,
            None if self.names.len() < NAMES_MAX => {
                self.names.push(gateway.clone());
                self.names.len() - 1
            }
            None => NAMES_MAX,
        };
        Named(u16::try_from(place).unwrap_or(u16::MAX))
    }

    /// The places in the journal of all commands that are remembered, the newest first.
    pub(crate) fn sequences(&self) -> impl Iterator<Item = u64> {
        self.commands.iter().rev().map(|timeline| timeline.sequence)
    }

    pub(crate) fn view(
        &self,
        device: &Device,
        message_id: &MessageId,
        command_id: CommandId,
    ) -> Option<TimelineView> {
        let timeline = &self.commands[self.place(command_id.sequence).ok()?];
        let view = |noted: &Noted| StepView {
            at: noted.at,
            step: noted.step.name(),
            words: noted.step.words(&self.names),
            times: noted.times,
        };
        Some(TimelineView {
            device: device.clone(),
            message_id: message_id.clone(),
            command_id,
            steps: timeline.first.iter().chain(&timeline.last).map(view).collect(),
            left_out: timeline.left_out,
        })
    }

    fn place(&self, sequence: u64) -> Result<usize, usize> {
        // Most often it is one of the newest.
        self.commands.binary_search_by_key(&sequence, |timeline| timeline.sequence)
    }
}

impl Timeline {
    fn note(&mut self, at: WallTime, step: Step) {
        let newest = self.last.back_mut().or(self.first.last_mut());
        if let Some(newest) = newest.filter(|newest| newest.step == step) {
            newest.times = newest.times.saturating_add(1);
            return;
        }
        let noted = Noted { at, step, times: 1 };
        if self.first.len() < FIRST_MAX {
            return self.first.push(noted);
        }
        if self.last.len() == LAST_MAX {
            self.last.pop_front();
            self.left_out += 1;
        }
        self.last.push_back(noted);
    }
}

impl Step {
    const fn name(&self) -> &'static str {
        match self {
            Self::Taken(_) => "taken",
            Self::Safe => "safe",
            Self::Decided(_) => "decided",
            Self::Forwarded { .. } => "forwarded",
            Self::Answered { .. } => "answered",
            Self::CameBack => "came_back",
            Self::NotHeld => "not_held",
            Self::Interrupted => "interrupted",
            Self::Repeated => "repeated",
            Self::Superseded { .. } => "superseded",
            Self::Ended { .. } => "ended",
            Self::Told => "told",
            Self::Replied => "replied",
            Self::ReplyLost(_) => "reply_lost",
        }
    }

    fn words(&self, names: &[GatewayId]) -> String {
        let name = |named: &Named| names.get(usize::from(named.0)).map_or("a gateway", GatewayId::as_str);
        match self {
            Self::Taken(Way::Amqp) => "taken from the shard queue".to_owned(),
            Self::Taken(Way::Http) => "taken over HTTP".to_owned(),
            Self::Taken(Way::Expired) => {
                "its lifetime had ended in the shard queue, before the router took it".to_owned()
            }
            Self::Taken(Way::GivenUp) => {
                "it had come back to the shard queue too often, before the router took it".to_owned()
            }
            Self::Safe => "on the router's disk: the mesh answers for it".to_owned(),
            Self::Decided(decided) => match decided.with_names(names) {
                Some(decision) => format!("decided: {}", decision.words()),
                None => "decided: forward to a gateway".to_owned(),
            },
            Self::Forwarded { gateway, epoch, attempt } => {
                format!("put into the inbox of {}, epoch {epoch}, attempt {attempt}", name(gateway))
            }
            Self::Answered { gateway, epoch, outcome } => {
                format!("{}, of epoch {epoch}: {}", name(gateway), outcome_words(*outcome))
            }
            Self::CameBack => "the inbox was gone, so it came back".to_owned(),
            Self::NotHeld => {
                "the gateway's list of what it holds does not name it: it waits again".to_owned()
            }
            Self::Interrupted => "its gateway was lost: the device may have it; it waits again".to_owned(),
            Self::Repeated => {
                "the same message id came again: answered with where this one stands".to_owned()
            }
            Self::Superseded { by } => {
                format!("message id {by}, a later command with the same supersede key, took its place")
            }
            Self::Ended { state, reason: None } => format!("ended: {state}"),
            Self::Ended { state, reason: Some(reason) } => {
                format!("ended: {state} ({})", reason_text(*reason))
            }
            Self::Told => "the final receipt is published and confirmed".to_owned(),
            Self::Replied => "the device's answer is in the queue of who waits for it".to_owned(),
            Self::ReplyLost(reason) => format!("the device's answer did not get there ({})", reason.as_str()),
        }
    }
}

impl Decided {
    /// `None` if it names one gateway whose name is not kept.
    fn with_names(&self, names: &[GatewayId]) -> Option<Decision> {
        let name = |named: &Named| names.get(usize::from(named.0)).cloned();
        Some(match self {
            Self::Forward(gateway) => Decision::Forward(name(gateway)?),
            Self::Ask(gateways) => Decision::Ask(gateways.iter().filter_map(name).collect()),
            Self::Park(reason) => Decision::Park(*reason),
            Self::Reject(reason) => Decision::Reject(*reason),
        })
    }
}

fn outcome_words(outcome: Outcome) -> String {
    match outcome {
        Outcome::Delivered => "the device has acknowledged it (PUBACK)".to_owned(),
        Outcome::Sent => "written to the device at QoS 0".to_owned(),
        Outcome::NoSubscription => "the device has no subscription that matches".to_owned(),
        Outcome::Gone { written: false } => "the session is gone, nothing was written".to_owned(),
        Outcome::Gone { written: true } => {
            "the connection ended before the device acknowledged it".to_owned()
        }
        Outcome::TimedOut => {
            "the device did not acknowledge it in time, its connection was closed".to_owned()
        }
        Outcome::Refused { reason: Refusal::Device { reason_code } } => {
            format!("the device refused it (PUBACK 0x{reason_code:02X})")
        }
        Outcome::Refused { reason: Refusal::PacketTooLarge } => {
            "longer than the device's Maximum Packet Size".to_owned()
        }
        Outcome::Refused { reason: Refusal::Expired } => "its lifetime ended there".to_owned(),
        Outcome::Returned { reason } => format!(
            "returned undelivered, since {}",
            match reason {
                ReturnReason::HoldEnded => "an earlier one of its hold was not delivered",
                ReturnReason::StaleEpoch => "a newer epoch is known there",
                ReturnReason::LeaseLapsed => "the gateway's lease has lapsed",
                ReturnReason::Full => "the gateway holds as many commands as it may",
                ReturnReason::Draining => "the gateway goes away",
            }
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> WallTime {
        WallTime::from_millis(ms)
    }

    fn begun(max: usize, commands: u64) -> Timelines {
        let mut timelines = Timelines::new(max);
        for sequence in 0..commands {
            timelines.begin(at(1), sequence, Way::Amqp);
        }
        timelines
    }

    fn view(timelines: &Timelines, sequence: u64) -> Option<TimelineView> {
        let (device, id) = ("d1".parse().unwrap(), MessageId::parse("m").unwrap());
        timelines.view(&device, &id, CommandId { journal: 1, sequence })
    }

    fn steps(timelines: &Timelines, sequence: u64) -> (Vec<(&'static str, u32)>, u64) {
        let view = view(timelines, sequence).unwrap();
        (view.steps.iter().map(|step| (step.step, step.times)).collect(), view.left_out)
    }

    #[test]
    fn names_are_bounded() {
        let mut timelines = Timelines::new(1);
        for number in 0..NAMES_MAX + 10 {
            timelines.named(&GatewayId::parse(&format!("g{number}")).unwrap());
        }
        assert_eq!(timelines.names.len(), NAMES_MAX);
        let last = timelines.named(&GatewayId::parse("late").unwrap());
        assert_eq!(timelines.named(&GatewayId::parse("g7").unwrap()), Named(7), "those that were there stay");
        let step = Step::Decided(Decided::Forward(last));
        assert!(step.words(&timelines.names).contains("a gateway"), "{}", step.words(&timelines.names));
    }

    #[test]
    fn steps_are_kept_in_order_and_what_repeats_is_counted() {
        let mut timelines = begun(10, 1);
        timelines.note(at(2), 0, Step::Safe);
        let asked = Decision::Ask(vec!["eu-1".parse().unwrap(), "us-1".parse().unwrap()]);
        for _ in 0..3 {
            timelines.decided(at(2), 0, &asked);
        }
        timelines.note(at(3), 0, Step::Told);
        let words = &view(&timelines, 0).unwrap().steps[2].words;
        assert_eq!(*words, format!("decided: {}", asked.words()), "gateways have their names");
        assert_eq!(steps(&timelines, 0).0, [("taken", 1), ("safe", 1), ("decided", 3), ("told", 1)]);
    }

    #[test]
    fn the_first_and_the_last_steps_of_a_long_story_are_kept() {
        let mut timelines = begun(10, 1);
        for n in 0..100 {
            timelines.note(at(n), 0, if n % 2 == 0 { Step::CameBack } else { Step::NotHeld });
        }
        let (kept, left_out) = steps(&timelines, 0);
        assert_eq!((kept.len() as u64, left_out), (32, 101 - 32));
        assert_eq!((kept[0].0, kept[31].0), ("taken", "not_held"));
    }

    #[test]
    fn beyond_the_bound_the_oldest_is_forgotten() {
        let mut timelines = begun(2, 3);
        assert_eq!(timelines.sequences().collect::<Vec<_>>(), [2, 1]);
        timelines.note(at(2), 0, Step::Safe);
        assert!(view(&timelines, 0).is_none());
        assert_eq!(begun(0, 1).sequences().count(), 0, "none are kept if none are wanted");
    }
}
