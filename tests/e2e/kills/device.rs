//! A device under load: publishes numbered events, receives numbered commands, and comes back whenever it is cut off.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use roost_harness::{Connect, Device, DeviceKind, Lost, Message, PATIENCE, eventually};

use super::verdict::{Numbered, Received};
use super::{Phase, Stage};

/// The pace of the load, so that a run ends: 8 devices make at most 400 events a second.
const PACE: Duration = Duration::from_millis(20);

/// What a device knows at the end.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Events whose PUBACK came.
    pub(super) acknowledged: BTreeSet<Numbered>,
    /// What it received, connection by connection.
    pub(super) connections: Vec<Vec<Received>>,
}

pub(super) fn id(number: usize) -> String {
    format!("load-{number}")
}

/// Lives at one of the two gateways, drawn anew for each connection, until the end.
pub(super) async fn run(number: usize, ports: [u16; 2], mut random: StdRng, stage: Stage) -> (usize, Report) {
    let mut report = Report::default();
    let mut serial = 0;
    while stage.phase() != Phase::End {
        let mut device = connect(number, ports, &mut random).await;
        report.connections.push(Vec::new());
        // Cut off: then again, at one of the gateways.
        live(number, &mut device, &mut serial, &mut report, &stage).await.ok();
        let rest = device.arrived();
        report.receive(rest);
    }
    (number, report)
}

async fn connect(number: usize, ports: [u16; 2], random: &mut StdRng) -> Device {
    eventually(&format!("device {number} connects"), PATIENCE, || {
        let how = Connect::to(ports[random.random_range(0..2)], &id(number));
        async move { Device::connect(DeviceKind::RumqttcV5, &how).await.map_err(|lost| format!("{lost:?}")) }
    })
    .await
}

async fn live(
    number: usize,
    device: &mut Device,
    serial: &mut u64,
    report: &mut Report,
    stage: &Stage,
) -> Result<(), Lost> {
    device.subscribe(&format!("devices/{}/cmd", id(number)), 1).await?;
    let mut pace = tokio::time::interval(PACE);
    loop {
        pace.tick().await;
        match stage.phase() {
            Phase::Load => {
                // A number is used once: what was not acknowledged is nobody's promise.
                let event = Numbered { device: number, serial: *serial };
                *serial += 1;
                device.publish("load/event", event.to_string().as_bytes(), 1).await?;
                report.acknowledged.insert(event);
                stage.advance();
            }
            Phase::Settle => {
                let message = device.next_within(PACE).await?;
                report.receive(message);
            }
            Phase::End => return Ok(()),
        }
        let arrived = device.arrived();
        report.receive(arrived);
    }
}

impl Report {
    fn receive(&mut self, messages: impl IntoIterator<Item = Message>) {
        let connection = self.connections.last_mut().expect("received on a connection");
        connection.extend(messages.into_iter().map(|message| Received {
            command: message.text().parse().expect("commands of the load are numbered"),
            command_id: message.property("roost-command-id").unwrap_or_default().to_owned(),
        }));
    }
}
