//! Carry what AMQP says into the world.

use std::cell::RefCell;
use std::rc::Rc;

use roost_backend::contract::{
    FANOUT, MESH, ROUTERS, broadcast_queue, broadcasts, control_queue, inbox_queue, missed_queue,
};
use roost_backend::shell::{ConsumePlan, ConsumeQueue, Consumer, ConsumerEvent, PublisherEvent};
use roost_backend::{Queue, Topology};
use roost_ops::Readiness;
use roost_wire::{BroadcastPrefix, GatewayId, Incarnation, LinkId};
use tokio::sync::mpsc;

use super::links::{LinkName, Links};
use super::world::World;
use crate::shard::{ASK_KEY, Backend};

/// Which of the two publishing connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Events.
    Uplink,
    /// Sightings and settlements.
    Mesh,
}

/// Commands that the broker may send ahead of their acknowledgement, which leaves as they are taken in.
const INBOX_PREFETCH: u16 = 1_000;
/// The same for all else.
const CONTROL_PREFETCH: u16 = 500;

/// The same for broadcasts, which are acknowledged when the subscribers have them: with packets as large as they may be by default 50 MiB.
const BROADCAST_PREFETCH: u16 = 200;

/// Their places in the plan.
const INBOX: usize = 0;
const CONTROL: usize = 1;
const BROADCASTS: usize = 2;

/// How many events are taken in at once, so that their effects leave together.
const BATCH: usize = 256;

impl Side {
    const fn part(self) -> &'static str {
        match self {
            Self::Uplink => "AMQP uplink",
            Self::Mesh => "AMQP mesh",
        }
    }

    const fn link(self) -> LinkName {
        match self {
            Self::Uplink => LinkName::Uplink,
            Self::Mesh => LinkName::Mesh,
        }
    }
}

/// What the gateway consumes over its `link`-th connection: two queues that are that link's own, and two more if anything is a broadcast.
#[must_use]
pub fn inbox_plan(
    gateway: &GatewayId,
    incarnation: Incarnation,
    shards: u16,
    prefixes: &[BroadcastPrefix],
    link: LinkId,
) -> ConsumePlan {
    let inbox = inbox_queue(gateway, incarnation, link);
    let control = control_queue(gateway, incarnation, link);
    let own = Topology::of(Queue::of_link(&inbox)).and(Topology::of(Queue::of_link(&control)));
    let mut own = own.bind(&control, ROUTERS, "").and(broadcasts(gateway, incarnation, link, prefixes));
    let mut queues = vec![
        ConsumeQueue { name: inbox, prefetch: INBOX_PREFETCH },
        ConsumeQueue { name: control, prefetch: CONTROL_PREFETCH },
    ];
    if !prefixes.is_empty() {
        let name = broadcast_queue(gateway, incarnation, link);
        own = own.bind(&name, FANOUT, ASK_KEY).bind(&name, MESH, &name);
        queues.push(ConsumeQueue { name, prefetch: BROADCAST_PREFETCH });
        let name = missed_queue(gateway, incarnation, link);
        queues.push(ConsumeQueue { name, prefetch: CONTROL_PREFETCH });
    }
    ConsumePlan { topology: Topology::contract(shards).and(own), queues }
}

/// Carries the events of one publisher until it is closed.
pub(super) async fn publisher(
    world: Rc<RefCell<World>>,
    side: Side,
    readiness: Readiness,
    mut events: mpsc::Receiver<PublisherEvent>,
) {
    let mut batch = Vec::with_capacity(BATCH);
    while events.recv_many(&mut batch, BATCH).await > 0 {
        let mut outcomes = Vec::with_capacity(batch.len());
        for event in batch.drain(..) {
            let trouble = match event {
                PublisherEvent::Done { token, outcome } => {
                    outcomes.push((token, outcome));
                    continue;
                }
                PublisherEvent::Up => {
                    count(&world, |links| links.up(side.link()));
                    None
                }
                PublisherEvent::Down { reason } => {
                    count(&world, |links| links.down(side.link(), &reason));
                    Some(reason.to_string())
                }
                PublisherEvent::Unblocked => {
                    count(&world, |links| links.blocked(side.link(), false));
                    None
                }
                PublisherEvent::Blocked { reason } => {
                    count(&world, |links| links.blocked(side.link(), true));
                    Some(reason)
                }
            };
            let backend = stands(side, &readiness, trouble);
            // In order: an outcome that came before a loss is told before it.
            world.borrow_mut().with_hub(|hub| {
                hub.published(outcomes.drain(..));
                hub.backend(side, backend);
            });
        }
        world.borrow_mut().with_hub(|hub| hub.published(outcomes));
    }
}

fn count(world: &Rc<RefCell<World>>, what: impl FnOnce(&mut Links)) {
    if let Some(hub) = world.borrow_mut().hub() {
        what(&mut hub.links);
    }
}

/// Says, once per change, whether the publisher takes messages.
fn stands(side: Side, readiness: &Readiness, trouble: Option<String>) -> Backend {
    match trouble {
        None => {
            if readiness.ready(side.part()) {
                tracing::info!("{} is up", side.part());
            }
            Backend::Up
        }
        Some(reason) => {
            if readiness.not_ready(side.part(), &reason) {
                tracing::warn!(%reason, "{} is away; trying on", side.part());
            }
            Backend::Away
        }
    }
}

/// Carries commands and control reports until the consumer is closed.
pub(super) async fn consumer(
    world: Rc<RefCell<World>>,
    gateway: (GatewayId, Incarnation),
    consumer: Rc<Consumer>,
    readiness: Readiness,
    mut events: mpsc::Receiver<ConsumerEvent>,
) {
    const PART: &str = "AMQP inbox";
    let mut current = LinkId::default();
    while let Some(event) = events.recv().await {
        match event {
            ConsumerEvent::Up { link } => {
                current = link;
                readiness.ready(PART);
                tracing::info!(%link, "AMQP inbox is up");
                let (id, incarnation) = &gateway;
                let inbox = inbox_queue(id, *incarnation, link);
                let control = control_queue(id, *incarnation, link);
                count(&world, |links| links.up(LinkName::Inbox));
                let broadcasts = broadcast_queue(id, *incarnation, link);
                world.borrow_mut().with_hub(|hub| hub.link_up(link, inbox, control, &broadcasts));
            }
            ConsumerEvent::Down { link, reason } => {
                count(&world, |links| links.down(LinkName::Inbox, &reason));
                if readiness.not_ready(PART, reason.to_string()) {
                    tracing::warn!(%link, %reason, "AMQP inbox is away; trying on");
                }
                world.borrow_mut().with_hub(|hub| hub.link_down(link));
            }
            // Acknowledged when its subscribers have it.
            ConsumerEvent::Delivery(delivered) if delivered.queue == BROADCASTS => {
                world.borrow_mut().with_hub(|hub| hub.broadcast(delivered));
            }
            ConsumerEvent::Delivery(delivered) => {
                // The router's journal keeps every command until it is settled: nothing is lost by this.
                consumer.ack(delivered.token);
                world.borrow_mut().with_hub(|hub| match delivered.queue {
                    INBOX => hub.inbox(current, &delivered),
                    CONTROL => hub.control(current, &delivered),
                    _ => hub.broadcast_missed(&delivered),
                });
            }
        }
    }
}
