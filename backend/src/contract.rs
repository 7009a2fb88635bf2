//! The names of the mesh's exchanges and queues, and the durable part of them as one [`Topology`].

use roost_wire::{BroadcastPrefix, GatewayId, Incarnation, LinkId, Message, ShardId};

use crate::{DeadLetter, DeadLetterStrategy, Exchange, ExchangeKind, Overflow, Queue, Topology};

/// Events on their way up.
pub const UP: &str = "roost.up";
/// Commands on their way down.
pub const DOWN: &str = "roost.down";
/// Receipts of commands.
pub const RECEIPTS: &str = "roost.receipts";
/// Fenced presence.
pub const PRESENCE: &str = "roost.presence";
/// Broadcasts to all gateways.
pub const FANOUT: &str = "roost.fanout";
/// Answers of devices to commands, on their way to the router, which knows who waits for them: the mesh's own.
pub const ANSWERS: &str = "roost.answers";
/// Poison and rejected messages: an exchange, and the bounded queue behind it.
pub const DEAD: &str = "roost.dead";
/// Events that no queue wanted: an exchange, and the bounded queue behind it.
pub const UNROUTED: &str = "roost.unrouted";
/// What a router says to every gateway at once: a fanout that routers write and the gateways' control queues are bound to.
pub const ROUTERS: &str = "roost.routers";
/// The mesh's own reports: the direct exchange that a gateway may write.
pub const MESH: &str = "roost.mesh";

/// The most messages kept in the queues [`DEAD`] and [`UNROUTED`]: enough to see a morning's trouble, and no reason for an
/// alarm of its own. The oldest are dropped for newer ones.
pub const LEFTOVERS_MAX: u32 = 100_000;

/// The most sightings that wait for a router: some minutes of a reconnect storm. When it is reached gateways get a nack, and
/// announce a complete snapshot later.
pub const SIGHTINGS_MAX: u32 = 500_000;

/// The most commands that wait for a router, which takes them at tens of thousands a second. When it is reached senders get
/// a nack: the mesh does not have it.
pub const COMMANDS_MAX: u32 = 1_000_000;

/// The most broadcasts that wait for a gateway whose subscribers are slow: some minutes of a busy topic, 10 MB at 1 KiB each. When it is
/// reached the oldest leave for the gateway's [`missed_queue`], which it counts: refusing the newest instead would have their publisher
/// send them again to all the others.
pub const BROADCASTS_MAX: u32 = 10_000;

/// How often a message may come back to the quorum queues of the mesh: as good as always. What comes back is no poison there:
/// the router rejects by itself what it cannot read, and a message comes back only when the router's link was lost. RabbitMQ 4
/// gives it up after 20 times unless it is told otherwise: a command would end as `expired` before its time, a settlement be
/// dropped, because the router was restarted 21 times. The documented way to say "no limit" is -1, but RabbitMQ 3 takes that for a
/// limit of nothing, and gives up at the first return; both take a large number for what it is.
pub const DELIVERY_LIMIT: u32 = i32::MAX as u32;

/// The key in [`MESH`] of a shard's sightings.
#[must_use]
pub fn sightings_key(shard: ShardId) -> String {
    format!("sightings.{shard}")
}

/// The key in [`MESH`] of a shard's settlements.
#[must_use]
pub fn settle_key(shard: ShardId) -> String {
    format!("settle.{shard}")
}

/// Commands of a shard, for its router.
#[must_use]
pub fn router_queue(shard: ShardId) -> String {
    format!("roost.router.{shard}")
}

/// Commands that expired before the router took them.
#[must_use]
pub fn expired_queue(shard: ShardId) -> String {
    format!("roost.expired.{shard}")
}

/// Sightings of a shard, for its router.
#[must_use]
pub fn sightings_queue(shard: ShardId) -> String {
    format!("roost.sightings.{shard}")
}

/// Settlements of a shard, for its router.
#[must_use]
pub fn settle_queue(shard: ShardId) -> String {
    format!("roost.settle.{shard}")
}

/// The queue that only a shard's one router can declare: a second one gets RESOURCE_LOCKED and stands by.
#[must_use]
pub fn lock_queue(shard: ShardId) -> String {
    format!("roost.lock.{shard}")
}

/// Commands for one link of a gateway.
#[must_use]
pub fn inbox_queue(gateway: &GatewayId, incarnation: Incarnation, link: LinkId) -> String {
    format!("roost.inbox.{gateway}.{incarnation}.{link}")
}

/// All else for one link of a gateway: heartbeat answers, questions, requests, closes. Beside the inbox, so that a heartbeat's
/// answer never waits behind commands.
#[must_use]
pub fn control_queue(gateway: &GatewayId, incarnation: Incarnation, link: LinkId) -> String {
    format!("roost.control.{gateway}.{incarnation}.{link}")
}

/// Broadcasts for one link of a gateway. Beside the inbox, so that a command never waits behind broadcasts.
#[must_use]
pub fn broadcast_queue(gateway: &GatewayId, incarnation: Incarnation, link: LinkId) -> String {
    format!("roost.broadcast.{gateway}.{incarnation}.{link}")
}

/// Broadcasts that a link's [`broadcast_queue`] had no room or no time for, to be counted by its gateway.
#[must_use]
pub fn missed_queue(gateway: &GatewayId, incarnation: Incarnation, link: LinkId) -> String {
    format!("roost.missed.{gateway}.{incarnation}.{link}")
}

/// Why a message is in a [`missed_queue`]: whether its `expiration` has passed, else there was no room for it.
#[must_use]
pub fn has_expired(message: &Message) -> bool {
    message.properties.text("x-first-death-reason") == Some("expired")
}

/// The two queues of one link of a gateway for broadcasts, bound once for each prefix; none without a prefix.
#[must_use]
pub fn broadcasts(
    gateway: &GatewayId,
    incarnation: Incarnation,
    link: LinkId,
    prefixes: &[BroadcastPrefix],
) -> Topology {
    if prefixes.is_empty() {
        return Topology::default();
    }
    let (own, missed) =
        (broadcast_queue(gateway, incarnation, link), missed_queue(gateway, incarnation, link));
    let dead_letter = DeadLetter {
        exchange: MESH.to_owned(),
        routing_key: Some(missed.clone()),
        strategy: DeadLetterStrategy::AtMostOnce,
    };
    let bounded =
        |name: &str| Queue { length_max: Some((BROADCASTS_MAX, Overflow::DropHead)), ..Queue::of_link(name) };
    // First where the dead letters go, then what may have some.
    let queues = Topology::of(bounded(&missed)).bind(&missed, MESH, &missed);
    let queues = queues.and(Topology::of(Queue { dead_letter: Some(dead_letter), ..bounded(&own) }));
    prefixes.iter().fold(queues, |queues, prefix| queues.bind(&own, FANOUT, prefix.binding_key()))
}

/// Whether a queue is one of those that the mesh's own processes read.
#[must_use]
pub fn is_inner_queue(name: &str) -> bool {
    let kinds =
        ["router", "expired", "sightings", "settle", "lock", "inbox", "control", "broadcast", "missed"];
    let kind = name.strip_prefix("roost.").and_then(|rest| rest.split_once('.'));
    kind.is_some_and(|(kind, _)| kinds.contains(&kind))
}

impl Topology {
    /// The whole durable part of the contract, for that many shards. Whoever connects declares it. With one shard every command
    /// is its; what spreads them over more is not there yet, and each of several shards would get them all.
    #[must_use]
    pub fn contract(shards: u16) -> Self {
        let topics = [UP, DOWN, RECEIPTS, PRESENCE, FANOUT, ANSWERS, DEAD, UNROUTED];
        let mut exchanges: Vec<Exchange> =
            topics.into_iter().map(|name| Exchange::new(name, ExchangeKind::Topic)).collect();
        exchanges.push(Exchange::new(MESH, ExchangeKind::Direct));
        exchanges.push(Exchange::new(ROUTERS, ExchangeKind::Fanout));
        let leftovers = [DEAD, UNROUTED].into_iter().map(leftovers);
        let shards = (0..shards).map(|shard| of_shard(ShardId(shard)));
        let exchanges = Self { exchanges, ..Self::default() };
        leftovers.chain(shards).fold(exchanges, Self::and)
    }
}

fn leftovers(name: &str) -> Topology {
    let queue = Queue { length_max: Some((LEFTOVERS_MAX, Overflow::DropHead)), ..replicated(name) };
    Topology::of(queue).bind(name, name, "#")
}

fn of_shard(shard: ShardId) -> Topology {
    let (router, expired) = (router_queue(shard), expired_queue(shard));
    let (sightings, settle) = (sightings_queue(shard), settle_queue(shard));
    // A dead letter that is lost is a command without a receipt, so they travel at least once; quorum queues do that only
    // if they refuse what is too much.
    let dead_letter = DeadLetter {
        exchange: String::new(),
        routing_key: Some(expired.clone()),
        strategy: DeadLetterStrategy::AtLeastOnce,
    };
    let queues = vec![
        Queue {
            single_active_consumer: true,
            length_max: Some((COMMANDS_MAX, Overflow::RejectPublish)),
            dead_letter: Some(dead_letter),
            ..replicated(&router)
        },
        replicated(&expired),
        Queue { length_max: Some((SIGHTINGS_MAX, Overflow::RejectPublish)), ..replicated(&sightings) },
        replicated(&settle),
    ];
    Topology { queues, ..Topology::default() }
        .bind(&router, DOWN, "#")
        .bind(&sightings, MESH, &sightings_key(shard))
        .bind(&settle, MESH, &settle_key(shard))
        // Behind the settlements: the same queue, so that its bound on what is not acknowledged holds for both.
        .bind(&settle, ANSWERS, "#")
}

/// No queue of the contract is on one node: a durable one whose node is down cannot even be declared (404), and no link would come up.
fn replicated(name: &str) -> Queue {
    Queue { delivery_limit: Some(DELIVERY_LIMIT), ..Queue::quorum(name) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{QueueKind, QueueLife};

    #[test]
    fn the_contract_holds_every_name_once_and_binds_only_what_it_declares() {
        let contract = Topology::contract(3);
        let exchanges: BTreeSet<&str> = contract.exchanges.iter().map(|e| e.name.as_str()).collect();
        let queues: BTreeSet<&str> = contract.queues.iter().map(|q| q.name.as_str()).collect();
        assert_eq!((exchanges.len(), queues.len()), (contract.exchanges.len(), contract.queues.len()));
        assert_eq!((exchanges.len(), queues.len()), (10, 2 + 3 * 4));
        for binding in &contract.bindings {
            assert!(exchanges.contains(binding.exchange.as_str()), "{binding:?}");
            assert!(queues.contains(binding.queue.as_str()), "{binding:?}");
        }
    }

    #[test]
    fn every_queue_survives_the_loss_of_a_node_and_only_leftovers_are_dropped() {
        for queue in Topology::contract(1).queues {
            assert_eq!((queue.life, queue.kind), (QueueLife::Durable, QueueKind::Quorum), "{}", queue.name);
            let drops = matches!(queue.length_max, Some((_, Overflow::DropHead)));
            assert_eq!(drops, [DEAD, UNROUTED].contains(&&*queue.name), "{}", queue.name);
        }
    }

    #[test]
    fn no_quorum_queue_gives_a_message_up_for_coming_back() {
        let queues = Topology::contract(2).queues;
        assert!(queues.iter().all(|queue| queue.delivery_limit == Some(DELIVERY_LIMIT)), "{queues:?}");
    }

    #[test]
    fn the_queues_between_gateways_and_routers_are_known_by_their_names() {
        let (shard, gateway) = (ShardId(0), GatewayId::parse("eu-1").unwrap());
        let inner = [
            router_queue(shard),
            expired_queue(shard),
            sightings_queue(shard),
            settle_queue(shard),
            lock_queue(shard),
            inbox_queue(&gateway, Incarnation(1), LinkId(1)),
            control_queue(&gateway, Incarnation(1), LinkId(1)),
            broadcast_queue(&gateway, Incarnation(1), LinkId(1)),
            missed_queue(&gateway, Incarnation(1), LinkId(1)),
        ];
        assert!(inner.iter().all(|name| is_inner_queue(name)), "{inner:?}");
        for other in [DEAD, UNROUTED, "answers", "roost.router", "roost.routers.0", "my.roost.router.0", ""] {
            assert!(!is_inner_queue(other), "{other}");
        }
    }

    #[test]
    fn a_links_broadcasts_are_bound_by_prefix_and_what_has_no_room_is_counted() {
        let gateway = GatewayId::parse("eu-1").unwrap();
        let topology =
            |prefixes: &[BroadcastPrefix]| broadcasts(&gateway, Incarnation(1), LinkId(2), prefixes);
        assert_eq!(topology(&[]), Topology::default());
        let prefixes = ["broadcast/", "fleet/eu/"].map(|text| BroadcastPrefix::parse(text).unwrap());
        let topology = topology(&prefixes);
        assert!(topology.queues.iter().all(|queue| {
            queue.life == QueueLife::Link && queue.length_max == Some((BROADCASTS_MAX, Overflow::DropHead))
        }));
        let own = broadcast_queue(&gateway, Incarnation(1), LinkId(2));
        let fanout = topology.bindings.iter().filter(|binding| binding.exchange == FANOUT);
        let keys: Vec<_> = fanout.map(|binding| (binding.queue.as_str(), binding.key.as_str())).collect();
        assert_eq!(keys, [(own.as_str(), "broadcast.#"), (own.as_str(), "fleet.eu.#")]);
        let queue = topology.queues.iter().find(|queue| queue.name == own).unwrap();
        let dead_letter = queue.dead_letter.as_ref().unwrap();
        let key = dead_letter.routing_key.as_deref().unwrap();
        assert!(topology.has_place_for(&dead_letter.exchange, key), "{dead_letter:?}");
    }

    #[test]
    fn names_say_whose_they_are_and_fit_amqp() {
        let gateway = GatewayId::parse(&"g".repeat(64)).unwrap();
        let inbox = inbox_queue(&gateway, Incarnation(0xbeef), LinkId(u32::MAX));
        assert!(inbox.len() <= 255);
        let eu = GatewayId::parse("eu-1").unwrap();
        assert_eq!(inbox_queue(&eu, Incarnation(0xbeef), LinkId(2)), "roost.inbox.eu-1.000000000000beef.2");
        assert_eq!(
            control_queue(&eu, Incarnation(0xbeef), LinkId(2)),
            "roost.control.eu-1.000000000000beef.2"
        );
    }
}
