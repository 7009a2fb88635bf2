//! TLS against mosquitto, PROXY headers against HAProxy.

#![allow(clippy::unwrap_used, reason = "a scenario that cannot go on fails loudly")]

use std::path::Path;
use std::process::Command;

use roost_fleet::shell::{FleetError, Options, run};
use roost_fleet::{
    Check, Mqtt, Plan, ProxyHeader, Reconnect, Scenario, Summary, Tls, TopicPattern, Traffic, Transport,
};
use roost_harness::{PATIENCE, Process, ReservedPort, eventually};

fn program(variable: &str) -> Command {
    Command::new(
        std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: start with tests/run")),
    )
}

async fn listens(port: &ReservedPort) {
    eventually("it listens", PATIENCE, async || {
        let connected = tokio::net::TcpStream::connect(("127.0.0.1", port.number())).await;
        connected.map(drop).map_err(|error| error.to_string())
    })
    .await;
}

async fn mosquitto(directory: &Path, port: &ReservedPort, more: &str) -> Process {
    let file = directory.join("mosquitto.conf");
    let text = format!("listener {} 127.0.0.1\nallow_anonymous true\nuser root\n{more}", port.number());
    std::fs::write(&file, text).unwrap();
    let mut command = program("ROOST_TEST_MOSQUITTO");
    command.arg("-c").arg(file);
    let process = Process::start("mosquitto", command);
    listens(port).await;
    process
}

async fn measure(port: &ReservedPort, transport: Transport) -> Result<Summary, FleetError> {
    let plan = Plan {
        run: 5,
        seed: 5,
        brokers: vec![([127, 0, 0, 1], port.number()).into()],
        sources: vec!["127.0.0.9".parse().unwrap()],
        devices: 10,
        prefix: "d".to_owned(),
        connect_rate: 1_000.0,
        duration_ms: 1_000,
        drain_ms: 5_000,
        transport,
        mqtt: Mqtt {
            v5: true,
            persistent: false,
            keep_alive_s: 60,
            connect_timeout_ms: 30_000,
            user_name: None,
            password: None,
        },
        traffic: Traffic {
            rate: 5.0,
            size: 3_000,
            qos: 1,
            topic: TopicPattern::default(),
            jitter: 0.0,
            zipf: 0.0,
            in_flight_max: 8,
            backlog_max: 100,
        },
        echo: true,
        pairs: false,
        commands: false,
        reconnect: Reconnect::default(),
        scenario: Scenario::default(),
    };
    let options = Options {
        plan,
        amqp: None,
        command_rate: 0.0,
        workers: None,
        worker_program: ("".into(), Vec::new()),
        watch: Vec::new(),
        checks: Check::parse_list("lost=0,echo.rate=50,online_max=10").unwrap(),
    };
    run(&options, std::future::pending(), |_| {}).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_carries_it_all_and_what_is_no_certificate_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["broker.test".to_owned()]).unwrap();
    let (certificate, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let port = ReservedPort::any();
    let files = format!("certfile {}\nkeyfile {}\n", certificate.display(), key.display());
    let _server = mosquitto(directory.path(), &port, &files).await;
    let tls = |name: &str, ca_pem: String| Transport {
        tls: Some(Tls { ca_pem, server_name: name.to_owned() }),
        proxy_header: None,
    };
    let summary = measure(&port, tls("broker.test", made.cert.pem())).await.unwrap();
    assert!(summary.passed(), "{summary}");
    let nonsense = measure(&port, tls("broker.test", "no certificate".to_owned())).await.unwrap_err();
    assert_eq!(nonsense.to_string(), "--tls-ca: there is no certificate in the file");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proxy_headers_are_understood_by_haproxy() {
    let directory = tempfile::tempdir().unwrap();
    let (behind, before) = (ReservedPort::any(), ReservedPort::any());
    let _server = mosquitto(directory.path(), &behind, "").await;
    let file = directory.path().join("haproxy.cfg");
    // Whoever does not come from the address in the header is turned away.
    let text = format!(
        "defaults\n mode tcp\n timeout connect 10s\n timeout client 60s\n timeout server 60s\n\
         frontend mqtt\n bind 127.0.0.1:{} accept-proxy\n tcp-request content reject unless {{ src 127.0.0.9 }}\n\
         default_backend mosquitto\nbackend mosquitto\n server one 127.0.0.1:{}\n",
        before.number(),
        behind.number()
    );
    std::fs::write(&file, text).unwrap();
    let mut command = program("ROOST_TEST_HAPROXY");
    command.args(["-db", "-f"]).arg(file);
    let _balancer = Process::start("haproxy", command);
    listens(&before).await;
    for version in [ProxyHeader::V1, ProxyHeader::V2] {
        let transport = Transport { proxy_header: Some(version), tls: None };
        let summary = measure(&before, transport).await.unwrap();
        assert!(summary.passed(), "{version:?}: {summary}");
    }
}
