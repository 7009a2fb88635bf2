//! When to look at what again.

use std::collections::{BTreeSet, HashMap};

use roost_wire::{BootTime, SessionRequest};

use crate::ConnectionId;
use crate::placement::Numbered;
use crate::session::SessionKey;
use crate::share::GroupKey;

/// What a timer is for. Each has at most one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum TimerFor {
    /// The end of a drain's grace.
    Drain,
    /// Whatever is due first on a connection: it knows itself what that is.
    Connection(ConnectionId),
    /// The end of a session that is away.
    Session(SessionKey),
    /// A publication to be tried again.
    Retry(u64),
    /// A session has been asked for long enough.
    Fetch(SessionRequest),
    /// A session whose client gets retained messages has its next turn.
    Retained(SessionKey),
    /// The delay of the will of a session that is away is over.
    Will(SessionKey),
    /// What the gateway tells of itself is told anew.
    Sys,
    /// An answer of another gateway about retained broadcasts is overdue.
    Learn,
    /// The next retained message expires.
    RetainedExpiry,
    /// A session that is to be given away has not settled what it has on its way for long enough.
    Give(SessionKey),
    /// Publishers have waited for long enough for the members of a group.
    Group(GroupKey),
}

/// Timers in the order of their times. Setting and cancelling cost a walk down a tree. One that is moved to a later time
/// stays where it is: it goes off early, and its owner sets it anew; so a connection's timer is not touched by its
/// traffic.
#[derive(Debug, Default)]
pub(super) struct Timers {
    due: BTreeSet<(BootTime, TimerFor)>,
    set: HashMap<TimerFor, BootTime, Numbered>,
}

impl Timers {
    /// Sets the timer, unless it goes off before `at` anyway.
    pub(super) fn set(&mut self, timer: TimerFor, at: BootTime) {
        match self.set.get_mut(&timer) {
            Some(set) if *set <= at => {}
            Some(set) => {
                self.due.remove(&(*set, timer));
                *set = at;
                self.due.insert((at, timer));
            }
            None => {
                self.set.insert(timer, at);
                self.due.insert((at, timer));
            }
        }
    }

    pub(super) fn cancel(&mut self, timer: TimerFor) {
        if let Some(at) = self.set.remove(&timer) {
            self.due.remove(&(at, timer));
        }
    }

    /// Takes the next timer whose time has come.
    pub(super) fn pop(&mut self, now: BootTime) -> Option<TimerFor> {
        let &(at, timer) = self.due.first()?;
        if at > now {
            return None;
        }
        self.cancel(timer);
        Some(timer)
    }

    /// When the next one goes off.
    pub(super) fn next(&self) -> Option<BootTime> {
        self.due.first().map(|&(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_go_off_in_order_and_move_only_forward() {
        let at = BootTime::from_micros;
        let mut timers = Timers::default();
        let [a, b] = [1, 2].map(|n| TimerFor::Connection(ConnectionId(n)));
        timers.set(a, at(10));
        timers.set(b, at(5));
        timers.set(a, at(20));
        assert_eq!(timers.next(), Some(at(5)));
        timers.set(a, at(3));
        assert_eq!(timers.next(), Some(at(3)));
        assert_eq!((timers.pop(at(2)), timers.pop(at(5)), timers.pop(at(5))), (None, Some(a), Some(b)));
        timers.set(a, at(7));
        timers.cancel(a);
        assert_eq!((timers.pop(at(100)), timers.next()), (None, None));
    }
}
