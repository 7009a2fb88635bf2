//! MQTT over WebSocket against mosquitto.

use roost_fleet::{Plan, ProxyHeader, Tls, WebSocket};
use roost_harness::ReservedPort;

use crate::layers::haproxy;
use crate::measured::{loses_nothing, plan};
use crate::mosquitto::{mosquitto_websockets, tls};

fn over_websocket(port: &ReservedPort) -> Plan {
    let mut plan = plan(port.number());
    let (path, host) = ("/mqtt".to_owned(), "broker.test".to_owned());
    plan.transport.websocket = Some(WebSocket { path, host });
    plan
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_version_and_quality_of_service_passes_through() {
    let directory = tempfile::tempdir().unwrap();
    let port = ReservedPort::any();
    let _server = mosquitto_websockets(directory.path(), &port, "").await;
    for (v5, qos) in [(false, 0), (false, 1), (true, 0), (true, 1)] {
        let mut plan = over_websocket(&port);
        (plan.mqtt.v5, plan.traffic.qos) = (v5, qos);
        loses_nothing(plan).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_payloads_come_in_many_frames_and_reads() {
    let directory = tempfile::tempdir().unwrap();
    let port = ReservedPort::any();
    let _server = mosquitto_websockets(directory.path(), &port, "").await;
    let mut plan = over_websocket(&port);
    plan.traffic.size = 200_000;
    loses_nothing(plan).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_lies_inside_tls_and_behind_a_proxy_header() {
    let directory = tempfile::tempdir().unwrap();
    let (behind, before) = (ReservedPort::any(), ReservedPort::any());
    let (lines, ca_pem) = tls(directory.path());
    let _server = mosquitto_websockets(directory.path(), &behind, &lines).await;
    let _balancer = haproxy(directory.path(), &before, &behind).await;
    let mut plan = over_websocket(&before);
    plan.sources = vec!["127.0.0.9".parse().unwrap()];
    plan.transport.proxy_header = Some(ProxyHeader::V2);
    plan.transport.tls = Some(Tls { ca_pem, server_name: "broker.test".to_owned() });
    plan.traffic.size = 20_000;
    loses_nothing(plan).await;
}
