//! Rules of the gateway's, broken between its cores and its connections.

use std::collections::BTreeMap;

use roost_gateway::link::{FromShard, ToShard};
use roost_wire::{
    CommandId, Delivery, Device, Epoch, Outcome, Present, SettlementItem, Sighting, SyncNumber,
};

use super::Break;

/// What one gateway does wrong in one life.
#[derive(Debug, Default)]
pub(crate) struct GatewayPlant {
    which: Option<Break>,
    number: SyncNumber,
    /// The newest epoch of each device, and what each command really came with.
    newest: BTreeMap<Device, Epoch>,
    came_with: BTreeMap<CommandId, Epoch>,
    commands: u64,
    came: BTreeMap<CommandId, Delivery>,
    kept: BTreeMap<Device, Vec<Delivery>>,
}

/// Epochs are told apart within an epoch by what is left of this.
const WITHIN: u64 = 1_000_000;

impl GatewayPlant {
    pub(crate) fn new(which: Option<Break>) -> Self {
        Self { which, ..Self::default() }
    }

    /// A command as the shard gets it.
    pub(crate) fn delivery(&mut self, mut delivery: Delivery) -> Delivery {
        match self.which {
            Some(Break::TakeOlderSyncs) => delivery.sync = self.number,
            Some(Break::TakeOlderEpochs) => self.take_for_newest(&mut delivery),
            Some(Break::TakeOlderEpochsAndSyncs) => {
                delivery.sync = self.number;
                self.take_for_newest(&mut delivery);
            }
            Some(Break::DeliverAfterTheEnd) => {
                self.commands += 1;
                delivery.epoch.counter = delivery.epoch.counter * WITHIN + self.commands % WITHIN;
            }
            Some(Break::KeepForTheNextSession) => drop(self.came.insert(delivery.id, delivery.clone())),
            Some(_) | None => {}
        }
        delivery
    }

    fn take_for_newest(&mut self, delivery: &mut Delivery) {
        self.came_with.insert(delivery.id, delivery.epoch);
        let newest = self.newest.entry(delivery.device.clone()).or_default();
        *newest = delivery.epoch.max(*newest);
        delivery.epoch = *newest;
    }

    /// What the link tells the shard.
    pub(crate) fn hears(&mut self, word: &ToShard) {
        if let ToShard::Number(number) = word {
            self.number = *number;
        }
    }

    /// What the shard says, as the link gets it, and commands that the shard gets once more.
    pub(crate) fn says(&mut self, word: FromShard) -> (FromShard, Vec<Delivery>) {
        let mut again = Vec::new();
        let word = match word {
            FromShard::Settlement(SettlementItem::Settled(mut settlement)) => {
                settlement.epoch = self.real(settlement.command, settlement.epoch);
                let is_undelivered =
                    matches!(settlement.outcome, Outcome::Gone { .. } | Outcome::Returned { .. });
                if let Some(delivery) = self.came.remove(&settlement.command).filter(|_| is_undelivered) {
                    self.kept.entry(settlement.device.clone()).or_default().push(delivery);
                }
                FromShard::Settlement(SettlementItem::Settled(settlement))
            }
            FromShard::InFlight { number, mut list } => {
                for item in &mut list {
                    item.epoch = self.real(item.command, item.epoch);
                }
                FromShard::InFlight { number, list }
            }
            FromShard::Sighting(Sighting::Accepted(present)) => {
                again = self.kept_for(&present);
                FromShard::Sighting(Sighting::Accepted(present))
            }
            other @ (FromShard::Settlement(_)
            | FromShard::Sighting(_)
            | FromShard::Present(_)
            | FromShard::Session(_)) => other,
        };
        (word, again)
    }

    fn kept_for(&mut self, present: &Present) -> Vec<Delivery> {
        let mut kept = self.kept.remove(&present.device).unwrap_or_default();
        for delivery in &mut kept {
            (delivery.session, delivery.sync) = (present.session, self.number);
        }
        kept
    }

    fn real(&self, command: CommandId, epoch: Epoch) -> Epoch {
        match self.which {
            Some(Break::TakeOlderEpochs | Break::TakeOlderEpochsAndSyncs) => {
                self.came_with.get(&command).copied().unwrap_or(epoch)
            }
            Some(Break::DeliverAfterTheEnd) => Epoch { counter: epoch.counter / WITHIN, ..epoch },
            Some(_) | None => epoch,
        }
    }
}
