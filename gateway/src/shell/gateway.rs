//! A running gateway, as its role or the demo holds it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::routing::get;
use roost_backend::shell::{LinkConfig, Publisher, PublisherConfig, consumer, publisher};
use roost_backend::{Topology, contract};
use roost_ops::{
    ListenError, Readiness, Resource, SpanExport, Spans, SpansError, endpoints, listen, listen_on_loopback,
    now,
};
use roost_wire::{Incarnation, TraceIds};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task;
use tokio::time::{Instant, timeout};

use super::config::GatewayConfig;
use super::metrics::{AllFigures, Snapshot};
use super::orders::Order;
use super::outbox::Outbox;
use super::post::{LetterBox, LetterBoxes};
use super::pumps::inbox_plan;
use super::spool::{self, OpenSpool, SpoolError};
use super::store::{OpenStore, StoreError};
use super::telling::Telling;
use super::thread::{HubParts, Parts, run};
use super::users::UsersFileError;
use crate::link;
use crate::shard::{Input, Shard, ShardConfig};
use crate::{Authentication, Interests, Placement, PublishOrigin, PublishToken, ShardIndex};

/// A gateway that serves devices. Drop it and it ends at once; [`Gateway::drain`] ends it well.
#[derive(Debug)]
pub struct Gateway {
    mqtt: SocketAddr,
    admin: SocketAddr,
    readiness: Readiness,
    /// One of each shard, the first first.
    shards: Vec<Running>,
    uplink: Publisher,
    mesh: Publisher,
    admin_task: (oneshot::Sender<()>, task::JoinHandle<()>),
    span_export: SpanExport,
}

/// A shard's thread, as the handle has it.
#[derive(Debug)]
struct Running {
    snapshot: Arc<Mutex<Snapshot>>,
    orders: mpsc::Sender<Order>,
    thread: JoinHandle<std::io::Result<()>>,
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
    /// The spool is not to be had.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The store of sessions is not to be had.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The users are not to be had.
    #[error(transparent)]
    Users(#[from] UsersFileError),
    /// Spans cannot go where they are to go.
    #[error(transparent)]
    Spans(#[from] SpansError),
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

/// What is kept of the grace, or a quarter of it if that is less, for what the end of the connections leads to: clients take
/// their last words, and the router hears who is gone and what became of the last commands.
const LAST_REPORTS: Duration = Duration::from_secs(2);

/// What the last spans get at the end; a collector that takes longer does not get them.
const SPANS_GRACE: Duration = Duration::from_secs(1);

/// How many routers its devices have: one, for now.
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

        let authentication = config.authentication.clone();
        let authentication = task::spawn_blocking(move || authentication.open());
        let authentication = authentication.await.map_err(|error| GatewayError::Thread(error.into()))??;
        let (spool_config, is_wanted) = (config.spool.clone(), config.uplink.need_spool());
        let spool = task::spawn_blocking(move || OpenSpool::open(spool_config, is_wanted));
        let spool = spool.await.map_err(|error| GatewayError::Thread(error.into()))??;
        let store_config = config.store.clone();
        let store = task::spawn_blocking(move || OpenStore::open(store_config));
        let store = store.await.map_err(|error| GatewayError::Thread(error.into()))??;
        let readiness = Readiness::default();
        for part in ["AMQP uplink", "AMQP mesh", "AMQP inbox"] {
            readiness.not_ready(part, "connecting");
        }
        let name = |end: &str| format!("gateway {} {end}", config.id);
        let to = |end: &str| LinkConfig::new(config.amqp.clone(), name(end));
        let topology = || Topology::contract(ROUTERS);
        let (uplink, uplink_events) = publisher(to("uplink"), topology(), PublisherConfig::default());
        let (mesh, mesh_events) = publisher(to("mesh"), topology(), PublisherConfig::default());
        let (gateway, prefixes) = (config.id.clone(), config.broadcasts.clone());
        let (consumer, consumer_events) =
            consumer(to("inbox"), move |link| inbox_plan(&gateway, incarnation, ROUTERS, &prefixes, link));

        let resource = Resource {
            service: "roost-gateway",
            instance: config.id.as_str().to_owned(),
            attributes: vec![
                ("roost.gateway", config.id.as_str().to_owned()),
                ("roost.region", config.region.as_str().to_owned()),
            ],
        };
        let (spans, span_export) = Spans::start(config.tracing.as_ref(), resource)?;
        let hub = HubParts {
            gateway: config.id.clone(),
            incarnation,
            link: link::Link::new(link_config(&config, incarnation)),
            uplink: Outbox::new(uplink.clone()),
            uplink_events,
            mesh: Outbox::new(mesh.clone()),
            mesh_events,
            consumer,
            consumer_events,
            readiness: readiness.clone(),
            spool,
            store,
        };
        let listener = mqtt_listener.into_std().map_err(GatewayError::Thread)?;
        let shard = shard_config(&config, incarnation, authentication);
        let shards =
            start_shards(shard, &listener, &Telling::new(spans), hub).map_err(GatewayError::Thread)?;
        let snapshots = shards.iter().map(|shard| Arc::clone(&shard.snapshot)).collect();
        let admin_task = serve_admin(admin_listener, readiness.clone(), snapshots);
        tracing::info!(gateway = %config.id, %incarnation, %mqtt, %admin, shards = config.shards, "gateway started");
        Ok(Self { mqtt, admin, readiness, shards, uplink, mesh, admin_task, span_export })
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
        let shards: Vec<_> = self.shards.iter().map(|shard| Arc::clone(&shard.snapshot)).collect();
        Snapshot::of_all(&shards)
    }

    /// Whether it has ended by itself, which is a fault of the program.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.shards.iter().any(|shard| shard.thread.is_finished())
    }

    /// Stops accepting, lets what is outstanding be confirmed, tells the clients, and ends, all within one `grace` (and the few
    /// seconds that a silent broker may take to close its connections). Returns what had to be cut.
    pub async fn drain(self, grace: Duration) -> DrainReport {
        let deadline = Instant::now() + grace;
        let left = || deadline.saturating_duration_since(Instant::now());
        let mut report = DrainReport::default();
        let finish = grace - LAST_REPORTS.min(grace / 4);
        let mut all_drained = Vec::new();
        for shard in &self.shards {
            let (done, drained) = oneshot::channel();
            if shard.orders.send(Order::Drain { finish, deadline, done }).await.is_ok() {
                all_drained.push(drained);
            }
        }
        for drained in all_drained {
            report.connections_cut += drained.await.unwrap_or_default();
        }
        if let Some(first) = self.shards.first() {
            let (done, settled) = oneshot::channel();
            if first.orders.send(Order::Settle { deadline, done }).await.is_ok() {
                let _ = settled.await;
            }
        }
        let (uplink, mesh) = tokio::join!(self.uplink.close(left()), self.mesh.close(left()));
        // What the spool has published is on disk.
        let is_lost = |token: &&u64| PublishToken(**token).origin() != PublishOrigin::Spool;
        report.events_unconfirmed = uplink.tokens.iter().filter(is_lost).count();
        report.reports_unconfirmed = mesh.tokens.len();
        for shard in &self.shards {
            let _ = shard.orders.send(Order::Stop).await;
        }
        let join_all = move || self.shards.into_iter().for_each(|shard| drop(shard.thread.join()));
        let _ = task::spawn_blocking(join_all).await;
        self.span_export.close(SPANS_GRACE).await;
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
    snapshots: Vec<Arc<Mutex<Snapshot>>>,
) -> (oneshot::Sender<()>, task::JoinHandle<()>) {
    let of_spool = snapshots.clone();
    let page = move || Snapshot::of_all(&snapshots).page();
    let spool = async move || {
        let snapshot = Snapshot::of_all(&of_spool);
        spool::answer(&snapshot.spool, &snapshot.spool_log)
    };
    let routes = endpoints("gateway", readiness, page).route("/spool", get(spool));
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

/// Starts a thread for each shard, the first one with the hub.
fn start_shards(
    config: ShardConfig,
    listener: &std::net::TcpListener,
    telling: &Telling,
    mut hub: HubParts,
) -> std::io::Result<Vec<Running>> {
    let shards = config.interests.shards();
    let letter_boxes: LetterBoxes = (0..shards).map(|_| LetterBox::default()).collect();
    let opened = hub.store.as_mut().map(|store| std::mem::take(&mut store.opened));
    let mut hub = Some(Box::new(hub));
    let figures = AllFigures::new(shards);
    let start = |index| {
        let placement = Placement::new(ShardIndex(index), shards);
        let snapshot = Arc::<Mutex<Snapshot>>::default();
        let (orders, orders_received) = mpsc::channel(2);
        let mut shard = Shard::new(ShardConfig { placement, ..config.clone() });
        if let Some(opened) = &opened {
            shard.handle(now(), Input::StoreOpened(Box::new(opened.clone())));
        }
        let parts = Parts {
            placement,
            shard,
            listener: listener.try_clone()?,
            letter_boxes: Arc::clone(&letter_boxes),
            telling: telling.clone(),
            snapshot: Arc::clone(&snapshot),
            figures: figures.clone(),
            orders: orders_received,
            hub: hub.take(),
        };
        let name = format!("shard-{index} {}", config.gateway);
        let thread = std::thread::Builder::new().name(name).spawn(|| run(parts))?;
        Ok(Running { snapshot, orders, thread })
    };
    (0..shards).map(start).collect()
}

/// Of the first shard; the others differ in their place.
fn shard_config(
    config: &GatewayConfig,
    incarnation: Incarnation,
    authentication: Authentication,
) -> ShardConfig {
    ShardConfig {
        gateway: config.id.clone(),
        region: config.region.clone(),
        incarnation,
        placement: Placement::new(ShardIndex(0), config.shards),
        interests: Arc::new(Interests::new(rand::random(), config.shards)),
        hash_seed: rand::random(),
        limits: config.limits.of_one_of(config.shards),
        uplink: config.uplink.clone(),
        authentication,
        broadcasts: config.broadcasts.clone(),
        sys_interval: config.sys_interval,
        answers: config.answers.clone(),
        hints: config.hints.clone(),
        trace_ids: config.tracing.as_ref().map(|tracing| TraceIds::new(rand::random(), tracing.sample)),
    }
}

fn link_config(config: &GatewayConfig, incarnation: Incarnation) -> link::LinkConfig {
    link::LinkConfig {
        gateway: config.id.clone(),
        region: config.region.clone(),
        incarnation,
        router: config.router,
        shards: config.shards,
        heartbeat: config.heartbeat,
        lease: config.lease,
        exchange: contract::MESH.to_owned(),
        sightings_key: contract::sightings_key(config.router),
        settle_key: contract::settle_key(config.router),
        user: Some(config.amqp.user().to_owned()),
        moves_sessions: !config.limits.session_transfer.is_zero(),
    }
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use roost_backend::shell::{ConsumePlan, ConsumerEvent, Published, PublisherEvent};
    use roost_wire::LinkId;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;
    use crate::packet::{
        Connect, ConnectProperties, Delivery, Encoder, Packet, PacketId, ProtocolVersion, Publish, Text,
    };

    /// A gateway whose backend is away: nothing listens there.
    async fn gateway() -> Gateway {
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let amqp = format!("amqp://guest:guest@{nobody}").parse().unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let config = GatewayConfig::new("eu-1".parse().unwrap(), "eu".parse().unwrap(), any, any, amqp);
        Gateway::start(config).await.unwrap()
    }

    /// A device that is connected and has published an event that nobody can confirm.
    async fn device(gateway: &Gateway) -> TcpStream {
        let mut stream = TcpStream::connect(gateway.mqtt_address()).await.unwrap();
        let connect = Packet::Connect(Box::new(Connect {
            version: ProtocolVersion::V311,
            clean_start: true,
            keep_alive_s: 0,
            client_id: Text::from_static("d"),
            will: None,
            user_name: None,
            password: None,
            properties: ConnectProperties::default(),
        }));
        let publish = Packet::Publish(Publish {
            topic: Text::from_static("a"),
            delivery: Delivery::AtLeastOnce { packet_id: PacketId::FIRST, dup: false },
            retain: false,
            payload: Bytes::new(),
            properties: None,
        });
        let mut bytes = BytesMut::new();
        for packet in [connect, publish, Packet::Pingreq] {
            Encoder::new(ProtocolVersion::V311).encode(&packet, &mut bytes).unwrap();
        }
        stream.write_all(&bytes).await.unwrap();
        // CONNACK has four bytes, PINGRESP two: by then the event is taken in.
        stream.read_exact(&mut [0; 6]).await.unwrap();
        stream
    }

    /// The thread of a gateway, with everything that AMQP says in the test's hand.
    struct Stage {
        uplink: mpsc::Sender<PublisherEvent>,
        mesh: mpsc::Sender<PublisherEvent>,
        inbox: mpsc::Sender<ConsumerEvent>,
        orders: mpsc::Sender<Order>,
        thread: task::JoinHandle<std::io::Result<()>>,
    }

    fn stage() -> Stage {
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let amqp: roost_backend::AmqpAddress = format!("amqp://guest:guest@{nobody}").parse().unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let config =
            GatewayConfig::new("eu-1".parse().unwrap(), "eu".parse().unwrap(), any, any, amqp.clone());
        let incarnation = Incarnation(1);
        let to = || LinkConfig::new(amqp.clone(), "test");
        let outbox = || Outbox::new(publisher(to(), Topology::default(), PublisherConfig::default()).0);
        let (uplink, uplink_events) = mpsc::channel(9);
        let (mesh, mesh_events) = mpsc::channel(9);
        let (inbox, consumer_events) = mpsc::channel(9);
        let (orders, orders_received) = mpsc::channel(2);
        let hub = HubParts {
            gateway: config.id.clone(),
            incarnation,
            link: link::Link::new(link_config(&config, incarnation)),
            uplink: outbox(),
            uplink_events,
            mesh: outbox(),
            mesh_events,
            consumer: consumer(to(), |_| ConsumePlan::default()).0,
            consumer_events,
            readiness: Readiness::default(),
            spool: None,
            store: None,
        };
        let parts = Parts {
            placement: Placement::ALONE,
            shard: Shard::new(shard_config(&config, incarnation, Authentication::default())),
            listener: listen("test", any).unwrap().into_std().unwrap(),
            letter_boxes: [LetterBox::default()].into(),
            telling: Telling::new(Spans::default()),
            snapshot: Arc::default(),
            figures: AllFigures::new(1),
            orders: orders_received,
            hub: Some(Box::new(hub)),
        };
        let thread = task::spawn_blocking(|| run(parts));
        Stage { uplink, mesh, inbox, orders, thread }
    }

    #[tokio::test]
    async fn a_gateway_whose_pump_has_ended_ends_itself() {
        let Stage { uplink, orders, mut thread, mesh: _mesh, inbox: _inbox } = stage();
        // Nobody tells outcomes any more: no event would ever be acknowledged again.
        drop(uplink);
        let ended_by_itself = timeout(Duration::from_secs(30), &mut thread).await;
        drop(orders);
        let result = ended_by_itself.expect("its process goes on, takes publishes in and acknowledges none");
        assert!(result.unwrap().is_err());
    }

    #[tokio::test]
    async fn a_drain_is_not_done_before_the_router_has_every_report() {
        let Stage { mesh, inbox, orders, thread, uplink: _uplink } = stage();
        mesh.send(PublisherEvent::Up).await.unwrap();
        inbox.send(ConsumerEvent::Up { link: LinkId(1) }).await.unwrap();
        // Then the gateway has said where it is, who is here and what is in flight.
        while mesh.capacity() < mesh.max_capacity() || inbox.capacity() < inbox.max_capacity() {
            tokio::task::yield_now().await;
        }
        let (done, drained) = oneshot::channel();
        let deadline = Instant::now() + Duration::from_secs(60);
        orders.send(Order::Drain { finish: Duration::ZERO, deadline, done }).await.unwrap();
        assert_eq!(timeout(Duration::from_secs(30), drained).await.unwrap(), Ok(0));
        let (done, mut settled) = oneshot::channel();
        orders.send(Order::Settle { deadline, done }).await.unwrap();
        let early = timeout(Duration::from_millis(500), &mut settled).await;
        assert!(
            early.is_err(),
            "its publisher would be closed, and what the broker has not taken yet be lost"
        );
        // Heartbeats may come meanwhile; one confirm too many is ignored.
        let confirming = async {
            for number in (1..=99).cycle() {
                let token = PublishToken::new(PublishOrigin::Link, number).0;
                mesh.send(PublisherEvent::Done { token, outcome: Published::Confirmed }).await.unwrap();
            }
        };
        tokio::select! {
            settled = timeout(Duration::from_secs(30), settled) => assert_eq!(settled.unwrap(), Ok(())),
            () = confirming => unreachable!("it goes on for ever"),
        }
        orders.send(Order::Stop).await.unwrap();
        thread.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_drain_that_nobody_confirms_uses_its_grace_once() {
        let gateway = gateway().await;
        let mut device = device(&gateway).await;
        // It hangs up when it is told to.
        let device = tokio::spawn(async move { device.read_to_end(&mut Vec::new()).await });
        let (grace, begun) = (Duration::from_secs(4), Instant::now());
        let report = gateway.drain(grace).await;
        // Whatever the machine: waiting for the shard and then for the publishers would be twice that at least.
        assert!(begun.elapsed() < grace * 2, "{:?}", begun.elapsed());
        assert_eq!(report, DrainReport { events_unconfirmed: 1, ..DrainReport::default() });
        device.await.unwrap().unwrap();
    }
}
