//! Every MQTT client talks with every AMQP client, both ways.

use roost_harness::{
    Backend, Connect, Device, DeviceKind, Mesh, Publication, Service, ServiceKind, on_both_backends,
};

const SERVICES: [ServiceKind; 3] = [ServiceKind::Lapin, ServiceKind::Pika, ServiceKind::Amqplib];

/// One event that all services get, then one command from each of them with its receipt.
async fn talks_with_every_service(kind: DeviceKind, backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let mut services = Vec::new();
    for kind in SERVICES {
        let mut service = mesh.service(kind).await;
        service.consume("roost.up", "main.*.#").await;
        service.consume("roost.receipts", "main.thermostat.*").await;
        services.push((kind, service));
    }
    let how = Connect::to(mesh.mqtt_port("eu-1"), "thermostat");
    let mut device = Device::connected(kind, &how).await;
    device.publish("state/temp.c", "21 °C".as_bytes(), 1).await.expect("the PUBACK says that it is safe");
    for (kind, service) in &mut services {
        event_arrives(*kind, service).await;
    }
    device.subscribe("devices/thermostat/cmd", 1).await.expect("subscribed");
    for (kind, service) in &mut services {
        command_is_delivered(*kind, service, &mut device).await;
    }
}

async fn event_arrives(kind: ServiceKind, service: &mut Service) {
    let event = service.next_where(|delivery| delivery.exchange == "roost.up").await;
    assert_eq!(event.key, "main.thermostat.state.temp%2Ec", "{kind:?}");
    assert_eq!(event.text(), "21 °C", "{kind:?}");
    let header = |name| event.header(name);
    assert_eq!(
        (header("roost-tenant"), header("roost-device")),
        (Some("main"), Some("thermostat")),
        "{kind:?}"
    );
    assert_eq!(
        (header("roost-gateway"), header("roost-topic")),
        (Some("eu-1"), Some("state/temp.c")),
        "{kind:?}"
    );
    assert!(
        event.message_id.is_some_and(|id| !id.is_empty()),
        "{kind:?}: an event carries its deduplication key"
    );
}

async fn command_is_delivered(kind: ServiceKind, service: &mut Service, device: &mut Device) {
    let id = format!("{kind:?}-1");
    let text = format!("from {kind:?}, grüß Gott");
    let command = Publication::command("thermostat", "devices/thermostat/cmd", text.as_bytes(), &id);
    service.publish(&command).await.expect("the mesh has it");
    let message = device.next().await.expect("still connected");
    assert_eq!(
        (message.topic.as_str(), message.text(), message.qos),
        ("devices/thermostat/cmd", text.as_str(), 1)
    );
    let receipts = service.receipts_of(&id).await;
    let [receipt] = receipts.as_slice() else { panic!("{kind:?}: one receipt was asked for: {receipts:?}") };
    assert_eq!((&receipt["state"], &receipt["gateway"]), (&"delivered".into(), &"eu-1".into()), "{receipt}");
    assert_eq!((&receipt["tenant"], &receipt["device"]), (&"main".into(), &"thermostat".into()), "{receipt}");
    assert_eq!((&receipt["message_id"], &receipt["version"]), (&id.as_str().into(), &1.into()), "{receipt}");
}

async fn rumqttc_v4(backend: Backend) {
    talks_with_every_service(DeviceKind::RumqttcV4, backend).await;
}

async fn rumqttc_v5(backend: Backend) {
    talks_with_every_service(DeviceKind::RumqttcV5, backend).await;
}

async fn mosquitto(backend: Backend) {
    talks_with_every_service(DeviceKind::Mosquitto, backend).await;
}

async fn paho(backend: Backend) {
    talks_with_every_service(DeviceKind::Paho, backend).await;
}

async fn mqtt_js(backend: Backend) {
    talks_with_every_service(DeviceKind::MqttJs, backend).await;
}

on_both_backends!(rumqttc_v4, rumqttc_v5, mosquitto, paho, mqtt_js);
