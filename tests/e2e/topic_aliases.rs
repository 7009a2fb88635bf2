//! A device says a topic once, and a number from then on; the gateway does the same towards a device that takes that.

use roost_harness::{Backend, Mesh, Publication, ServiceKind, on_both_backends};

use crate::raw_client::RawClient;

const TOPIC: &str = "devices/meter/cmd";

/// A PUBLISH at QoS 1 with the alias 7, behind its topic or without it.
fn publish(packet_id: u8, topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut body = vec![0, u8::try_from(topic.len()).expect("it is short")];
    body.extend_from_slice(topic.as_bytes());
    body.extend_from_slice(&[0, packet_id, 3, 0x23, 0, 7]);
    body.extend_from_slice(payload);
    body
}

async fn topics_are_said_once_both_ways(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let mut service = mesh.service(ServiceKind::Lapin).await;
    service.consume("roost.up", "main.meter.#").await;
    let mut device = RawClient::with_topic_aliases(mesh.mqtt_port("eu-1"), "meter", 4).await;

    for (packet_id, topic) in [(1, "state/power"), (2, ""), (3, "state/heat"), (4, "")] {
        device.raw.send_packet(0x32, &publish(packet_id, topic, &[b'0' + packet_id])).await;
        assert_eq!(device.raw.packet().await, Some((0x40, vec![0, packet_id])), "PUBACK");
    }
    for (payload, level) in [("1", "power"), ("2", "power"), ("3", "heat"), ("4", "heat")] {
        let event = service.next().await;
        assert_eq!((event.text(), &event.key), (payload, &format!("main.meter.state.{level}")));
    }

    device.subscribe(TOPIC).await;
    let mut topics = Vec::new();
    for n in 1..=3 {
        let id = format!("c-{n}");
        service.publish(&Publication::command("meter", TOPIC, id.as_bytes(), &id)).await.expect("taken in");
        let (first, body) = device.raw.packet().await.expect("a PUBLISH");
        assert_eq!(first, 0x32);
        let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
        topics.push(String::from_utf8(body[2..2 + length].to_vec()).expect("UTF-8"));
        assert!(body.ends_with(id.as_bytes()), "{body:02x?}");
        device.raw.send_packet(0x40, &body[2 + length..4 + length]).await;
    }
    assert_eq!(topics, [TOPIC, "", ""], "the first one tells the alias");
}

on_both_backends!(topics_are_said_once_both_ways);
