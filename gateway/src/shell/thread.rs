//! The threads of a gateway: one runs one world.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use roost_backend::shell::{Consumer, ConsumerEvent, PublisherEvent};
use roost_ops::{Readiness, now};
use roost_wire::{GatewayId, Incarnation};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet, LocalSet, yield_now};
use tokio::time::{Instant, interval, sleep, timeout_at};

use super::clients::Clients;
use super::hub::Hub;
use super::listener::Connections;
use super::metrics::{AllFigures, Snapshot};
use super::orders::Order;
use super::outbox::Outbox;
use super::post::{LetterBoxes, Post};
use super::pumps::{self, Side};
use super::socket::Socket;
use super::spool::{self, OpenSpool};
use super::store::{self, OpenStore};
use super::telling::Telling;
use super::world::World;
use crate::Placement;
use crate::link::Link;
use crate::shard::Shard;

/// How old the figures may be that `/metrics` shows.
const SNAPSHOT_EVERY: Duration = Duration::from_millis(200);

/// Connections from other shards whose tasks are not there yet; other mail waits behind more.
const HANDED_OVER: usize = 256;

/// How old what a shard knows of the others' figures may be, for the topics below `$SYS`.
const FIGURES_EVERY: Duration = Duration::from_secs(1);

/// Without anything to wait for, the timer sleeps this long.
const IDLE: Duration = Duration::from_secs(3_600);

/// Everything a world is made of; it can be sent to its thread.
pub(super) struct Parts {
    pub(super) placement: Placement,
    pub(super) shard: Shard,
    pub(super) listener: std::net::TcpListener,
    pub(super) letter_boxes: LetterBoxes,
    pub(super) telling: Telling,
    pub(super) snapshot: Arc<Mutex<Snapshot>>,
    pub(super) figures: AllFigures,
    pub(super) orders: mpsc::Receiver<Order>,
    /// For the first.
    pub(super) hub: Option<Box<HubParts>>,
}

/// Everything the hub is made of.
pub(super) struct HubParts {
    pub(super) gateway: GatewayId,
    pub(super) incarnation: Incarnation,
    pub(super) link: Link,
    pub(super) uplink: Outbox,
    pub(super) uplink_events: mpsc::Receiver<PublisherEvent>,
    pub(super) mesh: Outbox,
    pub(super) mesh_events: mpsc::Receiver<PublisherEvent>,
    pub(super) consumer: Consumer,
    pub(super) consumer_events: mpsc::Receiver<ConsumerEvent>,
    pub(super) readiness: Readiness,
    pub(super) spool: Option<OpenSpool>,
    pub(super) store: Option<OpenStore>,
}

/// Runs a world until it is told to stop, or its handle is dropped.
///
/// # Errors
/// The system gives no runtime, or a part of the world has ended by itself.
pub(super) fn run(parts: Parts) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    local.block_on(&runtime, live(parts))
}

async fn live(parts: Parts) -> std::io::Result<()> {
    let Parts { placement, shard, listener, letter_boxes, telling, snapshot, figures, mut orders, hub } =
        parts;
    let clients = Clients::new(shard, placement, telling);
    let post = Post::new(placement.index(), letter_boxes);
    let world = Rc::new(RefCell::new(World::new(clients, post)));
    let mut tasks = JoinSet::new();
    let consumer = hub.map(|parts| begin_hub(*parts, &world, &mut tasks));
    let (handed_over, others) = mpsc::channel(HANDED_OVER);
    tasks.spawn_local(deliver(Rc::clone(&world)));
    tasks.spawn_local(take_mail(Rc::clone(&world), handed_over));
    tasks.spawn_local(keep_time(Rc::clone(&world)));
    tasks.spawn_local(take_snapshots(Rc::clone(&world), consumer.clone(), snapshot));
    tasks.spawn_local(exchange_figures(Rc::clone(&world), figures));
    let mut connections = Connections::new(TcpListener::from_std(listener)?, others);
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
            () = connections.serve(&world) => {}
            Some(ended) = tasks.join_next() => return Err(failed(ended)),
        }
        let _ = done.send(connections.join(&world, deadline).await);
        // The reports of the drain go on being published until the handle says that they are confirmed.
        while let Some(Order::Settle { deadline, done }) = orders.recv().await {
            settled(&world, deadline).await;
            let _ = done.send(());
        }
    }
    end(&world, tasks, consumer).await;
    Ok(())
}

/// Makes the hub, and begins to carry what comes to it.
fn begin_hub(parts: HubParts, world: &Rc<RefCell<World>>, tasks: &mut JoinSet<()>) -> Rc<Consumer> {
    let HubParts { gateway, incarnation, link, uplink, mesh, readiness, .. } = parts;
    let consumer = Rc::new(parts.consumer);
    let own = || Rc::clone(world);
    let mut hub = Hub::new(world.borrow().shards(), link, (uplink, mesh), readiness.clone());
    hub.consumer = Some(Rc::clone(&consumer));
    tasks.spawn_local(pumps::publisher(own(), Side::Uplink, readiness.clone(), parts.uplink_events));
    tasks.spawn_local(pumps::publisher(own(), Side::Mesh, readiness.clone(), parts.mesh_events));
    let (of, answering) = ((gateway, incarnation), Rc::clone(&consumer));
    tasks.spawn_local(pumps::consumer(own(), of, answering, readiness, parts.consumer_events));
    if let Some(OpenSpool { core, disk, status, jobs }) = parts.spool {
        hub.has_spool(core, disk);
        tasks.spawn_local(spool::watch_log(own(), status));
        tasks.spawn_local(spool::work(own(), jobs));
    }
    if let Some(OpenStore { disk, status, was_read, .. }) = parts.store {
        hub.has_store(disk);
        tasks.spawn_local(store::watch_store(own(), status));
        tasks.spawn_local(store::take_in(own(), was_read));
    }
    world.borrow_mut().begin_hub(hub);
    consumer
}

/// What the clients' end has led to is said, before the publishers take nothing more.
async fn settled(world: &Rc<RefCell<World>>, deadline: Instant) {
    let Some(settled) = world.borrow_mut().hub().map(|hub| Rc::clone(&hub.settled)) else { return };
    let is_settled = || world.borrow_mut().hub().is_none_or(|hub| hub.is_settled());
    let all_said = async {
        while !is_settled() {
            settled.notified().await;
        }
    };
    let _ = timeout_at(deadline, all_said).await;
}

async fn end(world: &Rc<RefCell<World>>, mut tasks: JoinSet<()>, consumer: Option<Rc<Consumer>>) {
    spool::marked(world).await;
    tasks.shutdown().await;
    let hub = world.borrow_mut().hub().map(|hub| {
        hub.consumer = None;
        (hub.spool.take(), hub.store.take())
    });
    if let Some((spool, store)) = hub {
        if let Some((core, disk)) = spool {
            spool::close(core, disk).await;
        }
        if let Some(store) = store {
            store::close(store.disk).await;
        }
    }
    if let Some(consumer) = consumer.and_then(Rc::into_inner) {
        consumer.close().await;
    }
}

/// A task that never ends by itself has ended. Without it devices would be taken in and never answered, so the thread ends, and
/// the process with it.
fn failed(ended: Result<(), JoinError>) -> std::io::Error {
    let why = ended.err().map_or_else(|| "its events have ended".to_owned(), |error| error.to_string());
    tracing::error!(why, "a part of the gateway has ended by itself, and the gateway with it");
    std::io::Error::other(why)
}

/// Gives the other threads what there is for them, behind all that is ready now.
async fn deliver(world: Rc<RefCell<World>>) {
    let waits = world.borrow().outgoing();
    loop {
        waits.notified().await;
        world.borrow_mut().deliver();
    }
}

/// Takes in what the other threads have.
async fn take_mail(world: Rc<RefCell<World>>, handed_over: mpsc::Sender<Rc<Socket>>) {
    let letters = world.borrow().letter_box();
    let mut mail = Vec::new();
    loop {
        letters.take(&mut mail).await;
        let connections = world.borrow_mut().mail(&mut mail);
        for (stream, hand_over) in connections {
            match TcpStream::from_std(stream) {
                Ok(stream) => {
                    let socket = world.borrow_mut().take_over(stream, hand_over);
                    // An error means that the thread ends.
                    let _ = handed_over.send(socket).await;
                }
                Err(error) => tracing::error!(%error, "a connection did not come to its shard"),
            }
        }
        // Clients have their turn.
        yield_now().await;
    }
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

async fn take_snapshots(
    world: Rc<RefCell<World>>,
    consumer: Option<Rc<Consumer>>,
    snapshot: Arc<Mutex<Snapshot>>,
) {
    let mut every = interval(SNAPSHOT_EVERY);
    loop {
        every.tick().await;
        let mut figures = world.borrow().snapshot();
        if let Some(consumer) = &consumer {
            figures.inbox = consumer.figures();
        }
        *snapshot.lock().unwrap_or_else(PoisonError::into_inner) = figures;
    }
}

async fn exchange_figures(world: Rc<RefCell<World>>, figures: AllFigures) {
    let mut every = interval(FIGURES_EVERY);
    loop {
        every.tick().await;
        world.borrow_mut().exchange_figures(&figures);
    }
}
