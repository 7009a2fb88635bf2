//! The parts of `roost dev`: what is started, counted and drained.

use std::path::PathBuf;
use std::time::Duration;

use roost_backend::AmqpAddress;
use roost_config::{BackendSettings, GatewaySettings, RouterSettings, Threads, TracingSettings};
use roost_gateway::Count;
use roost_gateway::shell::Gateway;
use roost_router::shell::Router;
use roost_wire::ReceiptState;
use tokio::time::Instant;

use super::counts::Counts;
use super::data::Data;
use super::demo::AtGateways;
use super::endpoints::{Endpoints, Listener};
use crate::role::{Backend, gateway, router};

/// How long a drain may take: the default of every role.
pub(crate) const GRACE: Duration = roost_config::gateway::SHUTDOWN_GRACE;

/// What a part gets when the ones before it have used up the grace: enough to close its files.
const LEAST_GRACE: Duration = Duration::from_secs(1);

/// The gateways, each with its region and where it listens.
pub(super) const GATEWAYS: [(&str, &str, Listener, Listener); 2] = [
    ("eu-1", "eu", Listener::MqttEu, Listener::AdminEu),
    ("us-1", "us", Listener::MqttUs, Listener::AdminUs),
];

/// Where an event is once the backend has it.
const EVENTS_UP: [Count; 3] = [Count::EventConfirmed, Count::EventUnrouted, Count::EventDead];

/// What somebody wants of the mesh that has a default otherwise.
#[derive(Debug, Clone)]
pub(crate) struct Wishes {
    /// Where spans go.
    pub(crate) tracing: Option<TracingSettings>,
    /// Threads of each gateway that serve devices. Parts of one machine share its processors: 1 by default.
    pub(crate) threads: Threads,
}

/// A running mesh.
pub(crate) struct Mesh {
    /// `None`: the broker is somebody else's.
    backend: Option<Backend>,
    router: Router,
    gateways: Vec<(&'static str, Gateway)>,
}

impl Mesh {
    /// Starts the broker, then the router, then the gateways.
    pub(crate) async fn start(endpoints: &Endpoints, data: &Data, wishes: &Wishes) -> anyhow::Result<Self> {
        let (amqp, is_embedded) = endpoints.amqp();
        let backend = match is_embedded {
            true => Some(Backend::start(backend_settings(endpoints, data.path().join("backend"))).await?),
            false => None,
        };
        let settings = RouterSettings {
            http: endpoints.of(Listener::Api),
            amqp: amqp.clone(),
            tracing: wishes.tracing.clone(),
            ..RouterSettings::new(data.path().join("router"))
        };
        let router = Router::start(router::config(&settings)).await?;
        let mut gateways = Vec::new();
        for (id, region, listen, admin) in GATEWAYS {
            let settings = GatewaySettings {
                tracing: wishes.tracing.clone(),
                threads: wishes.threads,
                ..gateway_settings(endpoints, (id, region), (listen, admin), &amqp)
            };
            gateways.push((id, Gateway::start(gateway::config(&settings)).await?));
        }
        Ok(Self { backend, router, gateways })
    }

    /// What the live line counts.
    pub(crate) fn counts(&self) -> Counts {
        let router = self.router.snapshot();
        let finals =
            |((state, _), count): (&(ReceiptState, _), &u64)| if state.is_final() { *count } else { 0 };
        let mut counts =
            Counts { receipts: router.counters.receipts.iter().map(finals).sum(), ..Counts::default() };
        let mut at_gateways = 0;
        for (_, gateway) in &self.gateways {
            let figures = gateway.snapshot();
            counts.devices += figures.gauges.sessions_connected as u64;
            counts.events += EVENTS_UP.iter().map(|count| figures.counters.of(*count)).sum::<u64>();
            counts.commands += figures.counters.of(Count::CommandTaken);
            at_gateways += figures.gauges.commands;
        }
        counts.parked = router.commands_in_custody.saturating_sub(at_gateways) as u64;
        counts
    }

    /// How many devices each gateway has.
    pub(crate) fn at_gateways(&self) -> AtGateways {
        let connected = |gateway: &Gateway| gateway.snapshot().gauges.sessions_connected as u64;
        AtGateways(self.gateways.iter().map(|(id, gateway)| (*id, Some(connected(gateway)))).collect())
    }

    /// How many commands the gateways took in, each attempt.
    pub(crate) fn commands_taken(&self) -> u64 {
        self.gateways.iter().map(|(_, gateway)| gateway.snapshot().counters.of(Count::CommandTaken)).sum()
    }

    /// Whether a part has ended by itself, which is a fault of the program.
    pub(crate) fn has_failed(&self) -> bool {
        self.router.has_failed() || self.gateways.iter().any(|(_, gateway)| gateway.has_failed())
    }

    /// In the order in which they lean on each other: gateways, router, broker. They share one grace.
    pub(crate) async fn drain(self) {
        let deadline = Instant::now() + GRACE;
        let left = || deadline.saturating_duration_since(Instant::now()).max(LEAST_GRACE);
        let mut drains = tokio::task::JoinSet::new();
        for (id, gateway) in self.gateways {
            let grace = left();
            drains.spawn(async move { gateway::report(id, gateway.drain(grace).await) });
        }
        drains.join_all().await;
        router::report(self.router.drain(left()).await);
        if let Some(backend) = self.backend {
            backend.drain(left()).await;
        }
    }
}

fn backend_settings(endpoints: &Endpoints, data: PathBuf) -> BackendSettings {
    BackendSettings {
        listen: endpoints.of(Listener::Amqp),
        admin: endpoints.of(Listener::AdminBackend),
        ..BackendSettings::new(data)
    }
}

fn gateway_settings(
    endpoints: &Endpoints,
    (id, region): (&str, &str),
    (listen, admin): (Listener, Listener),
    amqp: &AmqpAddress,
) -> GatewaySettings {
    let id = id.parse().expect("the constant is a gateway id");
    let region = region.parse().expect("the constant is a region");
    GatewaySettings {
        listen: endpoints.of(listen),
        admin: endpoints.of(admin),
        amqp: amqp.clone(),
        ..GatewaySettings::new(id, region)
    }
}
