//! The index: what the records say, taken together.

use std::collections::BTreeMap;
use std::sync::Arc;

use roost_wire::{CommandId, Device, GatewayId, MessageId, RouterRun, Tenant, WallTime};

use super::finals::Finals;
use super::gateways::KnownGateways;
use super::{Accepted, Final, GivenTo, KnownGateway, Record, Reply};

/// What the journal holds: the commands in custody, the finals that are remembered, the receipts that are owed, the
/// gateways that are known, and the run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Journal {
    run: RouterRun,
    id: Option<u32>,
    next: u64,
    live: BTreeMap<u64, Live>,
    ids: BTreeMap<Device, BTreeMap<MessageId, u64>>,
    held: Held,
    /// The same by tenant; none that has nothing.
    tenants: BTreeMap<Tenant, Held>,
    finals: Finals,
    gateways: KnownGateways,
}

/// How much is in custody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    /// Commands.
    pub commands: usize,
    /// Bytes: payloads, and the texts that senders put into headers.
    pub bytes: usize,
}

/// A command that has not ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Live {
    /// The command.
    pub command: Arc<Accepted>,
    /// The gateway that has it, or has not said yet what became of it.
    pub given_to: Option<GivenTo>,
    /// How often it was given to a gateway.
    pub attempts: u32,
    /// How often a gateway that had it was lost, or its device's connection there: the device may have it.
    pub interruptions: u32,
}

impl Live {
    fn new(command: &Arc<Accepted>) -> Self {
        let given_to = command.given_to.clone();
        Self { command: command.clone(), attempts: u32::from(given_to.is_some()), given_to, interruptions: 0 }
    }

    /// Whether the device may have it although nobody has said so.
    #[must_use]
    pub fn may_have_arrived(&self) -> bool {
        self.interruptions > 0
    }
}

impl Journal {
    /// Takes in one record: the only way in which the index changes. What a record refers to and is not there is passed
    /// over: a snapshot may already contain what a record behind it says.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::RunStarted { run, journal } => {
                self.run = *run;
                self.id = Some(*journal);
            }
            Record::Used { next } => self.next = self.next.max(*next),
            Record::Accepted(command) => self.accept(command),
            Record::Given { sequence, to } => {
                if let Some(live) = self.live.get_mut(sequence)
                    && live.given_to.as_ref() != Some(to)
                {
                    live.given_to = Some(to.clone());
                    live.attempts = live.attempts.saturating_add(1);
                }
            }
            Record::TakenBack { sequence } => {
                if let Some(live) = self.live.get_mut(sequence) {
                    live.given_to = None;
                }
            }
            Record::Interrupted { sequence } => {
                if let Some(live) = self.live.get_mut(sequence) {
                    live.given_to = None;
                    live.interruptions = live.interruptions.saturating_add(1);
                }
            }
            Record::Tried { sequence, attempts, interruptions } => {
                if let Some(live) = self.live.get_mut(sequence) {
                    (live.attempts, live.interruptions) = (*attempts, *interruptions);
                }
            }
            Record::Finished { end, owed } => self.finish(end, *owed),
            Record::ReceiptPublished { sequence } => self.finals.receipt_published(*sequence),
            Record::Answered { sequence, message } => {
                if self.live.contains_key(sequence) || self.finals.of(*sequence).is_some() {
                    self.finals.answered(*sequence, message);
                }
            }
            Record::GatewaySeen { gateway, incarnation } => self.gateways.seen(gateway, *incarnation),
            Record::GatewaySynced { gateway, incarnation, number } => {
                self.gateways.synced(gateway, *incarnation, *number);
            }
            Record::GatewayLost { gateway } => self.gateways.lost(gateway),
        }
    }

    /// The records that build this index from nothing. Cheap: payloads are shared, not copied.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Record> {
        let mut records = Vec::new();
        if let Some(journal) = self.id {
            records.push(Record::RunStarted { run: self.run, journal });
        }
        records.push(Record::Used { next: self.next });
        self.gateways.snapshot(&mut records);
        for live in self.live.values() {
            records.push(Record::Accepted(live.command.clone()));
            let sequence = live.command.sequence;
            let mut told = Live::new(&live.command);
            if live.given_to != told.given_to {
                told.attempts += u32::from(live.given_to.is_some());
                records.push(match live.given_to.clone() {
                    Some(to) => Record::Given { sequence, to },
                    None => Record::TakenBack { sequence },
                });
            }
            let Live { attempts, interruptions, .. } = *live;
            if (attempts, interruptions) != (told.attempts, told.interruptions) {
                records.push(Record::Tried { sequence, attempts, interruptions });
            }
        }
        for end in self.finals.iter() {
            let owed = self.finals.is_owed(end.receipt.command_id.sequence);
            records.push(Record::Finished { end: end.clone(), owed });
        }
        for (sequence, message) in self.finals.answers().iter() {
            records.push(Record::Answered { sequence, message: message.to_owned() });
        }
        records
    }

    /// The run that wrote last; 0 before the first.
    #[must_use]
    pub fn run(&self) -> RouterRun {
        self.run
    }

    /// The journal's own number; none before the first run.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.id
    }

    /// The place of the next command.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The commands in custody, in order.
    pub fn live(&self) -> impl Iterator<Item = &Live> {
        self.live.values()
    }

    /// A command in custody, by its place.
    #[must_use]
    pub fn command(&self, sequence: u64) -> Option<&Live> {
        self.live.get(&sequence)
    }

    /// The place of a device's command with this message id, if it is in custody.
    #[must_use]
    pub fn live_id(&self, device: &Device, id: &MessageId) -> Option<u64> {
        self.ids.get(device)?.get(id).copied()
    }

    /// How a device's command with this message id ended, if that is remembered.
    #[must_use]
    pub fn final_of(&self, device: &Device, id: &MessageId) -> Option<&Arc<Final>> {
        self.finals.find(device, id)
    }

    /// The final at a place, if it is remembered.
    #[must_use]
    pub fn final_at(&self, sequence: u64) -> Option<&Arc<Final>> {
        self.finals.of(sequence)
    }

    /// Where the answer to a command goes, and whose it has to be; none if nobody waits for one, or it is not remembered.
    #[must_use]
    pub fn reply(&self, sequence: u64) -> Option<(&Device, Reply)> {
        if let Some(live) = self.live.get(&sequence) {
            let request = &live.command.request;
            return Some((&request.device, Reply::of(request)?));
        }
        let end = self.finals.of(sequence).filter(|end| end.awaits_answer())?;
        Some((&end.receipt.device, end.reply.clone()?))
    }

    /// Whether a command has its answer.
    #[must_use]
    pub fn is_answered(&self, sequence: u64) -> bool {
        self.finals.answers().has(sequence)
    }

    /// The command that a message has answered.
    #[must_use]
    pub fn answered_by(&self, message: &str) -> Option<u64> {
        self.finals.answers().command(message)
    }

    /// The commands of a device that have ended, and that it may have and still answer, in order.
    pub fn awaiting(&self, device: &Device) -> impl Iterator<Item = u64> {
        self.finals.awaiting(device)
    }

    /// The finals whose receipt is not published yet, in order.
    pub fn owed(&self) -> impl Iterator<Item = &Arc<Final>> {
        self.finals.owed()
    }

    /// How many finals that is. They are kept for as long as their receipt is not confirmed, so they count as custody.
    #[must_use]
    pub fn owed_count(&self) -> usize {
        self.finals.owed_count()
    }

    /// The gateways that are known.
    pub fn gateways(&self) -> impl Iterator<Item = (&GatewayId, &KnownGateway)> {
        self.gateways.iter()
    }

    /// How many commands are in custody.
    #[must_use]
    pub fn commands(&self) -> usize {
        self.held.commands
    }

    /// How many bytes are in custody: payloads, and the texts that senders put into headers.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.held.bytes
    }

    /// How much is in custody for one tenant's devices.
    #[must_use]
    pub fn held_for(&self, tenant: &Tenant) -> Held {
        self.tenants.get(tenant).copied().unwrap_or_default()
    }

    /// How many finals are remembered.
    #[must_use]
    pub fn finals(&self) -> usize {
        self.finals.len()
    }

    /// The mesh's name for the command at a place. A journal that never had a run has no names to give: 0.
    #[must_use]
    pub fn command_id(&self, sequence: u64) -> CommandId {
        CommandId { journal: self.id.unwrap_or_default(), sequence }
    }

    /// Forgets finals whose time has come, and the first to go beyond `max`: at most `batch` of them. Not a record: the clock
    /// says it again after a restart. Gives how many were forgotten before their time.
    pub fn forget(&mut self, now: WallTime, max: usize, batch: usize) -> u64 {
        (0..batch).map_while(|_| self.finals.forget_one(now, max)).map(u64::from).sum()
    }

    /// Forgets a gateway that is lost and that no command was given to. Not a record: a restart may know it again until the next
    /// snapshot.
    pub fn forget_gateway(&mut self, gateway: &GatewayId) {
        self.gateways.forget(gateway);
    }

    /// Forgets a device's oldest final if it has more than `max`. True if so.
    pub fn forget_oldest_of(&mut self, device: &Device, max: usize) -> bool {
        self.finals.forget_oldest_of(device, max)
    }

    fn accept(&mut self, command: &Arc<Accepted>) {
        self.next = self.next.max(command.sequence + 1);
        // Counted once, also if a snapshot has it and the record comes again behind it.
        if self.live.insert(command.sequence, Live::new(command)).is_some() {
            return;
        }
        let tenant = &command.request.device.tenant;
        for held in [&mut self.held, self.tenants.entry(tenant.clone()).or_default()] {
            held.commands += 1;
            held.bytes += command.bytes();
        }
        let ids = self.ids.entry(command.request.device.clone()).or_default();
        ids.insert(command.request.message_id.clone(), command.sequence);
    }

    fn finish(&mut self, end: &Arc<Final>, owed: bool) {
        let sequence = end.receipt.command_id.sequence;
        self.next = self.next.max(sequence + 1);
        if let Some(live) = self.live.remove(&sequence) {
            let request = &live.command.request;
            let tenant = &request.device.tenant;
            let of_tenant = self.tenants.get_mut(tenant).expect("it was counted when it was accepted");
            for held in [&mut self.held, of_tenant] {
                held.commands -= 1;
                held.bytes -= live.command.bytes();
            }
            if self.held_for(tenant).commands == 0 {
                self.tenants.remove(tenant);
            }
            if let Some(ids) = self.ids.get_mut(&request.device) {
                ids.remove(&request.message_id);
                if ids.is_empty() {
                    self.ids.remove(&request.device);
                }
            }
        }
        self.finals.insert(end.clone(), owed);
    }
}
