//! The roles as processes: how they begin and how they end.

use std::net::{Ipv4Addr, TcpListener};

use roost_harness::{Api, PATIENCE, PortOffset, Process, ReservedPort};

use super::{roost, stderr};

#[tokio::test]
async fn a_backend_serves_until_it_is_told_to_stop() {
    for stop in [Process::interrupt as fn(&Process), Process::terminate] {
        let folder = tempfile::tempdir().unwrap();
        let (amqp, admin) = (ReservedPort::any(), ReservedPort::any());
        let file = folder.path().join("backend.yaml");
        let text = format!(
            "role: backend\nlisten: 127.0.0.1:{}\nadmin: 127.0.0.1:{}\ndata: {}\n",
            amqp.number(),
            admin.number(),
            folder.path().join("data").display()
        );
        std::fs::write(&file, text).unwrap();
        let mut command = roost_harness::roost();
        command.arg("backend").arg("--config").arg(&file);
        let process = Process::start("backend", command);
        let api = Api::at(admin.number());
        api.ready().await;
        let queues = api.get("/v1/queues").await.unwrap();
        assert_eq!((queues.status, queues.body), (200, serde_json::json!([])));
        stop(&process);
        let ended = process.ended(PATIENCE).await;
        assert_eq!(ended.status.code(), Some(0), "{}", ended.output);
        assert!(ended.output.contains("ended in good order"), "{}", ended.output);
    }
}

#[test]
fn a_role_refuses_a_file_that_is_not_its_own() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/config/router.yaml");
    let output = roost(&["backend", "--config", file]);
    assert_eq!(output.status.code(), Some(1));
    let expected = format!(
        "{file}:3:7: role: this is the file of a router, and `roost backend` reads one of a backend\n"
    );
    assert_eq!(stderr(&output), expected);
}

#[test]
fn dev_says_every_port_that_is_in_use_who_wants_it_and_what_to_type() {
    let ports = PortOffset::reserve();
    let taken = [PortOffset::MQTT_US, PortOffset::API].map(|port| ports.of(port));
    let _listeners = taken.map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap());
    let output = roost(&["dev", "--port-offset", &ports.offset().to_string()]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains(&format!("port {} is in use; gateway us-1 (MQTT) wants it\n", taken[0])), "{said}");
    assert!(
        said.contains(&format!("port {} is in use; the router (HTTP API) wants it\n", taken[1])),
        "{said}"
    );
    assert_eq!(said.matches("in use").count(), 2, "{said}");
    assert!(said.contains("or move every port: roost dev --port-offset "), "{said}");
}
