//! How long a gateway with many sessions on disk takes until it serves its first client after a `kill -9`, and until all are read.
//! `cargo run --release -p roost-gateway --example stored_sessions [SESSIONS]`: each with a subscription, and every tenth with a message that
//! waits.

#![allow(clippy::print_stdout, reason = "it prints what it measures")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use redb::{Database, TableDefinition};
use roost_gateway::packet::{
    Connect, ConnectProperties, Delivery, Encoder, Packet, PacketId, ProtocolVersion, Publish, QoS,
    Subscribe, SubscribeFilter, SubscribeOptions, Text,
};
use roost_gateway::shard::{Input, Output, Shard, ShardConfig};
use roost_gateway::shell::{Gateway, GatewayConfig, StoreConfig};
use roost_gateway::store::{StoreChange, StoreOpened, StoreRecord, VERSION, VERSION_WRITTEN};
use roost_gateway::{ConnectionId, Limits};
use roost_wire::{Incarnation, Now};

const RECORDS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("records");

/// What the first client may wait for.
const FIRST_MAX: Duration = Duration::from_secs(1);

fn main() {
    let sessions = std::env::args().nth(1).map_or(1_000_000, |text| text.parse().expect("a number"));
    let dir = tempfile::tempdir().expect("a directory");
    let (written, killed) = (dir.path().join("written.redb"), dir.path().join("killed"));
    let began = Instant::now();
    let database = fill(&written, sessions);
    println!("written            {:8.1} s", began.elapsed().as_secs_f64());
    // As a kill leaves it: the file is in use, and nobody says that it is not any more.
    std::fs::create_dir(&killed).expect("it is not there");
    let copy = killed.join("sessions.redb");
    let bytes = std::fs::copy(&written, &copy).expect("there is room");
    // What was committed was on the disk: without this the restart would wait for the copy.
    std::fs::File::open(&copy).and_then(|copy| copy.sync_all()).expect("the disk takes it");
    drop(database);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(restart(killed, sessions, bytes));
}

async fn restart(directory: std::path::PathBuf, sessions: u64, bytes: u64) {
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    let nobody = std::net::TcpListener::bind(any).and_then(|l| l.local_addr()).expect("a port");
    let amqp = format!("amqp://guest:guest@{nobody}").parse().expect("an address");
    let id = "eu-1".parse().expect("an id");
    let config = GatewayConfig {
        limits: limits(),
        store: Some(StoreConfig { directory }),
        ..GatewayConfig::new(id, "eu".parse().expect("a region"), any, any, amqp)
    };
    let began = Instant::now();
    let gateway = Gateway::start(config).await.expect("it starts");
    let opened = began.elapsed();
    let at = gateway.mqtt_address();
    let last = format!("d{}", sessions - 1);
    let present = tokio::task::spawn_blocking(move || connect(at, &last)).await.expect("it does not panic");
    let first = began.elapsed();
    let mut loading = gateway.snapshot().gauges.store_loading;
    while loading || gateway.snapshot().gauges.sessions < usize::try_from(sessions).expect("it fits") {
        tokio::time::sleep(Duration::from_millis(10)).await;
        loading = gateway.snapshot().gauges.store_loading;
    }
    println!("{sessions} sessions, {:.0} MB on disk", bytes as f64 / 1e6);
    println!("file opened        {:8.1} ms", opened.as_secs_f64() * 1e3);
    println!("first CONNACK      {:8.1} ms", first.as_secs_f64() * 1e3);
    println!("all sessions read  {:8.1} ms", began.elapsed().as_secs_f64() * 1e3);
    println!("resident           {:8.0} MB", resident_mb());
    assert!(present, "its session is there");
    assert!(first < FIRST_MAX, "the first client waited for {first:?}");
    gateway.drain(Duration::from_secs(1)).await;
}

fn resident_mb() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok());
    pages.unwrap_or_default() * 4096.0 / 1e6
}

fn limits() -> Limits {
    Limits { sessions_max: 10_000_000, session_transfer: Duration::ZERO, ..Limits::default() }
}

fn packet(packet: Packet) -> BytesMut {
    let mut bytes = BytesMut::new();
    Encoder::new(ProtocolVersion::V5).encode(&packet, &mut bytes).expect("it is small");
    bytes
}

fn connect_packet(device: &str, expiry_s: u32) -> BytesMut {
    packet(Packet::Connect(Box::new(Connect {
        version: ProtocolVersion::V5,
        clean_start: false,
        keep_alive_s: 0,
        client_id: Text::parse(device).expect("it is short"),
        will: None,
        user_name: None,
        password: None,
        properties: ConnectProperties {
            session_expiry_interval_s: Some(expiry_s),
            ..ConnectProperties::default()
        },
    })))
}

/// Connects, and says whether the session was there.
fn connect(at: SocketAddr, device: &str) -> bool {
    let mut stream = TcpStream::connect(at).expect("it listens");
    stream.write_all(&connect_packet(device, 3_600)).expect("it reads");
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).expect("it answers");
    assert_eq!((connack[0], connack[3]), (0x20, 0), "accepted");
    connack[2] == 1
}

/// Lets a shard have those sessions, and writes what it wants written. The file stays open.
fn fill(path: &Path, sessions: u64) -> Database {
    let database = Database::create(path).expect("a file");
    let (gateway, region) = ("eu-1".parse().expect("an id"), "eu".parse().expect("a region"));
    let config = ShardConfig::new(gateway, region, Incarnation(1), 1);
    let mut shard = Shard::new(ShardConfig { limits: limits(), ..config });
    let now = roost_ops::now();
    shard.handle(now, Input::StoreOpened(Box::new(StoreOpened { boot: 1, ..StoreOpened::default() })));
    let mut changes =
        vec![StoreChange::Put(StoreRecord { key: VERSION.into(), value: VERSION_WRITTEN.into() })];
    let publisher = ConnectionId(u64::MAX);
    shard.handle(now, Input::Opened { connection: publisher, entropy: 1 });
    shard.handle(now, Input::Received { connection: publisher, bytes: connect_packet("publisher", 0) });
    for number in 0..sessions {
        keep_session(&mut shard, now, number);
        if number % 10 == 0 {
            let bytes = publish(number);
            shard.handle(now, Input::Received { connection: publisher, bytes });
        }
        while let Some(output) = shard.poll_output() {
            match output {
                Output::Store(batch) => {
                    changes.extend(batch.changes);
                    shard.handle(now, Input::Stored { up_to: batch.number });
                }
                Output::Write { connection, bytes } => {
                    shard.handle(now, Input::Written { connection, bytes: bytes.len() });
                }
                _ => {}
            }
        }
        if changes.len() > 400_000 {
            write(&database, std::mem::take(&mut changes));
        }
    }
    write(&database, changes);
    database
}

fn keep_session(shard: &mut Shard, now: Now, number: u64) {
    let connection = ConnectionId(number);
    let filter = Text::parse(format!("local/devices/d{number}/news")).expect("it is short");
    let options = SubscribeOptions { qos: QoS::AtLeastOnce, ..SubscribeOptions::default() };
    let filters = vec![SubscribeFilter { filter, options }];
    let subscribe = Packet::Subscribe(Subscribe { packet_id: PacketId::FIRST, filters, properties: None });
    let mut bytes = connect_packet(&format!("d{number}"), 7 * 24 * 3_600);
    bytes.extend_from_slice(&packet(subscribe));
    shard.handle(now, Input::Opened { connection, entropy: number });
    shard.handle(now, Input::Received { connection, bytes });
    shard.handle(now, Input::Closed { connection });
}

fn publish(number: u64) -> BytesMut {
    packet(Packet::Publish(Publish {
        topic: Text::parse(format!("local/devices/d{number}/news")).expect("it is short"),
        delivery: Delivery::AtLeastOnce { packet_id: PacketId::FIRST, dup: false },
        retain: false,
        payload: bytes::Bytes::from_static(&[b'x'; 100]),
        properties: None,
    }))
}

fn write(database: &Database, mut changes: Vec<StoreChange>) {
    // Of several changes of a record the last counts, and sorted they go faster.
    changes.sort_by(|a, b| key(a).cmp(key(b)));
    let mut transaction = database.begin_write().expect("nobody else writes");
    transaction.set_quick_repair(true);
    {
        let mut table = transaction.open_table(RECORDS).expect("it is one");
        for change in &changes {
            match change {
                StoreChange::Put(StoreRecord { key, value }) => {
                    table.insert(&key[..], &value[..]).expect("there is room");
                }
                StoreChange::Delete { key } => drop(table.remove(&key[..]).expect("it is read")),
                StoreChange::DeleteAll { .. } => {}
            }
        }
    }
    transaction.commit().expect("there is room");
}

fn key(change: &StoreChange) -> &[u8] {
    match change {
        StoreChange::Put(StoreRecord { key, .. }) | StoreChange::Delete { key } => key,
        StoreChange::DeleteAll { prefix } => prefix,
    }
}
