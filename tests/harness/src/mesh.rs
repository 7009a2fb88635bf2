//! The whole mesh in one process, as `roost dev` starts it.

use crate::api::Api;
use crate::backend::{Backend, Broker, QueueCounts};
use crate::environment::{temporary_directory, threads};
use crate::eventually::PATIENCE;
use crate::ports::PortOffset;
use crate::process::{Process, roost};
use crate::rabbitmq::Vhost;
use crate::service::{Service, ServiceKind};

/// A running `roost dev` with ports and a directory of its own.
#[derive(Debug)]
pub struct Mesh {
    process: Process,
    ports: PortOffset,
    broker: Broker,
    data: tempfile::TempDir,
}

impl Mesh {
    /// Starts it and awaits that the router and both gateways are ready.
    ///
    /// # Panics
    /// When they do not become it.
    pub async fn start(backend: Backend) -> Self {
        Self::start_with(backend, &[]).await
    }

    /// The same with more on its command line.
    ///
    /// # Panics
    /// When they do not become it.
    pub async fn start_with(backend: Backend, arguments: &[&str]) -> Self {
        let ports = PortOffset::reserve();
        let broker = match backend {
            Backend::Embedded => Broker::Embedded {
                amqp_port: ports.of(PortOffset::AMQP),
                admin_port: ports.of(PortOffset::ADMIN_BACKEND),
            },
            Backend::RabbitMq => Broker::RabbitMq(Vhost::create().await),
        };
        Self::run(ports, broker, temporary_directory("data"), arguments).await
    }

    async fn run(ports: PortOffset, broker: Broker, data: tempfile::TempDir, arguments: &[&str]) -> Self {
        let mut command = roost();
        command
            .args(["dev", "--port-offset", &ports.offset().to_string(), "--threads", &threads()])
            .arg("--data")
            .arg(data.path())
            .args(arguments);
        match &broker {
            Broker::Embedded { .. } => {}
            Broker::RabbitMq(_) | Broker::Elsewhere(_) => drop(command.args(["--amqp", &broker.uri()])),
        }
        let mesh = Self { process: Process::start("roost-dev", command), ports, broker, data };
        for api in [mesh.api(), mesh.admin("eu-1"), mesh.admin("us-1")] {
            api.ready().await;
        }
        mesh
    }

    /// Ends it as Ctrl-C does, and starts it again with the same ports, data and broker.
    ///
    /// # Panics
    /// When it does not end in good order.
    pub async fn restarted(self) -> Self {
        self.process.interrupt();
        let ended = self.process.ended(PATIENCE).await;
        assert!(ended.status.success(), "did not end in good order: {ended:?}");
        Self::run(self.ports, self.broker, self.data, &[]).await
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The MQTT port of gateway `eu-1` or `us-1`.
    ///
    /// # Panics
    /// For another name.
    pub fn mqtt_port(&self, gateway: &str) -> u16 {
        match gateway {
            "eu-1" => self.ports.of(PortOffset::MQTT_EU),
            "us-1" => self.ports.of(PortOffset::MQTT_US),
            other => panic!("no gateway {other}"),
        }
    }

    /// The admin side of gateway `eu-1` or `us-1`.
    ///
    /// # Panics
    /// For another name.
    pub fn admin(&self, gateway: &str) -> Api {
        match gateway {
            "eu-1" => Api::at(self.ports.of(PortOffset::ADMIN_EU)),
            "us-1" => Api::at(self.ports.of(PortOffset::ADMIN_US)),
            other => panic!("no gateway {other}"),
        }
    }

    /// The admin side of the embedded backend; nobody's with RabbitMQ.
    pub fn admin_backend(&self) -> Api {
        Api::at(self.ports.of(PortOffset::ADMIN_BACKEND))
    }

    /// The router's HTTP API.
    pub fn api(&self) -> Api {
        Api::at(self.ports.of(PortOffset::API))
    }

    /// A microservice connected to the mesh's broker.
    pub async fn service(&self, kind: ServiceKind) -> Service {
        Service::connect(kind, &self.broker.uri()).await
    }

    /// What it has said so far, banner and logs.
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// The broker behind the mesh.
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// The broker's counts.
    pub async fn queues(&self) -> Vec<QueueCounts> {
        self.broker.queues().await
    }

    /// Gives the process away, to await its end, and the broker, which for RabbitMQ outlives it.
    pub fn into_process(self) -> (Process, Broker) {
        (self.process, self.broker)
    }
}
