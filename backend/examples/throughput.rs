//! What a message costs the client: publishes to a quorum queue and consumes from it, over one link each.
//!
//! `cargo run --release -p roost-backend --example throughput -- amqp://guest:guest@127.0.0.1:5672 200000`
//!
//! Quote ratios and CPU, not messages per second: those are the broker's, and the machine's.

#![allow(clippy::print_stdout, reason = "figures are what it is for")]
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on has nothing to say")]

use std::time::Instant;

use bytes::Bytes;
use roost_backend::shell::LinkConfig;
use roost_backend::shell::{
    ConsumePlan, ConsumeQueue, ConsumerEvent, OnLoss, Publish, Published, PublisherConfig, PublisherEvent,
    consumer, publisher,
};
use roost_backend::{AmqpAddress, Queue, Topology};
use roost_wire::{DeliveryMode, Message, Properties};

const QUEUE: &str = "roost.throughput";

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let address: AmqpAddress = arguments.next().expect("an AMQP address").parse().unwrap();
    let messages: u64 = arguments.next().map_or(100_000, |count| count.parse().unwrap());
    let link = LinkConfig::new(address, "throughput");
    publish(&link, messages).await;
    consume(&link, messages).await;
}

async fn publish(link: &LinkConfig, messages: u64) {
    let topology = Topology::of(Queue::quorum(QUEUE));
    let (publisher, mut events) = publisher(link.clone(), topology, PublisherConfig::default());
    assert_eq!(events.recv().await, Some(PublisherEvent::Up));
    let meter = Meter::start();
    let source = publisher.clone();
    let publishing = tokio::spawn(async move {
        for token in 0..messages {
            source.publish(message(token)).await.unwrap();
        }
    });
    let mut confirmed = 0;
    while confirmed < messages {
        match events.recv().await.unwrap() {
            PublisherEvent::Done { outcome: Published::Confirmed, .. } => confirmed += 1,
            PublisherEvent::Done { outcome, token } => panic!("{token}: {outcome:?}"),
            other => println!("{other:?}"),
        }
    }
    meter.stop("publish + confirm", messages);
    publishing.await.unwrap();
    publisher.close(link.timeout).await;
}

async fn consume(link: &LinkConfig, messages: u64) {
    let queues = vec![ConsumeQueue { name: QUEUE.to_owned(), prefetch: 2_000 }];
    let plan = move |_| ConsumePlan { topology: Topology::default(), queues: queues.clone() };
    let (consumer, mut events) = consumer(link.clone(), plan);
    assert!(matches!(events.recv().await, Some(ConsumerEvent::Up { .. })));
    let meter = Meter::start();
    for _ in 0..messages {
        match events.recv().await.unwrap() {
            ConsumerEvent::Delivery(delivered) => consumer.ack(delivered.token),
            other => println!("{other:?}"),
        }
    }
    meter.stop("consume + ack", messages);
    consumer.close().await;
}

/// 256 bytes with an event's headers.
fn message(token: u64) -> Publish {
    let mut properties = Properties {
        message_id: Some(token.to_string()),
        delivery_mode: DeliveryMode::Persistent,
        ..Properties::default()
    };
    for (name, value) in [("roost-tenant", "main"), ("roost-device", "sensor-17"), ("roost-topic", "a/b/c")] {
        properties.set(name, value);
    }
    properties.set("roost-seq", token);
    properties.set("roost-replayed", false);
    let message = Message {
        exchange: String::new(),
        routing_key: QUEUE.to_owned(),
        properties,
        body: Bytes::from_static(&[7; 256]),
    };
    Publish { message, mandatory: true, on_loss: OnLoss::PublishAgain, token }
}

/// Time on the wall, and of this process's CPU.
struct Meter {
    wall: Instant,
    cpu_ticks: u64,
}

impl Meter {
    fn start() -> Self {
        Self { wall: Instant::now(), cpu_ticks: cpu_ticks() }
    }

    fn stop(&self, what: &str, messages: u64) {
        let (wall, ticks) = (self.wall.elapsed(), cpu_ticks() - self.cpu_ticks);
        let rate = messages as f64 / wall.as_secs_f64();
        // Linux counts 100 ticks a second.
        let cpu_us = ticks as f64 * 10_000.0 / messages as f64;
        println!("{what}: {rate:.0}/s, {cpu_us:.1} µs of CPU each, {messages} messages");
    }
}

/// User and system time of this process: fields 14 and 15 of `/proc/self/stat`, counted behind the name in brackets.
fn cpu_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
}
