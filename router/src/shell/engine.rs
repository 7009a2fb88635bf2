//! The one task that owns the core.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use roost_backend::shell::{ConsumerEvent, Delivered, PublisherEvent};
use roost_ops::{Readiness, now};
use roost_wire::{CommandRequest, Device, Receipt};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::sleep;

use super::log::{Full, Log, LogStatus, WrittenSnapshot};
use super::metrics::Snapshot;
use super::publications::{Publications, outcome};
use super::sources::{Line, Sources};
use super::waiters::Waiters;
use crate::{Input, Lsn, Output, PublishToken, Queue, RouterCore};

/// What HTTP asks of the engine.
#[derive(Debug)]
pub(super) enum Ask {
    /// Take this command into custody; what becomes of it is shown there.
    Command { command: Box<CommandRequest>, answers: watch::Sender<Option<Receipt>> },
    /// Where is this device, and what would a send do?
    Explain { device: Device, reply: oneshot::Sender<serde_json::Value> },
    /// Which gateways are known?
    Gateways { reply: oneshot::Sender<serde_json::Value> },
    /// What was counted?
    Figures { reply: oneshot::Sender<Snapshot> },
}

/// Everything the engine is made of.
pub(super) struct Engine {
    pub(super) core: RouterCore,
    pub(super) log: Log,
    pub(super) publications: Publications,
    pub(super) sources: Sources,
    pub(super) waiters: Waiters,
    pub(super) readiness: Readiness,
    pub(super) snapshot: Arc<Mutex<Snapshot>>,
    /// Whether the core wants commands.
    pub(super) wants_commands: bool,
    /// Whether the reports' connection is up, and with it the lock that makes this the shard's only router.
    pub(super) has_lock: bool,
    pub(super) compaction: Option<JoinHandle<std::io::Result<WrittenSnapshot>>>,
    pub(super) compacted_at_bytes: u64,
}

/// What an engine leaves to be closed.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) log: Log,
    pub(super) sources: Sources,
    pub(super) grace: Duration,
}

/// Where the engine's inputs come from.
pub(super) struct Lines {
    pub(super) commands: mpsc::Receiver<ConsumerEvent>,
    pub(super) reports: mpsc::Receiver<ConsumerEvent>,
    pub(super) published: mpsc::Receiver<PublisherEvent>,
    pub(super) asks: mpsc::Receiver<Ask>,
    pub(super) stop: oneshot::Receiver<Duration>,
}

/// How many inputs are taken in at once, so that their records share one fsync.
const BATCH: usize = 256;

/// How old the figures may be that `/metrics` shows, and how often requests that are over are forgotten.
const HOUSEKEEPING: Duration = Duration::from_millis(200);

/// So much is appended between two compactions: four segments, so that disk and start stay small.
const COMPACT_EVERY_BYTES: u64 = 256 * 1024 * 1024;

const REPORTS: [Queue; 3] = [Queue::Expired, Queue::Sightings, Queue::Settlements];

impl Engine {
    /// Runs until it is told to stop; then lets what is under way become durable within the grace, and returns what is to be closed.
    pub(super) async fn run(mut self, mut lines: Lines) -> Ended {
        let mut status = self.log.status();
        let mut commands = Vec::with_capacity(BATCH);
        let mut reports = Vec::with_capacity(BATCH);
        let mut published = Vec::with_capacity(BATCH);
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
        loop {
            self.perform().await;
            let timer = sleep(self.core.poll_timeout().map_or(HOUSEKEEPING, |at| at.since(now().boot)));
            let reads_commands = self.wants_commands && self.has_lock;
            tokio::select! {
                received = lines.commands.recv_many(&mut commands, BATCH), if reads_commands => {
                    if received == 0 {
                        return self.lost("commands").await;
                    }
                    self.consumed(Line::Commands, commands.drain(..));
                }
                received = lines.reports.recv_many(&mut reports, BATCH) => {
                    if received == 0 {
                        return self.lost("reports").await;
                    }
                    self.consumed(Line::Reports, reports.drain(..));
                }
                received = lines.published.recv_many(&mut published, BATCH) => {
                    if received == 0 {
                        return self.lost("publisher").await;
                    }
                    self.published(published.drain(..));
                }
                Some(ask) = lines.asks.recv() => self.asked(ask),
                Ok(()) = status.changed() => self.logged(&status.borrow_and_update().clone()),
                () = timer => self.core.handle(now(), Input::Tick),
                _ = housekeeping.tick() => self.keep_house(),
                grace = &mut lines.stop => return self.end(grace.unwrap_or_default()).await,
            }
        }
    }

    /// One end of the link has ended by itself, which is a fault of the program: the router ends too, and says so by that.
    async fn lost(self, end: &'static str) -> Ended {
        tracing::error!(end, "a part of the AMQP link has ended by itself");
        self.end(Duration::ZERO).await
    }

    async fn end(mut self, grace: Duration) -> Ended {
        self.perform().await;
        if let Some(task) = self.compaction.take() {
            // It never was, unless it is installed: what was appended stays as it is.
            let _ = task.await;
        }
        Ended { log: self.log, sources: self.sources, grace }
    }

    fn consumed(&mut self, line: Line, events: impl Iterator<Item = ConsumerEvent>) {
        for event in events {
            match event {
                ConsumerEvent::Up { .. } => self.line_changed(line, None),
                ConsumerEvent::Down { link, reason } => {
                    self.sources.lost(line, link);
                    self.line_changed(line, Some(&reason));
                }
                ConsumerEvent::Delivery(delivered) => self.delivered(line, delivered),
            }
        }
    }

    fn delivered(&mut self, line: Line, delivered: Delivered) {
        let Delivered { token, queue, message, .. } = delivered;
        let queue = match line {
            Line::Commands => Queue::Commands,
            Line::Reports => REPORTS[queue],
        };
        let source = self.sources.name(line, token);
        self.core.handle(now(), Input::Delivered { queue, source, message: Box::new(message) });
    }

    fn line_changed(&mut self, line: Line, trouble: Option<&str>) {
        let part = match line {
            Line::Commands => "AMQP commands",
            Line::Reports => "AMQP reports",
        };
        if line == Line::Reports {
            self.has_lock = trouble.is_none();
        }
        self.part_changed(part, trouble);
    }

    fn part_changed(&self, part: &'static str, trouble: Option<&str>) {
        match trouble {
            None if self.readiness.ready(part) => tracing::info!("{part}: ready"),
            Some(reason) if self.readiness.not_ready(part, reason) => {
                tracing::warn!(%reason, "{part}: waiting");
            }
            None | Some(_) => {}
        }
    }

    fn published(&mut self, events: impl Iterator<Item = PublisherEvent>) {
        const PART: &str = "AMQP publisher";
        for event in events {
            match event {
                PublisherEvent::Done { token, outcome: published } => {
                    let (token, outcome) = (PublishToken(token), outcome(published));
                    self.core.handle(now(), Input::Published { token, outcome });
                }
                PublisherEvent::Up | PublisherEvent::Unblocked => self.part_changed(PART, None),
                PublisherEvent::Down { reason } | PublisherEvent::Blocked { reason } => {
                    self.part_changed(PART, Some(&reason));
                }
            }
        }
        self.publications.push();
    }

    fn asked(&mut self, ask: Ask) {
        match ask {
            Ask::Command { command, answers } => {
                let request = self.waiters.add(answers);
                self.core.handle(now(), Input::Http { request, command });
            }
            // Who no longer waits for the answer does not get it.
            Ask::Explain { device, reply } => drop(reply.send(json(&self.core.explain(now(), &device)))),
            Ask::Gateways { reply } => drop(reply.send(json(&self.core.gateways(now())))),
            Ask::Figures { reply } => drop(reply.send(self.figures())),
        }
    }

    fn logged(&mut self, status: &LogStatus) {
        self.part_changed("journal", status.stuck.as_deref());
        self.core.handle(now(), Input::Durable { lsn: Lsn(status.durable.0) });
    }

    fn keep_house(&mut self) {
        self.waiters.sweep();
        let recovering = (!self.core.is_recovered()).then_some("gateways have not all said what they hold");
        self.part_changed("recovery", recovering);
        self.compact();
        *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = self.figures();
    }

    fn figures(&self) -> Snapshot {
        Snapshot {
            counters: self.core.counters().clone(),
            log: self.log.status().borrow().clone(),
            commands_in_custody: self.core.journal().commands(),
            bytes_in_custody: self.core.journal().bytes(),
            requests_waiting: self.waiters.len(),
            publications_waiting: self.publications.waiting(),
        }
    }

    /// Writes a snapshot beside the appends when enough has been appended, and puts it in force when it is written.
    fn compact(&mut self) {
        let written = self.log.status().borrow().written_bytes;
        match self.compaction.take() {
            Some(task) if !task.is_finished() => self.compaction = Some(task),
            Some(task) => self.compaction = self.install(task),
            None if written - self.compacted_at_bytes >= COMPACT_EVERY_BYTES => {
                // The log's queue is full: soon again.
                let Some(snapshot) = self.log.try_snapshot() else { return };
                let records = self.core.snapshot();
                self.compacted_at_bytes = written;
                self.compaction = Some(spawn_blocking(move || {
                    snapshot.write(records.iter().map(|record| record.encode()))
                }));
            }
            None => {}
        }
    }

    fn install(
        &mut self,
        task: JoinHandle<std::io::Result<WrittenSnapshot>>,
    ) -> Option<JoinHandle<std::io::Result<WrittenSnapshot>>> {
        // A finished task is ready: this polls it once.
        match futures_now(task) {
            Some(Ok(Ok(written))) => match self.log.try_install(written) {
                Ok(()) => None,
                // The log's queue is full: a finished task of the same stands for it until then.
                Err(written) => Some(spawn_blocking(move || Ok(written))),
            },
            Some(Ok(Err(error))) => {
                tracing::warn!(%error, "the journal's snapshot could not be written; it will be tried again");
                None
            }
            Some(Err(_)) | None => None,
        }
    }

    /// Performs everything the core asks for. While the log's queue is full nothing new is taken in.
    async fn perform(&mut self) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Journal { lsn, record } => self.append(lsn, record.encode()).await,
                Output::Ack(source) => self.sources.ack(source),
                Output::Publish { token, what } => self.publications.publish(token, what),
                Output::Answer { request, receipt } => self.waiters.answer(request, *receipt),
                Output::PauseCommands => self.wants_commands = false,
                Output::ResumeCommands => self.wants_commands = true,
            }
        }
    }

    async fn append(&mut self, lsn: Lsn, record: Vec<u8>) {
        let mut record = Bytes::from(record);
        loop {
            match self.log.try_append(record) {
                Ok(appended) => {
                    debug_assert_eq!(appended.0, lsn.0, "the core and the log count alike");
                    break;
                }
                Err(Full(back)) => {
                    record = back;
                    self.log.room().await;
                }
            }
        }
    }
}

/// What the core explains, for HTTP.
fn json(view: &impl serde::Serialize) -> serde_json::Value {
    serde_json::to_value(view).expect("views hold no map with keys that are not text")
}

/// The result of a future that is ready.
fn futures_now<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::Pin::new(&mut future).poll(&mut context) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}
