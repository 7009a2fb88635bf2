//! A running router, as its role or the demo holds it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use roost_backend::shell::{
    ConsumePlan, ConsumeQueue, LinkConfig, Publisher, PublisherConfig, consumer, publisher,
};
use roost_backend::{Queue as QueueValue, Topology, contract};
use roost_ops::{ListenError, Readiness, listen_on_loopback, now};
use roost_wire::ShardId;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::config::RouterConfig;
use super::engine::{Ended, Engine, Lines};
use super::http;
use super::log::{LogConfig, LogError, Opened, Replayed};
use super::metrics::Snapshot;
use super::publications::Publications;
use super::sources::Sources;
use super::waiters::Waiters;
use crate::journal::{Journal, Record, RecordError};
use crate::{Lsn, RouterCore};

/// A router that has custody of its shard's commands. Drop it and it ends at once, which loses nothing; [`Router::drain`]
/// ends it well.
#[derive(Debug)]
pub struct Router {
    http: SocketAddr,
    readiness: Readiness,
    snapshot: Arc<Mutex<Snapshot>>,
    publisher: Publisher,
    stop: oneshot::Sender<Duration>,
    engine: JoinHandle<Ended>,
    http_task: (oneshot::Sender<()>, JoinHandle<()>),
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
}

/// What a drain had to cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DrainReport {
    /// Records that the disk did not take in time. Nothing that depends on them was said.
    pub records_cut: u64,
    /// Messages that the backend had not confirmed. What is owed of them is in the journal.
    pub publications_unconfirmed: usize,
}

/// How many shards there are: one, until a deployment can have more.
const SHARDS: u16 = 1;

/// Reports that may be ahead of their acknowledgement.
const REPORTS_PREFETCH: u16 = 1_000;

/// Questions of HTTP that wait for the engine. More wait in their connections.
const ASKS_MAX: usize = 256;

impl Router {
    /// Opens the journal, replays it, and begins to serve. AMQP may be away: the router tries on, and `/readyz` says so.
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
        let opened = Opened::open(LogConfig::new(config.data.clone()))?;
        if let Some(cut) = opened.cut() {
            tracing::warn!(file = %cut.path.display(), bytes = cut.bytes, "cut a torn end off the journal");
        }
        let journal = replay(&opened)?;
        let last = Lsn(opened.last().0);
        let core =
            RouterCore::start(now(), config.shard, config.limits.clone(), journal, last, rand::random());
        let log = opened.start()?;

        let readiness = Readiness::default();
        for part in ["AMQP commands", "AMQP reports", "AMQP publisher"] {
            readiness.not_ready(part, "connecting");
        }
        let to = |end: &str| LinkConfig::new(config.amqp.clone(), format!("router {} {end}", config.shard));
        let (publisher, published) =
            publisher(to("publisher"), Topology::contract(SHARDS), PublisherConfig::default());
        let shard = config.shard;
        let prefetch = u16::try_from(config.limits.prefetch).unwrap_or(u16::MAX);
        let (commands_consumer, commands) = consumer(to("commands"), move |_| commands_plan(shard, prefetch));
        let (reports_consumer, reports) = consumer(to("reports"), move |_| reports_plan(shard));
        let snapshot = Arc::<Mutex<Snapshot>>::default();
        let engine = Engine {
            core,
            log,
            publications: Publications::new(shard, publisher.clone()),
            sources: Sources::new(commands_consumer, reports_consumer),
            waiters: Waiters::default(),
            readiness: readiness.clone(),
            snapshot: Arc::clone(&snapshot),
            wants_commands: true,
            has_lock: false,
            compaction: None,
            compacted_at_bytes: 0,
        };
        let (asks_sender, asks) = mpsc::channel(ASKS_MAX);
        let (stop, stopped) = oneshot::channel();
        let engine = tokio::spawn(engine.run(Lines { commands, reports, published, asks, stop: stopped }));
        let http_task = http::serve(listener, asks_sender, readiness.clone());
        tracing::info!(%shard, %http, journal = %config.data.display(), "router started");
        Ok(Self { http, readiness, snapshot, publisher, stop, engine, http_task })
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

    /// Takes in nothing more, lets the disk and the backend finish within `grace`, and ends. Returns what had to be cut; the
    /// next run resumes from the journal in any case.
    pub async fn drain(self, grace: Duration) -> DrainReport {
        let mut report = DrainReport::default();
        let (stop_http, http_task) = self.http_task;
        let _ = stop_http.send(());
        // A client that keeps its connection open is not waited for.
        let _ = timeout(Duration::from_secs(1), http_task).await;
        let _ = self.stop.send(grace);
        if let Ok(Ended { log, sources, grace }) = self.engine.await {
            report.records_cut = log.close(grace).await.cut;
            sources.close().await;
        }
        report.publications_unconfirmed = self.publisher.close(grace).await.tokens.len();
        report
    }
}

fn replay(opened: &Opened) -> Result<Journal, RouterError> {
    let mut journal = Journal::default();
    for replayed in opened.replay() {
        let (lsn, bytes) = match replayed? {
            Replayed::Snapshot(bytes) => (Lsn::ZERO, bytes),
            Replayed::Record(lsn, bytes) => (Lsn(lsn.0), bytes),
        };
        let record = Record::decode(&bytes).map_err(|source| RouterError::Record { lsn, source })?;
        journal.apply(&record);
    }
    Ok(journal)
}

fn commands_plan(shard: ShardId, prefetch: u16) -> ConsumePlan {
    let queue = ConsumeQueue { name: contract::router_queue(shard), prefetch };
    ConsumePlan { topology: Topology::contract(SHARDS), queues: vec![queue] }
}

/// The order of the queues is that of `engine::REPORTS`.
fn reports_plan(shard: ShardId) -> ConsumePlan {
    let names =
        [contract::expired_queue(shard), contract::sightings_queue(shard), contract::settle_queue(shard)];
    let lock = Topology::of(QueueValue::of_link(contract::lock_queue(shard)));
    ConsumePlan {
        topology: lock.and(Topology::contract(SHARDS)),
        queues: names.map(|name| ConsumeQueue { name, prefetch: REPORTS_PREFETCH }).into(),
    }
}
