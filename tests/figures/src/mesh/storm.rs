//! Every connection is cut at once, and all devices come back.

use std::path::Path;
use std::time::Duration;

use roost_fleet::{Moment, Summary};

use super::OnRabbitMq;
use crate::fleet::Fleet;
use crate::page::{Page, cores_taken, p50_p99, whole};
use crate::peer::Mosquitto;

const DEVICES: u32 = 10_000;
/// The scenario cuts 15 s after the begin.
const TIME: Duration = Duration::from_secs(45);
const SCENARIO: &str = "config/fleet/storm.yaml";

pub(super) async fn measure(page: &mut Page, mesh: &OnRabbitMq) -> anyhow::Result<()> {
    let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(SCENARIO).canonicalize()?;
    let storm = |fleet: Fleet| {
        fleet
            .publishes(f64::from(DEVICES) / 10.0, DEVICES, TIME)
            .with("--size", 256)
            .with("--jitter", 1)
            .with("--reconnect", "full-jitter")
            .with("--reconnect-first", "5s")
            .with("--scenario", scenario.display())
    };
    let through_mesh = storm(mesh.fleet(DEVICES)).with("--amqp", mesh.amqp());
    let summary = through_mesh.run().await?;
    let mut rows = vec![row("gateway, and the mesh behind it", &summary)];
    let mosquitto = Mosquitto::start().await?;
    let beside = storm(Fleet::of(DEVICES, &[mosquitto.port()])).watches(&[("mosquitto", mosquitto.pid())]);
    rows.push(row("mosquitto", &beside.run().await?));
    page.heading("A storm of 10,000");
    page.paragraph(
        "10,000 devices publish once in ten seconds. After 15 s every connection is cut without a word; each device tries again \
         after a wait drawn from 0 to 5 s. Behind the gateway stand router and RabbitMQ: every return is a sighting, and a change \
         of presence. Connect latency is of all connects of the run, the first ones included.",
    );
    page.table(
        &[
            "broker",
            "all back after",
            "connects",
            "failed, refused, timed out",
            "connect p50 / p99",
            "event p50 / p99",
            "lost",
            "cores busy over the run",
            "busiest second",
        ],
        &rows,
    );
    let shown = |fleet: &Fleet| fleet.line().replace(&*scenario.to_string_lossy(), SCENARIO);
    page.command(&format!("{}\n{}", shown(&through_mesh), shown(&beside)));
    Ok(())
}

fn row(broker: &str, summary: &Summary) -> Vec<String> {
    let count = |name: &str| summary.counts.get(name).copied().unwrap_or(0);
    let troubles = ["connects_failed", "connects_refused", "connects_timed_out"].map(count);
    let lost: u64 = summary.verdict.directions().map(|(_, verdict)| verdict.lost).sum();
    let busiest = summary.timeline.iter().flat_map(|moment| &moment.cpu_cores);
    let busiest = busiest
        .filter(|(name, _)| *name != "fleet" && *name != "rabbitmq")
        .map(|(name, cores)| (*cores, name));
    let busiest = busiest.max_by(|one, other| one.0.total_cmp(&other.0));
    let events = if summary.latencies.contains_key("up") { "up" } else { "publish" };
    vec![
        broker.to_owned(),
        back_after(i64::from(summary.plan.devices), &summary.timeline)
            .map_or_else(|| "not all".to_owned(), |seconds| format!("{seconds:.0} s")),
        whole(count("connects") as f64),
        troubles.map(|many| whole(many as f64)).join(", "),
        p50_p99(summary, "connect"),
        p50_p99(summary, events),
        if summary.verdict.directions().next().is_some() { lost.to_string() } else { "not known".to_owned() },
        cores_taken(summary),
        busiest.map_or_else(String::new, |(cores, name)| format!("{name} {cores:.2}")),
    ]
}

/// Seconds from the last moment with all devices before the cut to the first with all of them after it: to a second, as the
/// timeline is.
fn back_after(all: i64, timeline: &[Moment]) -> Option<f64> {
    let cut = timeline.iter().position(|moment| moment.measured && moment.online < all)?;
    let (before, after) = timeline.split_at(cut);
    let back = after.iter().find(|moment| moment.online >= all)?;
    Some(back.at_s - before.last()?.at_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_until_all_are_back_is_read_from_the_timeline() {
        let moments = |online: &[i64]| -> Vec<Moment> {
            let seconds = (0_u32..).map(f64::from);
            let moment = |(online, at_s): (&i64, f64)| Moment {
                at_s,
                online: *online,
                measured: at_s > 1.0,
                ..Moment::default()
            };
            online.iter().zip(seconds).map(moment).collect()
        };
        assert_eq!(back_after(9, &moments(&[0, 5, 9, 9, 2, 7, 9, 9])), Some(3.0));
        assert_eq!(back_after(9, &moments(&[0, 5, 9, 9, 2, 7, 8])), None, "not all came back");
        assert_eq!(back_after(9, &moments(&[0, 5, 9, 9])), None, "there was no cut");
    }
}
