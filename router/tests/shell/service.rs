//! A service as the mesh knows it: it publishes commands over AMQP, and reads queues.

use std::collections::BTreeSet;
use std::time::Duration;

use roost_backend::shell::{
    ConsumePlan, ConsumeQueue, Consumer, ConsumerEvent, LinkConfig, OnLoss, Publish, Published, Publisher,
    PublisherConfig, PublisherEvent, consumer, publisher,
};
use roost_backend::{AmqpAddress, Topology, contract};
use roost_harness::PATIENCE;
use roost_wire::{CommandRequest, Message};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// A command for `device`; `id` is its message id and its payload.
pub(crate) fn command(device: &str, id: &str) -> CommandRequest {
    let payload = id.to_owned().into();
    CommandRequest::new(device.parse().unwrap(), id.parse().unwrap(), payload)
}

/// Publishes commands and waits until the broker has confirmed them all.
pub(crate) async fn publish(amqp: &AmqpAddress, commands: impl IntoIterator<Item = CommandRequest>) {
    let mut sender = Sender::new(amqp);
    for command in commands {
        sender.send(command).await;
    }
    sender.confirmed().await;
}

/// Publishes commands one by one.
pub(crate) struct Sender {
    publisher: Publisher,
    events: mpsc::Receiver<PublisherEvent>,
    sent: u64,
    confirmed: u64,
}

impl Sender {
    pub(crate) fn new(amqp: &AmqpAddress) -> Self {
        let link = LinkConfig::new(amqp.clone(), "a service");
        let (publisher, events) = publisher(link, Topology::contract(1), PublisherConfig::default());
        Self { publisher, events, sent: 0, confirmed: 0 }
    }

    pub(crate) async fn send(&mut self, command: CommandRequest) {
        let message = command.into_message(contract::DOWN);
        let publish = Publish { message, mandatory: true, on_loss: OnLoss::PublishAgain, token: self.sent };
        self.sent += 1;
        self.publisher.publish(publish).await.unwrap();
        // Few are under way at a time, so that its events never fill up.
        while self.confirmed + 100 < self.sent {
            self.hear().await;
        }
    }

    /// Returns when the broker has everything.
    pub(crate) async fn confirmed(mut self) {
        while self.confirmed < self.sent {
            self.hear().await;
        }
        self.publisher.close(Duration::ZERO).await;
    }

    async fn hear(&mut self) {
        match timeout(PATIENCE, self.events.recv()).await.expect("the broker confirms").unwrap() {
            PublisherEvent::Done { outcome, .. } => {
                assert_eq!(outcome, Published::Confirmed);
                self.confirmed += 1;
            }
            PublisherEvent::Up | PublisherEvent::Unblocked => {}
            other @ (PublisherEvent::Down { .. } | PublisherEvent::Blocked { .. }) => panic!("{other:?}"),
        }
    }
}

/// Reads one queue, and acknowledges what it has read.
pub(crate) struct Reader {
    consumer: Consumer,
    events: mpsc::Receiver<ConsumerEvent>,
}

impl Reader {
    /// Declares `topology` and begins to consume `queue`.
    pub(crate) async fn new(amqp: &AmqpAddress, topology: Topology, queue: &str) -> Self {
        let plan =
            ConsumePlan { topology, queues: vec![ConsumeQueue { name: queue.to_owned(), prefetch: 1_000 }] };
        let link = LinkConfig::new(amqp.clone(), "a reader");
        let (consumer, mut events) = consumer(link, move |_| plan.clone());
        let first = timeout(PATIENCE, events.recv()).await.expect("it connects").unwrap();
        assert!(matches!(first, ConsumerEvent::Up { .. }), "{first:?}");
        Self { consumer, events }
    }

    pub(crate) async fn next(&mut self) -> Message {
        match timeout(PATIENCE, self.events.recv()).await.expect("a message comes").unwrap() {
            ConsumerEvent::Delivery(delivered) => {
                self.consumer.ack(delivered.token);
                delivered.message
            }
            other @ (ConsumerEvent::Up { .. } | ConsumerEvent::Down { .. }) => panic!("{other:?}"),
        }
    }

    /// The ids that `name` gives of messages up to the one that it calls `last`, which is not among them.
    pub(crate) async fn until(
        &mut self,
        last: &str,
        name: impl Fn(&Message) -> Option<String>,
    ) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        loop {
            let message = self.next().await;
            let id = name(&message).unwrap_or_else(|| panic!("it has no id: {message:?}"));
            if id == last {
                return found;
            }
            assert!(found.insert(id.clone()), "{id} came twice");
        }
    }

    pub(crate) async fn close(self) {
        self.consumer.close().await;
    }
}
