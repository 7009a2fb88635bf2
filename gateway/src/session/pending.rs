//! A client's publishes at QoS 1 that wait for their PUBACK, which must leave in the order in which they came
//! [MQTT-4.6.0-2].

use std::collections::VecDeque;

use crate::packet::{PacketId, ReasonCode};

/// Names a publish among those of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PublishNumber(pub(crate) u64);

/// The unanswered publishes of one connection. They end with it: a client that comes back publishes again.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    first: u64,
    publishes: VecDeque<(PacketId, Option<ReasonCode>)>,
}

impl Pending {
    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.publishes.len()
    }

    /// Takes in a publish; the caller has checked the receive maximum.
    pub(crate) fn push(&mut self, packet_id: PacketId) -> PublishNumber {
        self.publishes.push_back((packet_id, None));
        PublishNumber(self.first + self.publishes.len() as u64 - 1)
    }

    /// The publish is safe, or refused: its PUBACK may leave when those before it have left.
    pub(crate) fn complete(&mut self, number: PublishNumber, reason: ReasonCode) {
        let at = number.0.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        if let Some(publish) = at.and_then(|at| self.publishes.get_mut(at)) {
            publish.1 = Some(reason);
        }
    }

    /// The next PUBACK that may leave.
    pub(crate) fn pop(&mut self) -> Option<(PacketId, ReasonCode)> {
        let &(packet_id, reason) = self.publishes.front()?;
        let reason = reason?;
        self.publishes.pop_front();
        self.first += 1;
        if self.publishes.is_empty() {
            // An idle connection owns no buffer.
            self.publishes = VecDeque::new();
        }
        Some((packet_id, reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pubacks_leave_in_the_order_of_the_publishes() {
        let mut pending = Pending::default();
        let id = |n| PacketId::new(n).unwrap();
        let numbers: Vec<_> = [7, 8, 9].map(|n| pending.push(id(n))).into();
        pending.complete(numbers[2], ReasonCode::Success);
        pending.complete(numbers[1], ReasonCode::NoMatchingSubscribers);
        assert_eq!(pending.pop(), None, "the first is not safe yet");
        pending.complete(numbers[0], ReasonCode::Success);
        assert_eq!(pending.pop(), Some((id(7), ReasonCode::Success)));
        assert_eq!(pending.pop(), Some((id(8), ReasonCode::NoMatchingSubscribers)));
        assert_eq!(pending.pop(), Some((id(9), ReasonCode::Success)));
        assert_eq!((pending.pop(), pending.len()), (None, 0));
        let again = pending.push(id(7));
        assert_eq!(again, PublishNumber(3));
        pending.complete(numbers[0], ReasonCode::Success);
        assert_eq!(pending.pop(), None, "an answer to an older publish is not one to this");
    }
}
