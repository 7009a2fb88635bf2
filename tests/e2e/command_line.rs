//! `roost send` and `roost locate`, as a person types them.

use roost_harness::{
    Backend, Connect, Device, DeviceKind, Ended, Mesh, Process, ReservedPort, on_both_backends, roost,
};

async fn run(arguments: &[&str]) -> Ended {
    let mut command = roost();
    command.args(arguments);
    Process::run("roost", command).await
}

async fn a_person_sends_and_locates(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let api = mesh.api();
    let mut device =
        Device::connected(DeviceKind::RumqttcV4, &Connect::to(mesh.mqtt_port("us-1"), "kettle")).await;
    device.subscribe("devices/kettle/cmd", 1).await.expect("subscribed");
    api.located("kettle", "us-1").await;

    let arguments =
        ["--topic", "devices/kettle/cmd", "--payload", "boil", "--wait", "30s", "--api", api.url()];
    let sent = run(&[&["send", "kettle"], &arguments[..]].concat()).await;
    assert!(sent.status.success() && sent.output.contains("delivered"), "{sent:?}");
    assert_eq!(device.next().await.expect("still connected").text(), "boil");
    let sent = run(&[&["send", "main/kettle"], &arguments[..]].concat()).await;
    assert!(sent.status.success() && sent.output.contains("delivered"), "{sent:?}");

    let located = run(&["locate", "kettle", "--explain", "--api", api.url()]).await;
    assert!(located.status.success() && located.output.contains("us-1"), "{located:?}");
    assert!(located.output.contains("online"), "{located:?}");

    let unknown = run(&["locate", "nobody", "--explain", "--api", api.url()]).await;
    assert!(unknown.output.contains("ask"), "it says that a send would ask the gateways: {unknown:?}");
}

on_both_backends!(a_person_sends_and_locates);

#[tokio::test]
async fn an_api_that_is_not_there_is_named() {
    let closed = ReservedPort::any();
    let api = format!("http://127.0.0.1:{}", closed.number());
    let sent = run(&["send", "kettle", "--topic", "t", "--payload", "p", "--api", &api]).await;
    assert!(!sent.status.success() && sent.output.contains(&api), "it says whom it asked: {sent:?}");
}
