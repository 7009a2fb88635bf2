//! What the journal knows of the gateways, so that the next start knows for whom to wait and whom to ignore.

use std::collections::{BTreeMap, VecDeque};

use roost_wire::{GatewayId, Incarnation, SyncNumber};

use super::Record;

/// One gateway as the journal knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownGateway {
    /// Its newest incarnation.
    pub incarnation: Incarnation,
    /// The incarnations before, the oldest first. Bounded: the oldest is forgotten.
    pub voided: VecDeque<Incarnation>,
    /// The sync that commands may carry the number of. None before the first.
    pub synced: Option<SyncNumber>,
    /// Whether nothing that was given to it can be under way any more. A lost gateway that is seen again is not lost.
    pub lost: bool,
}

/// All of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct KnownGateways {
    by_id: BTreeMap<GatewayId, KnownGateway>,
}

/// Voided incarnations that are kept on disk for each gateway: as [`crate::Limits::voided_max`] by default.
const VOIDED_MAX: usize = 16;

impl KnownGateways {
    pub(super) fn seen(&mut self, gateway: &GatewayId, incarnation: Incarnation) {
        let Some(known) = self.by_id.get_mut(gateway) else {
            let known = KnownGateway { incarnation, voided: VecDeque::new(), synced: None, lost: false };
            self.by_id.insert(gateway.clone(), known);
            return;
        };
        known.lost = false;
        if known.incarnation != incarnation {
            if known.voided.len() == VOIDED_MAX {
                known.voided.pop_front();
            }
            known.voided.push_back(known.incarnation);
            known.incarnation = incarnation;
            known.synced = None;
        }
    }

    pub(super) fn synced(&mut self, gateway: &GatewayId, incarnation: Incarnation, number: SyncNumber) {
        if let Some(known) = self.by_id.get_mut(gateway).filter(|known| known.incarnation == incarnation) {
            known.synced = Some(number);
        }
    }

    pub(super) fn lost(&mut self, gateway: &GatewayId) {
        if let Some(known) = self.by_id.get_mut(gateway) {
            known.lost = true;
        }
    }

    pub(super) fn forget(&mut self, gateway: &GatewayId) {
        self.by_id.remove(gateway);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&GatewayId, &KnownGateway)> {
        self.by_id.iter()
    }

    pub(super) fn snapshot(&self, records: &mut Vec<Record>) {
        for (gateway, known) in &self.by_id {
            for incarnation in known.voided.iter().chain([&known.incarnation]) {
                records.push(Record::GatewaySeen { gateway: gateway.clone(), incarnation: *incarnation });
            }
            if let Some(number) = known.synced {
                let incarnation = known.incarnation;
                records.push(Record::GatewaySynced { gateway: gateway.clone(), incarnation, number });
            }
            if known.lost {
                records.push(Record::GatewayLost { gateway: gateway.clone() });
            }
        }
    }
}
