//! OpenTelemetry: one trace from the device's publish to AMQP, and one from the AMQP command to the PUBACK.

use roost_harness::{
    Backend, CollectedSpan, Collector, Connect, Device, DeviceKind, Federation, Mesh, Metrics, PATIENCE,
    Publication, ReservedPort, ServiceKind, eventually,
};
use serde_json::json;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

fn said() -> String {
    format!("00-{TRACE}-{SPAN}-01")
}

/// Trace and span of a `traceparent`.
fn place(traceparent: &str) -> (&str, &str) {
    let parts: Vec<&str> = traceparent.split('-').collect();
    let [_, trace, span, _] = parts[..] else { panic!("{traceparent}") };
    (trace, span)
}

fn named<'a>(spans: &'a [CollectedSpan], name: &str) -> &'a CollectedSpan {
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no {name} in {spans:#?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_leads_from_a_devices_publish_to_amqp() {
    let collector = Collector::start().await;
    let mesh = Mesh::start_with(Backend::Embedded, &["--otlp", collector.url()]).await;
    let mut service = mesh.service(ServiceKind::Lapin).await;
    service.consume("roost.up", "main.#").await;

    let mut device =
        Device::connected(DeviceKind::RumqttcV5, &Connect::to(mesh.mqtt_port("eu-1"), "five")).await;
    device.publish_saying("state", b"1", &[("traceparent", &said())]).await.expect("acknowledged");
    let event = service.next().await;
    let (trace, span) = place(event.header("traceparent").expect("it is in a trace"));
    assert_eq!(trace, TRACE);
    let spans = collector.trace_with(TRACE, &["device publish"]).await;
    let publish = &spans[0];
    assert_eq!((&*publish.id, &*publish.parent, &*publish.service), (span, SPAN, "roost-gateway"));
    for (name, value) in [
        ("messaging.system", "mqtt"),
        ("messaging.destination.name", "state"),
        ("messaging.client.id", "five"),
        ("roost.tenant", "main"),
    ] {
        assert_eq!(publish.attribute(name), Some(value), "{publish:?}");
    }
    assert_eq!(publish.attribute("messaging.message.id"), event.message_id.as_deref());
    assert!(publish.times.0 < publish.times.1, "{publish:?}");

    // MQTT 3.1.1 has no user properties: the trace begins at the gateway.
    let mut device =
        Device::connected(DeviceKind::RumqttcV4, &Connect::to(mesh.mqtt_port("us-1"), "three")).await;
    device.publish("state", b"2", 1).await.expect("acknowledged");
    let event = service.next().await;
    let (trace, span) = place(event.header("traceparent").expect("a trace has begun"));
    let spans = collector.trace_with(trace, &["device publish"]).await;
    assert_eq!((&*spans[0].id, &*spans[0].parent), (span, ""));
}

/// The device is away, the router is killed meanwhile, and then the device comes.
#[tokio::test(flavor = "multi_thread")]
async fn one_trace_leads_from_a_command_through_two_runs_of_the_router_to_the_puback() {
    let collector = Collector::start().await;
    let mut federation = Federation::traced(Backend::Embedded, collector.url()).await;
    let mut service = federation.service(ServiceKind::Lapin).await;
    service.consume("roost.receipts", "main.lamp.*").await;
    let command = Publication::command("lamp", "devices/lamp/cmd", b"on", "c-1")
        .header("traceparent", &said())
        .header("roost-receipts", "all");
    service.publish(&command).await.expect("the mesh has it");
    while service.next().await.json()["state"] != "parked" {}
    federation.kill_router();
    federation.start_router().await;

    let mut device =
        Device::connected(DeviceKind::RumqttcV5, &Connect::to(federation.mqtt_port("eu-1"), "lamp")).await;
    device.subscribe("devices/lamp/cmd", 1).await.expect("subscribed");
    let message = device.next().await.expect("it is delivered");
    let (trace, seen) = place(message.property("traceparent").expect("the device can go on with the trace"));
    assert_eq!(trace, TRACE);

    // The first attempt may have come before the subscription.
    eventually("the router's span and the delivery are there", PATIENCE, async || {
        let spans = collector.spans_of(TRACE);
        let has = |name: &str, outcome: &str| {
            spans.iter().any(|span| span.name == name && span.attribute(outcome) == Some("delivered"))
        };
        let is_whole = has("route", "roost.state") && has("deliver", "roost.outcome");
        if is_whole { Ok(()) } else { Err(format!("{:#?}", collector.all())) }
    })
    .await;
    let spans = collector.spans_of(TRACE);
    let route = named(&spans, "route");
    assert_eq!((&*route.parent, &*route.service), (SPAN, "roost-router"));
    assert_eq!(route.attribute("messaging.message.id"), Some("c-1"));
    for step in ["resumed", "decided", "forwarded", "answered", "ended"] {
        assert!(route.events.iter().any(|name| name == step), "{step}: {:?}", route.events);
    }
    let deliveries: Vec<&CollectedSpan> = spans.iter().filter(|span| span.name == "deliver").collect();
    assert!(deliveries.iter().all(|span| span.parent == route.id), "{spans:#?}");
    let last = deliveries.iter().find(|span| span.id == seen).expect("what the device has seen is a span");
    assert_eq!(last.events, ["PUBLISH", "PUBACK"]);
    assert!(last.attribute("roost.epoch").is_some() && last.service == "roost-gateway");
    assert_eq!(spans.iter().filter(|span| span.name == "route").count(), 1, "one for both runs");
}

/// One that is malformed, and a second one, count as none: the trace begins in the mesh.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_over_http_goes_on_in_its_senders_trace() {
    let collector = Collector::start().await;
    let mesh = Mesh::start_with(Backend::Embedded, &["--otlp", collector.url()]).await;
    let mut device =
        Device::connected(DeviceKind::RumqttcV5, &Connect::to(mesh.mqtt_port("eu-1"), "lamp")).await;
    device.subscribe("devices/lamp/cmd", 1).await.expect("subscribed");
    let api = mesh.api();
    api.located("lamp", "eu-1").await;
    let (good, other) = (said(), said().replace(SPAN, "00f067aa0ba902b7"));
    let header = |text| ("traceparent", text);
    for (headers, parent) in [
        (vec![header(good.as_str())], Some(SPAN)),
        (vec![header("00-malformed")], None),
        (vec![header(good.as_str()), header(other.as_str())], None),
    ] {
        let command = json!({"topic": "devices/lamp/cmd", "payload": "on"});
        let path = "/v1/tenants/main/devices/lamp/commands";
        let answer = api.post_saying(path, &command, &headers).await.expect("the router answers");
        assert_eq!(answer.status, 202, "{answer:?}");
        let message = device.next().await.expect("it is delivered");
        let (trace, _) = place(message.property("traceparent").expect("it is in a trace"));
        assert_eq!(trace == TRACE, parent.is_some(), "{headers:?}");
        let spans = collector.trace_with(trace, &["route", "deliver"]).await;
        assert_eq!(named(&spans, "route").parent, parent.unwrap_or_default());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn off_by_default_what_is_said_is_handed_on_and_no_id_is_made() {
    let mesh = Mesh::start(Backend::Embedded).await;
    let mut service = mesh.service(ServiceKind::Lapin).await;
    service.consume("roost.up", "main.#").await;
    let mut device =
        Device::connected(DeviceKind::RumqttcV5, &Connect::to(mesh.mqtt_port("eu-1"), "lamp")).await;
    for (saying, expected) in
        [(Some(said()), Some(said())), (Some("00-malformed".to_owned()), None), (None, None)]
    {
        let pairs: Vec<(&str, &str)> = saying.iter().map(|text| ("traceparent", text.as_str())).collect();
        device.publish_saying("state", b"1", &pairs).await.expect("acknowledged");
        assert_eq!(service.next().await.header("traceparent"), expected.as_deref());
    }
    device.subscribe("devices/lamp/cmd", 1).await.expect("subscribed");
    for (saying, expected) in [(said(), Some(said())), ("00-malformed".to_owned(), None)] {
        let command = Publication::command("lamp", "devices/lamp/cmd", b"on", &format!("c{}", saying.len()))
            .header("traceparent", &saying);
        service.publish(&command).await.expect("the mesh has it");
        let message = device.next().await.expect("it is delivered");
        assert_eq!(message.property("traceparent"), expected.as_deref());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_collector_the_mesh_goes_on_and_counts_what_it_drops() {
    // Reserved, and nobody listens.
    let port = ReservedPort::any();
    let otlp = format!("http://127.0.0.1:{}", port.number());
    let mesh = Mesh::start_with(Backend::Embedded, &["--otlp", &otlp, "--log", "warn,lapin=off"]).await;
    let mut device =
        Device::connected(DeviceKind::RumqttcV5, &Connect::to(mesh.mqtt_port("eu-1"), "lamp")).await;
    let admin = mesh.admin("eu-1");
    // Each batch goes in vain by itself: the next publish is made when the one before is counted.
    for published in 1..=3 {
        device.publish("state", b"1", 1).await.expect("acknowledged, whatever becomes of its span");
        eventually("its span is dropped", PATIENCE, async || {
            let metrics = Metrics::of(&admin).await;
            let dropped = metrics.sum("roost_trace_spans_dropped_total", &["reason=\"collector\""]);
            if dropped >= f64::from(published) { Ok(()) } else { Err(format!("{dropped} of {published}")) }
        })
        .await;
    }
    let said = mesh.output().matches("takes no spans").count();
    // Of the router, which may have had none to send, nothing; of a gateway one line, however many batches.
    assert_eq!(said, 1, "{}", mesh.output());
}
