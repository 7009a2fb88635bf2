//! What an idle connection costs in memory.

use std::time::Duration;

use roost_fleet::Summary;
use roost_harness::{Backend, Federation};

use crate::fleet::Fleet;
use crate::page::{Page, fleet_cores, whole};
use crate::peer::Mosquitto;

const DEVICES: u32 = 19_000;
const TIME: Duration = Duration::from_secs(20);

pub(super) async fn measure(page: &mut Page) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    let mut lines = Vec::new();
    for subscribed in [false, true] {
        let sessions = if subscribed { "one subscription each" } else { "no subscription" };
        // A process of its own for each: memory that was once used is not given back.
        let federation = Federation::start(Backend::Embedded).await;
        let (port, pid) = (federation.mqtt_port("eu-1"), federation.gateway_pid("eu-1"));
        let (summary, line) = connect(port, pid, subscribed).await?;
        rows.push(row("gateway", sessions, &summary));
        lines.push(line);
        drop(federation);
        let mosquitto = Mosquitto::start().await?;
        let (summary, line) = connect(mosquitto.port(), mosquitto.pid(), subscribed).await?;
        rows.push(row("mosquitto", sessions, &summary));
        lines.push(line);
    }
    page.heading("Memory of an idle connection");
    page.paragraph(&format!(
        "{} devices connect at 1,000 a second (clean sessions, MQTT 3.1.1, keep alive 60 s) and say nothing for {} s. Growth of the \
         resident memory, by the connections; what the kernel keeps for a socket is no part of it.",
        whole(f64::from(DEVICES)),
        TIME.as_secs()
    ));
    page.table(
        &[
            "broker",
            "sessions",
            "connected",
            "before",
            "after",
            "bytes per connection",
            "fleet's bytes per device",
            "fleet",
        ],
        &rows,
    );
    page.command(&lines.join("\n"));
    Ok(())
}

async fn connect(port: u16, pid: u32, subscribed: bool) -> anyhow::Result<(Summary, String)> {
    let mut fleet = Fleet::of(DEVICES, &[port]).with("--rate", 0).lasts(TIME).watches(&[("broker", pid)]);
    if subscribed {
        fleet = fleet.flag("--echo");
    }
    Ok((fleet.run().await?, fleet.line()))
}

fn row(broker: &str, sessions: &str, summary: &Summary) -> Vec<String> {
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    // The first moments with a reading: some have connected already by then, and do not count.
    let mut readings = summary.timeline.iter().filter(|moment| moment.rss_bytes.contains_key("broker"));
    let first = readings.next();
    let memory =
        |name: &str| first.and_then(|moment| moment.rss_bytes.get(name).copied()).unwrap_or_default();
    let (before, own_before) = (memory("broker"), memory("fleet"));
    let after = summary.watched.get("broker").map_or(0, |usage| usage.rss_bytes);
    let early = first.map_or(0, |moment| moment.online);
    let connected = (summary.online_max - early).max(1) as f64;
    let each = |before: u64, after: u64| whole(after.saturating_sub(before) as f64 / connected);
    vec![
        broker.to_owned(),
        sessions.to_owned(),
        format!("{} to {}", whole(early as f64), whole(summary.online_max as f64)),
        mib(before),
        mib(after),
        each(before, after),
        each(own_before, summary.fleet.rss_bytes),
        fleet_cores(summary),
    ]
}
