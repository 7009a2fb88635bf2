//! How commands ended, remembered so that a message that comes again is known.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use roost_wire::{Device, MessageId, WallTime};

use super::Final;
use super::answers::Answers;

/// The finals that are remembered, in three orders.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Finals {
    by_sequence: BTreeMap<u64, Arc<Final>>,
    by_time: BTreeSet<(WallTime, u64)>,
    by_device: BTreeMap<Device, BTreeMap<MessageId, u64>>,
    owed: BTreeSet<u64>,
    /// Those that their device may still answer.
    awaiting: BTreeMap<Device, BTreeSet<u64>>,
    /// Of commands in custody, too: they become finals.
    answers: Answers,
}

impl Finals {
    pub(super) fn insert(&mut self, end: Arc<Final>, owed: bool) {
        let sequence = end.receipt.command_id.sequence;
        if let Some(id) = &end.receipt.message_id {
            let ids = self.by_device.entry(end.receipt.device.clone()).or_default();
            ids.insert(id.clone(), sequence);
        }
        if end.awaits_answer() && !self.answers.has(sequence) {
            self.awaiting.entry(end.receipt.device.clone()).or_default().insert(sequence);
        }
        self.by_time.insert((end.forget_at, sequence));
        self.by_sequence.insert(sequence, end);
        if owed {
            self.owed.insert(sequence);
        }
    }

    pub(super) fn receipt_published(&mut self, sequence: u64) {
        self.owed.remove(&sequence);
    }

    /// The device has answered a command.
    pub(super) fn answered(&mut self, sequence: u64, message: &str) {
        self.answers.insert(sequence, message);
        self.awaits_no_longer(sequence);
    }

    pub(super) fn answers(&self) -> &Answers {
        &self.answers
    }

    /// The commands of a device that have ended and that it may still answer, in order.
    pub(super) fn awaiting(&self, device: &Device) -> impl Iterator<Item = u64> {
        self.awaiting.get(device).into_iter().flatten().copied()
    }

    fn awaits_no_longer(&mut self, sequence: u64) {
        let Some(end) = self.by_sequence.get(&sequence) else { return };
        let Some(places) = self.awaiting.get_mut(&end.receipt.device) else { return };
        places.remove(&sequence);
        if places.is_empty() {
            self.awaiting.remove(&end.receipt.device);
        }
    }

    pub(super) fn find(&self, device: &Device, id: &MessageId) -> Option<&Arc<Final>> {
        self.by_sequence.get(self.by_device.get(device)?.get(id)?)
    }

    pub(super) fn of(&self, sequence: u64) -> Option<&Arc<Final>> {
        self.by_sequence.get(&sequence)
    }

    pub(super) fn owed(&self) -> impl Iterator<Item = &Arc<Final>> {
        self.owed.iter().filter_map(|sequence| self.by_sequence.get(sequence))
    }

    pub(super) fn owed_count(&self) -> usize {
        self.owed.len()
    }

    pub(super) fn is_owed(&self, sequence: u64) -> bool {
        self.owed.contains(&sequence)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Final>> {
        self.by_sequence.values()
    }

    pub(super) fn len(&self) -> usize {
        self.by_sequence.len()
    }

    /// Forgets the next one whose time has come, or the first to go if there are more than `max`. Those with an owed receipt
    /// stay. True if one was forgotten before its time.
    pub(super) fn forget_one(&mut self, now: WallTime, max: usize) -> Option<bool> {
        let full = self.by_sequence.len() > max;
        // The owed ones in front are passed over; they are few, since each is being published.
        let due = self.by_time.iter().take_while(|(at, _)| full || *at <= now);
        let &(at, sequence) = due.into_iter().find(|(_, sequence)| !self.owed.contains(sequence))?;
        self.forget(sequence);
        Some(at > now)
    }

    /// Forgets a device's oldest if it has more than `max`. True if one was forgotten.
    pub(super) fn forget_oldest_of(&mut self, device: &Device, max: usize) -> bool {
        let Some(ids) = self.by_device.get(device).filter(|ids| ids.len() > max) else { return false };
        let oldest = ids.values().filter(|sequence| !self.owed.contains(sequence)).min().copied();
        if let Some(sequence) = oldest {
            self.forget(sequence);
        }
        oldest.is_some()
    }

    fn forget(&mut self, sequence: u64) {
        self.awaits_no_longer(sequence);
        self.answers.forget(sequence);
        let Some(end) = self.by_sequence.remove(&sequence) else { return };
        self.by_time.remove(&(end.forget_at, sequence));
        self.owed.remove(&sequence);
        let Some(id) = &end.receipt.message_id else { return };
        if let Some(ids) = self.by_device.get_mut(&end.receipt.device) {
            if ids.get(id) == Some(&sequence) {
                ids.remove(id);
            }
            if ids.is_empty() {
                self.by_device.remove(&end.receipt.device);
            }
        }
    }
}
