//! The backend through its sockets.

use roost_backend::embedded::core::Counters;

use super::*;

/// Settings on free ports, with a directory of their own.
fn settings(data: &tempfile::TempDir) -> BackendSettings {
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    BackendSettings { listen: free(), admin: free(), ..BackendSettings::new(data.path().to_owned()) }
}

#[tokio::test]
async fn a_backend_says_that_it_is_ready_and_what_its_queues_hold() {
    let data = tempfile::tempdir().unwrap();
    let settings = settings(&data);
    let admin = settings.admin;
    let backend = Backend::start(settings).await.unwrap();
    let ask = async |path| reqwest::get(format!("http://{admin}{path}")).await.unwrap();
    assert_eq!(ask("/livez").await.status(), 200);
    assert_eq!(ask("/readyz").await.status(), 200);
    assert_eq!(ask("/v1/queues").await.text().await.unwrap(), "[]");
    let metrics = ask("/metrics").await.text().await.unwrap();
    assert!(metrics.contains("\nroost_backend_connections 0\n"), "{metrics}");
    backend.drain(Duration::from_secs(5)).await;
    assert!(reqwest::get(format!("http://{admin}/livez")).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_port_in_use_is_named_with_who_wanted_it() {
    let data = tempfile::tempdir().unwrap();
    let settings = settings(&data);
    let _taken = std::net::TcpListener::bind(settings.listen).unwrap();
    let address = settings.listen;
    let error = Backend::start(settings).await.err().unwrap().to_string();
    assert!(error.contains("backend (AMQP)") && error.contains(&address.to_string()), "{error}");
    assert!(error.contains("in use"), "{error}");
}

/// The files and the broker have defaults of their own; they are the same.
#[test]
fn the_defaults_are_the_brokers_own() {
    let config = config(BackendSettings::new("/d".into()));
    let broker = EmbeddedConfig::default();
    assert_eq!((config.listen, config.limits, config.users), (broker.listen, broker.limits, broker.users));
}

#[test]
fn a_queue_of_a_gateway_is_no_label() {
    let queue = |name: &str, durable| QueueStatistics {
        name: name.into(),
        durable,
        exclusive: !durable,
        ready: 2,
        ready_bytes: 0,
        unacknowledged: 1,
        consumers: 0,
        published_total: 0,
        delivered_total: 0,
        redelivered_total: 0,
        acknowledged_total: 0,
        requeued_total: 0,
        dead_lettered_total: 0,
        dropped_total: 0,
        refused_total: 0,
    };
    let page =
        page(&Counters::default(), &[queue("roost.dead", true), queue("roost.inbox.eu-1.1.1", false)], None);
    assert!(page.contains("roost_backend_queue_messages{queue=\"roost.dead\"} 3\n"), "{page}");
    assert!(!page.contains("inbox"), "{page}");
}
