//! The mesh as it runs in production: one process per role, each of which can be killed and started again.

use std::path::PathBuf;

use crate::api::Api;
use crate::backend::{Backend, Broker};
use crate::environment::temporary_directory;
use crate::eventually::PATIENCE;
use crate::ports::ReservedPort;
use crate::process::{Process, roost};
use crate::rabbitmq::Vhost;
use crate::role_config::{GatewayConfig, THREADS_KEY, backend_yaml, router_yaml, threads_line};
use crate::service::{Service, ServiceKind};

/// A router, the gateways `eu-1` and `us-1`, and a backend. Ports and directories outlive a kill.
#[derive(Debug)]
pub struct Federation {
    gateways: Vec<Role>,
    router: Role,
    backend: Option<Role>,
    broker: Broker,
    directory: tempfile::TempDir,
}

/// One process with its ports and its configuration.
#[derive(Debug)]
struct Role {
    kind: &'static str,
    name: String,
    config: PathBuf,
    /// MQTT, AMQP or the router's API.
    port: ReservedPort,
    admin_port: ReservedPort,
    process: Option<Process>,
    /// The one that was killed last: its words are shown as well when the test fails.
    killed: Option<Process>,
}

impl Federation {
    /// Starts all of it and awaits that it is ready.
    ///
    /// # Panics
    /// When it does not become it.
    pub async fn start(backend: Backend) -> Self {
        Self::of(backend).await.started().await
    }

    /// The same before any of it runs, to be configured further.
    ///
    /// # Panics
    /// When RabbitMQ refuses.
    pub async fn of(backend: Backend) -> Self {
        match backend {
            Backend::Embedded => Self::embedded(),
            Backend::RabbitMq => {
                Self::with(Broker::RabbitMq(Vhost::create().await), None, temporary_directory("federation"))
            }
        }
    }

    /// The same on a broker that somebody else has started, before any of it runs.
    pub fn on(uri: &str) -> Self {
        Self::with(Broker::Elsewhere(uri.to_owned()), None, temporary_directory("federation"))
    }

    /// Starts all of it and awaits that it is ready.
    ///
    /// # Panics
    /// When it does not become it.
    pub async fn started(self) -> Self {
        let mut federation = self;
        if federation.backend.is_some() {
            federation.start_backend().await;
        }
        federation.start_router().await;
        federation.start_gateway("eu-1").await;
        federation.start_gateway("us-1").await;
        federation
    }

    /// The same with every trace sent to this OpenTelemetry collector.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn traced(backend: Backend, otlp: &str) -> Self {
        let federation = Self::of(backend).await;
        for role in federation.gateways.iter().chain([&federation.router]) {
            role.configure_more(&format!("tracing: {{ otlp: {otlp:?}, sample: 1 }}\n"));
        }
        federation.started().await
    }

    /// The same with a directory for each gateway's spool, and `yaml` behind its configuration.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn spooling(backend: Backend, yaml: &str) -> Self {
        Self::of(backend).await.with_spools(yaml).started().await
    }

    /// Before the start: a directory for each gateway's spool, and `yaml` behind its configuration.
    pub fn with_spools(self, yaml: &str) -> Self {
        for role in &self.gateways {
            let data = self.data(&role.name).display().to_string();
            role.configure_more(&format!("data: {data:?}\n{yaml}"));
        }
        self
    }

    /// Before the start: `yaml` behind each gateway's configuration.
    pub fn with_gateways(self, yaml: &str) -> Self {
        self.gateways.iter().for_each(|role| role.configure_more(yaml));
        self
    }

    /// Before the start, or the next one: each gateway with so many threads that serve devices.
    pub fn with_threads(self, threads: u16) -> Self {
        let wanted = threads_line(&threads.to_string());
        let others = |text: &str| -> String {
            text.split_inclusive('\n').filter(|line| !line.starts_with(THREADS_KEY)).collect()
        };
        self.gateways.iter().for_each(|role| role.reconfigure(|text| others(&text) + &wanted));
        self
    }

    /// Before the start: gateways that reach the broker at other addresses. `link` gets a gateway's name and the broker's address,
    /// and says which.
    pub async fn with_links(self, mut link: impl AsyncFnMut(&str, &str) -> String) -> Self {
        let broker = self.broker.uri();
        for role in &self.gateways {
            let through = link(&role.name, &broker).await;
            role.reconfigure(|text| text.replace(&broker, &through));
        }
        self
    }

    /// Where a role (`router`, or a gateway that spools) keeps what is its own.
    pub fn data(&self, role: &str) -> PathBuf {
        self.directory.path().join(role)
    }

    /// Starts the router and the gateways, and not the (embedded) backend that they look for.
    pub async fn without_backend() -> Self {
        let mut federation = Self::embedded();
        federation.router.launch();
        federation.gateways.iter_mut().for_each(Role::launch);
        federation
    }

    fn embedded() -> Self {
        let directory = temporary_directory("federation");
        let role = Role::new("backend", "backend", &directory);
        let (amqp_port, admin_port) = (role.port.number(), role.admin_port.number());
        role.configure(&backend_yaml(amqp_port, admin_port, &directory.path().join("backend")));
        Self::with(Broker::Embedded { amqp_port, admin_port }, Some(role), directory)
    }

    fn with(broker: Broker, backend: Option<Role>, directory: tempfile::TempDir) -> Self {
        let amqp = broker.uri();
        let router = Role::new("router", "router", &directory);
        router.configure(&router_yaml(&amqp, router.port.number(), &directory.path().join("router")));
        let gateways = [("eu-1", "eu"), ("us-1", "us")].map(|(name, region)| {
            let role = Role::new("gateway", name, &directory);
            let (mqtt_port, admin_port) = (role.port.number(), role.admin_port.number());
            role.configure(&GatewayConfig { name, region, amqp: &amqp, mqtt_port, admin_port }.yaml());
            role
        });
        Self { gateways: gateways.into(), router, backend, broker, directory }
    }

    /// Starts the embedded backend, and awaits that it is ready.
    ///
    /// # Panics
    /// When the backend is RabbitMQ.
    pub async fn start_backend(&mut self) {
        self.backend.as_mut().expect("only the embedded backend is ours to start").start().await;
    }

    /// `kill -9`.
    ///
    /// # Panics
    /// When the backend is RabbitMQ.
    pub fn kill_backend(&mut self) {
        self.backend.as_mut().expect("only the embedded backend is ours to kill").kill();
    }

    /// Starts the router, after [`Federation::kill_router`], and awaits that it is ready.
    pub async fn start_router(&mut self) {
        self.router.start().await;
    }

    /// `kill -9`.
    pub fn kill_router(&mut self) {
        self.router.kill();
    }

    /// Starts a gateway, after [`Federation::kill_gateway`], and awaits that it is ready.
    pub async fn start_gateway(&mut self, name: &str) {
        self.gateway_mut(name).start().await;
    }

    /// Starts a gateway, after [`Federation::kill_gateway`], and awaits nothing.
    pub fn launch_gateway(&mut self, name: &str) {
        self.gateway_mut(name).launch();
    }

    /// `kill -9`.
    pub fn kill_gateway(&mut self, name: &str) {
        self.gateway_mut(name).kill();
    }

    /// Ends a gateway in good order; start it again with [`Federation::start_gateway`].
    ///
    /// # Panics
    /// When it does not end.
    pub async fn stop_gateway(&mut self, name: &str) {
        let process = self.gateway_mut(name).process.take().expect("the gateway runs");
        process.terminate();
        let ended = process.ended(PATIENCE).await;
        assert!(ended.status.success(), "{name}: {ended:?}");
    }

    /// A gateway's MQTT port.
    pub fn mqtt_port(&self, name: &str) -> u16 {
        self.gateway(name).port.number()
    }

    /// A gateway's process.
    ///
    /// # Panics
    /// When it does not run; so do the next two.
    pub fn gateway_pid(&self, name: &str) -> u32 {
        self.gateway(name).pid()
    }

    /// The router's process.
    pub fn router_pid(&self) -> u32 {
        self.router.pid()
    }

    /// The process of the embedded backend.
    pub fn backend_pid(&self) -> u32 {
        self.backend.as_ref().expect("only the embedded backend is a process of ours").pid()
    }

    /// The admin side of a gateway.
    pub fn admin(&self, name: &str) -> Api {
        Api::at(self.gateway(name).admin_port.number())
    }

    /// The router's HTTP API.
    pub fn api(&self) -> Api {
        Api::at(self.router.port.number())
    }

    /// The broker behind the mesh.
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// A microservice connected to the mesh's broker.
    pub async fn service(&self, kind: ServiceKind) -> Service {
        Service::connect(kind, &self.broker.uri()).await
    }

    fn gateway(&self, name: &str) -> &Role {
        self.gateways.iter().find(|role| role.name == name).unwrap_or_else(|| panic!("no gateway {name}"))
    }

    fn gateway_mut(&mut self, name: &str) -> &mut Role {
        self.gateways.iter_mut().find(|role| role.name == name).unwrap_or_else(|| panic!("no gateway {name}"))
    }
}

impl Role {
    fn new(kind: &'static str, name: &str, directory: &tempfile::TempDir) -> Self {
        let config = directory.path().join(format!("{name}.yaml"));
        let (port, admin_port) = (ReservedPort::any(), ReservedPort::any());
        Self { kind, name: name.to_owned(), config, port, admin_port, process: None, killed: None }
    }

    fn configure(&self, yaml: &str) {
        std::fs::write(&self.config, yaml)
            .unwrap_or_else(|error| panic!("{}: {error}", self.config.display()));
    }

    fn configure_more(&self, yaml: &str) {
        self.reconfigure(|text| text + yaml);
    }

    fn reconfigure(&self, change: impl FnOnce(String) -> String) {
        let read = std::fs::read_to_string(&self.config);
        let text = read.unwrap_or_else(|error| panic!("{}: {error}", self.config.display()));
        self.configure(&change(text));
    }

    fn launch(&mut self) {
        assert!(self.process.is_none(), "{} runs already", self.name);
        let mut command = roost();
        command.arg(self.kind).arg("--config").arg(&self.config);
        self.process = Some(Process::start(&self.name, command));
    }

    async fn start(&mut self) {
        self.launch();
        let serves = if self.kind == "router" { &self.port } else { &self.admin_port };
        Api::at(serves.number()).ready().await;
    }

    fn pid(&self) -> u32 {
        self.process.as_ref().unwrap_or_else(|| panic!("{} does not run", self.name)).pid()
    }

    fn kill(&mut self) {
        let mut process = self.process.take().unwrap_or_else(|| panic!("{} does not run", self.name));
        process.kill();
        self.killed = Some(process);
    }
}
