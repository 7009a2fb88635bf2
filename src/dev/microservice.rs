//! A sample microservice: it hears what devices say, sends them commands, and learns what becomes of each.
//!
//! All of the AMQP that a service of a fleet needs is here, in the order in which one writes it:
//!
//! 1. **Hear events.** A queue of your own, durable and bounded, bound to `roost.up`. The key is `tenant.device.topic…`, so `#` is
//!    everything and `main.*.state.#` is what all devices of `main` publish below `state`. The body is the device's payload.
//! 2. **Send commands** to `roost.down`, with publisher confirms. A confirm means *the mesh has it*, never *the device has it*.
//!    `message_id` is the idempotency key: publish again after a lost link, and the device still gets it once.
//! 3. **Hear receipts**, from `roost.receipts`: `accepted`, then `parked` and `forwarded` as often as it takes, then one final
//!    one. With `roost-receipts: final`, the default, only the last comes; a service asks for `all` to see the way.
//! 4. **Acknowledge what you have dealt with, and not before**: what is open when the link breaks comes again.
//!
//! The client here is the one that Roost itself uses (lapin, with a link that is made again by itself and publishes again what
//! was not confirmed). Any other AMQP 0-9-1 client does; `docs/asyncapi.yaml` has every header and field.

use bytes::Bytes;
use roost_backend::contract::{DOWN, RECEIPTS, UP};
use roost_backend::shell::{
    ConsumePlan, ConsumeQueue, Consumer, ConsumerEvent, Delivered, DeliveryToken, LinkConfig, OnLoss,
    Publish, Published, Publisher, PublisherConfig, PublisherEvent, TryPublishError, consumer, publisher,
};
use roost_backend::{AmqpAddress, Overflow, Queue, Topology};
use roost_wire::envelope::{CommandRequest, ReceiptsWanted};
use roost_wire::{Device, MessageId, Receipt};
use tokio::sync::mpsc;

/// Queues of a service are durable: what devices say while it is away, or while the broker restarts, waits for it.
const EVENTS: &str = "roost.dev.events";
const RECEIPTS_HEARD: &str = "roost.dev.receipts";
/// And bounded. Dropping the oldest would lose what devices were told is safe, so a full queue refuses (the gateway
/// tries again, and then keeps the event in `roost.dead`).
const WAITING_MAX: u32 = 200_000;
/// A demo is not for ever: in a broker that is not its own, its queues go ten minutes after it. (Those of a real service stay.)
const IDLE_MS: u32 = 600_000;
/// Deliveries without an answer: enough to keep a busy consumer busy.
const PREFETCH: u16 = 1_000;
/// How long closing may take.
const CLOSE: std::time::Duration = std::time::Duration::from_secs(5);

/// What the service hears.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A device has published; the body is its payload.
    Event(Bytes),
    /// A command stands somewhere else than before.
    Receipt(Box<Receipt>),
    /// The mesh has the command of this number, from now on it answers for it.
    Taken(u64),
    /// The mesh has it not, and never will.
    NotTaken(u64),
}

/// A running service.
#[derive(Debug)]
pub(crate) struct Microservice {
    consumer: Consumer,
    deliveries: mpsc::Receiver<ConsumerEvent>,
    publisher: Publisher,
    outcomes: mpsc::Receiver<PublisherEvent>,
    /// What was heard last: acknowledged when the next is asked for, since by then it has been dealt with.
    heard: Option<DeliveryToken>,
}

impl Microservice {
    /// Connects, and goes on connecting for as long as it takes; publishing and consuming have a connection each, since a
    /// broker that is short of memory blocks the ones that publish, and their acknowledgements with them.
    pub(crate) fn connect(amqp: &AmqpAddress) -> Self {
        let link = |end: &str| LinkConfig::new(amqp.clone(), format!("roost-dev-microservice-{end}"));
        let own = |name: &str| {
            Topology::of(Queue {
                length_max: Some((WAITING_MAX, Overflow::RejectPublish)),
                idle_max_ms: Some(IDLE_MS),
                ..Queue::classic(name)
            })
        };
        let queues =
            own(EVENTS).and(own(RECEIPTS_HEARD)).bind(EVENTS, UP, "#").bind(RECEIPTS_HEARD, RECEIPTS, "#");
        let topology = Topology::contract(1).and(queues);
        let (consumer, deliveries) = consumer(link("consumer"), move |_| ConsumePlan {
            topology: topology.clone(),
            queues: [EVENTS, RECEIPTS_HEARD]
                .map(|name| ConsumeQueue { name: name.to_owned(), prefetch: PREFETCH })
                .into(),
        });
        let (publisher, outcomes) =
            publisher(link("publisher"), Topology::contract(1), PublisherConfig::default());
        Self { consumer, deliveries, publisher, outcomes, heard: None }
    }

    /// Awaits that its queues are there: what devices say from then on is heard.
    pub(crate) async fn is_listening(&mut self) {
        while let Some(event) = self.deliveries.recv().await {
            match event {
                ConsumerEvent::Up { .. } => return,
                // Another attempt follows by itself.
                ConsumerEvent::Down { .. } => {}
                // Left from an earlier demo.
                ConsumerEvent::Delivery(delivered) => self.consumer.ack(delivered.token),
            }
        }
    }

    /// Sends a command; [`Heard::Taken`] or [`Heard::NotTaken`] with `number` follows, and receipts with `message_id`.
    ///
    /// # Errors
    /// It is not sent, because too many are on their way to the broker (or the service is closed): try again later.
    pub(crate) fn command(
        &self,
        number: u64,
        (device, message_id): (Device, MessageId),
        payload: Bytes,
    ) -> Result<(), TryPublishError> {
        // To `devices/{device}/cmd` with QoS 1, for a day at most, and parked while the device is away: all of them defaults.
        let mut command = CommandRequest::new(device, message_id, payload);
        command.receipts = ReceiptsWanted::All;
        let message = command.into_message(DOWN);
        // Mandatory: a command that no queue wants comes back instead of vanishing. Again after a loss: `message_id` sees to it
        // that a command that had arrived is not delivered twice.
        self.publisher.try_publish(Publish {
            message,
            mandatory: true,
            on_loss: OnLoss::PublishAgain,
            token: number,
        })
    }

    /// The next thing heard; what was returned before it is acknowledged now. `None` when it was closed. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Heard> {
        self.acknowledge();
        loop {
            let heard = tokio::select! {
                event = self.deliveries.recv() => self.delivery(event?),
                event = self.outcomes.recv() => outcome(event?),
            };
            if heard.is_some() {
                return heard;
            }
        }
    }

    /// The same, if there is something to hear right now.
    pub(crate) fn next_at_hand(&mut self) -> Option<Heard> {
        self.acknowledge();
        while let Ok(event) = self.deliveries.try_recv() {
            if let Some(heard) = self.delivery(event) {
                return Some(heard);
            }
        }
        None
    }

    /// What was heard last has been dealt with.
    fn acknowledge(&mut self) {
        if let Some(token) = self.heard.take() {
            self.consumer.ack(token);
        }
    }

    fn delivery(&mut self, event: ConsumerEvent) -> Option<Heard> {
        match event {
            // Its queues are durable: while the link is down they wait.
            ConsumerEvent::Up { .. } | ConsumerEvent::Down { .. } => None,
            ConsumerEvent::Delivery(delivered) => {
                self.heard = Some(delivered.token);
                let heard = Heard::read(delivered);
                if heard.is_none() {
                    // A receipt of a later version, perhaps: not for us.
                    self.acknowledge();
                }
                heard
            }
        }
    }

    /// Closes both connections in order.
    pub(crate) async fn close(self) {
        self.publisher.close(CLOSE).await;
        self.consumer.close().await;
    }
}

impl Heard {
    fn read(delivered: Delivered) -> Option<Self> {
        match delivered.queue {
            0 => Some(Self::Event(delivered.message.body)),
            _ => serde_json::from_slice(&delivered.message.body)
                .ok()
                .map(|receipt| Self::Receipt(Box::new(receipt))),
        }
    }
}

/// What became of a command on its way to the broker.
fn outcome(event: PublisherEvent) -> Option<Heard> {
    match event {
        PublisherEvent::Done { token, outcome: Published::Confirmed } => Some(Heard::Taken(token)),
        PublisherEvent::Done { token, .. } => Some(Heard::NotTaken(token)),
        // The link is made again by itself, and what waits goes out then.
        PublisherEvent::Up
        | PublisherEvent::Down { .. }
        | PublisherEvent::Blocked { .. }
        | PublisherEvent::Unblocked => None,
    }
}
