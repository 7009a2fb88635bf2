//! TLS against mosquitto, PROXY headers against HAProxy.

use roost_fleet::{Plan, ProxyHeader, Tls, Transport};
use roost_harness::{Process, ReservedPort};

use crate::measured::{loses_nothing, measure, options, plan, until_counted};
use crate::mosquitto::{OPEN, listens, mosquitto, program, tls};

fn with_tls(port: &ReservedPort, name: &str, ca_pem: &str) -> Plan {
    let mut plan = plan(port.number());
    let tls = Some(Tls { ca_pem: ca_pem.to_owned(), server_name: name.to_owned() });
    plan.transport = Transport { tls, ..Transport::default() };
    plan.traffic.size = 3_000;
    plan
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_carries_it_all_and_what_is_no_certificate_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let port = ReservedPort::any();
    let (lines, trusted) = tls(directory.path());
    let _server = mosquitto(directory.path(), &port, &format!("{OPEN}{lines}")).await;
    loses_nothing(with_tls(&port, "broker.test", &trusted)).await;
    let nonsense = measure(with_tls(&port, "broker.test", "no certificate"), "lost=0").await.unwrap_err();
    assert_eq!(nonsense.to_string(), "--tls-ca: there is no certificate in the file");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_not_trusted_is_told_in_the_options_words() {
    let directory = tempfile::tempdir().unwrap();
    let port = ReservedPort::any();
    let (lines, trusted) = tls(directory.path());
    let _server = mosquitto(directory.path(), &port, &format!("{OPEN}{lines}")).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let (_, other) = tls(elsewhere.path());
    let cases = [
        ("other.test", &trusted, "the broker's certificate is not for the name \"other.test\" (--tls-name)"),
        ("broker.test", &other, "the broker's certificate was not issued by anybody in --tls-ca"),
    ];
    for (name, ca, expected) in cases {
        let plan = with_tls(&port, name, ca);
        let options = options(plan, "online_max=0");
        // Nobody comes online: it would wait for them.
        let summary = until_counted(&options, "connects_failed").await;
        let told = summary.remarks.iter().any(|remark| remark.ends_with(expected));
        assert!(told && summary.passed(), "{expected}: {summary}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proxy_headers_are_understood_by_haproxy() {
    let directory = tempfile::tempdir().unwrap();
    let (behind, before) = (ReservedPort::any(), ReservedPort::any());
    let _server = mosquitto(directory.path(), &behind, OPEN).await;
    let _balancer = haproxy(directory.path(), &before, &behind).await;
    for version in [ProxyHeader::V1, ProxyHeader::V2] {
        let mut plan = plan(before.number());
        plan.sources = vec!["127.0.0.9".parse().unwrap()];
        plan.transport.proxy_header = Some(version);
        loses_nothing(plan).await;
    }
}

/// HAProxy, which turns away whoever does not come from 127.0.0.9 by its PROXY header.
pub(crate) async fn haproxy(
    directory: &std::path::Path,
    before: &ReservedPort,
    behind: &ReservedPort,
) -> Process {
    let file = directory.join("haproxy.cfg");
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
    let process = Process::start("haproxy", command);
    listens(before).await;
    process
}
