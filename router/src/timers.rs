//! What is due when: one entry for each thing, moved and taken out in logarithmic time, so that a command that ends takes its
//! timer with it.

use std::collections::{BTreeMap, BTreeSet};

use roost_wire::{BootTime, Device, GatewayId};

use crate::PublishToken;

/// A thing that becomes due.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// A command's lifetime ends.
    Expiry(u64),
    /// A device's hold has waited long enough for an answer.
    Settle(Device),
    /// A device's gateway gave a command back: offer it again.
    Offer(Device),
    /// A gateway's lease lapses.
    Lease(GatewayId),
    /// A question is asked again.
    Question(Device),
    /// A session that was asked for is expected no longer.
    Transfer(Device),
    /// A publication that the broker refused is published again.
    Publish(PublishToken),
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    by_time: BTreeSet<(BootTime, Timer)>,
    due: BTreeMap<Timer, BootTime>,
}

impl Timers {
    /// Sets or moves one.
    pub(crate) fn set(&mut self, timer: Timer, at: BootTime) {
        self.clear(&timer);
        self.by_time.insert((at, timer.clone()));
        self.due.insert(timer, at);
    }

    /// Sets one that is not set.
    pub(crate) fn set_if_clear(&mut self, timer: Timer, at: BootTime) {
        if !self.due.contains_key(&timer) {
            self.set(timer, at);
        }
    }

    pub(crate) fn clear(&mut self, timer: &Timer) {
        if let Some((timer, at)) = self.due.remove_entry(timer) {
            self.by_time.remove(&(at, timer));
        }
    }

    pub(crate) fn next(&self) -> Option<BootTime> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes out the first that is due.
    pub(crate) fn pop(&mut self, now: BootTime) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        let (_, timer) = self.by_time.pop_first()?;
        self.due.remove(&timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_moves_goes_and_comes_in_the_order_of_time() {
        let at = BootTime::from_micros;
        let mut timers = Timers::default();
        timers.set(Timer::Expiry(1), at(30));
        timers.set(Timer::Expiry(2), at(20));
        timers.set(Timer::Expiry(3), at(10));
        timers.set(Timer::Expiry(1), at(5));
        timers.set_if_clear(Timer::Expiry(1), at(50));
        timers.clear(&Timer::Expiry(3));
        assert_eq!(timers.next(), Some(at(5)));
        assert_eq!(timers.pop(at(4)), None);
        assert_eq!(timers.pop(at(20)), Some(Timer::Expiry(1)));
        assert_eq!(timers.pop(at(20)), Some(Timer::Expiry(2)));
        assert_eq!((timers.pop(at(99)), timers.next()), (None, None));
    }
}
