//! What a client sees, the same with the embedded broker and with RabbitMQ.

use crate::client::*;
use lapin::options::*;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Confirmation, ExchangeKind};
use std::time::Duration;

fn number(number: i32) -> AMQPValue {
    AMQPValue::LongInt(number)
}

pub(crate) async fn a_published_message_is_confirmed_and_consumed(url: &str) {
    let client = Client::connect(url).await;
    let queue = client.queue("q", &[]).await;
    let headers = table(&[("roost-topic", text("a/b")), ("n", AMQPValue::LongLongInt(-5))]);
    let properties = BasicProperties::default().with_message_id("m1".into()).with_headers(headers.clone());
    let confirmation = client.publish_with("", &queue, b"hello", properties).await;
    assert_eq!(confirmation, Confirmation::Ack(None));
    let mut consumer = client.consume(&queue).await;
    let delivery = next(&mut consumer).await;
    assert_eq!((&delivery.data[..], delivery.redelivered), (&b"hello"[..], false));
    assert_eq!(delivery.routing_key.as_str(), queue);
    assert_eq!(delivery.properties.message_id().as_ref().unwrap().as_str(), "m1");
    assert_eq!(delivery.properties.headers(), &Some(headers));
    delivery.ack(BasicAckOptions::default()).await.unwrap();
    client.channel.close(200, "done".into()).await.unwrap();
    assert_eq!(client.again(url).await.ready(&queue).await, 0);
}

pub(crate) async fn an_unroutable_mandatory_message_comes_back_before_its_ack(url: &str) {
    let client = Client::connect(url).await;
    let exchange = client.exchange("e", ExchangeKind::Topic).await;
    let confirmation = client.publish(&exchange, "nobody.listens", b"x").await;
    let Confirmation::Ack(Some(returned)) = confirmation else { panic!("{confirmation:?}") };
    assert_eq!((returned.reply_code, returned.reply_text.as_str()), (312, "NO_ROUTE"));
    assert_eq!(returned.delivery.data, b"x");
}

pub(crate) async fn topics_route_by_their_patterns(url: &str) {
    let client = Client::connect(url).await;
    let exchange = client.exchange("e", ExchangeKind::Topic).await;
    let one = client.queue("one", &[]).await;
    let many = client.queue("many", &[]).await;
    client.bind(&one, &exchange, "main.*.t").await;
    client.bind(&many, &exchange, "main.#").await;
    client.bind(&many, &exchange, "#.t").await;
    for key in ["main.d1.t", "main", "main.d1.t.u", "other.t"] {
        client.publish(&exchange, key, key.as_bytes()).await;
    }
    assert_eq!((client.ready(&one).await, client.ready(&many).await), (1, 4));
    let unbound = client.channel.queue_unbind(
        one.as_str().into(),
        exchange.as_str().into(),
        "main.*.t".into(),
        FieldTable::default(),
    );
    unbound.await.unwrap();
    client.publish(&exchange, "main.d1.t", b"").await;
    assert_eq!(client.ready(&one).await, 1);
}

pub(crate) async fn a_single_active_consumer_hands_over(url: &str) {
    let first = Client::connect(url).await;
    let second = first.again(url).await;
    for kind in ["classic", "quorum"] {
        let sac = ("x-single-active-consumer", AMQPValue::Boolean(true));
        let queue = first.queue(&format!("sac-{kind}"), &[sac, ("x-queue-type", text(kind))]).await;
        let channel = first.connection.create_channel().await.unwrap();
        let options = BasicConsumeOptions::default();
        let mut active = channel
            .basic_consume(queue.as_str().into(), "".into(), options, FieldTable::default())
            .await
            .unwrap();
        let mut waiting = second.consume(&queue).await;
        first.fill(&queue, &["a", "b", "c"]).await;
        for body in ["a", "b", "c"] {
            assert_eq!(next(&mut active).await.data, body.as_bytes(), "{kind}");
        }
        channel.close(200, "".into()).await.unwrap();
        for body in ["a", "b", "c"] {
            let delivery = next(&mut waiting).await;
            assert_eq!((&delivery.data[..], delivery.redelivered), (body.as_bytes(), true), "{kind}");
        }
    }
}

pub(crate) async fn an_expired_message_is_dead_lettered(url: &str) {
    let client = Client::connect(url).await;
    let dead = client.queue("dead", &[]).await;
    let to_dead = [("x-dead-letter-exchange", text("")), ("x-dead-letter-routing-key", text(&dead))];
    let by_queue = client.queue("by-queue", &[&to_dead[..], &[("x-message-ttl", number(20))]].concat()).await;
    let by_message = client.queue("by-message", &to_dead).await;
    let expiring = || BasicProperties::default().with_expiration("20".into());
    client.publish("", &by_queue, b"x").await;
    let first = client.await_message(&dead).await;
    client.publish_with("", &by_message, b"y", expiring()).await;
    let second = client.await_message(&dead).await;
    for (message, from, original) in [(first, &by_queue, None), (second, &by_message, Some(text("20")))] {
        assert_eq!(message.properties.expiration(), &None);
        let headers = message.properties.headers().clone().unwrap();
        let headers = headers.inner();
        assert_eq!(headers["x-first-death-reason"], text("expired"));
        assert_eq!(headers["x-first-death-queue"], text(from));
        assert_eq!(headers["x-first-death-exchange"], text(""));
        let AMQPValue::FieldArray(deaths) = &headers["x-death"] else { panic!("{headers:?}") };
        let [AMQPValue::FieldTable(death)] = deaths.as_slice() else { panic!("{deaths:?}") };
        let death = death.inner();
        assert_eq!(death["count"], AMQPValue::LongLongInt(1));
        assert_eq!((&death["reason"], &death["queue"]), (&text("expired"), &text(from)));
        assert_eq!(death["exchange"], text(""));
        assert_eq!(death["routing-keys"], AMQPValue::FieldArray(vec![text(from)].into()));
        assert_eq!(death.get("original-expiration").cloned(), original);
        assert!(matches!(death["time"], AMQPValue::Timestamp(time) if time > 1_600_000_000));
    }
}

pub(crate) async fn a_rejected_message_is_dead_lettered_with_its_history(url: &str) {
    let client = Client::connect(url).await;
    let first = client.name("first");
    let back = [("x-dead-letter-exchange", text("")), ("x-dead-letter-routing-key", text(&first))];
    let second = client.queue("second", &back).await;
    let there = [("x-dead-letter-exchange", text("")), ("x-dead-letter-routing-key", text(&second))];
    client.queue("first", &there).await;
    client.fill(&first, &["x"]).await;
    let mut consumers = [client.consume(&first).await, client.consume(&second).await];
    for turn in 0..3 {
        let delivery = next(&mut consumers[turn % 2]).await;
        delivery.reject(BasicRejectOptions { requeue: false }).await.unwrap();
    }
    let delivery = next(&mut consumers[1]).await;
    let headers = delivery.properties.headers().clone().unwrap();
    let AMQPValue::FieldArray(deaths) = &headers.inner()["x-death"] else { panic!("{headers:?}") };
    let deaths: Vec<_> = deaths
        .as_slice()
        .iter()
        .map(|death| match death {
            AMQPValue::FieldTable(death) => (death.inner()["queue"].clone(), death.inner()["count"].clone()),
            other => panic!("{other:?}"),
        })
        .collect();
    let count = |count| AMQPValue::LongLongInt(count);
    assert_eq!(deaths, [(text(&first), count(2)), (text(&second), count(1))]);
}

pub(crate) async fn a_requeued_message_keeps_its_place(url: &str) {
    let client = Client::connect(url).await;
    let queue = client.queue("q", &[]).await;
    client.fill(&queue, &["a", "b", "c", "d"]).await;
    let mut taken = Vec::new();
    for _ in 0..3 {
        let options = BasicGetOptions { no_ack: false };
        taken.push(client.channel.basic_get(queue.as_str().into(), options).await.unwrap().unwrap());
    }
    for which in [1, 0, 2] {
        let options = BasicNackOptions { requeue: true, multiple: false };
        taken[which].nack(options).await.unwrap();
    }
    for (body, redelivered) in [("a", true), ("b", true), ("c", true), ("d", false)] {
        let message = client.await_message(&queue).await;
        assert_eq!((&message.data[..], message.redelivered), (body.as_bytes(), redelivered));
    }
}

pub(crate) async fn a_full_queue_refuses_its_publisher(url: &str) {
    let client = Client::connect(url).await;
    let arguments = [("x-max-length", number(2)), ("x-overflow", text("reject-publish"))];
    let queue = client.queue("q", &arguments).await;
    client.fill(&queue, &["a", "b"]).await;
    let refused = client.publish("", &queue, b"c").await;
    assert!(matches!(refused, Confirmation::Nack(None)), "{refused:?}");
    client.await_message(&queue).await;
    client.fill(&queue, &["d"]).await;
    let dropping = client.queue("dropping", &[("x-max-length", number(1))]).await;
    client.fill(&dropping, &["old", "new"]).await;
    assert_eq!(client.await_message(&dropping).await.data, b"new");
}

pub(crate) async fn prefetch_holds_deliveries_back(url: &str) {
    let client = Client::connect(url).await;
    let queue = client.queue("q", &[]).await;
    client.fill(&queue, &["a", "b", "c"]).await;
    client.prefetch(2).await;
    let mut consumer = client.consume(&queue).await;
    let first = next(&mut consumer).await;
    next(&mut consumer).await;
    assert_eq!(client.ready(&queue).await, 1);
    first.ack(BasicAckOptions::default()).await.unwrap();
    assert_eq!(next(&mut consumer).await.data, b"c");
}

pub(crate) async fn an_exclusive_queue_is_locked_and_ends_with_its_connection(url: &str) {
    let owner = Client::connect(url).await;
    let other = Client::connect(url).await;
    let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    let queue = owner.channel.queue_declare("".into(), options, FieldTable::default()).await.unwrap();
    assert!(queue.name().as_str().starts_with("amq.gen-"));
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let locked = other.channel.queue_declare(queue.name().clone(), passive, FieldTable::default()).await;
    assert_eq!(code(&locked.unwrap_err()), 405);
    owner.connection.close(200, "".into()).await.unwrap();
    let channel = other.connection.create_channel().await.unwrap();
    let gone = channel.queue_declare(queue.name().clone(), passive, FieldTable::default()).await;
    assert_eq!(code(&gone.unwrap_err()), 404);
}

pub(crate) async fn consumers_hear_that_their_queue_is_gone(url: &str) {
    let client = Client::connect(url).await;
    let queue = client.queue("q", &[]).await;
    let mut consumer = client.consume(&queue).await;
    let other = client.again(url).await;
    other.channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
    let end = tokio::time::timeout(PATIENCE, futures_util::StreamExt::next(&mut consumer)).await;
    assert!(end.expect("the consumer ends").is_none());
}

pub(crate) async fn wrong_requests_get_their_code(url: &str) {
    let client = Client::connect(url).await;
    let queue = client.queue("q", &[]).await;
    let plain = QueueDeclareOptions::default();
    let passive = QueueDeclareOptions { passive: true, ..plain };
    let exchange = ExchangeDeclareOptions::default();
    let none = FieldTable::default;
    let queue = queue.as_str();
    macro_rules! refused {
        ($code:literal, $method:ident $arguments:tt) => {{
            let connection = client.again(url).await;
            let result = connection.channel.$method $arguments.await;
            assert_eq!(code(&result.unwrap_err()), $code, stringify!($method $arguments));
        }};
    }
    refused!(406, queue_declare(queue.into(), plain, none()));
    refused!(406, queue_declare("n".into(), plain, table(&[("x-message-ttl", number(-1))])));
    refused!(406, queue_declare("n".into(), plain, table(&[("x-queue-type", text("quorum"))])));
    refused!(404, queue_declare("not there".into(), passive, none()));
    refused!(403, queue_declare("amq.mine".into(), plain, none()));
    refused!(403, exchange_declare("amq.mine".into(), ExchangeKind::Direct, exchange, none()));
    refused!(403, exchange_declare("".into(), ExchangeKind::Direct, exchange, none()));
    refused!(406, exchange_declare("amq.topic".into(), ExchangeKind::Fanout, exchange, none()));
    refused!(403, queue_bind(queue.into(), "".into(), "k".into(), QueueBindOptions::default(), none()));
    refused!(
        404,
        queue_bind(queue.into(), "not there".into(), "k".into(), QueueBindOptions::default(), none())
    );
    refused!(404, basic_consume("not there".into(), "".into(), BasicConsumeOptions::default(), none()));
    refused!(404, queue_purge("not there".into(), QueuePurgeOptions::default()));
}

pub(crate) async fn a_claimed_user_is_checked(url: &str) {
    let client = Client::connect(url).await;
    let queue = client.queue("q", &[]).await;
    let own = BasicProperties::default().with_user_id("guest".into());
    assert_eq!(client.publish_with("", &queue, b"x", own).await, Confirmation::Ack(None));
    let other = BasicProperties::default().with_user_id("somebody".into());
    let options = BasicPublishOptions::default();
    let publish = client.channel.basic_publish("".into(), queue.as_str().into(), options, b"x", other);
    let error = match publish.await {
        Ok(confirm) => confirm.await.expect_err("the channel is closed"),
        Err(error) => error,
    };
    assert_eq!(code(&error), 406);
}

pub(crate) async fn a_message_of_many_frames_arrives_whole(url: &str) {
    let client = Client::connect(url).await;
    let queue = client.queue("q", &[]).await;
    for length in [0, 1, 131_063, 131_064, 131_065, 1_000_000] {
        let body: Vec<u8> = (0..length).map(|at: u32| (at % 251) as u8).collect();
        client.publish("", &queue, &body).await;
        let message = client.await_message(&queue).await;
        assert!(message.data == body, "{length} bytes");
    }
}

pub(crate) async fn a_quorum_queue_counts_deliveries(url: &str) {
    let client = Client::connect(url).await;
    let dead = client.queue("dead", &[]).await;
    let arguments = [
        ("x-queue-type", text("quorum")),
        ("x-delivery-limit", number(2)),
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text(&dead)),
    ];
    let queue = client.queue("q", &arguments).await;
    client.fill(&queue, &["x"]).await;
    let mut consumer = client.consume(&queue).await;
    for turn in 0..3 {
        let delivery = next(&mut consumer).await;
        let headers = delivery.properties.headers().clone().unwrap_or_default();
        let counted = headers.inner().get("x-delivery-count").cloned();
        assert_eq!(counted, (turn > 0).then_some(AMQPValue::LongLongInt(turn)));
        assert_eq!(delivery.redelivered, turn > 0);
        delivery.reject(BasicRejectOptions { requeue: true }).await.unwrap();
    }
    let message = client.await_message(&dead).await;
    let headers = message.properties.headers().clone().unwrap();
    assert_eq!(headers.inner()["x-first-death-reason"], text("delivery_limit"));
}

pub(crate) async fn an_unused_queue_expires(url: &str) {
    let client = Client::connect(url).await;
    let options = QueueDeclareOptions::default();
    let name = client.name("idle");
    let arguments = table(&[("x-expires", number(50))]);
    client.channel.queue_declare(name.as_str().into(), options, arguments).await.unwrap();
    let gone = async {
        loop {
            // Publishing is no use of a queue; asking for it would be.
            if matches!(client.publish("", &name, b"").await, Confirmation::Ack(Some(_))) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("the queue is deleted");
}
