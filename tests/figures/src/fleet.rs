//! `roost fleet` as a child process, and what it says.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use roost_fleet::Summary;
use roost_harness::roost;

/// A fleet's command line.
#[derive(Debug, Clone)]
pub(crate) struct Fleet {
    arguments: Vec<String>,
}

impl Fleet {
    /// Devices at one broker on this machine.
    pub(crate) fn of(devices: u32, ports: &[u16]) -> Self {
        let mut fleet = Self { arguments: Vec::new() };
        for port in ports {
            fleet = fleet.with("--broker", format!("127.0.0.1:{port}"));
        }
        fleet.with("--devices", devices).with("--connect-rate", 1_000)
    }

    pub(crate) fn with(mut self, option: &str, value: impl ToString) -> Self {
        self.arguments.extend([option.to_owned(), value.to_string()]);
        self
    }

    pub(crate) fn flag(mut self, option: &str) -> Self {
        self.arguments.push(option.to_owned());
        self
    }

    /// So many messages a second of all devices together, for so long.
    pub(crate) fn publishes(self, a_second: f64, devices: u32, time: Duration) -> Self {
        self.with("--rate", a_second / f64::from(devices)).lasts(time)
    }

    pub(crate) fn lasts(self, time: Duration) -> Self {
        self.with("--for", format!("{}s", time.as_secs()))
    }

    pub(crate) fn watches(self, processes: &[(&str, u32)]) -> Self {
        processes.iter().fold(self, |fleet, (name, pid)| fleet.with("--watch", format!("{name}={pid}")))
    }

    pub(crate) fn report(self, file: &Path) -> Self {
        self.with("--report", file.display())
    }

    /// The command, as one would type it.
    pub(crate) fn line(&self) -> String {
        format!("roost fleet {}", self.arguments.join(" "))
    }

    /// Runs it to its end.
    pub(crate) async fn run(&self) -> anyhow::Result<Summary> {
        let mut command = tokio::process::Command::from(roost());
        command.arg("fleet").args(&self.arguments).args(["-o", "json"]);
        command.stdin(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true);
        let output = command.output().await.context("starting roost fleet")?;
        if !output.status.success() {
            bail!("{}: {}", self.line(), output.status);
        }
        serde_json::from_slice(&output.stdout).with_context(|| format!("{}: its report", self.line()))
    }
}
