//! What arrives is what was sent.

use bytes::Bytes;
use roost_backend::shell::{ConsumePlan, ConsumeQueue, ConsumerEvent, OnLoss, Publish, consumer};
use roost_backend::{Queue, Topology};
use roost_wire::{DeliveryMode, HeaderValue, Headers, Message, Properties};

use crate::broker::{PATIENCE, Stage};
use crate::publishing::start;

fn rich(queue: &str) -> Message {
    let pair = |name: &str, value: &str| HeaderValue::List(vec![name.into(), value.into()]);
    let table = Headers::from([("inner".to_owned(), HeaderValue::Int(-1))]);
    let headers = Headers::from([
        ("void".to_owned(), HeaderValue::Void),
        ("true".to_owned(), true.into()),
        ("least".to_owned(), i64::MIN.into()),
        ("most".to_owned(), i64::MAX.into()),
        ("double".to_owned(), HeaderValue::Double(-0.5)),
        ("text".to_owned(), "zwölf Boxkämpfer".into()),
        ("empty".to_owned(), "".into()),
        ("bytes".to_owned(), HeaderValue::Bytes(Bytes::from_static(b"\x00\xff\xfe"))),
        ("moment".to_owned(), HeaderValue::Timestamp(1_700_000_000)),
        (
            "pairs".to_owned(),
            HeaderValue::List(vec![pair("a", "1"), pair("a", "2"), HeaderValue::List(vec![])]),
        ),
        ("table".to_owned(), HeaderValue::Table(table)),
    ]);
    let text = |text: &str| Some(text.to_owned());
    let properties = Properties {
        content_type: text("application/json"),
        headers,
        delivery_mode: DeliveryMode::Persistent,
        priority: Some(3),
        correlation_id: text("correlation"),
        reply_to: text("reply"),
        expiration: text("60000"),
        message_id: text("id"),
        timestamp_s: Some(1_700_000_001),
        kind: text("kind"),
        user_id: None,
    };
    // Larger than a frame of 128 KiB, so that it comes in pieces.
    let body = Bytes::from((0..300_000_u32).map(|i| i.to_le_bytes()[0]).collect::<Vec<_>>());
    Message { exchange: String::new(), routing_key: queue.to_owned(), properties, body }
}

pub(crate) async fn every_kind_of_header_arrives_as_it_was_sent(stage: &Stage) {
    let name = stage.name("messages");
    let queue = name.clone();
    let plan = move |_| ConsumePlan {
        topology: Topology::of(Queue::of_link(&queue)),
        queues: vec![ConsumeQueue { name: queue.clone(), prefetch: 10 }],
    };
    let (consumer, mut deliveries) = consumer(stage.link(), plan);
    assert!(matches!(deliveries.recv().await, Some(ConsumerEvent::Up { .. })));
    let (publisher, _events) = start(stage);
    let bare = Message {
        exchange: "amq.topic".into(),
        routing_key: name.clone(),
        properties: Properties::default(),
        body: Bytes::new(),
    };
    let sent = [rich(&name), Message { exchange: String::new(), ..bare }];
    for (token, message) in (0..).zip(&sent) {
        let publish = Publish { message: message.clone(), mandatory: true, on_loss: OnLoss::Report, token };
        publisher.publish(publish).await.unwrap();
    }
    for mut expected in sent {
        let Some(ConsumerEvent::Delivery(delivered)) = deliveries.recv().await else { panic!("a delivery") };
        expected.properties.user_id = Some(stage.address.user().to_owned());
        assert_eq!(delivered.message, expected);
        consumer.ack(delivered.token);
    }
    assert_eq!(publisher.close(PATIENCE).await.tokens, [0_u64; 0]);
    consumer.close().await;
}
