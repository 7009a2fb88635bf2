//! What a link does about the topology.

use lapin::types::FieldTable;
use roost_backend::shell::{
    ConsumePlan, ConsumerEvent, DownReason, Publish, Published, PublisherConfig, PublisherEvent, consumer,
    publisher,
};
use roost_backend::{Exchange, ExchangeKind, Overflow, Queue, Topology};
use roost_wire::LinkId;

use crate::broker::{PATIENCE, Stage, publish};
use crate::publishing::{next, outcomes};

pub(crate) async fn the_contract_is_declared_again_and_again(stage: &Stage) {
    for _ in 0..2 {
        let (publisher, mut events) =
            publisher(stage.link(), Topology::contract(1), PublisherConfig::default());
        assert_eq!(next(&mut events).await, PublisherEvent::Up);
        publisher.close(PATIENCE).await;
    }
}

pub(crate) async fn a_deleted_exchange_is_declared_again(stage: &Stage) {
    let (behind, exchange, queue) = (stage.behind().await, stage.name("exchange"), stage.name("queue"));
    let topology =
        Topology { exchanges: vec![Exchange::new(&exchange, ExchangeKind::Topic)], ..Topology::default() };
    let (publisher, mut events) = publisher(stage.link(), topology, PublisherConfig::default());
    assert_eq!(next(&mut events).await, PublisherEvent::Up);
    behind.delete_exchange(&exchange).await;
    let mut lone = publish("some.key", 1);
    lone.message.exchange.clone_from(&exchange);
    publisher.publish(lone.clone()).await.unwrap();
    let (after, downs) = outcomes(&mut events, 1).await;
    assert!(
        matches!(after[&1], Published::Returned { code: 312, .. }),
        "there, but nothing is bound: {after:?}"
    );
    let downs: Vec<String> = downs.iter().map(DownReason::to_string).collect();
    assert!(downs.len() == 1 && downs[0].contains("NOT_FOUND") && downs[0].contains(&exchange), "{downs:?}");
    behind.own_queue(&queue, FieldTable::default()).await;
    behind.bind(&queue, &exchange, "some.*").await;
    lone.token = 2;
    publisher.publish(lone).await.unwrap();
    assert_eq!(outcomes(&mut events, 1).await.0[&2], Published::Confirmed);
    publisher.close(PATIENCE).await;
    behind.delete_exchange(&exchange).await;
    behind.close().await;
}

pub(crate) async fn a_deleted_queue_that_every_message_finds_is_declared_again(stage: &Stage) {
    let (behind, exchange, queue) = (stage.behind().await, stage.name("exchange"), stage.name("queue"));
    let exchanges = vec![Exchange::new(&exchange, ExchangeKind::Topic)];
    let topology =
        Topology { exchanges, ..Topology::of(Queue::classic(&queue)) }.bind(&queue, &exchange, "#");
    let (publisher, mut events) = publisher(stage.link(), topology, PublisherConfig::default());
    assert_eq!(next(&mut events).await, PublisherEvent::Up);
    behind.delete_queue(&queue).await;
    let mut message = publish("some.key", 1);
    message.message.exchange.clone_from(&exchange);
    let again = async {
        for token in 1.. {
            publisher.publish(Publish { token, ..message.clone() }).await.unwrap();
            let (after, downs) = outcomes(&mut events, 1).await;
            assert!(downs.is_empty(), "the link is well: {downs:?}");
            match &after[&token] {
                Published::Confirmed => return token,
                Published::Returned { code: 312, .. } => {}
                other => panic!("{other:?}"),
            }
        }
        unreachable!()
    };
    let confirmed = tokio::time::timeout(PATIENCE, again).await.expect("the queue is there again");
    assert!(confirmed > 1, "the first one came back");
    publisher.close(PATIENCE).await;
    behind.delete_queue(&queue).await;
    behind.delete_exchange(&exchange).await;
    behind.close().await;
}

pub(crate) async fn a_queue_that_is_otherwise_is_named(stage: &Stage) {
    let (behind, name) = (stage.behind().await, stage.name("otherwise"));
    behind.durable_queue(&name).await;
    let queue = Queue { length_max: Some((5, Overflow::RejectPublish)), ..Queue::classic(&name) };
    let (publisher, mut events) = publisher(stage.link(), Topology::of(queue), PublisherConfig::default());
    for _ in 0..3 {
        let PublisherEvent::Down { reason } = next(&mut events).await else { panic!("it cannot be up") };
        let text = reason.to_string();
        assert!(text.starts_with(&format!("declaring queue `{name}`: PRECONDITION_FAILED")), "{text}");
        assert!(matches!(reason, DownReason::Refused { code: 406, .. }), "{reason:?}");
    }
    behind.delete_queue(&name).await;
    while next(&mut events).await != PublisherEvent::Up {}
    publisher.close(PATIENCE).await;
    behind.delete_queue(&name).await;
    behind.close().await;
}

pub(crate) async fn a_locked_queue_is_waited_for(stage: &Stage) {
    let lock = stage.name("lock");
    let plan = move |_| ConsumePlan { topology: Topology::of(Queue::of_link(&lock)), queues: Vec::new() };
    let (first, mut active) = consumer(stage.link(), plan.clone());
    assert_eq!(active.recv().await, Some(ConsumerEvent::Up { link: LinkId(1) }));
    let (second, mut standby) = consumer(stage.link(), plan);
    for attempt in 1..=3 {
        let Some(ConsumerEvent::Down { link, reason }) = standby.recv().await else { panic!("it is locked") };
        assert_eq!(link, LinkId(attempt));
        let DownReason::ResourceLocked { what, .. } = &reason else { panic!("{reason:?}") };
        assert!(what.contains("-lock") && reason.to_string().contains("RESOURCE_LOCKED"), "{reason}");
    }
    first.close().await;
    loop {
        match standby.recv().await.unwrap() {
            ConsumerEvent::Up { .. } => break,
            ConsumerEvent::Down { .. } => {}
            ConsumerEvent::Delivery(_) => panic!("nothing is consumed"),
        }
    }
    second.close().await;
}
