//! The gateway as an MQTT broker, each figure beside mosquitto in the same run.

mod client;
mod connects;
mod flood;
mod stalled;
mod subscriptions;
mod threads;

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use roost_harness::{Backend, Federation};

use self::flood::{BYTES, Flood, Outcome, Pace, To};
use crate::page::{Page, Sections, whole};
use crate::peer::Mosquitto;

/// One section of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    Connects,
    Pairs,
    FlatOut,
    FanOut,
    Stalled,
    Subscriptions,
    Threads,
}

/// Each twice, in turns, since the machine is not ours alone.
const ROUNDS: usize = 2;
/// Publishes of each publisher that are not acknowledged: below what either broker allows.
const WINDOW: u32 = 16;

/// Measures those parts, or all of them, and writes each into its section of the page.
pub(crate) async fn measure(page: &Path, time: Duration, only: &[Part]) -> anyhow::Result<()> {
    for part in Part::value_variants() {
        if only.is_empty() || only.contains(part) {
            let name = part.name();
            eprintln!("{name}");
            let mut section = Page::default();
            part.measure(&mut section, time).await.with_context(|| name.clone())?;
            let order = Part::value_variants().iter().map(|part| part.name()).collect();
            Sections::write(page, head(), order, (&name, section))?;
        }
    }
    Ok(())
}

fn head() -> Page {
    let mut head = Page::titled("The gateway as a broker");
    head.paragraph(
        "`tests/long broker` repeats all of it, `tests/long broker --only NAME` one section. A gateway that serves its clients on one thread (`threads: 1`) and a mosquitto with Debian's defaults, which has one, on the same machine, in turns; the \
         clients share its cores with them, so quote what a message or a connection costs in CPU, and the ratios. Clients are bare ones over the gateway's own codec: MQTT 3.1.1, \
         clean sessions. A message is *lost* if its publish was acknowledged and a subscriber never got it.",
    );
    head
}

impl Part {
    /// As on the command line.
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    async fn measure(self, page: &mut Page, time: Duration) -> anyhow::Result<()> {
        let flat_out = |publishers, subscribers, to| Flood {
            publishers,
            subscribers,
            to,
            pace: Pace::FlatOut { window: WINDOW },
            time,
            shards: 1,
        };
        match self {
            Self::Connects => connects::measure(page).await,
            Self::Pairs => {
                let what = format!(
                    "200 publishers with a subscriber each, {BYTES} bytes at QoS 1, as fast as they are acknowledged, with at most {WINDOW} publishes in flight."
                );
                floods(page, "Pairs, flat out", &what, flat_out(200, 200, To::Own)).await
            }
            Self::FlatOut => {
                let what = format!(
                    "200 publishers, and 4 subscribers to all of them, {BYTES} bytes at QoS 1, as fast as they are acknowledged, with at most {WINDOW} publishes in flight each."
                );
                floods(page, "Two hundred to four, flat out", &what, flat_out(200, 4, To::All)).await
            }
            Self::FanOut => {
                let what = format!(
                    "One publisher, and 1,000 subscribers to it, {BYTES} bytes at QoS 1, as fast as it is acknowledged, with at most {WINDOW} publishes in flight."
                );
                floods(page, "One to a thousand, flat out", &what, flat_out(1, 1_000, To::All)).await
            }
            Self::Stalled => stalled::measure(page, time).await,
            Self::Subscriptions => subscriptions::measure(page),
            Self::Threads => threads::measure(page, flat_out(200, 200, To::Own)).await,
        }
    }
}

/// A gateway that serves its clients on one thread, as mosquitto does.
async fn one_thread() -> Federation {
    Federation::of(Backend::Embedded).await.with_threads(1).started().await
}

/// Both brokers, each on its own port.
struct Brokers {
    gateway: Federation,
    mosquitto: Mosquitto,
}

impl Brokers {
    async fn start() -> anyhow::Result<Self> {
        Ok(Self { gateway: one_thread().await, mosquitto: Mosquitto::start().await? })
    }

    /// Name, port and process.
    fn all(&self) -> [(&'static str, u16, u32); 2] {
        [
            ("gateway", self.gateway.mqtt_port("eu-1"), self.gateway.gateway_pid("eu-1")),
            ("mosquitto", self.mosquitto.port(), self.mosquitto.pid()),
        ]
    }
}

async fn floods(page: &mut Page, heading: &str, what: &str, flood: Flood) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for round in 1..=ROUNDS {
        // New ones each time: what one run has left in memory or in queues is not the next one's.
        let brokers = Brokers::start().await?;
        for (name, port, pid) in brokers.all() {
            let outcome = flood.run(port, pid).await.with_context(|| format!("{name}, round {round}"))?;
            rows.push(row(name, round, &outcome));
        }
    }
    page.heading(heading);
    page.paragraph(what);
    page.table(
        &[
            "broker",
            "round",
            "acknowledged",
            "deliveries owed",
            "lost",
            "came twice",
            "deliveries/s",
            "deliveries per CPU second",
            "p50 / p99",
        ],
        &rows,
    );
    Ok(())
}

fn row(name: &str, round: usize, outcome: &Outcome) -> Vec<String> {
    vec![
        name.to_owned(),
        round.to_string(),
        whole(outcome.acknowledged as f64),
        whole(outcome.owed as f64),
        format!(
            "{} ({:.1}%)",
            whole(outcome.lost() as f64),
            100.0 * outcome.lost() as f64 / outcome.owed.max(1) as f64
        ),
        whole(outcome.twice as f64),
        whole(outcome.a_second()),
        whole(outcome.a_cpu_second()),
        format!("{:.1} / {:.1} ms", outcome.percentile(50), outcome.percentile(99)),
    ]
}
