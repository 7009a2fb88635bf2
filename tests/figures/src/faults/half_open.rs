//! A device's packets are dropped, and nobody says so.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use roost_fleet::shell::{Wan, WanState};
use roost_harness::{Backend, Connect, Device, DeviceKind, Federation, ServiceKind};

use super::raw_device;
use crate::commands::{command, send};
use crate::page::Page;

const DEVICES: u32 = 20;
/// The shortest that is usual; the bound scales with it.
const KEEP_ALIVE: u16 = 2;

pub(super) async fn measure(page: &mut Page) -> anyhow::Result<()> {
    let mesh = Federation::start(Backend::RabbitMq).await;
    let port = mesh.mqtt_port("eu-1");
    let mut service = mesh.service(ServiceKind::Lapin).await;
    service.consume("roost.presence", "*.*.offline").await;
    let bound = Duration::from_secs(u64::from(KEEP_ALIVE)).mul_f64(1.5) + Duration::from_secs(1);
    let (mut slowest, mut lost) = (Duration::ZERO, 0);
    for number in 0..DEVICES {
        let id = format!("half-open-{number}");
        let way = Wan::start(("127.0.0.1", port)).await?;
        let mut device = raw_device(way.at().port(), &id, KEEP_ALIVE).await?;
        mesh.api().located(&id, "eu-1").await;
        // The gateway counts from here.
        device.send_packet(0xc0, &[]).await;
        ensure!(device.packet().await.is_some_and(|(kind, _)| kind == 0xd0), "no PINGRESP");
        let heard = Instant::now();
        way.be(WanState::Stalled);
        let message_id = format!("while-{id}");
        send(&mesh.broker().uri(), vec![command(&id, &message_id)?]).await?;
        let gone = service.next_where(|delivery| delivery.key.contains(&id)).await;
        slowest = slowest.max(heard.elapsed());
        ensure!(gone.key.ends_with("offline"), "{gone:?}");
        // It comes back another way, and finds what was sent meanwhile.
        let mut back = Device::connected(DeviceKind::RumqttcV4, &Connect::to(port, &id)).await;
        back.subscribe(&format!("devices/{id}/cmd"), 1).await.ok().context("its subscription is refused")?;
        let found = back.next().await.ok().context("its connection was lost")?;
        lost += u32::from(found.text() != message_id);
        back.disconnect().await;
    }
    ensure!(lost == 0, "{lost} commands were lost");
    ensure!(slowest <= bound, "offline was announced after {slowest:?}, the bound is {bound:?}");
    page.heading("Half-open connections");
    page.paragraph(&format!(
        "{DEVICES} devices, one after the other, with a keep alive of {KEEP_ALIVE} s: the way between device and gateway carries nothing any more, and no end is \
         told. Time is from the last packet that the gateway answered to `offline` in the service's queue. A command is sent meanwhile; then the device comes \
         back another way."
    ));
    page.table(
        &["devices", "offline announced after, slowest", "bound: 1.5 × keep alive + 1 s", "commands lost"],
        &[vec![
            DEVICES.to_string(),
            format!("{:.2} s", slowest.as_secs_f64()),
            format!("{:.1} s", bound.as_secs_f64()),
            lost.to_string(),
        ]],
    );
    Ok(())
}
