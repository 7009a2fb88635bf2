//! What the mesh does when something breaks: lost, duplicated, and how long until it is well again.

mod cut;
mod kills;
mod restart;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use roost_backend::AmqpAddress;
use roost_fleet::Summary;
use roost_fleet::shell::Wan;
use roost_harness::{Backend, Federation};
use serde_json::Value;

use crate::machine;
use crate::page::Page;

/// One section of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    Restart,
    Kills,
    Cut,
}

/// How much of each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// Events in the spool of a gateway that is started again.
    pub(crate) spooled: u32,
    /// Of a gateway under load.
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

/// Measures and writes the page. Fails if anything was lost.
pub(crate) async fn measure(page: &Path, extent: Extent, only: &[Part]) -> anyhow::Result<()> {
    let wanted = |part| only.is_empty() || only.contains(&part);
    let mut out = Page::titled("Faults");
    out.paragraph(&format!("Measured on {}", machine::describe()));
    out.paragraph(
        "`tests/long faults` repeats all of it. Lost is set arithmetic over unique ids: what was acknowledged to a device, less what \
         the service got. Gateways reach RabbitMQ through a proxy on this machine that can cut the link; every event is spooled.",
    );
    if wanted(Part::Restart) {
        restart::measure(&mut out, extent.spooled).await?;
    }
    if wanted(Part::Kills) {
        kills::measure(&mut out, extent.kills).await?;
    }
    if wanted(Part::Cut) {
        cut::measure(&mut out, extent.cut).await?;
    }
    out.write(page)
}

/// A mesh on RabbitMQ whose gateways are behind a link that can be cut.
struct Linked {
    federation: Federation,
    wan: Wan,
}

impl Linked {
    async fn start() -> anyhow::Result<Self> {
        let mut wan = None;
        let link = async |broker: &str| {
            let address: AmqpAddress = broker.parse().expect("the harness gives a good address");
            let link = Wan::start((address.host(), address.port())).await.expect("a port for a link");
            let at = link.at();
            wan = Some(link);
            address.through(&at.ip().to_string(), at.port()).with_password()
        };
        let federation = Federation::linked(Backend::RabbitMq, RULES, link).await;
        Ok(Self { federation, wan: wan.context("the link was not asked for")? })
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

/// Looks every few milliseconds until it is so; how long that took.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> anyhow::Result<bool>) -> anyhow::Result<Duration> {
    let began = Instant::now();
    while !is_so().await? {
        ensure!(began.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(began.elapsed())
}

/// Events that were acknowledged and not delivered; an error if nobody can say.
fn lost(summary: &Summary) -> anyhow::Result<(u64, u64)> {
    let found = summary.verdict.directions().find(|(name, _)| *name == "up");
    let (_, up) = found.context("the fleet has no verdict on its events")?;
    if up.lost > 0 {
        bail!("{} of {} events were lost", up.lost, up.expected);
    }
    Ok((up.lost, up.duplicates))
}
