//! The role of a backend: the embedded AMQP broker, and beside it what it tells over HTTP.

mod metrics;

use std::time::Duration;

use axum::routing::get;
use axum::{Json, Router};
use roost_backend::embedded::core::{Limits, QueueStatistics};
use roost_backend::embedded::{EmbeddedBroker, EmbeddedConfig, EmbeddedError, EmbeddedHandle, Secret};
use roost_config::BackendSettings;
use roost_ops::{ListenError, Readiness, endpoints_asking, listen_on_loopback};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use metrics::page;

/// How long requests that are being answered may take at the end.
const ADMIN_GRACE: Duration = Duration::from_secs(1);

/// A running backend.
pub(crate) struct Backend {
    broker: EmbeddedBroker,
    readiness: Readiness,
    stop_admin: watch::Sender<bool>,
    admin: JoinHandle<()>,
}

/// One queue, as `/v1/queues` tells it; totals count from the start.
#[derive(Debug, Serialize, PartialEq, Eq)]
struct QueueView {
    name: String,
    /// Ready or unacknowledged.
    messages: u64,
    ready: u64,
    unacked: u64,
    consumers: u64,
    published_total: u64,
    delivered_total: u64,
    acked_total: u64,
}

impl Backend {
    /// Starts broker and admin; both listen when this returns.
    pub(crate) async fn start(settings: BackendSettings) -> anyhow::Result<Self> {
        let admin = listen_on_loopback("backend (admin)", settings.admin)?;
        let admin_address = settings.admin;
        let broker = EmbeddedBroker::start(config(settings)).await.map_err(port_first)?;
        tracing::info!(amqp = %broker.address(), admin = %admin_address, "the backend listens");
        let readiness = Readiness::default();
        let (stop_admin, stopping) = watch::channel(false);
        let routes = routes(broker.handle(), readiness.clone());
        Ok(Self { broker, readiness, stop_admin, admin: tokio::spawn(serve(admin, routes, stopping)) })
    }

    /// Closes every connection, and ends when all is on disk; what is left after `grace` is cut.
    pub(crate) async fn drain(self, grace: Duration) {
        self.readiness.not_ready("broker", "draining");
        self.broker.shutdown(grace).await;
        // Nobody listens any more if the task has ended already.
        let _ = self.stop_admin.send(true);
        let mut admin = self.admin;
        if tokio::time::timeout(ADMIN_GRACE, &mut admin).await.is_err() {
            admin.abort();
        }
    }
}

/// The settings as the broker takes them.
fn config(settings: BackendSettings) -> EmbeddedConfig {
    let from = settings.limits;
    let limits = Limits {
        connections_max: from.connections_max,
        channels_max: from.channels_max,
        queues_max: from.queues_max,
        message_bytes_max: from.message_bytes_max,
        memory_bytes_max: from.memory_bytes_max,
        ..Limits::default()
    };
    let users = settings.users.into_iter().map(|user| (user.name, Secret::new(user.password))).collect();
    EmbeddedConfig { listen: settings.listen, data: Some(settings.data), users, limits }
}

/// A port in use is said in the same words whoever meets it.
fn port_first(error: EmbeddedError) -> anyhow::Error {
    match error {
        EmbeddedError::AddressInUse { address } => {
            ListenError::InUse { what: "backend (AMQP)", address }.into()
        }
        other => other.into(),
    }
}

fn routes(broker: EmbeddedHandle, readiness: Readiness) -> Router {
    let for_queues = broker.clone();
    let metrics = move || {
        let broker = broker.clone();
        async move { page(&broker.counters().await, &broker.queues().await, broker.log().await.as_ref()) }
    };
    let queues = move || {
        let broker = for_queues.clone();
        async move { Json(broker.queues().await.iter().map(QueueView::of).collect::<Vec<_>>()) }
    };
    endpoints_asking("backend", readiness, metrics).route("/v1/queues", get(queues))
}

async fn serve(listener: TcpListener, routes: Router, mut stopping: watch::Receiver<bool>) {
    let stopped = async move {
        // A sender that is gone is a stop as well.
        let _ = stopping.wait_for(|stop| *stop).await;
    };
    if let Err(error) = axum::serve(listener, routes).with_graceful_shutdown(stopped).await {
        tracing::error!(%error, "the backend's HTTP ended");
    }
}

impl QueueView {
    fn of(queue: &QueueStatistics) -> Self {
        Self {
            name: queue.name.to_string(),
            messages: queue.ready + queue.unacknowledged,
            ready: queue.ready,
            unacked: queue.unacknowledged,
            consumers: queue.consumers,
            published_total: queue.published_total,
            delivered_total: queue.delivered_total,
            acked_total: queue.acknowledged_total,
        }
    }
}

#[cfg(test)]
mod tests;
