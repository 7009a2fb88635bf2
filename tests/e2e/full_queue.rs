//! One service's queue is full for good.

use std::collections::BTreeSet;

use roost_harness::{
    Backend, Connect, Device, DeviceKind, Federation, Metrics, PATIENCE, RawMqtt, ServiceKind, eventually,
    on_both_backends,
};

const DEVICES: usize = 6;
/// As many as a client may have unacknowledged.
const EVENTS_EACH: usize = 100;

/// What it refuses goes to `roost.dead`, each event once, and what others want gets through: the events that wait to be tried again do not
/// fill the window again and again.
async fn a_queue_that_stays_full_stalls_nobody(backend: Backend) {
    let mesh = Federation::of(backend).await.with_gateways("uplink: {outstanding_max: 64}\n").started().await;
    let port = mesh.mqtt_port("eu-1");
    let mut service = mesh.service(ServiceKind::Lapin).await;
    service.jam("roost.up", "main.*.jammed").await;
    service.consume("roost.dead", "#").await;
    service.consume("roost.up", "main.*.fine").await;
    let mut fine = Device::connected(DeviceKind::RumqttcV5, &Connect::to(port, "fine")).await;
    fine.publish("jammed", b"the one that it takes", 1).await.expect("it has room for one");

    let refused = (0..DEVICES).map(|device| tokio::spawn(publishes(port, device)));
    let refused: Vec<_> = refused.collect();
    eventually("the first is refused", PATIENCE, async || {
        let retried = Metrics::of(&mesh.admin("eu-1")).await.sum("roost_gateway_event_retries_total", &[]);
        if retried > 0.0 { Ok(()) } else { Err(retried.to_string()) }
    })
    .await;
    for number in 0..20 {
        fine.publish("fine", format!("{number}").as_bytes(), 1).await.expect("nothing is wrong with it");
    }
    for device in refused {
        device.await.expect("every PUBACK says that no queue took it");
    }

    let (mut dead, mut came) = (BTreeSet::new(), Vec::new());
    while dead.len() < DEVICES * EVENTS_EACH || came.len() < 20 {
        let delivery = service.next().await;
        if delivery.exchange == "roost.up" {
            came.push(delivery.text().to_owned());
            continue;
        }
        let reason = delivery.header("roost-reason").expect("a reason");
        assert!(reason.starts_with("refused by the backend each time"), "{reason}");
        let id = delivery.message_id.clone().expect("an id");
        assert!(dead.insert(id), "twice: {delivery:?}");
    }
    assert_eq!(came, (0..20).map(|number| number.to_string()).collect::<Vec<_>>());
    let retries = Metrics::of(&mesh.admin("eu-1")).await.sum("roost_gateway_event_retries_total", &[]);
    assert!(retries < (3 * DEVICES * EVENTS_EACH) as f64, "{retries} of at most five for each");
}

async fn publishes(port: u16, device: usize) {
    let mut client = RawMqtt::connect(port).await;
    client.send_connect(5, format!("jam-{device}").as_bytes()).await;
    client.packet().await.expect("a CONNACK");
    for number in 1..=EVENTS_EACH {
        let mut body = vec![0, 6];
        body.extend_from_slice(b"jammed");
        body.extend_from_slice(&u16::try_from(number).expect("few").to_be_bytes());
        body.extend_from_slice(b"\0x"); // no properties, and a payload
        client.send_packet(0x32, &body).await;
    }
    for number in 1..=EVENTS_EACH {
        let (first, body) = client.packet().await.expect("a PUBACK");
        let number = u16::try_from(number).expect("few").to_be_bytes();
        assert_eq!(
            (first, &body[..2], body[2]),
            (0x40, &number[..], 0x80),
            "in their order, with the reason"
        );
    }
}

on_both_backends!(a_queue_that_stays_full_stalls_nobody);
