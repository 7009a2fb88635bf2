//! Measures the mesh beside its peers, and writes the pages of figures. `tests/long` starts it: it needs a private RabbitMQ, and
//! builds that are optimised.

mod bare_amqp;
mod broker;
mod capacity;
mod cluster;
mod commands;
mod cpu;
mod examples;
mod faults;
mod fleet;
mod machine;
mod memory;
mod mesh;
mod page;
mod peer;
mod soak;
mod synthetic;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

/// Measures the mesh beside its peers, and writes pages of figures.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Throughput, memory, latency and a storm, beside lapin alone and mosquitto
    Mesh {
        /// The page to write
        #[arg(long)]
        page: PathBuf,
        /// Seconds of each run
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// Only these: events, commands, latency, idle, pairs, storm
        #[arg(long, value_delimiter = ',')]
        only: Vec<mesh::Part>,
    },
    /// The gateway alone as an MQTT broker, beside mosquitto: what connections and messages cost
    Broker {
        /// The page to write
        #[arg(long)]
        page: PathBuf,
        /// Seconds of each run
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// Only these: connects, pairs, flat-out, fan-out, stalled, subscriptions
        #[arg(long, value_delimiter = ',')]
        only: Vec<broker::Part>,
    },
    /// One fleet of 15,000 devices against `roost dev` and against mosquitto: two reports
    Examples {
        /// Where the reports go
        #[arg(long)]
        directory: PathBuf,
        /// Seconds of each run
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// Kills and cuts: lost, duplicated, and how long until all is well again
    Faults {
        /// The page to write
        #[arg(long)]
        page: PathBuf,
        /// Events in the spool of a gateway that is killed
        #[arg(long, default_value_t = 1_000_000)]
        spooled: u32,
        /// Kills of a gateway under load
        #[arg(long, default_value_t = 100)]
        kills: u32,
        /// Seconds for which a link is cut
        #[arg(long, default_value_t = 600)]
        cut_s: u64,
        /// Only some of them
        #[arg(long, value_delimiter = ',')]
        only: Vec<faults::Part>,
    },
    /// Three RabbitMQ nodes that die, lose each other, and run out of memory; in namespaces of its own
    Cluster {
        /// The page to write
        #[arg(long)]
        page: PathBuf,
        /// A node that dies and an alarm only, for seconds
        #[arg(long)]
        short: bool,
        /// Only these: kill-1 to kill-3, minority-1 to minority-3, apart, alarm
        #[arg(long, value_delimiter = ',')]
        only: Vec<String>,
    },
    /// A long steady run: does memory stay flat?
    Soak {
        /// The page to write
        #[arg(long)]
        page: PathBuf,
        /// Minutes
        #[arg(long, default_value_t = 30)]
        minutes: u64,
    },
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        measured = measure(Arguments::parse().what) => measured,
        // What was started is stopped with the future that has it.
        _ = terminated.recv() => bail!("terminated"),
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
    }
}

async fn measure(what: What) -> anyhow::Result<()> {
    match what {
        What::Mesh { page, seconds, only } => mesh::measure(&page, Duration::from_secs(seconds), &only).await,
        What::Broker { page, seconds, only } => {
            broker::measure(&page, Duration::from_secs(seconds), &only).await
        }
        What::Examples { directory, seconds } => {
            examples::measure(&directory, Duration::from_secs(seconds)).await
        }
        What::Faults { page, spooled, kills, cut_s, only } => {
            let extent = faults::Extent { spooled, kills, cut: Duration::from_secs(cut_s) };
            faults::measure(&page, extent, &only).await
        }
        What::Cluster { page, short, only } => cluster::measure(&page, short, &only).await,
        What::Soak { page, minutes } => soak::measure(&page, Duration::from_secs(minutes * 60)).await,
    }
}
