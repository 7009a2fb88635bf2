//! The parts of `roost dev`: what is started, counted and drained.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use roost_config::BackendSettings;

use super::counts::Counts;
use super::data::Data;
use super::endpoints::{Endpoints, Listener};
use crate::role::Backend;

/// How long a drain may take: the default of every role.
pub(crate) const GRACE: Duration = roost_config::gateway::SHUTDOWN_GRACE;

/// A running mesh.
pub(crate) struct Mesh {
    /// `None`: the broker is somebody else's.
    backend: Option<Backend>,
}

impl Mesh {
    /// Starts the broker, then the router, then the gateways.
    pub(crate) async fn start(endpoints: &Endpoints, data: &Data) -> anyhow::Result<Self> {
        let (_amqp, is_embedded) = endpoints.amqp();
        let backend = match is_embedded {
            true => Some(Backend::start(backend_settings(endpoints, data.path().join("backend"))).await?),
            false => None,
        };
        let mesh = Self { backend };
        mesh.drain().await;
        bail!("this build has no router and no gateways yet")
    }

    /// What the live line counts.
    pub(crate) fn counts(&self) -> Counts {
        Counts::default()
    }

    /// In the order in which they lean on each other: gateways, router, broker.
    pub(crate) async fn drain(self) {
        if let Some(backend) = self.backend {
            backend.drain(GRACE).await;
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
