//! Commands for a device that is away wait, and come in order, once, when it is back and has subscribed.

use std::time::Duration;

use roost_harness::{
    Backend, Connect, Device, DeviceKind, Federation, Mesh, Publication, Service, ServiceKind,
    on_both_backends,
};

const COMMANDS: usize = 20;
const TOPIC: &str = "devices/traveller/cmd";

async fn send(service: &mut Service, numbers: impl IntoIterator<Item = usize>) {
    for number in numbers {
        let (body, id) = (number.to_string(), format!("command-{number}"));
        let command =
            Publication::command("traveller", TOPIC, body.as_bytes(), &id).header("roost-receipts", "all");
        service.publish(&command).await.expect("the mesh has it");
    }
}

/// Awaits that command `number` waits in the mailbox.
async fn parked(service: &mut Service, number: usize) {
    let id = format!("command-{number}");
    service
        .next_where(|delivery| {
            delivery.correlation_id.as_deref() == Some(id.as_str()) && delivery.key.ends_with(".parked")
        })
        .await;
}

/// All of them arrive in order and once; each has exactly one final receipt, `delivered`.
async fn all_arrive(
    service: &mut Service,
    device: &mut Device,
    numbers: impl IntoIterator<Item = usize> + Clone,
) {
    for number in numbers.clone() {
        assert_eq!(
            device.next().await.expect("still connected").text(),
            number.to_string(),
            "in order, once"
        );
    }
    for number in numbers {
        let receipts = service.receipts_of(&format!("command-{number}")).await;
        assert_eq!(receipts.last().expect("the final one")["state"], "delivered", "{receipts:?}");
    }
    // Whatever was wrong would have come before the receipts: nothing is waited for here.
    assert_eq!(device.arrived(), Vec::new(), "nothing twice");
    let late = service.arrived();
    assert!(
        late.iter().all(|delivery| !roost_harness::is_final(&delivery.json())),
        "a second final: {late:?}"
    );
}

async fn a_device_that_comes_back_gets_what_waited(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let mut service = mesh.service(ServiceKind::Lapin).await;
    service.consume("roost.receipts", "main.traveller.*").await;
    let how = Connect::to(mesh.mqtt_port("eu-1"), "traveller");
    let mut device = Device::connected(DeviceKind::RumqttcV5, &how).await;
    device.subscribe(TOPIC, 1).await.expect("subscribed");
    mesh.api().located("traveller", "eu-1").await;
    device.disconnect().await;

    send(&mut service, 0..COMMANDS).await;
    parked(&mut service, COMMANDS - 1).await;

    // Elsewhere, and connected is not commandable: nothing comes before it has subscribed.
    let how = Connect::to(mesh.mqtt_port("us-1"), "traveller");
    let mut device = Device::connected(DeviceKind::RumqttcV5, &how).await;
    mesh.api().located("traveller", "us-1").await;
    assert_eq!(device.next_within(Duration::from_millis(200)).await, Ok(None));
    device.subscribe(TOPIC, 1).await.expect("subscribed");
    all_arrive(&mut service, &mut device, 0..COMMANDS).await;
}

/// Its subscription is part of its session: what waited comes by itself, at the gateway that it left and at another one.
async fn a_kept_session_gets_what_waited_wherever_it_is_back(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let mut service = mesh.service(ServiceKind::Lapin).await;
    service.consume("roost.receipts", "main.traveller.*").await;
    let at = |gateway: &str| Connect::to(mesh.mqtt_port(gateway), "traveller").persistent();
    let mut device = Device::connected(DeviceKind::RumqttcV5, &at("eu-1")).await;
    device.subscribe(TOPIC, 1).await.expect("subscribed");
    mesh.api().located("traveller", "eu-1").await;
    for (round, gateway) in ["eu-1", "us-1", "us-1", "eu-1"].into_iter().enumerate() {
        device.disconnect().await;
        let commands = round * COMMANDS..(round + 1) * COMMANDS;
        send(&mut service, commands.clone()).await;
        parked(&mut service, commands.end - 1).await;
        device = Device::connected(DeviceKind::RumqttcV5, &at(gateway)).await;
        assert!(device.session_present(), "at {gateway}");
        all_arrive(&mut service, &mut device, commands).await;
    }
}

async fn what_waits_outlives_a_killed_router(backend: Backend) {
    let mut mesh = Federation::start(backend).await;
    let mut service = mesh.service(ServiceKind::Lapin).await;
    service.consume("roost.receipts", "main.traveller.*").await;
    send(&mut service, 0..COMMANDS).await;
    parked(&mut service, COMMANDS - 1).await;
    mesh.kill_router();
    // Accepted by the broker while there is no router.
    send(&mut service, COMMANDS..2 * COMMANDS).await;
    mesh.start_router().await;
    parked(&mut service, 2 * COMMANDS - 1).await;

    let how = Connect::to(mesh.mqtt_port("us-1"), "traveller");
    let mut device = Device::connected(DeviceKind::RumqttcV4, &how).await;
    device.subscribe(TOPIC, 1).await.expect("subscribed");
    all_arrive(&mut service, &mut device, 0..2 * COMMANDS).await;
}

on_both_backends!(
    a_device_that_comes_back_gets_what_waited,
    a_kept_session_gets_what_waited_wherever_it_is_back,
    what_waits_outlives_a_killed_router
);
