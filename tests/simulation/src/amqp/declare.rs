//! A topology as operations.

use roost_backend::embedded::core::{Binding, ExchangeDeclaration, Operation, QueueDeclaration};
use roost_backend::shell::queue_arguments;
use roost_backend::{ExchangeKind, QueueLife, Topology};

/// What declares all of it.
pub(crate) fn declarations(topology: &Topology) -> Vec<Operation> {
    let exchanges = topology.exchanges.iter().map(|exchange| {
        let kind = match exchange.kind {
            ExchangeKind::Direct => "direct",
            ExchangeKind::Fanout => "fanout",
            ExchangeKind::Topic => "topic",
        };
        Operation::DeclareExchange(ExchangeDeclaration {
            exchange: exchange.name.clone(),
            kind: kind.to_owned(),
            durable: true,
            ..ExchangeDeclaration::default()
        })
    });
    let queues = topology.queues.iter().map(|queue| {
        let of_link = queue.life == QueueLife::Link;
        Operation::DeclareQueue(QueueDeclaration {
            queue: queue.name.clone(),
            durable: !of_link,
            exclusive: of_link,
            auto_delete: of_link,
            arguments: queue_arguments(queue),
            ..QueueDeclaration::default()
        })
    });
    let bindings = topology.bindings.iter().map(|binding| {
        Operation::Bind(Binding {
            queue: binding.queue.clone(),
            exchange: binding.exchange.clone(),
            routing_key: binding.key.clone(),
            ..Binding::default()
        })
    });
    exchanges.chain(queues).chain(bindings).collect()
}
