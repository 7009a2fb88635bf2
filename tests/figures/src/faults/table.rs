//! The router loses its location table, with a million devices connected.

use std::time::{Duration, Instant};

use anyhow::ensure;
use roost_harness::{Backend, Federation, Metrics};
use roost_wire::Device;

use super::until;
use crate::commands::{command, send};
use crate::page::{Page, whole};
use crate::synthetic::SyntheticGateway;

const DEVICES: u32 = 1_000_000;
const GATEWAYS: u32 = 8;
/// Devices that get a command while nobody knows where they are.
const COMMANDED: u32 = 1_000;
const BOUND: Duration = Duration::from_secs(60);

pub(super) async fn measure(page: &mut Page) -> anyhow::Result<()> {
    let mut mesh = Federation::start(Backend::RabbitMq).await;
    let uri = mesh.broker().uri();
    let name = |number: u32| format!("d{number:07}");
    let mut gateways = Vec::new();
    for gateway in 0..GATEWAYS {
        let own = (gateway..DEVICES).step_by(GATEWAYS as usize).map(|number| name(number).parse::<Device>());
        gateways.push(SyntheticGateway::start(&format!("g{gateway}"), &uri, own.collect::<Result<_, _>>()?)?);
    }
    let router = mesh.api();
    let known = async || {
        let is_well = gateways.iter().all(SyntheticGateway::is_well);
        ensure!(is_well, "a gateway has ended");
        let metrics = Metrics::of(&router).await;
        Ok(metrics.sum("roost_router_locations", &["state=\"online\""]) as u32 == DEVICES)
    };
    until("every device is known", known).await?;

    mesh.kill_router();
    gateways.iter().for_each(|gateway| gateway.told().questions.clear());
    let began = Instant::now();
    // They wait in the shard queue when the router comes, and are decided before it knows anybody.
    let commanded = (0..COMMANDED).map(|number| number * (DEVICES / COMMANDED));
    let commands = commanded.map(|number| command(&name(number), &format!("wiped-{number}")));
    send(&uri, commands.collect::<Result<_, _>>()?).await?;
    mesh.start_router().await;
    let ready = began.elapsed();
    until("every device is known again", known).await?;
    let again = began.elapsed();
    let given = || -> u32 { gateways.iter().map(|gateway| gateway.told().commands.len() as u32).sum() };
    until("every command is delivered", async || Ok(given() == COMMANDED)).await?;
    let commanded = began.elapsed();
    let twice: u32 = gateways
        .iter()
        .map(|gateway| gateway.told().commands.values().map(|times| times - 1).sum::<u32>())
        .sum();
    let most = gateways.iter().filter_map(|gateway| gateway.told().questions.values().copied().max()).max();
    let most = most.unwrap_or(0);
    let asked: usize = gateways.iter().map(|gateway| gateway.told().questions.len()).sum();
    let memory = Metrics::of(&router).await.sum("roost_process_resident_memory_bytes", &[]);
    ensure!(most <= 1, "a gateway was asked {most} times for one device");
    ensure!(again < BOUND, "every device was known again after {again:?}");
    page.heading("The location table is wiped");
    page.paragraph(&format!(
        "{GATEWAYS} gateways, which are the real link without its devices, say that they have {} devices. The router is killed, and started again without a word \
         of where anybody is; {} commands wait for it. Times are from the kill.",
        whole(f64::from(DEVICES)),
        whole(f64::from(COMMANDED)),
    ));
    page.table(
        &[
            "devices",
            "router ready after",
            "all known again after",
            "all commands delivered after",
            "commands lost / twice",
            "questions, and most for one device at one gateway",
            "router's memory",
        ],
        &[vec![
            whole(f64::from(DEVICES)),
            format!("{:.1} s", ready.as_secs_f64()),
            format!("{:.1} s", again.as_secs_f64()),
            format!("{:.1} s", commanded.as_secs_f64()),
            format!("0 / {twice}"),
            format!("{}, {most}", whole(asked as f64)),
            format!("{} MiB", whole(memory / f64::from(1 << 20))),
        ]],
    );
    Ok(())
}
