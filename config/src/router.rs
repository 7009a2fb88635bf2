//! The file of a router.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Duration;

use roost_backend::AmqpAddress;
use roost_wire::ShardId;

use crate::gateway::{LEASE, SETTLE_TIMEOUT, SHARDS, SHUTDOWN_GRACE, default_amqp};
use crate::section::Section;
use crate::tracing::TracingSettings;
use crate::value::{loopback_address, parsed, path, seconds, whole};

/// What `role: router` reads.
#[derive(Debug, Clone, PartialEq)]
pub struct RouterSettings {
    /// `shard`: which part of the devices this router has custody of.
    pub shard: ShardId,
    /// `data`: where the journal lives. Required: it is the custody.
    pub data: PathBuf,
    /// `http`: the API, `/livez`, `/readyz`, `/metrics`; loopback only.
    pub http: SocketAddr,
    /// `amqp`: the backend.
    pub amqp: AmqpAddress,
    /// `lease_s`: as the gateways have it.
    pub lease: Duration,
    /// `margin_s`: how much longer than the lease the router waits before it gives a device to another gateway.
    pub margin: Duration,
    /// `settle_timeout_s`: as the gateways have it. A command that was forwarded and is not settled a little later makes
    /// the router ask what its gateway has.
    pub settle_timeout: Duration,
    /// `outstanding_per_device_max`: commands of one device at its gateway; more wait in the mailbox.
    pub outstanding_per_device_max: usize,
    /// `mailbox`: what waits for one device, by payloads; one more command is rejected as `mailbox_full`.
    pub mailbox: CommandBounds,
    /// `tenant`: what is in custody for all devices of one tenant, by payloads and headers; one more command is rejected as
    /// `tenant_full`.
    pub tenant: CommandBounds,
    /// `lifetime`
    pub lifetime: LifetimeSettings,
    /// `absent_remembered_s`: how long "no gateway has it" is believed before they are asked again.
    pub absent_remembered: Duration,
    /// `tracing`; off by default.
    pub tracing: Option<TracingSettings>,
    /// `shutdown_grace_s`: how long a drain may take.
    pub shutdown_grace: Duration,
}

/// How many commands there may be, and how large together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandBounds {
    /// Commands.
    pub commands_max: usize,
    /// Their bytes.
    pub bytes_max: usize,
}

/// `lifetime`: how long the mesh tries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LifetimeSettings {
    /// `default_s`: of a command that names none.
    pub default: Duration,
    /// `max_s`: a command that asks for more is rejected as `lifetime_too_long`.
    pub max: Duration,
}

/// 127.0.0.1:8080: what `roost send` and `roost locate` ask by default.
pub const HTTP: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8080));
/// 2 s: far above what two clocks drift apart within a lease, and above a pause of the machine that is not a death.
pub const MARGIN: Duration = Duration::from_secs(2);
/// 16: enough to fill a round trip to a device, few enough to take back when its gateway is lost.
pub const OUTSTANDING_PER_DEVICE_MAX: usize = 16;
/// 100: a service that sends more to an absent device has lost count, and should hear so.
pub const MAILBOX_COMMANDS_MAX: usize = 100;
/// 1 MiB: 100 commands of 10 KiB.
pub const MAILBOX_BYTES_MAX: usize = 1024 * 1024;
/// 150,000: three quarters of what the router takes, so that one tenant alone never stops the others.
pub const TENANT_COMMANDS_MAX: usize = 150_000;
/// 384 MiB: three quarters as well.
pub const TENANT_BYTES_MAX: usize = 384 * 1024 * 1024;
/// 24 h: a device that sleeps at night gets what was sent in the evening.
pub const LIFETIME_DEFAULT: Duration = Duration::from_secs(24 * 3_600);
/// 7 days: the journal remembers a command's id for as long, and has to end.
pub const LIFETIME_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);
/// 10 s: a device that reconnects announces itself anyway; this only bounds how often gateways are asked in vain.
pub const ABSENT_REMEMBERED: Duration = Duration::from_secs(10);

impl RouterSettings {
    /// The defaults for a router that keeps its journal in `data`.
    #[must_use]
    pub fn new(data: PathBuf) -> Self {
        Self {
            shard: ShardId(0),
            data,
            http: HTTP,
            amqp: default_amqp(),
            lease: LEASE,
            margin: MARGIN,
            settle_timeout: SETTLE_TIMEOUT,
            outstanding_per_device_max: OUTSTANDING_PER_DEVICE_MAX,
            mailbox: CommandBounds { commands_max: MAILBOX_COMMANDS_MAX, bytes_max: MAILBOX_BYTES_MAX },
            tenant: CommandBounds { commands_max: TENANT_COMMANDS_MAX, bytes_max: TENANT_BYTES_MAX },
            lifetime: LifetimeSettings::default(),
            absent_remembered: ABSENT_REMEMBERED,
            tracing: None,
            shutdown_grace: SHUTDOWN_GRACE,
        }
    }

    pub(crate) fn read(mut root: Section<'_>) -> Option<Self> {
        let data = root.required("data", path);
        let d = Self::new(PathBuf::new());
        let settings = Self {
            shard: ShardId(root.or("shard", d.shard.0, whole(0..=SHARDS - 1))),
            http: root.or("http", d.http, loopback_address),
            amqp: root.or("amqp", d.amqp, parsed::<AmqpAddress>),
            lease: root.or("lease_s", d.lease, seconds(2..=600)),
            margin: root.or("margin_s", d.margin, seconds(1..=60)),
            settle_timeout: root.or("settle_timeout_s", d.settle_timeout, seconds(1..=3_600)),
            outstanding_per_device_max: root.or(
                "outstanding_per_device_max",
                d.outstanding_per_device_max,
                whole(1..=1_000),
            ),
            mailbox: CommandBounds::read(root.section("mailbox"), d.mailbox, 100_000),
            tenant: CommandBounds::read(root.section("tenant"), d.tenant, 200_000),
            lifetime: LifetimeSettings::read(root.section("lifetime")),
            absent_remembered: root.or("absent_remembered_s", d.absent_remembered, seconds(1..=3_600)),
            tracing: TracingSettings::read(root.section("tracing")),
            shutdown_grace: root.or("shutdown_grace_s", d.shutdown_grace, seconds(1..=3_600)),
            data: data.clone().unwrap_or_default(),
        };
        root.finish();
        data.map(|data| Self { data, ..settings })
    }
}

impl CommandBounds {
    fn read(mut s: Section<'_>, default: Self, commands_most: usize) -> Self {
        let bounds = Self {
            commands_max: s.or("commands_max", default.commands_max, whole(1..=commands_most)),
            bytes_max: s.or("bytes_max", default.bytes_max, whole(1_024..=1024 * 1024 * 1024)),
        };
        s.finish();
        bounds
    }
}

impl Default for LifetimeSettings {
    fn default() -> Self {
        Self { default: LIFETIME_DEFAULT, max: LIFETIME_MAX }
    }
}

impl LifetimeSettings {
    fn read(mut s: Section<'_>) -> Self {
        let d = Self::default();
        let longest_s = LIFETIME_MAX.as_secs();
        let lifetime = Self {
            default: s.or("default_s", d.default, seconds(1..=longest_s)),
            max: s.or("max_s", d.max, seconds(1..=longest_s)),
        };
        if lifetime.default > lifetime.max {
            let (default_s, max_s) = (lifetime.default.as_secs(), lifetime.max.as_secs());
            s.say("default_s", format!("{default_s} is more than max_s, {max_s}"));
        }
        s.finish();
        lifetime
    }
}
