//! Services hear of devices that come and go, after the location changed, and in an order that can be trusted.

use roost_fleet::shell::WanState;
use roost_harness::{
    Backend, Connect, Device, DeviceKind, Federation, Mesh, RawMqtt, Service, ServiceKind, on_both_backends,
};

use crate::link::behind_a_link;
use crate::roaming_sessions::becomes;

/// The next presence: its key, and the gateway that it names.
async fn next(service: &mut Service) -> (String, String) {
    let presence = service.next().await;
    let gateway = presence.json()["gateway"].as_str().expect("a gateway").to_owned();
    (presence.key, gateway)
}

fn told(key: &str, gateway: &str) -> (String, String) {
    (key.to_owned(), gateway.to_owned())
}

async fn coming_and_going_is_told(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let mut service = mesh.service(ServiceKind::Lapin).await;
    service.consume("roost.presence", "main.cat.*").await;

    let device = Device::connected(DeviceKind::RumqttcV5, &Connect::to(mesh.mqtt_port("eu-1"), "cat")).await;
    let online = service.next().await;
    assert_eq!(online.key, "main.cat.online");
    assert_eq!((&online.json()["state"], &online.json()["gateway"]), (&"online".into(), &"eu-1".into()));
    mesh.api().located("cat", "eu-1").await;

    drop(device); // without a DISCONNECT
    let offline = service.next().await;
    assert_eq!(offline.key, "main.cat.offline");
    assert_eq!(offline.json()["gateway"], "eu-1");
    assert_eq!(mesh.api().device("cat").await.body["online"], false);
}

/// A gateway's words keep their order: what `eu-1` said before it said this has been read by whoever hears of this.
async fn witness(service: &mut Service, eu: u16) {
    let witness = Device::connected(DeviceKind::RumqttcV5, &Connect::to(eu, "witness")).await;
    assert_eq!(next(service).await, told("main.witness.online", "eu-1"), "and nothing before it");
    witness.disconnect().await;
    assert_eq!(next(service).await, told("main.witness.offline", "eu-1"), "and nothing before it");
}

/// Its old socket is open still: the gateway closes it, and that is no news of the device.
async fn a_device_that_moves_without_a_word_is_never_offline(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let [eu, us] = ["eu-1", "us-1"].map(|gateway| mesh.mqtt_port(gateway));
    let mut service = mesh.service(ServiceKind::Lapin).await;
    service.consume("roost.presence", "main.*.*").await;
    let mut older = RawMqtt::connect(eu).await;
    older.send_connect(5, b"cat").await;
    older.packet().await.expect("a CONNACK");
    assert_eq!(next(&mut service).await, told("main.cat.online", "eu-1"));

    let device = Device::connected(DeviceKind::RumqttcV5, &Connect::to(us, "cat")).await;
    assert_eq!(next(&mut service).await, told("main.cat.online", "us-1"));
    assert_eq!(older.packet().await, Some((0xE0, vec![0x8E, 0])), "session taken over");
    witness(&mut service, eu).await;
    mesh.api().located("cat", "us-1").await;

    device.disconnect().await;
    assert_eq!(next(&mut service).await, told("main.cat.offline", "us-1"));
    assert_eq!(mesh.api().device("cat").await.body["online"], false);
}

/// Its old gateway notices the end of its connection, and its word comes when the device is elsewhere for long.
async fn a_late_offline_is_no_news(backend: Backend) {
    let (mesh, link) = behind_a_link(Federation::of(backend).await, "eu-1").await;
    let mesh = mesh.started().await;
    let [eu, us] = ["eu-1", "us-1"].map(|gateway| mesh.mqtt_port(gateway));
    let mut service = mesh.service(ServiceKind::Lapin).await;
    service.consume("roost.presence", "main.*.*").await;
    let older = Device::connected(DeviceKind::RumqttcV5, &Connect::to(eu, "cat")).await;
    assert_eq!(next(&mut service).await, told("main.cat.online", "eu-1"));

    link.be(WanState::Stalled);
    older.disconnect().await;
    let device = Device::connected(DeviceKind::RumqttcV5, &Connect::to(us, "cat")).await;
    assert_eq!(next(&mut service).await, told("main.cat.online", "us-1"));
    link.be(WanState::Whole);
    witness(&mut service, eu).await;
    mesh.api().located("cat", "us-1").await;

    device.disconnect().await;
    assert_eq!(next(&mut service).await, told("main.cat.offline", "us-1"));
    assert_eq!(mesh.api().device("cat").await.body["online"], false);
}

/// Nobody has told the new router that it was there.
async fn a_device_that_leaves_while_there_is_no_router_is_told_offline_by_the_next(backend: Backend) {
    let mut mesh = Federation::start(backend).await;
    let mut service = mesh.service(ServiceKind::Lapin).await;
    service.consume("roost.presence", "main.cat.*").await;
    let device = Device::connected(DeviceKind::RumqttcV5, &Connect::to(mesh.mqtt_port("eu-1"), "cat")).await;
    assert_eq!(next(&mut service).await, told("main.cat.online", "eu-1"));

    mesh.kill_router();
    device.disconnect().await;
    becomes(&mesh, "eu-1", "roost_gateway_sessions_connected", "", 0.0).await;
    mesh.start_router().await;
    // That it came is told again, if the first router was killed before it had acknowledged the report.
    let mut said = next(&mut service).await;
    while said == told("main.cat.online", "eu-1") {
        said = next(&mut service).await;
    }
    assert_eq!(said, told("main.cat.offline", "eu-1"));
}

on_both_backends!(
    coming_and_going_is_told,
    a_device_that_leaves_while_there_is_no_router_is_told_offline_by_the_next,
    a_device_that_moves_without_a_word_is_never_offline,
    a_late_offline_is_no_news
);
