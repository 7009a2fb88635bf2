//! What a publisher does when things go wrong.

use std::time::Duration;

use bytes::Bytes;
use lapin::types::FieldTable;
use roost_backend::shell::{
    ConsumePlan, ConsumerEvent, DownReason, LinkConfig, OnLoss, Published, PublisherConfig, PublisherEvent,
    consumer, publisher,
};
use roost_backend::{AmqpAddress, Topology};
use roost_wire::HeaderValue;
use tokio::net::TcpListener;

use crate::broker::{PATIENCE, Stage, publish};
use crate::proxy::Proxy;
use crate::publishing::{next, outcomes, start};

fn down(event: PublisherEvent) -> DownReason {
    match event {
        PublisherEvent::Down { reason } => reason,
        other => panic!("expected a loss, got {other:?}"),
    }
}

pub(crate) async fn a_message_that_the_broker_closes_the_channel_for_is_refused_alone(stage: &Stage) {
    let (behind, queue) = (stage.behind().await, stage.name("good"));
    behind.own_queue(&queue, FieldTable::default()).await;
    let (publisher, mut events) = start(stage);
    for token in 0..200 {
        let mut publish = publish(&queue, token);
        if token % 70 == 50 {
            publish.message.exchange = stage.name("no-such-exchange");
        }
        publisher.publish(publish).await.unwrap();
    }
    let (outcomes, downs) = outcomes(&mut events, 200).await;
    for (token, outcome) in &outcomes {
        match (token % 70 == 50, outcome) {
            (true, Published::Refused { reason }) => assert!(reason.contains("NOT_FOUND"), "{reason}"),
            (false, Published::Confirmed) => {}
            (_, other) => panic!("{token}: {other:?}"),
        }
    }
    assert!(
        downs.iter().all(|reason| matches!(reason, DownReason::Refused { code: 404, .. })
            && reason.to_string().contains("no-such-exchange")),
        "{downs:?}"
    );
    let mut order: Vec<u64> = behind.drain(&queue).await.into_iter().map(|(id, _)| id).collect();
    let mut seen = std::collections::BTreeSet::new();
    order.retain(|id| seen.insert(*id));
    assert_eq!(order, (0..200).filter(|token| token % 70 != 50).collect::<Vec<_>>());
    publisher.close(PATIENCE).await;
    behind.close().await;
}

pub(crate) async fn what_amqp_cannot_carry_is_refused(stage: &Stage) {
    let (behind, queue) = (stage.behind().await, stage.name("fits"));
    behind.own_queue(&queue, FieldTable::default()).await;
    let (publisher, mut events) = start(stage);
    let (mut long_key, mut long_header, mut large_headers) =
        (publish(&queue, 0), publish(&queue, 1), publish(&queue, 2));
    long_key.message.routing_key = "k".repeat(256);
    long_header.message.properties.set(&"h".repeat(256), true);
    large_headers.message.properties.set("large", "x".repeat(200 * 1024));
    for publish in [long_key, long_header, large_headers, publish(&queue, 3)] {
        publisher.publish(publish).await.unwrap();
    }
    let (outcomes, downs) = outcomes(&mut events, 4).await;
    assert!(downs.is_empty(), "the link does not suffer: {downs:?}");
    let expected = ["routing key is 256 bytes", "name of a header is 256 bytes", "properties take"];
    for (token, part) in (0..).zip(expected) {
        let Some(Published::Refused { reason }) = outcomes.get(&token) else { panic!("{outcomes:?}") };
        assert!(reason.contains(part), "{reason}");
    }
    assert_eq!(outcomes[&3], Published::Confirmed);
    publisher.close(PATIENCE).await;
    behind.close().await;
}

pub(crate) async fn a_silent_broker_is_left_and_the_message_published_again(stage: &Stage) {
    let (behind, proxy, queue) =
        (stage.behind().await, Proxy::before(&stage.address).await, stage.name("again"));
    behind.own_queue(&queue, FieldTable::default()).await;
    let link = LinkConfig { timeout: Duration::from_millis(500), ..stage.link_through(&proxy) };
    let (publisher, mut events) = publisher(link, Topology::default(), PublisherConfig::default());
    assert_eq!(next(&mut events).await, PublisherEvent::Up);
    proxy.fall_silent();
    publisher.publish(publish(&queue, 7)).await.unwrap();
    let reason = down(next(&mut events).await);
    let after = Duration::from_millis(500);
    assert_eq!(reason, DownReason::TimedOut { what: "confirming".to_owned(), after });
    assert_eq!(reason.to_string(), "confirming: no answer within 500ms");
    proxy.speak_again();
    let (outcomes, _) = outcomes(&mut events, 1).await;
    assert_eq!(outcomes[&7], Published::Confirmed);
    let found = behind.drain(&queue).await;
    assert_eq!(found, [(7, false), (7, true)], "the broker had it; it is there again, and says so");
    publisher.close(PATIENCE).await;
    behind.close().await;
}

pub(crate) async fn a_broker_that_never_speaks_is_not_waited_for(stage: &Stage) {
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let proxy = Proxy::before(&stage.address).await;
    proxy.fall_silent();
    let link_timeout = Duration::from_millis(50);
    let link = LinkConfig { timeout: link_timeout, ..stage.link_through(&proxy) };
    let (publisher, mut events) = publisher(link, Topology::default(), PublisherConfig::default());
    for _ in 0..20 {
        let reason = down(next(&mut events).await);
        let DownReason::TimedOut { what, after } = &reason else { panic!("{reason:?}") };
        assert!(what.starts_with("connecting to amqp://") && *after == link_timeout, "{reason}");
    }
    // Other scenarios have threads too; twenty left behind by this one would show.
    let before = threads();
    for _ in 0..20 {
        down(next(&mut events).await);
    }
    let left = async {
        while threads() > before + 10 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, left).await.expect("every attempt left its thread behind");
    proxy.speak_again();
    while next(&mut events).await != PublisherEvent::Up {}
    publisher.close(PATIENCE).await;
}

pub(crate) async fn where_nobody_listens_it_says_so_and_keeps_trying(stage: &Stage) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let link = LinkConfig { address: stage.address.through("127.0.0.1", port), ..stage.link() };
    let (publisher, mut events) = publisher(link, Topology::default(), PublisherConfig::default());
    publisher.publish(publish("anywhere", 1)).await.unwrap();
    for _ in 0..5 {
        let reason = down(next(&mut events).await);
        let DownReason::Unreachable { what, text } = &reason else { panic!("{reason:?}") };
        assert!(what.contains(&port.to_string()) && text.contains("refused"), "{reason}");
    }
    assert_eq!(publisher.close(Duration::ZERO).await.tokens, [1]);
}

/// The broker as if it were several nodes behind these ports.
fn nodes(stage: &Stage, ports: [u16; 3]) -> AmqpAddress {
    let node = &stage.address.nodes()[0];
    let nodes = ports.map(|port| format!("127.0.0.1:{port}")).join(",");
    let address: AmqpAddress =
        stage.address.with_password().replace(&node.to_string(), &nodes).parse().unwrap();
    assert_eq!(address.nodes().len(), 3, "{address}");
    address
}

pub(crate) async fn of_several_nodes_one_that_answers_is_found(stage: &Stage) {
    let (one, other) = (Proxy::before(&stage.address).await, Proxy::before(&stage.address).await);
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let link = LinkConfig { address: nodes(stage, [nobody, one.port(), other.port()]), ..stage.link() };
    let (publisher, mut events) = publisher(link, Topology::default(), PublisherConfig::default());
    let mut met = [0, 0];
    // Which of the two it begins with is drawn; that it is the same one 40 times is one chance in 2^39.
    for _ in 0..40 {
        assert_eq!(
            next(&mut events).await,
            PublisherEvent::Up,
            "a node that is there is found at the first attempt"
        );
        met = [one.connections(), other.connections()];
        if met.iter().all(|connections| *connections > 0) {
            break;
        }
        one.cut();
        other.cut();
        down(next(&mut events).await);
    }
    assert!(met.iter().all(|connections| *connections > 0), "links spread over the nodes: {met:?}");
    publisher.close(PATIENCE).await;
}

/// As RabbitMQ's nodes do that are cut off from the others: they take connections, and leave the rest without an answer.
pub(crate) async fn a_node_that_says_nothing_is_not_waited_for(stage: &Stage) {
    let [one, other, third] = [
        Proxy::before(&stage.address).await,
        Proxy::before(&stage.address).await,
        Proxy::before(&stage.address).await,
    ];
    one.fall_silent();
    other.fall_silent();
    let address = nodes(stage, [one.port(), other.port(), third.port()]);
    // Far longer than the test waits for anything.
    let link = LinkConfig { address, timeout: PATIENCE * 10, ..stage.link() };
    let (publisher, mut events) = publisher(link.clone(), Topology::default(), PublisherConfig::default());
    let (consumer, mut consumed) = consumer(link, |_| ConsumePlan::default());
    assert_eq!(next(&mut events).await, PublisherEvent::Up);
    let up = tokio::time::timeout(PATIENCE, consumed.recv()).await.expect("no event within patience");
    assert!(matches!(up, Some(ConsumerEvent::Up { .. })), "{up:?}");
    publisher.close(PATIENCE).await;
    consumer.close().await;
}

pub(crate) async fn a_wrong_password_is_a_reason_and_does_not_print(stage: &Stage) {
    let address = &stage.address;
    let node = &address.nodes()[0];
    let wrong = AmqpAddress::new(address.user(), "open-sesame", &node.host, node.port, address.vhost());
    let link = LinkConfig { address: wrong, ..stage.link() };
    let (publisher, mut events) = publisher(link, Topology::default(), PublisherConfig::default());
    let reason = down(next(&mut events).await);
    assert!(matches!(reason, DownReason::Refused { code: 403, .. }), "{reason:?}");
    let text = reason.to_string();
    assert!(text.contains("ACCESS_REFUSED") && !text.contains("sesame"), "{text}");
    publisher.close(Duration::ZERO).await;
}

pub(crate) async fn a_blocked_connection_waits_and_says_so(stage: &Stage) {
    let (behind, proxy, queue) =
        (stage.behind().await, Proxy::before(&stage.address).await, stage.name("blocked"));
    behind.own_queue(&queue, FieldTable::default()).await;
    let link = stage.link_through(&proxy);
    let (publisher, mut events) = publisher(link, Topology::default(), PublisherConfig::default());
    publisher.publish(publish(&queue, 0)).await.unwrap();
    outcomes(&mut events, 1).await;
    proxy.say_blocked(true);
    assert_eq!(next(&mut events).await, PublisherEvent::Blocked { reason: "no space".into() });
    publisher.publish(publish(&queue, 1)).await.unwrap();
    assert_eq!(behind.ready(&queue).await, 1, "nothing is sent on a blocked connection");
    proxy.say_blocked(false);
    assert_eq!(next(&mut events).await, PublisherEvent::Unblocked);
    let (outcomes, downs) = outcomes(&mut events, 1).await;
    assert_eq!((&outcomes[&1], downs.len(), proxy.connections()), (&Published::Confirmed, 0, 1));
    publisher.close(PATIENCE).await;
    behind.close().await;
}

pub(crate) async fn a_lost_message_is_reported_if_that_was_asked_for(stage: &Stage) {
    let (behind, proxy, queue) =
        (stage.behind().await, Proxy::before(&stage.address).await, stage.name("lost"));
    behind.own_queue(&queue, FieldTable::default()).await;
    let (publisher, mut events) =
        publisher(stage.link_through(&proxy), Topology::default(), PublisherConfig::default());
    assert_eq!(next(&mut events).await, PublisherEvent::Up);
    proxy.fall_silent();
    let mut report = publish(&queue, 1);
    report.on_loss = OnLoss::Report;
    report.message.properties.set("note", HeaderValue::Bytes(Bytes::from_static(b"\xff")));
    publisher.publish(report).await.unwrap();
    publisher.publish(publish(&queue, 2)).await.unwrap();
    behind.until_ready(&queue, 2).await;
    proxy.speak_again();
    let (outcomes, downs) = outcomes(&mut events, 2).await;
    assert_eq!(outcomes.into_values().collect::<Vec<_>>(), [Published::Lost, Published::Confirmed]);
    assert!(!downs.is_empty());
    assert_eq!(behind.drain(&queue).await, [(1, false), (2, false), (2, true)]);
    publisher.close(PATIENCE).await;
    behind.close().await;
}
