//! The broker as its users see it: configure, start, ask, shut down.

use super::assembling::Assembling;
use super::clock::Clock;
use super::engine::{CALLS_MAX, Call, Engine};
use super::listener::Listener;
use super::log_writer::{LogFigures, LogWriter, Recovery};
use super::segments::LogError;
use crate::embedded::core::{Broker, Counters, Image, Limits, QueueStatistics, Storage};
use crate::embedded::protocol::{Secret, Users};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// What an embedded broker is started with.
#[derive(Clone, Debug)]
pub struct EmbeddedConfig {
    /// Where it listens. Port 0 takes a free one; see [`EmbeddedBroker::address`].
    pub listen: SocketAddr,
    /// The directory of its log; none: nothing survives a restart.
    pub data: Option<PathBuf>,
    /// The users. `guest` may log in from loopback addresses only.
    pub users: Vec<(String, Secret)>,
    /// Its bounds.
    pub limits: Limits,
}

impl Default for EmbeddedConfig {
    /// AMQP's port on loopback, in memory, `guest` with its traditional password.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 5672)),
            data: None,
            users: vec![("guest".to_owned(), Secret::new("guest"))],
            limits: Limits::default(),
        }
    }
}

/// Why an embedded broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// Another process has the port.
    #[error("address {address} is in use by another process: stop that one, or choose another port")]
    AddressInUse {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The data directory cannot be used.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// A running broker. Dropping it stops it without a farewell to its clients; [`EmbeddedBroker::shutdown`] is kinder.
#[derive(Debug)]
pub struct EmbeddedBroker {
    address: SocketAddr,
    recovery: Option<Recovery>,
    handle: EmbeddedHandle,
    stop: watch::Sender<bool>,
    listener: JoinHandle<()>,
    engine: JoinHandle<()>,
}

/// A handle to ask a running broker for its figures. Cheap to clone; it does not keep the broker alive.
#[derive(Clone, Debug)]
pub struct EmbeddedHandle {
    engine: mpsc::WeakSender<Call>,
}

impl EmbeddedBroker {
    /// Starts it; when this returns it listens.
    ///
    /// # Errors
    /// [`EmbeddedError`], saying what to do.
    pub async fn start(config: EmbeddedConfig) -> Result<Self, EmbeddedError> {
        let EmbeddedConfig { listen, data, users, limits } = config;
        let socket = TcpListener::bind(listen).await.map_err(|source| bind_error(listen, source))?;
        let address =
            socket.local_addr().map_err(|source| EmbeddedError::Listen { address: listen, source })?;
        let clock = Clock::start();
        let (broker, log, recovery) = match data {
            None => (Broker::new(limits.clone(), Storage::Memory, rand::random(), clock.now()), None, None),
            Some(directory) => {
                let (log, image, recovery) = open_log(directory, limits.segment_bytes).await?;
                let broker =
                    Broker::restore(limits.clone(), Storage::Log, rand::random(), image, clock.now());
                (broker, Some(log), Some(recovery))
            }
        };
        let (calls, receiver) = mpsc::channel(CALLS_MAX);
        let engine = Engine::new(broker, clock, receiver, log, limits.log_pending_bytes_max);
        let engine = tokio::spawn(engine.run());
        let (stop, stopping) = watch::channel(false);
        let handle = EmbeddedHandle { engine: calls.downgrade() };
        let users = Arc::new(Users::new(users));
        let assembling = Assembling::new(limits.assembling_total_bytes_max);
        let listener =
            Listener { socket, engine: calls, users, limits: Arc::new(limits), assembling, clock, stopping };
        let listener = tokio::spawn(listener.run());
        Ok(Self { address, recovery, handle, stop, listener, engine })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What its data directory held at the start; none in memory.
    pub fn recovery(&self) -> Option<&Recovery> {
        self.recovery.as_ref()
    }

    /// A handle for figures.
    pub fn handle(&self) -> EmbeddedHandle {
        self.handle.clone()
    }

    /// Every queue's figures, by name.
    pub async fn queues(&self) -> Vec<QueueStatistics> {
        self.handle.queues().await
    }

    /// What was counted since the start.
    pub async fn counters(&self) -> Counters {
        self.handle.counters().await
    }

    /// Stops accepting, closes every connection with 320 CONNECTION_FORCED, and ends when all are gone and everything is
    /// on disk. Connections that are left after `grace` are cut.
    pub async fn shutdown(self, grace: Duration) {
        let Self { stop, mut listener, engine, .. } = self;
        // Nobody listens any more if the tasks have ended already.
        let _ = stop.send(true);
        if tokio::time::timeout(grace, &mut listener).await.is_err() {
            tracing::warn!(grace_s = grace.as_secs_f64(), "connections were cut at shutdown");
            listener.abort();
            // Only the abort itself is awaited: the listener's connections end with it.
            let _ = listener.await;
        }
        if let Err(error) = engine.await {
            tracing::error!(%error, "the broker's engine ended badly");
        }
    }
}

impl EmbeddedHandle {
    /// Every queue's figures, by name; none once the broker is gone.
    pub async fn queues(&self) -> Vec<QueueStatistics> {
        self.ask(Call::Queues).await.unwrap_or_default()
    }

    /// What was counted since the start; zeros once the broker is gone.
    pub async fn counters(&self) -> Counters {
        self.ask(Call::Counters).await.unwrap_or_default()
    }

    /// How the log fares; none in memory, and once the broker is gone.
    pub async fn log(&self) -> Option<LogFigures> {
        self.ask(Call::Log).await.flatten()
    }

    async fn ask<T>(&self, call: impl FnOnce(oneshot::Sender<T>) -> Call) -> Option<T> {
        let engine = self.engine.upgrade()?;
        let (sender, answer) = oneshot::channel();
        engine.send(call(sender)).await.ok()?;
        drop(engine);
        answer.await.ok()
    }
}

/// Opens and replays the log beside the runtime, since files block.
async fn open_log(
    directory: PathBuf,
    segment_bytes: u64,
) -> Result<(LogWriter, Image, Recovery), EmbeddedError> {
    let shown = directory.clone();
    let opened = tokio::task::spawn_blocking(move || LogWriter::open(&directory, segment_bytes)).await;
    let (log, image, recovery) = match opened {
        Ok(opened) => opened?,
        Err(panicked) => {
            let source = io::Error::other(panicked);
            return Err(LogError::Io { path: shown, source }.into());
        }
    };
    tracing::info!(
        directory = %shown.display(),
        segments = recovery.segments,
        queues = recovery.queues,
        messages = recovery.messages,
        "the log was read"
    );
    if recovery.torn_bytes > 0 {
        tracing::warn!(
            torn_bytes = recovery.torn_bytes,
            "the log's end was torn by a crash and was cut: nothing in it had been confirmed"
        );
    }
    Ok((log, image, recovery))
}

fn bind_error(address: SocketAddr, source: io::Error) -> EmbeddedError {
    if source.kind() == io::ErrorKind::AddrInUse {
        EmbeddedError::AddressInUse { address }
    } else {
        EmbeddedError::Listen { address, source }
    }
}
