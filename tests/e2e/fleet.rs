//! `roost fleet`: a small fleet loses nothing, says so, and says it when a bound does not hold.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use roost_harness::{
    Backend, Ended, Mesh, Metrics, PATIENCE, Process, ReservedPort, eventually, on_both_backends, roost,
};
use serde_json::Value;

async fn fleet(arguments: &[&str]) -> Ended {
    let mut command = roost();
    command.arg("fleet").args(arguments);
    Process::run("roost-fleet", command).await
}

fn report(ended: &Ended) -> Value {
    serde_json::from_str(&ended.output).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

async fn a_fleet_measures_a_mesh_both_ways(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let broker = |name: &str| format!("127.0.0.1:{}", mesh.mqtt_port(name));
    let (eu, us, amqp) = (broker("eu-1"), broker("us-1"), mesh.broker().uri());
    let page = tempfile::tempdir().expect("a directory");
    let page = page.path().join("report.html");
    let mesh_arguments = ["--broker", &eu, "--broker", &us, "--amqp", &amqp, "--devices", "50"];
    let traffic =
        ["--rate", "2", "--for", "3s", "--connect-rate", "200", "--command-rate", "10", "--mqtt", "5"];
    let shape = [
        "--source",
        "127.0.0.2",
        "--source",
        "127.0.0.3",
        "--workers",
        "2",
        "--jitter",
        "1",
        "--zipf",
        "0.5",
    ];
    let checks =
        ["--check", "lost=0,duplicates=0,reordered=0,online_max=50,events_received>=250", "-o", "json"];
    let page_argument = ["--report", page.to_str().expect("UTF-8")];
    let ended = fleet(&[&mesh_arguments[..], &traffic, &shape, &checks, &page_argument].concat()).await;
    assert!(ended.status.success(), "{ended:?}");
    let report = report(&ended);
    let ways = &report["verdict"];
    assert_eq!(report["version"], 1);
    assert_eq!((&ways["up"]["lost"], &ways["down"]["lost"]), (&0.into(), &0.into()));
    assert_eq!((&ways["down"]["expected"], &ways["receipts"]["arrived"]), (&30.into(), &30.into()));
    assert_eq!(ways["up"]["expected"], report["counts"]["published"]);
    assert_eq!(report["latencies"]["down"]["count"], 30);
    assert_eq!(report["workers"], 2);
    assert!(std::fs::read_to_string(page).expect("the page").contains("<svg"));
}

async fn a_storm_is_survived_without_a_loss(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let broker = format!("127.0.0.1:{}", mesh.mqtt_port("eu-1"));
    let directory = tempfile::tempdir().expect("a directory");
    let scenario = directory.path().join("storm.yaml");
    std::fs::write(&scenario, "steps:\n- {at_s: 1, action: cut}\n").expect("a new directory takes a file");
    let arguments = ["--broker", &broker, "--devices", "30", "--rate", "2", "--for", "4s", "--persistent"];
    let storm = ["--scenario", scenario.to_str().expect("UTF-8"), "--reconnect-first", "500ms"];
    let amqp = mesh.broker().uri();
    let checks = ["--amqp", &amqp, "--check", "lost=0,connections_cut=30,connects=60", "-o", "json"];
    let ended = fleet(&[&arguments[..], &storm, &checks].concat()).await;
    assert!(ended.status.success(), "{ended:?}");
}

async fn devices_answer_their_commands(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let broker = format!("127.0.0.1:{}", mesh.mqtt_port("eu-1"));
    let amqp = mesh.broker().uri();
    let arguments = ["--broker", &broker, "--amqp", &amqp, "--devices", "20", "--rate", "1", "--for", "3s"];
    for (command_qos, state) in [("0", "sent"), ("1", "delivered")] {
        let commands = ["--command-rate", "10", "--command-qos", command_qos];
        let answer = ["--answer", "devices/{device}/answer"];
        let checks =
            ["--check", "lost=0,answers.lost=0,answers.duplicates=0,answers_received=30", "-o", "json"];
        let ended = fleet(&[&arguments[..], &commands, &answer, &checks].concat()).await;
        assert!(ended.status.success(), "{state}: {ended:?}");
        let report = report(&ended);
        assert_eq!(report["verdict"]["answers"]["expected"], 30);
        assert_eq!(report["latencies"]["answer"]["count"], 30);
    }
}

async fn devices_publish_at_qos_2_and_it_comes_once(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let broker = format!("127.0.0.1:{}", mesh.mqtt_port("eu-1"));
    let amqp = mesh.broker().uri();
    for version in ["3.1.1", "5"] {
        let arguments = ["--broker", &broker, "--amqp", &amqp, "--devices", "10", "--mqtt", version];
        let traffic = ["--qos", "2", "--rate", "5", "--for", "2s"];
        let checks = ["--check", "lost=0,duplicates=0,reordered=0,acknowledged>=90", "-o", "json"];
        let ended = fleet(&[&arguments[..], &traffic, &checks].concat()).await;
        assert!(ended.status.success(), "{ended:?}");
        let report = report(&ended);
        assert_eq!(report["verdict"]["up"]["expected"], report["counts"]["published"]);
    }
}

on_both_backends!(
    devices_answer_their_commands,
    devices_publish_at_qos_2_and_it_comes_once,
    a_fleet_measures_a_mesh_both_ways,
    a_storm_is_survived_without_a_loss
);

/// A terminal sends Ctrl-C to all processes of the command, workers too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_in_a_terminal_ends_a_fleet_of_workers_with_all_that_they_know() {
    let mesh = Mesh::start(Backend::Embedded).await;
    let broker = format!("127.0.0.1:{}", mesh.mqtt_port("eu-1"));
    let mut command = roost();
    command.args(["fleet", "--broker", &broker, "--devices", "10", "--workers", "2", "-o", "json"]);
    command.process_group(0);
    let process = Process::start("roost-fleet", command);
    eventually("events come", PATIENCE, async || {
        match Metrics::of(&mesh.admin("eu-1")).await.sum("roost_gateway_events_total", &[]) {
            0.0 => Err("none".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
    let group = rustix::process::Pid::from_raw(process.pid().cast_signed()).expect("a pid is not 0");
    rustix::process::kill_process_group(group, rustix::process::Signal::INT).expect("it runs");
    let ended = process.ended(PATIENCE).await;
    assert!(ended.status.success(), "{ended:?}");
    let report = report(&ended);
    assert_eq!(report["remarks"], serde_json::json!(["the run was stopped before its time"]));
    assert!(report["counts"]["acknowledged"].as_u64() > Some(0), "{report}");
}

#[tokio::test]
async fn pairs_talk_to_each_other_at_one_gateway() {
    let mesh = Mesh::start(Backend::Embedded).await;
    let broker = format!("127.0.0.1:{}", mesh.mqtt_port("eu-1"));
    let arguments = ["--broker", &broker, "--devices", "20", "--rate", "5", "--for", "2s", "--pairs"];
    // Ten of them publish ten messages each.
    let checks = ["--check", "lost=0,duplicates=0,reordered=0,published=100,echoes_received=100"];
    let ended = fleet(&[&arguments[..], &["--topic", "local/{device}"], &checks].concat()).await;
    assert!(ended.status.success(), "{ended:?}");
}

#[tokio::test]
async fn a_fleet_measures_mosquitto_and_a_check_that_fails_is_told() {
    let port = ReservedPort::any();
    let server = std::env::var("ROOST_TEST_MOSQUITTO").expect("tests/run names the mosquitto server");
    let mut command = Command::new(server);
    command.args(["-p", &port.number().to_string()]);
    let _server = Process::start("mosquitto", command);
    eventually("mosquitto listens", PATIENCE, async || {
        let connected = tokio::net::TcpStream::connect(("127.0.0.1", port.number())).await;
        connected.map(drop).map_err(|error| error.to_string())
    })
    .await;
    let broker = format!("127.0.0.1:{}", port.number());
    let arguments = ["--broker", &broker, "--devices", "50", "--rate", "2", "--for", "2s", "--echo"];
    for qos in ["0", "1"] {
        let good = [
            "--qos",
            qos,
            "--workers",
            "2",
            "--check",
            "lost=0,published=200,echo.p50_ms<60000",
            "-o",
            "json",
        ];
        let ended = fleet(&[&arguments[..], &good].concat()).await;
        assert!(ended.status.success(), "{ended:?}");
        assert_eq!(report(&ended)["verdict"]["echo"]["arrived"], 200);
    }
    let ended = fleet(&[&arguments[..], &["--check", "lost=0,published>200"]].concat()).await;
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    for part in ["check pass  lost=0 (0.000)", "check FAIL  published>200 (200.000)"] {
        assert!(ended.output.contains(part), "{part} is missing: {}", ended.output);
    }
}

#[tokio::test]
async fn what_cannot_be_measured_is_refused_before_the_run() {
    let closed = ReservedPort::any();
    let nobody = format!("127.0.0.1:{}", closed.number());
    let lost = fleet(&["--broker", &nobody, "--check", "lost=0"]).await;
    assert_eq!(lost.status.code(), Some(1));
    assert!(lost.output.contains("there is no figure \"lost\""), "{}", lost.output);
    let size = fleet(&["--broker", &nobody, "--size", "3"]).await;
    assert!(size.output.contains("--size is 3"), "{}", size.output);
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("devices.csv");
    std::fs::write(&file, "client_id,user,password\nfleet-000000,u,hush\n")
        .expect("a new directory takes a file");
    let file = file.to_str().expect("UTF-8");
    let missing = fleet(&["--broker", &nobody, "--devices", "3", "--credentials", file]).await;
    assert!(missing.output.contains("fleet-000001 and 1 more devices are not in it"), "{}", missing.output);
    let key = fleet(&["--broker", &nobody, "--jwt-key", "/dev/null"]).await;
    assert!(key.output.contains("--jwt-key: the file is empty"), "{}", key.output);
    let amqp = fleet(&["--broker", "no port", "--amqp", "amqp://127.0.0.1"]).await;
    assert!(amqp.output.contains("--broker no port: expected HOST:PORT"), "{}", amqp.output);
}
