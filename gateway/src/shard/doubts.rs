//! Devices whose session was forgotten here because nobody could say whether it was their newest.
//!
//! It may have been. The router knows that as long as it knows the device; one that has been restarted would take an older copy of another
//! gateway, which was out of reach when all were to be forgotten, for the newest there is.

use std::collections::{HashMap, VecDeque};

use roost_wire::{BootTime, Device};

use crate::placement::Seeded;

/// Devices that are remembered: some 2 MB. Beyond: the one that was noted first is forgotten.
const DEVICES_MAX: usize = 10_000;

/// Them, and when the session that each lost had been accepted.
#[derive(Debug)]
pub(super) struct Doubts {
    accepted_at: HashMap<Device, BootTime, Seeded>,
    order: VecDeque<Device>,
}

impl Doubts {
    pub(super) fn new(seed: Seeded) -> Self {
        Self { accepted_at: HashMap::with_hasher(seed), order: VecDeque::new() }
    }

    /// A session of the device is forgotten.
    pub(super) fn note(&mut self, device: &Device, accepted_at: BootTime) {
        if self.accepted_at.insert(device.clone(), accepted_at).is_some() {
            return;
        }
        if self.order.len() >= DEVICES_MAX
            && let Some(first) = self.order.pop_front()
        {
            self.accepted_at.remove(&first);
        }
        self.order.push_back(device.clone());
    }

    /// When the session of that device was accepted that was forgotten last.
    pub(super) fn find(&self, device: &Device) -> Option<BootTime> {
        self.accepted_at.get(device).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_remembered() {
        let device = |number: usize| format!("d{number}").parse().unwrap();
        let mut doubts = Doubts::new(Seeded(1));
        for number in 0..=DEVICES_MAX {
            for micros in [1, 2] {
                doubts.note(&device(number), BootTime::from_micros(micros));
            }
        }
        assert_eq!((doubts.find(&device(0)), doubts.order.len()), (None, DEVICES_MAX));
        assert_eq!(doubts.find(&device(1)), Some(BootTime::from_micros(2)));
    }
}
