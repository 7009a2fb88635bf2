//! Services hear of devices that come and go, after the location changed, and in an order that can be trusted.

use roost_harness::{Backend, Connect, Device, DeviceKind, Mesh, ServiceKind, on_both_backends};

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

on_both_backends!(coming_and_going_is_told);
