//! The thread that runs a world.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use roost_backend::shell::{Consumer, ConsumerEvent, PublisherEvent};
use roost_ops::{Readiness, Spans, now};
use roost_wire::{GatewayId, Incarnation};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet, LocalSet};
use tokio::time::{interval, sleep, timeout_at};

use super::listener::Connections;
use super::metrics::Snapshot;
use super::orders::Order;
use super::outbox::Outbox;
use super::pumps::{self, Side};
use super::spool::{self, OpenSpool};
use super::store::{self, OpenStore};
use super::telling::Telling;
use super::world::World;
use crate::link::Link;
use crate::shard::Shard;

/// How old the figures may be that `/metrics` shows.
const SNAPSHOT_EVERY: Duration = Duration::from_millis(200);

/// Without anything to wait for, the timer sleeps this long.
const IDLE: Duration = Duration::from_secs(3_600);

/// Everything a world is made of; it can be sent to the thread.
pub(super) struct Parts {
    pub(super) gateway: GatewayId,
    pub(super) incarnation: Incarnation,
    pub(super) shard: Shard,
    pub(super) link: Link,
    pub(super) listener: std::net::TcpListener,
    pub(super) uplink: Outbox,
    pub(super) uplink_events: mpsc::Receiver<PublisherEvent>,
    pub(super) mesh: Outbox,
    pub(super) mesh_events: mpsc::Receiver<PublisherEvent>,
    pub(super) consumer: Consumer,
    pub(super) consumer_events: mpsc::Receiver<ConsumerEvent>,
    pub(super) readiness: Readiness,
    pub(super) spans: Spans,
    pub(super) spool: Option<OpenSpool>,
    pub(super) store: Option<OpenStore>,
    pub(super) snapshot: Arc<Mutex<Snapshot>>,
    pub(super) orders: mpsc::Receiver<Order>,
}

/// Runs the world until it is told to stop, or its handle is dropped.
///
/// # Errors
/// The system gives no runtime, or a part of the world has ended by itself.
pub(super) fn run(parts: Parts) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    local.block_on(&runtime, live(parts))
}

async fn live(parts: Parts) -> std::io::Result<()> {
    let Parts { gateway, incarnation, shard, link, uplink, mesh, readiness, spans, mut orders, .. } = parts;
    let world = Rc::new(RefCell::new(World::new(
        (shard, link),
        (uplink, mesh),
        readiness.clone(),
        Telling::new(spans),
    )));
    let own = || Rc::clone(&world);
    let consumer = Rc::new(parts.consumer);
    world.borrow_mut().consumer = Some(Rc::clone(&consumer));
    let (uplink_events, mesh_events) = (parts.uplink_events, parts.mesh_events);
    let mut tasks = JoinSet::new();
    tasks.spawn_local(pumps::publisher(own(), Side::Uplink, readiness.clone(), uplink_events));
    tasks.spawn_local(pumps::publisher(own(), Side::Mesh, readiness.clone(), mesh_events));
    let gateway = (gateway, incarnation);
    tasks.spawn_local(pumps::consumer(
        own(),
        gateway,
        Rc::clone(&consumer),
        readiness,
        parts.consumer_events,
    ));
    if let Some(OpenSpool { core, disk, status, jobs }) = parts.spool {
        world.borrow_mut().has_spool(core, disk);
        tasks.spawn_local(spool::watch_log(own(), status));
        tasks.spawn_local(spool::work(own(), jobs));
    }
    if let Some(OpenStore { opened, disk, status, was_read }) = parts.store {
        world.borrow_mut().has_store(opened, disk);
        tasks.spawn_local(store::watch_store(own(), status));
        tasks.spawn_local(store::take_in(own(), was_read));
    }
    tasks.spawn_local(keep_time(own()));
    tasks.spawn_local(take_snapshots(own(), Rc::clone(&consumer), parts.snapshot));
    let mut connections = Connections::new(TcpListener::from_std(parts.listener)?);
    let order = tokio::select! {
        order = orders.recv() => order,
        () = connections.accept(&world) => None,
        Some(ended) = tasks.join_next() => return Err(failed(ended)),
    };
    if let Some(Order::Drain { finish, deadline, done }) = order {
        world.borrow_mut().drain(finish);
        let drained = Rc::clone(&world.borrow().drained);
        tokio::select! {
            () = drained.notified() => {}
            Some(ended) = tasks.join_next() => return Err(failed(ended)),
        }
        let cut = connections.join(deadline).await;
        // What the clients' end has led to is said, before the publishers take nothing more.
        let settled = Rc::clone(&world.borrow().settled);
        let all_said = async {
            while !world.borrow().is_settled() {
                settled.notified().await
            }
        };
        let _ = timeout_at(deadline, all_said).await;
        let _ = done.send(cut);
        // The reports of the drain go on being published until the handle says that they are confirmed.
        let _ = orders.recv().await;
    }
    spool::marked(&world).await;
    tasks.shutdown().await;
    world.borrow_mut().consumer = None;
    let spool = world.borrow_mut().spool.take();
    if let Some((core, disk)) = spool {
        spool::close(core, disk).await;
    }
    let store = world.borrow_mut().store.take();
    if let Some(disk) = store {
        store::close(disk).await;
    }
    if let Some(consumer) = Rc::into_inner(consumer) {
        consumer.close().await;
    }
    Ok(())
}

/// A task that never ends by itself has ended. Without it devices would be taken in and never answered, so the thread ends, and
/// the process with it.
fn failed(ended: Result<(), JoinError>) -> std::io::Error {
    let why = ended.err().map_or_else(|| "its events have ended".to_owned(), |error| error.to_string());
    tracing::error!(why, "a part of the gateway has ended by itself, and the gateway with it");
    std::io::Error::other(why)
}

/// Calls the world whenever its time has come.
async fn keep_time(world: Rc<RefCell<World>>) {
    let timer = Rc::clone(&world.borrow().timer);
    loop {
        let deadline = world.borrow().deadline();
        let wait = deadline.map_or(IDLE, |deadline| deadline.since(now().boot));
        tokio::select! {
            () = sleep(wait) => world.borrow_mut().tick(),
            () = timer.notified() => {}
        }
    }
}

async fn take_snapshots(world: Rc<RefCell<World>>, consumer: Rc<Consumer>, snapshot: Arc<Mutex<Snapshot>>) {
    let mut every = interval(SNAPSHOT_EVERY);
    loop {
        every.tick().await;
        let figures = Snapshot { inbox: consumer.figures(), ..world.borrow().snapshot() };
        *snapshot.lock().unwrap_or_else(PoisonError::into_inner) = figures;
    }
}
