//! The file of a gateway.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use roost_backend::AmqpAddress;
use roost_wire::{AnswerTopic, GatewayId, Region, ResponseInformation};

use crate::authentication::AuthenticationSettings;
use crate::document::Node;
use crate::fanout::FanoutSettings;
use crate::section::Section;
use crate::spool::SpoolSettings;
use crate::tracing::TracingSettings;
use crate::uplink::UplinkSettings;
use crate::value::{
    address, choice, loopback_address, milliseconds, parsed, path, seconds, server_reference, whole,
};

/// What `role: gateway` reads.
#[derive(Debug, Clone, PartialEq)]
pub struct GatewaySettings {
    /// `id`: this gateway across all its runs. Required; two gateways never share one.
    pub id: GatewayId,
    /// `region`: the gateways behind one balancer and one DNS name. Required.
    pub region: Region,
    /// `data`: where the spool lives, in a directory of that name, and sessions that are on disk, in the directory `sessions`.
    pub data: Option<PathBuf>,
    /// `listen`: MQTT.
    pub listen: SocketAddr,
    /// `admin`: `/livez`, `/readyz`, `/metrics`; loopback only.
    pub admin: SocketAddr,
    /// `amqp`: the backend.
    pub amqp: AmqpAddress,
    /// `threads`: how many serve devices.
    pub threads: Threads,
    /// `authentication`
    pub authentication: AuthenticationSettings,
    /// `limits`
    pub limits: GatewayLimits,
    /// `uplink`
    pub uplink: UplinkSettings,
    /// `fanout`
    pub fanout: FanoutSettings,
    /// `sys_interval_s`: how often the topics below `$SYS/` are told anew; zero: there are none.
    pub sys_interval: Duration,
    /// `spool`
    pub spool: SpoolSettings,
    /// `answer_topic`: where devices answer commands, with `{device}` as one level.
    pub answer_topic: AnswerTopic,
    /// `response_information`: what MQTT 5 devices that ask for it begin their response topics with, with `{device}` as one level.
    pub response_information: Option<ResponseInformation>,
    /// `mesh`
    pub mesh: MeshSettings,
    /// `sessions`
    pub sessions: SessionSettings,
    /// `wills`
    pub wills: WillSettings,
    /// `tracing`; off by default.
    pub tracing: Option<TracingSettings>,
    /// `drain`
    pub drain: DrainSettings,
    /// `shutdown_grace_s`: how long a drain may take.
    pub shutdown_grace: Duration,
}

/// How many threads serve devices, each its share of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// `auto`: as many as the process has processors, by its affinity and its control group; at most [`Threads::MAX`].
    Auto,
    /// So many.
    Exactly(u16),
}

impl Threads {
    /// As many as there may be.
    pub const MAX: u16 = 64;

    /// How many there are.
    #[must_use]
    pub fn count(self) -> u16 {
        match self {
            Self::Auto => {
                let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
                u16::try_from(processors).unwrap_or(Self::MAX).min(Self::MAX)
            }
            Self::Exactly(threads) => threads,
        }
    }

    fn read(node: &Node) -> Result<Self, String> {
        match node {
            Node::Text(text) if text == AUTO => Ok(Self::Auto),
            Node::Int(_) => whole(1..=Self::MAX)(node).map(Self::Exactly),
            _ => Err(format!("expected auto or a whole number, found {}", node.kind())),
        }
    }
}

const AUTO: &str = "auto";

impl FromStr for Threads {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == AUTO {
            return Ok(Self::Auto);
        }
        let threads = text.parse().ok().filter(|threads| (1..=Self::MAX).contains(threads));
        threads
            .map(Self::Exactly)
            .ok_or_else(|| format!("expected {AUTO} or a number from 1 to {}", Self::MAX))
    }
}

impl fmt::Display for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str(AUTO),
            Self::Exactly(threads) => threads.fmt(f),
        }
    }
}

/// `limits`: the bounds on what devices cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayLimits {
    /// Connections at once; one more is closed and counted.
    pub connections_max: usize,
    /// Sessions, connected or kept; one more is refused with 0x97 (3.1.1: 0x03).
    pub sessions_max: usize,
    /// Bytes of one packet, told to v5 clients as Maximum Packet Size; a longer one closes the connection with 0x95.
    pub packet_bytes_max: u32,
    /// Messages that wait for one session; see `session_queue_bytes_max`.
    pub session_queue_messages_max: usize,
    /// Bytes that wait for one session; a subscriber that reaches either bound slows its publishers as long as it acknowledges anything, and
    /// [`SessionSettings`] says what happens with one that does not, or is away.
    pub session_queue_bytes_max: usize,
    /// Retained messages; see `retained_bytes_max`.
    pub retained_messages_max: usize,
    /// Bytes of them; beyond either bound a v5 client's publish at QoS 1 or 2 is refused with 0x97, and others are routed and not retained.
    pub retained_bytes_max: usize,
    /// Bytes of the wills of clients that are connected or may come back; one more is refused with its CONNECT, 0x97 (3.1.1: 0x03).
    pub wills_bytes_max: usize,
    /// QoS 1 and 2 publishes of one client that wait for their PUBACK or PUBCOMP, told to v5 clients as Receive Maximum; beyond it a v5
    /// client is disconnected with 0x93, and a 3.1.1 client is no longer read.
    pub receive_maximum: u16,
    /// Topic aliases of one connection, each way, told to v5 clients as Topic Alias Maximum; a higher one closes the connection with 0x94.
    /// 0: none.
    pub topic_alias_maximum: u16,
    /// `session_expiry_s_max`: the longest session expiry; a v5 client that asks for more is told this.
    pub session_expiry_max: Duration,
    /// `keep_alive_s_max`: the longest keep alive; a v5 client that asks for more, or for none, is told this one. That of a 3.1.1 client
    /// stands, since it cannot be told. 0: there is none.
    pub keep_alive_s_max: u16,
    /// How long a connection may take until its CONNECT is whole and, where it names an authentication method, its client has shown who it
    /// is; then it is closed.
    pub connect_timeout: Duration,
}

/// `mesh`: the gateway's side of leases, heartbeats and settlements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshSettings {
    /// `heartbeat_s`: how often the router is told that the gateway lives.
    pub heartbeat: Duration,
    /// `lease_s`: how long commands may be delivered after the last heartbeat that was answered.
    pub lease: Duration,
    /// `settle_timeout_s`: how long a device may take for a command's PUBACK.
    pub settle_timeout: Duration,
    /// `shards`: how many routers there are; fixed when a deployment is created.
    pub shards: u16,
}

/// `sessions`: what becomes of sessions whose devices roam, are too slow or are away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSettings {
    /// `store`: where sessions and retained messages are kept.
    pub store: SessionStore,
    /// `transfer_ms`: how long a CONNECT waits for the session that its device had at another gateway; then it gets a fresh one. 0:
    /// it never waits, each gateway keeps its own sessions, and hands none over.
    pub transfer: Duration,
    /// `stalled_queue_factor`: how many times its queue's bounds may wait for a client that has acknowledged nothing for a second, so that
    /// its publishers need not wait for it.
    pub stalled_queue_factor: usize,
    /// `patience_ms`: how long publishers wait for such a client when that is full too; then it is disconnected with 0x97.
    pub patience: Duration,
    /// `when_away_full`: what becomes of a message for a session that is away and whose queue is full.
    pub when_away_full: AwayFull,
}

/// Where sessions that outlive their connections, and retained messages, are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionStore {
    /// `memory`: they end with the process, and nothing is written.
    Memory,
    /// `disk`: they are there again when the process was killed. What is promised on them waits for the disk.
    Disk,
}

const SESSION_STORE: [(&str, SessionStore); 2] =
    [("memory", SessionStore::Memory), ("disk", SessionStore::Disk)];

/// What becomes of a message at QoS 1 or 2 for a session that is away and whose queue is full. Each is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AwayFull {
    /// `drop_newest`: it is dropped for that session.
    DropNewest,
    /// `drop_oldest`: the oldest that waits is dropped for it.
    DropOldest,
    /// `refuse`: an MQTT 5 publisher is told 0x97 and nobody gets it; that of an older one is dropped for that session.
    Refuse,
}

const WHEN_AWAY_FULL: [(&str, AwayFull); 3] = [
    ("drop_newest", AwayFull::DropNewest),
    ("drop_oldest", AwayFull::DropOldest),
    ("refuse", AwayFull::Refuse),
];

/// `drain`: what devices are told when the gateway goes away.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DrainSettings {
    /// `server_reference`: where MQTT 5 devices are to go, `HOST:PORT`, several with spaces between them. They are disconnected with 0x9C
    /// and this then; without it with 0x8B, and connect again as they did.
    pub server_reference: Option<String>,
}

/// `wills`: what becomes of wills where a device has several gateways to choose from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WillSettings {
    /// `on_takeover`: when a device's connection is closed since it has connected at another gateway.
    pub on_takeover: OnTakeover,
}

/// What becomes of the will of a device that has connected at another gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnTakeover {
    /// `discard`: nothing; the device is there.
    Discard,
    /// `publish`: as at one gateway; one with a delay is published only if the session does not go on there.
    Publish,
}

const ON_TAKEOVER: [(&str, OnTakeover); 2] =
    [("discard", OnTakeover::Discard), ("publish", OnTakeover::Publish)];

/// 127.0.0.1:1883, MQTT's registered port. Loopback, so that a gateway without users is not open to the world by default.
pub const LISTEN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1883));
/// 127.0.0.1:8081, beside the router's 8080.
pub const ADMIN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8081));
/// The embedded broker's address and RabbitMQ's default, with the user that both have at first.
pub const AMQP: &str = "amqp://guest:guest@127.0.0.1:5672/%2f";
/// 100,000: beyond what one machine's limit on open files lets in by default, so that the limit is the machine's.
pub const CONNECTIONS_MAX: usize = 100_000;
/// 200,000: devices that roam leave sessions behind until these expire.
pub const SESSIONS_MAX: usize = 200_000;
/// 256 KiB: a device's picture fits, and 10,000 of them at once do not fill a machine.
pub const PACKET_BYTES_MAX: u32 = 256 * 1024;
/// 1,000: some minutes of a busy topic for a client that reconnects.
pub const SESSION_QUEUE_MESSAGES_MAX: usize = 1_000;
/// 1 MiB: 1,000 messages of 1 KiB; 10,000 sessions that are all full stay below 10 GiB.
pub const SESSION_QUEUE_BYTES_MAX: usize = 1024 * 1024;
/// 100,000: ten for each of 10,000 devices.
pub const RETAINED_MESSAGES_MAX: usize = 100_000;
/// 64 MiB: 600 bytes for each of them.
pub const RETAINED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// 64 MiB: 600 bytes for each of 100,000 connections.
pub const WILLS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// 100: at a round trip of 100 ms to the backend one device still publishes 1,000 messages a second.
pub const RECEIVE_MAXIMUM: u16 = 100;
/// 16: a device publishes to a handful of topics, and a dashboard that follows thousands gains nothing from aliases.
pub const TOPIC_ALIAS_MAXIMUM: u16 = 16;
/// 7 days: the longest lifetime of a command by default; who stays away longer begins anew.
pub const SESSION_EXPIRY_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);
/// 0, none: devices know their radio and their battery best.
pub const KEEP_ALIVE_S_MAX: u16 = 0;
/// 10 s: a bad radio needs some; who has not said CONNECT by then is not a device.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// 3 s: three fit into a lease, so that two lost in a row do not end it.
pub const HEARTBEAT: Duration = Duration::from_secs(3);
/// 10 s: how long a device of a dead gateway waits for its commands, against how often a pause looks like a death.
pub const LEASE: Duration = Duration::from_secs(10);
/// 30 s: a device that sleeps its radio between packets answers within it.
pub const SETTLE_TIMEOUT: Duration = Duration::from_secs(30);
/// All processors: a gateway has its machine for itself.
pub const THREADS: Threads = Threads::Auto;
/// 1: one router serves a fleet until it is measured not to.
pub const SHARDS: u16 = 1;
/// 2 s: some round trips over a bad path between continents; clients give up after 5 s and more.
pub const SESSION_TRANSFER: Duration = Duration::from_secs(2);
/// 8: a subscriber of 200 messages a second is closed for its silence before that is full.
pub const STALLED_QUEUE_FACTOR: usize = 8;
/// 5 s: a radio's handover; who needs longer does not take such rates.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// 10 s: mosquitto's, whose users the topics are for.
pub const SYS_INTERVAL: Duration = Duration::from_secs(10);
/// 30 s: what systemd and Kubernetes give before they kill.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(30);

impl GatewaySettings {
    /// The defaults for a gateway of this name.
    #[must_use]
    pub fn new(id: GatewayId, region: Region) -> Self {
        Self {
            id,
            region,
            data: None,
            listen: LISTEN,
            admin: ADMIN,
            amqp: default_amqp(),
            threads: THREADS,
            authentication: AuthenticationSettings::default(),
            limits: GatewayLimits::default(),
            uplink: UplinkSettings::default(),
            fanout: FanoutSettings::default(),
            sys_interval: SYS_INTERVAL,
            spool: SpoolSettings::default(),
            answer_topic: AnswerTopic::default(),
            response_information: None,
            mesh: MeshSettings::default(),
            sessions: SessionSettings::default(),
            wills: WillSettings::default(),
            tracing: None,
            drain: DrainSettings::default(),
            shutdown_grace: SHUTDOWN_GRACE,
        }
    }

    pub(crate) fn read(mut root: Section<'_>) -> Option<Self> {
        let id = root.required("id", parsed::<GatewayId>);
        let region = root.required("region", parsed::<Region>);
        let data = root.optional("data", path);
        let listen = root.or("listen", LISTEN, address);
        let admin = root.or("admin", ADMIN, loopback_address);
        let amqp = root.or("amqp", default_amqp(), parsed::<AmqpAddress>);
        let threads = root.or("threads", THREADS, Threads::read);
        let authentication = AuthenticationSettings::read(root.section("authentication"));
        let limits = GatewayLimits::read(root.section("limits"));
        let uplink = UplinkSettings::read(root.section("uplink"));
        let fanout = FanoutSettings::read(root.section("fanout"));
        let sys_interval = root.or("sys_interval_s", SYS_INTERVAL, seconds(0..=3_600));
        let spool = SpoolSettings::read(root.section("spool"));
        let answer_topic = root.or("answer_topic", AnswerTopic::default(), parsed::<AnswerTopic>);
        let response_information = root.optional("response_information", parsed::<ResponseInformation>);
        let mesh = MeshSettings::read(root.section("mesh"));
        let sessions = SessionSettings::read(root.section("sessions"));
        let wills = WillSettings::read(root.section("wills"));
        let tracing = TracingSettings::read(root.section("tracing"));
        let drain = DrainSettings::read(root.section("drain"));
        let shutdown_grace = root.or("shutdown_grace_s", SHUTDOWN_GRACE, seconds(1..=3_600));
        if listen == admin {
            root.say("admin", format!("{admin} is where MQTT listens already"));
        }
        if data.is_none() && uplink.need_spool() {
            root.say("data", "a rule says `acknowledge: spooled`, which needs a directory");
        }
        if data.is_none() && sessions.store == SessionStore::Disk {
            root.say("data", "`sessions: store: disk` needs a directory");
        }
        root.finish();
        Some(Self {
            id: id?,
            region: region?,
            data,
            listen,
            admin,
            amqp,
            threads,
            authentication,
            limits,
            uplink,
            fanout,
            sys_interval,
            spool,
            answer_topic,
            response_information,
            mesh,
            sessions,
            wills,
            tracing,
            drain,
            shutdown_grace,
        })
    }
}

impl Default for GatewayLimits {
    fn default() -> Self {
        Self {
            connections_max: CONNECTIONS_MAX,
            sessions_max: SESSIONS_MAX,
            packet_bytes_max: PACKET_BYTES_MAX,
            session_queue_messages_max: SESSION_QUEUE_MESSAGES_MAX,
            session_queue_bytes_max: SESSION_QUEUE_BYTES_MAX,
            retained_messages_max: RETAINED_MESSAGES_MAX,
            retained_bytes_max: RETAINED_BYTES_MAX,
            wills_bytes_max: WILLS_BYTES_MAX,
            receive_maximum: RECEIVE_MAXIMUM,
            topic_alias_maximum: TOPIC_ALIAS_MAXIMUM,
            session_expiry_max: SESSION_EXPIRY_MAX,
            keep_alive_s_max: KEEP_ALIVE_S_MAX,
            connect_timeout: CONNECT_TIMEOUT,
        }
    }
}

impl GatewayLimits {
    fn read(mut s: Section<'_>) -> Self {
        let d = Self::default();
        let limits = Self {
            connections_max: s.or("connections_max", d.connections_max, whole(1..=10_000_000)),
            sessions_max: s.or("sessions_max", d.sessions_max, whole(1..=10_000_000)),
            // Below 1 KiB a CONNECT with a topic and properties does not fit; MQTT ends at 268,435,455 bytes [MQTT-2.1.4].
            packet_bytes_max: s.or("packet_bytes_max", d.packet_bytes_max, whole(1_024..=64 * 1024 * 1024)),
            session_queue_messages_max: s.or(
                "session_queue_messages_max",
                d.session_queue_messages_max,
                whole(1..=1_000_000),
            ),
            session_queue_bytes_max: s.or(
                "session_queue_bytes_max",
                d.session_queue_bytes_max,
                whole(1_024..=1024 * 1024 * 1024),
            ),
            retained_messages_max: s.or(
                "retained_messages_max",
                d.retained_messages_max,
                whole(1..=10_000_000),
            ),
            retained_bytes_max: s.or(
                "retained_bytes_max",
                d.retained_bytes_max,
                whole(1_024..=64 * 1024 * 1024 * 1024),
            ),
            wills_bytes_max: s.or(
                "wills_bytes_max",
                d.wills_bytes_max,
                whole(1_024..=64 * 1024 * 1024 * 1024),
            ),
            receive_maximum: s.or("receive_maximum", d.receive_maximum, whole(1..=u16::MAX)),
            // Each alias of the gateway's own is a comparison for every publish.
            topic_alias_maximum: s.or("topic_alias_maximum", d.topic_alias_maximum, whole(0..=255)),
            session_expiry_max: s.or(
                "session_expiry_s_max",
                d.session_expiry_max,
                seconds(0..=365 * 24 * 3_600),
            ),
            keep_alive_s_max: s.or("keep_alive_s_max", d.keep_alive_s_max, whole(0..=u16::MAX)),
            connect_timeout: s.or("connect_timeout_s", d.connect_timeout, seconds(1..=60)),
        };
        if limits.session_queue_bytes_max < limits.packet_bytes_max as usize {
            s.say(
                "session_queue_bytes_max",
                format!(
                    "{} is less than packet_bytes_max, {}: the largest packet would never fit",
                    limits.session_queue_bytes_max, limits.packet_bytes_max
                ),
            );
        }
        s.finish();
        limits
    }
}

impl Default for MeshSettings {
    fn default() -> Self {
        Self { heartbeat: HEARTBEAT, lease: LEASE, settle_timeout: SETTLE_TIMEOUT, shards: SHARDS }
    }
}

impl MeshSettings {
    fn read(mut s: Section<'_>) -> Self {
        let d = Self::default();
        let mesh = Self {
            heartbeat: s.or("heartbeat_s", d.heartbeat, seconds(1..=60)),
            lease: s.or("lease_s", d.lease, seconds(2..=600)),
            settle_timeout: s.or("settle_timeout_s", d.settle_timeout, seconds(1..=3_600)),
            shards: s.or("shards", d.shards, whole(1..=SHARDS)),
        };
        if mesh.lease < 2 * mesh.heartbeat {
            s.say(
                "lease_s",
                format!(
                    "{} is less than twice heartbeat_s, {}: one lost heartbeat would end the lease",
                    mesh.lease.as_secs(),
                    mesh.heartbeat.as_secs()
                ),
            );
        }
        s.finish();
        mesh
    }
}

impl DrainSettings {
    fn read(mut s: Section<'_>) -> Self {
        let server_reference = s.optional("server_reference", server_reference);
        s.finish();
        Self { server_reference }
    }
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self {
            // A disk costs each publish to a kept session an fsync, and devices that roam have theirs elsewhere when a gateway dies.
            store: SessionStore::Memory,
            transfer: SESSION_TRANSFER,
            stalled_queue_factor: STALLED_QUEUE_FACTOR,
            patience: PATIENCE,
            // What it gets has no gap in the middle, and what it misses is the newest, which is said again soonest.
            when_away_full: AwayFull::DropNewest,
        }
    }
}

impl SessionSettings {
    fn read(mut s: Section<'_>) -> Self {
        let d = Self::default();
        let sessions = Self {
            store: s.or("store", d.store, choice(&SESSION_STORE)),
            // Below the default connect timeout of ten seconds, which would end the wait instead.
            transfer: s.or("transfer_ms", d.transfer, milliseconds(0..=8_000)),
            stalled_queue_factor: s.or("stalled_queue_factor", d.stalled_queue_factor, whole(1..=1_000)),
            // Beyond thirty seconds its silence ends it anyway.
            patience: s.or("patience_ms", d.patience, milliseconds(0..=30_000)),
            when_away_full: s.or("when_away_full", d.when_away_full, choice(&WHEN_AWAY_FULL)),
        };
        s.finish();
        sessions
    }
}

impl Default for WillSettings {
    fn default() -> Self {
        // Who watches a fleet wants to hear of devices that are gone, not of those that have moved.
        Self { on_takeover: OnTakeover::Discard }
    }
}

impl WillSettings {
    fn read(mut s: Section<'_>) -> Self {
        let on_takeover = s.or("on_takeover", Self::default().on_takeover, choice(&ON_TAKEOVER));
        s.finish();
        Self { on_takeover }
    }
}

/// [`AMQP`] as a value.
pub(crate) fn default_amqp() -> AmqpAddress {
    AMQP.parse().expect("the constant is an AMQP address; a test reads it")
}
