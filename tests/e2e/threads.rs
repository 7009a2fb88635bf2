//! A gateway with several threads that serve devices is one gateway.

use std::collections::{BTreeMap, BTreeSet};

use roost_harness::{
    Backend, Connect, Device, DeviceKind, Federation, Metrics, PATIENCE, eventually, on_both_backends,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::raw_client::RawClient;
use crate::roaming_sessions::becomes;

const THREADS: u16 = 4;
/// As many publishers as subscribers: of 64 pairs hardly one of four shards has none.
const CLIENTS: usize = 8;
const MESSAGES: usize = 60;

async fn client(port: u16, name: &str) -> Device {
    Device::connected(DeviceKind::RumqttcV4, &Connect::to(port, name)).await
}

/// Each publishes at once with the others, one after the other.
async fn publish(port: u16) {
    let mut publishers = JoinSet::new();
    for name in 0..CLIENTS {
        publishers.spawn(async move {
            let mut publisher = client(port, &format!("publisher-{name}")).await;
            for n in 0..MESSAGES {
                let topic = format!("local/of/{name}");
                publisher.publish(&topic, n.to_string().as_bytes(), 1).await.expect("PUBACK");
            }
        });
    }
    publishers.join_all().await;
}

async fn every_subscriber_has_every_publisher_in_order(backend: Backend) {
    let mesh = Federation::of(backend).await.with_threads(THREADS).started().await;
    let port = mesh.mqtt_port("eu-1");
    let mut subscribers = Vec::new();
    for name in 0..CLIENTS {
        let mut subscriber = client(port, &format!("subscriber-{name}")).await;
        subscriber.subscribe("local/of/+", 1).await.expect("granted");
        subscribers.push(subscriber);
    }
    let mut workers = Vec::new();
    for name in 0..CLIENTS {
        let mut worker = client(port, &format!("worker-{name}")).await;
        worker.subscribe("$share/workers/local/of/+", 1).await.expect("granted");
        workers.push(worker);
    }
    publish(port).await;
    for subscriber in &mut subscribers {
        let mut next = BTreeMap::<String, usize>::new();
        for _ in 0..CLIENTS * MESSAGES {
            let message = subscriber.next().await.expect("still connected");
            let next = next.entry(message.topic.clone()).or_default();
            assert_eq!(message.text(), next.to_string(), "{}", message.topic);
            *next += 1;
        }
    }
    // The group has each once, whoever of it.
    let (done, mut jobs) = mpsc::channel(CLIENTS * MESSAGES);
    for mut worker in workers {
        let done = done.clone();
        tokio::spawn(async move {
            while let Ok(message) = worker.next().await {
                let job = (message.topic.clone(), message.text().to_owned());
                done.send(job).await.expect("the test goes on");
            }
        });
    }
    let mut shared = BTreeSet::new();
    while shared.len() < CLIENTS * MESSAGES {
        let job = timeout(PATIENCE, jobs.recv()).await.expect("the rest comes").expect("they are connected");
        assert!(shared.insert(job.clone()), "{job:?} came again");
    }
    assert!(subscribers.iter_mut().all(|client| client.arrived().is_empty()));
    eventually("all have gone to other threads", PATIENCE, async || {
        let metrics = Metrics::of(&mesh.admin("eu-1")).await;
        let crossed = metrics.sum("roost_gateway_publishes_crossed_total", &[]);
        if crossed >= (CLIENTS * MESSAGES) as f64 { Ok(()) } else { Err(format!("{crossed} of them")) }
    })
    .await;
}

/// Sessions are where their devices' shards are now, and a broken connection is one whose client is served by another thread.
async fn sessions_on_disk_outlive_a_change_of_the_number(backend: Backend) {
    let mesh = Federation::of(backend).await.with_spools("sessions:\n  store: disk\n");
    let mut mesh = mesh.with_threads(THREADS).started().await;
    let names: Vec<String> = (0..CLIENTS).map(|name| format!("kept-{name}")).collect();
    for name in &names {
        RawClient::persistent(mesh.mqtt_port("eu-1"), 5, name).await.subscribe("local/news").await;
    }
    for (text, threads) in [("one", 1), ("two", 3)] {
        becomes(&mesh, "eu-1", "roost_gateway_sessions_connected", "", 0.0).await;
        let mut news = client(mesh.mqtt_port("eu-1"), "news").await;
        news.publish("local/news", text.as_bytes(), 1).await.expect("it is on disk");
        mesh.kill_gateway("eu-1");
        mesh = mesh.with_threads(threads);
        mesh.start_gateway("eu-1").await;
        for name in &names {
            let mut client = RawClient::persistent(mesh.mqtt_port("eu-1"), 5, name).await;
            assert!(client.session_present, "{name}, {threads} threads");
            let message = client.next().await;
            client.acknowledge(&message).await;
            assert_eq!(message.text, text, "{name}, {threads} threads");
            client.has_no_more().await;
        }
    }
}

on_both_backends!(
    every_subscriber_has_every_publisher_in_order,
    sessions_on_disk_outlive_a_change_of_the_number
);
