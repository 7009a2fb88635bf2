//! `roost dev --devices`: what the demo says of itself is what somebody else sees from outside.

use std::collections::{BTreeMap, BTreeSet};

use roost_harness::{Backend, Mesh, PATIENCE, ServiceKind, is_final, on_both_backends};

const DEVICES: usize = 20;
/// Enough that each device has several.
const EVENTS: usize = 300;
const COMMANDS: usize = 100;

/// Device and serial number of an event, as the fleet's payload has them.
fn stamp(payload: &[u8]) -> (u32, u32) {
    assert!(payload.starts_with(b"RFe1"), "{payload:?}");
    let number =
        |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().expect("a payload has 24 bytes"));
    (number(8), number(12))
}

async fn an_outside_consumer_finds_what_the_demo_says(backend: Backend) {
    let devices = DEVICES.to_string();
    let load = ["--devices", &devices, "--rate", "2", "--command-rate", "20", "--roam", "0"];
    let mesh = Mesh::start_with(backend, &load).await;
    let mut service = mesh.service(ServiceKind::Lapin).await;
    service.consume("roost.up", "#").await;
    service.consume("roost.receipts", "#").await;
    let mut events: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let mut gateways = BTreeSet::new();
    let mut given: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut finals: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    while events.values().map(Vec::len).sum::<usize>() < EVENTS || finals.len() < COMMANDS {
        let delivery = service.next().await;
        if delivery.exchange == "roost.up" {
            let (device, sequence) = stamp(&delivery.body);
            events.entry(device).or_default().push(sequence);
            gateways.extend(delivery.header("roost-gateway").map(str::to_owned));
            continue;
        }
        let receipt = delivery.json();
        let id = receipt["message_id"].as_str().expect("commands of the demo have one").to_owned();
        if let Some(gateway) = receipt["gateway"].as_str() {
            given.entry(id.clone()).or_default().insert(gateway.to_owned());
        }
        if is_final(&receipt) {
            assert_eq!(receipt["state"], "delivered", "{receipt}");
            finals.entry(id).or_default().insert(delivery.message_id.clone().expect("receipts have one"));
        }
    }
    assert_eq!(gateways, ["eu-1", "us-1"].map(str::to_owned).into());
    assert_eq!(events.len(), DEVICES);
    for (device, sequences) in &events {
        let first = sequences[0];
        let expected: Vec<u32> = (first..).take(sequences.len()).collect();
        assert_eq!(*sequences, expected, "device {device}: nothing lost, doubled or out of order");
    }
    for (id, ends) in &finals {
        assert_eq!((given[id].len(), ends.len()), (1, 1), "{id}: one gateway and one end");
    }

    let (process, _broker) = mesh.into_process();
    process.interrupt();
    let ended = process.ended(PATIENCE).await;
    assert!(ended.status.success(), "{ended:?}");
    let summary = |word: &str| {
        let line =
            ended.output.lines().find(|line| line.starts_with(word)).unwrap_or_else(|| panic!("{ended:?}"));
        let count = line.split_whitespace().nth(1).expect("a line has a count").to_owned();
        (count.parse::<usize>().unwrap_or_default(), line.to_owned())
    };
    let (acknowledged, line) = summary("events ");
    assert!(acknowledged >= events.values().map(Vec::len).sum::<usize>(), "{line}");
    assert!(line.contains("lost 0, duplicated 0 (allowed 0)"), "{line}");
    let (confirmed, line) = summary("commands  ");
    assert!(confirmed >= finals.len(), "{line}");
    let (_, line) = summary("gateways ");
    assert!(
        line.contains(&format!("reached one {confirmed}, one after the other 0, two at once 0")),
        "{line}"
    );
    let taken = format!("took in {confirmed}, each attempt");
    for part in ["Verdict: every promise was kept.", "Ended in good order.", &taken] {
        assert!(ended.output.contains(part), "{part} is missing: {}", ended.output);
    }
}

on_both_backends!(an_outside_consumer_finds_what_the_demo_says);
