//! Publishing: checks, routing, and putting a message into its queues.

use super::arguments::Overflow;
use super::broker::{Broker, ChannelKey, Storage};
use super::counters::{DeathReason, DropReason};
use super::exception::{Exception, ReplyCode};
use super::identity::{Lsn, QueueId};
use super::message::Message;
use super::operation::Publication;
use super::output::Reply;
use super::queue::Entry;
use crate::embedded::log::Record;
use std::collections::BTreeSet;
use std::sync::Arc;

/// How a message was taken.
pub(super) struct Placed {
    /// The log record that keeps it; 0: none.
    pub(super) after: Lsn,
    /// No queue refused it.
    pub(super) accepted: bool,
}

/// More than one exchange behind another than this is a circle.
const ALTERNATES_MAX: usize = 16;

impl Broker {
    pub(super) fn publish(
        &mut self,
        key: ChannelKey,
        publication: Box<Publication>,
    ) -> Result<(), Exception> {
        let Publication { exchange, routing_key, mandatory, immediate, properties, body } = *publication;
        if immediate {
            return Err(Exception::new(ReplyCode::NotImplemented, "immediate=true"));
        }
        let message =
            Message { exchange: exchange.into(), routing_key: routing_key.into(), properties, body };
        self.check_publication(key, &message)?;
        let message = Arc::new(message);
        let queues = self.route(&message.exchange, &message.routing_key);
        self.counters.published += 1;
        if queues.is_empty() {
            if mandatory {
                self.counters.returned += 1;
                self.send(key, Reply::Returned { message });
            } else {
                self.counters.drop_message(DropReason::Unroutable);
            }
            self.note_confirm(key, Lsn(0), true);
        } else {
            let placed = self.place(&queues, &message);
            self.note_confirm(key, placed.after, placed.accepted);
        }
        self.block_if_pressed(key.connection);
        Ok(())
    }

    fn check_publication(&self, key: ChannelKey, message: &Message) -> Result<(), Exception> {
        let refuse = |code, text: String| Err(Exception::new(code, text));
        let name = &message.exchange;
        if !name.is_empty() {
            match self.exchanges.get(name) {
                None => return refuse(ReplyCode::NotFound, format!("no exchange '{name}' in vhost '/'")),
                Some(exchange) if exchange.definition.internal => {
                    let text = format!("cannot publish to internal exchange '{name}' in vhost '/'");
                    return refuse(ReplyCode::AccessRefused, text);
                }
                Some(_) => {}
            }
        }
        if let Some(claimed) = message.properties.user_id() {
            let user = self.connections.get(&key.connection).map_or("", |connection| &connection.user);
            if claimed.as_str() != user {
                let text = format!("user_id property set to '{claimed}' but authenticated user was '{user}'");
                return refuse(ReplyCode::PreconditionFailed, text);
            }
        }
        if let Err(text) = message.lifetime_ms() {
            return refuse(ReplyCode::PreconditionFailed, format!("invalid expiration '{text}'"));
        }
        Ok(())
    }

    /// The queues that a message reaches: of its exchange, else of the exchange behind it.
    pub(super) fn route(&self, exchange: &str, routing_key: &str) -> BTreeSet<QueueId> {
        let mut queues = BTreeSet::new();
        if exchange.is_empty() {
            queues.extend(self.queue_names.get(routing_key));
            return queues;
        }
        let mut next = self.exchanges.get(exchange);
        for _ in 0..ALTERNATES_MAX {
            let Some(exchange) = next else { break };
            exchange.route(routing_key, &mut queues);
            if !queues.is_empty() {
                break;
            }
            next = exchange.alternate.as_ref().and_then(|name| self.exchanges.get(name));
        }
        queues
    }

    /// Puts a message into queues: one log record for all, then delivery, then the length bounds.
    pub(super) fn place(&mut self, queues: &BTreeSet<QueueId>, message: &Arc<Message>) -> Placed {
        let mut accepted = true;
        let mut entries = Vec::with_capacity(queues.len());
        let mut placements = Vec::new();
        for id in queues {
            let Some(queue) = self.queues.get_mut(id) else { continue };
            if queue.refuses_publish() {
                queue.figures.refused += 1;
                accepted = false;
                if queue.arguments.overflow == Overflow::RejectPublishDeadLetter {
                    self.die_unplaced(*id, message, DeathReason::MaxLength);
                }
                continue;
            }
            let position = queue.draw_position();
            let logged = self.storage == Storage::Log && queue.keeps(message);
            if logged {
                placements.push((*id, position));
            }
            let deadline = queue.deadline(message, self.now);
            let message = Arc::clone(message);
            entries
                .push((*id, Entry { position, message, deadline, redelivered: false, returns: 0, logged }));
        }
        let mut after = Lsn(0);
        if !placements.is_empty() {
            let message = Arc::clone(message);
            after = self.append(Record::Published { placements, arrived: self.now, message });
        }
        for (id, entry) in entries {
            self.memory_bytes += message.cost_bytes();
            if let Some(queue) = self.queues.get_mut(&id) {
                queue.figures.published += 1;
                queue.push(entry);
            }
            self.dispatch(id);
            self.trim(id);
        }
        Placed { after, accepted }
    }

    /// Drops the oldest ready messages of a queue that is over its length.
    pub(super) fn trim(&mut self, id: QueueId) {
        while let Some(queue) = self.queues.get_mut(&id)
            && queue.arguments.overflow == Overflow::DropHead
            && queue.is_over_length()
            && let Some(entry) = queue.take_first()
        {
            self.die(id, entry, DeathReason::MaxLength);
        }
    }
}
