//! One shard: a single-threaded world of connections, sessions, subscriptions and timers.
//!
//! Where to look: [`Input`] and [`Output`] are the border. A connection's bytes are read in `read`, its CONNECT answered
//! in `connect` (its client may have to `authenticate`, and it may have to `fetch` the session from another gateway, which has to `give` it), a PUBLISH goes through `publish` (`routes` says where to, its topic may be one of the `aliases`, and it may have to `park`) to `local` subscribers and the uplink, a command comes through
//! `command`, what is shared goes to one of its group in `share` (`share_elsewhere` if other shards have members of it), what has subscribers in other shards of the process goes there in `crossing`, what QoS 2 has more stands in `exactly_once`, all of both leave through `write`, and so does what was retained (`retain`) and what the gateway tells of itself (`sys`); `broadcasts` come from other gateways and from services (`learn` asks for those that were missed); `close` ends a connection (`wills` come from it), `timeout` watches over it, `drain` ends all; what outlives the process goes to the store in `storing`, and comes back in `restore`.

mod aliases;
mod authenticate;
mod broadcasts;
mod buffers;
mod close;
mod command;
mod connect;
mod connection;
mod crossing;
mod doubts;
mod drain;
mod exactly_once;
mod fetch;
mod fetches;
mod give;
mod hand_over;
mod input;
mod learn;
mod local;
mod messages;
mod output;
mod park;
mod publish;
mod read;
mod restore;
mod retain;
mod routes;
mod sessions;
mod share;
mod share_elsewhere;
mod spooling;
mod storing;
mod subscribe;
mod sys;
mod takeovers;
mod timeout;
mod timers;
mod turn;
mod wills;
mod write;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use broadcasts::Broadcasts;
use buffers::Buffers;
use connection::Connection;
pub(crate) use crossing::CrossingNumber;
use crossing::Crossings;
pub use crossing::ShardWord;
use doubts::Doubts;
use drain::DrainState;
use fetches::Fetches;
use give::Wanted;
pub use hand_over::HandOver;
pub use input::{Backend, Input};
pub(crate) use learn::ASK_KEY;
use learn::Learning;
use messages::Messages;
pub use output::Output;
use roost_wire::{
    AnswerTopic, BootTime, BroadcastPrefix, Device, GatewayId, Incarnation, Now, Region, TraceIds,
};
use routes::Routes;
use sessions::Sessions;
use share_elsewhere::SharedElsewhere;
use spooling::Spooling;
use storing::Storing;
use sys::Sys;
use takeovers::Takeovers;
use timers::{TimerFor, Timers};
use turn::Turn;
use wills::Wills;

use crate::placement::{Numbered, Seeded};
use crate::retained::Retained;
use crate::session::{Depth, SessionKey};
use crate::share::Groups;
use crate::subscriptions::SubscriptionTree;
use crate::trace::Tracer;
use crate::uplink::{Uplink, Waiter};
use crate::{
    Authentication, ConnectionId, Count, Counters, Hints, Interests, Limits, Placement, PublishOrigin,
    UplinkRules,
};

/// What a shard is made with.
#[derive(Debug, Clone)]
pub struct ShardConfig {
    /// Which gateway it is part of.
    pub gateway: GatewayId,
    /// That gateway's region.
    pub region: Region,
    /// That gateway's run.
    pub incarnation: Incarnation,
    /// Its place among the shards of the process.
    pub placement: Placement,
    /// What the shards of the process subscribe to. All have the same.
    pub interests: Arc<Interests>,
    /// Random, so that clients cannot choose names that collide in its tables.
    pub hash_seed: u64,
    /// Its bounds.
    pub limits: Limits,
    /// What becomes an event.
    pub uplink: UplinkRules,
    /// What is asked of who connects.
    pub authentication: Authentication,
    /// What is published below these is for the subscribers of every gateway. Bounded by whoever reads them.
    pub broadcasts: Vec<BroadcastPrefix>,
    /// How often clients that subscribe to them are told the topics below `$SYS/` anew; zero: there are none.
    pub sys_interval: Duration,
    /// Where devices answer commands.
    pub answers: AnswerTopic,
    /// What clients are told for their own use.
    pub hints: Hints,
    /// The ids of its spans; without them it makes none.
    pub trace_ids: Option<TraceIds>,
}

impl ShardConfig {
    /// The only shard of a gateway, with the default bounds and rules, that tells nothing of itself.
    #[must_use]
    pub fn new(gateway: GatewayId, region: Region, incarnation: Incarnation, hash_seed: u64) -> Self {
        Self {
            gateway,
            region,
            incarnation,
            placement: Placement::ALONE,
            interests: Arc::new(Interests::new(hash_seed, 1)),
            hash_seed,
            limits: Limits::default(),
            uplink: UplinkRules::default(),
            authentication: Authentication::default(),
            broadcasts: Vec::new(),
            sys_interval: Duration::ZERO,
            answers: AnswerTopic::default(),
            hints: Hints::default(),
            trace_ids: None,
        }
    }
}

/// One shard. Give it what happens with [`Shard::handle`], then take everything from [`Shard::poll_output`], and call
/// again with [`Input::Tick`] at [`Shard::poll_timeout`].
#[derive(Debug)]
pub struct Shard {
    config: ShardConfig,
    /// Of the input that is being handled.
    now: BootTime,
    tracer: Tracer,
    counters: Counters,
    connections: HashMap<ConnectionId, Box<Connection>, Numbered>,
    sessions: Sessions,
    by_device: HashMap<Device, SessionKey, Seeded>,
    takeovers: Takeovers,
    doubts: Doubts,
    fetches: Fetches,
    /// Sessions given away that the broker does not have yet.
    given: usize,
    /// Sessions that are to be given away when what they have on the way to the backend is safe. At most one question each.
    gives: BTreeMap<SessionKey, Wanted>,
    subscriptions: SubscriptionTree<SessionKey>,
    /// Shared subscriptions.
    groups: Groups,
    retained: Retained,
    timers: Timers,
    uplink: Uplink<Waiter>,
    /// Clients whose next publish waits for room in the uplink, the longest first. At most once each.
    uplink_line: VecDeque<ConnectionId>,
    spooling: Spooling,
    storing: Storing,
    /// Until then a session from the store waits for a router's word.
    undecided_until: BootTime,
    wills: Wills,
    broadcasts: Broadcasts,
    learning: Learning,
    crossings: Crossings,
    shared_elsewhere: SharedElsewhere,
    sys: Sys,
    backend: Backend,
    /// Whose turn it is to have commands delivered here.
    turn: Turn,
    /// Sessions with commands.
    holding: BTreeSet<SessionKey>,
    commands: usize,
    command_bytes: usize,
    parked_bytes: usize,
    /// The outboxes of all sessions together.
    depth: Depth,
    connected: usize,
    paused: usize,
    next_key: u64,
    next_session: u64,
    next_sequence: u64,
    next_request: u64,
    next_exchange: u64,
    drain: DrainState,
    /// What became possible; done before `handle` returns, each connection in turn.
    todo: VecDeque<Todo>,
    to_write: VecDeque<ConnectionId>,
    outputs: VecDeque<Output>,
    routes: Routes,
    messages: Messages,
    buffers: Buffers,
}

/// Something that may have become possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Todo {
    /// To read on.
    Read(ConnectionId),
    /// To route the first parked publish.
    Route(ConnectionId),
}

/// How much there is of what comes and goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gauges {
    /// Transport connections.
    pub connections: usize,
    /// Sessions whose client is connected.
    pub sessions_connected: usize,
    /// Sessions, connected or kept.
    pub sessions: usize,
    /// Subscriptions, shared ones among them.
    pub subscriptions: usize,
    /// Shared subscriptions.
    pub shared_subscriptions: usize,
    /// Events that the backend has not answered.
    pub uplink_events: usize,
    /// Commands written or waiting.
    pub commands: usize,
    /// Connections that are not read from.
    pub connections_paused: usize,
    /// Bytes of the events that the backend has not answered.
    pub uplink_bytes: usize,
    /// Bytes of the payloads of commands written or waiting.
    pub command_bytes: usize,
    /// Bytes of the publishes that wait for room.
    pub parked_bytes: usize,
    /// Messages in the queues of sessions.
    pub queued_messages: usize,
    /// Their size.
    pub queued_bytes: usize,
    /// Messages sent to subscribers and not acknowledged.
    pub inflight_messages: usize,
    /// Sessions that are asked for.
    pub fetches: usize,
    /// Publishes that other shards of the process have not answered.
    pub crossing_publishes: usize,
    /// Their size.
    pub crossing_bytes: usize,
    /// Publishes of other shards' clients that wait for a subscriber here.
    pub guest_publishes: usize,
    /// Retained messages.
    pub retained_messages: usize,
    /// Their size.
    pub retained_bytes: usize,
    /// Wills, of clients that are connected and of those that were.
    pub wills: usize,
    /// Their size.
    pub will_bytes: usize,
    /// Broadcasts that wait for a subscriber.
    pub broadcasts: usize,
    /// Their size.
    pub broadcast_bytes: usize,
    /// Batches of changes that are on their way to the store.
    pub store_batches: usize,
    /// Their size.
    pub store_bytes: usize,
    /// Whether sessions are on disk that are not here yet.
    pub store_loading: bool,
}

impl Gauges {
    /// Adds what another shard of the process has. What is retained each keeps whole.
    pub fn add(&mut self, other: &Self) {
        self.connections += other.connections;
        self.sessions_connected += other.sessions_connected;
        self.sessions += other.sessions;
        self.subscriptions += other.subscriptions;
        self.shared_subscriptions += other.shared_subscriptions;
        self.uplink_events += other.uplink_events;
        self.commands += other.commands;
        self.connections_paused += other.connections_paused;
        self.uplink_bytes += other.uplink_bytes;
        self.command_bytes += other.command_bytes;
        self.parked_bytes += other.parked_bytes;
        self.queued_messages += other.queued_messages;
        self.queued_bytes += other.queued_bytes;
        self.inflight_messages += other.inflight_messages;
        self.fetches += other.fetches;
        self.crossing_publishes += other.crossing_publishes;
        self.crossing_bytes += other.crossing_bytes;
        self.guest_publishes += other.guest_publishes;
        self.wills += other.wills;
        self.will_bytes += other.will_bytes;
        self.broadcasts += other.broadcasts;
        self.broadcast_bytes += other.broadcast_bytes;
        self.store_batches += other.store_batches;
        self.store_bytes += other.store_bytes;
        self.retained_messages = self.retained_messages.max(other.retained_messages);
        self.retained_bytes = self.retained_bytes.max(other.retained_bytes);
        self.store_loading |= other.store_loading;
    }
}

/// Bound on the subscriptions of a whole shard that are not shared: 100 to 200 bytes each. Beyond: SUBACK 0x97.
const SUBSCRIPTIONS_TOTAL_MAX: u32 = 4_000_000;

impl Shard {
    /// An empty shard.
    #[must_use]
    pub fn new(mut config: ShardConfig) -> Self {
        let seed = Seeded(config.hash_seed);
        let limits = config.limits.clone();
        Self {
            now: BootTime::default(),
            tracer: Tracer::new(config.trace_ids.take()),
            uplink: Uplink::new(
                PublishOrigin::Shard(config.placement.index()),
                limits.uplink_events_max,
                limits.uplink_bytes_max,
            ),
            uplink_line: VecDeque::new(),
            spooling: Spooling::new(),
            storing: Storing::default(),
            undecided_until: BootTime::default(),
            wills: Wills::default(),
            broadcasts: Broadcasts::default(),
            learning: Learning::default(),
            crossings: Crossings::new(config.interests.shards()),
            shared_elsewhere: SharedElsewhere::default(),
            sys: Sys::default(),
            counters: Counters::default(),
            connections: HashMap::default(),
            sessions: Sessions::default(),
            by_device: HashMap::with_hasher(seed),
            takeovers: Takeovers::new(limits.takeovers_burst, limits.takeover_every, seed),
            doubts: Doubts::new(seed),
            fetches: Fetches::default(),
            given: 0,
            gives: BTreeMap::new(),
            subscriptions: SubscriptionTree::new(config.hash_seed, SUBSCRIPTIONS_TOTAL_MAX),
            groups: Groups::new(config.hash_seed, config.placement, Arc::clone(&config.interests)),
            retained: Retained::new(limits.retained_messages_max, limits.retained_bytes_max),
            timers: Timers::default(),
            backend: Backend::Away,
            turn: Turn::default(),
            holding: BTreeSet::new(),
            commands: 0,
            command_bytes: 0,
            parked_bytes: 0,
            depth: Depth::default(),
            connected: 0,
            paused: 0,
            next_key: 0,
            next_session: 0,
            next_sequence: 0,
            next_request: 0,
            next_exchange: 0,
            drain: DrainState::Serving,
            todo: VecDeque::new(),
            to_write: VecDeque::new(),
            outputs: VecDeque::new(),
            routes: Routes::new(seed),
            messages: Messages::default(),
            buffers: Buffers::default(),
            config,
        }
    }

    /// Takes in one thing that happened.
    pub fn handle(&mut self, now: Now, input: Input) {
        self.now = now.boot;
        self.begin_sys(now);
        match input {
            Input::Opened { connection, entropy } => self.opened(now, connection, entropy),
            Input::HandedOver(hand_over) => self.handed_over(now, *hand_over),
            Input::Others(others) => self.others_count(others),
            Input::Shard { from, words } => self.shard_says(now, from, words),
            Input::Received { connection, bytes } => self.received(now, connection, bytes),
            Input::Written { connection, bytes } => self.written(now, connection, bytes),
            Input::Closed { connection } => self.closed_by_peer(now, connection),
            Input::Published { token, outcome } => self.published(now, token, outcome),
            Input::Spooled { numbers } => self.spooled(now, numbers),
            Input::Spool(state) => self.spool_state(now, state),
            Input::StoreOpened(opened) => self.store_opened(now, *opened),
            Input::Stored { up_to } => self.stored(up_to),
            Input::StoreStuck { is_stuck } => self.store_is_stuck(is_stuck),
            Input::SessionRead { device, records } => self.session_read(now, device, &records),
            Input::SessionsRead { records, is_last } => self.sessions_read(now, &records, is_last),
            Input::Backend(backend) => {
                self.backend = backend;
                self.ask_for_retained(now);
            }
            Input::Delivery { link, delivery } => self.deliver_command(now, link, delivery),
            Input::Session(arrival) => self.session_arrived(now, *arrival),
            Input::Broadcast { number, message } => self.broadcast_came(now, number, &message),
            Input::BroadcastsLink { queue } => self.broadcasts_link(now, queue),
            Input::BroadcastMissed { has_expired } => self.broadcast_missed(has_expired),
            Input::Link(word) => self.link_says(now, word),
            Input::Drain { grace } => self.start_drain(now, grace),
            Input::Tick => self.tick(now),
        }
        loop {
            self.publish_wills(now);
            self.publish_broadcasts(now);
            let Some(todo) = self.todo.pop_front() else { break };
            match todo {
                Todo::Read(connection) => self.read(now, connection),
                Todo::Route(connection) => self.route_parked(now, connection),
            }
        }
        self.finish_drain(now);
        self.store_changes(now);
        self.answer_shards();
    }

    /// The next effect, in order; `None` when there is none for now.
    pub fn poll_output(&mut self) -> Option<Output> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        while let Some(id) = self.to_write.pop_front() {
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            if !self.storing.is_safe(connection.outgoing.waits_for) {
                // It stays listed.
                self.storing.hold(id);
                continue;
            }
            connection.outgoing.is_listed = false;
            if let Some(bytes) = connection.outgoing.hand_over() {
                self.sys.traffic.packets_sent += u64::from(connection.outgoing.take_packets());
                return Some(Output::Write { connection: id, bytes });
            }
        }
        None
    }

    /// When to come back with [`Input::Tick`] if nothing happens before. Call it when the outputs are taken.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<BootTime> {
        self.timers.next()
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What there is now.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        Gauges {
            connections: self.connections.len(),
            sessions_connected: self.connected,
            sessions: self.sessions.len(),
            subscriptions: self.subscriptions.len() + self.groups.memberships(),
            shared_subscriptions: self.groups.memberships(),
            uplink_events: self.uplink.len(),
            commands: self.commands,
            connections_paused: self.paused,
            uplink_bytes: self.uplink.bytes(),
            command_bytes: self.command_bytes,
            parked_bytes: self.parked_bytes,
            queued_messages: self.depth.queued,
            queued_bytes: self.depth.queued_bytes,
            inflight_messages: self.depth.inflight,
            fetches: self.fetches.len(),
            crossing_publishes: self.crossings.len(),
            crossing_bytes: self.crossings.bytes(),
            guest_publishes: self.crossings.guests(),
            retained_messages: self.retained.len(),
            retained_bytes: self.retained.bytes(),
            wills: self.wills.len(),
            will_bytes: self.wills.bytes(),
            broadcasts: self.broadcasts.len(),
            broadcast_bytes: self.broadcasts.bytes(),
            store_batches: self.storing.len(),
            store_bytes: self.storing.bytes(),
            store_loading: self.storing.loading.is_some(),
        }
    }

    fn count(&mut self, count: Count) {
        self.counters.add(count);
    }

    /// The device whose client is on this connection.
    fn device_of(&self, id: ConnectionId) -> Option<&Device> {
        Some(&self.sessions.get(&self.session_of(id)?)?.device)
    }

    /// The session whose client is on this connection.
    fn session_of(&self, id: ConnectionId) -> Option<SessionKey> {
        Some(self.connections.get(&id)?.client.as_ref()?.session)
    }
}
