//! A device with a persistent session comes back at another gateway, and finds there what it had.

use roost_fleet::shell::{Wan, WanState};
use roost_harness::{
    Backend, Connect, Device, DeviceKind, Federation, Metrics, PATIENCE, eventually, on_both_backends,
};

use crate::raw_client::{RawClient, Received};

/// A mesh whose gateways move sessions.
async fn roaming(backend: Backend) -> Federation {
    Federation::of(backend).await
}

async fn figure(mesh: &Federation, gateway: &str, name: &str, label: &str) -> f64 {
    Metrics::of(&mesh.admin(gateway)).await.sum(name, &[label])
}

/// Figures are up to a fifth of a second old.
pub(crate) async fn becomes(mesh: &Federation, gateway: &str, name: &str, label: &str, value: f64) {
    eventually(&format!("{name}{{{label}}} of {gateway} is {value}"), PATIENCE, async || {
        let found = figure(mesh, gateway, name, label).await;
        if found == value { Ok(()) } else { Err(found.to_string()) }
    })
    .await;
}

pub(crate) async fn both_are_heard(mesh: &Federation) {
    eventually("the router has heard both gateways", PATIENCE, async || {
        let ready = Metrics::of(&mesh.api()).await.sum("roost_router_gateway_ready", &[]);
        if ready == 2.0 { Ok(()) } else { Err(ready.to_string()) }
    })
    .await;
}

async fn publisher(mesh: &Federation, gateway: &str) -> Device {
    let how = Connect::to(mesh.mqtt_port(gateway), &format!("publisher-{gateway}"));
    Device::connected(DeviceKind::RumqttcV5, &how).await
}

async fn publish(publisher: &mut Device, texts: &[&str]) {
    for text in texts {
        publisher.publish("local/news", text.as_bytes(), 1).await.expect("somebody has it");
    }
}

/// A session at `eu-1` with a subscription and `one` and `three` in flight.
async fn session(mesh: &Federation, level: u8, id: &str) -> (RawClient, Device, Vec<Received>) {
    let mut client = RawClient::persistent(mesh.mqtt_port("eu-1"), level, id).await;
    assert!(!client.session_present);
    client.subscribe("local/news").await;
    let mut publisher = publisher(mesh, "eu-1").await;
    publish(&mut publisher, &["one", "two", "three"]).await;
    let mut received = Vec::new();
    for _ in 0..3 {
        received.push(client.next().await);
    }
    client.acknowledge(&received[1]).await;
    client.has_no_more().await;
    received.remove(1);
    (client, publisher, received)
}

async fn a_session_is_there_where_its_device_is(backend: Backend) {
    let mesh = roaming(backend).await.started().await;
    for (round, level) in [(1.0, 4), (2.0, 5)] {
        let id = format!("rover-{level}");
        let (client, mut news, in_flight) = session(&mesh, level, &id).await;
        drop(client);
        becomes(&mesh, "eu-1", "roost_gateway_sessions_connected", "", 1.0).await;
        publish(&mut news, &["four", "five"]).await;

        let mut client = RawClient::persistent(mesh.mqtt_port("us-1"), level, &id).await;
        assert!(client.session_present, "level {level}");
        let mut again = Vec::new();
        for _ in 0..4 {
            let message = client.next().await;
            client.acknowledge(&message).await;
            again.push(message);
        }
        let resent: Vec<Received> =
            in_flight.into_iter().map(|first| Received { duplicate: true, ..first }).collect();
        assert_eq!(again[..2], resent, "with the ids under which it knows them");
        let queued: Vec<_> =
            again[2..].iter().map(|message| (message.text.as_str(), message.duplicate)).collect();
        assert_eq!(queued, [("four", false), ("five", false)]);
        let mut here = publisher(&mesh, "us-1").await;
        publish(&mut here, &["six"]).await;
        let six = client.next().await;
        assert_eq!(six.text, "six", "its subscription is here");
        client.acknowledge(&six).await;
        client.has_no_more().await;

        becomes(&mesh, "us-1", "roost_gateway_session_transfers_total", "outcome=\"moved\"", round).await;
        becomes(&mesh, "eu-1", "roost_gateway_sessions_given_total", "outcome=\"moved\"", round).await;

        // What was acknowledged never comes again, and the copy that was left is nobody's.
        drop(client);
        let mut client = RawClient::persistent(mesh.mqtt_port("eu-1"), level, &id).await;
        assert!(client.session_present, "it comes back as it went");
        client.has_no_more().await;
        publish(&mut news, &["seven"]).await;
        let seven = client.next().await;
        client.acknowledge(&seven).await;
        assert_eq!(seven.text, "seven");
        drop(client);
        drop((news, here));
        becomes(&mesh, "eu-1", "roost_gateway_sessions_connected", "", 0.0).await;
    }
}

/// Its old connection may be open still: it is closed, and nothing is lost.
async fn a_session_moves_from_under_a_live_connection(backend: Backend) {
    let mesh = roaming(backend).await.started().await;
    let (mut older, _news, in_flight) = session(&mesh, 5, "hasty").await;
    let mut newer = RawClient::persistent(mesh.mqtt_port("us-1"), 5, "hasty").await;
    assert!(newer.session_present);
    assert_eq!(older.raw.packet().await, Some((0xE0, vec![0x8E, 0])), "session taken over");
    for first in in_flight {
        assert_eq!(newer.next().await, Received { duplicate: true, ..first });
    }
    newer.has_no_more().await;
}

/// It begins anew elsewhere, and what was kept of it is not resumed when it comes back.
async fn a_clean_start_elsewhere_ends_the_session_everywhere(backend: Backend) {
    let mesh = roaming(backend).await.started().await;
    let (client, _news, _) = session(&mesh, 5, "fresh").await;
    drop(client);
    becomes(&mesh, "eu-1", "roost_gateway_sessions_connected", "", 1.0).await;
    let how = Connect::to(mesh.mqtt_port("us-1"), "fresh");
    let device = Device::connected(DeviceKind::RumqttcV5, &how).await;
    becomes(&mesh, "eu-1", "roost_gateway_sessions_ended_total", "reason=\"elsewhere\"", 1.0).await;
    assert_eq!(
        figure(&mesh, "eu-1", "roost_gateway_local_dropped_total", "reason=\"session_superseded\"").await,
        2.0
    );
    device.disconnect().await;
    assert!(!RawClient::persistent(mesh.mqtt_port("eu-1"), 5, "fresh").await.session_present);
}

async fn a_device_of_a_dead_gateway_begins_anew_at_once(backend: Backend) {
    let mut mesh = roaming(backend).await.started().await;
    both_are_heard(&mesh).await;
    let (_client, _news, _) = session(&mesh, 5, "orphan").await;
    mesh.api().located("orphan", "eu-1").await;
    mesh.kill_gateway("eu-1");
    // From then on what is sent to it comes back.
    eventually("the broker has noticed the end of its connections", PATIENCE, async || {
        let names = mesh.broker().queues().await.into_iter().map(|queue| queue.name);
        let left: Vec<String> = names.filter(|name| name.starts_with("roost.control.eu-1.")).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    assert!(!RawClient::persistent(mesh.mqtt_port("us-1"), 5, "orphan").await.session_present);
    becomes(&mesh, "us-1", "roost_gateway_session_transfers_total", "outcome=\"owner_dead\"", 1.0).await;
}

async fn without_a_router_a_device_begins_anew_within_the_bound(backend: Backend) {
    let mut mesh = roaming(backend).await.started().await;
    let (_client, _news, _) = session(&mesh, 4, "lonely").await;
    mesh.kill_router();
    assert!(!RawClient::persistent(mesh.mqtt_port("us-1"), 4, "lonely").await.session_present);
    becomes(&mesh, "us-1", "roost_gateway_session_transfers_total", "outcome=\"timed_out\"", 1.0).await;
}

/// A router that has just started knows of nobody who is away: it asks.
async fn a_router_that_has_restarted_finds_the_session(backend: Backend) {
    let mut mesh = roaming(backend).await.started().await;
    let (client, _news, _) = session(&mesh, 5, "sought").await;
    drop(client);
    becomes(&mesh, "eu-1", "roost_gateway_sessions_connected", "", 1.0).await;
    for (at, outcome) in [("us-1", "moved"), ("us-1", "current")] {
        mesh.kill_router();
        mesh.start_router().await;
        both_are_heard(&mesh).await;
        let client = RawClient::persistent(mesh.mqtt_port(at), 5, "sought").await;
        assert!(client.session_present, "{outcome}");
        let label = format!("outcome=\"{outcome}\"");
        becomes(&mesh, at, "roost_gateway_session_transfers_total", &label, 1.0).await;
        drop(client);
        becomes(&mesh, at, "roost_gateway_sessions_connected", "", 0.0).await;
    }
}

/// The way is longer than a device waits: the late copy is dropped.
async fn a_session_that_comes_too_late_is_dropped(backend: Backend) {
    let mut links = Vec::new();
    let link = async |_gateway: &str, broker: &str| {
        let (link, through) = Wan::before(&broker.parse().expect("a good address")).await.expect("a port");
        links.push(link);
        through.with_password()
    };
    let mesh = roaming(backend).await.with_links(link).await.started().await;
    let (_client, _news, _) = session(&mesh, 5, "patient").await;
    mesh.api().located("patient", "eu-1").await;
    links.iter().for_each(|link| link.be(WanState::Stalled));
    let client = RawClient::persistent(mesh.mqtt_port("us-1"), 5, "patient").await;
    assert!(!client.session_present, "it was not made to wait for more than the bound");
    links.iter().for_each(|link| link.be(WanState::Whole));
    becomes(&mesh, "us-1", "roost_gateway_session_transfers_total", "outcome=\"timed_out\"", 1.0).await;
    eventually("what had been on its way is dropped and counted", PATIENCE, async || {
        let router =
            Metrics::of(&mesh.api()).await.sum("roost_router_drops_total", &["reason=\"session_late\""]);
        let late = figure(&mesh, "us-1", "roost_gateway_sessions_dropped_total", "reason=\"late\"").await;
        if router + late == 1.0 { Ok(()) } else { Err(format!("{router} and {late}")) }
    })
    .await;
    mesh.api().located("patient", "us-1").await;
}

on_both_backends!(
    a_session_is_there_where_its_device_is,
    a_session_moves_from_under_a_live_connection,
    a_clean_start_elsewhere_ends_the_session_everywhere,
    a_device_of_a_dead_gateway_begins_anew_at_once,
    without_a_router_a_device_begins_anew_within_the_bound,
    a_router_that_has_restarted_finds_the_session,
    a_session_that_comes_too_late_is_dropped,
);
