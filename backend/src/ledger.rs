//! What is delivered and not yet acknowledged: the bookkeeping of one consuming link, as a pure state machine.
//!
//! Acknowledging up to a tag in one frame costs a tenth of acknowledging each (AMQP 0-9-1, `basic.ack`, bit multiple). The
//! ledger finds how far that may go: up to the oldest delivery that is still open. Answers beyond it go one by one, so that
//! one slow delivery holds back nobody's prefetch.

use std::collections::BTreeSet;

/// The answers of one link, per queue of its plan.
#[derive(Debug, Default)]
pub struct Ledger {
    queues: Vec<Tags>,
    waiting: usize,
}

/// One frame to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Which queue of the plan, each with a channel of its own.
    pub queue: usize,
    /// The delivery tag.
    pub tag: u64,
    /// What is said of it.
    pub verdict: Verdict,
}

/// What an answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// This one.
    Ack,
    /// All up to and with this one.
    AckUpTo,
    /// Not this one (`basic.reject`).
    Reject {
        /// Back to its place; else it is dead-lettered or dropped.
        requeue: bool,
    },
}

#[derive(Debug, Default)]
struct Tags {
    /// Delivered, without an answer. As many as the prefetch at most.
    open: BTreeSet<u64>,
    acked: Vec<u64>,
    rejected: Vec<(u64, bool)>,
}

impl Ledger {
    /// For a link that consumes so many queues.
    #[must_use]
    pub fn new(queues: usize) -> Self {
        Self { queues: std::iter::repeat_with(Tags::default).take(queues).collect(), waiting: 0 }
    }

    /// How many answers wait to be sent.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many deliveries are without an answer.
    #[must_use]
    pub fn open(&self) -> usize {
        self.queues.iter().map(|tags| tags.open.len()).sum()
    }

    /// A delivery came, on this queue of the plan.
    pub fn delivered(&mut self, queue: usize, tag: u64) {
        if let Some(tags) = self.queues.get_mut(queue) {
            tags.open.insert(tag);
        }
    }

    /// `false`, and nothing happens, if it has an answer already or was never delivered.
    pub fn ack(&mut self, queue: usize, tag: u64) -> bool {
        self.answer(queue, tag, |tags| tags.acked.push(tag))
    }

    /// As [`Ledger::ack`].
    pub fn reject(&mut self, queue: usize, tag: u64, requeue: bool) -> bool {
        self.answer(queue, tag, |tags| tags.rejected.push((tag, requeue)))
    }

    /// The frames that say all that waits.
    pub fn take(&mut self) -> Vec<Answer> {
        self.waiting = 0;
        let mut answers = Vec::new();
        for (queue, tags) in self.queues.iter_mut().enumerate() {
            tags.take(|tag, verdict| answers.push(Answer { queue, tag, verdict }));
        }
        answers
    }

    fn answer(&mut self, queue: usize, tag: u64, note: impl FnOnce(&mut Tags)) -> bool {
        let Some(tags) = self.queues.get_mut(queue) else { return false };
        let was_open = tags.open.remove(&tag);
        if was_open {
            note(tags);
            self.waiting += 1;
        }
        was_open
    }
}

impl Tags {
    fn take(&mut self, mut answer: impl FnMut(u64, Verdict)) {
        // Rejections first: an acknowledgement up to a later tag would swallow them.
        self.rejected.sort_unstable();
        for (tag, requeue) in self.rejected.drain(..) {
            answer(tag, Verdict::Reject { requeue });
        }
        let closed_to = self.open.first().copied().unwrap_or(u64::MAX);
        self.acked.sort_unstable();
        let beyond = self.acked.partition_point(|tag| *tag < closed_to);
        match self.acked[..beyond] {
            [] => {}
            [one] => answer(one, Verdict::Ack),
            [.., last] => answer(last, Verdict::AckUpTo),
        }
        self.acked[beyond..].iter().for_each(|tag| answer(*tag, Verdict::Ack));
        self.acked.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answers(ledger: &mut Ledger) -> Vec<(u64, Verdict)> {
        ledger.take().into_iter().map(|answer| (answer.tag, answer.verdict)).collect()
    }

    fn delivered(tags: u64) -> Ledger {
        let mut ledger = Ledger::new(1);
        (1..=tags).for_each(|tag| ledger.delivered(0, tag));
        ledger
    }

    #[test]
    fn acknowledgements_in_order_become_one_frame() {
        let mut ledger = delivered(100);
        (1..=100).for_each(|tag| assert!(ledger.ack(0, tag)));
        assert_eq!(ledger.waiting(), 100);
        assert_eq!(answers(&mut ledger), [(100, Verdict::AckUpTo)]);
        assert_eq!((answers(&mut ledger), ledger.waiting()), (vec![], 0));
    }

    #[test]
    fn an_open_delivery_is_never_acknowledged_by_a_later_one() {
        let mut ledger = delivered(4);
        for tag in [1, 3, 4] {
            ledger.ack(0, tag);
        }
        assert_eq!(answers(&mut ledger), [(1, Verdict::Ack), (3, Verdict::Ack), (4, Verdict::Ack)]);
        ledger.ack(0, 2);
        assert_eq!(answers(&mut ledger), [(2, Verdict::Ack)]);
    }

    #[test]
    fn a_rejection_goes_before_the_acknowledgement_that_would_cover_it() {
        let mut ledger = delivered(3);
        ledger.ack(0, 1);
        ledger.reject(0, 2, true);
        ledger.ack(0, 3);
        let expected = [(2, Verdict::Reject { requeue: true }), (3, Verdict::AckUpTo)];
        assert_eq!(answers(&mut ledger), expected);
    }

    #[test]
    fn a_second_answer_or_one_for_what_was_never_delivered_is_ignored() {
        let mut ledger = delivered(1);
        assert!(ledger.ack(0, 1));
        assert!(!ledger.ack(0, 1) && !ledger.reject(0, 1, false) && !ledger.ack(0, 9) && !ledger.ack(7, 1));
        assert_eq!(answers(&mut ledger), [(1, Verdict::Ack)]);
    }

    proptest! {
        /// A model of the broker: every delivery gets exactly the answer that was given, whenever answers are sent.
        #[test]
        fn every_delivery_gets_its_own_answer(
            order in Just((1..=60_u64).collect::<Vec<_>>()).prop_shuffle(),
            verdicts in proptest::collection::vec(0..3_u8, 60),
            sends in proptest::collection::vec(any::<bool>(), 60),
        ) {
            let mut ledger = delivered(60);
            let mut unanswered: BTreeSet<u64> = (1..=60).collect();
            let mut heard = std::collections::BTreeMap::new();
            let mut hear = |ledger: &mut Ledger| for Answer { tag, verdict, .. } in ledger.take() {
                match verdict {
                    Verdict::AckUpTo => {
                        let covered: Vec<u64> = unanswered.range(..=tag).copied().collect();
                        covered.iter().for_each(|tag| { unanswered.remove(tag); heard.insert(*tag, 0); });
                    }
                    Verdict::Ack => { assert!(unanswered.remove(&tag)); heard.insert(tag, 0); }
                    Verdict::Reject { requeue } => {
                        assert!(unanswered.remove(&tag));
                        heard.insert(tag, if requeue { 1 } else { 2 });
                    }
                }
            };
            for ((tag, verdict), send) in order.iter().zip(&verdicts).zip(&sends) {
                match verdict {
                    0 => ledger.ack(0, *tag),
                    1 => ledger.reject(0, *tag, true),
                    _ => ledger.reject(0, *tag, false),
                };
                if *send {
                    hear(&mut ledger);
                }
            }
            hear(&mut ledger);
            let given: std::collections::BTreeMap<u64, u8> = order.into_iter().zip(verdicts).collect();
            prop_assert_eq!(heard, given);
        }
    }
}
