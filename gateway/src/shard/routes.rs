//! Where what is published to a topic goes: found out once for a topic that comes again, as those of devices do.
//!
//! ```text
//!  topic ──► its slot ─┬─ that topic, and nobody has subscribed or unsubscribed since ──► as it stands there
//!                      └─ else ──► the trees and the rules are asked ──► it takes the slot, if it is small enough to be kept
//! ```
//! A route is taken out of its slot for as long as it is used, so that whatever a delivery changes meets nobody's borrow.

use std::hash::BuildHasher as _;
use std::sync::Arc;

use roost_backend::contract;

use roost_wire::Device;

use super::Shard;
use crate::message::Message;
use crate::packet::{QoS, SubscriptionId, Text};
use crate::placement::Seeded;
use crate::session::{LocalCopy, SessionKey};
use crate::share::GroupKey;
use crate::subscriptions::Subscription;
use crate::{Acknowledge, ShardSet, UplinkOrder};

/// A session that gets a message: its matching subscriptions as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) key: SessionKey,
    pub(super) qos: QoS,
    pub(super) retain_as_published: bool,
    pub(super) subscription_ids: Vec<SubscriptionId>,
}

impl Match {
    fn of(key: SessionKey, subscription: &Subscription) -> Self {
        Self {
            key,
            qos: subscription.options.qos,
            retain_as_published: subscription.options.retain_as_published,
            subscription_ids: subscription.subscription_id.into_iter().collect(),
        }
    }

    /// What the session gets of a message that was published with that quality of service.
    pub(super) fn copy(&self, message: &Arc<Message>, published: QoS) -> LocalCopy {
        LocalCopy {
            message: Arc::clone(message),
            qos: published.min(self.qos),
            retain: self.retain_as_published && message.retain,
            subscription_ids: self.subscription_ids.clone(),
            share: None,
        }
    }
}

/// How a publish is carried to the backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Carriage {
    pub(super) exchange: Box<str>,
    pub(super) acknowledge: Acknowledge,
    pub(super) order: UplinkOrder,
}

/// All of a topic that does not depend on who publishes to it, but for `own`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    /// Which slot is its.
    slot: usize,
    /// In memory of its own.
    pub(super) topic: Text,
    /// Of the subscriptions, own and shared, and of what other shards want, when it was found out.
    versions: (u64, u64, u64),
    /// The other shards that may want it.
    pub(super) others: ShardSet,
    /// In the order of their keys.
    matches: Vec<Match>,
    /// Those of them that do not want what they publish themselves, with what is left of theirs then [MQTT-3.8.3-3].
    own: Vec<(SessionKey, Option<Match>)>,
    pub(super) groups: Vec<GroupKey>,
    /// By the rules, or as a broadcast; none if it stays here.
    carriage: Option<Carriage>,
    /// As the answer of a device to a command, if it may be one of some device.
    answer: Option<Carriage>,
}

impl Route {
    /// The sessions that get it if that one publishes it.
    pub(super) fn matches(&self, publisher: Option<SessionKey>) -> impl Iterator<Item = &Match> {
        self.matches.iter().filter_map(move |found| {
            if self.own.is_empty() || Some(found.key) != publisher {
                return Some(found);
            }
            match self.own.iter().find(|(key, _)| *key == found.key) {
                Some((_, left)) => left.as_ref(),
                None => Some(found),
            }
        })
    }

    fn is_small(&self) -> bool {
        self.topic.len() <= TOPIC_BYTES_MAX
            && self.matches.len() + self.own.len() + self.groups.len() <= TARGETS_MAX
    }
}

/// What is kept: at most so many routes, of some 300 bytes each and a kilobyte at the most.
const SLOTS: usize = 2_048;
const TOPIC_BYTES_MAX: usize = 256;
const TARGETS_MAX: usize = 16;

/// The routes of topics that were published to lately. Each topic has one slot, and shares it with others.
#[derive(Debug)]
pub(super) struct Routes {
    slots: Vec<Option<Box<Route>>>,
    seed: Seeded,
}

impl Routes {
    pub(super) fn new(seed: Seeded) -> Self {
        let mut slots = Vec::new();
        slots.resize_with(SLOTS, || None);
        Self { slots, seed }
    }

    /// Takes out what stands in a slot.
    fn take(&mut self, slot: usize) -> Option<Box<Route>> {
        self.slots[slot].take()
    }

    /// Puts a route into its slot, instead of what has come there meanwhile.
    pub(super) fn put(&mut self, route: Box<Route>) {
        if route.is_small() {
            let slot = route.slot;
            self.slots[slot] = Some(route);
        }
    }

    /// That of a topic. Whoever makes topics share one has them found out each time, and no more.
    fn slot(&self, topic: &str) -> usize {
        self.seed.hash_one(topic) as usize % SLOTS
    }
}

impl Shard {
    /// Where what is published to the topic goes. Give it back with [`Routes::put`].
    pub(super) fn route_of(&mut self, topic: &Text) -> Box<Route> {
        let interests = &self.config.interests;
        let versions = (self.subscriptions.version(), self.groups.version(), interests.version());
        let slot = self.routes.slot(topic);
        let Some(known) = self.routes.take(slot).filter(|known| known.topic == *topic) else {
            return Box::new(self.find_route(slot, topic.detached(), versions));
        };
        if known.versions != versions {
            return Box::new(self.find_route(slot, known.topic, versions));
        }
        // Without this the simulation and every test would trust what is to be shown.
        if cfg!(debug_assertions) {
            let found = self.find_route(slot, topic.clone(), versions);
            // Other shards may have subscribed meanwhile.
            debug_assert!(
                *known == found || versions.2 != self.config.interests.version(),
                "what is remembered is so: {known:?} {found:?}"
            );
        }
        known
    }

    fn find_route(&self, slot: usize, topic: Text, versions: (u64, u64, u64)) -> Route {
        let (matches, own) = self.find_matches(&topic);
        let mut groups = Vec::new();
        self.groups.visit_matches(&topic, |group| groups.push(group));
        let carriage = self.carriage_by_topic(&topic);
        let answer = self.config.answers.may_be_answer(&topic).then(|| {
            let (acknowledge, order) = how(self.config.uplink.carried(&topic));
            Carriage { exchange: contract::ANSWERS.into(), acknowledge, order }
        });
        let others = self.config.interests.of(&topic, self.config.placement.index());
        Route { slot, topic, versions, others, matches, own, groups, carriage, answer }
    }

    /// How a device's publish goes to the backend: with the answers, if it is one of this device, with the broadcasts, or as the rules say;
    /// `None` if it stays here.
    pub(super) fn carriage<'r>(&self, device: Option<&Device>, route: &'r Route) -> Option<&'r Carriage> {
        let is_answer = |device: &Device| self.config.answers.is_answer(&device.id, &route.topic);
        match &route.answer {
            Some(answer) if device.is_some_and(is_answer) => Some(answer),
            _ => route.carriage.as_ref(),
        }
    }

    /// Merges each session's matching subscriptions: the highest quality of service and all their identifiers.
    fn find_matches(&self, topic: &str) -> (Vec<Match>, Vec<(SessionKey, Option<Match>)>) {
        let (mut matches, mut unwanted) = (Vec::new(), Vec::new());
        self.subscriptions.visit_matches(topic, |key, subscription| {
            if subscription.options.no_local {
                unwanted.push(*key);
            }
            matches.push(Match::of(*key, subscription));
        });
        merge(&mut matches);
        unwanted.sort_unstable();
        unwanted.dedup();
        let own = unwanted.into_iter().map(|key| {
            let mut left = Vec::new();
            self.subscriptions.visit_own_matches(&key, topic, |subscription| {
                if !subscription.options.no_local {
                    left.push(Match::of(key, subscription));
                }
            });
            merge(&mut left);
            (key, left.pop())
        });
        (matches, own.collect())
    }

    /// A broadcast goes to all gateways instead of where the rules say, and how they say it: services bind to that exchange as well.
    fn carriage_by_topic(&self, topic: &str) -> Option<Carriage> {
        let by_rule = self.config.uplink.carried(topic);
        let exchange = match self.is_broadcast(topic) {
            true => contract::FANOUT,
            false => by_rule?.0,
        };
        let (acknowledge, order) = how(by_rule);
        Some(Carriage { exchange: exchange.into(), acknowledge, order })
    }
}

/// How an event goes: as its rule says, also for an answer, or as what the mesh itself carries, where none says anything.
fn how(by_rule: Option<(&str, Acknowledge, UplinkOrder)>) -> (Acknowledge, UplinkOrder) {
    by_rule
        .map_or((Acknowledge::Confirmed, UplinkOrder::Strict), |(_, acknowledge, order)| (acknowledge, order))
}

fn merge(matches: &mut Vec<Match>) {
    matches.sort_by_key(|found| found.key);
    matches.dedup_by(|later, first| {
        if later.key != first.key {
            return false;
        }
        first.qos = first.qos.max(later.qos);
        first.retain_as_published |= later.retain_as_published;
        first.subscription_ids.append(&mut later.subscription_ids);
        true
    });
}
