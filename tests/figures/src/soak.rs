//! A long steady run: memory has to be flat once every bounded thing is full.

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use roost_fleet::{Moment, Summary};
use roost_harness::{Backend, Federation};

use crate::fleet::Fleet;
use crate::machine;
use crate::page::{Page, cores_taken, p50_p99, whole};

/// Few devices and many commands: the router remembers 2,000 ended commands of a device, so that this is full, and has to be flat,
/// after a third of the time.
const DEVICES: u32 = 100;
const EVENTS: f64 = 1_000.0;
const COMMANDS: f64 = 400.0;
/// Growth over the last third, by the level there.
const SLOPE_MAX: f64 = 0.01;

/// Measures, writes the page, and fails if memory grew or anything was lost.
pub(crate) async fn measure(page: &Path, time: Duration) -> anyhow::Result<()> {
    let federation = Federation::start(Backend::Embedded).await;
    let ports = ["eu-1", "us-1"].map(|gateway| federation.mqtt_port(gateway));
    let fleet = Fleet::of(DEVICES, &ports)
        .publishes(EVENTS, DEVICES, time)
        .with("--size", 256)
        .with("--jitter", 1)
        .with("--amqp", federation.broker().uri())
        .with("--command-rate", COMMANDS)
        .watches(&[
            ("gateway-eu-1", federation.gateway_pid("eu-1")),
            ("gateway-us-1", federation.gateway_pid("us-1")),
            ("router", federation.router_pid()),
            ("backend", federation.backend_pid()),
        ]);
    let summary = fleet.run().await?;
    let slopes = slopes(&summary);
    write(page, &summary, &slopes, time, &fleet.line())?;
    for slope in &slopes {
        ensure!(slope.share() < SLOPE_MAX, "{} grew by {:.2}%", slope.name, 100.0 * slope.share());
    }
    for (direction, verdict) in summary.verdict.directions() {
        ensure!(verdict.lost == 0, "{direction}: {} lost", verdict.lost);
    }
    Ok(())
}

fn write(page: &Path, summary: &Summary, slopes: &[Slope], time: Duration, line: &str) -> anyhow::Result<()> {
    let mut out = Page::titled("Soak");
    out.paragraph(&format!("Measured on {}", machine::describe()));
    out.paragraph(&format!(
        "`tests/long soak`: {} minutes, {DEVICES} devices at two gateways, {} events and {} commands a second, every role a process of \
         its own, the embedded backend. Growth is the slope of a straight line through the anonymous memory (resident, without the pages of \
         files, which come and go as the system has room) of the last third, times its length, by its mean; a third is enough for everything bounded to be full (the router remembers 2,000 ended commands of \
         each device).",
        time.as_secs() / 60,
        whole(EVENTS),
        whole(COMMANDS),
    ));
    let mib = |bytes: f64| format!("{:.2} MiB", bytes / f64::from(1 << 20));
    let rows: Vec<Vec<String>> = slopes
        .iter()
        .map(|slope| {
            let percent = format!("{:+.2}%", 100.0 * slope.share());
            vec![slope.name.clone(), mib(slope.level), mib(slope.growth), percent]
        })
        .collect();
    out.table(&["process", "level of the last third", "growth over it", "growth"], &rows);
    let rows: Vec<Vec<String>> = summary
        .verdict
        .directions()
        .map(|(name, verdict)| {
            vec![
                name.to_owned(),
                whole(verdict.expected as f64),
                verdict.lost.to_string(),
                verdict.duplicates.to_string(),
                verdict.reordered.to_string(),
                p50_p99(summary, if name == "receipts" { "receipt" } else { name }),
            ]
        })
        .collect();
    out.table(&["direction", "expected", "lost", "duplicates", "reordered", "p50 / p99"], &rows);
    out.paragraph(&format!("Cores busy: {}.", cores_taken(summary)));
    out.command(line);
    out.write(page)
}

/// How the memory of one process went in the last third.
#[derive(Debug, PartialEq)]
struct Slope {
    name: String,
    level: f64,
    growth: f64,
}

impl Slope {
    fn share(&self) -> f64 {
        self.growth / self.level
    }
}

fn slopes(summary: &Summary) -> Vec<Slope> {
    let measured: Vec<&Moment> = summary.timeline.iter().filter(|moment| moment.measured).collect();
    let last_third = &measured[measured.len() * 2 / 3..];
    let names = last_third.first().map(|moment| moment.anonymous_bytes.keys().cloned()).into_iter().flatten();
    names
        .filter_map(|name| {
            let points = last_third.iter().filter_map(|moment| {
                let bytes = moment.anonymous_bytes.get(&name)?;
                Some((moment.at_s, *bytes as f64))
            });
            let (level, growth) = line_through(&points.collect::<Vec<_>>())?;
            Some(Slope { name, level, growth })
        })
        .collect()
}

/// Mean and growth of the straight line with the least squares; `None` for less than two points.
fn line_through(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    let (first, last) = (points.first()?.0, points.last()?.0);
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x_mean, y_mean) = (mean(|point| point.0), mean(|point| point.1));
    let covariance: f64 = points.iter().map(|(x, y)| (x - x_mean) * (y - y_mean)).sum();
    let variance: f64 = points.iter().map(|(x, _)| (x - x_mean).powi(2)).sum();
    (variance > 0.0).then(|| (y_mean, covariance / variance * (last - first)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_that_of_the_line() {
        let points: Vec<(f64, f64)> =
            (0..100_u32).map(|x| (f64::from(x), 50.0 + 2.0 * f64::from(x))).collect();
        let (level, growth) = line_through(&points).unwrap();
        assert!((level - 149.0).abs() < 1e-9 && (growth - 198.0).abs() < 1e-9, "{level} {growth}");
        // A sawtooth that comes back to its level has none.
        let teeth: Vec<(f64, f64)> = (0..100_u32).map(|x| (f64::from(x), f64::from(x % 10))).collect();
        assert!(line_through(&teeth).unwrap().1.abs() < 1.0);
        assert_eq!(line_through(&points[..1]), None);
    }
}
