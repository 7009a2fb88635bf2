//! A client's publishes that wait for their acknowledgement, which must leave in the order in which they came: PUBACKs [MQTT-4.6.0-2],
//! and PUBRECs [MQTT-4.6.0-3]. There is one line for both.

use std::collections::VecDeque;

use super::SessionKey;
use crate::ConnectionId;
use crate::packet::{PacketId, ReasonCode};

/// Names a publish among those of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PublishNumber(pub(crate) u64);

/// Who is told when a publish is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Publisher {
    /// QoS 1: the connection that it came through; there is nobody to tell when that has ended.
    Connection(ConnectionId, PublishNumber),
    /// QoS 2: the session, which remembers it under this id until PUBREL.
    Session(SessionKey, PacketId),
}

/// An acknowledgement that may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) packet_id: PacketId,
    pub(crate) reason: ReasonCode,
    /// PUBREC (QoS 2), else PUBACK (QoS 1).
    pub(crate) is_pubrec: bool,
}

/// The unanswered publishes of one connection. They end with it: a client that comes back publishes again.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    first: u64,
    publishes: VecDeque<Unanswered>,
}

/// Who publishes one at a time, as most do, needs no memory anew for each.
const KEPT: usize = 4;

#[derive(Debug, Clone, Copy)]
struct Unanswered {
    packet_id: PacketId,
    is_pubrec: bool,
    reason: Option<ReasonCode>,
}

impl Pending {
    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.publishes.len()
    }

    /// Takes in a publish at QoS 1; the caller has checked the receive maximum.
    pub(crate) fn push(&mut self, packet_id: PacketId) -> PublishNumber {
        self.publishes.push_back(Unanswered { packet_id, is_pubrec: false, reason: None });
        PublishNumber(self.first + self.publishes.len() as u64 - 1)
    }

    /// Takes in a publish at QoS 2, perhaps a repeat; the caller has checked the receive maximum.
    pub(crate) fn push_received(&mut self, packet_id: PacketId) {
        self.publishes.push_back(Unanswered { packet_id, is_pubrec: true, reason: None });
    }

    /// The publish is safe, or refused: its PUBACK may leave when those before it have left.
    pub(crate) fn complete(&mut self, number: PublishNumber, reason: ReasonCode) {
        let at = number.0.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        if let Some(publish) = at.and_then(|at| self.publishes.get_mut(at)) {
            publish.reason = Some(reason);
        }
    }

    /// The publish at QoS 2 is safe, or refused: its PUBREC may leave when those before it have left, and one for each repeat.
    pub(crate) fn complete_received(&mut self, packet_id: PacketId, reason: ReasonCode) {
        let under_id = |publish: &&mut Unanswered| publish.is_pubrec && publish.packet_id == packet_id;
        for publish in self.publishes.iter_mut().filter(under_id) {
            publish.reason.get_or_insert(reason);
        }
    }

    /// The next acknowledgement that may leave.
    pub(crate) fn pop(&mut self) -> Option<Answer> {
        let &Unanswered { packet_id, is_pubrec, reason } = self.publishes.front()?;
        let reason = reason?;
        self.publishes.pop_front();
        self.first += 1;
        if self.publishes.is_empty() && self.publishes.capacity() > KEPT {
            // An idle connection owns no more than that.
            self.publishes = VecDeque::new();
        }
        Some(Answer { packet_id, reason, is_pubrec })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u16) -> PacketId {
        PacketId::new(n).unwrap()
    }

    fn answer(n: u16, reason: ReasonCode, is_pubrec: bool) -> Option<Answer> {
        Some(Answer { packet_id: id(n), reason, is_pubrec })
    }

    #[test]
    fn pubacks_leave_in_the_order_of_the_publishes() {
        let mut pending = Pending::default();
        let numbers: Vec<_> = [7, 8, 9].map(|n| pending.push(id(n))).into();
        pending.complete(numbers[2], ReasonCode::Success);
        pending.complete(numbers[1], ReasonCode::NoMatchingSubscribers);
        assert_eq!(pending.pop(), None, "the first is not safe yet");
        pending.complete(numbers[0], ReasonCode::Success);
        assert_eq!(pending.pop(), answer(7, ReasonCode::Success, false));
        assert_eq!(pending.pop(), answer(8, ReasonCode::NoMatchingSubscribers, false));
        assert_eq!(pending.pop(), answer(9, ReasonCode::Success, false));
        assert_eq!((pending.pop(), pending.len()), (None, 0));
        let again = pending.push(id(7));
        assert_eq!(again, PublishNumber(3));
        pending.complete(numbers[0], ReasonCode::Success);
        assert_eq!(pending.pop(), None, "an answer to an older publish is not one to this");
    }

    #[test]
    fn pubrecs_leave_among_the_pubacks_and_every_repeat_has_its_own() {
        let mut pending = Pending::default();
        pending.push_received(id(1));
        let number = pending.push(id(1));
        pending.push_received(id(1));
        pending.push_received(id(2));
        pending.complete(number, ReasonCode::Success);
        assert_eq!(pending.pop(), None);
        pending.complete_received(id(1), ReasonCode::NoMatchingSubscribers);
        assert_eq!(pending.pop(), answer(1, ReasonCode::NoMatchingSubscribers, true));
        assert_eq!(
            pending.pop(),
            answer(1, ReasonCode::Success, false),
            "the ids of QoS 1 are not looked at"
        );
        assert_eq!(pending.pop(), answer(1, ReasonCode::NoMatchingSubscribers, true));
        assert_eq!((pending.pop(), pending.len()), (None, 1));
    }
}
