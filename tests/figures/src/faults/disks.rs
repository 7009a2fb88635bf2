//! The disk of a gateway's spool is full, and that of the router's journal.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use roost_fleet::shell::WanState;
use roost_harness::{Backend, Federation, Metrics};

use super::{Linked, count, in_order, nothing_lost, until};
use crate::fleet::Fleet;
use crate::page::{Page, cores_taken, whole};

const DEVICES: u32 = 100;
const EVENTS_A_SECOND: f64 = 1_000.0;
const COMMANDS_A_SECOND: u32 = 200;
/// So that the disk is soon full.
const BYTES: u32 = 1_024;
const DISK_BYTES: u64 = 24 << 20;
/// For how long a disk stays full.
const FULL: Duration = Duration::from_secs(15);

pub(super) async fn measure(page: &mut Page) -> anyhow::Result<()> {
    let (spool, line) = spool().await?;
    let (journal, other) = journal().await?;
    page.heading("Disks are full");
    page.paragraph(&format!(
        "The gateway's spool, and then the router's journal, is alone on a disk of {} MiB. The spool's link is cut and {DEVICES} devices publish {} messages a second of {BYTES} bytes until the \
         disk is full, and for {} s more; then the link is whole. The journal's disk is filled by another file while {COMMANDS_A_SECOND} commands a second are sent; after {} s \
         the file goes. Nothing is restarted.",
        DISK_BYTES >> 20,
        whole(EVENTS_A_SECOND),
        FULL.as_secs(),
        FULL.as_secs()
    ));
    page.table(
        &["full", "acknowledged", "lost", "came twice", "well again after", "cores busy"],
        &[spool, journal],
    );
    page.command(&format!("{line}\n{other}"));
    Ok(())
}

async fn spool() -> anyhow::Result<(Vec<String>, String)> {
    let mut disk = None;
    let mesh = Linked::configured(|federation| {
        disk = Some(SmallDisk::mount(&federation.data("eu-1")));
        federation
    })
    .await;
    let _disk = disk.context("it was not asked for")??;
    let gateway = mesh.federation.admin("eu-1");
    let time = Duration::from_secs(75);
    let fleet = Fleet::of(DEVICES, &[mesh.federation.mqtt_port("eu-1")])
        .publishes(EVENTS_A_SECOND, DEVICES, time)
        .with("--size", BYTES)
        .with("--jitter", 1)
        .with("--amqp", mesh.federation.broker().uri())
        .with("--drain", "300s");
    let running = fleet.clone();
    let running = tokio::spawn(async move { running.run().await });
    mesh.all_links_are(WanState::Cut);
    let is = async |state: &str| {
        let label = format!("state={state:?}");
        Ok(Metrics::of(&gateway).await.sum("roost_spool_state", &[&label]) == 1.0)
    };
    until("the disk is full", async || is("full").await).await?;
    let failures = Metrics::of(&gateway).await.sum("roost_spool_failures_total", &[]);
    ensure!(failures > 0.0, "the spool is full, and its disk is not");
    tokio::time::sleep(FULL).await;
    let healed = Instant::now();
    mesh.all_links_are(WanState::Whole);
    until("the spool takes events in", async || is("open").await).await?;
    let well = healed.elapsed();
    let summary = running.await??;
    let events = nothing_lost(&summary, "up")?;
    let row = vec![
        "the spool's disk, events".to_owned(),
        whole(count(&summary, "acknowledged") as f64),
        events.lost.to_string(),
        whole(events.duplicates as f64),
        format!("{:.1} s", well.as_secs_f64()),
        cores_taken(&summary),
    ];
    Ok((row, fleet.line()))
}

async fn journal() -> anyhow::Result<(Vec<String>, String)> {
    let federation = Federation::of(Backend::RabbitMq).await;
    let disk = SmallDisk::mount(&federation.data("router"))?;
    let mesh = federation.started().await;
    let router = mesh.api();
    let time = Duration::from_secs(60);
    let fleet = Fleet::of(DEVICES, &[mesh.mqtt_port("eu-1"), mesh.mqtt_port("us-1")])
        .publishes(10.0, DEVICES, time)
        .with("--amqp", mesh.broker().uri())
        .with("--command-rate", COMMANDS_A_SECOND)
        .with("--drain", "120s");
    let running = fleet.clone();
    let running = tokio::spawn(async move { running.run().await });
    let stuck = async || Ok(Metrics::of(&router).await.sum("roost_journal_stuck", &[]) == 1.0);
    let taken = async || Metrics::of(&router).await.sum("roost_router_commands_accepted_total", &[]);
    until("commands flow", async || Ok(taken().await > 1_000.0)).await?;
    disk.fill()?;
    until("the disk is full", stuck).await?;
    tokio::time::sleep(FULL).await;
    let before = taken().await;
    let freed = Instant::now();
    disk.free()?;
    until("commands flow again", async || Ok(!stuck().await? && taken().await > before)).await?;
    let well = freed.elapsed();
    let summary = running.await??;
    let commands = in_order(nothing_lost(&summary, "down")?)?;
    nothing_lost(&summary, "receipts")?;
    let row = vec![
        "the journal's disk, commands".to_owned(),
        whole(count(&summary, "commands_confirmed") as f64),
        commands.lost.to_string(),
        whole(commands.duplicates as f64),
        format!("{:.1} s", well.as_secs_f64()),
        cores_taken(&summary),
    ];
    Ok((row, fleet.line()))
}

/// A disk in memory, of a fixed size. It needs a mount namespace of its own, and root there (`unshare --map-root-user --mount`).
struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    fn mount(at: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(at).with_context(|| at.display().to_string())?;
        let size = format!("size={DISK_BYTES}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).status()?;
        ensure!(mounted.success(), "no small disk at {}: start it with tests/long", at.display());
        Ok(Self { at: at.to_owned() })
    }

    /// Leaves no room.
    fn fill(&self) -> anyhow::Result<()> {
        let piece = vec![0_u8; 64 * 1024];
        let mut file = std::fs::File::create(self.at.join(FILLER))?;
        for size in [piece.len(), 4_096, 1] {
            while std::io::Write::write_all(&mut file, &piece[..size]).is_ok() {}
        }
        Ok(())
    }

    fn free(&self) -> anyhow::Result<()> {
        std::fs::remove_file(self.at.join(FILLER)).context("the file that fills the disk")
    }
}

const FILLER: &str = "filler";

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // It goes with the namespace, if somebody still has a file open there.
        let _ = Command::new("umount").arg("--lazy").arg(&self.at).status();
    }
}
