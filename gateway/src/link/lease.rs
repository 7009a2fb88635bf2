//! The lease: until when the gateway may deliver commands.

use std::collections::VecDeque;
use std::time::Duration;

use roost_wire::BootTime;

/// The gateway's side of the lease. It counts from when an answered heartbeat was *sent*, the router's from when it
/// answered: so the gateway's is over first, however slow the way.
#[derive(Debug)]
pub(super) struct Lease {
    length: Duration,
    /// Heartbeats that were sent last, the oldest first.
    sent: VecDeque<(u64, BootTime)>,
    until: Option<BootTime>,
}

/// How an answer was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answered {
    /// The heartbeat is not remembered, or is so old that its lease is over already.
    TooLate,
    /// The lease went on, to at least then.
    Extended(BootTime),
    /// There was none, and there is one now, until then.
    Granted(BootTime),
}

/// Heartbeats that are remembered. An answer to an older one would grant nothing: with the defaults they span 48 s.
const REMEMBERED_MAX: usize = 16;

impl Lease {
    pub(super) fn new(length: Duration) -> Self {
        Self { length, sent: VecDeque::new(), until: None }
    }

    /// A heartbeat is sent now.
    pub(super) fn sent(&mut self, number: u64, at: BootTime) {
        if self.sent.len() == REMEMBERED_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back((number, at));
    }

    /// A heartbeat was answered.
    pub(super) fn answered(&mut self, now: BootTime, number: u64) -> Answered {
        let Some(&(_, at)) = self.sent.iter().find(|(sent, _)| *sent == number) else {
            return Answered::TooLate;
        };
        let until = at + self.length;
        if until <= now {
            return Answered::TooLate;
        }
        match self.until {
            Some(before) => {
                self.until = Some(before.max(until));
                Answered::Extended(before.max(until))
            }
            None => {
                self.until = Some(until);
                Answered::Granted(until)
            }
        }
    }

    /// Whether the lease ran out just now: true once per lapse.
    pub(super) fn lapses(&mut self, now: BootTime) -> bool {
        let lapses = self.until.is_some_and(|until| until < now);
        if lapses {
            self.until = None;
        }
        lapses
    }

    /// Until when commands may be delivered.
    pub(super) fn until(&self) -> Option<BootTime> {
        self.until
    }

    /// When to ask [`Lease::lapses`]: a moment behind the end, which is still inside.
    pub(super) fn next_lapse(&self) -> Option<BootTime> {
        self.until.map(|until| until + Duration::from_micros(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> BootTime {
        BootTime::from_micros(s * 1_000_000)
    }

    #[test]
    fn it_counts_from_when_the_answered_heartbeat_was_sent() {
        let mut lease = Lease::new(Duration::from_secs(10));
        lease.sent(1, at(0));
        lease.sent(2, at(3));
        assert_eq!(lease.answered(at(4), 1), Answered::Granted(at(10)));
        assert_eq!(lease.answered(at(5), 2), Answered::Extended(at(13)));
        assert_eq!(
            lease.answered(at(6), 1),
            Answered::Extended(at(13)),
            "an older answer takes nothing back"
        );
        assert!(!lease.lapses(at(13)));
        assert!(lease.lapses(lease.next_lapse().unwrap()) && !lease.lapses(at(14)));
        assert_eq!(lease.answered(at(14), 2), Answered::TooLate);
        assert_eq!(lease.answered(at(14), 9), Answered::TooLate);
        lease.sent(3, at(15));
        assert_eq!(lease.answered(at(16), 3), Answered::Granted(at(25)));
    }

    #[test]
    fn few_heartbeats_are_remembered() {
        let mut lease = Lease::new(Duration::from_secs(1_000));
        (0..100).for_each(|n| lease.sent(n, at(n)));
        assert_eq!(lease.sent.len(), REMEMBERED_MAX);
        assert_eq!(lease.answered(at(100), 1), Answered::TooLate);
    }
}
