//! A microservice under load: sends numbered commands to one device, and keeps the receipts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use roost_harness::{Delivery, Publication, Service, is_final};

use super::device::id;
use super::verdict::{Final, Numbered};
use super::{MARKER, Phase, Stage};

/// Commands on their way at a time: below a mailbox's 100, so that none is rejected for that.
const UNSETTLED_MAX: usize = 30;
/// The pace of the load.
const PACE: Duration = Duration::from_millis(40);

/// What a sender knows at the end.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Commands whose confirm came: "the mesh has it".
    pub(super) accepted: BTreeSet<Numbered>,
    /// The final receipts of each.
    pub(super) finals: BTreeMap<Numbered, BTreeSet<Final>>,
}

/// Sends until the load ends, and reads receipts up to the marker.
pub(super) async fn run(number: usize, mut service: Service, stage: Stage) -> Report {
    service.consume("roost.receipts", &format!("main.{}.*", id(number))).await;
    let mut report = Report::default();
    let mut pace = tokio::time::interval(PACE);
    while stage.phase() == Phase::Load {
        pace.tick().await;
        for delivery in service.arrived() {
            report.take(&delivery, &stage);
        }
        if report.accepted.len() - report.finals.len() < UNSETTLED_MAX {
            let command = Numbered { device: number, serial: report.accepted.len() as u64 };
            stage.unsettled.send_modify(|left| *left += 1);
            service.publish(&publication(command)).await.expect("the broker is not killed");
            report.accepted.insert(command);
        }
    }
    loop {
        let Some(delivery) = service.next_within(super::SETTLE_PATIENCE * 2).await else {
            panic!("the marker of {number} is lost")
        };
        if delivery.body == MARKER.as_bytes() {
            return report;
        }
        report.take(&delivery, &stage);
    }
}

fn publication(command: Numbered) -> Publication {
    let (device, text) = (id(command.device), command.to_string());
    Publication::command(&device, &format!("devices/{device}/cmd"), text.as_bytes(), &text)
}

impl Report {
    fn take(&mut self, delivery: &Delivery, stage: &Stage) {
        let receipt = delivery.json();
        if !is_final(&receipt) {
            return;
        }
        let command = delivery.correlation_id.as_deref().and_then(|id| id.parse().ok());
        let command = command.unwrap_or_else(|| panic!("a receipt for nothing that was sent: {delivery:?}"));
        let finals = self.finals.entry(command).or_default();
        if finals.is_empty() {
            stage.unsettled.send_modify(|left| *left -= 1);
            stage.advance();
        }
        // A receipt that was published again after a crash has the same id, and is the same receipt.
        let state = receipt["state"].as_str().expect("a final receipt has a state").to_owned();
        finals.insert(Final { state, message_id: delivery.message_id.clone().unwrap_or_default() });
    }
}
