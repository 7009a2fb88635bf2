//! The file of the embedded AMQP broker.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Duration;

use crate::gateway::SHUTDOWN_GRACE;
use crate::section::Section;
use crate::value::{address, loopback_address, path, seconds, text, whole};

/// What `role: backend` reads.
#[derive(Debug, Clone, PartialEq)]
pub struct BackendSettings {
    /// `listen`: AMQP 0-9-1.
    pub listen: SocketAddr,
    /// `admin`: `/livez`, `/readyz`, `/metrics`, `/v1/queues`; loopback only.
    pub admin: SocketAddr,
    /// `data`: where durable queues live. Required.
    pub data: PathBuf,
    /// `users`: who may connect.
    pub users: Vec<User>,
    /// `limits`
    pub limits: BackendLimits,
    /// `shutdown_grace_s`: how long a drain may take.
    pub shutdown_grace: Duration,
}

/// One entry of `users`. Its password does not print.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// As AMQP's PLAIN mechanism says it.
    pub name: String,
    /// In the clear, as in the file: keep the file to its owner.
    pub password: String,
}

/// `limits`: the bounds on what clients cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendLimits {
    /// Connections at once; one more is closed with 530.
    pub connections_max: usize,
    /// Channels of one connection; one more is a 504.
    pub channels_max: u16,
    /// Queues; one more is a 406.
    pub queues_max: usize,
    /// Bytes of one message; a larger one is a 406.
    pub message_bytes_max: u64,
    /// Bytes of all messages in all queues; above it publishers are blocked.
    pub memory_bytes_max: u64,
}

/// 127.0.0.1:5672, AMQP's registered port. Loopback, since the default user's password is known to everybody.
pub const LISTEN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 5672));
/// 127.0.0.1:8083, beside the router's 8080 and the gateways' 8081 and 8082.
pub const ADMIN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8083));
/// The user, and its password, that RabbitMQ has at first, so that the examples of every client library work.
pub const USER: &str = "guest";
/// 1,024: services keep few connections, and gateways have two each.
pub const CONNECTIONS_MAX: usize = 1_024;
/// 2,047: RabbitMQ's default, so that clients meet the same.
pub const CHANNELS_MAX: u16 = 2_047;
/// 50,000: far above the contract's own, and bounds what a client that declares in a loop can take.
pub const QUEUES_MAX: usize = 50_000;
/// 16 MiB: 64 times the largest MQTT packet by default.
pub const MESSAGE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// 512 MiB: an eighth of a small machine.
pub const MEMORY_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// 1,000: each is compared with at a login.
const USERS_MAX: usize = 1_000;

impl BackendSettings {
    /// The defaults for a broker that keeps its queues in `data`.
    #[must_use]
    pub fn new(data: PathBuf) -> Self {
        Self {
            listen: LISTEN,
            admin: ADMIN,
            data,
            users: vec![User { name: USER.to_owned(), password: USER.to_owned() }],
            limits: BackendLimits::default(),
            shutdown_grace: SHUTDOWN_GRACE,
        }
    }

    pub(crate) fn read(mut root: Section<'_>) -> Option<Self> {
        let data = root.required("data", path);
        let d = Self::new(data.clone().unwrap_or_default());
        let settings = Self {
            listen: root.or("listen", d.listen, address),
            admin: root.or("admin", d.admin, loopback_address),
            users: read_users(&mut root, d.users),
            limits: BackendLimits::read(root.section("limits")),
            shutdown_grace: root.or("shutdown_grace_s", d.shutdown_grace, seconds(1..=3_600)),
            data: d.data,
        };
        if settings.listen == settings.admin {
            root.say("admin", format!("{} is where AMQP listens already", settings.admin));
        }
        let has_known_password = settings.users.iter().any(|user| user.name == USER && user.password == USER);
        if has_known_password && !settings.listen.ip().is_loopback() {
            root.say(
                "listen",
                format!(
                    "{} is not loopback, and everybody knows the password of {USER}; name other users",
                    settings.listen
                ),
            );
        }
        root.finish();
        data.map(|_| settings)
    }
}

fn read_users(root: &mut Section<'_>, default: Vec<User>) -> Vec<User> {
    let Some(items) = root.list("users") else { return default };
    if items.is_empty() || items.len() > USERS_MAX {
        root.say("users", format!("{} entries, 1 to {USERS_MAX} are allowed", items.len()));
    }
    let mut names = BTreeSet::new();
    let mut users = Vec::new();
    for item in items {
        let mut s = root.item_section(item);
        let (name, password) = (s.required("name", text), s.required("password", text));
        if name.as_ref().is_some_and(|name| !names.insert(name.clone())) {
            s.say("name", "another user has this name already");
        }
        s.finish();
        users.extend(name.zip(password).map(|(name, password)| User { name, password }));
    }
    users
}

impl Default for BackendLimits {
    fn default() -> Self {
        Self {
            connections_max: CONNECTIONS_MAX,
            channels_max: CHANNELS_MAX,
            queues_max: QUEUES_MAX,
            message_bytes_max: MESSAGE_BYTES_MAX,
            memory_bytes_max: MEMORY_BYTES_MAX,
        }
    }
}

impl BackendLimits {
    fn read(mut s: Section<'_>) -> Self {
        let d = Self::default();
        let limits = Self {
            connections_max: s.or("connections_max", d.connections_max, whole(1..=1_000_000)),
            channels_max: s.or("channels_max", d.channels_max, whole(1..=u16::MAX)),
            queues_max: s.or("queues_max", d.queues_max, whole(16..=10_000_000)),
            message_bytes_max: s.or(
                "message_bytes_max",
                d.message_bytes_max,
                whole(1_024..=512 * 1024 * 1024),
            ),
            memory_bytes_max: s.or(
                "memory_bytes_max",
                d.memory_bytes_max,
                whole(1024 * 1024..=1024 * 1024 * 1024 * 1024),
            ),
        };
        if limits.memory_bytes_max < limits.message_bytes_max {
            s.say(
                "memory_bytes_max",
                format!(
                    "{} is less than message_bytes_max, {}: the largest message would never fit",
                    limits.memory_bytes_max, limits.message_bytes_max
                ),
            );
        }
        s.finish();
        limits
    }
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("name", &self.name).field("password", &"***").finish()
    }
}
