//! The router: production's core, its journal on a disk that can lose what was not synced, and its three AMQP connections,
//! as its shell drives them.

mod read;
mod said;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use roost_backend::Topology;
use roost_backend::shell::ConsumePlan;
use roost_backend::window::{Loss, OnLoss, Publish, Published};
use roost_router::journal::{Journal, Live, Record};
use roost_router::shell::{REPORTS, commands_plan, reports_plan};
use roost_router::{
    Counters, Input, Limits, Lsn, Output, Publication, PublishOutcome, PublishToken, Queue, RequestId,
    RouterCore, SourceToken,
};
use roost_wire::{CommandRequest, Device, LinkId, Message, Now, SessionHandOver, ShardId};

use crate::amqp::FromBroker;
use crate::amqp::consumer::{Arrived, ConsumingEnd, Heard, Token};
use crate::amqp::publisher::{PublishingEnd, Said};
use crate::chance::Chance;
use crate::effect::Effect;
use crate::event::End;
use crate::plant::{Break, RouterFate, RouterPlant};
use crate::time::{Clock, Micros};
use read::Read;
use said::tell_witness;

const SHARD: ShardId = ShardId(0);

/// One router, in one life after the other, on one disk.
#[derive(Debug)]
pub(crate) struct RouterNode {
    pub(crate) clock: Clock,
    limits: Limits,
    plant: RouterPlant,
    pub(crate) life: u32,
    run: Option<Run>,
    /// The journal as a restart finds it: each record's bytes, after those of the last compaction.
    disk: Vec<Bytes>,
    /// The number of the last record on disk.
    last_on_disk: u64,
    /// What its lives before this one did.
    counters: Vec<Counters>,
    /// Records that wait for the disk before no more commands are taken in.
    queue_max: usize,
    /// The disk is full: the last sync has failed, and is tried again. HTTP is refused meanwhile.
    is_stuck: bool,
}

#[derive(Debug)]
struct Run {
    core: RouterCore,
    read: Read,
    plant: RouterPlant,
    publisher: PublishingEnd,
    reports: ConsumingEnd,
    commands: ConsumingEnd,
    /// What the consumers have said and the router has not read yet.
    events: VecDeque<(End, Heard)>,
    /// The lock is held, and a run is to begin as soon as everything before it is on disk. Nothing is read meanwhile.
    wants_run: bool,
    /// Another one has the lock, as far as it knows.
    stands_by: bool,
    sources: BTreeMap<SourceToken, (End, Token)>,
    next_source: u64,
    wants_commands: bool,
    /// Commands that came while none were wanted: production leaves them in the connection.
    unread: VecDeque<Arrived>,
    /// Written and not synced.
    written: VecDeque<Bytes>,
    /// Up to where the core was told that its records are on disk.
    durable: Lsn,
    syncing: Option<u64>,
    tick: Option<Micros>,
    lapses: u64,
    queue_max: usize,
}

impl RouterNode {
    pub(crate) fn new(clock: Clock, limits: Limits, queue_max: usize, plant: Option<Break>) -> Self {
        Self {
            clock,
            plant: RouterPlant::new(plant, limits.settle_timeout),
            limits,
            life: 0,
            run: None,
            disk: Vec::new(),
            last_on_disk: 0,
            counters: Vec::new(),
            queue_max,
            is_stuck: false,
        }
    }

    /// A life begins: custody with it, on what is on disk, and a run when the lock is held.
    pub(crate) fn start(&mut self, at: Micros, chance: &mut Chance) {
        let mut journal = Journal::default();
        for record in self.plant.journal(&self.disk) {
            journal.apply(&record);
        }
        let (now, durable) = (self.clock.read(at), Lsn(self.last_on_disk));
        let core = RouterCore::open(now, SHARD, self.limits.clone(), journal, durable, chance.bits());
        self.run = Some(Run {
            core,
            read: Read::default(),
            plant: self.plant.clone(),
            publisher: PublishingEnd::new("router", Topology::contract(1)),
            reports: ConsumingEnd::new("router"),
            commands: ConsumingEnd::new("router"),
            events: VecDeque::new(),
            wants_run: false,
            stands_by: false,
            sources: BTreeMap::new(),
            next_source: 0,
            wants_commands: true,
            unread: VecDeque::new(),
            written: VecDeque::new(),
            durable,
            syncing: None,
            tick: None,
            lapses: 0,
            queue_max: self.queue_max,
        });
    }

    /// The end of a life. Of what was written and not synced some may be on disk: a prefix.
    pub(crate) fn crash(&mut self, chance: &mut Chance) {
        if let Some(mut run) = self.run.take() {
            let kept = chance.below(run.written.len() as u64 + 1) as usize;
            // A full disk has taken none of it.
            let kept = if self.is_stuck { 0 } else { kept };
            self.disk.extend(run.written.drain(..kept));
            self.last_on_disk += kept as u64;
            self.counters.push(run.core.counters().clone());
            self.plant = run.plant.in_the_next_life();
        }
        self.life += 1;
        self.is_stuck = false;
    }

    /// The disk is full.
    pub(crate) fn stuck(&mut self) {
        self.is_stuck = true;
    }

    pub(crate) fn is_up(&self) -> bool {
        self.run.is_some()
    }

    pub(crate) fn core(&self) -> Option<&RouterCore> {
        self.run.as_ref().map(|run| &run.core)
    }

    /// How many commands of a device are at its gateway.
    pub(crate) fn outstanding(&self, at: Micros, device: &Device) -> usize {
        self.core().map_or(0, |core| core.explain(self.clock.read(at), device).mailbox.outstanding)
    }

    /// Whether it knows when the session began that it believes to be a device's newest.
    pub(crate) fn knows_when(&self, at: Micros, device: &Device) -> bool {
        let location = self.core().and_then(|core| core.explain(self.clock.read(at), device).location);
        location.is_some_and(|location| location.accepted_within_micros.is_some())
    }

    /// How many gateways have said what they hold, and hold a lease.
    pub(crate) fn hears(&self, at: Micros) -> usize {
        let views = self.core().map(|core| core.gateways(self.clock.read(at)));
        views.into_iter().flatten().filter(|view| view.standing == "ready").count()
    }

    /// The commands in custody, each with why it is still there.
    pub(crate) fn in_custody(&self, at: Micros) -> Vec<String> {
        let Some(core) = self.core() else { return Vec::new() };
        let now = self.clock.read(at);
        let words = |live: &Live| {
            let request = &live.command.request;
            let explained = core.explain(now, &request.device);
            let (id, device, mailbox) = (&request.message_id, &request.device, explained.mailbox);
            format!("{id} for {device}: {}, {mailbox:?}", explained.decision.words)
        };
        core.journal().live().map(words).collect()
    }

    /// What each life counted.
    pub(crate) fn counters(&self) -> impl Iterator<Item = &Counters> {
        self.counters.iter().chain(self.core().map(RouterCore::counters))
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether it has nothing outstanding.
    pub(crate) fn is_quiet(&self) -> bool {
        self.run.as_ref().is_some_and(|run| {
            let is_up = run.publisher.is_up() && run.reports.is_up() && run.commands.is_up();
            let core = &run.core;
            let owes = core.journal().commands() > 0 || core.journal().owed().next().is_some();
            is_up
                && !owes
                && core.has_run()
                && core.is_recovered()
                && run.written.is_empty()
                && run.publisher.is_settled()
        })
    }

    pub(crate) fn connect(&mut self, end: End) -> Vec<Effect> {
        let prefetch = u16::try_from(self.limits.prefetch).unwrap_or(u16::MAX);
        let Some(run) = &mut self.run else { return Vec::new() };
        let frames = match end {
            End::Publisher => run.publisher.connect(),
            End::Reports => run.reports.connect(|_: LinkId| -> ConsumePlan { reports_plan(SHARD) }),
            End::Commands if run.reports.is_up() => {
                run.commands.connect(|_: LinkId| -> ConsumePlan { commands_plan(SHARD, prefetch) })
            }
            End::Commands | End::Uplink | End::Mesh | End::Inbox => return Vec::new(),
        };
        vec![Effect::Write { end, frames }]
    }

    /// A command came over HTTP; false if nobody takes it.
    pub(crate) fn http(&mut self, at: Micros, number: usize, command: CommandRequest) -> Option<Vec<Effect>> {
        self.run.as_ref().filter(|run| !run.wants_run && !run.stands_by && !self.is_stuck)?;
        Some(self.with(at, |run, now, _| {
            let request = RequestId(number as u64);
            run.feed(now, Input::Http { request, command: Box::new(command) });
        }))
    }

    pub(crate) fn tick(&mut self, at: Micros) -> Vec<Effect> {
        self.with(at, |run, now, _| {
            if run.tick.is_some_and(|tick| tick <= at) {
                run.tick = None;
            }
            run.feed(now, Input::Tick);
        })
    }

    /// The disk has everything up to that record. Now and then the journal is compacted then.
    pub(crate) fn synced(&mut self, at: Micros, lsn: u64, compacts: bool) -> Vec<Effect> {
        self.is_stuck = false;
        if let Some(run) = &mut self.run {
            run.syncing = None;
            let count = (lsn - self.last_on_disk) as usize;
            self.disk.extend(run.written.drain(..count));
            self.last_on_disk = lsn;
            if compacts && run.core.last().0 == lsn {
                self.disk = run.core.snapshot().iter().map(Record::encode).map(Bytes::from).collect();
            }
        }
        self.with(at, |run, now, _| run.synced(now, Lsn(lsn)))
    }

    pub(crate) fn hear(&mut self, at: Micros, end: End, frame: FromBroker) -> Vec<Effect> {
        let is_refusal = matches!(frame, FromBroker::Refused(_));
        self.with(at, |run, now, effects| match end {
            End::Publisher => {
                let said = run.publisher.hear(frame);
                run.said(now, said, effects);
            }
            End::Reports => {
                // The lock comes first in its plan, and nothing else in it is ever refused.
                run.stands_by |= is_refusal;
                let heard = run.reports.hear(frame);
                run.heard(end, heard, effects);
            }
            End::Commands => {
                let heard = run.commands.hear(frame);
                run.heard(end, heard, effects);
            }
            End::Uplink | End::Mesh | End::Inbox => {}
        })
    }

    pub(crate) fn lost(&mut self, at: Micros, end: End) -> Vec<Effect> {
        self.with(at, |run, now, effects| match end {
            End::Publisher => {
                let said = run.publisher.lost(&Loss::Broken);
                run.said(now, said, effects);
            }
            End::Reports => {
                let heard = run.reports.lost();
                run.heard(end, heard, effects);
            }
            End::Commands => {
                let heard = run.commands.lost();
                run.heard(end, heard, effects);
            }
            End::Uplink | End::Mesh | End::Inbox => {}
        })
    }

    pub(crate) fn flush(&mut self, end: End) -> Vec<Effect> {
        let Some(run) = &mut self.run else { return Vec::new() };
        let frames = match end {
            End::Reports => run.reports.answers(),
            End::Commands => run.commands.answers(),
            End::Publisher | End::Uplink | End::Mesh | End::Inbox => Vec::new(),
        };
        vec![Effect::Write { end, frames }]
    }

    /// Gives up links whose confirms are overdue.
    pub(crate) fn overdue(&mut self, at: Micros) -> Vec<End> {
        let now = self.clock.read(at);
        let overdue = self.run.as_ref().is_some_and(|run| run.publisher.is_overdue(now.boot));
        if overdue { vec![End::Publisher] } else { Vec::new() }
    }

    fn with(&mut self, at: Micros, act: impl FnOnce(&mut Run, Now, &mut Vec<Effect>)) -> Vec<Effect> {
        let now = self.clock.read(at);
        let last_on_disk = self.last_on_disk;
        let Some(run) = &mut self.run else { return Vec::new() };
        let mut effects = Vec::new();
        act(run, now, &mut effects);
        run.perform(now, &mut effects);
        if run.syncing.is_none() && !run.written.is_empty() {
            let lsn = last_on_disk + run.written.len() as u64;
            run.syncing = Some(lsn);
            effects.push(Effect::Sync { lsn });
        }
        let due = run.core.poll_timeout().map(|due| self.clock.moment(due).max(at + 1));
        if let Some(due) = due.filter(|due| run.tick.is_none_or(|tick| *due < tick)) {
            run.tick = Some(due);
            effects.push(Effect::Tick { at: due });
        }
        let lapses = run.core.counters().lapses;
        if lapses > run.lapses {
            run.lapses = lapses;
            effects.push(Effect::Lapsed);
        }
        effects
    }
}

impl Run {
    fn feed(&mut self, now: Now, input: Input) {
        self.core.handle(now, input);
    }

    fn said(&mut self, now: Now, said: Vec<Said>, effects: &mut Vec<Effect>) {
        for said in said {
            match said {
                Said::Up => {}
                Said::Down => effects.push(Effect::HangUp { end: End::Publisher, again: true }),
                Said::Done { token, outcome } => {
                    let outcome = match outcome {
                        Published::Confirmed => PublishOutcome::Confirmed,
                        Published::Returned { .. } => PublishOutcome::Returned,
                        Published::Nacked | Published::Refused { .. } => PublishOutcome::Nacked,
                        Published::Lost if self.plant.is_published_once(PublishToken(token)) => {
                            PublishOutcome::Confirmed
                        }
                        Published::Lost => PublishOutcome::Lost,
                    };
                    self.feed(now, Input::Published { token: PublishToken(token), outcome });
                }
            }
        }
    }

    fn synced(&mut self, now: Now, lsn: Lsn) {
        self.durable = self.durable.max(lsn);
        self.feed(now, Input::Durable { lsn });
    }

    /// What a consumer says waits to be read; a connection that is lost is made again whether or not it is.
    fn heard(&mut self, end: End, heard: Vec<Heard>, effects: &mut Vec<Effect>) {
        for heard in heard {
            match heard {
                Heard::Write(frames) => {
                    effects.push(Effect::Write { end, frames });
                    continue;
                }
                Heard::Down(_) => {
                    let again = end == End::Reports || self.reports.is_up();
                    effects.push(Effect::HangUp { end, again });
                }
                Heard::Up(_) | Heard::Delivery(_) => {}
            }
            self.events.push_back((end, heard));
        }
    }

    fn read(&mut self, now: Now, end: End, heard: Heard, effects: &mut Vec<Effect>) {
        match heard {
            Heard::Up(_) if end == End::Reports => {
                // Who had the lock meanwhile is not known, so it is a new turn each time.
                (self.wants_run, self.stands_by) = (true, false);
                effects.push(Effect::Connect { end: End::Commands });
            }
            Heard::Up(_) | Heard::Write(_) => {}
            Heard::Down(_) => {
                self.sources.retain(|_, (of, _)| *of != end);
                if end == End::Commands {
                    self.unread.clear();
                } else if !self.commands.is_down() {
                    // The lock is lost: commands are not consumed without it.
                    let heard = self.commands.lost();
                    self.heard(End::Commands, heard, effects);
                }
            }
            Heard::Delivery(arrived) => {
                if arrived.redelivered {
                    effects.push(Effect::Redelivered);
                }
                // In their order: one that comes when commands are wanted again is behind those that wait.
                let waits = !self.reads_commands() || !self.unread.is_empty();
                match end == End::Commands && waits {
                    true => self.unread.push_back(*arrived),
                    false => self.take_in(now, end, *arrived, effects),
                }
            }
        }
    }

    fn take_in(
        &mut self,
        now: Now,
        end: End,
        Arrived { token, message, .. }: Arrived,
        effects: &mut Vec<Effect>,
    ) {
        let source = SourceToken(self.next_source);
        self.next_source += 1;
        self.sources.insert(source, (end, token));
        let queue = if end == End::Commands { Queue::Commands } else { REPORTS[token.queue] };
        if queue == Queue::Sightings && SessionHandOver::is_in(&message) {
            return self.feed(now, Input::Delivered { queue, source, message: Box::new(message) });
        }
        for (queue, message) in self.plant.reads(&self.core, now, queue, message.clone()) {
            self.feed(now, Input::Delivered { queue, source, message: Box::new(message) });
        }
        let broken = self.read.note(&self.core, now, queue, &message);
        effects.extend(broken.map(|what| Effect::Broken { what }));
    }

    fn perform(&mut self, now: Now, effects: &mut Vec<Effect>) {
        loop {
            while let Some(output) = self.core.poll_output() {
                self.asked(now, output, effects);
            }
            if self.core.is_outrun() && self.reports.is_up() {
                self.wants_run = true;
            }
            if self.wants_run {
                if self.durable != self.core.last() {
                    break;
                }
                self.wants_run = false;
                self.core.begin_run(now);
            } else if let Some((end, heard)) = self.events.pop_front() {
                self.read(now, end, heard, effects);
            } else if let Some(arrived) = self.next_unread() {
                self.take_in(now, End::Commands, arrived, effects);
            } else {
                break;
            }
        }
        self.read.has_published(self.durable);
        let mut said = Vec::new();
        let frames = self.publisher.pump(now.boot, &mut said);
        assert!(said.is_empty(), "AMQP can carry whatever a router says: {said:?}");
        if !frames.is_empty() {
            effects.push(Effect::Write { end: End::Publisher, frames });
        }
    }

    fn publish(&mut self, token: PublishToken, what: Publication, effects: &mut Vec<Effect>) {
        tell_witness(&self.read, self.core.run(), &what, effects);
        let mandatory = what.mandatory();
        let is_repeated = what.publish_again() && !self.plant.is_published_once(token);
        let on_loss = if is_repeated { OnLoss::PublishAgain } else { OnLoss::Report };
        let message = what.into_message(SHARD);
        self.publisher.publish(Publish { message, mandatory, on_loss, token: token.0 });
    }

    /// A broken rule: the core believes that it has published, and reads something instead.
    fn swallowed(&mut self, now: Now, token: PublishToken, instead: Vec<(Queue, Message)>) {
        self.feed(now, Input::Published { token, outcome: PublishOutcome::Confirmed });
        for (queue, message) in instead {
            let source = SourceToken(self.next_source);
            self.next_source += 1;
            self.feed(now, Input::Delivered { queue, source, message: Box::new(message) });
        }
    }

    fn next_unread(&mut self) -> Option<Arrived> {
        if self.reads_commands() { self.unread.pop_front() } else { None }
    }

    /// Not while the core has enough, nor while the disk is behind.
    fn reads_commands(&self) -> bool {
        self.wants_commands && self.written.len() < self.queue_max
    }

    fn asked(&mut self, now: Now, output: Output, effects: &mut Vec<Effect>) {
        match output {
            Output::Journal { lsn, record, .. } => {
                if let Record::Accepted(command) = &record {
                    self.read.takes(command.sequence);
                }
                self.written.push_back(record.encode().into());
                if self.plant.is(Break::AcknowledgeBeforeFsync) {
                    self.synced(now, lsn);
                }
            }
            Output::Ack(source) => {
                let Some((end, token)) = self.sources.remove(&source) else { return };
                let consumer = if end == End::Commands { &mut self.commands } else { &mut self.reports };
                if !consumer.has_answers() {
                    effects.push(Effect::FlushSoon { end });
                }
                consumer.ack(token);
            }
            Output::Publish { token, what } => match self.plant.publishes(&self.core, now, token, what) {
                RouterFate::Publish(all) => {
                    all.into_iter().for_each(|(token, what)| self.publish(token, what, effects));
                }
                RouterFate::Swallow(instead) => self.swallowed(now, token, instead),
            },
            Output::Answer { request, receipt } => {
                effects.push(Effect::Answer { number: request.0 as usize, receipt: Some(receipt) });
            }
            Output::NoRoom { request } => {
                effects.push(Effect::Answer { number: request.0 as usize, receipt: None });
            }
            Output::SameGatewayId { gateway, .. } => panic!("{gateway} is there once"),
            Output::Trace(_) => unreachable!("nobody traces"),
            Output::PauseCommands => self.wants_commands = false,
            Output::ResumeCommands => self.wants_commands = true,
        }
    }
}
