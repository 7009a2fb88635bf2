//! What is published for the subscribers of every gateway, by services and by devices.

use roost_fleet::shell::WanState;
use roost_harness::{
    Backend, Connect, Device, DeviceKind, Federation, Metrics, PATIENCE, Publication, ServiceKind,
    eventually, on_both_backends,
};

use crate::link::behind_a_link;
use crate::raw_client::RawClient;
use crate::retained::retain;

const FANOUT: &str = "fanout: {prefixes: ['broadcast/']}\n";
const GATEWAYS: [&str; 2] = ["eu-1", "us-1"];

async fn mesh(backend: Backend) -> Federation {
    Federation::of(backend).await.with_gateways(FANOUT).started().await
}

fn broadcast(topic: &str, text: &str) -> Publication {
    let publication = Publication {
        exchange: "roost.fanout".to_owned(),
        key: topic.replace('/', "."),
        body: text.as_bytes().to_vec(),
        persistent: true,
        ..Publication::default()
    };
    publication.header("roost-topic", topic)
}

/// At each gateway one subscriber of MQTT 5 and one of 3.1.1.
async fn subscribers(mesh: &Federation) -> Vec<Device> {
    let mut subscribers = Vec::new();
    for gateway in GATEWAYS {
        for kind in [DeviceKind::RumqttcV5, DeviceKind::RumqttcV4] {
            let how = Connect::to(mesh.mqtt_port(gateway), &format!("{gateway}-{kind:?}"));
            let mut device = Device::connected(kind, &how).await;
            device.subscribe("broadcast/#", 1).await.expect("subscribed");
            subscribers.push(device);
        }
    }
    subscribers
}

/// The next messages are these, which no repeat stands between.
async fn gets(device: &mut Device, wanted: &[(String, u8)]) {
    for (text, qos) in wanted {
        let message = device.next().await.expect("still connected");
        assert_eq!((message.text(), message.qos), (text.as_str(), *qos));
    }
}

async fn counted(mesh: &Federation, gateway: &str, name: &str, labels: &[&str], wanted: f64) {
    eventually(&format!("{name}{labels:?} of {gateway} is {wanted}"), PATIENCE, async || {
        let found = Metrics::of(&mesh.admin(gateway)).await.sum(name, labels);
        if found == wanted { Ok(()) } else { Err(found.to_string()) }
    })
    .await;
}

async fn a_services_broadcast_comes_to_every_subscriber_once(backend: Backend) {
    let mesh = mesh(backend).await;
    let mut subscribers = subscribers(&mesh).await;
    let mut service = mesh.service(ServiceKind::Lapin).await;
    let mut wanted = Vec::new();
    for number in 0..20_u8 {
        let (text, persistent) = (number.to_string(), number % 2 == 1);
        let publication = Publication { persistent, ..broadcast("broadcast/news", &text) };
        service.publish(&publication).await.expect("the broker has it");
        wanted.push((text, u8::from(persistent)));
    }
    for subscriber in &mut subscribers {
        gets(subscriber, &wanted).await;
    }
    // What is none is counted where it is, and the next one comes.
    let nameless = Publication { headers: Vec::new(), ..broadcast("broadcast/news", "nameless") };
    service.publish(&nameless).await.expect("the broker has it");
    service.publish(&broadcast("broadcast/news", "last")).await.expect("the broker has it");
    for subscriber in &mut subscribers {
        gets(subscriber, &[("last".to_owned(), 1)]).await;
    }
    for gateway in GATEWAYS {
        counted(&mesh, gateway, "roost_gateway_broadcasts_dropped_total", &["reason=\"invalid\""], 1.0).await;
        counted(&mesh, gateway, "roost_gateway_broadcasts_total", &["outcome=\"delivered\""], 21.0).await;
    }
}

async fn a_devices_broadcast_comes_to_every_subscriber_once(backend: Backend) {
    let mesh = mesh(backend).await;
    let mut subscribers = subscribers(&mesh).await;
    let mut service = mesh.service(ServiceKind::Lapin).await;
    service.consume("roost.fanout", "broadcast.#").await;
    let how = Connect::to(mesh.mqtt_port("eu-1"), "publisher");
    let mut device = Device::connected(DeviceKind::RumqttcV5, &how).await;
    let mut wanted = Vec::new();
    for number in 0..21_u8 {
        let (text, qos) = (number.to_string(), number % 3);
        device.publish("broadcast/news", text.as_bytes(), qos).await.expect("every gateway has it");
        wanted.push((text, qos.min(1)));
    }
    for subscriber in &mut subscribers {
        gets(subscriber, &wanted).await;
    }
    for (text, _) in &wanted {
        let event = service.next().await;
        assert_eq!((event.text(), event.header("roost-device")), (text.as_str(), Some("publisher")));
        assert!(event.header("roost-origin").is_some_and(|origin| origin.starts_with("eu-1/")), "{event:?}");
    }
    counted(&mesh, "eu-1", "roost_gateway_broadcasts_total", &["outcome=\"own\""], 21.0).await;
    service.publish(&broadcast("broadcast/news", "last")).await.expect("the broker has it");
    for subscriber in &mut subscribers {
        gets(subscriber, &[("last".to_owned(), 1)]).await;
    }
}

async fn a_retained_broadcast_is_found_at_every_gateway(backend: Backend) {
    let mesh = mesh(backend).await;
    let mut service = mesh.service(ServiceKind::Lapin).await;
    let retained = |text| Publication { retain: Some(true), ..broadcast("broadcast/of-service", text) };
    service.publish(&retained("night")).await.expect("the broker has it");
    let mut publisher = RawClient::clean(mesh.mqtt_port("eu-1"), 5, "publisher").await;
    retain(&mut publisher.raw, 5, "broadcast/of-device", b"day").await;
    for gateway in GATEWAYS {
        counted(&mesh, gateway, "roost_gateway_retained_messages", &[], 2.0).await;
        let mut late = RawClient::clean(mesh.mqtt_port(gateway), 5, &format!("late-{gateway}")).await;
        late.subscribe("broadcast/+").await;
        for wanted in ["day", "night"] {
            let message = late.next().await;
            late.acknowledge(&message).await;
            assert_eq!(message.text, wanted, "{gateway}");
        }
        late.has_no_more().await;
    }
    service.publish(&retained("")).await.expect("the broker has it");
    retain(&mut publisher.raw, 5, "broadcast/of-device", b"").await;
    for gateway in GATEWAYS {
        counted(&mesh, gateway, "roost_gateway_retained_messages", &[], 0.0).await;
    }
}

async fn a_gateway_that_starts_learns_what_is_retained(backend: Backend) {
    let mut mesh = mesh(backend).await;
    let mut service = mesh.service(ServiceKind::Lapin).await;
    for number in 0..100 {
        let topic = format!("broadcast/{number:02}");
        let retained = Publication { retain: Some(true), ..broadcast(&topic, &number.to_string()) };
        service.publish(&retained).await.expect("the broker has it");
    }
    counted(&mesh, "eu-1", "roost_gateway_retained_messages", &[], 100.0).await;
    mesh.kill_gateway("us-1");
    let changed = Publication { retain: Some(true), ..broadcast("broadcast/99", "changed") };
    service.publish(&changed).await.expect("the broker has it");
    mesh.start_gateway("us-1").await;
    counted(&mesh, "us-1", "roost_gateway_retained_learned_total", &["outcome=\"learned\""], 1.0).await;
    let mut late = RawClient::clean(mesh.mqtt_port("us-1"), 5, "late").await;
    late.subscribe("broadcast/#").await;
    for number in 0..100 {
        let message = late.next().await;
        late.acknowledge(&message).await;
        let wanted = if number == 99 { "changed".to_owned() } else { number.to_string() };
        assert_eq!(message.text, wanted);
    }
    late.has_no_more().await;
}

async fn a_subscriber_that_is_full_holds_up_no_command(backend: Backend) {
    const MANY: usize = 20;
    let small = format!("{FANOUT}limits: {{session_queue_messages_max: 1}}\n");
    let mesh = Federation::of(backend).await.with_gateways(&small).started().await;
    let mut full = RawClient::one_at_a_time(mesh.mqtt_port("eu-1"), "full").await;
    full.subscribe("broadcast/#").await;
    let how = Connect::to(mesh.mqtt_port("eu-1"), "kettle");
    let mut kettle = Device::connected(DeviceKind::RumqttcV5, &how).await;
    kettle.subscribe("devices/kettle/cmd", 1).await.expect("subscribed");
    let how = Connect::to(mesh.mqtt_port("us-1"), "elsewhere");
    let mut elsewhere = Device::connected(DeviceKind::RumqttcV5, &how).await;
    elsewhere.subscribe("broadcast/#", 1).await.expect("subscribed");
    let mut service = mesh.service(ServiceKind::Lapin).await;
    service.consume("roost.receipts", "main.kettle.*").await;
    let wanted: Vec<_> = (0..MANY).map(|number| (number.to_string(), 1)).collect();
    for (text, _) in &wanted {
        service.publish(&broadcast("broadcast/news", text)).await.expect("the broker has it");
    }
    gets(&mut elsewhere, &wanted).await;
    // One is on its way to it, and one in its queue.
    counted(&mesh, "eu-1", "roost_gateway_broadcasts_waiting", &[], (MANY - 2) as f64).await;
    let command = Publication::command("kettle", "devices/kettle/cmd", b"on", "c-1");
    service.publish(&command).await.expect("the mesh has it");
    assert_eq!(kettle.next().await.expect("still connected").text(), "on");
    assert_eq!(service.receipts_of("c-1").await[0]["state"], "delivered");
    for (text, _) in &wanted {
        let message = full.next().await;
        full.acknowledge(&message).await;
        assert_eq!(message.text, *text);
    }
    full.has_no_more().await;
}

async fn a_cut_link_loses_nothing_that_was_acknowledged_to_who_was_connected(backend: Backend) {
    let federation = Federation::of(backend).await.with_gateways(FANOUT);
    let (federation, link) = behind_a_link(federation, "eu-1").await;
    let mesh = federation.started().await;
    let mut service = mesh.service(ServiceKind::Lapin).await;
    let mut subscribers = Vec::new();
    for gateway in GATEWAYS {
        let how = Connect::to(mesh.mqtt_port(gateway), &format!("at-{gateway}"));
        let mut device = Device::connected(DeviceKind::RumqttcV5, &how).await;
        device.subscribe("broadcast/#", 1).await.expect("subscribed");
        subscribers.push(device);
    }
    let [eu, us] = subscribers.as_mut_slice() else { panic!("two") };
    let how = Connect::to(mesh.mqtt_port("eu-1"), "publisher");
    let mut publisher = Device::connected(DeviceKind::RumqttcV5, &how).await;
    let one = |text: &str| [(text.to_owned(), 1)];

    link.be(WanState::Cut);
    for name in ["uplink", "inbox"] {
        counted(&mesh, "eu-1", "roost_link_up", &[&format!("link=\"{name}\"")], 0.0).await;
    }
    let publishing = tokio::spawn(async move {
        publisher.publish("broadcast/news", b"of the device", 1).await.expect("every gateway has it");
    });
    gets(eu, &one("of the device")).await;
    service.publish(&broadcast("broadcast/news", "of the service")).await.expect("the broker has it");
    gets(us, &one("of the service")).await;
    assert!(!publishing.is_finished(), "no PUBACK before the backend has it");

    link.be(WanState::Whole);
    publishing.await.expect("the PUBACK comes");
    gets(us, &one("of the device")).await;
    mesh.admin("eu-1").ready().await;
    // What came while eu-1 had no queue it has missed; what comes now it gets.
    service.publish(&broadcast("broadcast/news", "last")).await.expect("the broker has it");
    gets(eu, &one("last")).await;
    gets(us, &one("last")).await;
}

on_both_backends!(
    a_services_broadcast_comes_to_every_subscriber_once,
    a_devices_broadcast_comes_to_every_subscriber_once,
    a_retained_broadcast_is_found_at_every_gateway,
    a_gateway_that_starts_learns_what_is_retained,
    a_subscriber_that_is_full_holds_up_no_command,
    a_cut_link_loses_nothing_that_was_acknowledged_to_who_was_connected,
);
