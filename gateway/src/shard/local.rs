//! Local subscribers get what clients publish.

use std::sync::Arc;

use roost_wire::Now;

use super::Shard;
use super::connection::Connection;
use crate::Count;
use crate::message::Message;
use crate::packet::{Delivery, QoS, SubscriptionId};
use crate::session::{LocalCopy, SessionKey};

/// A session that gets a message: its matching subscriptions as one.
#[derive(Debug)]
pub(super) struct Match {
    key: SessionKey,
    qos: QoS,
    retain_as_published: bool,
    subscription_ids: Vec<SubscriptionId>,
}

impl Shard {
    /// A connected session whose queue has no room for this message at QoS 1 or 2.
    pub(super) fn full_subscriber(
        &self,
        publisher: Option<SessionKey>,
        message: &Message,
    ) -> Option<SessionKey> {
        let limits = &self.config.limits;
        let bytes = message.bytes();
        let mut full = None;
        self.subscriptions.visit_matches(&message.topic, |key, subscription| {
            if full.is_some()
                || subscription.options.qos == QoS::AtMostOnce
                || (subscription.options.no_local && Some(*key) == publisher)
            {
                return;
            }
            let is_full = self.sessions.get(key).is_some_and(|session| {
                session.connection.is_some()
                    && session.outbox.is_full_for(bytes, limits.queue_messages_max, limits.queue_bytes_max)
            });
            full = is_full.then_some(*key);
        });
        full
    }

    /// Gives the message to every session that subscribes to it, once each [MQTT-3.3.4-2]; tells whether any took it.
    pub(super) fn deliver_locally(
        &mut self,
        now: Now,
        publisher: Option<SessionKey>,
        message: &Message,
        qos: QoS,
    ) -> bool {
        let mut matches = std::mem::take(&mut self.matches);
        self.collect_matches(publisher, message, &mut matches);
        if matches.is_empty() {
            self.matches = matches;
            return false;
        }
        let message = Arc::new(message.clone());
        let mut was_taken = false;
        for found in matches.drain(..) {
            let copy = LocalCopy {
                message: Arc::clone(&message),
                qos: qos.min(found.qos),
                retain: found.retain_as_published && message.retain,
                subscription_ids: found.subscription_ids,
            };
            was_taken |= match copy.qos {
                QoS::AtMostOnce => self.deliver_at_most_once(now, found.key, &copy),
                QoS::AtLeastOnce | QoS::ExactlyOnce => self.deliver_acknowledged(now, found.key, copy),
            };
        }
        self.matches = matches;
        was_taken
    }

    /// Merges each session's matching subscriptions: the highest quality of service and all their identifiers.
    fn collect_matches(&self, publisher: Option<SessionKey>, message: &Message, matches: &mut Vec<Match>) {
        self.subscriptions.visit_matches(&message.topic, |key, subscription| {
            let options = subscription.options;
            if options.no_local && Some(*key) == publisher {
                return;
            }
            matches.push(Match {
                key: *key,
                qos: options.qos,
                retain_as_published: options.retain_as_published,
                subscription_ids: subscription.subscription_id.into_iter().collect(),
            });
        });
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

    pub(super) fn deliver_at_most_once(&mut self, now: Now, key: SessionKey, copy: &LocalCopy) -> bool {
        let Some(id) = self.sessions.get(&key).and_then(|session| session.connection) else {
            self.count(Count::DroppedOffline);
            return false;
        };
        if !self.has_room(id, key, false) {
            self.count(Count::DroppedConnectionFull);
            return false;
        }
        let Some(connection) = self.connections.get_mut(&id) else { return false };
        let Connection { outgoing, client: Some(client), .. } = connection else { return false };
        let message = &copy.message;
        let publish = message.to_publish(now.boot, Delivery::AtMostOnce, copy.retain, &copy.subscription_ids);
        let was_written = outgoing.publish(now.boot, client, &publish);
        if was_written {
            self.counters.written(QoS::AtMostOnce, message.payload.len());
        }
        self.count(if was_written { Count::LocalDelivered } else { Count::DroppedTooLarge });
        self.has_output(id);
        was_written
    }

    fn deliver_acknowledged(&mut self, now: Now, key: SessionKey, copy: LocalCopy) -> bool {
        let limits = &self.config.limits;
        let Some(session) = self.sessions.get_mut(&key) else { return false };
        let bytes = copy.message.bytes();
        // A connected session that is full was found before the publish was routed; its own earlier copy may have
        // filled it since only if one publish went to it twice, which it does not.
        if session.outbox.is_full_for(bytes, limits.queue_messages_max, limits.queue_bytes_max) {
            self.count(Count::DroppedQueueFull);
            return false;
        }
        let before = session.outbox.depth();
        session.outbox.push(copy);
        self.depth.changed(before, session.outbox.depth());
        if let Some(id) = session.connection {
            self.pump(now, id);
        }
        true
    }
}
