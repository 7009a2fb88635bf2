//! `roost send`, `roost locate` and `roost why`, as a person types them.

use roost_harness::{
    Backend, Connect, Device, DeviceKind, Ended, Mesh, Metrics, PATIENCE, Process, ReservedPort, eventually,
    on_both_backends, roost,
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

/// The words, in that order, each somewhere behind the one before.
fn says_in_order(text: &str, words: &[&str]) -> bool {
    let mut rest = text;
    words.iter().all(|word| match rest.split_once(word) {
        Some((_, behind)) => {
            rest = behind;
            true
        }
        None => false,
    })
}

async fn a_person_asks_why(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let api = mesh.api();
    let send = |id: &'static str, wait: &'static str| {
        let url = api.url().to_owned();
        async move {
            run(&["send", "kettle", "--payload", "boil", "--message-id", id, "--wait", wait, "--api", &url])
                .await
        }
    };
    let parked = send("w-1", "0s").await;
    assert_eq!(parked.status.code(), Some(3), "it waits: {parked:?}");
    let mut device =
        Device::connected(DeviceKind::RumqttcV4, &Connect::to(mesh.mqtt_port("us-1"), "kettle")).await;
    device.subscribe("devices/kettle/cmd", 1).await.expect("subscribed");
    assert_eq!(device.next().await.expect("still connected").text(), "boil");
    // The same id again: answered with the receipt of the first, once there is one.
    let repeated = send("w-1", "30s").await;
    assert!(repeated.output.contains("delivered"), "{repeated:?}");

    let why = run(&["why", "w-1", "--api", api.url()]).await;
    let story = [
        "main/kettle w-1",
        "taken over HTTP",
        "on the router's disk",
        "decided: ask",
        "decided: forward to us-1",
        "put into the inbox of us-1",
        "the device has acknowledged it (PUBACK)",
        "ended: delivered",
    ];
    assert!(why.status.success() && says_in_order(&why.output, &story), "{why:?}");
    let answer = api.get("/v1/commands/w-1?device=main/kettle").await.expect("the API answers");
    assert_eq!(answer.status, 200, "{answer:?}");
    let of_another = run(&["why", "w-1", "--device", "teapot", "--api", api.url()]).await;
    assert_eq!(of_another.status.code(), Some(1), "{of_another:?}");
    let json = run(&["why", "w-1", "--device", "kettle", "-o", "json", "--api", api.url()]).await;
    let json: serde_json::Value = serde_json::from_str(&json.output).expect("the API's own answer");
    assert_eq!(json["commands"][0]["steps"][0]["step"], "taken");
}

async fn a_person_watches(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let (api, gateway) = (mesh.api(), mesh.admin("us-1"));
    let _device =
        Device::connected(DeviceKind::RumqttcV4, &Connect::to(mesh.mqtt_port("us-1"), "kettle")).await;
    api.located("kettle", "us-1").await;
    // A gateway's page may be a moment old.
    eventually("the gateway's page shows the device", PATIENCE, async || {
        match Metrics::of(&gateway).await.sum("roost_gateway_sessions_connected", &[]) {
            1.0 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
    let closed = ReservedPort::any();
    let silent = format!("http://127.0.0.1:{}", closed.number());
    let looked = run(&["top", "--once", "--every", "100ms", gateway.url(), api.url(), &silent]).await;
    assert!(looked.status.success(), "{looked:?}");
    let row = |role: &str| -> Vec<String> {
        let at = looked.output.lines().position(|line| line.starts_with(role));
        let row = at.and_then(|at| looked.output.lines().nth(at + 1));
        row.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
    };
    // Address, state, devices; address, state, locations.
    assert_eq!(row("gateway")[1..3], ["ready", "1"], "{looked:?}");
    assert_eq!(row("router")[1..3], ["ready", "1"], "{looked:?}");
    assert!(looked.output.contains("does not answer: nothing listens there"), "{looked:?}");
    let nobody = run(&["top", "--once", "--every", "10ms", &silent]).await;
    assert_eq!(nobody.status.code(), Some(1), "{nobody:?}");
}

on_both_backends!(a_person_sends_and_locates, a_person_asks_why, a_person_watches);

#[tokio::test]
async fn an_api_that_is_not_there_is_named() {
    let closed = ReservedPort::any();
    let api = format!("http://127.0.0.1:{}", closed.number());
    let sent = run(&["send", "kettle", "--topic", "t", "--payload", "p", "--api", &api]).await;
    assert!(!sent.status.success() && sent.output.contains(&api), "it says whom it asked: {sent:?}");
}
