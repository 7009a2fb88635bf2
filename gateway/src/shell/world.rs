//! One shard, its sockets, and the gateway's link: everything that one thread owns.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use roost_backend::contract;
use roost_backend::shell::{Consumer, ConsumerFigures, Delivered, DeliveryToken, Published};
use roost_log::LogStatus;
use roost_ops::{Readiness, now};
use roost_wire::mesh::Report as _;
use roost_wire::{BootTime, ControlReport, Delivery, LinkId, Now, SessionArrival, SettlementItem};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::links::Links;
use super::metrics::{ShellCounters, Snapshot};
use super::outbox::Outbox;
use super::pumps::Side;
use super::socket::Socket;
use super::spool::Disk;
use super::store::StoreDisk;
use super::telling::Telling;
use crate::link::{FromShard, Link, LinkInput, LinkOutput};
use crate::placement::Numbered;
use crate::shard::{Backend, Input, Output, Shard};
use crate::spool::{Spool, SpoolInput, SpoolOutput};
use crate::store::StoreOpened;
use crate::{BroadcastNumber, ConnectionId, Notice, PublishOrigin, PublishOutcome, PublishToken, ShardIndex};

/// What is read at once, at most. One buffer serves all connections.
const READ_BYTES: usize = 64 * 1024;

/// When the buffer has less room than this, it is made anew (or taken over again, if nobody holds a part of it).
const READ_BYTES_MIN: usize = 4 * 1024;

/// The only shard, as long as there is one.
const SHARD: ShardIndex = ShardIndex(0);

/// What the thread owns. Every method feeds the cores and then performs all they ask for.
pub(super) struct World {
    shard: Shard,
    link: Link,
    sockets: HashMap<ConnectionId, Rc<Socket>, Numbered>,
    connections: u64,
    /// Sockets that were given something to write since the last flush.
    to_flush: Vec<Rc<Socket>>,
    uplink: Outbox,
    mesh: Outbox,
    pub(super) spool: Option<(Spool, Disk)>,
    pub(super) store: Option<StoreDisk>,
    /// Answers broadcasts.
    pub(super) consumer: Option<Rc<Consumer>>,
    next_broadcast: u64,
    /// Broadcasts of the present link that the shard has not taken, no more than the broker sends ahead.
    broadcasts: BTreeMap<BroadcastNumber, DeliveryToken>,
    /// What the spool's log said last.
    pub(super) spool_status: LogStatus,
    read_buffer: BytesMut,
    /// Woken when the time to come back may have become earlier.
    pub(super) timer: Rc<Notify>,
    deadline: Option<BootTime>,
    /// Woken when a drain is over.
    pub(super) drained: Rc<Notify>,
    /// Woken in a drain when everything that was said to the router is confirmed.
    pub(super) settled: Rc<Notify>,
    /// Woken when a mark of the spool is written.
    pub(super) marked: Rc<Notify>,
    is_draining: bool,
    /// Counted by those who carry their events.
    pub(super) links: Links,
    readiness: Readiness,
    counters: ShellCounters,
    telling: Telling,
}

impl World {
    pub(super) fn new(
        (shard, link): (Shard, Link),
        (uplink, mesh): (Outbox, Outbox),
        readiness: Readiness,
        telling: Telling,
    ) -> Self {
        Self {
            shard,
            link,
            sockets: HashMap::default(),
            connections: 0,
            to_flush: Vec::new(),
            uplink,
            mesh,
            consumer: None,
            next_broadcast: 0,
            broadcasts: BTreeMap::new(),
            spool: None,
            store: None,
            spool_status: LogStatus::default(),
            read_buffer: BytesMut::new(),
            timer: Rc::default(),
            deadline: None,
            drained: Rc::default(),
            settled: Rc::default(),
            marked: Rc::default(),
            is_draining: false,
            links: Links::new(),
            readiness,
            counters: ShellCounters::default(),
            telling,
        }
    }

    /// There is a spool: events may go there from now on.
    pub(super) fn has_spool(&mut self, core: Spool, disk: Disk) {
        let state = core.gauges().state;
        self.spool = Some((core, disk));
        self.spool_input(SpoolInput::Tick);
        self.feed(Input::Spool(state));
    }

    /// There is a store: sessions and retained messages go there from now on, and come from it.
    pub(super) fn has_store(&mut self, opened: StoreOpened, disk: StoreDisk) {
        self.store = Some(disk);
        self.feed(Input::StoreOpened(Box::new(opened)));
    }

    /// The store can't be written, and why, or can again.
    pub(super) fn store_is_stuck(&mut self, why: Option<String>) {
        let is_stuck = why.is_some();
        Telling::store(why, &self.readiness);
        self.feed(Input::StoreStuck { is_stuck });
    }

    /// A connection was accepted; `None` if the shard closed it at once.
    pub(super) fn open(&mut self, stream: TcpStream) -> Option<Rc<Socket>> {
        let connection = ConnectionId(self.connections);
        self.connections += 1;
        let socket = Rc::new(Socket::new(connection, stream));
        self.sockets.insert(connection, Rc::clone(&socket));
        self.feed(Input::Opened { connection, entropy: rand::random() });
        Some(socket)
    }

    pub(super) fn accept_failed(&mut self, error: &io::Error) {
        if self.counters.accept_failed() {
            tracing::warn!(%error, "a connection could not be accepted; trying on");
        }
    }

    /// The socket may have bytes; false when the connection is over.
    pub(super) fn receive(&mut self, socket: &Rc<Socket>) -> bool {
        if self.read_buffer.capacity() - self.read_buffer.len() < READ_BYTES_MIN {
            self.read_buffer.reserve(READ_BYTES);
        }
        match socket.stream.try_read_buf(&mut self.read_buffer) {
            Ok(0) => self.closed(socket),
            Ok(read) => {
                self.counters.received(read);
                let bytes = self.read_buffer.split();
                self.feed(Input::Received { connection: socket.id, bytes });
                true
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => true,
            Err(_) => self.closed(socket),
        }
    }

    /// The socket takes bytes again.
    pub(super) fn writable(&mut self, socket: &Rc<Socket>) {
        let bytes = socket.flush();
        self.counters.sent(bytes);
        if bytes > 0 {
            self.feed(Input::Written { connection: socket.id, bytes });
        }
    }

    /// The publisher of events or of reports is up, away or blocked.
    pub(super) fn backend(&mut self, side: Side, backend: Backend) {
        match side {
            Side::Uplink => {
                self.shard.handle(now(), Input::Backend(backend));
                if let Some((spool, _)) = &mut self.spool {
                    spool.handle(now(), SpoolInput::Backend(backend));
                }
            }
            Side::Mesh => self.link.handle(now(), LinkInput::Backend(backend)),
        }
        self.perform();
    }

    /// Outcomes of publications, as many as are at hand.
    pub(super) fn published(&mut self, outcomes: impl IntoIterator<Item = (u64, Published)>) {
        let now = now();
        for (token, outcome) in outcomes {
            let token = PublishToken(token);
            let outcome = match outcome {
                Published::Confirmed => PublishOutcome::Confirmed,
                Published::Returned { .. } => PublishOutcome::Returned,
                Published::Nacked => PublishOutcome::Nacked,
                Published::Lost => PublishOutcome::Lost,
                Published::Refused { reason } => {
                    tracing::warn!(%reason, "AMQP cannot carry a message; it counts as refused");
                    PublishOutcome::Nacked
                }
            };
            match token.origin() {
                PublishOrigin::Link => self.link.handle(now, LinkInput::Published { token, outcome }),
                PublishOrigin::Shard(_) => self.shard.handle(now, Input::Published { token, outcome }),
                PublishOrigin::Spool => {
                    if let Some((spool, _)) = &mut self.spool {
                        spool.handle(now, SpoolInput::Published { token, outcome });
                    }
                }
            }
        }
        self.uplink.push();
        self.mesh.push();
        self.perform();
    }

    pub(super) fn link_up(&mut self, link: LinkId, inbox: String, control: String, broadcasts: String) {
        self.shard.handle(now(), Input::BroadcastsLink { queue: Some(broadcasts) });
        self.link.handle(now(), LinkInput::Up { link, inbox, control });
        self.perform();
    }

    pub(super) fn link_down(&mut self, link: LinkId) {
        // Its queues are gone, and nothing of them can be acknowledged any more.
        self.broadcasts.clear();
        self.shard.handle(now(), Input::BroadcastsLink { queue: None });
        self.link.handle(now(), LinkInput::Down { link });
        self.perform();
    }

    /// Commands and sessions, from the inbox of this link.
    pub(super) fn inbox(&mut self, link: LinkId, delivered: Delivered) {
        if SessionArrival::is_in(&delivered.message) {
            return self.session(&delivered);
        }
        match Delivery::from_message(&delivered.message) {
            Ok(delivery) => {
                Telling::command(&delivery);
                self.shard.handle(now(), Input::Delivery { link, delivery: Box::new(delivery) });
                self.perform();
            }
            Err(error) => {
                self.counters.unreadable();
                tracing::warn!(%error, "dropped a message from the inbox");
            }
        }
    }

    /// A session that a device had elsewhere, from an inbox.
    fn session(&mut self, delivered: &Delivered) {
        match SessionArrival::from_message(&delivered.message) {
            Ok(arrival) => self.feed(Input::Session(Box::new(arrival))),
            Err(error) => {
                self.counters.unreadable();
                tracing::warn!(%error, "dropped a message from the inbox");
            }
        }
    }

    /// A broadcast, from the present link's queue of them.
    pub(super) fn broadcast(&mut self, delivered: Delivered) {
        let number = BroadcastNumber(self.next_broadcast);
        self.next_broadcast += 1;
        self.broadcasts.insert(number, delivered.token);
        self.feed(Input::Broadcast { number, message: Box::new(delivered.message) });
    }

    /// A broadcast that the present link's queue of them has lost.
    pub(super) fn broadcast_missed(&mut self, delivered: &Delivered) {
        self.feed(Input::BroadcastMissed { has_expired: contract::has_expired(&delivered.message) });
    }

    /// A report, from the control queue of this link.
    pub(super) fn control(&mut self, link: LinkId, delivered: Delivered) {
        match ControlReport::from_body(&delivered.message.body) {
            Ok(report) => {
                self.link.handle(now(), LinkInput::Control { link, report });
                self.perform();
            }
            Err(error) => {
                self.counters.unreadable();
                tracing::warn!(%error, "dropped a message from the control queue");
            }
        }
    }

    /// Whether the router has, or will get, everything that was said to it.
    pub(super) fn is_settled(&self) -> bool {
        self.link.is_settled()
    }

    pub(super) fn drain(&mut self, grace: Duration) {
        self.is_draining = true;
        self.link.handle(now(), LinkInput::Drain);
        self.feed(Input::Drain { grace });
    }

    /// The time of [`World::deadline`] has come.
    pub(super) fn tick(&mut self) {
        let now = now();
        self.shard.handle(now, Input::Tick);
        self.link.handle(now, LinkInput::Tick);
        if let Some((spool, _)) = &mut self.spool {
            spool.handle(now, SpoolInput::Tick);
        }
        self.perform();
    }

    /// When to call [`World::tick`] if nothing happens before.
    pub(super) fn deadline(&self) -> Option<BootTime> {
        self.deadline
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let mut counters = self.shard.counters().clone();
        counters.add_all(self.link.counters());
        if let Some((spool, _)) = &self.spool {
            counters.add_all(spool.counters());
        }
        Snapshot {
            counters,
            gauges: self.shard.gauges(),
            links: self.links.counts(),
            shell: self.counters,
            publishers: vec![("uplink", self.uplink.figures()), ("mesh", self.mesh.figures())],
            inbox: ConsumerFigures::default(),
            spans: self.telling.figures(),
            spool: self.spool.as_ref().map(|(spool, _)| spool.gauges()).unwrap_or_default(),
            spool_log: self.spool_status.clone(),
            store: self.store.as_ref().map(StoreDisk::status).unwrap_or_default(),
            lease_left: self.link.lease_until().map_or(Duration::ZERO, |until| until.since(now().boot)),
        }
    }

    fn closed(&mut self, socket: &Rc<Socket>) -> bool {
        self.sockets.remove(&socket.id);
        self.feed(Input::Closed { connection: socket.id });
        false
    }

    /// Something happened to the spool.
    pub(super) fn spool_input(&mut self, input: SpoolInput) {
        if let Some((spool, _)) = &mut self.spool {
            spool.handle(now(), input);
        }
        self.perform();
    }

    pub(super) fn feed(&mut self, input: Input) {
        self.shard.handle(now(), input);
        self.perform();
    }

    /// Performs everything the cores ask for, and what they ask for in turn. It ends, since every queue behind a socket
    /// and every word between the cores is bounded.
    fn perform(&mut self) {
        let now = now();
        loop {
            while let Some(output) = self.shard.poll_output() {
                self.shard_asks(now, output);
            }
            let mut quiet = true;
            while let Some(output) = self.spool.as_mut().and_then(|(spool, _)| spool.poll_output()) {
                quiet = false;
                self.spool_asks(now, output);
            }
            while let Some(output) = self.link.poll_output() {
                quiet = false;
                self.link_asks(now, output);
            }
            for socket in std::mem::take(&mut self.to_flush) {
                let bytes = socket.flush();
                self.counters.sent(bytes);
                if bytes > 0 {
                    quiet = false;
                    self.shard.handle(now, Input::Written { connection: socket.id, bytes });
                }
            }
            if quiet {
                break;
            }
        }
        self.set_timer();
        if self.is_draining && self.is_settled() {
            self.settled.notify_one();
        }
    }

    fn shard_asks(&mut self, now: Now, output: Output) {
        match output {
            Output::Write { connection, bytes } => {
                if let Some(socket) = self.sockets.get(&connection) {
                    socket.write(bytes);
                    self.to_flush.push(Rc::clone(socket));
                }
            }
            Output::Close { connection, last } => {
                if let Some(socket) = self.sockets.remove(&connection) {
                    socket.close(last);
                }
            }
            Output::PauseReading { connection } => self.pause(connection, true),
            Output::ResumeReading { connection } => self.pause(connection, false),
            Output::HandOver { hand_over, .. } => {
                // With one shard every device is its own.
                debug_assert!(false, "{:?} belongs to no other shard", hand_over.connection());
            }
            Output::Shard { to, .. } => debug_assert!(false, "there is no shard {to:?}"),
            Output::Publish(publication) => self.uplink.publish(*publication),
            Output::Spool { number, event, exchange, order } => {
                if let Some((spool, _)) = &mut self.spool {
                    let shard = SHARD;
                    spool.handle(now, SpoolInput::Store { shard, number, event, exchange, order });
                }
            }
            Output::Store(batch) => {
                if let Some(disk) = &mut self.store {
                    disk.write(*batch);
                }
            }
            Output::ReadSession { device, prefix } => {
                if let Some(disk) = &mut self.store {
                    disk.read(device, prefix);
                }
            }
            Output::BroadcastTaken { number } => {
                if let (Some(token), Some(consumer)) = (self.broadcasts.remove(&number), &self.consumer) {
                    consumer.ack(token);
                }
            }
            Output::Link(word) => {
                if let FromShard::Settlement(SettlementItem::Settled(settlement)) = &word {
                    Telling::settlement(settlement);
                }
                self.link.handle(now, LinkInput::FromShard { shard: SHARD, word });
            }
            Output::Notice(notice) => {
                if let Notice::SharedClientId { device, newcomer, holder } = &*notice {
                    let address = |id: &ConnectionId| {
                        self.sockets.get(id).and_then(|socket| socket.stream.peer_addr().ok())
                    };
                    let addresses = (address(newcomer), holder.as_ref().and_then(address));
                    self.telling.shared_client_id(now.boot, device, addresses);
                }
                if let Notice::LoginRefused { connection, device, user, why } = &*notice {
                    let address =
                        self.sockets.get(connection).and_then(|socket| socket.stream.peer_addr().ok());
                    self.telling.login_refused(now.boot, (device.as_ref(), user.as_ref()), *why, address);
                }
                if let Notice::SessionFetched { took: Some(took), .. } = &*notice {
                    self.counters.fetched(*took);
                }
                self.telling.notice(now.boot, &notice);
            }
            Output::Trace(trace) => self.telling.trace(*trace),
            Output::Drained => self.drained.notify_one(),
        }
    }

    fn spool_asks(&mut self, now: Now, output: SpoolOutput) {
        let Some((_, disk)) = &mut self.spool else { return };
        match output {
            SpoolOutput::Append(record) => disk.append(record),
            SpoolOutput::Read { from, to } => disk.read(from, to),
            SpoolOutput::Mark { covers, record } => disk.mark(covers, record),
            SpoolOutput::Forget { up_to } => disk.forget(up_to),
            SpoolOutput::Publish(publication) => self.uplink.publish(*publication),
            SpoolOutput::Safe { shard: _, numbers } => self.shard.handle(now, Input::Spooled { numbers }),
            SpoolOutput::State(state) => {
                Telling::spool(state, &self.readiness, self.spool_status.stuck.as_deref());
                self.shard.handle(now, Input::Spool(state));
            }
            SpoolOutput::Unreadable { number, why } => {
                tracing::error!(number, %why, "an event of the spool is passed over: another build wrote it");
            }
        }
    }

    fn link_asks(&mut self, now: Now, output: LinkOutput) {
        match output {
            LinkOutput::Publish(publication) => self.mesh.publish(*publication),
            LinkOutput::ToShard { word, .. } => self.shard.handle(now, Input::Link(word)),
            LinkOutput::Superseded { by } => {
                // A balancer sends devices to the one that is believed.
                self.readiness
                    .not_ready("gateway id", format!("another process has this id: incarnation {by}"));
                tracing::error!(
                    %by,
                    "another process has this gateway's id, and the router believes that one: stop one of the two, and restart \
                     this one if it is to stay"
                );
            }
        }
    }

    fn pause(&self, connection: ConnectionId, paused: bool) {
        if let Some(socket) = self.sockets.get(&connection) {
            socket.pause(paused);
        }
    }

    fn set_timer(&mut self) {
        let earliest = [
            self.shard.poll_timeout(),
            self.link.poll_timeout(),
            self.spool.as_ref().and_then(|(spool, _)| spool.poll_timeout()),
        ]
        .into_iter()
        .flatten()
        .min();
        let sooner = match (earliest, self.deadline) {
            (Some(new), Some(old)) => new < old,
            (Some(_), None) => true,
            (None, _) => false,
        };
        self.deadline = earliest;
        if sooner {
            self.timer.notify_one();
        }
    }
}
