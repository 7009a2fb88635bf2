//! The mesh of `roost dev --chaos`: one process per role, and links that can be cut.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use roost_backend::AmqpAddress;
use roost_config::TracingSettings;
use roost_fleet::shell::{Wan, WanState};
use tokio::sync::watch;

use super::role::Role;
use super::schedule::{FaultKind, RoleName};

use crate::dev::demo::AtGateways;
use crate::dev::endpoints::{Endpoints, Listener};
use crate::dev::mesh::{GATEWAYS, Wishes};
use crate::top::Exposition;

/// How often gateways are asked how many devices they have.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A running mesh of processes.
#[derive(Debug)]
pub(crate) struct Roles {
    /// `None`: the broker is somebody else's.
    backend: Option<Role>,
    router: Role,
    gateways: [Role; 2],
    /// Of the gateways, and with somebody else's broker of the router and the service as well.
    links: Vec<Wan>,
    /// How the service reaches the backend.
    service: AmqpAddress,
}

impl Roles {
    /// Starts the broker, then the router, then the gateways, each when the one before is ready.
    pub(crate) async fn start(endpoints: &Endpoints, data: &Path, wishes: &Wishes) -> anyhow::Result<Self> {
        let folder = data.join("roles");
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let (amqp, is_embedded) = endpoints.amqp();
        let link = async || Wan::before(&amqp).await.context("a port for a link");
        let (mut links, mut addresses) = (Vec::new(), Vec::new());
        // A broker of our own is killed itself; what uses another's is cut off from it.
        for _ in 0..if is_embedded { 2 } else { 4 } {
            let (wan, address) = link().await?;
            links.push(wan);
            addresses.push(address);
        }
        let address = |place: usize| addresses.get(place).unwrap_or(&amqp);
        let mut backend = match is_embedded {
            true => {
                let admin = endpoints.of(Listener::AdminBackend);
                let listen = endpoints.of(Listener::Amqp);
                let data = text(&data.join("backend"));
                let yaml = format!("role: backend\nlisten: \"{listen}\"\nadmin: \"{admin}\"\ndata: {data}\n");
                Some(Role::new(&folder, RoleName::Backend, admin, &yaml)?)
            }
            false => None,
        };
        let threads = wishes.threads;
        let tracing = wishes.tracing.as_ref().map_or_else(String::new, |TracingSettings { otlp, sample }| {
            format!("tracing: {{otlp: {otlp:?}, sample: {}}}\n", sample.value())
        });
        let http = endpoints.of(Listener::Api);
        let yaml = format!(
            "role: router\nhttp: \"{http}\"\namqp: {:?}\ndata: {}\n{tracing}",
            address(2).with_password(),
            text(&data.join("router"))
        );
        let mut router = Role::new(&folder, RoleName::Router, http, &yaml)?;
        let gateway = |place: usize| {
            let (id, region, listen, admin) = GATEWAYS[place];
            let (listen, admin) = (endpoints.of(listen), endpoints.of(admin));
            let amqp = address(place).with_password();
            let yaml = format!(
                "role: gateway\nid: {id}\nregion: {region}\nlisten: \"{listen}\"\nadmin: \"{admin}\"\namqp: {amqp:?}\nthreads: {threads}\n{tracing}"
            );
            Role::new(&folder, RoleName::Gateway(place), admin, &yaml)
        };
        let mut gateways = [gateway(0)?, gateway(1)?];
        if let Some(backend) = &mut backend {
            backend.start().await?;
        }
        router.start().await?;
        for gateway in &mut gateways {
            gateway.start().await?;
        }
        Ok(Self { backend, router, gateways, links, service: address(3).clone() })
    }

    /// How a service reaches the backend.
    pub(crate) fn amqp(&self) -> &AmqpAddress {
        &self.service
    }

    /// Whether all that should run does.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        self.all().try_for_each(Role::check)
    }

    /// Inflicts a fault; returns when it is over, and all roles are ready.
    pub(crate) async fn inflict(&mut self, fault: &FaultKind) -> anyhow::Result<()> {
        match fault {
            FaultKind::Kill { role, down } => {
                let Some(role) = self.role(*role) else { return Ok(()) };
                role.kill().await?;
                tokio::time::sleep(*down).await;
                role.start().await
            }
            FaultKind::CutWan { gateway, lasts } => {
                self.links(*gateway..gateway + 1, WanState::Cut, *lasts).await;
                Ok(())
            }
            FaultKind::StallWan { gateway, lasts } => {
                self.links(*gateway..gateway + 1, WanState::Stalled, *lasts).await;
                Ok(())
            }
            FaultKind::CutLinks { lasts } => {
                self.links(0..self.links.len(), WanState::Cut, *lasts).await;
                Ok(())
            }
            // Devices do it by themselves.
            FaultKind::CutDevices { .. } | FaultKind::RoamDevices { .. } => Ok(()),
        }
    }

    /// In the order in which they lean on each other: gateways, router, broker.
    pub(crate) async fn drain(mut self) -> anyhow::Result<()> {
        let [eu, us] = &mut self.gateways;
        let (eu, us) = tokio::join!(eu.drain(), us.drain());
        let router = self.router.drain().await;
        let backend = match &mut self.backend {
            Some(backend) => backend.drain().await,
            None => Ok(()),
        };
        eu.and(us).and(router).and(backend)
    }

    async fn links(&self, which: std::ops::Range<usize>, state: WanState, lasts: Duration) {
        let links = self.links.get(which).unwrap_or_default();
        links.iter().for_each(|link| link.be(state));
        tokio::time::sleep(lasts).await;
        links.iter().for_each(|link| link.be(WanState::Whole));
    }

    fn role(&mut self, name: RoleName) -> Option<&mut Role> {
        self.all().find(|role| role.name == name)
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Role> {
        self.backend.iter_mut().chain([&mut self.router]).chain(&mut self.gateways)
    }
}

/// How many devices each gateway has, as its metrics say, again and again until nobody wants to know.
pub(crate) fn at_gateways(endpoints: &Endpoints) -> watch::Receiver<AtGateways> {
    let urls = GATEWAYS.map(|(id, _, _, admin)| (id, format!("http://{}/metrics", endpoints.of(admin))));
    let (tell, told) = watch::channel(AtGateways(GATEWAYS.map(|(id, ..)| (id, None)).into()));
    tokio::spawn(async move {
        let client = reqwest::Client::builder().no_proxy().timeout(LOOK_EVERY).build().unwrap_or_default();
        while !tell.is_closed() {
            let mut found = Vec::new();
            for (id, url) in &urls {
                let page = async { client.get(url).send().await?.error_for_status()?.text().await }.await;
                let devices = page
                    .ok()
                    .and_then(|page| Exposition::parse(&page).sum("roost_gateway_sessions_connected"));
                found.push((*id, devices.map(|devices| devices as u64)));
            }
            tell.send_replace(AtGateways(found));
            tokio::time::sleep(LOOK_EVERY).await;
        }
    });
    told
}

/// A path as YAML has it.
fn text(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}
