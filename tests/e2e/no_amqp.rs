//! Without an AMQP server a role keeps trying, says so, and is not ready; devices are not told lies.

use std::collections::BTreeMap;

use roost_harness::{Api, Connect, Device, DeviceKind, Family, Federation, PATIENCE, eventually};

const GATEWAY_LINKS: [&str; 3] = ["inbox", "mesh", "uplink"];
const ROUTER_LINKS: [&str; 3] = ["commands", "publisher", "reports"];

/// Alive, and not ready; every link says that it is down.
async fn is_waiting(api: &Api, links: [&str; 3]) {
    stands(api, 503, links, 0.0).await;
}

/// Alive and ready; every link says that it is up.
async fn serves(api: &Api, links: [&str; 3]) {
    stands(api, 200, links, 1.0).await;
}

async fn stands(api: &Api, status: u16, links: [&str; 3], up: f64) {
    let expected: BTreeMap<String, f64> = links.map(|link| (link.to_owned(), up)).into();
    eventually(&format!("{} lives, /readyz is {status}, links {up}", api.url()), PATIENCE, async || {
        let (alive, ready, page) =
            (api.get("/livez").await?, api.get("/readyz").await?, api.get("/metrics").await?);
        let links = links_of(page.body.as_str().ok_or_else(|| format!("no text: {page:?}"))?);
        let stands = ((alive.status, ready.status), &links) == ((200, status), &expected);
        if stands { Ok(()) } else { Err(format!("{alive:?} {ready:?} {links:?}")) }
    })
    .await;
}

/// What a page of metrics says of each AMQP link.
fn links_of(page: &str) -> BTreeMap<String, f64> {
    let families = Family::parse(page);
    let family = families.into_iter().find(|family| family.name == "roost_link_up");
    let samples = family.expect("every role with links has it").samples;
    samples.into_iter().map(|sample| (sample.labels["link"].clone(), sample.value)).collect()
}

/// All roles that need AMQP, with their links.
fn roles(mesh: &Federation) -> [(Api, [&'static str; 3]); 3] {
    [(mesh.api(), ROUTER_LINKS), (mesh.admin("eu-1"), GATEWAY_LINKS), (mesh.admin("us-1"), GATEWAY_LINKS)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_role_waits_for_amqp_and_begins_when_it_is_there() {
    let mut mesh = Federation::without_backend().await;
    for (api, links) in roles(&mesh) {
        is_waiting(&api, links).await;
    }
    mesh.start_backend().await;
    for (api, links) in roles(&mesh) {
        serves(&api, links).await;
    }
    let mut device =
        Device::connected(DeviceKind::RumqttcV5, &Connect::to(mesh.mqtt_port("eu-1"), "early")).await;
    device.publish("at/last", b"", 1).await.expect("the PUBACK says that it is safe");
}

/// PUBACK means safe: while AMQP is away there is none, and when it is back there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_puback_waits_until_amqp_is_back() {
    let mut mesh = Federation::start(roost_harness::Backend::Embedded).await;
    let how = Connect::to(mesh.mqtt_port("eu-1"), "patient");
    let mut device = Device::connected(DeviceKind::RumqttcV5, &how).await;
    device.publish("before", b"", 1).await.expect("the PUBACK says that it is safe");
    mesh.kill_backend();
    for (api, links) in roles(&mesh) {
        is_waiting(&api, links).await;
    }
    let publish = tokio::spawn(async move { device.publish("meanwhile", b"", 1).await });
    is_waiting(&mesh.admin("eu-1"), GATEWAY_LINKS).await;
    assert!(!publish.is_finished(), "acknowledged although nothing is safe");
    mesh.start_backend().await;
    publish.await.expect("the task has not panicked").expect("acknowledged once it is safe");
    for (api, links) in roles(&mesh) {
        serves(&api, links).await;
    }
}
