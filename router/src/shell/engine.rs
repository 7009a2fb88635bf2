//! The one task that owns the core: it feeds it, and performs what it asks for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use roost_backend::shell::{ConsumerEvent, Delivered, DownReason, PublisherEvent};
use roost_ops::{Spans, now};
use roost_wire::{CommandRequest, Device, MessageId};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::backlog::Backlog;
use super::compaction::Compaction;
use super::metrics::Snapshot;
use super::publications::{Publications, outcome};
use super::sources::{Line, Sources};
use super::standing::Standing;
use super::telling;
use super::waiters::{NotTaken, Progress, Waiters};
use crate::{Gauges, Input, Lsn, Output, PublishToken, RouterCore};
use roost_log::LogStatus;

/// What HTTP asks of the engine.
#[derive(Debug)]
pub(super) enum Ask {
    /// Take this command into custody; what becomes of it is shown there.
    Command { command: Box<CommandRequest>, progress: watch::Sender<Progress> },
    /// Where is this device, and what would a send do?
    Explain { device: Device, reply: oneshot::Sender<serde_json::Value> },
    /// What happened to the commands with this message id?
    Why { id: MessageId, device: Option<Device>, reply: oneshot::Sender<serde_json::Value> },
    /// Which gateways are known?
    Gateways { reply: oneshot::Sender<serde_json::Value> },
    /// What was counted?
    Figures { reply: oneshot::Sender<Snapshot> },
}

/// Everything the engine is made of.
pub(super) struct Engine {
    pub(super) core: RouterCore,
    pub(super) backlog: Backlog,
    pub(super) publications: Publications,
    pub(super) sources: Sources,
    pub(super) waiters: Waiters,
    pub(super) compaction: Compaction,
    pub(super) standing: Standing,
    pub(super) spans: Spans,
    pub(super) snapshot: Arc<Mutex<Snapshot>>,
    pub(super) not_taken: BTreeMap<NotTaken, u64>,
    /// Up to where the core was told that its records are on disk.
    pub(super) durable: Lsn,
    /// Whether the core wants commands.
    pub(super) wants_commands: bool,
    /// The lock is held, and a run is to begin as soon as everything before it is on disk. Nothing is taken in meanwhile.
    pub(super) wants_run: bool,
    /// Since the stop was asked for: until when what is under way may take.
    pub(super) draining: Option<Instant>,
}

/// Where the engine's inputs come from, besides its sources.
pub(super) struct Inputs {
    pub(super) published: mpsc::Receiver<PublisherEvent>,
    pub(super) asks: mpsc::Receiver<Ask>,
    pub(super) stop: oneshot::Receiver<Instant>,
}

/// What an engine leaves to be closed.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) backlog: Backlog,
    pub(super) sources: Sources,
    pub(super) compaction: Compaction,
}

/// How many inputs are taken in at once, so that their records share one fsync.
const BATCH: usize = 256;

/// How often requests that are over are forgotten, and how old the figures of a demo's live line may be.
const HOUSEKEEPING: Duration = Duration::from_millis(200);

impl Engine {
    /// Runs until it is told to stop, and what it has begun is on disk and said, or its time is over. It ends by itself only
    /// when a part of the program has failed.
    pub(super) async fn run(mut self, mut inputs: Inputs) -> Ended {
        let mut status = self.backlog.log().status();
        let mut published = Vec::with_capacity(BATCH);
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
        loop {
            self.perform();
            self.begin_run_if_due();
            if self.draining.is_some() && self.is_settled() {
                return self.end();
            }
            let timer = sleep(self.core.poll_timeout().map_or(HOUSEKEEPING, |at| at.since(now().boot)));
            let (deadline, is_blocked) = (self.draining, self.backlog.is_blocked());
            let reads_commands = self.wants_commands && !is_blocked;
            let reads_asks = (!is_blocked && !self.wants_run) || status.borrow().stuck.is_some();
            let reads_sources = deadline.is_none() && !self.wants_run;
            tokio::select! {
                event = self.sources.next(reads_commands), if reads_sources => match event {
                    Some((line, event)) => self.consumed(line, event),
                    None => return self.fail("a consumer"),
                },
                count = inputs.published.recv_many(&mut published, BATCH) => match count {
                    0 => return self.fail("the publisher"),
                    _ => self.published(published.drain(..)),
                },
                ask = inputs.asks.recv(), if reads_asks => match ask {
                    Some(ask) => self.asked(ask),
                    None => return self.fail("the HTTP API"),
                },
                changed = status.changed() => match changed {
                    Ok(()) => self.logged(&status.borrow_and_update().clone()),
                    Err(_) => return self.fail("the journal's writer"),
                },
                () = self.backlog.room(), if is_blocked => self.backlog.push(),
                () = timer => self.core.handle(now(), Input::Tick),
                _ = housekeeping.tick() => self.keep_house().await,
                by = &mut inputs.stop, if deadline.is_none() => self.begin_to_drain(by.ok()),
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => return self.end(),
            }
        }
    }

    /// Whether everything that was begun is on disk, said, and (if AMQP is there to do it) confirmed.
    fn is_settled(&self) -> bool {
        let is_published = self.publications.is_settled() || !self.standing.publisher_is_up();
        self.durable == self.core.last() && is_published
    }

    /// `None`: the router was dropped, and nobody waits.
    fn begin_to_drain(&mut self, deadline: Option<Instant>) {
        self.standing.draining();
        self.draining = Some(deadline.unwrap_or_else(Instant::now));
    }

    fn fail(self, part: &str) -> Ended {
        tracing::error!(
            "{part} has ended by itself, and the router with it; the next run resumes from the journal"
        );
        self.end()
    }

    fn end(self) -> Ended {
        Ended { backlog: self.backlog, sources: self.sources, compaction: self.compaction }
    }

    fn consumed(&mut self, line: Line, event: ConsumerEvent) {
        self.take_in(line, event);
        for _ in 1..BATCH {
            // What follows is for the run that begins.
            if self.wants_run {
                break;
            }
            let Some(event) = self.sources.waiting(line) else { break };
            self.take_in(line, event);
        }
    }

    fn take_in(&mut self, line: Line, event: ConsumerEvent) {
        match event {
            ConsumerEvent::Up { .. } => self.line_changed(line, None),
            ConsumerEvent::Down { link, reason } => {
                self.sources.lost(line, link);
                self.line_changed(line, Some(&reason));
            }
            ConsumerEvent::Delivery(Delivered { token, queue, message, .. }) => {
                let source = self.sources.name(line, token);
                let (queue, message) = (line.queue(queue), Box::new(message));
                self.core.handle(now(), Input::Delivered { queue, source, message });
            }
        }
    }

    fn line_changed(&mut self, line: Line, trouble: Option<&DownReason>) {
        if let Some(has_lock) = self.standing.line(line, trouble) {
            self.sources.lock_changed(has_lock);
            // Who had it meanwhile is not known, so it is a new turn each time.
            self.wants_run = has_lock;
        }
    }

    /// Begins a run when the lock is held and everything before is on disk: what is forgotten then is in the journal.
    fn begin_run_if_due(&mut self) {
        if self.core.is_outrun() && self.standing.has_lock() && !self.wants_run {
            tracing::warn!(
                run = %self.core.run(),
                "gateways have heard a newer run of another router, and take no word of this one: a new run begins"
            );
            self.wants_run = true;
        }
        if self.wants_run && self.draining.is_none() && self.durable == self.core.last() {
            self.wants_run = false;
            self.core.begin_run(now());
            tracing::info!(run = %self.core.run(), "the shard's lock is held: a run begins");
            self.perform();
        }
    }

    fn published(&mut self, events: impl Iterator<Item = PublisherEvent>) {
        for event in events {
            match event {
                PublisherEvent::Done { token, outcome: published } => {
                    self.publications.done();
                    let (token, outcome) = (PublishToken(token), outcome(published));
                    self.core.handle(now(), Input::Published { token, outcome });
                }
                PublisherEvent::Up => self.standing.publisher(None),
                PublisherEvent::Down { reason } => self.standing.publisher(Some(&reason)),
                PublisherEvent::Unblocked => self.standing.publisher_blocked(None),
                PublisherEvent::Blocked { reason } => self.standing.publisher_blocked(Some(&reason)),
            }
        }
        self.publications.push();
    }

    fn asked(&mut self, ask: Ask) {
        // Who no longer waits for the answer does not get it.
        match ask {
            Ask::Command { command, progress } => match self.refuses_commands() {
                Some(reason) => {
                    *self.not_taken.entry(reason).or_default() += 1;
                    let _ = progress.send(Progress::NotTaken(reason));
                }
                None => {
                    let request = self.waiters.add(progress);
                    self.core.handle(now(), Input::Http { request, command });
                }
            },
            Ask::Explain { device, reply } => drop(reply.send(json(&self.core.explain(now(), &device)))),
            Ask::Why { id, device, reply } => {
                drop(reply.send(json(&self.core.why(&id, device.as_ref()))));
            }
            Ask::Gateways { reply } => drop(reply.send(json(&self.core.gateways(now())))),
            Ask::Figures { reply } => {
                let gauges = self.core.gauges(now());
                drop(reply.send(Snapshot { gauges, ..self.figures() }));
            }
        }
    }

    /// Why no command is taken over HTTP at the moment. AMQP may be away: the journal is what custody needs.
    fn refuses_commands(&self) -> Option<NotTaken> {
        if self.draining.is_some() {
            Some(NotTaken::Draining)
        } else if self.standing.is_standby() {
            Some(NotTaken::Standby)
        } else {
            self.backlog.status().stuck.map(|_| NotTaken::JournalStuck)
        }
    }

    fn logged(&mut self, status: &LogStatus) {
        self.standing.journal(status.stuck.as_deref());
        self.durable = status.durable;
        self.core.handle(now(), Input::Durable { lsn: self.durable });
    }

    async fn keep_house(&mut self) {
        self.waiters.sweep();
        self.standing.recovery(self.core.is_recovered());
        if self.draining.is_none() {
            let core = &self.core;
            self.compaction.proceed(&mut self.backlog, || core.snapshot()).await;
        }
        *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = self.figures();
    }

    fn figures(&self) -> Snapshot {
        Snapshot {
            counters: self.core.counters().clone(),
            run: if self.core.has_run() { self.core.run().0 } else { 0 },
            links: self.standing.links(),
            log: self.backlog.status(),
            commands_in_custody: self.core.journal().commands(),
            bytes_in_custody: self.core.journal().bytes(),
            receipts_owed: self.core.journal().owed_count(),
            requests_waiting: self.waiters.len(),
            publications_waiting: self.publications.waiting(),
            gauges: Gauges::default(),
            publisher: self.publications.figures(),
            consumers: self.sources.figures(),
            spans: self.spans.figures(),
            not_taken: NotTaken::ALL
                .map(|reason| (reason.as_str(), self.not_taken.get(&reason).copied().unwrap_or_default()))
                .into(),
        }
    }

    /// Performs everything the core asks for.
    fn perform(&mut self) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Journal { lsn, record, trace } => {
                    telling::record(&record, trace);
                    self.backlog.append(lsn, record.encode());
                }
                Output::Trace(trace) => telling::trace(&self.spans, *trace),
                Output::Ack(source) => self.sources.ack(source),
                Output::Publish { token, what } => self.publications.publish(token, what),
                Output::Answer { request, receipt } => self.waiters.answer(request, *receipt),
                Output::NoRoom { request } => {
                    *self.not_taken.entry(NotTaken::Full).or_default() += 1;
                    self.waiters.refuse(request, NotTaken::Full);
                }
                Output::PauseCommands => self.wants_commands = false,
                Output::ResumeCommands => self.wants_commands = true,
                Output::SameGatewayId { gateway, newer, older } => tracing::warn!(
                    %gateway,
                    %newer,
                    %older,
                    "two live processes have the same gateway id: the newer incarnation is believed, nothing of the older counts"
                ),
            }
        }
    }
}

/// What the core explains, for HTTP.
fn json(view: &impl serde::Serialize) -> serde_json::Value {
    serde_json::to_value(view).expect("views hold no map with keys that are not text")
}
