//! Kills, restarts, torn tails, compaction, and a disk that refuses.

use crate::client::*;
use crate::{on_a_free_port, start, url};
use lapin::options::*;
use lapin::{BasicProperties, Confirmation};
use roost_backend::embedded::core::Limits;
use roost_backend::embedded::{EmbeddedBroker, EmbeddedConfig, EmbeddedError, LogError};
use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const GRACE: Duration = Duration::from_secs(10);

/// The broker as a process of its own, killed when dropped.
struct Process {
    child: Child,
    url: String,
}

impl Process {
    fn start(data: &Path) -> Self {
        let program = std::env::current_exe().unwrap();
        let target = program.parent().unwrap().parent().unwrap();
        let mut child = Command::new(target.join("examples/embedded_broker"))
            .arg("127.0.0.1:0")
            .arg(data)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        let url = format!("amqp://guest:guest@{}/%2f", address.trim());
        Self { child, url }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn segments(data: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "segment"));
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_confirmed_survives_kills_and_what_was_acknowledged_is_gone() {
    let data = tempfile::tempdir().unwrap();
    let mut confirmed = BTreeSet::new();
    let mut acknowledged = BTreeSet::new();
    let mut queue = String::new();
    for round in 0..5 {
        let process = Process::start(data.path());
        let client = Client::connect(&process.url).await;
        if round == 0 {
            queue = client.queue("q", &[]).await;
        }
        // Acknowledge some of what is there, and wait for a confirm behind it: the log is in order.
        for _ in 0..10 * round {
            let options = BasicGetOptions { no_ack: false };
            let message = client.channel.basic_get(queue.as_str().into(), options).await.unwrap().unwrap();
            message.ack(BasicAckOptions::default()).await.unwrap();
            acknowledged.insert(String::from_utf8(message.data.clone()).unwrap());
        }
        for number in 0..60 {
            let body = format!("{round}-{number:03}");
            assert_eq!(client.publish("", &queue, body.as_bytes()).await, Confirmation::Ack(None));
            confirmed.insert(body);
        }
        drop(process);
    }
    let process = Process::start(data.path());
    let client = Client::connect(&process.url).await;
    let mut found = Vec::new();
    while let Some(message) = client.get(&queue).await {
        found.push(String::from_utf8(message.data.clone()).unwrap());
    }
    let expected: Vec<String> = confirmed.difference(&acknowledged).cloned().collect();
    assert_eq!(found, expected, "each once, in order");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_tail_is_cut_and_told() {
    let data = tempfile::tempdir().unwrap();
    let config = || EmbeddedConfig { data: Some(data.path().into()), ..on_a_free_port() };
    let broker = start(config()).await;
    let client = Client::connect(&url(&broker)).await;
    let queue = client.queue("q", &[]).await;
    client.fill(&queue, &["a", "b"]).await;
    broker.shutdown(GRACE).await;
    let last = segments(data.path()).pop().unwrap();
    OpenOptions::new().append(true).open(last).unwrap().write_all(&[9; 21]).unwrap();
    let broker = start(config()).await;
    let recovery = broker.recovery().unwrap();
    assert_eq!((recovery.torn_bytes, recovery.queues, recovery.messages), (21, 1, 2));
    assert_eq!(Client::connect(&url(&broker)).await.ready(&queue).await, 2);
    broker.shutdown(GRACE).await;
    assert_eq!(start(config()).await.recovery().unwrap().torn_bytes, 0, "it was cut");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_before_the_tail_is_refused_with_its_place() {
    let data = tempfile::tempdir().unwrap();
    let config = || EmbeddedConfig { data: Some(data.path().into()), ..on_a_free_port() };
    for _ in 0..2 {
        let broker = start(config()).await;
        let client = Client::connect(&url(&broker)).await;
        client.queue("q", &[]).await;
        broker.shutdown(GRACE).await;
    }
    let first = segments(data.path()).remove(0);
    let mut bytes = std::fs::read(&first).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&first, bytes).unwrap();
    let error = EmbeddedBroker::start(config()).await.unwrap_err();
    assert!(
        matches!(&error, EmbeddedError::Log(LogError::Damaged { segment, .. }) if *segment == first),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_does_not_grow_with_what_was_consumed() {
    let data = tempfile::tempdir().unwrap();
    let limits = Limits { segment_bytes: 20_000, ..Limits::default() };
    let config =
        || EmbeddedConfig { data: Some(data.path().into()), limits: limits.clone(), ..on_a_free_port() };
    let broker = start(config()).await;
    let client = Client::connect(&url(&broker)).await;
    let kept = client.queue("kept", &[]).await;
    let passing = client.queue("passing", &[]).await;
    client.fill(&kept, &["first", "second"]).await;
    for _ in 0..500 {
        assert_eq!(client.publish("", &passing, &[1; 1000]).await, Confirmation::Ack(None));
        client.await_message(&passing).await;
    }
    broker.shutdown(GRACE).await;
    let bytes: u64 = segments(data.path()).iter().map(|file| file.metadata().unwrap().len()).sum();
    assert!(bytes < 8 * 20_000, "{bytes} bytes after 500,000 bytes went through");
    let broker = start(config()).await;
    let client = Client::connect(&url(&broker)).await;
    assert_eq!(client.await_message(&kept).await.data, b"first");
    assert_eq!(client.await_message(&kept).await.data, b"second");
    assert_eq!(client.ready(&passing).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_refuses_blocks_publishers_until_it_takes_again() {
    let parent = tempfile::tempdir().unwrap();
    let data = parent.path().join("data");
    let limits = Limits { segment_bytes: 1000, ..Limits::default() };
    let broker = start(EmbeddedConfig { data: Some(data.clone()), limits, ..on_a_free_port() }).await;
    let client = Client::connect(&url(&broker)).await;
    let queue = client.queue("q", &[]).await;
    client.fill(&queue, &["before"]).await;
    // Without its directory the log cannot begin a new segment.
    std::fs::remove_dir_all(&data).unwrap();
    // A client that waited for a confirm would publish nothing that could be blocked.
    let mut confirms = Vec::new();
    let publish_until_blocked = async {
        while broker.counters().await.blocked == 0 {
            let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
            let properties = properties.with_delivery_mode(2);
            let publish = client.channel.basic_publish(
                "".into(),
                queue.as_str().into(),
                options,
                &[1; 500],
                properties,
            );
            confirms.push(publish.await.unwrap());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, publish_until_blocked).await.expect("the publisher is blocked");
    std::fs::create_dir(&data).unwrap();
    for confirm in confirms {
        let confirm = tokio::time::timeout(PATIENCE, confirm).await.expect("publishing goes on");
        assert_eq!(confirm.unwrap(), Confirmation::Ack(None));
    }
    broker.shutdown(GRACE).await;
}
