//! A command that breaks its device each time is given up, is kept in `roost.dead`, and stands in nobody's way for ever.

use std::collections::BTreeMap;

use roost_harness::{Backend, Mesh, Publication, Service, ServiceKind, is_final, on_both_backends};
use serde_json::Value;

use crate::raw_client::RawClient;

/// How often a command is written to its device without an answer.
const LIMIT: usize = 10;
const POISON: &str = "poison";
const NEXT: &str = "next";

fn topic(device: &str) -> String {
    format!("devices/{device}/cmd")
}

fn command(device: &str, what: &str) -> Publication {
    Publication::command(device, &topic(device), what.as_bytes(), what)
}

/// What became of commands: final receipts and dead letters, each by its command.
#[derive(Debug, Default)]
struct Ends {
    receipts: BTreeMap<String, Value>,
    dead: BTreeMap<String, String>,
}

impl Ends {
    /// Listens until `of` has both, or the receipt alone if that is not `rejected`.
    async fn hear(&mut self, service: &mut Service, of: &str) {
        loop {
            if let Some(receipt) = self.receipts.get(of)
                && (receipt["state"] != "rejected" || self.dead.contains_key(of))
            {
                return;
            }
            let delivery = service.next().await;
            if delivery.exchange == "roost.dead" {
                let id = delivery.message_id.clone().expect("the command's own");
                assert_eq!(delivery.text(), id, "as it was");
                let reason = delivery.header("roost-reason").expect("a reason").to_owned();
                assert_eq!(self.dead.insert(id, reason), None, "once");
            } else if is_final(&delivery.json()) {
                let id = delivery.correlation_id.clone().expect("the command's");
                assert_eq!(self.receipts.insert(id, delivery.json()), None, "one final receipt");
            }
        }
    }
}

/// How a device connects.
#[derive(Clone, Copy, Debug)]
enum How {
    /// With MQTT 3.1.1 (4) or 5, and as much on its way at a time as the gateway likes.
    Level(u8),
    /// With MQTT 5 and a receive maximum of 1.
    OneAtATime,
}

/// Reads commands, breaks off at each that is poison, and comes back at once, until it has read another one, which it acknowledges: all
/// that it has read.
async fn breaks_off(port: u16, device: String, how: How) -> Vec<String> {
    let mut read = Vec::new();
    loop {
        let mut client = match how {
            How::Level(level) => RawClient::clean(port, level, &device).await,
            How::OneAtATime => RawClient::one_at_a_time(port, &device).await,
        };
        client.subscribe(&topic(&device)).await;
        let message = client.next().await;
        read.push(message.text.clone());
        if message.text != POISON {
            client.acknowledge(&message).await;
            client.has_no_more().await;
            return read;
        }
    }
}

/// Sends one that breaks the device, and another one behind it: at once, or when the first has ended.
async fn is_given_up(mesh: &Mesh, device: &str, how: How, is_behind_at_once: bool) {
    let mut service = mesh.service(ServiceKind::Lapin).await;
    service.consume("roost.receipts", &format!("main.{device}.*")).await;
    service.consume("roost.dead", &format!("main.{device}")).await;
    let mut ends = Ends::default();
    service.publish(&command(device, POISON)).await.expect("the mesh has it");
    if is_behind_at_once {
        service.publish(&command(device, NEXT)).await.expect("the mesh has it");
    }
    let reading = tokio::spawn(breaks_off(mesh.mqtt_port("eu-1"), device.to_owned(), how));
    ends.hear(&mut service, POISON).await;
    if !is_behind_at_once {
        service.publish(&command(device, NEXT)).await.expect("the mesh has it");
    }
    ends.hear(&mut service, NEXT).await;

    let poison = &ends.receipts[POISON];
    assert_eq!(
        (&poison["state"], &poison["reason"]),
        (&"rejected".into(), &"delivery_limit".into()),
        "{how:?}"
    );
    assert_eq!(ends.receipts[NEXT]["state"], "delivered", "{how:?}: {}", ends.receipts[NEXT]);
    assert_eq!(ends.dead, BTreeMap::from([(POISON.to_owned(), "delivery_limit".to_owned())]), "{how:?}");
    let mut expected = vec![POISON; LIMIT];
    expected.push(NEXT);
    assert_eq!(reading.await.expect("it has not panicked"), expected, "{how:?}");
}

async fn a_command_that_breaks_its_device_each_time_is_given_up(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    for level in [4, 5] {
        is_given_up(&mesh, &format!("fragile-{level}"), How::Level(level), false).await;
    }
}

/// Whether it was on its way with it or not.
async fn what_stands_behind_a_command_that_is_given_up_is_delivered(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    is_given_up(&mesh, "patient", How::OneAtATime, true).await;
    for level in [4, 5] {
        is_given_up(&mesh, &format!("hasty-{level}"), How::Level(level), true).await;
    }
}

on_both_backends!(
    a_command_that_breaks_its_device_each_time_is_given_up,
    what_stands_behind_a_command_that_is_given_up_is_delivered
);
