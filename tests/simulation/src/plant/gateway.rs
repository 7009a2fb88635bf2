//! Rules of the gateway's, broken between its cores and its connections.

use std::collections::BTreeMap;
use std::time::Duration;

use roost_backend::contract;
use roost_gateway::link::{FromShard, ToShard};
use roost_gateway::{Publication, PublishToken};
use roost_wire::mesh::Report as _;
use roost_wire::{
    BootTime, CommandId, Delivery, Device, Epoch, GatewayId, Message, MessageId, Now, Outcome, Present,
    Receipt, ReceiptState, ReturnReason, SessionId, Settlement, SettlementItem, SettlementReport, ShardId,
    Sighting, SyncNumber,
};

use super::{ANY_SESSION, Break};

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
    /// What the lapse of the lease has returned.
    returned: Vec<Delivery>,
    /// The last session of each device, connected or not.
    sessions: BTreeMap<Device, Present>,
    /// Answers that wait for the word that is to go ahead of them.
    behind: BTreeMap<Device, SettlementItem>,
    /// Reports that a sync is to go ahead of, each with when it was written.
    held: Vec<(BootTime, Publication)>,
}

/// Epochs are told apart within an epoch by what is left of this.
const WITHIN: u64 = 1_000_000;

/// For so long a report waits for a sync to go ahead of it.
const HELD: Duration = Duration::from_secs(2);

/// What becomes of a report.
#[derive(Debug)]
pub(crate) enum Fate {
    Publish(Box<Publication>),
    /// The link takes it for published, and it is not yet.
    Believe(PublishToken),
}

/// What is said instead of a word.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// To the link, in this order.
    pub(crate) words: Vec<FromShard>,
    /// Commands that the shard gets once more.
    pub(crate) again: Vec<Delivery>,
}

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
            Some(Break::CopiesInDoubt) => {
                if delivery.session == SessionId(ANY_SESSION) {
                    let present = self.sessions.get(&delivery.device);
                    delivery.session = present.map_or(delivery.session, |present| present.session);
                    delivery.sync = self.number;
                }
                self.take_for_newest(&mut delivery);
            }
            Some(Break::KeepForTheNextSession | Break::KeepWhenLapsed | Break::GatewaysTellSenders) => {
                self.came.insert(delivery.id, delivery.clone());
            }
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

    /// What the link tells the shard, and commands that the shard gets once more behind that.
    pub(crate) fn hears(&mut self, word: &ToShard) -> Vec<Delivery> {
        match word {
            ToShard::Number(number) => self.number = *number,
            ToShard::Lease { .. } => {
                let number = self.number;
                return std::mem::take(&mut self.returned).into_iter().map(|it| as_new(it, number)).collect();
            }
            _ => {}
        }
        Vec::new()
    }

    /// What the shard says, as the link gets it, and commands that the shard gets once more.
    pub(crate) fn says(&mut self, word: FromShard) -> Said {
        let mut said = Said::default();
        match word {
            FromShard::Settlement(SettlementItem::Settled(mut settlement)) => {
                settlement.epoch = self.real(settlement.command, settlement.epoch);
                self.keep(&settlement);
                let device = settlement.device.clone();
                let waits = self.is(Break::SubscribedAhead) && settlement.outcome == Outcome::NoSubscription;
                let item = SettlementItem::Settled(settlement);
                match waits {
                    true => drop(self.behind.insert(device, item)),
                    false => said.words.push(FromShard::Settlement(item)),
                }
            }
            FromShard::Settlement(SettlementItem::Subscribed { device, session }) => {
                let behind = self.behind.remove(&device);
                let ahead = SettlementItem::Subscribed { device, session };
                let items = [ahead].into_iter().chain(behind);
                said.words.extend(items.map(FromShard::Settlement));
            }
            FromShard::InFlight { number, mut list } => {
                for item in &mut list {
                    item.epoch = self.real(item.command, item.epoch);
                }
                // They stand before a sync all the same.
                let behind = std::mem::take(&mut self.behind);
                said.words.extend(behind.into_values().map(FromShard::Settlement));
                said.words.push(FromShard::InFlight { number, list });
            }
            FromShard::Sighting(Sighting::Accepted(present)) => {
                said.again = self.kept_for(&present);
                self.sessions.insert(present.device.clone(), present.clone());
                said.words.push(FromShard::Sighting(Sighting::Accepted(present)));
            }
            FromShard::Sighting(Sighting::Gone { device, session }) => {
                // Nobody will subscribe any more.
                said.words.extend(self.behind.remove(&device).map(FromShard::Settlement));
                said.words.push(FromShard::Sighting(Sighting::Gone { device, session }));
            }
            FromShard::Present(mut list) => {
                if self.is(Break::AnnounceHistory) {
                    let is_left = |was: &&Present| list.iter().all(|present| present.device != was.device);
                    let left: Vec<Present> = self.sessions.values().filter(is_left).cloned().collect();
                    list.extend(left);
                }
                said.words.push(FromShard::Present(list));
            }
            other @ (FromShard::Settlement(_) | FromShard::Sighting(_) | FromShard::Session(_)) => {
                said.words.push(other);
            }
        }
        said
    }

    /// What the gateway tells a sender by itself of this word.
    pub(crate) fn tells_sender(&self, now: Now, gateway: &GatewayId, word: &FromShard) -> Option<Message> {
        let FromShard::Settlement(SettlementItem::Settled(settlement)) = word else { return None };
        let is_told = self.is(Break::GatewaysTellSenders) && settlement.outcome == Outcome::Delivered;
        let delivery = self.came.get(&settlement.command).filter(|_| is_told)?;
        let receipt = Receipt {
            version: Receipt::VERSION,
            state: ReceiptState::Delivered,
            device: settlement.device.clone(),
            // Here a command's payload is its id.
            message_id: MessageId::parse(&String::from_utf8_lossy(&delivery.payload)).ok(),
            command_id: settlement.command,
            epoch: Some(settlement.epoch),
            gateway: Some(gateway.clone()),
            region: None,
            attempt: delivery.attempt,
            telling: None,
            reason: None,
            detail: None,
            accepted_at: now.wall,
            at: now.wall,
            duplicate: false,
        };
        Some(receipt.to_message(contract::RECEIPTS))
    }

    /// What becomes of a report.
    pub(crate) fn publishes(&mut self, now: Now, publication: Box<Publication>) -> Fate {
        let is_settlement = publication.message.routing_key == contract::settle_key(ShardId(0));
        if !self.is(Break::SyncOvertakes) || !is_settlement || is_sync(&publication.message) {
            return Fate::Publish(publication);
        }
        let token = publication.token;
        self.held.push((now.boot, *publication));
        Fate::Believe(token)
    }

    /// Reports that have waited for long enough.
    pub(crate) fn releases(&mut self, now: Now) -> Vec<Publication> {
        let is_over = |(since, _): &mut (BootTime, Publication)| now.boot.since(*since) >= HELD;
        self.held.extract_if(.., is_over).map(|(_, publication)| publication).collect()
    }

    fn is(&self, plant: Break) -> bool {
        self.which == Some(plant)
    }

    /// Keeps what an answer gives back.
    fn keep(&mut self, settlement: &Settlement) {
        let Some(delivery) = self.came.get(&settlement.command).cloned() else { return };
        let is_undelivered = matches!(settlement.outcome, Outcome::Gone { .. } | Outcome::Returned { .. });
        let is_lapsed = settlement.outcome == Outcome::Returned { reason: ReturnReason::LeaseLapsed };
        match self.which {
            Some(Break::KeepForTheNextSession) => {
                self.came.remove(&settlement.command);
                if is_undelivered {
                    self.kept.entry(settlement.device.clone()).or_default().push(delivery);
                }
            }
            Some(Break::KeepWhenLapsed) if is_lapsed => self.returned.push(delivery),
            Some(_) | None => {}
        }
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

/// A command whose hold has ended, as one of a hold that has not.
fn as_new(mut delivery: Delivery, number: SyncNumber) -> Delivery {
    delivery.sync = number;
    delivery.epoch.counter += 1;
    delivery
}

fn is_sync(message: &Message) -> bool {
    match SettlementReport::from_body(&message.body) {
        Ok(SettlementReport::Gateway { items, .. }) => {
            items.iter().any(|item| matches!(item, SettlementItem::Sync { .. }))
        }
        Ok(SettlementReport::Marker { .. }) | Err(_) => false,
    }
}
