//! Death: why a message leaves its queue unacknowledged, and where it goes then.

use super::broker::Broker;
use super::counters::{DeathReason, DropReason};
use super::identity::{QueueId, UnixMillis};
use super::message::{Message, short_string, without_expiration};
use super::queue::Entry;
use amq_protocol::types::{AMQPValue, FieldArray, FieldTable};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A message on its way to a dead-letter exchange.
#[derive(Debug)]
pub(super) struct Death {
    queue: QueueId,
    /// The place it leaves, once it is safe elsewhere; none if its queue never took it.
    entry: Option<Entry>,
    exchange: Arc<str>,
    message: Arc<Message>,
}

impl Broker {
    /// A message dies in its queue: it is dead-lettered if the queue says where, else dropped.
    pub(super) fn die(&mut self, id: QueueId, entry: Entry, reason: DeathReason) {
        let message = Arc::clone(&entry.message);
        match self.obituary(id, &message, reason) {
            Some((exchange, message)) => {
                self.deaths.push_back(Death { queue: id, entry: Some(entry), exchange, message });
            }
            None => {
                self.counters.drop_message(DropReason::Died(reason));
                if let Some(queue) = self.queues.get_mut(&id) {
                    queue.figures.dropped += 1;
                }
                self.remove(id, &entry);
            }
        }
    }

    /// A message dies before its queue took it.
    pub(super) fn die_unplaced(&mut self, id: QueueId, message: &Arc<Message>, reason: DeathReason) {
        if let Some((exchange, message)) = self.obituary(id, message, reason) {
            self.deaths.push_back(Death { queue: id, entry: None, exchange, message });
        }
    }

    /// Publishes what has died to its exchange. It is put there before it leaves its place: a crash between the two
    /// leaves it twice, never nowhere.
    pub(super) fn settle_deaths(&mut self) {
        while let Some(Death { queue, entry, exchange, message }) = self.deaths.pop_front() {
            let reached = self.route(&exchange, &message.routing_key);
            let allowed: BTreeSet<QueueId> =
                reached.iter().copied().filter(|id| !self.is_cycle(*id, &message)).collect();
            if reached.is_empty() {
                self.counters.drop_message(DropReason::DeadLetterUnroutable);
            } else if allowed.is_empty() {
                self.counters.drop_message(DropReason::DeadLetterCycle);
            } else if !self.place(&allowed, &message).accepted {
                self.counters.drop_message(DropReason::DeadLetterRefused);
            }
            if let Some(entry) = entry {
                self.remove(queue, &entry);
            }
        }
    }

    /// Where a message of that queue goes, and as what.
    fn obituary(
        &mut self,
        id: QueueId,
        message: &Message,
        reason: DeathReason,
    ) -> Option<(Arc<str>, Arc<Message>)> {
        let now = self.now;
        let queue = self.queues.get_mut(&id)?;
        let exchange = queue.arguments.dead_letter_exchange.clone()?;
        let key = queue.arguments.dead_letter_routing_key.clone();
        let queue_name = Arc::clone(&queue.definition.name);
        queue.figures.dead_lettered += 1;
        *self.counters.dead_lettered.entry(reason).or_default() += 1;
        let dead = Message {
            exchange: Arc::clone(&exchange),
            routing_key: key.unwrap_or_else(|| Arc::clone(&message.routing_key)),
            properties: without_expiration(&message.properties).with_headers(headers_after(
                message,
                &queue_name,
                reason,
                now,
            )),
            body: message.body.clone(),
        };
        Some((exchange, Arc::new(dead)))
    }

    /// RabbitMQ's rule: a message that has died in the queue before, and was rejected by nobody since, goes in a circle.
    fn is_cycle(&self, id: QueueId, message: &Message) -> bool {
        let Some(queue) = self.queues.get(&id) else { return true };
        let name = &*queue.definition.name;
        let Some(AMQPValue::FieldArray(deaths)) = message.header("x-death") else { return false };
        let mut rejected = false;
        for death in deaths.as_slice() {
            let AMQPValue::FieldTable(death) = death else { continue };
            rejected |= text(death, "reason") == Some(DeathReason::Rejected.name().as_bytes());
            if text(death, "queue") == Some(name.as_bytes()) {
                return !rejected;
            }
        }
        false
    }
}

/// The headers with this death noted: the newest first, one entry for each queue and reason.
fn headers_after(message: &Message, queue: &str, reason: DeathReason, now: UnixMillis) -> FieldTable {
    let mut headers = message.properties.headers().clone().unwrap_or_default();
    let mut deaths: Vec<AMQPValue> = match headers.inner().get("x-death") {
        Some(AMQPValue::FieldArray(deaths)) => deaths.as_slice().to_vec(),
        Some(_) | None => Vec::new(),
    };
    let same = deaths.iter().position(|death| match death {
        AMQPValue::FieldTable(death) => {
            text(death, "queue") == Some(queue.as_bytes())
                && text(death, "reason") == Some(reason.name().as_bytes())
        }
        _ => false,
    });
    let death = match same.map(|place| deaths.remove(place)) {
        Some(AMQPValue::FieldTable(mut death)) => {
            let count = match death.inner().get("count") {
                Some(AMQPValue::LongLongInt(count)) => count.saturating_add(1),
                Some(_) | None => 1,
            };
            death.insert("count".into(), AMQPValue::LongLongInt(count));
            death
        }
        Some(_) | None => first_death(message, queue, reason, now),
    };
    deaths.insert(0, AMQPValue::FieldTable(death));
    headers.insert("x-death".into(), AMQPValue::FieldArray(FieldArray::from(deaths)));
    for (name, value) in [
        ("x-first-death-reason", reason.name()),
        ("x-first-death-queue", queue),
        ("x-first-death-exchange", &*message.exchange),
    ] {
        if !headers.contains_key(name) {
            headers.insert(name.into(), AMQPValue::LongString(value.into()));
        }
    }
    headers
}

fn first_death(message: &Message, queue: &str, reason: DeathReason, now: UnixMillis) -> FieldTable {
    let mut death = FieldTable::default();
    let long = |text: &str| AMQPValue::LongString(text.into());
    death.insert("count".into(), AMQPValue::LongLongInt(1));
    death.insert("reason".into(), long(reason.name()));
    death.insert("queue".into(), long(queue));
    death.insert("time".into(), AMQPValue::Timestamp(now.0 / 1000));
    death.insert("exchange".into(), long(&message.exchange));
    let keys = vec![long(&message.routing_key)];
    death.insert("routing-keys".into(), AMQPValue::FieldArray(FieldArray::from(keys)));
    if let Some(expiration) = message.properties.expiration() {
        death.insert(
            "original-expiration".into(),
            AMQPValue::LongString(short_string(expiration.as_str()).as_str().into()),
        );
    }
    death
}

fn text<'a>(table: &'a FieldTable, name: &str) -> Option<&'a [u8]> {
    match table.inner().get(name) {
        Some(AMQPValue::LongString(text)) => Some(text.as_bytes()),
        Some(_) | None => None,
    }
}
