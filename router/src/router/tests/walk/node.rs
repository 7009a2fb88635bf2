//! A gateway that follows its half of the rules, as small as it can be.

use std::collections::{BTreeMap, VecDeque};

use roost_wire::mesh::Report as _;
use roost_wire::{
    Control, ControlReport, Delivery, Device, Epoch, Message, Outcome, Present, ReturnReason, RouterRun,
    SessionId, SettlementItem, SettlementReport,
};

use super::super::bench::Gate;
use crate::Queue;

pub(super) struct Node {
    pub(super) gate: Gate,
    pub(super) inbox: VecDeque<Delivery>,
    pub(super) control: VecDeque<Control>,
    pub(super) sessions: BTreeMap<Device, Session>,
    pub(super) run: RouterRun,
    pub(super) next_session: u64,
    pub(super) lease_until: u64,
    pub(super) has_lease: bool,
    pub(super) is_dead: bool,
    pub(super) cut_for: u64,
    pub(super) held_back: Vec<(Queue, Message)>,
    /// What it has published of late, the newest last.
    pub(super) published: VecDeque<(Queue, Message)>,
    pub(super) beats_at: BTreeMap<u64, u64>,
}

#[derive(Default)]
pub(super) struct Session {
    pub(super) id: u64,
    pub(super) accepted_at: roost_wire::BootTime,
    pub(super) subscribed: bool,
    pub(super) refused: bool,
    pub(super) in_flight: VecDeque<Delivery>,
    pub(super) newest: Epoch,
    pub(super) ended: Option<Epoch>,
}

impl Node {
    /// The router says something.
    pub(super) fn hear(&mut self, report: ControlReport) {
        if report.run > self.run {
            self.run = report.run;
            self.control.push_back(Control::Sync);
            self.control.push_back(Control::Snapshot);
        }
        self.control.extend(report.items);
    }

    pub(super) fn new(name: &str) -> Self {
        Self {
            gate: Gate::new(name),
            inbox: VecDeque::new(),
            control: VecDeque::new(),
            sessions: BTreeMap::new(),
            run: RouterRun(0),
            next_session: 0,
            lease_until: 0,
            has_lease: false,
            is_dead: false,
            cut_for: 0,
            held_back: Vec::new(),
            published: VecDeque::new(),
            beats_at: BTreeMap::new(),
        }
    }

    /// What it has settled while it was cut off.
    pub(super) fn unheard(&self) -> Vec<u64> {
        let reports =
            self.held_back.iter().filter_map(|(_, message)| SettlementReport::from_body(&message.body).ok());
        let items = reports.flat_map(|report| match report {
            SettlementReport::Gateway { items, .. } => items,
            SettlementReport::Marker { .. } => Vec::new(),
        });
        let settled = items.filter_map(|item| match item {
            SettlementItem::Settled(settlement) => Some(settlement.command.sequence),
            SettlementItem::Subscribed { .. } | SettlementItem::Sync { .. } => None,
        });
        settled.collect()
    }

    /// The gateway's half of the rules: `None` drops it silently, `Ok` writes it to the device.
    pub(super) fn judge(&mut self, delivery: &Delivery) -> Option<Result<(), Outcome>> {
        if delivery.sync != self.gate.sync {
            return None;
        }
        let returned = |reason| Some(Err(Outcome::Returned { reason }));
        if !self.has_lease {
            return returned(ReturnReason::LeaseLapsed);
        }
        let session =
            self.sessions.get_mut(&delivery.device).filter(|session| session.id == delivery.session.0);
        let Some(session) = session else { return Some(Err(Outcome::Gone { written: false })) };
        if delivery.epoch < session.newest {
            return returned(ReturnReason::StaleEpoch);
        }
        session.newest = delivery.epoch;
        if session.ended.is_some_and(|ended| delivery.epoch <= ended) {
            return returned(ReturnReason::HoldEnded);
        }
        if !session.subscribed {
            session.ended = Some(delivery.epoch);
            session.refused = true;
            return Some(Err(Outcome::NoSubscription));
        }
        session.in_flight.push_back(delivery.clone());
        Some(Ok(()))
    }
}

impl Session {
    pub(super) fn present(&self, device: &Device) -> Present {
        Present { device: device.clone(), session: SessionId(self.id), accepted_at: self.accepted_at }
    }
}
