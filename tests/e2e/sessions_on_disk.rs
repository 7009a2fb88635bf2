//! `sessions: store: disk`: a gateway that was killed has its sessions and retained messages again, and keeps what it has promised.

use roost_harness::{
    Backend, Connect, Device, DeviceKind, Federation, Metrics, PATIENCE, Seed, eventually, on_both_backends,
};

use crate::exactly_once::{Careful, once};
use crate::raw_client::{RawClient, Received};
use crate::retained::retain;
use crate::roaming_sessions::{becomes, both_are_heard};

const ON_DISK: &str = "sessions:\n  store: disk\n";

/// Kills of the gateway while a device publishes to itself.
const KILLS: usize = 25;

async fn mesh(backend: Backend) -> Federation {
    let mesh = Federation::of(backend).await.with_spools(ON_DISK).started().await;
    both_are_heard(&mesh).await;
    mesh
}

async fn publisher(mesh: &Federation, gateway: &str) -> Device {
    Device::connected(DeviceKind::RumqttcV5, &Connect::to(mesh.mqtt_port(gateway), "publisher")).await
}

/// A session with a subscription to `local/news`, and `one` and `three` in flight.
async fn in_flight(mesh: &Federation, level: u8, id: &str) -> (RawClient, Vec<Received>) {
    let mut client = RawClient::persistent(mesh.mqtt_port("eu-1"), level, id).await;
    assert!(!client.session_present);
    client.subscribe("local/news").await;
    let mut publisher = publisher(mesh, "eu-1").await;
    let mut received = Vec::new();
    for text in ["one", "two", "three"] {
        publisher.publish("local/news", text.as_bytes(), 1).await.expect("it is on disk");
        received.push(client.next().await);
    }
    client.acknowledge(&received[1]).await;
    client.has_no_more().await;
    received.remove(1);
    publisher.disconnect().await;
    (client, received)
}

/// Reads and acknowledges so many.
async fn take(client: &mut RawClient, many: usize) -> Vec<Received> {
    let mut received = Vec::new();
    for _ in 0..many {
        let message = client.next().await;
        client.acknowledge(&message).await;
        received.push(message);
    }
    received
}

async fn a_killed_gateway_has_its_sessions_and_retained_messages_again(backend: Backend) {
    let mut mesh = mesh(backend).await;
    for level in [4, 5] {
        let id = format!("kept-{level}");
        let (client, in_flight) = in_flight(&mesh, level, &id).await;
        drop(client);
        becomes(&mesh, "eu-1", "roost_gateway_sessions_connected", "", 0.0).await;
        let mut news = publisher(&mesh, "eu-1").await;
        news.publish("local/news", b"four", 1).await.expect("it is on disk");
        let retained = format!("local/kept/{level}");
        let mut keeper = RawClient::clean(mesh.mqtt_port("eu-1"), level, "keeper").await;
        retain(&mut keeper.raw, level, &retained, b"state").await;

        mesh.kill_gateway("eu-1");
        mesh.start_gateway("eu-1").await;
        let mut client = RawClient::persistent(mesh.mqtt_port("eu-1"), level, &id).await;
        assert!(client.session_present, "level {level}");
        let again = take(&mut client, 3).await;
        let resent: Vec<Received> =
            in_flight.into_iter().map(|first| Received { duplicate: true, ..first }).collect();
        assert_eq!(again[..2], resent, "with the ids under which it knows them");
        assert_eq!((again[2].text.as_str(), again[2].duplicate), ("four", false));
        let mut news = publisher(&mesh, "eu-1").await;
        news.publish("local/news", b"five", 1).await.expect("it is on disk");
        assert_eq!(take(&mut client, 1).await[0].text, "five", "its subscription is there");
        client.subscribe(&retained).await;
        assert_eq!(take(&mut client, 1).await[0].text, "state");
        client.has_no_more().await;

        // What was acknowledged never comes again.
        mesh.kill_gateway("eu-1");
        mesh.start_gateway("eu-1").await;
        let mut client = RawClient::persistent(mesh.mqtt_port("eu-1"), level, &id).await;
        assert!(client.session_present);
        client.has_no_more().await;
        drop(client);
        becomes(&mesh, "eu-1", "roost_gateway_sessions_connected", "", 0.0).await;
    }
}

async fn a_session_of_a_killed_gateway_moves_to_where_its_device_is(backend: Backend) {
    let mut mesh = mesh(backend).await;
    let (client, in_flight) = in_flight(&mesh, 5, "rover").await;
    mesh.kill_gateway("eu-1");
    drop(client);
    mesh.start_gateway("eu-1").await;
    both_are_heard(&mesh).await;
    let mut client = RawClient::persistent(mesh.mqtt_port("us-1"), 5, "rover").await;
    assert!(client.session_present);
    for first in in_flight {
        assert_eq!(client.next().await, Received { duplicate: true, ..first });
    }
    // And what it had at the gateway that was killed is nobody's, also after another kill.
    becomes(&mesh, "eu-1", "roost_gateway_sessions_given_total", "outcome=\"moved\"", 1.0).await;
    mesh.kill_gateway("eu-1");
    mesh.start_gateway("eu-1").await;
    becomes(&mesh, "eu-1", "roost_gateway_sessions_restored_total", "", 0.0).await;
}

/// QoS 2 of a device to itself, with its gateway killed after each connection, at a moment that chance has chosen.
async fn nothing_is_lost_and_nothing_comes_twice_over_kills(backend: Backend) {
    let seed = Seed::from_environment();
    let mut mesh = mesh(backend).await;
    let mut random = seed.generator(0);
    let mut device = Careful::new(mesh.mqtt_port("eu-1"), 5);
    let mut client = device.connect().await;
    client.subscribe_at("local/self", 2).await;
    drop(client);
    for _ in 0..KILLS {
        device.live_and_break(&mut random).await;
        mesh.kill_gateway("eu-1");
        mesh.start_gateway("eu-1").await;
    }
    let mut client = device.connect().await;
    let to_itself = device.published_to("local/self");
    device.finish(&mut client, to_itself.len()).await;
    once(&device.got, &to_itself, seed);
}

async fn what_ends_with_its_connection_is_not_written(backend: Backend) {
    let mesh = mesh(backend).await;
    let mut device =
        Device::connected(DeviceKind::RumqttcV5, &Connect::to(mesh.mqtt_port("eu-1"), "clean")).await;
    device.subscribe("local/#", 1).await.expect("granted");
    let commits = async || Metrics::of(&mesh.admin("eu-1")).await.sum("roost_store_batches_total", &[]);
    // That it has a router is written.
    eventually("the store is written", PATIENCE, async || match commits().await {
        0.0 => Err("not yet".to_owned()),
        _ => Ok(()),
    })
    .await;
    let before = commits().await;
    for n in 0..20 {
        device.publish("local/self", &[n], 1).await.expect("it had it");
        device.next().await.expect("its own");
    }
    becomes(&mesh, "eu-1", "roost_gateway_messages_received_total", "qos=\"1\"", 20.0).await;
    assert_eq!(commits().await, before);
}

on_both_backends!(
    a_killed_gateway_has_its_sessions_and_retained_messages_again,
    a_session_of_a_killed_gateway_moves_to_where_its_device_is,
    nothing_is_lost_and_nothing_comes_twice_over_kills,
    what_ends_with_its_connection_is_not_written,
);
