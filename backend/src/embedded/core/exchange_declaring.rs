//! Declaring and deleting exchanges, and binding queues to them.

use super::arguments::alternate_exchange;
use super::broker::{Broker, ChannelKey};
use super::exception::{Exception, ReplyCode};
use super::exchange::{Exchange, ExchangeDefinition, ExchangeKind};
use super::identity::{Lsn, QueueId};
use super::operation::{Binding, ExchangeDeclaration};
use super::output::Reply;
use crate::embedded::log::{DurableBinding, Record};
use std::sync::Arc;

impl Broker {
    pub(super) fn declare_exchange(
        &mut self,
        key: ChannelKey,
        declaration: ExchangeDeclaration,
    ) -> Result<(), Exception> {
        let name = declaration.exchange.as_str();
        let nowait = declaration.nowait;
        if name.is_empty() {
            let text = "operation not permitted on the default exchange";
            return Err(Exception::new(ReplyCode::AccessRefused, text));
        }
        let mut after = Lsn(0);
        if declaration.passive {
            self.find_exchange(name)?;
        } else {
            let kind = kind_of(&declaration)?;
            match self.exchanges.get(name) {
                Some(exchange) => check_equivalent(&exchange.definition, &declaration, kind)?,
                None => after = self.create_exchange(declaration, kind)?,
            }
        }
        if !nowait {
            self.answer_durable(key, after, Reply::ExchangeDeclared);
        }
        Ok(())
    }

    fn create_exchange(
        &mut self,
        declaration: ExchangeDeclaration,
        kind: ExchangeKind,
    ) -> Result<Lsn, Exception> {
        let ExchangeDeclaration { exchange, durable, auto_delete, internal, arguments, .. } = declaration;
        if exchange.starts_with("amq.") {
            let text = format!("exchange name '{exchange}' contains reserved prefix 'amq.*'");
            return Err(Exception::new(ReplyCode::AccessRefused, text));
        }
        if self.exchanges.len() >= self.limits.exchanges_max {
            let text = format!("exchange limit ({}) is reached", self.limits.exchanges_max);
            return Err(Exception::new(ReplyCode::PreconditionFailed, text));
        }
        let alternate = alternate_exchange(&exchange, &arguments)?;
        let name: Arc<str> = exchange.into();
        let definition =
            ExchangeDefinition { name: Arc::clone(&name), kind, durable, auto_delete, internal, arguments };
        self.exchanges.insert(name, Exchange::new(definition.clone(), alternate));
        Ok(if durable { self.append(Record::ExchangeDeclared(definition)) } else { Lsn(0) })
    }

    pub(super) fn delete_exchange(
        &mut self,
        key: ChannelKey,
        name: &str,
        if_unused: bool,
        nowait: bool,
    ) -> Result<(), Exception> {
        if name.is_empty() || name.starts_with("amq.") {
            let text = format!("exchange name '{name}' is reserved");
            return Err(Exception::new(ReplyCode::AccessRefused, text));
        }
        let mut after = Lsn(0);
        // Deleting what is not there succeeds, as in RabbitMQ.
        if let Some(exchange) = self.exchanges.get(name) {
            if if_unused && exchange.has_bindings() {
                let text = format!("exchange '{name}' in vhost '/' in use");
                return Err(Exception::new(ReplyCode::PreconditionFailed, text));
            }
            after = self.end_exchange(name);
        }
        if !nowait {
            self.answer_durable(key, after, Reply::ExchangeDeleted);
        }
        Ok(())
    }

    fn end_exchange(&mut self, name: &str) -> Lsn {
        let Some(exchange) = self.exchanges.remove(name) else { return Lsn(0) };
        self.bindings -= exchange.binding_count();
        for queue in self.queues.values_mut() {
            queue.bound_to.remove(name);
        }
        let exchange = exchange.definition;
        if exchange.durable {
            self.append(Record::ExchangeDeleted { exchange: exchange.name })
        } else {
            Lsn(0)
        }
    }

    pub(super) fn bind(&mut self, key: ChannelKey, binding: Binding) -> Result<(), Exception> {
        let (id, routing_key) = self.bound_queue(key, &binding)?;
        let exchange = self.find_exchange(&binding.exchange)?;
        if self.bindings >= self.limits.bindings_max {
            let text = format!("binding limit ({}) is reached", self.limits.bindings_max);
            return Err(Exception::new(ReplyCode::PreconditionFailed, text));
        }
        let mut after = Lsn(0);
        if self.add_binding(&exchange, id, &routing_key, &binding)
            && let Some(binding) = self.durable_binding(&exchange, id, routing_key, binding.arguments)
        {
            after = self.append(Record::Bound(binding));
        }
        if !binding.nowait {
            self.answer_durable(key, after, Reply::QueueBound);
        }
        Ok(())
    }

    fn add_binding(&mut self, exchange: &Arc<str>, id: QueueId, key: &Arc<str>, binding: &Binding) -> bool {
        let (Some(state), Some(queue)) = (self.exchanges.get_mut(exchange), self.queues.get_mut(&id)) else {
            return false;
        };
        let added = state.bind(id, key, &binding.arguments);
        if added {
            queue.bound_to.insert(Arc::clone(exchange));
            self.bindings += 1;
        }
        added
    }

    pub(super) fn unbind(&mut self, key: ChannelKey, binding: Binding) -> Result<(), Exception> {
        let (id, routing_key) = self.bound_queue(key, &binding)?;
        let exchange = self.find_exchange(&binding.exchange)?;
        let state = self.exchanges.get_mut(&exchange).expect("find_exchange found it");
        let mut after = Lsn(0);
        if state.unbind(id, &routing_key, &binding.arguments) {
            self.bindings -= 1;
            let ends = state.definition.auto_delete && !state.has_bindings();
            if let Some(binding) = self.durable_binding(&exchange, id, routing_key, binding.arguments) {
                after = self.append(Record::Unbound(binding));
            }
            if ends {
                after = after.max(self.end_exchange(&exchange));
            }
        }
        self.answer_durable(key, after, Reply::QueueUnbound);
        Ok(())
    }

    /// Removes every binding between the two; an auto-delete exchange ends with its last one.
    pub(super) fn unbind_queue(&mut self, exchange: &Arc<str>, id: QueueId) {
        let Some(state) = self.exchanges.get_mut(exchange) else { return };
        let removed = state.unbind_queue(id);
        self.bindings -= removed;
        if removed > 0 && state.definition.auto_delete && !state.has_bindings() {
            self.end_exchange(exchange);
        }
    }

    /// The queue a binding means, and its key: with both names empty the key is the last declared queue's name.
    fn bound_queue(&mut self, key: ChannelKey, binding: &Binding) -> Result<(QueueId, Arc<str>), Exception> {
        if binding.exchange.is_empty() {
            let text = "operation not permitted on the default exchange";
            return Err(Exception::new(ReplyCode::AccessRefused, text));
        }
        let id = self.find_queue(key, &binding.queue)?;
        let routing_key = if binding.queue.is_empty() && binding.routing_key.is_empty() {
            self.queues.get(&id).map_or_else(|| "".into(), |queue| Arc::clone(&queue.definition.name))
        } else {
            binding.routing_key.as_str().into()
        };
        Ok((id, routing_key))
    }

    fn find_exchange(&self, name: &str) -> Result<Arc<str>, Exception> {
        match self.exchanges.get_key_value(name) {
            Some((name, _)) => Ok(Arc::clone(name)),
            None => Err(Exception::new(ReplyCode::NotFound, format!("no exchange '{name}' in vhost '/'"))),
        }
    }

    /// The record of a binding, if both its ends survive a restart.
    fn durable_binding(
        &self,
        exchange: &Arc<str>,
        queue: QueueId,
        routing_key: Arc<str>,
        arguments: amq_protocol::types::FieldTable,
    ) -> Option<DurableBinding> {
        let durable =
            self.exchanges.get(exchange)?.definition.durable && self.queues.get(&queue)?.is_logged();
        durable.then(|| DurableBinding { exchange: Arc::clone(exchange), queue, routing_key, arguments })
    }
}

fn kind_of(declaration: &ExchangeDeclaration) -> Result<ExchangeKind, Exception> {
    let kind = declaration.kind.as_str();
    match ExchangeKind::parse(kind) {
        Some(kind) => Ok(kind),
        None if kind == "headers" => {
            Err(Exception::new(ReplyCode::NotImplemented, "exchange type 'headers'"))
        }
        None => Err(Exception::new(ReplyCode::CommandInvalid, format!("unknown exchange type '{kind}'"))),
    }
}

fn check_equivalent(
    current: &ExchangeDefinition,
    given: &ExchangeDeclaration,
    kind: ExchangeKind,
) -> Result<(), Exception> {
    let name = &current.name;
    let alternate = |table| alternate_exchange(name, table).map(|one| one.unwrap_or_default().to_string());
    let compared = [
        ("type", kind.name().to_owned(), current.kind.name().to_owned()),
        ("durable", given.durable.to_string(), current.durable.to_string()),
        ("auto_delete", given.auto_delete.to_string(), current.auto_delete.to_string()),
        ("internal", given.internal.to_string(), current.internal.to_string()),
        ("alternate-exchange", alternate(&given.arguments)?, alternate(&current.arguments)?),
    ];
    for (argument, given, current) in compared {
        if given != current {
            let text = format!(
                "inequivalent arg '{argument}' for exchange '{name}' in vhost '/': \
                 received '{given}' but current is '{current}'"
            );
            return Err(Exception::new(ReplyCode::PreconditionFailed, text));
        }
    }
    Ok(())
}
