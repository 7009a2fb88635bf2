//! Declares a topology, and says which object it was that the broker refused.

use std::collections::BTreeMap;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Error};

use super::down_reason::DownReason;
use super::link::Link;
use crate::{
    Binding, DeadLetterStrategy, Exchange, ExchangeKind, Overflow, Queue, QueueKind, QueueLife, Topology,
};

/// Declares all of it, on a channel of its own: a refusal closes that channel.
pub(super) async fn declare(link: &Link, topology: &Topology) -> Result<(), DownReason> {
    if topology == &Topology::default() {
        return Ok(());
    }
    let channel = link.channel().await?;
    for exchange in &topology.exchanges {
        let what = format!("declaring exchange `{}`", exchange.name);
        link.ask(&what, declare_exchange(&channel, exchange)).await?;
    }
    for queue in &topology.queues {
        let what = format!("declaring queue `{}`", queue.name);
        link.ask(&what, declare_queue(&channel, queue)).await?;
    }
    for binding in &topology.bindings {
        let Binding { queue, exchange, key } = binding;
        let what = format!("binding queue `{queue}` to exchange `{exchange}` with key `{key}`");
        link.ask(&what, bind(&channel, binding)).await?;
    }
    link.ask("closing a channel", channel.close(200, "OK".into())).await
}

async fn declare_exchange(channel: &Channel, exchange: &Exchange) -> Result<(), Error> {
    let kind = match exchange.kind {
        ExchangeKind::Direct => lapin::ExchangeKind::Direct,
        ExchangeKind::Fanout => lapin::ExchangeKind::Fanout,
        ExchangeKind::Topic => lapin::ExchangeKind::Topic,
    };
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare(name(&exchange.name)?, kind, options, FieldTable::default()).await
}

async fn declare_queue(channel: &Channel, queue: &Queue) -> Result<(), Error> {
    let of_link = queue.life == QueueLife::Link;
    let options = QueueDeclareOptions {
        durable: !of_link,
        exclusive: of_link,
        auto_delete: of_link,
        ..QueueDeclareOptions::default()
    };
    channel.queue_declare(name(&queue.name)?, options, arguments(queue)).await.map(drop)
}

async fn bind(channel: &Channel, binding: &Binding) -> Result<(), Error> {
    let (queue, exchange, key) = (name(&binding.queue)?, name(&binding.exchange)?, name(&binding.key)?);
    channel.queue_bind(queue, exchange, key, QueueBindOptions::default(), FieldTable::default()).await
}

/// The arguments that a queue is declared with.
#[must_use]
pub fn arguments(queue: &Queue) -> FieldTable {
    let text = |text: &str| AMQPValue::LongString(text.into());
    let number = |number: u32| AMQPValue::LongLongInt(i64::from(number));
    let mut arguments = BTreeMap::new();
    let mut set = |name: &str, value| drop(arguments.insert(ShortString::from(name), value));
    if queue.kind == QueueKind::Quorum {
        set("x-queue-type", text("quorum"));
    }
    if queue.single_active_consumer {
        set("x-single-active-consumer", AMQPValue::Boolean(true));
    }
    if let Some((length_max, overflow)) = queue.length_max {
        set("x-max-length", number(length_max));
        set(
            "x-overflow",
            text(match overflow {
                Overflow::DropHead => "drop-head",
                Overflow::RejectPublish => "reject-publish",
            }),
        );
    }
    if let Some(dead_letter) = &queue.dead_letter {
        set("x-dead-letter-exchange", text(&dead_letter.exchange));
        if let Some(key) = &dead_letter.routing_key {
            set("x-dead-letter-routing-key", text(key));
        }
        // At most once is every broker's default, and only quorum queues know the argument.
        if dead_letter.strategy == DeadLetterStrategy::AtLeastOnce {
            set("x-dead-letter-strategy", text("at-least-once"));
        }
    }
    if let Some(ttl_ms) = queue.message_ttl_ms {
        set("x-message-ttl", number(ttl_ms));
    }
    if let Some(idle_ms) = queue.idle_max_ms {
        set("x-expires", number(idle_ms));
    }
    if let Some(limit) = queue.delivery_limit {
        set("x-delivery-limit", number(limit));
    }
    FieldTable::from(arguments)
}

fn name(text: &str) -> Result<ShortString, Error> {
    ShortString::try_new(text).map_err(|error| std::io::Error::other(error.to_string()).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DeadLetter;

    #[test]
    fn a_queue_is_declared_with_every_argument_it_has_and_no_other() {
        let text = |text: &str| AMQPValue::LongString(text.into());
        let dead_letter = DeadLetter {
            exchange: String::new(),
            routing_key: Some("k".to_owned()),
            strategy: DeadLetterStrategy::AtLeastOnce,
        };
        let queue = Queue {
            single_active_consumer: true,
            length_max: Some((7, Overflow::RejectPublish)),
            dead_letter: Some(dead_letter),
            message_ttl_ms: Some(8),
            idle_max_ms: Some(10),
            delivery_limit: Some(9),
            ..Queue::quorum("q")
        };
        let expected = [
            ("x-queue-type", text("quorum")),
            ("x-single-active-consumer", AMQPValue::Boolean(true)),
            ("x-max-length", AMQPValue::LongLongInt(7)),
            ("x-overflow", text("reject-publish")),
            ("x-dead-letter-exchange", text("")),
            ("x-dead-letter-routing-key", text("k")),
            ("x-dead-letter-strategy", text("at-least-once")),
            ("x-message-ttl", AMQPValue::LongLongInt(8)),
            ("x-expires", AMQPValue::LongLongInt(10)),
            ("x-delivery-limit", AMQPValue::LongLongInt(9)),
        ];
        let expected: BTreeMap<ShortString, AMQPValue> =
            expected.into_iter().map(|(name, value)| (name.into(), value)).collect();
        assert_eq!(arguments(&queue), FieldTable::from(expected));
        assert_eq!(arguments(&Queue::classic("q")), FieldTable::default());
    }
}
