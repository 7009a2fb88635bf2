//! The roles as processes: how they begin and how they end.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;

use roost_harness::{Api, PATIENCE, PortOffset, Process, ReservedPort, eventually};

use super::{roost, stderr};

fn backend(folder: &tempfile::TempDir, amqp: &ReservedPort, admin: &ReservedPort) -> Process {
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
    Process::start("backend", command)
}

#[tokio::test]
async fn a_backend_serves_until_it_is_told_to_stop() {
    for stop in [Process::interrupt as fn(&Process), Process::terminate] {
        let folder = tempfile::tempdir().unwrap();
        let (amqp, admin) = (ReservedPort::any(), ReservedPort::any());
        let process = backend(&folder, &amqp, &admin);
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

/// Somebody who began to speak AMQP and fell silent holds up a drain.
#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (amqp, admin) = (ReservedPort::any(), ReservedPort::any());
    let process = backend(&folder, &amqp, &admin);
    Api::at(admin.number()).ready().await;
    let mut silent = TcpStream::connect((Ipv4Addr::LOCALHOST, amqp.number())).unwrap();
    silent.write_all(b"AMQP\0\0\x09\x01").unwrap();
    silent.read_exact(&mut [0]).unwrap();
    process.interrupt();
    eventually("it says that it drains", PATIENCE, async || match process.output() {
        said if said.contains("draining") => Ok(()),
        said => Err(said),
    })
    .await;
    process.interrupt();
    let ended = process.ended(PATIENCE).await;
    assert_eq!(ended.status.code(), Some(130), "{}", ended.output);
    assert!(ended.output.contains("ending at once"), "{}", ended.output);
}

/// What `roost dev` prints is what works, and nothing of it is left behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dev_prints_commands_that_work_and_leaves_nothing() {
    let ports = PortOffset::reserve();
    let mut command = roost_harness::roost();
    command.args(["dev", "--port-offset", &ports.offset().to_string()]);
    let process = Process::start("roost-dev", command);
    for port in [PortOffset::API, PortOffset::ADMIN_EU, PortOffset::ADMIN_US] {
        Api::at(ports.of(port)).ready().await;
    }
    let said = process.output();
    assert!(
        said.contains(&format!("mosquitto_sub -p {} -i kettle", ports.of(PortOffset::MQTT_EU))),
        "{said}"
    );
    let typed = |word: &str| {
        let line = said.lines().map(str::trim).find(|line| line.contains(&format!(" {word} "))).unwrap();
        line.split(' ').skip(1).collect::<Vec<_>>()
    };
    // As printed, but without a device there is nothing to wait for.
    let send: Vec<&str> =
        typed("send").into_iter().map(|word| if word == "5s" { "0s" } else { word }).collect();
    let sent = roost(&send);
    assert_eq!(sent.status.code(), Some(3), "nobody is there: {}", stderr(&sent));
    let located = roost(&typed("locate"));
    assert_eq!(located.status.code(), Some(0), "{}", stderr(&located));
    let located = String::from_utf8(located.stdout).unwrap();
    assert!(located.contains("1 waiting (4 bytes)") && located.contains("a send now"), "{located}");

    let line = said.lines().find(|line| line.contains("removed at the end")).unwrap();
    let data = Path::new(line.split_whitespace().nth(1).unwrap()).to_owned();
    assert!(data.is_dir(), "{line}");
    process.interrupt();
    let ended = process.ended(PATIENCE).await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.output);
    assert!(ended.output.ends_with("Ended in good order.\n"), "{}", ended.output);
    assert!(!data.exists());
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
