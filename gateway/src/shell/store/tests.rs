//! A real file, and a disk that is full.

use std::fs::OpenOptions;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redb::backends::FileBackend;
use redb::{Database, StorageBackend};
use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::store::{RETAINED, ROUTER, StoreChange, StoreRecord};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn record(key: &str, value: &str) -> StoreRecord {
    StoreRecord {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
    }
}

fn put(key: &str, value: &str) -> StoreChange {
    StoreChange::Put(record(key, value))
}

fn batch(number: u64, changes: Vec<StoreChange>) -> StoreBatch {
    StoreBatch { number: StoreNumber(number), changes }
}

fn open(dir: &TempDir) -> OpenStore {
    let config = StoreConfig { directory: dir.path().join("sessions") };
    OpenStore::open(Some(config)).unwrap().unwrap()
}

async fn durable(store: &mut OpenStore, number: u64) {
    let wait = store.status.wait_for(|status| status.durable >= StoreNumber(number));
    timeout(PATIENCE, wait).await.expect("it is written in time").unwrap();
}

/// All pages: their keys.
async fn pages(store: &mut OpenStore) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    loop {
        match timeout(PATIENCE, store.was_read.recv()).await.expect("it is read in time") {
            Some(WasRead::Sessions { is_last: true, .. }) => return pages,
            Some(WasRead::Sessions { records, .. }) => pages.push(keys(&records)),
            other => panic!("{other:?}"),
        }
    }
}

fn keys(records: &[StoreRecord]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8(record.key.to_vec()).unwrap()).collect()
}

async fn closed(store: OpenStore) {
    let OpenStore { disk, was_read, .. } = store;
    drop(was_read);
    close(disk).await;
}

#[tokio::test]
async fn what_is_durable_is_there_when_it_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(&dir);
    assert_eq!((store.opened.has_sessions, store.opened.had_router), (false, false));
    store.disk.write(batch(1, vec![put("sa\0\x01", "head"), put("sa\0\x02x", "x"), put("sb\0\x01", "head")]));
    let router = StoreChange::Put(StoreRecord { key: Bytes::from_static(ROUTER), value: Bytes::new() });
    store.disk.write(batch(2, vec![router, put("rt/1", "one"), put("rt/2", "two")]));
    store.disk.write(batch(3, vec![StoreChange::Delete { key: "rt/1".into() }, put("rt/2", "2")]));
    // A session that ends, and another of the same device.
    let ends = StoreChange::DeleteAll { prefix: "sa\0".into() };
    store.disk.write(batch(
        4,
        vec![put("sa\0\x03", "late"), ends, put("sa\0\x01", "anew"), put("sab\0\x01", "head")],
    ));
    durable(&mut store, 4).await;
    let status = store.disk.status();
    assert_eq!((status.batches, status.stuck.as_deref()), (4, None));
    assert!(status.commits >= 1 && status.disk_bytes > 0 && status.written_bytes > 0);
    closed(store).await;

    let mut store = open(&dir);
    assert_eq!((store.opened.has_sessions, store.opened.had_router), (true, true));
    assert_eq!(store.opened.retained, [record("rt/2", "2")]);
    assert!(store.opened.retained[0].key.starts_with(RETAINED) && store.opened.boot > 0);
    assert_eq!(pages(&mut store).await, [["sa\0\x01", "sab\0\x01", "sb\0\x01"]]);
    for (device, prefix, value) in [("a", "sa\0", Some("anew")), ("c", "sc\0", None)] {
        store.disk.read(device.parse().unwrap(), prefix.into());
        let Some(WasRead::Session { device: read, records }) = store.was_read.recv().await else {
            panic!("it ends")
        };
        assert_eq!(read, device.parse().unwrap());
        assert_eq!(records.first().map(|record| &record.value[..]), value.map(str::as_bytes));
    }
    closed(store).await;
}

#[tokio::test]
async fn a_page_ends_with_a_session_and_more_is_written_than_its_queue_holds() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(&dir);
    let mut last = 0;
    for session in 0..40 {
        for message in 0..60 {
            last += 1;
            store.disk.write(batch(last, vec![put(&format!("s{session:02}\0{message:02}"), "x")]));
        }
    }
    // The world pushes on as it hears of what is durable.
    while store.disk.status().durable < StoreNumber(last) {
        timeout(PATIENCE, store.status.changed()).await.expect("it is written in time").unwrap();
        store.disk.push();
    }
    closed(store).await;
    let mut store = open(&dir);
    let pages = pages(&mut store).await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [1_020, 1_020, 360]);
    closed(store).await;
}

#[tokio::test]
async fn nobody_opens_what_is_open_and_another_builds_file_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(&dir);
    let config = StoreConfig { directory: dir.path().join("sessions") };
    assert!(matches!(OpenStore::open(Some(config.clone())), Err(StoreError::File { .. })));
    store.disk.write(batch(1, vec![put("m/version", "\x02")]));
    durable(&mut store, 1).await;
    closed(store).await;
    assert!(matches!(OpenStore::open(Some(config)), Err(StoreError::Version { .. })));
    assert!(OpenStore::open(None).unwrap().is_none());
}

#[test]
fn a_damaged_file_is_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("sessions");
    drop(File::open(&directory).unwrap());
    let path = directory.join("sessions.redb");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[..400].fill(0x55);
    std::fs::write(&path, bytes).unwrap();
    let error = File::open(&directory).err().expect("it is damaged");
    assert!(error.to_string().contains("sessions.redb: "), "{error}");
}

/// A file on a disk that can be full.
#[derive(Debug)]
struct Disk {
    file: FileBackend,
    is_full: Arc<AtomicBool>,
}

impl Disk {
    fn check(&self) -> std::io::Result<()> {
        match self.is_full.load(Ordering::SeqCst) {
            true => Err(std::io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> std::io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.check()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.check()?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.check()?;
        self.file.write(offset, data)
    }

    fn close(&self) -> std::io::Result<()> {
        self.file.close()
    }
}

#[tokio::test]
async fn what_a_full_disk_did_not_take_is_written_when_it_has_room() {
    let dir = tempfile::tempdir().unwrap();
    let is_full = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&is_full);
    let how = move |path: &std::path::Path| {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap();
        let file = FileBackend::new(file)?;
        Database::builder().create_with_backend(Disk { file, is_full: Arc::clone(&switch) })
    };
    let mut store = OpenStore::start(File::open_as(dir.path(), Box::new(how)).unwrap()).unwrap();
    store.disk.write(batch(1, vec![put("sa\0\x01", "1")]));
    durable(&mut store, 1).await;

    is_full.store(true, Ordering::SeqCst);
    store.disk.write(batch(2, vec![put("sb\0\x01", "2"), StoreChange::DeleteAll { prefix: "sa\0".into() }]));
    let is_stuck = store.status.wait_for(|status| status.stuck.is_some() && status.failures >= 2);
    timeout(PATIENCE, is_stuck).await.expect("it is told in time").unwrap();
    assert_eq!(store.disk.status().durable, StoreNumber(1), "nothing is promised");

    is_full.store(false, Ordering::SeqCst);
    store.disk.write(batch(3, vec![put("sc\0\x01", "3")]));
    durable(&mut store, 3).await;
    assert_eq!(store.disk.status().stuck, None);
    closed(store).await;
    let mut store = open_in(&dir);
    assert_eq!(pages(&mut store).await, [["sb\0\x01", "sc\0\x01"]]);
    closed(store).await;
}

fn open_in(dir: &TempDir) -> OpenStore {
    OpenStore::open(Some(StoreConfig { directory: dir.path().to_owned() })).unwrap().unwrap()
}
