//! Retained messages that a session is owed since it subscribed. They are not copied: it knows how far it has got, so that however many
//! they are its queue has no more to hold, and none is lost while its client has no room.

use std::collections::VecDeque;

use roost_wire::{BootTime, Device, TopicFilter};

use super::LocalCopy;
use crate::packet::QoS;
use crate::retained::{Kept, Walk};
use crate::subscriptions::Subscription;

/// What one subscription brings.
#[derive(Debug)]
pub(crate) struct Owed {
    pub(crate) walk: Walk,
    subscription: Subscription,
    /// Only messages with a smaller number: what was set later came as any message does, and took the place of what was kept.
    before: u64,
    /// How many messages the queue had taken in and given out: those come first.
    place: u64,
}

/// Which of the owed messages. Each quality of service is in order by itself [MQTT-4.6.0-5], and what is sent at QoS 0 does not wait for
/// acknowledgements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pass {
    AtMostOnce,
    AtLeastOnce,
}

/// All that is owed, at most one for each subscription and pass.
#[derive(Debug, Default)]
pub(crate) struct CatchUp {
    at_most_once: VecDeque<Owed>,
    at_least_once: VecDeque<Owed>,
    /// So many topics were looked at for it that it is others' turn.
    pub(crate) is_paused: bool,
}

impl CatchUp {
    /// A subscription has been made: what is kept with a number less than `before` is owed, behind what the queue has taken in before
    /// `place`.
    pub(crate) fn begin(
        &mut self,
        filter: &TopicFilter,
        subscription: Subscription,
        before: u64,
        place: u64,
    ) {
        self.cancel(filter);
        let owed = || Owed { walk: Walk::new(filter.clone()), subscription, before, place };
        self.at_most_once.push_back(owed());
        if subscription.options.qos != QoS::AtMostOnce {
            self.at_least_once.push_back(owed());
        }
    }

    /// The subscription has ended: nothing more is added for it [MQTT-3.10.4-2].
    pub(crate) fn cancel(&mut self, filter: &TopicFilter) {
        for owed in [&mut self.at_most_once, &mut self.at_least_once] {
            owed.retain(|owed| owed.walk.filter() != filter);
        }
    }

    /// Whether anything may be left of what this subscription brings.
    pub(crate) fn owes(&self, filter: &TopicFilter) -> bool {
        let mut owed = self.at_most_once.iter().chain(&self.at_least_once);
        owed.any(|owed| owed.walk.filter() == filter)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.at_most_once.is_empty() && self.at_least_once.is_empty()
    }

    /// Whether what is owed at QoS 1 comes before the message that the queue gives out in that place.
    pub(crate) fn precedes(&self, place: u64) -> bool {
        self.at_least_once.front().is_some_and(|owed| owed.precedes(place))
    }

    /// What is owed first.
    pub(crate) fn first(&mut self, pass: Pass) -> Option<&mut Owed> {
        self.of(pass).front_mut()
    }

    /// What was owed first has been had.
    pub(crate) fn end_first(&mut self, pass: Pass) {
        let owed = self.of(pass);
        owed.pop_front();
        if owed.is_empty() {
            // An idle session owns no buffer.
            *owed = VecDeque::new();
        }
    }

    /// What is owed first at QoS 1 has its turn now, in that place.
    pub(crate) fn has_turn(&mut self, place: u64) {
        if let Some(owed) = self.at_least_once.front_mut() {
            owed.place = place;
        }
    }

    /// What stood in that place of the queue is gone, and what is behind it moves up.
    pub(crate) fn moves_up_behind(&mut self, place: u64) {
        for owed in self.at_most_once.iter_mut().chain(&mut self.at_least_once) {
            owed.place -= u64::from(owed.place > place);
        }
    }

    fn of(&mut self, pass: Pass) -> &mut VecDeque<Owed> {
        match pass {
            Pass::AtMostOnce => &mut self.at_most_once,
            Pass::AtLeastOnce => &mut self.at_least_once,
        }
    }
}

impl Owed {
    /// Whether it comes before the message that the queue gives out in that place.
    pub(crate) fn precedes(&self, place: u64) -> bool {
        self.place <= place
    }

    /// Behind how many messages of the queue it stands that has given out so many.
    pub(crate) fn queued_before(&self, taken: u64) -> usize {
        usize::try_from(self.place.saturating_sub(taken)).unwrap_or(usize::MAX)
    }

    /// The copy for the subscriber, if the message is among what is owed in this pass: flagged as retained, whatever the subscription says
    /// (MQTT5 §3.8.3.1), with the lesser quality of service of the two.
    pub(crate) fn copy(
        &self,
        kept: &Kept,
        now: BootTime,
        subscriber: &Device,
        pass: Pass,
    ) -> Option<LocalCopy> {
        let options = self.subscription.options;
        let qos = kept.qos.min(options.qos);
        let is_of_pass = match qos {
            QoS::AtMostOnce => pass == Pass::AtMostOnce,
            QoS::AtLeastOnce | QoS::ExactlyOnce => pass == Pass::AtLeastOnce,
        };
        // [MQTT-3.8.3-3]
        let is_own = options.no_local && kept.publisher.as_ref() == Some(subscriber);
        let is_owed = is_of_pass && !is_own && kept.number < self.before && !kept.message.is_expired(now);
        is_owed.then(|| LocalCopy {
            message: kept.message.clone(),
            qos,
            retain: true,
            subscription_ids: self.subscription.subscription_id.into_iter().collect(),
            share: None,
        })
    }
}
