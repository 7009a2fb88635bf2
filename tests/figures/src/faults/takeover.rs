//! A device connects at another gateway without a word to the one where it was: how long that one keeps the older connection.

use std::time::{Duration, Instant};

use anyhow::ensure;
use roost_fleet::shell::WanState;
use roost_harness::RawMqtt;

use super::Linked;
use crate::page::Page;

/// From the moment at which the network allows it.
const BOUND: Duration = Duration::from_secs(2);
const LATE: Duration = Duration::from_millis(150);
/// Longer than a gateway waits between two tries to connect, shorter than its lease.
const CUT_FOR: Duration = Duration::from_secs(5);
const TAKEN_OVER: (u8, u8) = (0xE0, 0x8E);

/// What is wrong with the links while the device moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Nothing,
    /// Both are so much longer, each way.
    Late,
    /// That of the gateway which it leaves is cut.
    OlderCut,
    /// That of the gateway to which it comes is cut.
    NewerCut,
}

pub(super) async fn measure(page: &mut Page) -> anyhow::Result<()> {
    let mesh = Linked::start().await;
    let mut rows = Vec::new();
    for (trouble, times, what) in [
        (Trouble::Nothing, 200, "nothing is wrong"),
        (Trouble::Late, 50, "both links are 150 ms longer, each way"),
        (Trouble::OlderCut, 20, "the link of the gateway that it leaves is cut for 5 s"),
        (Trouble::NewerCut, 20, "the link of the gateway to which it comes is cut for 5 s"),
    ] {
        let mut took = Vec::new();
        for number in 0..times {
            took.push(take_over(&mesh, trouble, &format!("{trouble:?}-{number}").to_lowercase()).await?);
        }
        took.sort_unstable();
        let (median, slowest) = (took[took.len() / 2], took[took.len() - 1]);
        ensure!(slowest <= BOUND, "{what}: closed after {slowest:?}, the bound is {BOUND:?}");
        let shown = |time: Duration| format!("{:.0} ms", time.as_secs_f64() * 1e3);
        rows.push(vec![what.to_owned(), times.to_string(), shown(median), shown(slowest)]);
    }
    page.heading("One live session");
    page.paragraph(&format!(
        "A v5 device is connected at `eu-1`, and connects at `us-1` as well. Time is from its CONNACK there, or from when the link is whole again if that is later, \
         to DISCONNECT 0x8E (session taken over) on the older connection; the bound is {} s.",
        BOUND.as_secs()
    ));
    page.table(&["while it moves", "times", "older connection closed after, median", "slowest"], &rows);
    Ok(())
}

async fn take_over(mesh: &Linked, trouble: Trouble, id: &str) -> anyhow::Result<Duration> {
    let mut older = connect(mesh, "eu-1", id).await?;
    mesh.federation.api().located(id, "eu-1").await;
    let [eu, us] = &mesh.links[..] else { anyhow::bail!("two gateways have two links") };
    let cut = match trouble {
        Trouble::Nothing => None,
        Trouble::Late => {
            mesh.all_links_are(WanState::Late(LATE));
            None
        }
        Trouble::OlderCut => Some(eu),
        Trouble::NewerCut => Some(us),
    };
    if let Some(link) = cut {
        link.be(WanState::Cut);
    }
    let mut newer = connect(mesh, "us-1", id).await?;
    if cut.is_some() {
        tokio::time::sleep(CUT_FOR).await;
        mesh.all_links_are(WanState::Whole);
    }
    let allowed = Instant::now();
    let said = older.packet().await;
    let took = allowed.elapsed();
    let reason = said.as_ref().and_then(|(first, body)| Some((*first, *body.first()?)));
    ensure!(reason == Some(TAKEN_OVER), "the older connection of {id} ended with {said:?}");
    mesh.all_links_are(WanState::Whole);
    mesh.federation.api().located(id, "us-1").await;
    newer.send_packet(0xE0, &[]).await;
    Ok(took)
}

async fn connect(mesh: &Linked, gateway: &str, id: &str) -> anyhow::Result<RawMqtt> {
    let mut device = RawMqtt::connect(mesh.federation.mqtt_port(gateway)).await;
    device.send_connect(5, id.as_bytes()).await;
    let connack = device.packet().await;
    ensure!(matches!(&connack, Some((0x20, body)) if body.get(1) == Some(&0)), "CONNACK: {connack:?}");
    Ok(device)
}
