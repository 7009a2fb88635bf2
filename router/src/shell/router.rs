//! A running router, as its role or the demo holds it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use roost_backend::Topology;
use roost_backend::shell::{Publisher, PublisherConfig, publisher};
use roost_ops::{ListenError, Readiness, Resource, SpanExport, Spans, SpansError, listen_on_loopback, now};
use roost_wire::TraceIds;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout};

use super::backlog::Backlog;
use super::compaction::Compaction;
use super::config::RouterConfig;
use super::engine::{Ended, Engine, Inputs};
use super::http;
use super::metrics::Snapshot;
use super::publications::Publications;
use super::sources::{SHARDS, Sources};
use super::standing::Standing;
use super::waiters::Waiters;
use crate::journal::{Journal, Record, RecordError};
use crate::{Lsn, RouterCore};
use roost_log::{Log, LogConfig, LogError, Opened, Replayed};

/// A router that has custody of its shard's commands. Drop it and it ends at once, which loses nothing; [`Router::drain`]
/// ends it well.
#[derive(Debug)]
pub struct Router {
    http: SocketAddr,
    readiness: Readiness,
    snapshot: Arc<Mutex<Snapshot>>,
    publisher: Publisher,
    stop: oneshot::Sender<Instant>,
    engine: JoinHandle<Ended>,
    http_task: (oneshot::Sender<()>, JoinHandle<()>),
    span_export: SpanExport,
}

/// Why a router did not start. The operator is to act.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    /// The port is not to be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The journal cannot be opened or read.
    #[error("the journal: {0}")]
    Log(#[from] LogError),
    /// A record of the journal is of another version.
    #[error("the journal's record {lsn}: {source}")]
    Record {
        /// Which one.
        lsn: Lsn,
        /// What is wrong with it.
        source: RecordError,
    },
    /// Spans cannot go where they are to go.
    #[error(transparent)]
    Spans(#[from] SpansError),
}

/// What a drain had to cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DrainReport {
    /// Records that the disk did not take in time. Nothing that depends on them was said.
    pub records_cut: u64,
    /// Messages that the backend had not confirmed. What is owed of them is in the journal.
    pub publications_unconfirmed: usize,
}

/// What the last spans get at the end; a collector that takes longer does not get them.
const SPANS_GRACE: Duration = Duration::from_secs(1);

/// How long answers that are on their way may take at the end.
const HTTP_GRACE: Duration = Duration::from_secs(1);

/// How long the publisher may take at the end, when nothing more can be confirmed.
const PUBLISHER_GRACE: Duration = Duration::from_secs(1);

/// Questions of HTTP that wait for the engine. More wait in their connections.
const ASKS_MAX: usize = 256;

impl Router {
    /// Opens the journal, replays it, and begins to serve. AMQP may be away: the router tries on, and `/readyz` says so. A run
    /// begins when the shard's lock is held, and another one each time that it is held again.
    ///
    /// # Errors
    /// [`RouterError`] if the port is not to be had or the journal cannot be read.
    pub async fn start(config: RouterConfig) -> Result<Self, RouterError> {
        let listener = listen_on_loopback("the router's HTTP API", config.http)?;
        let http = listener.local_addr().map_err(|source| ListenError::Io {
            what: "the router's HTTP API",
            address: config.http,
            source,
        })?;
        let data = config.data.clone();
        // Reading a long journal takes seconds of disk and CPU: not on a thread that others need.
        let (log, journal) = spawn_blocking(move || open(data))
            .await
            .unwrap_or_else(|error| resume_unwind(error.into_panic()))?;
        let (shard, last) = (config.shard, log.last());
        let ids = config.tracing.as_ref().map(|tracing| TraceIds::new(rand::random(), tracing.sample));
        let at = now();
        let mut core = RouterCore::open(at, shard, config.limits.clone(), journal, last, rand::random());
        core.trace_with(at, ids);
        let instance = shard.to_string();
        let resource = Resource { service: "roost-router", instance, attributes: Vec::new() };
        let (spans, span_export) = Spans::start(config.tracing.as_ref(), resource)?;

        let readiness = Readiness::default();
        let standing = Standing::new(readiness.clone());
        let (publisher, published) =
            publisher(config.link("publisher"), Topology::contract(SHARDS), PublisherConfig::default());
        let snapshot = Arc::<Mutex<Snapshot>>::default();
        tracing::info!(%shard, %http, journal = %config.data.display(), "router started");
        let waiting_max = config.requests_waiting_max;
        let engine = Engine {
            core,
            backlog: Backlog::new(log),
            publications: Publications::new(shard, publisher.clone()),
            compaction: Compaction::new(config.compact_every_bytes),
            sources: Sources::new(config),
            waiters: Waiters::default(),
            standing,
            spans,
            snapshot: Arc::clone(&snapshot),
            not_taken: BTreeMap::new(),
            durable: last,
            wants_commands: true,
            wants_run: false,
            draining: None,
        };
        let (asks_sender, asks) = mpsc::channel(ASKS_MAX);
        let (stop, stopped) = oneshot::channel();
        let engine = tokio::spawn(engine.run(Inputs { published, asks, stop: stopped }));
        let http_task = http::serve(listener, asks_sender, readiness.clone(), waiting_max);
        Ok(Self { http, readiness, snapshot, publisher, stop, engine, http_task, span_export })
    }

    /// Where the HTTP API listens.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        self.http
    }

    /// What it still waits for.
    #[must_use]
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Its figures, at most a moment old.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it has ended by itself, which is a fault of the program.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.engine.is_finished()
    }

    /// Takes in nothing more, lets the disk and the backend finish within `grace`, and ends: what was taken in is on disk,
    /// acknowledged and told. Returns what had to be cut; the next run resumes from the journal in any case.
    pub async fn drain(self, grace: Duration) -> DrainReport {
        let deadline = Instant::now() + grace;
        let left = || deadline.saturating_duration_since(Instant::now());
        let mut report = DrainReport::default();
        let _ = self.stop.send(deadline);
        if let Ok(Ended { backlog, sources, compaction }) = self.engine.await {
            // It is of no use any more: it is not waited for beyond the grace, and what it wrote is removed at the next start.
            let _ = timeout(left(), compaction.end()).await;
            report.records_cut = backlog.close(left()).await.cut;
            sources.close().await;
        }
        // The engine has waited for all that could be confirmed in time.
        report.publications_unconfirmed =
            self.publisher.close(left().min(PUBLISHER_GRACE)).await.tokens.len();
        self.span_export.close(SPANS_GRACE).await;
        // Requests that waited were answered when the engine ended. A client that keeps its connection open is not waited for.
        let (stop_http, mut http_task) = self.http_task;
        let _ = stop_http.send(());
        if timeout(HTTP_GRACE, &mut http_task).await.is_err() {
            http_task.abort();
        }
        report
    }
}

/// Opens and replays the journal, and begins to append.
fn open(data: PathBuf) -> Result<(Log, Journal), RouterError> {
    let opened = Opened::open(LogConfig::new(data))?;
    if let Some(cut) = opened.cut() {
        tracing::warn!(file = %cut.path.display(), bytes = cut.bytes, "cut a torn end off the journal");
    }
    let journal = replay(&opened)?;
    Ok((opened.start()?, journal))
}

fn replay(opened: &Opened) -> Result<Journal, RouterError> {
    let mut journal = Journal::default();
    for replayed in opened.replay() {
        let (lsn, bytes) = match replayed? {
            Replayed::Snapshot(bytes) => (Lsn::ZERO, bytes),
            Replayed::Record(lsn, bytes) => (lsn, bytes),
        };
        let record = Record::decode(&bytes).map_err(|source| RouterError::Record { lsn, source })?;
        journal.apply(&record);
    }
    Ok(journal)
}
