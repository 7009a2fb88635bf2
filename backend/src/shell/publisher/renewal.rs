//! When a channel on which messages were refused is replaced by a new one.
//!
//! A nack does not say why: a queue may be full, or the broker may not find the queue's leader. What a RabbitMQ channel
//! knows of a quorum queue it learns with its first publish there. A channel that is opened right after a node has died may
//! learn that the dead node leads, and then refuses everything for that queue until that node is back, while others have
//! long elected another leader (measured with 3.10: a node that was killed and came back after five seconds had events
//! refused six times in six seconds). Only a new channel looks again.

use std::time::Duration;

use roost_wire::BootTime;

/// The first channel on which something is refused is replaced when it is this old: a queue has its new leader in less, and
/// a queue that is full loses nothing by it.
const FIRST: Duration = Duration::from_millis(500);

/// If what follows is refused too, the time doubles, up to this: where a queue is full for good, what a new channel takes (the answers
/// of all that is in flight, and two round trips) is not to be felt.
const MAX: Duration = Duration::from_secs(8);

/// The state of one link's channel.
#[derive(Debug)]
pub(super) struct Renewal {
    opened_at: BootTime,
    /// How old the channel gets if something is refused on it.
    age_max: Duration,
    is_refused: bool,
}

impl Renewal {
    /// For the first channel of a link.
    pub(super) fn new(now: BootTime) -> Self {
        Self { opened_at: now, age_max: FIRST, is_refused: false }
    }

    /// A message was refused on the channel.
    pub(super) fn refused(&mut self) {
        self.is_refused = true;
    }

    /// When the channel is to be replaced, as soon as nothing is in flight on it; `None` if nothing is wrong with it.
    pub(super) fn due_at(&self) -> Option<BootTime> {
        self.is_refused.then(|| self.opened_at + self.age_max)
    }

    /// A new channel is open.
    pub(super) fn renewed(&mut self, now: BootTime) {
        // One that was good for so long was replaced for a new reason.
        let was_good = now.since(self.opened_at) > MAX * 2;
        self.age_max = if was_good { FIRST } else { (self.age_max * 2).min(MAX) };
        (self.opened_at, self.is_refused) = (now, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> BootTime {
        BootTime::from_micros(millis * 1_000)
    }

    #[test]
    fn a_channel_is_replaced_after_a_refusal_only_and_not_before_its_time() {
        let mut renewal = Renewal::new(at(100));
        assert_eq!(renewal.due_at(), None);
        renewal.refused();
        assert_eq!(renewal.due_at(), Some(at(600)));
        renewal.renewed(at(700));
        assert_eq!(renewal.due_at(), None);
    }

    #[test]
    fn refusals_that_go_on_replace_channels_more_and_more_seldom() {
        let mut renewal = Renewal::new(at(0));
        let mut now = at(0);
        let ages = [500, 1_000, 2_000, 4_000, 8_000, 8_000].map(Duration::from_millis);
        for age in ages {
            renewal.refused();
            assert_eq!(renewal.due_at(), Some(now + age));
            now = now + age;
            renewal.renewed(now);
        }
        now = now + Duration::from_secs(17);
        renewal.refused();
        renewal.renewed(now);
        renewal.refused();
        assert_eq!(renewal.due_at(), Some(now + FIRST), "a refusal after a long good time is a new story");
    }
}
