//! Declaring, purging and deleting queues.

use super::arguments::{QueueArguments, QueueKind};
use super::broker::{Broker, ChannelKey};
use super::counters::DropReason;
use super::exception::{Exception, ReplyCode};
use super::identity::{Lsn, QueueId};
use super::operation::QueueDeclaration;
use super::output::Reply;
use super::queue::{Queue, QueueDefinition};
use crate::embedded::log::Record;
use std::sync::Arc;

impl Broker {
    pub(super) fn declare_queue(
        &mut self,
        key: ChannelKey,
        declaration: QueueDeclaration,
    ) -> Result<(), Exception> {
        let nowait = declaration.nowait;
        let (id, after) = if declaration.passive {
            (self.find_queue(key, &declaration.queue)?, Lsn(0))
        } else if let Some(&id) = self.queue_names.get(declaration.queue.as_str()) {
            self.check_equivalent(key, id, &declaration)?;
            (id, Lsn(0))
        } else {
            self.create_queue(key, declaration)?
        };
        let now = self.now;
        let queue = self.queues.get_mut(&id).expect("it was found or made just now");
        queue.used_at = now;
        let name = Arc::clone(&queue.definition.name);
        let messages = u32::try_from(queue.ready()).unwrap_or(u32::MAX);
        let consumers = u32::try_from(queue.consumers.len()).unwrap_or(u32::MAX);
        self.set_timer(id);
        if let Some(channel) = self.channel_mut(key) {
            channel.last_queue = Some(Arc::clone(&name));
        }
        if !nowait {
            self.answer_durable(key, after, Reply::QueueDeclared { queue: name, messages, consumers });
        }
        Ok(())
    }

    /// Answers when what was declared is on disk, and never before an earlier answer.
    pub(super) fn answer_durable(&mut self, key: ChannelKey, after: Lsn, reply: Reply) {
        if after == Lsn(0) { self.answer(key, reply) } else { self.answer_after(key, after, reply) }
    }

    fn create_queue(
        &mut self,
        key: ChannelKey,
        declaration: QueueDeclaration,
    ) -> Result<(QueueId, Lsn), Exception> {
        let QueueDeclaration { queue: name, durable, exclusive, auto_delete, arguments, .. } = declaration;
        let refuse = |text: String| Err(Exception::new(ReplyCode::PreconditionFailed, text));
        if name.starts_with("amq.") {
            let text = format!("queue name '{name}' contains reserved prefix 'amq.*'");
            return Err(Exception::new(ReplyCode::AccessRefused, text));
        }
        let parsed = QueueArguments::parse(&name, &arguments)?;
        if parsed.kind == QueueKind::Quorum {
            for (wrong, property) in
                [(!durable, "non-durable"), (exclusive, "exclusive-owner"), (auto_delete, "auto-delete")]
            {
                if wrong {
                    return refuse(format!("invalid property '{property}' for queue '{name}' in vhost '/'"));
                }
            }
        }
        if self.queues.len() >= self.limits.queues_max {
            return refuse(format!("queue limit ({}) is reached", self.limits.queues_max));
        }
        let name: Arc<str> = if name.is_empty() { self.draw_queue_name() } else { name.into() };
        self.queues_declared += 1;
        let id = QueueId(self.queues_declared);
        let owner = exclusive.then_some(key.connection);
        let definition = QueueDefinition { name: Arc::clone(&name), durable, auto_delete, arguments };
        let queue = Queue::new(definition.clone(), parsed, owner, self.now);
        let logged = queue.is_logged();
        self.queues.insert(id, queue);
        self.queue_names.insert(name, id);
        if let (Some(owner), true) = (self.connections.get_mut(&key.connection), exclusive) {
            owner.exclusive.insert(id);
        }
        let after =
            if logged { self.append(Record::QueueDeclared { queue: id, definition }) } else { Lsn(0) };
        Ok((id, after))
    }

    /// A name nobody guesses: the counter is mixed with the run's seed (the finaliser of splitmix64).
    fn draw_queue_name(&mut self) -> Arc<str> {
        loop {
            self.names_drawn += 1;
            let mut mixed = self.seed.wrapping_add(self.names_drawn.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let name: Arc<str> = format!("amq.gen-{:016x}", mixed ^ (mixed >> 31)).into();
            if !self.queue_names.contains_key(&name) {
                return name;
            }
        }
    }

    fn check_equivalent(
        &self,
        key: ChannelKey,
        id: QueueId,
        declaration: &QueueDeclaration,
    ) -> Result<(), Exception> {
        let queue = self.queues.get(&id).expect("a name in queue_names has its queue");
        let name = &queue.definition.name;
        let arguments = QueueArguments::parse(name, &declaration.arguments)?;
        let expected_owner = declaration.exclusive.then_some(key.connection);
        if queue.owner != expected_owner {
            return Err(locked(name));
        }
        let (given, current) = (declaration, &queue.definition);
        let different = if given.durable != current.durable {
            Some(("durable", given.durable.to_string(), current.durable.to_string()))
        } else if given.auto_delete != current.auto_delete {
            Some(("auto_delete", given.auto_delete.to_string(), current.auto_delete.to_string()))
        } else {
            arguments.difference(&queue.arguments)
        };
        match different {
            None => Ok(()),
            Some((argument, given, current)) => {
                let text = format!(
                    "inequivalent arg '{argument}' for queue '{name}' in vhost '/': \
                     received '{given}' but current is '{current}'"
                );
                Err(Exception::new(ReplyCode::PreconditionFailed, text))
            }
        }
    }

    /// The queue of that name, which the connection may use; the empty name is the channel's last declared queue.
    pub(super) fn find_queue(&mut self, key: ChannelKey, name: &str) -> Result<QueueId, Exception> {
        let last;
        let name = if name.is_empty() {
            last = self.channel_mut(key).and_then(|channel| channel.last_queue.clone());
            match &last {
                Some(last) => &**last,
                None => return Err(Exception::new(ReplyCode::NotFound, "no previously declared queue")),
            }
        } else {
            name
        };
        let Some(&id) = self.queue_names.get(name) else {
            return Err(Exception::new(ReplyCode::NotFound, format!("no queue '{name}' in vhost '/'")));
        };
        match self.queues.get(&id).and_then(|queue| queue.owner) {
            Some(owner) if owner != key.connection => Err(locked(name)),
            Some(_) | None => Ok(id),
        }
    }

    pub(super) fn purge(&mut self, key: ChannelKey, name: &str, nowait: bool) -> Result<(), Exception> {
        let id = self.find_queue(key, name)?;
        let mut messages = 0_u32;
        while let Some(entry) = self.queues.get_mut(&id).and_then(Queue::take_first) {
            messages = messages.saturating_add(1);
            self.counters.drop_message(DropReason::Purged);
            self.remove(id, &entry);
        }
        self.set_timer(id);
        self.answer_unless(nowait, key, Reply::QueuePurged { messages });
        Ok(())
    }

    pub(super) fn delete_queue(
        &mut self,
        key: ChannelKey,
        name: &str,
        if_unused: bool,
        if_empty: bool,
        nowait: bool,
    ) -> Result<(), Exception> {
        let id = match self.find_queue(key, name) {
            Ok(id) => id,
            // Deleting what is not there succeeds, as in RabbitMQ.
            Err(exception) if exception.code == ReplyCode::NotFound && !name.is_empty() => {
                self.answer_unless(nowait, key, Reply::QueueDeleted { messages: 0 });
                return Ok(());
            }
            Err(exception) => return Err(exception),
        };
        let queue = self.queues.get(&id).expect("find_queue found it");
        let name = &queue.definition.name;
        let refuse = |why: &str| {
            let text = format!("queue '{name}' in vhost '/' {why}");
            Err(Exception::new(ReplyCode::PreconditionFailed, text))
        };
        if if_unused && !queue.consumers.is_empty() {
            return refuse("in use");
        }
        if if_empty && queue.ready() > 0 {
            return refuse("is not empty");
        }
        let messages = u32::try_from(queue.ready()).unwrap_or(u32::MAX);
        let after = self.end_queue(id);
        if !nowait {
            self.answer_durable(key, after, Reply::QueueDeleted { messages });
        }
        Ok(())
    }

    /// Removes a queue with its messages and bindings, and tells its consumers.
    pub(super) fn end_queue(&mut self, id: QueueId) -> Lsn {
        let Some(mut queue) = self.queues.remove(&id) else { return Lsn(0) };
        self.queue_names.remove(&queue.definition.name);
        if let Some(due) = queue.timer {
            self.timers.remove(&(due, id));
        }
        if let Some(owner) = queue.owner.and_then(|owner| self.connections.get_mut(&owner)) {
            owner.exclusive.remove(&id);
        }
        while let Some(entry) = queue.take_first() {
            self.counters.drop_message(DropReason::QueueDeleted);
            self.remove(id, &entry);
        }
        let after = if queue.is_logged() { self.append(Record::QueueDeleted { queue: id }) } else { Lsn(0) };
        for exchange in std::mem::take(&mut queue.bound_to) {
            self.unbind_queue(&exchange, id);
        }
        for consumer in queue.consumers {
            let key = ChannelKey { connection: consumer.connection, number: consumer.channel };
            if self.channel_mut(key).is_some_and(|channel| channel.consumers.remove(&consumer.tag).is_some())
            {
                self.send(key, Reply::ConsumerCancelled { consumer_tag: consumer.tag });
            }
        }
        after
    }
}

fn locked(name: &str) -> Exception {
    let text = format!(
        "cannot obtain exclusive access to locked queue '{name}' in vhost '/'. It could be originally declared on \
         another connection or the exclusive property value does not match that of the original declaration."
    );
    Exception::new(ReplyCode::ResourceLocked, text)
}
