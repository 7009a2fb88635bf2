//! Events whose rule says `spooled`: acknowledged while the backend is away, and there in the end, whoever is killed meanwhile.

use std::collections::BTreeSet;
use std::sync::Mutex;

use roost_harness::{
    Backend, Connect, Delivery, Device, DeviceKind, Federation, PATIENCE, Process, RawMqtt, ServiceKind,
    eventually, roost,
};

/// Half of the topics are spooled, and of those some are fresh.
const RULES: &str = "uplink:\n  rules:\n\
    \x20   - {filter: 'fresh/#', acknowledge: spooled, order: fresh}\n\
    \x20   - {filter: 'spooled/#', acknowledge: spooled}\n\
    \x20   - {filter: '#'}\n";

async fn spool(mesh: &Federation, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = roost();
    command.args(["gateway", "spool", mesh.admin("eu-1").url()]).args(arguments);
    let ended = Process::run("roost gateway spool", command).await;
    (ended.status.code(), ended.output)
}

/// What `roost gateway spool` says in the end, with its exit status: figures are up to a fifth of a second old.
async fn says(mesh: &Federation, code: i32, words: &[&str]) {
    eventually("the spool's figures are those of now", PATIENCE, async || {
        let (ended, said) = spool(mesh, &[]).await;
        let is_so = ended == Some(code) && words.iter().all(|word| said.contains(word));
        if is_so { Ok(()) } else { Err(format!("{ended:?} {said}")) }
    })
    .await;
}

/// The events of these topics, each of which is to come once.
async fn events(service: &mut roost_harness::Service, many: usize) -> Vec<Delivery> {
    let mut events = Vec::new();
    while events.len() < many {
        events.push(service.next_where(|delivery| delivery.exchange == "roost.up").await);
    }
    events
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_without_a_backend_survives_the_gateways_death() {
    let mut mesh = Federation::spooling(Backend::Embedded, RULES).await;
    let port = mesh.mqtt_port("eu-1");
    let mut device = Device::connected(DeviceKind::RumqttcV5, &Connect::to(port, "logger")).await;
    mesh.kill_backend();
    let mut sent = Vec::new();
    for number in 0..200 {
        let topic = ["spooled/a", "fresh/b"][number % 2];
        device.publish(topic, number.to_string().as_bytes(), 1).await.expect("it is on disk");
        sent.push((topic.to_owned(), number.to_string()));
    }
    says(&mesh, 0, &["takes events in", "events    200, the oldest"]).await;

    mesh.kill_gateway("eu-1");
    mesh.start_backend().await;
    let mut service = mesh.service(ServiceKind::Lapin).await;
    service.consume("roost.up", "main.logger.#").await;
    mesh.start_gateway("eu-1").await;
    let came = events(&mut service, sent.len()).await;
    let came: Vec<(String, String)> = came
        .iter()
        .map(|event| {
            assert_eq!(event.headers["roost-replayed"], true, "it may have been published before");
            (event.header("roost-topic").expect("a topic").to_owned(), event.text().to_owned())
        })
        .collect();
    assert_eq!(came, sent, "all of them, in their order");

    let emptied = async || {
        let answer = mesh.admin("eu-1").get("/spool").await?;
        if answer.body["events"] == 0 { Ok(()) } else { Err(answer.body.to_string()) }
    };
    eventually("everything is confirmed", PATIENCE, emptied).await;
    // The cursor goes to disk once a second; what is marked does not come again.
    mesh.stop_gateway("eu-1").await;
    mesh.start_gateway("eu-1").await;
    let mut device = Device::connected(DeviceKind::RumqttcV5, &Connect::to(port, "logger")).await;
    device.publish("spooled/after", b"new", 1).await.expect("it is on disk");
    let next = events(&mut service, 1).await.remove(0);
    assert_eq!((next.text(), &next.headers["roost-replayed"]), ("new", &serde_json::json!(false)));
}

/// A device that tries until somebody listens.
async fn back(how: &Connect) -> Device {
    let connected = Mutex::new(None);
    eventually("a gateway listens", PATIENCE, async || {
        let device = Device::connect(DeviceKind::RumqttcV5, how).await.map_err(|lost| format!("{lost:?}"))?;
        *connected.lock().expect("nobody panics with it") = Some(device);
        Ok(())
    })
    .await;
    connected.into_inner().expect("nobody panics with it").expect("it has connected")
}

/// Kills of the gateway while devices publish on: nothing that was acknowledged is missing, and what comes twice has the same id.
async fn kills(backend: Backend) {
    let mut mesh = Federation::spooling(backend, RULES).await;
    let port = mesh.mqtt_port("eu-1");
    let mut service = mesh.service(ServiceKind::Lapin).await;
    service.consume("roost.up", "#").await;
    let publishing = (0..4).map(|device| {
        tokio::spawn(async move {
            let how = Connect::to(port, &format!("d{device}"));
            let mut device = back(&how).await;
            let mut acknowledged = Vec::new();
            for number in 0..150 {
                let payload = format!("{number}");
                match device.publish("spooled/x", payload.as_bytes(), 1).await {
                    Ok(()) => acknowledged.push(payload),
                    // Its gateway was killed: nobody promised anything.
                    Err(_) => device = back(&how).await,
                }
            }
            acknowledged
        })
    });
    let publishing: Vec<_> = publishing.collect();
    let mut came = Vec::new();
    for _ in 0..3 {
        came.push(service.next().await);
        mesh.kill_gateway("eu-1");
        mesh.start_gateway("eu-1").await;
    }
    let mut missing = BTreeSet::new();
    for (device, task) in publishing.into_iter().enumerate() {
        let acknowledged = task.await.expect("the task has not panicked");
        missing.extend(acknowledged.into_iter().map(|payload| (format!("d{device}"), payload)));
    }
    let mut ids = BTreeSet::new();
    while !missing.is_empty() {
        let event = if came.is_empty() { service.next().await } else { came.remove(0) };
        let device = event.header("roost-device").expect("a device").to_owned();
        if !ids.insert(event.message_id.clone()) {
            assert_eq!(event.headers["roost-replayed"], true, "twice, and it does not say so");
        }
        missing.remove(&(device, event.text().to_owned()));
    }
}

/// An event of the flood: 8 KiB that say which one it is.
fn drop_of(number: u16) -> Vec<u8> {
    format!("{number:0>8192}").into_bytes()
}

/// Publishes as much as may be unacknowledged at a time, until the gateway ends the connection: what it has acknowledged, and the
/// reason that it gives.
async fn flood(client: &mut RawMqtt) -> (BTreeSet<u16>, u8) {
    let (mut sent, mut acknowledged) = (0_u16, BTreeSet::new());
    loop {
        while usize::from(sent) - acknowledged.len() < 100 {
            sent += 1;
            let mut body = vec![0, 9];
            body.extend_from_slice(b"spooled/x");
            body.extend_from_slice(&sent.to_be_bytes());
            body.push(0); // no properties
            body.extend_from_slice(&drop_of(sent));
            client.send_packet(0x32, &body).await;
        }
        match client.packet().await.expect("a PUBACK or a DISCONNECT") {
            (0x40, body) => {
                assert!(body.get(2).is_none_or(|reason| *reason < 0x80), "a PUBACK that refuses: {body:?}");
                assert!(acknowledged.insert(u16::from_be_bytes([body[0], body[1]])), "twice: {body:?}");
            }
            (0xE0, body) => return (acknowledged, body[0]),
            (first, body) => panic!("{first:#x} {body:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_spool_says_so_and_recovers() {
    let rules = format!("{RULES}spool: {{bytes_max: 1048576}}\n");
    let mut mesh = Federation::spooling(Backend::Embedded, &rules).await;
    // Its queue outlives the backend, so that nothing comes back to nobody.
    mesh.service(ServiceKind::Lapin).await.consume_kept("log", "roost.up", "#").await;
    mesh.kill_backend();
    let mut client = RawMqtt::connect(mesh.mqtt_port("eu-1")).await;
    client.send_connect(5, b"flood").await;
    client.packet().await.expect("a CONNACK");
    let (acknowledged, reason) = flood(&mut client).await;
    assert_eq!(reason, 0x97, "Quota exceeded");
    // What was on its way to the disk from the client's thread when it was full, a receive maximum at most, is taken in and kept.
    assert!((1..=240).contains(&acknowledged.len()), "{} of 8 KiB in 1 MiB", acknowledged.len());
    says(&mesh, 1, &["FULL"]).await;
    for (level, expected) in [(5_u8, 0x88_u8), (4, 0x03)] {
        let mut late = RawMqtt::connect(mesh.mqtt_port("eu-1")).await;
        late.send_connect(level, b"late").await;
        let (first, body) = late.packet().await.expect("a CONNACK");
        assert_eq!((first, body[1]), (0x20, expected), "Server unavailable");
    }
    mesh.start_backend().await;
    mesh.admin("eu-1").ready().await;
    let mut device =
        Device::connected(DeviceKind::RumqttcV5, &Connect::to(mesh.mqtt_port("eu-1"), "late")).await;
    device.publish("spooled/x", b"late", 1).await.expect("there is room again");

    let mut service = mesh.service(ServiceKind::Lapin).await;
    service.consume_kept("log", "roost.up", "#").await;
    let (mut missing, mut came, mut is_late_there) = (acknowledged, Vec::new(), false);
    while !(missing.is_empty() && is_late_there) {
        let event = service.next_within(PATIENCE).await;
        let event = event.unwrap_or_else(|| panic!("acknowledged, and missing: {missing:?}"));
        if event.header("roost-device") == Some("late") {
            assert_eq!(event.text(), "late");
            is_late_there = true;
            continue;
        }
        let number: u16 = event.text().trim_start_matches('0').parse().expect("the flood is numbered");
        assert_eq!(event.body, drop_of(number));
        missing.remove(&number);
        if !came.contains(&number) {
            came.push(number);
        }
    }
    assert!(came.is_sorted(), "in their order: {came:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_without_a_spool_says_that_it_has_none() {
    let mesh = Federation::start(Backend::Embedded).await;
    let (code, said) = spool(&mesh, &["-o", "json"]).await;
    assert!(code == Some(1) && said.contains("has no spool"), "{said}");
    assert_eq!(mesh.admin("eu-1").get("/spool").await.expect("an answer").status, 404);
}

mod embedded {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn kills_lose_nothing_that_was_acknowledged() {
        kills(Backend::Embedded).await;
    }
}

mod rabbitmq {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn kills_lose_nothing_that_was_acknowledged() {
        kills(Backend::RabbitMq).await;
    }
}
