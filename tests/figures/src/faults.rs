//! What the mesh does when something breaks: lost, duplicated, and how long until it is well again.

mod back;
mod cut;
mod disks;
mod half_open;
mod kills;
mod parked;
mod poison;
mod restart;
mod roams;
mod router_kills;
mod table;
mod takeover;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::ValueEnum;
use roost_backend::AmqpAddress;
use roost_fleet::shell::{Wan, WanState};
use roost_fleet::{DirectionVerdict, Summary};
use roost_harness::{Backend, Federation, RawMqtt};
use serde_json::Value;

use crate::page::{Page, Sections};

/// One section of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    Restart,
    Kills,
    RouterKills,
    Cut,
    Takeover,
    Roams,
    Parked,
    Table,
    Back,
    HalfOpen,
    Poison,
    Disks,
}

/// How much of each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// Events in the spool of a gateway that is started again.
    pub(crate) spooled: u32,
    /// Of a gateway under load; of a router three times as many.
    pub(crate) kills: u32,
    /// How long a link is cut.
    pub(crate) cut: Duration,
}

/// Everything is spooled; what is under `fresh/` overtakes the backlog.
const RULES: &str = "uplink:\n  rules:\n\
    \x20   - {filter: 'fresh/#', acknowledge: spooled, order: fresh}\n\
    \x20   - {filter: '#', acknowledge: spooled}\n";

/// As exact as a time here is.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Longer than anything that ends well.
const PATIENCE: Duration = Duration::from_secs(900);

/// Measures those parts, or all of them, and writes each into its section of the page. Fails if anything was lost.
pub(crate) async fn measure(page: &Path, extent: Extent, only: &[Part]) -> anyhow::Result<()> {
    for part in Part::value_variants() {
        if only.is_empty() || only.contains(part) {
            let name = part.name();
            eprintln!("{name}");
            let mut section = Page::default();
            part.measure(&mut section, extent).await.with_context(|| name.clone())?;
            let order = Part::value_variants().iter().map(|part| part.name()).collect();
            Sections::write(page, head(), order, (&name, section))?;
        }
    }
    Ok(())
}

fn head() -> Page {
    let mut head = Page::titled("Faults");
    head.paragraph(
        "`tests/long faults` repeats all of it, `tests/long faults --only NAME` one section. Lost is set arithmetic over unique ids: what was acknowledged to a device, less what \
         the service got. Where a link is cut or late, gateways reach RabbitMQ through a proxy on this machine, and every event is spooled.",
    );
    head
}

impl Part {
    /// As on the command line.
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    async fn measure(self, page: &mut Page, extent: Extent) -> anyhow::Result<()> {
        match self {
            Self::Restart => restart::measure(page, extent.spooled).await,
            Self::Kills => kills::measure(page, extent.kills).await,
            Self::RouterKills => router_kills::measure(page, extent.kills * 3).await,
            Self::Cut => cut::measure(page, extent.cut).await,
            Self::Takeover => takeover::measure(page).await,
            Self::Roams => roams::measure(page).await,
            Self::Parked => parked::measure(page).await,
            Self::Table => table::measure(page).await,
            Self::Back => back::measure(page).await,
            Self::HalfOpen => half_open::measure(page).await,
            Self::Poison => poison::measure(page).await,
            Self::Disks => disks::measure(page).await,
        }
    }
}

/// A mesh on RabbitMQ whose gateways, `eu-1` and `us-1`, are each behind a link that can be cut.
struct Linked {
    federation: Federation,
    links: Vec<Wan>,
}

impl Linked {
    async fn start() -> Self {
        Self::configured(|federation| federation).await
    }

    /// With a look at it before it is started.
    async fn configured(configure: impl FnOnce(Federation) -> Federation) -> Self {
        let mut links = Vec::new();
        let link = async |_gateway: &str, broker: &str| {
            let address: AmqpAddress = broker.parse().expect("the harness gives a good address");
            let (link, through) = Wan::before(&address).await.expect("a port for a link");
            links.push(link);
            through.with_password()
        };
        let federation = Federation::of(Backend::RabbitMq).await.with_spools(RULES).with_links(link).await;
        Self { federation: configure(federation).started().await, links }
    }

    fn all_links_are(&self, state: WanState) {
        self.links.iter().for_each(|link| link.be(state));
    }

    /// How many events wait in the spool of `eu-1`.
    async fn spooled(&self) -> anyhow::Result<u64> {
        let answer = self.federation.admin("eu-1").get("/spool").await.map_err(anyhow::Error::msg)?;
        answer.body["events"].as_u64().with_context(|| format!("not a spool: {}", answer.body))
    }

    async fn spool(&self) -> anyhow::Result<Value> {
        Ok(self.federation.admin("eu-1").get("/spool").await.map_err(anyhow::Error::msg)?.body)
    }
}

/// A 3.1.1 device that has subscribed to its commands, and does nothing by itself.
async fn raw_device(port: u16, id: &str, keep_alive_s: u16) -> anyhow::Result<RawMqtt> {
    let text = |text: &str| [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat();
    let mut device = RawMqtt::connect(port).await;
    let connect = [&text("MQTT")[..], &[4, 0x02], &keep_alive_s.to_be_bytes(), &text(id)].concat();
    device.send_packet(0x10, &connect).await;
    ensure!(device.packet().await.is_some_and(|(kind, body)| kind == 0x20 && body[1] == 0), "no CONNACK");
    let subscribe = [&[0, 1][..], &text(&format!("devices/{id}/cmd")), &[1]].concat();
    device.send_packet(0x82, &subscribe).await;
    ensure!(device.packet().await.is_some_and(|(kind, _)| kind == 0x90), "no SUBACK");
    Ok(device)
}

/// Looks every few milliseconds until it is so; how long that took.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> anyhow::Result<bool>) -> anyhow::Result<Duration> {
    let began = Instant::now();
    while !is_so().await? {
        ensure!(began.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(began.elapsed())
}

/// What became of events (`up`) or commands (`down`): an error if some were lost, or nobody can say.
pub(crate) fn nothing_lost<'a>(
    summary: &'a Summary,
    direction: &str,
) -> anyhow::Result<&'a DirectionVerdict> {
    let found = summary.verdict.directions().find(|(name, _)| *name == direction);
    let (_, verdict) = found.with_context(|| format!("the fleet has no verdict on what went {direction}"))?;
    let lost = verdict.lost;
    ensure!(
        lost == 0,
        "{lost} of {} went {direction} and were lost: {:?}",
        verdict.expected,
        verdict.lost_examples
    );
    ensure!(summary.verdict.devices_missing == 0, "{} devices tell nothing", summary.verdict.devices_missing);
    Ok(verdict)
}

/// Commands of the same device that did not come in their order are a broken promise.
pub(crate) fn in_order(verdict: &DirectionVerdict) -> anyhow::Result<&DirectionVerdict> {
    ensure!(verdict.reordered == 0, "{} of {} came out of order", verdict.reordered, verdict.arrived);
    Ok(verdict)
}

/// How often a count of the fleet was counted.
pub(crate) fn count(summary: &Summary, name: &str) -> u64 {
    summary.counts.get(name).copied().unwrap_or(0)
}
