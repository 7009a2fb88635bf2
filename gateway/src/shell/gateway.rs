//! A running gateway, as its role or the demo holds it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use roost_backend::shell::{LinkConfig, Publisher, PublisherConfig, consumer, publisher};
use roost_backend::{Topology, contract};
use roost_ops::{ListenError, Readiness, endpoints, listen, listen_on_loopback};
use roost_wire::Incarnation;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task;
use tokio::time::timeout;

use super::config::GatewayConfig;
use super::metrics::Snapshot;
use super::orders::Order;
use super::outbox::Outbox;
use super::pumps::inbox_plan;
use super::thread::{Parts, run};
use crate::Placement;
use crate::link;
use crate::shard::{Shard, ShardConfig};

/// A gateway that serves devices. Drop it and it ends at once; [`Gateway::drain`] ends it well.
#[derive(Debug)]
pub struct Gateway {
    mqtt: SocketAddr,
    admin: SocketAddr,
    readiness: Readiness,
    snapshot: Arc<Mutex<Snapshot>>,
    orders: mpsc::Sender<Order>,
    uplink: Publisher,
    mesh: Publisher,
    thread: JoinHandle<std::io::Result<()>>,
    admin_task: (oneshot::Sender<()>, task::JoinHandle<()>),
}

/// Why a gateway did not start. The operator is to act.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// A port is not to be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The system gives no thread or runtime.
    #[error("the gateway's thread cannot start: {0}")]
    Thread(std::io::Error),
}

/// What a drain had to cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DrainReport {
    /// Connections that did not take their last words in time.
    pub connections_cut: usize,
    /// Events that the backend had not confirmed. Their publishers were not told that they are safe.
    pub events_unconfirmed: usize,
    /// Reports that the backend had not confirmed. The router waits for the lease instead.
    pub reports_unconfirmed: usize,
}

/// How many shards a gateway has, and routers its devices: one each, for now.
const SHARDS: u16 = 1;
const ROUTERS: u16 = 1;

impl Gateway {
    /// Binds both ports and begins to serve. AMQP may be away: the gateway tries on, and `/readyz` says so.
    ///
    /// # Errors
    /// [`GatewayError`] if a port is not to be had.
    pub async fn start(config: GatewayConfig) -> Result<Self, GatewayError> {
        let mqtt_listener = listen("the gateway's MQTT listener", config.listen)?;
        let admin_listener = listen_on_loopback("the gateway's admin listener", config.admin)?;
        let mqtt = mqtt_listener.local_addr().map_err(GatewayError::Thread)?;
        let admin = admin_listener.local_addr().map_err(GatewayError::Thread)?;
        let incarnation = Incarnation(rand::random());

        let readiness = Readiness::default();
        for part in ["AMQP uplink", "AMQP mesh", "AMQP inbox"] {
            readiness.not_ready(part, "connecting");
        }
        let name = |end: &str| format!("gateway {} {end}", config.id);
        let to = |end: &str| LinkConfig::new(config.amqp.clone(), name(end));
        let topology = || Topology::contract(ROUTERS);
        let (uplink, uplink_events) = publisher(to("uplink"), topology(), PublisherConfig::default());
        let (mesh, mesh_events) = publisher(to("mesh"), topology(), PublisherConfig::default());
        let gateway = config.id.clone();
        let (consumer, consumer_events) =
            consumer(to("inbox"), move |link| inbox_plan(&gateway, incarnation, ROUTERS, link));

        let snapshot = Arc::<Mutex<Snapshot>>::default();
        let (orders, orders_received) = mpsc::channel(2);
        let parts = Parts {
            gateway: config.id.clone(),
            incarnation,
            shard: Shard::new(shard_config(&config, incarnation)),
            link: link::Link::new(link_config(&config, incarnation)),
            listener: mqtt_listener.into_std().map_err(GatewayError::Thread)?,
            uplink: Outbox::new(uplink.clone()),
            uplink_events,
            mesh: Outbox::new(mesh.clone()),
            mesh_events,
            consumer,
            consumer_events,
            readiness: readiness.clone(),
            snapshot: Arc::clone(&snapshot),
            orders: orders_received,
        };
        let thread = std::thread::Builder::new()
            .name(format!("shard-0 {}", config.id))
            .spawn(|| run(parts))
            .map_err(GatewayError::Thread)?;
        let admin_task = serve_admin(admin_listener, readiness.clone(), Arc::clone(&snapshot));
        tracing::info!(gateway = %config.id, %incarnation, %mqtt, %admin, "gateway started");
        Ok(Self { mqtt, admin, readiness, snapshot, orders, uplink, mesh, thread, admin_task })
    }

    /// Where devices connect.
    #[must_use]
    pub fn mqtt_address(&self) -> SocketAddr {
        self.mqtt
    }

    /// Where operators ask.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
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
        self.thread.is_finished()
    }

    /// Stops accepting, lets what is outstanding be confirmed within `grace`, tells the clients, and ends. Returns what had
    /// to be cut.
    pub async fn drain(self, grace: Duration) -> DrainReport {
        let mut report = DrainReport::default();
        let (done, drained) = oneshot::channel();
        if self.orders.send(Order::Drain { grace, done }).await.is_ok() {
            report.connections_cut = drained.await.unwrap_or_default();
        }
        let (uplink, mesh) = tokio::join!(self.uplink.close(grace), self.mesh.close(grace));
        report.events_unconfirmed = uplink.tokens.len();
        report.reports_unconfirmed = mesh.tokens.len();
        let _ = self.orders.send(Order::Stop).await;
        let _ = task::spawn_blocking(move || self.thread.join()).await;
        let (stop, admin) = self.admin_task;
        let _ = stop.send(());
        // A client that keeps its connection open is not waited for.
        let _ = timeout(Duration::from_secs(1), admin).await;
        report
    }
}

fn serve_admin(
    listener: TcpListener,
    readiness: Readiness,
    snapshot: Arc<Mutex<Snapshot>>,
) -> (oneshot::Sender<()>, task::JoinHandle<()>) {
    let page = move || snapshot.lock().unwrap_or_else(PoisonError::into_inner).page();
    let routes = endpoints(readiness, page);
    let (stop, stopped) = oneshot::channel::<()>();
    let served = async move {
        let until = async {
            let _ = stopped.await;
        };
        if let Err(error) = axum::serve(listener, routes).with_graceful_shutdown(until).await {
            tracing::error!(%error, "the admin listener has ended");
        }
    };
    (stop, tokio::spawn(served))
}

fn shard_config(config: &GatewayConfig, incarnation: Incarnation) -> ShardConfig {
    ShardConfig {
        gateway: config.id.clone(),
        region: config.region.clone(),
        incarnation,
        placement: Placement::ALONE,
        hash_seed: rand::random(),
        limits: config.limits.clone(),
        uplink: config.uplink.clone(),
    }
}

fn link_config(config: &GatewayConfig, incarnation: Incarnation) -> link::LinkConfig {
    link::LinkConfig {
        gateway: config.id.clone(),
        region: config.region.clone(),
        incarnation,
        router: config.router,
        shards: SHARDS,
        heartbeat: config.heartbeat,
        lease: config.lease,
        exchange: contract::MESH.to_owned(),
        sightings_key: contract::sightings_key(config.router),
        settle_key: contract::settle_key(config.router),
        user: Some(config.amqp.user().to_owned()),
    }
}
