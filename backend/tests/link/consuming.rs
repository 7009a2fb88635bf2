//! What a consumer promises.

use std::collections::BTreeSet;

use roost_backend::shell::{
    ConsumePlan, ConsumeQueue, Consumer, ConsumerEvent, Delivered, DownReason, Publisher, consumer,
};
use roost_backend::{Queue, Topology};
use roost_wire::LinkId;
use tokio::sync::mpsc;

use crate::broker::{Behind, PATIENCE, Stage, publish};
use crate::proxy::Proxy;
use crate::publishing::{outcomes, start};

/// A durable queue with messages 0 to `count` in it; the scenario deletes it.
async fn filled(stage: &Stage, name: &str, count: u64) -> (Behind, String) {
    let (behind, queue) = (stage.behind().await, stage.name(name));
    behind.durable_queue(&queue).await;
    fill(stage, &queue, count).await.close(PATIENCE).await;
    (behind, queue)
}

async fn fill(stage: &Stage, queue: &str, count: u64) -> Publisher {
    let (publisher, mut events) = start(stage);
    let publishing = async {
        for token in 0..count {
            publisher.publish(publish(queue, token)).await.unwrap();
        }
    };
    tokio::join!(publishing, outcomes(&mut events, usize::try_from(count).unwrap()));
    publisher
}

fn plan(queue: &str, prefetch: u16) -> impl FnMut(LinkId) -> ConsumePlan + Send + Clone + 'static {
    let queues = vec![ConsumeQueue { name: queue.to_owned(), prefetch }];
    move |_| ConsumePlan { topology: Topology::default(), queues: queues.clone() }
}

async fn next(events: &mut mpsc::Receiver<ConsumerEvent>) -> ConsumerEvent {
    let event = tokio::time::timeout(PATIENCE, events.recv()).await.expect("no event within patience");
    event.expect("the consumer lives")
}

pub(crate) async fn next_delivery(events: &mut mpsc::Receiver<ConsumerEvent>) -> Delivered {
    loop {
        if let ConsumerEvent::Delivery(delivered) = next(events).await {
            return delivered;
        }
    }
}

async fn deliveries(events: &mut mpsc::Receiver<ConsumerEvent>, count: usize) -> Vec<Delivered> {
    let mut found = Vec::new();
    while found.len() < count {
        found.push(next_delivery(events).await);
    }
    found
}

fn id(delivered: &Delivered) -> u64 {
    delivered.message.properties.message_id.as_ref().unwrap().parse().unwrap()
}

pub(crate) async fn every_answer_reaches_the_broker(stage: &Stage) {
    let (behind, queue) = filled(stage, "work", 3_000).await;
    let (consumer, mut events) = consumer(stage.link(), plan(&queue, 200));
    let mut held: Vec<Delivered> = Vec::new();
    for expected in 0..3_000 {
        let delivered = next_delivery(&mut events).await;
        assert_eq!((id(&delivered), delivered.redelivered, delivered.queue), (expected, false, 0));
        // Most at once, every seventh later and backwards: answers out of order.
        match expected % 7 {
            0 => held.push(delivered),
            _ => consumer.ack(delivered.token),
        }
        if held.len() == 20 {
            held.drain(..).rev().for_each(|delivered| consumer.ack(delivered.token));
        }
    }
    let left = held.len();
    assert!(left > 0);
    consumer.close().await;
    behind.until_ready(&queue, u32::try_from(left).unwrap()).await;
    let back: BTreeSet<u64> = behind.drain(&queue).await.into_iter().map(|(id, _)| id).collect();
    assert_eq!(back, held.iter().map(id).collect(), "exactly what had no answer went back");
    behind.delete_queue(&queue).await;
    behind.close().await;
}

pub(crate) async fn what_was_not_answered_comes_again_after_a_cut(stage: &Stage) {
    let (behind, queue) = filled(stage, "again", 100).await;
    let proxy = Proxy::before(&stage.address).await;
    let (consumer, mut events) = consumer(stage.link_through(&proxy), plan(&queue, 50));
    assert_eq!(next(&mut events).await, ConsumerEvent::Up { link: LinkId(1) });
    let first = deliveries(&mut events, 50).await;
    first[..20].iter().for_each(|delivered| consumer.ack(delivered.token));
    // The broker has heard the answers when it delivers as many more.
    let more = deliveries(&mut events, 20).await;
    proxy.cut();
    let ConsumerEvent::Down { link, reason } = next(&mut events).await else { panic!("it was cut") };
    assert_eq!(link, LinkId(1));
    assert!(matches!(reason, DownReason::Broken { .. }), "{reason:?}");
    let again = deliveries(&mut events, 50).await;
    let expected: Vec<u64> = first[20..].iter().chain(&more).map(id).collect();
    assert_eq!(again.iter().map(id).collect::<Vec<_>>(), expected, "in their old places");
    assert!(again.iter().all(|delivered| delivered.redelivered && delivered.token.link() > LinkId(1)));
    consumer.close().await;
    behind.delete_queue(&queue).await;
    behind.close().await;
}

pub(crate) async fn tokens_of_an_older_link_are_ignored(stage: &Stage) {
    let (behind, queue) = filled(stage, "tokens", 10).await;
    let proxy = Proxy::before(&stage.address).await;
    let (consumer, mut events) = consumer(stage.link_through(&proxy), plan(&queue, 10));
    let old = deliveries(&mut events, 10).await;
    proxy.cut();
    let new = deliveries(&mut events, 10).await;
    old.iter().for_each(|delivered| consumer.ack(delivered.token));
    consumer.ack(new[3].token);
    consumer.ack(new[3].token);
    consumer.close().await;
    behind.until_ready(&queue, 9).await;
    behind.delete_queue(&queue).await;
    behind.close().await;
}

pub(crate) async fn rejected_messages_go_back_or_away(stage: &Stage) {
    let (behind, queue) = filled(stage, "rejects", 3).await;
    let (consumer, mut events) = consumer(stage.link(), plan(&queue, 3));
    let first = deliveries(&mut events, 3).await;
    consumer.reject(first[0].token, true);
    consumer.reject(first[1].token, false);
    consumer.ack(first[2].token);
    let again = next_delivery(&mut events).await;
    assert_eq!((id(&again), again.redelivered), (0, true));
    consumer.ack(again.token);
    consumer.close().await;
    assert_eq!(behind.ready(&queue).await, 0);
    behind.delete_queue(&queue).await;
    behind.close().await;
}

pub(crate) async fn no_more_is_delivered_than_prefetched(stage: &Stage) {
    let (behind, queue) = filled(stage, "prefetch", 30).await;
    let (consumer, mut events) = consumer(stage.link(), plan(&queue, 10));
    let first = deliveries(&mut events, 10).await;
    assert_eq!(behind.ready(&queue).await, 20);
    consumer.ack(first[9].token);
    assert_eq!(id(&next_delivery(&mut events).await), 10, "an answer out of order makes room too");
    behind.until_ready(&queue, 19).await;
    consumer.close().await;
    behind.delete_queue(&queue).await;
    behind.close().await;
}

pub(crate) async fn a_cancelled_consumer_comes_back_with_its_queue(stage: &Stage) {
    let (behind, name) = (stage.behind().await, stage.name("cancelled"));
    let queue = name.clone();
    let plan = move |_| ConsumePlan {
        topology: Topology::of(Queue::classic(&queue)),
        queues: vec![ConsumeQueue { name: queue.clone(), prefetch: 1 }],
    };
    let (consumer, mut events) = consumer(stage.link(), plan);
    assert_eq!(next(&mut events).await, ConsumerEvent::Up { link: LinkId(1) });
    behind.delete_queue(&name).await;
    let ConsumerEvent::Down { link: LinkId(1), reason } = next(&mut events).await else {
        panic!("cancelled")
    };
    let DownReason::Closed { what, text } = &reason else { panic!("{reason:?}") };
    assert!(what.contains(&name) && text.contains("cancelled"), "{reason}");
    assert_eq!(next(&mut events).await, ConsumerEvent::Up { link: LinkId(2) });
    fill(stage, &name, 1).await.close(PATIENCE).await;
    assert_eq!(id(&next_delivery(&mut events).await), 0);
    consumer.close().await;
    behind.delete_queue(&name).await;
    behind.close().await;
}

pub(crate) async fn one_router_at_a_time_is_the_active_consumer(stage: &Stage) {
    let name = stage.name("single");
    let (queue, behind) = (name.clone(), stage.behind().await);
    let plan = move |_| ConsumePlan {
        topology: Topology::of(Queue { single_active_consumer: true, ..Queue::quorum(&queue) }),
        queues: vec![ConsumeQueue { name: queue.clone(), prefetch: 10 }],
    };
    let start = |plan| -> (Consumer, mpsc::Receiver<ConsumerEvent>) { consumer(stage.link(), plan) };
    let (first, mut active) = start(plan.clone());
    assert_eq!(next(&mut active).await, ConsumerEvent::Up { link: LinkId(1) });
    let (second, mut waiting) = start(plan);
    assert_eq!(next(&mut waiting).await, ConsumerEvent::Up { link: LinkId(1) });
    fill(stage, &name, 20).await.close(PATIENCE).await;
    let taken = deliveries(&mut active, 10).await;
    assert_eq!(taken.iter().map(id).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    assert!(waiting.try_recv().is_err(), "the second one has nothing");
    taken[..4].iter().for_each(|delivered| first.ack(delivered.token));
    first.close().await;
    let rest = deliveries(&mut waiting, 10).await;
    assert!(
        rest.iter().map(id).collect::<BTreeSet<_>>().contains(&4),
        "what had no answer comes to the second"
    );
    second.close().await;
    behind.delete_queue(&name).await;
    behind.close().await;
}
