//! What a publisher promises.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lapin::types::{AMQPValue, FieldTable};
use roost_backend::Topology;
use roost_backend::shell::{
    DownReason, Published, Publisher, PublisherConfig, PublisherEvent, TryPublishError, publisher,
};
use tokio::sync::mpsc;

use crate::broker::{PATIENCE, Stage, publish};
use crate::proxy::Proxy;

/// The next event, within patience.
pub(crate) async fn next(events: &mut mpsc::Receiver<PublisherEvent>) -> PublisherEvent {
    let event = tokio::time::timeout(PATIENCE, events.recv()).await.expect("no event within patience");
    event.expect("the publisher lives")
}

/// Reads events until so many messages have their outcome; gives the outcomes and the reasons of `Down`.
pub(crate) async fn outcomes(
    events: &mut mpsc::Receiver<PublisherEvent>,
    count: usize,
) -> (BTreeMap<u64, Published>, Vec<DownReason>) {
    let (mut outcomes, mut downs) = (BTreeMap::new(), Vec::new());
    while outcomes.len() < count {
        match next(events).await {
            PublisherEvent::Done { token, outcome } => {
                assert_eq!(outcomes.insert(token, outcome), None, "one outcome for {token}");
            }
            PublisherEvent::Down { reason } => downs.push(reason),
            PublisherEvent::Up | PublisherEvent::Blocked { .. } | PublisherEvent::Unblocked => {}
        }
    }
    (outcomes, downs)
}

pub(crate) fn start(stage: &Stage) -> (Publisher, mpsc::Receiver<PublisherEvent>) {
    publisher(stage.link(), Topology::default(), PublisherConfig::default())
}

pub(crate) async fn what_is_confirmed_is_there_in_order_however_often_the_connection_is_cut(stage: &Stage) {
    const MESSAGES: u64 = 20_000;
    let (behind, proxy, queue) =
        (stage.behind().await, Proxy::before(&stage.address).await, stage.name("events"));
    behind.own_queue(&queue, FieldTable::default()).await;
    let (publisher, mut events) =
        publisher(stage.link_through(&proxy), Topology::default(), PublisherConfig::default());
    let publishing = {
        let (publisher, queue) = (publisher.clone(), queue.clone());
        tokio::spawn(async move {
            for token in 0..MESSAGES {
                publisher.publish(publish(&queue, token)).await.unwrap();
            }
        })
    };
    // Each cut comes in the middle of traffic: after so many confirms, while thousands are on their way.
    let mut cuts =
        vec![500, 2_000, 5_000, 5_100, 9_000, 13_000, 17_000, 19_000].into_iter().rev().collect::<Vec<_>>();
    let planned = cuts.len();
    let (mut confirmed, mut downs) = (0, 0);
    while confirmed < MESSAGES {
        match next(&mut events).await {
            PublisherEvent::Done { outcome, token } => {
                assert_eq!(outcome, Published::Confirmed, "{token}");
                confirmed += 1;
            }
            PublisherEvent::Down { .. } => downs += 1,
            PublisherEvent::Up | PublisherEvent::Blocked { .. } | PublisherEvent::Unblocked => {}
        }
        if cuts.last().is_some_and(|cut| confirmed >= *cut) {
            cuts.pop();
            proxy.cut();
        }
    }
    publishing.await.unwrap();
    assert_eq!(publisher.close(PATIENCE).await.tokens, [0_u64; 0]);
    assert!(downs >= planned / 2, "{downs} losses for {planned} cuts");

    let found = behind.drain(&queue).await;
    let mut first = Vec::new();
    let mut seen = vec![false; usize::try_from(MESSAGES).unwrap()];
    for (id, replayed) in &found {
        let seen = &mut seen[usize::try_from(*id).unwrap()];
        assert!(!*seen || *replayed, "{id} is there twice and does not say so");
        if !std::mem::replace(seen, true) {
            first.push(*id);
        }
    }
    assert_eq!(first, (0..MESSAGES).collect::<Vec<_>>(), "all there, first appearances in order");
    assert!(found.iter().any(|(_, replayed)| *replayed), "the cuts hit something in flight");
    behind.close().await;
}

pub(crate) async fn a_return_finds_its_message(stage: &Stage) {
    const MESSAGES: u64 = 6_000;
    let (behind, queue, nowhere) = (stage.behind().await, stage.name("there"), stage.name("nowhere"));
    behind.own_queue(&queue, FieldTable::default()).await;
    let (publisher, mut events) = start(stage);
    // A pattern without a period that batches or windows could hide in, and some that are not mandatory in between.
    let routed = |token: u64| token.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 62 != 0;
    let mandatory = |token: u64| token.wrapping_mul(0xD1B5_4A32_D192_ED03) >> 61 != 0;
    let publishing = tokio::spawn(async move {
        for token in 0..MESSAGES {
            let mut publish = publish(if routed(token) { &queue } else { &nowhere }, token);
            publish.mandatory = mandatory(token);
            publisher.publish(publish).await.unwrap();
        }
        publisher
    });
    let (outcomes, downs) = outcomes(&mut events, usize::try_from(MESSAGES).unwrap()).await;
    assert_eq!(downs, []);
    for (token, outcome) in outcomes {
        let returned = Published::Returned { code: 312, text: "NO_ROUTE".into() };
        let expected = if routed(token) || !mandatory(token) { Published::Confirmed } else { returned };
        assert_eq!(outcome, expected, "{token}");
    }
    publishing.await.unwrap().close(PATIENCE).await;
    behind.close().await;
}

pub(crate) async fn a_full_queue_refuses_what_is_too_much(stage: &Stage) {
    let (behind, queue) = (stage.behind().await, stage.name("full"));
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(10));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    behind.own_queue(&queue, arguments).await;
    let (publisher, mut events) = start(stage);
    for token in 0..10 {
        publisher.publish(publish(&queue, token)).await.unwrap();
    }
    let (first, _) = outcomes(&mut events, 10).await;
    assert!(first.values().all(|outcome| *outcome == Published::Confirmed), "{first:?}");
    for token in 10..200 {
        publisher.publish(publish(&queue, token)).await.unwrap();
    }
    let (later, _) = outcomes(&mut events, 190).await;
    assert!(later.values().all(|outcome| *outcome == Published::Nacked), "{later:?}");
    assert_eq!(behind.ready(&queue).await, 10);
    publisher.close(PATIENCE).await;
    behind.close().await;
}

pub(crate) async fn a_channel_on_which_messages_are_refused_is_replaced(stage: &Stage) {
    let (behind, queue) = (stage.behind().await, stage.name("renewed"));
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(1));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    behind.own_queue(&queue, arguments).await;
    let (publisher, mut events) = start(stage);
    let began = Instant::now();
    let mut token = 0;
    while publisher.figures().channels_renewed < 2 {
        publisher.publish(publish(&queue, token)).await.unwrap();
        let (outcome, downs) = outcomes(&mut events, 1).await;
        let expected = if token == 0 { Published::Confirmed } else { Published::Nacked };
        assert_eq!((outcome[&token].clone(), downs), (expected, vec![]), "{token}");
        assert!(began.elapsed() < PATIENCE, "no new channel after {token} refusals");
        token += 1;
    }
    // The link is the same one, and does its work: what is published now comes behind what was there.
    assert_eq!(behind.drain(&queue).await, [(0, false)]);
    publisher.publish(publish(&queue, token)).await.unwrap();
    let (outcome, downs) = outcomes(&mut events, 1).await;
    assert_eq!((outcome[&token].clone(), downs), (Published::Confirmed, vec![]));
    publisher.close(PATIENCE).await;
    behind.close().await;
}

pub(crate) async fn closing_waits_for_the_confirms(stage: &Stage) {
    let (behind, queue) = (stage.behind().await, stage.name("late"));
    behind.own_queue(&queue, FieldTable::default()).await;
    let (publisher, mut events) = start(stage);
    let clone = publisher.clone();
    for token in 0..300 {
        publisher.publish(publish(&queue, token)).await.unwrap();
    }
    // Nobody reads the events yet: that must not hold up the close.
    assert_eq!(publisher.close(PATIENCE).await.tokens, [0_u64; 0]);
    assert_eq!(behind.ready(&queue).await, 300);
    assert!(clone.publish(publish(&queue, 300)).await.is_err(), "closed for clones too");
    assert!(matches!(clone.try_publish(publish(&queue, 300)), Err(TryPublishError::Closed(_))));
    let (outcomes, _) = outcomes(&mut events, 300).await;
    assert!(outcomes.values().all(|outcome| *outcome == Published::Confirmed));
    assert_eq!(events.recv().await, None);
    behind.close().await;
}

pub(crate) async fn closing_says_what_is_left(stage: &Stage) {
    let (behind, proxy, queue) =
        (stage.behind().await, Proxy::before(&stage.address).await, stage.name("left"));
    behind.own_queue(&queue, FieldTable::default()).await;
    let config = PublisherConfig { window_max: 2, ..PublisherConfig::default() };
    let (publisher, mut events) = publisher(stage.link_through(&proxy), Topology::default(), config);
    assert_eq!(next(&mut events).await, PublisherEvent::Up);
    proxy.fall_silent();
    for token in 0..5 {
        publisher.publish(publish(&queue, token)).await.unwrap();
    }
    let unconfirmed = publisher.close(Duration::from_millis(300)).await;
    assert_eq!(unconfirmed.tokens, [0, 1, 2, 3, 4], "two in the window, three before it");
    behind.close().await;
}

pub(crate) async fn an_owner_that_reads_no_events_stops_the_intake_and_nothing_else(stage: &Stage) {
    let (behind, queue) = (stage.behind().await, stage.name("unread"));
    behind.own_queue(&queue, FieldTable::default()).await;
    let config = PublisherConfig { window_max: 8, queue_max: 4, events_max: 2 };
    let (publisher, mut events) = publisher(stage.link(), Topology::default(), config);
    // Up to the window, the queue and what the outbox holds, and no further, however long one tries.
    let (mut taken, mut full_since) = (0, None);
    while full_since.is_none_or(|since: Instant| since.elapsed() < Duration::from_millis(500)) {
        match publisher.try_publish(publish(&queue, taken)) {
            Ok(()) => (taken, full_since) = (taken + 1, None),
            Err(TryPublishError::Full(back)) => {
                assert_eq!(back.token, taken);
                full_since.get_or_insert_with(Instant::now);
                tokio::task::yield_now().await;
            }
            Err(TryPublishError::Closed(_)) => panic!("it is open"),
        }
        assert!(taken < 100, "nobody reads, and it takes more and more");
    }
    let (outcomes, _) = outcomes(&mut events, usize::try_from(taken).unwrap()).await;
    assert!(outcomes.values().all(|outcome| *outcome == Published::Confirmed));
    publisher.close(PATIENCE).await;
    behind.close().await;
}
