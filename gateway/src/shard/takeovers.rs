//! How often clients take over one client id from each other. Two that share an id would do so for ever, each as often as it
//! reconnects, and neither would ever be reachable.
//!
//! Each takeover of a live connection costs one of a device's [`crate::Limits::takeovers_burst`] turns, and a turn comes back every
//! [`crate::Limits::takeover_every`]. Without a turn a CONNECT is refused, and the one that is connected stays. It does not matter
//! who took over: a client here, or one elsewhere for which the router had the connection here closed. So two clients at two gateways
//! are slowed down by each of them.
//!
//! A device that reconnects fast is not refused: it takes nothing over if its old connection is seen to have ended, and where that is
//! not seen it may be so twenty times in a row. After that it waits for ten seconds at most.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use roost_wire::{BootTime, Device};

use crate::placement::Seeded;

/// The devices that were taken over of late.
#[derive(Debug)]
pub(super) struct Takeovers {
    burst: u32,
    every: Duration,
    /// When all of a device's turns are back.
    full_at: HashMap<Device, BootTime, Seeded>,
    order: BTreeSet<(BootTime, Device)>,
}

/// Devices that are remembered: some 2 MB. Beyond: the one whose turns are back first is forgotten, and has them at once.
const DEVICES_MAX: usize = 10_000;

impl Takeovers {
    pub(super) fn new(burst: u32, every: Duration, seed: Seeded) -> Self {
        Self { burst, every, full_at: HashMap::with_hasher(seed), order: BTreeSet::new() }
    }

    /// Whether the device has a turn.
    pub(super) fn has_turn(&self, now: BootTime, device: &Device) -> bool {
        let missing = self.full_at.get(device).map_or(Duration::ZERO, |full_at| full_at.since(now));
        missing + self.every <= self.every * self.burst
    }

    /// A live connection of the device was taken over.
    pub(super) fn note(&mut self, now: BootTime, device: &Device) {
        while let Some((full_at, first)) = self.order.first() {
            if *full_at > now && self.order.len() < DEVICES_MAX {
                break;
            }
            self.full_at.remove(first);
            self.order.pop_first();
        }
        let before = self.full_at.get(device).copied();
        if let Some(before) = before {
            self.order.remove(&(before, device.clone()));
        }
        // More than all turns can't be missing: closes that the router orders are not refused.
        let latest = now + self.every * self.burst;
        let full_at = (before.unwrap_or(now).max(now) + self.every).min(latest);
        self.full_at.insert(device.clone(), full_at);
        self.order.insert((full_at, device.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> BootTime {
        BootTime::from_micros(1_000_000 * (1_000 + seconds))
    }

    fn device(name: &str) -> Device {
        name.parse().unwrap()
    }

    fn takeovers() -> Takeovers {
        Takeovers::new(3, Duration::from_secs(10), Seeded(1))
    }

    #[test]
    fn a_burst_is_free_and_then_a_turn_comes_back_every_ten_seconds() {
        let (mut takeovers, d) = (takeovers(), device("d"));
        for _ in 0..3 {
            assert!(takeovers.has_turn(at(0), &d));
            takeovers.note(at(0), &d);
        }
        assert!(!takeovers.has_turn(at(0), &d) && !takeovers.has_turn(at(9), &d));
        assert!(takeovers.has_turn(at(0), &device("e")), "another one has its own");
        for second in [10, 20, 30] {
            assert!(takeovers.has_turn(at(second), &d));
            takeovers.note(at(second), &d);
            assert!(!takeovers.has_turn(at(second + 9), &d));
        }
        assert!(takeovers.has_turn(at(70), &d));
        takeovers.note(at(70), &d);
        assert!(takeovers.has_turn(at(70), &d), "all were back");
    }

    #[test]
    fn closes_that_nobody_refuses_do_not_add_up() {
        let (mut takeovers, d) = (takeovers(), device("d"));
        for _ in 0..100 {
            takeovers.note(at(0), &d);
        }
        assert!(takeovers.has_turn(at(10), &d));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_forgotten_in_time() {
        let mut takeovers = takeovers();
        for n in 0..DEVICES_MAX + 5 {
            takeovers.note(at(0), &device(&format!("d{n}")));
        }
        assert_eq!((takeovers.full_at.len(), takeovers.order.len()), (DEVICES_MAX, DEVICES_MAX));
        takeovers.note(at(60), &device("late"));
        assert_eq!((takeovers.full_at.len(), takeovers.order.len()), (1, 1));
    }
}
