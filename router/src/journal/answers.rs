//! Which commands their devices have answered, and by which messages: so that one that comes again is known.

use std::collections::BTreeMap;

/// Of commands in custody and of finals that are remembered: bounded by those. Each has one answer at most.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Answers {
    by_command: BTreeMap<u64, Box<str>>,
    by_message: BTreeMap<Box<str>, u64>,
}

impl Answers {
    /// The first answer of a command counts, and the first command of an answer.
    pub(super) fn insert(&mut self, sequence: u64, message: &str) {
        if self.by_command.contains_key(&sequence) || self.by_message.contains_key(message) {
            return;
        }
        self.by_command.insert(sequence, message.into());
        self.by_message.insert(message.into(), sequence);
    }

    pub(super) fn has(&self, sequence: u64) -> bool {
        self.by_command.contains_key(&sequence)
    }

    /// The command that a message has answered.
    pub(super) fn command(&self, message: &str) -> Option<u64> {
        self.by_message.get(message).copied()
    }

    pub(super) fn forget(&mut self, sequence: u64) {
        if let Some(message) = self.by_command.remove(&sequence) {
            self.by_message.remove(&message);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &str)> {
        self.by_command.iter().map(|(sequence, message)| (*sequence, &**message))
    }
}
