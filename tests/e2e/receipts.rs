//! A sender that wants all receipts hears of every step of its command, each with what belongs to it.

use std::collections::{BTreeMap, BTreeSet};

use roost_harness::{
    Backend, Delivery, Mesh, Metrics, PATIENCE, Publication, Service, ServiceKind, eventually, is_final,
    on_both_backends,
};
use serde_json::Value;

use crate::raw_client::RawClient;

const TOPIC: &str = "devices/valve/cmd";

/// The receipts of one command, in the order in which they came.
#[derive(Default)]
struct Story {
    receipts: Vec<(Delivery, Value)>,
}

impl Story {
    async fn goes_on(&mut self, service: &mut Service) -> &Value {
        let delivery = service.next().await;
        let receipt = delivery.json();
        self.receipts.push((delivery, receipt));
        &self.receipts.last().expect("just pushed").1
    }

    /// Reads on until a receipt has this state and reason.
    async fn comes_to(&mut self, service: &mut Service, state: &str, reason: Option<&str>) {
        loop {
            let receipt = self.goes_on(service).await;
            if receipt["state"] == state && receipt.get("reason").and_then(Value::as_str) == reason {
                return;
            }
            assert!(!is_final(receipt), "it ended before it was {state} {reason:?}: {receipt}");
        }
    }

    fn states(&self) -> Vec<&str> {
        self.receipts.iter().map(|(_, receipt)| text(receipt, "state")).collect()
    }

    /// What docs/asyncapi.yaml says of every receipt.
    fn is_as_described(&self) {
        let mut ids = BTreeSet::new();
        for (delivery, receipt) in &self.receipts {
            assert_eq!(delivery.key, format!("main.valve.{}", text(receipt, "state")));
            assert_eq!(delivery.correlation_id.as_deref(), Some("open"), "of the command");
            let id = delivery.message_id.clone().expect("a message id");
            assert!(ids.insert(id), "two receipts have one message id: {receipt}");
            assert_eq!(receipt["version"], 1);
            let names = ["tenant", "device", "message_id"].map(|name| text(receipt, name));
            assert_eq!(names, ["main", "valve", "open"]);
            assert_eq!(receipt["command_id"], self.receipts[0].1["command_id"]);
            assert_eq!(receipt["accepted_at"], self.receipts[0].1["accepted_at"]);
            assert_eq!(receipt["duplicate"], false);
        }
        let times = self.receipts.iter().map(|(_, receipt)| number(receipt, "at"));
        let times: Vec<u64> = [number(&self.receipts[0].1, "accepted_at")].into_iter().chain(times).collect();
        assert!(times.is_sorted(), "time goes backwards: {times:?}");
    }

    /// `accepted`, then `parked` and `forwarded` in turn, then one that is final. Each `forwarded` is one more attempt, and each attempt
    /// has a gateway, its region, and an epoch of its own; what is parked says why.
    fn is_consistent(&self) {
        let states = self.states();
        assert_eq!(states[0], "accepted", "{states:?}");
        assert_eq!(states.iter().filter(|state| **state == "accepted").count(), 1, "{states:?}");
        let mut attempts = 0;
        let mut given = BTreeMap::new();
        for (_, receipt) in &self.receipts {
            let (state, attempt) = (text(receipt, "state"), number(receipt, "attempt"));
            attempts += u64::from(state == "forwarded");
            assert_eq!(attempt, attempts, "{states:?}: {receipt}");
            assert_eq!(receipt.get("reason").is_some(), state == "parked", "{receipt}");
            let [epoch, gateway, region] = ["epoch", "gateway", "region"].map(|name| receipt.get(name));
            if attempt == 0 {
                assert_eq!((epoch, gateway, region), (None, None, None), "{receipt}");
                continue;
            }
            let [epoch, gateway, region] = ["epoch", "gateway", "region"].map(|name| text(receipt, name));
            assert_eq!(gateway.strip_suffix("-1"), Some(region), "{receipt}");
            let at = given.entry(attempt).or_insert((epoch, gateway));
            assert_eq!(*at, (epoch, gateway), "{receipt}");
        }
        let epochs: BTreeSet<&str> = given.values().map(|(epoch, _)| *epoch).collect();
        assert_eq!(epochs.len(), given.len(), "a hold is one attempt here: {given:?}");
    }
}

fn text<'a>(receipt: &'a Value, name: &str) -> &'a str {
    receipt[name].as_str().unwrap_or_else(|| panic!("no {name}: {receipt}"))
}

fn number(receipt: &Value, name: &str) -> u64 {
    receipt[name].as_u64().unwrap_or_else(|| panic!("no {name}: {receipt}"))
}

async fn every_step_of_a_command_is_told(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    eventually("the router knows both gateways", PATIENCE, async || {
        let ready = Metrics::of(&mesh.api()).await.sum("roost_router_gateway_ready", &[]);
        if ready == 2.0 { Ok(()) } else { Err(ready.to_string()) }
    })
    .await;
    let mut service = mesh.service(ServiceKind::Lapin).await;
    service.consume("roost.receipts", "main.valve.*").await;
    let mut story = Story::default();
    let command = Publication::command("valve", TOPIC, b"open", "open").header("roost-receipts", "all");
    service.publish(&command).await.expect("the mesh has it");
    // Nobody has ever seen it: the gateways are asked.
    story.comes_to(&mut service, "parked", Some("device_unknown")).await;

    // It takes the command, and breaks off before it acknowledges it.
    let mut client = RawClient::clean(mesh.mqtt_port("eu-1"), 5, "valve").await;
    client.subscribe(TOPIC).await;
    assert_eq!(client.next().await.text, "open");
    drop(client);
    story.comes_to(&mut service, "parked", Some("device_away")).await;

    let mut client = RawClient::clean(mesh.mqtt_port("us-1"), 5, "valve").await;
    client.subscribe(TOPIC).await;
    let again = client.next().await;
    assert_eq!(again.text, "open");
    client.acknowledge(&again).await;
    story.comes_to(&mut service, "delivered", None).await;

    story.is_as_described();
    story.is_consistent();
    let states = story.states();
    let at = |gateway: &str| {
        let forwarded = |(_, receipt): &(Delivery, Value)| {
            receipt["state"] == "forwarded" && receipt["gateway"] == gateway
        };
        story.receipts.iter().any(forwarded)
    };
    assert!(at("eu-1") && at("us-1"), "{states:?}");
    let (last, receipt) = story.receipts.last().expect("the final one");
    assert_eq!(text(receipt, "gateway"), "us-1");

    // Asked again the mesh says the same again, under the same id.
    service.publish(&command).await.expect("the mesh has it");
    let repeated = service.next().await;
    assert_eq!(repeated.message_id, last.message_id, "{repeated:?}");
    let mut as_first = repeated.json();
    assert_eq!(as_first["duplicate"], true);
    as_first["duplicate"] = false.into();
    assert_eq!(&as_first, receipt);
}

on_both_backends!(every_step_of_a_command_is_told);
