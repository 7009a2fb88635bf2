//! Compares `docs/asyncapi.yaml` with the code: the same exchanges, headers, states and members, no more and no less.

use std::collections::BTreeSet;

use roost_backend::contract;
use roost_wire::envelope::header;
use roost_wire::{
    Broadcast, CommandRequest, Event, Presence, PresenceState, Qos, Receipt, ReceiptReason, ReceiptState,
    SessionId, WallTime,
};

use crate::document::{self, Node};

/// The value at `path`, its parts divided by `/`.
fn at<'a>(node: &'a Node, path: &str) -> &'a Node {
    path.split('/').fold(node, |node, part| {
        let Node::Map(entries) = node else { panic!("{path}: {part} is not in a mapping") };
        &entries
            .iter()
            .find(|(key, _)| key.value == part)
            .unwrap_or_else(|| panic!("{path}: no {part}"))
            .1
            .value
    })
}

fn keys(node: &Node) -> BTreeSet<String> {
    let Node::Map(entries) = node else { panic!("not a mapping: {node:?}") };
    entries.iter().map(|(key, _)| key.value.clone()).collect()
}

fn words(node: &Node) -> BTreeSet<String> {
    let Node::List(items) = node else { panic!("not a list: {node:?}") };
    let word = |node: &Node| match node {
        Node::Text(text) => text.clone(),
        other => panic!("not a word: {other:?}"),
    };
    items.iter().map(|item| word(&item.value)).collect()
}

fn set<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}

fn contract_file() -> Node {
    let (tree, problems) = document::read(include_str!("../../docs/asyncapi.yaml"));
    assert_eq!(problems, Vec::new());
    tree.unwrap().value
}

/// Exchanges between gateways and routers: no service reads or writes them.
const INNER: [&str; 3] = [contract::MESH, contract::ROUTERS, contract::ANSWERS];

fn event() -> Event {
    Event {
        device: "acme/d1".parse().unwrap(),
        topic: "a/b".parse().unwrap(),
        payload: Vec::new().into(),
        qos: Qos::AtLeastOnce,
        retain: false,
        dup: false,
        gateway: "eu-1".parse().unwrap(),
        region: "eu".parse().unwrap(),
        incarnation: roost_wire::Incarnation(1),
        sequence: 1,
        received_at: WallTime::from_millis(1),
        replayed: false,
        content_type: None,
        expiry_s: None,
        payload_is_utf8: true,
        response_topic: Some("r".to_owned()),
        correlation_data: Some(vec![1].into()),
        user_properties: vec![("a".to_owned(), "b".to_owned())],
        trace: roost_wire::TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
            .ok(),
    }
}

#[test]
fn the_exchanges_are_the_codes() {
    let file = contract_file();
    let channels = at(&file, "channels");
    let mut found = BTreeSet::new();
    for channel in keys(channels) {
        let exchange = at(channels, &format!("{channel}/bindings/amqp/exchange"));
        let Node::Text(name) = at(exchange, "name") else { panic!("{channel}: a name is text") };
        assert_eq!(name, &format!("roost.{channel}"));
        assert_eq!(
            (at(exchange, "type"), at(exchange, "durable")),
            (&Node::Text("topic".to_owned()), &Node::Bool(true))
        );
        found.insert(name.clone());
    }
    let topic_exchanges = roost_backend::Topology::contract(1).exchanges.into_iter();
    let own: BTreeSet<String> =
        topic_exchanges.map(|exchange| exchange.name).filter(|name| !INNER.contains(&&**name)).collect();
    assert_eq!(found, own, "all but the mesh's own {INNER:?}");
}

#[test]
fn the_headers_are_the_codes() {
    let file = contract_file();
    let schema = |name: &str| at(&file, &format!("components/schemas/{name}")).clone();
    let headers =
        |message: roost_wire::Message| message.properties.headers.into_keys().collect::<BTreeSet<_>>();
    assert_eq!(keys(at(&schema("eventHeaders"), "properties")), headers(event().into_message(contract::UP)));
    let least = Event {
        payload_is_utf8: false,
        response_topic: None,
        correlation_data: None,
        user_properties: Vec::new(),
        trace: None,
        ..event()
    };
    assert_eq!(words(at(&schema("eventHeaders"), "required")), headers(least.into_message(contract::UP)));

    let id = roost_wire::MessageId::parse("m").unwrap();
    let command = CommandRequest {
        receipt_to: Some("q".to_owned()),
        supersede_key: Some("k".to_owned()),
        user_properties: vec![("a".to_owned(), "b".to_owned())],
        trace: roost_wire::TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
            .ok(),
        ..CommandRequest::new("d1".parse().unwrap(), id, Vec::new().into())
    };
    assert_eq!(
        keys(at(&schema("commandHeaders"), "properties")),
        headers(command.into_message(contract::DOWN))
    );
    let broadcast = Broadcast {
        retain: true,
        payload_is_utf8: true,
        response_topic: roost_wire::Topic::parse("r").ok(),
        correlation_data: Some(vec![1].into()),
        user_properties: vec![("a".to_owned(), "b".to_owned())],
        trace: event().trace,
        ..Broadcast::new("a/b".parse().unwrap(), Vec::new().into())
    };
    let mut of_services = headers(broadcast.clone().into_message(contract::FANOUT));
    of_services.insert(header::ORIGIN.to_owned());
    assert_eq!(keys(at(&schema("broadcastHeaders"), "properties")), of_services);
    let plain = Broadcast::new(broadcast.topic, Vec::new().into());
    assert_eq!(
        words(at(&schema("broadcastHeaders"), "required")),
        headers(plain.into_message(contract::FANOUT))
    );
    let mut of_devices = headers(event().into_message(contract::UP));
    of_devices.insert(header::ORIGIN.to_owned());
    assert_eq!(headers(event().into_broadcast(contract::FANOUT)), of_devices);
    let dead = at(&file, "components/messages/dead/headers/properties");
    assert_eq!(keys(dead), set([header::REASON]));
}

#[test]
fn receipts_are_the_codes() {
    let file = contract_file();
    let receipt = Receipt {
        version: Receipt::VERSION,
        state: ReceiptState::Delivered,
        device: "d1".parse().unwrap(),
        message_id: Some(roost_wire::MessageId::parse("m").unwrap()),
        command_id: roost_wire::CommandId { journal: 1, sequence: 1 },
        epoch: Some(roost_wire::Epoch::default()),
        gateway: Some("eu-1".parse().unwrap()),
        region: Some("eu".parse().unwrap()),
        attempt: 1,
        telling: Some(roost_wire::Telling { run: roost_wire::RouterRun(1), number: 1 }),
        reason: Some(ReceiptReason::Invalid),
        detail: Some("x".to_owned()),
        accepted_at: WallTime::from_millis(1),
        at: WallTime::from_millis(1),
        duplicate: true,
    };
    let members =
        |json: serde_json::Value| json.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let schema = at(&file, "components/schemas/receipt/properties");
    assert_eq!(keys(schema), members(serde_json::to_value(receipt).unwrap()));
    let states = set(ReceiptState::ALL.map(ReceiptState::as_str));
    assert_eq!(words(at(schema, "state/enum")), states);
    assert_eq!(words(at(&file, "channels/receipts/parameters/state/enum")), states);
    for reason in words(at(schema, "reason/enum")) {
        let known = serde_json::from_value::<ReceiptReason>(reason.clone().into());
        assert!(known.is_ok(), "the code knows no reason {reason}");
    }
    // serde names every reason it knows when it meets one it does not.
    let all = serde_json::from_str::<ReceiptReason>("\"?\"").unwrap_err().to_string();
    let all: BTreeSet<String> = all.split('`').skip(3).step_by(2).map(str::to_owned).collect();
    assert_eq!(words(at(schema, "reason/enum")), all);
}

#[test]
fn presence_is_the_codes() {
    let file = contract_file();
    let presence = Presence {
        version: 1,
        device: "d1".parse().unwrap(),
        state: PresenceState::Online,
        gateway: "eu-1".parse().unwrap(),
        region: "eu".parse().unwrap(),
        incarnation: roost_wire::Incarnation(1),
        session: SessionId(1),
        at: WallTime::from_millis(1),
    };
    let json = serde_json::to_value(presence).unwrap();
    let members: BTreeSet<String> = json.as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys(at(&file, "components/schemas/presence/properties")), members);
    assert_eq!(words(at(&file, "components/schemas/presence/required")), members);
}
