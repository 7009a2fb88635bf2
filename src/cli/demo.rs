//! `roost dev --devices` and `--chaos`.

use std::time::Duration;

use clap::Args;
use roost_fleet::Plan;

use crate::span;

/// Devices in the demo, a microservice that commands them, and faults.
#[derive(Debug, Args)]
#[command(next_help_heading = "Devices and faults")]
pub(crate) struct DemoArguments {
    /// Simulate so many devices, spread over both gateways, and a microservice that hears and commands them [default with
    /// --chaos: 200]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(Plan::DEVICES_MAX)))]
    pub(crate) devices: Option<u32>,
    /// Events per device and second
    #[arg(long, value_name = "R", default_value_t = 0.1, value_parser = rate)]
    pub(crate) rate: f64,
    /// Commands per second, over all devices
    #[arg(long, value_name = "R", default_value_t = 10.0, value_parser = rate)]
    pub(crate) command_rate: f64,
    /// The share of the devices that moves to the other gateway in a minute, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.01, value_parser = share)]
    pub(crate) roam: f64,
    /// Kill and cut parts of the mesh while it runs, as drawn from this number; each role is a process of its own then
    #[arg(long, value_name = "SEED")]
    pub(crate) chaos: Option<u64>,
    /// Print what will happen, and when, and end
    #[arg(long, requires = "chaos")]
    pub(crate) plan: bool,
    /// End after this time; the exit status says whether every promise was kept
    #[arg(long = "for", value_name = "TIME", value_parser = span::parse)]
    pub(crate) duration: Option<Duration>,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| (0.0..=100_000.0).contains(rate));
    rate.ok_or_else(|| "expected a number from 0 to 100000".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share: &f64| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "expected a number from 0 to 1".to_owned())
}
