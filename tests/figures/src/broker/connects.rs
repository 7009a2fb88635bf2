//! What it costs to come, to subscribe and to go.

use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::task::JoinSet;

use super::client::Client;
use super::{Brokers, ROUNDS};
use crate::cpu::Meter;
use crate::page::{Page, whole};

const CLIENTS: u32 = 50;
const EACH: u32 = 200;

pub(super) async fn measure(page: &mut Page) -> anyhow::Result<()> {
    let brokers = Brokers::start().await?;
    let mut rows = Vec::new();
    for round in 1..=ROUNDS {
        for (name, port, pid) in brokers.all() {
            let (took, cpu) = run(port, pid).await.with_context(|| format!("{name}, round {round}"))?;
            let connects = f64::from(CLIENTS * EACH);
            rows.push(vec![
                name.to_owned(),
                round.to_string(),
                whole(connects),
                whole(connects / took.as_secs_f64()),
                whole(connects / cpu.as_secs_f64().max(f64::EPSILON)),
            ]);
        }
    }
    page.heading("Connects");
    page.paragraph(&format!(
        "{CLIENTS} clients at a time connect over TCP, send CONNECT, subscribe to a topic of their own and go, {EACH} times each."
    ));
    page.table(&["broker", "round", "connects", "connects/s", "connects per CPU second"], &rows);
    Ok(())
}

async fn run(port: u16, pid: u32) -> anyhow::Result<(Duration, Duration)> {
    let (meter, began) = (Meter::start(pid)?, Instant::now());
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        clients.spawn(async move {
            for time in 0..EACH {
                let id = format!("comes-{client}-{time}");
                let mut client = Client::connect(port, &id).await?;
                client.subscribe(&format!("devices/{id}/cmd")).await?;
                client.disconnect().await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    Ok((began.elapsed(), meter.used()?))
}
