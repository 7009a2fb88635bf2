//! The queues of a gateway's link for broadcasts.

use roost_backend::shell::{
    ConsumePlan, ConsumeQueue, OnLoss, Publish, Published, PublisherConfig, consumer, publisher,
};
use roost_backend::{Overflow, Topology, contract};
use roost_wire::{Broadcast, BroadcastPrefix, GatewayId, Incarnation, LinkId, Topic};

use crate::broker::{PATIENCE, Stage};
use crate::consuming::next_delivery;
use crate::publishing::{next, outcomes};

/// With room for two instead of thousands, and nobody who reads.
pub(crate) async fn the_oldest_broadcasts_make_room_and_are_counted(stage: &Stage) {
    let gateway = GatewayId::parse("eu-1").unwrap();
    let incarnation = Incarnation(rand_of(stage));
    // Every scenario has a prefix of its own: the broker may be shared.
    let prefix = BroadcastPrefix::parse(&format!("{}/", stage.name("b"))).unwrap();
    let link = LinkId(1);
    let mut own = contract::broadcasts(&gateway, incarnation, link, std::slice::from_ref(&prefix));
    let name = contract::broadcast_queue(&gateway, incarnation, link);
    let queue = own.queues.iter_mut().find(|queue| queue.name == name).unwrap();
    queue.length_max = Some((2, Overflow::DropHead));
    let missed = contract::missed_queue(&gateway, incarnation, link);
    // Nobody consumes the first one: it lives as long as the link.
    let plan = ConsumePlan {
        topology: Topology::contract(1).and(own),
        queues: vec![ConsumeQueue { name: missed, prefetch: 100 }],
    };
    let (consumer, mut events) = consumer(stage.link(), move |_| plan.clone());
    assert!(matches!(events.recv().await, Some(roost_backend::shell::ConsumerEvent::Up { .. })));

    let (publisher, mut confirms) =
        publisher(stage.link(), Topology::contract(1), PublisherConfig::default());
    assert_eq!(next(&mut confirms).await, roost_backend::shell::PublisherEvent::Up);
    let topic = |last: &str| Topic::parse(&format!("{prefix}{last}")).unwrap();
    for token in 0..5 {
        let expires_in_ms = (token == 4).then_some(100);
        let broadcast = Broadcast { expires_in_ms, ..Broadcast::new(topic("a"), token.to_string().into()) };
        let message = broadcast.into_message(contract::FANOUT);
        publisher
            .publish(Publish { message, mandatory: true, on_loss: OnLoss::Report, token })
            .await
            .unwrap();
    }
    let (confirmed, _) = outcomes(&mut confirms, 5).await;
    assert!(confirmed.values().all(|outcome| *outcome == Published::Confirmed), "{confirmed:?}");
    for wanted in ["0", "1", "2"] {
        let delivered = next_delivery(&mut events).await;
        assert_eq!(delivered.message.body, wanted, "the oldest first");
        assert!(!contract::has_expired(&delivered.message));
        let broadcast = Broadcast::from_message(&delivered.message).unwrap();
        assert_eq!(broadcast.topic, topic("a"));
        consumer.ack(delivered.token);
    }
    publisher.close(PATIENCE).await;
    consumer.close().await;
}

fn rand_of(stage: &Stage) -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(stage.name("incarnation"))
}
