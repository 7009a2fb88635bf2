//! What a log promises, with a disk that can be made to fail.

mod tail;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::frame::{FRAME_BYTES, HEADER_BYTES};
use super::{Closed, Full, Log, LogConfig, LogError, LogStatus, Lsn, Opened, Replayed};

/// How the disk fails in a test.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults {
    plan: Arc<Mutex<Plan>>,
}

#[derive(Debug, Default)]
struct Plan {
    free_bytes: Option<usize>,
    failing_syncs: usize,
}

impl Faults {
    fn set_free_bytes(&self, free_bytes: Option<usize>) {
        self.plan.lock().unwrap().free_bytes = free_bytes;
    }

    fn fail_syncs(&self, count: usize) {
        self.plan.lock().unwrap().failing_syncs = count;
    }

    pub(super) fn before_write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        let mut plan = self.plan.lock().unwrap();
        let Some(free) = &mut plan.free_bytes else { return Ok(()) };
        if *free < bytes.len() {
            file.write_all(&bytes[..*free])?;
            *free = 0;
            return Err(io::ErrorKind::StorageFull.into());
        }
        *free -= bytes.len();
        Ok(())
    }

    /// A file has left the disk.
    pub(super) fn removed(&self, bytes: u64) {
        if let Some(free) = &mut self.plan.lock().unwrap().free_bytes {
            *free += usize::try_from(bytes).unwrap();
        }
    }

    pub(super) fn before_sync(&self) -> io::Result<()> {
        let mut plan = self.plan.lock().unwrap();
        if plan.failing_syncs > 0 {
            plan.failing_syncs -= 1;
            return Err(io::Error::other("input/output error"));
        }
        Ok(())
    }
}

fn config(directory: &Path) -> LogConfig {
    LogConfig { segment_bytes: 300, retry: Duration::from_millis(1), ..LogConfig::new(directory.to_owned()) }
}

fn record(number: u64) -> Bytes {
    Bytes::from(format!("record {number} {}", "x".repeat(number as usize % 40)))
}

fn start(directory: &Path) -> (Log, Faults) {
    let opened = Opened::open(config(directory)).unwrap();
    let faults = opened.faults();
    (opened.start().unwrap(), faults)
}

async fn append(log: &mut Log, record: Bytes) -> Lsn {
    let mut record = record;
    loop {
        match log.try_append(record) {
            Ok(lsn) => return lsn,
            Err(Full(back)) => record = back,
        }
        log.room().await;
    }
}

async fn until(log: &Log, reached: impl FnMut(&LogStatus) -> bool) -> LogStatus {
    log.status().wait_for(reached).await.unwrap().clone()
}

/// Appends one batch per record, so that each is durable before the next.
async fn append_each(log: &mut Log, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        let lsn = append(log, record(number)).await;
        assert_eq!(lsn, Lsn(number));
        until(log, |status| status.durable >= lsn).await;
    }
}

fn replay(directory: &Path) -> Result<Vec<Replayed>, LogError> {
    Opened::open(config(directory))?.replay().collect()
}

fn records(numbers: std::ops::RangeInclusive<u64>) -> Vec<Replayed> {
    numbers.map(|n| Replayed::Record(Lsn(n), record(n).to_vec())).collect()
}

fn files(directory: &Path, prefix: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let named = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(prefix);
    let mut files: Vec<_> = paths.filter(named).collect();
    files.sort();
    files
}

fn change(path: &Path, offset: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[offset] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Frames of one batch in a file of their own, as a crash may leave them.
fn with_last_segment(numbers: u64) -> (tempfile::TempDir, PathBuf, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let directory = super::directory::Directory::open(dir.path()).unwrap();
    let mut file = directory.new_segment(Lsn(1), 77).unwrap();
    let mut batch = super::batch::Batch::new();
    (1..=numbers).for_each(|n| batch.push(Lsn(n), record(n)));
    file.write_all(batch.encode(77)).unwrap();
    drop(directory);
    let path = files(dir.path(), "segment").remove(0);
    let bytes = fs::read(&path).unwrap();
    (dir, path, bytes)
}

#[tokio::test]
async fn what_was_appended_is_replayed_in_order_across_segments_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = start(dir.path());
    append_each(&mut log, 1..=20).await;
    assert!(files(dir.path(), "segment").len() > 2, "a full segment is followed by another");
    assert_eq!(log.close(Duration::MAX).await, Closed { durable: Lsn(20), cut: 0 });
    assert_eq!(replay(dir.path()).unwrap(), records(1..=20));
    let (mut log, _) = start(dir.path());
    assert_eq!(log.last(), Lsn(20));
    append_each(&mut log, 21..=23).await;
    log.close(Duration::MAX).await;
    assert_eq!(replay(dir.path()).unwrap(), records(1..=23));
}

#[tokio::test]
async fn closing_writes_what_is_still_queued() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = start(dir.path());
    for number in 1..=500 {
        append(&mut log, record(number)).await;
    }
    assert_eq!(log.close(Duration::MAX).await, Closed { durable: Lsn(500), cut: 0 });
    assert_eq!(replay(dir.path()).unwrap(), records(1..=500));
}

#[test]
fn an_end_torn_at_any_byte_is_cut_and_what_is_before_it_stays() {
    let (dir, path, whole) = with_last_segment(5);
    for length in HEADER_BYTES..=whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let opened = Opened::open(config(dir.path())).unwrap();
        let kept = opened.replay().collect::<Result<Vec<_>, _>>().unwrap();
        assert_eq!(kept, records(1..=opened.last().0), "cut at {length}");
        let good = HEADER_BYTES + (1..=opened.last().0).map(|n| FRAME_BYTES + record(n).len()).sum::<usize>();
        assert!(good <= length && fs::metadata(&path).unwrap().len() == good as u64);
        assert_eq!(opened.cut().map(|cut| cut.bytes), (length > good).then(|| (length - good) as u64));
        assert!(length < whole.len() || opened.last() == Lsn(5));
    }
}

#[test]
fn a_batch_that_reached_the_disk_in_part_is_cut_even_if_its_end_is_whole() {
    let (dir, path, whole) = with_last_segment(5);
    let second = HEADER_BYTES + FRAME_BYTES + record(1).len();
    let mut torn = whole.clone();
    torn[second..second + FRAME_BYTES].fill(0);
    fs::write(&path, torn).unwrap();
    let opened = Opened::open(config(dir.path())).unwrap();
    assert_eq!(opened.last(), Lsn(1));
    assert_eq!(opened.cut().unwrap().bytes, (whole.len() - second) as u64);
}

#[tokio::test]
async fn a_changed_byte_in_a_durable_record_is_an_error_with_file_and_offset() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = start(dir.path());
    append_each(&mut log, 1..=24).await;
    log.close(Duration::MAX).await;
    let segments = files(dir.path(), "segment");
    assert!(segments.len() > 2);
    for path in [&segments[0], segments.last().unwrap()] {
        let whole = fs::read(path).unwrap();
        for offset in HEADER_BYTES..HEADER_BYTES + FRAME_BYTES + 8 {
            change(path, offset);
            let error = replay(dir.path()).unwrap_err();
            let LogError::Damaged { path: named, offset: at, .. } = &error else { panic!("{error}") };
            assert_eq!((named, *at), (path, HEADER_BYTES as u64), "byte {offset}: {error}");
            fs::write(path, &whole).unwrap();
        }
    }
    assert_eq!(replay(dir.path()).unwrap(), records(1..=24));
}

#[tokio::test]
async fn a_missing_segment_is_an_error_that_names_the_records() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = start(dir.path());
    append_each(&mut log, 1..=20).await;
    log.close(Duration::MAX).await;
    let segments = files(dir.path(), "segment");
    let middle = fs::read(&segments[1]).unwrap();
    fs::remove_file(&segments[1]).unwrap();
    assert!(matches!(replay(dir.path()), Err(LogError::Damaged { problem: "the file ends too early", .. })));
    fs::write(&segments[1], middle).unwrap();
    fs::remove_file(&segments[0]).unwrap();
    let error = replay(dir.path()).unwrap_err();
    assert!(
        matches!(&error, LogError::Missing { from: Lsn(1), path, .. } if *path == segments[1]),
        "{error}"
    );
}

#[tokio::test]
async fn a_full_disk_stops_reports_of_durability_until_there_is_space() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, faults) = start(dir.path());
    append_each(&mut log, 1..=3).await;
    faults.set_free_bytes(Some(30));
    let fourth = append(&mut log, record(4)).await;
    let stuck = until(&log, |status| status.stuck.is_some() && status.failures >= 3).await;
    assert_eq!(stuck.durable, Lsn(3));
    faults.set_free_bytes(None);
    let free = until(&log, |status| status.durable == fourth).await;
    assert_eq!(free.stuck, None);
    append_each(&mut log, 5..=9).await;
    log.close(Duration::MAX).await;
    assert_eq!(replay(dir.path()).unwrap(), records(1..=9));
}

#[tokio::test]
async fn a_log_that_has_filled_its_disk_makes_room_by_what_nobody_wants_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let config = LogConfig { forgets: true, ..config(dir.path()) };
    let opened = Opened::open(config.clone()).unwrap();
    let faults = opened.faults();
    let mut log = opened.start().unwrap();
    faults.set_free_bytes(Some(1_200));
    let mut last = 0;
    while log.status().borrow().stuck.is_none() {
        last += 1;
        append(&mut log, record(last)).await;
        until(&log, |status| status.durable >= Lsn(last) || status.stuck.is_some()).await;
    }
    let segments = files(dir.path(), "segment").len();
    assert!(segments > 2, "{segments}");
    // There is no room for a mark either; nothing else leaves the disk.
    log.forget(Lsn(last - 1));
    let status = until(&log, |status| status.durable >= Lsn(last)).await;
    assert_eq!(status.stuck, None);
    let left = files(dir.path(), "segment");
    assert!(left.len() < segments, "{left:?}");
    append_each(&mut log, last + 1..=last + 1).await;
    log.close(Duration::from_secs(1)).await;

    let opened = Opened::open(config).unwrap();
    assert_eq!(
        (opened.covered(), opened.last()),
        (Lsn(last - 1), Lsn(last + 1)),
        "what was forgotten is as if it were covered"
    );
    let left: Vec<Replayed> = opened.replay().collect::<Result<_, _>>().unwrap();
    assert_eq!(left, records(last..=last + 1));
    drop(opened);
    assert!(
        matches!(replay(dir.path()), Err(LogError::Missing { .. })),
        "where nothing is forgotten it is damage"
    );
}

#[tokio::test]
async fn while_the_disk_is_full_the_queue_fills_and_then_appends_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let opened = Opened::open(LogConfig { queue_records: 4, ..config(dir.path()) }).unwrap();
    let faults = opened.faults();
    let mut log = opened.start().unwrap();
    faults.set_free_bytes(Some(0));
    append(&mut log, record(1)).await;
    until(&log, |status| status.stuck.is_some()).await;
    let mut number = 2;
    while log.try_append(record(number)).is_ok() {
        number += 1;
        assert!(number <= 6, "the queue is bounded");
    }
    assert_eq!(log.try_append(record(number)), Err(Full(record(number))));
    faults.set_free_bytes(None);
    append_each(&mut log, number..=number).await;
    log.close(Duration::MAX).await;
    assert_eq!(replay(dir.path()).unwrap(), records(1..=number));
}

#[tokio::test]
async fn closing_on_a_full_disk_gives_up_after_the_grace_and_counts_what_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, faults) = start(dir.path());
    append_each(&mut log, 1..=2).await;
    faults.set_free_bytes(Some(0));
    append(&mut log, record(3)).await;
    append(&mut log, record(4)).await;
    assert_eq!(log.close(Duration::from_millis(5)).await, Closed { durable: Lsn(2), cut: 2 });
    assert_eq!(replay(dir.path()).unwrap(), records(1..=2));
}

#[tokio::test]
async fn a_record_whose_sync_failed_is_written_again_and_replayed_once() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, faults) = start(dir.path());
    for round in 0..6 {
        faults.fail_syncs(round);
        append_each(&mut log, round as u64 * 2 + 1..=round as u64 * 2 + 2).await;
    }
    assert!(log.status().borrow().failures >= 15);
    log.close(Duration::MAX).await;
    assert_eq!(replay(dir.path()).unwrap(), records(1..=12));
}

#[tokio::test]
async fn a_snapshot_takes_the_place_of_what_it_covers_while_appends_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = start(dir.path());
    append_each(&mut log, 1..=10).await;
    let before = files(dir.path(), "segment");
    let snapshot = log.try_snapshot().unwrap();
    assert_eq!(snapshot.covers(), Lsn(10));
    append_each(&mut log, 11..=13).await;
    let written = snapshot.write(["a", "bc"]).unwrap();
    log.try_install(written).unwrap();
    let status = until(&log, |status| status.covered == Lsn(10)).await;
    let segments = files(dir.path(), "segment");
    let segment_bytes: u64 = segments.iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert_eq!((status.snapshots, status.segments), (1, segments.len() as u64));
    assert_eq!(status.segment_bytes, segment_bytes);
    assert_eq!(status.snapshot_bytes, fs::metadata(&files(dir.path(), "snapshot")[0]).unwrap().len());
    assert!(before.iter().all(|path| !path.exists()));
    log.close(Duration::MAX).await;
    let mut expected = vec![Replayed::Snapshot(b"a".to_vec()), Replayed::Snapshot(b"bc".to_vec())];
    expected.extend(records(11..=13));
    assert_eq!(replay(dir.path()).unwrap(), expected);
}

#[tokio::test]
async fn after_a_snapshot_of_everything_numbers_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = start(dir.path());
    for covers in [4, 8] {
        append_each(&mut log, covers - 3..=covers).await;
        let snapshot = log.try_snapshot().unwrap();
        log.try_install(snapshot.write([covers.to_string()]).unwrap()).unwrap();
        until(&log, |status| status.covered == Lsn(covers)).await;
        assert!(files(dir.path(), "segment").is_empty());
    }
    log.close(Duration::MAX).await;
    assert_eq!(replay(dir.path()).unwrap(), [Replayed::Snapshot(b"8".to_vec())]);
    let (mut log, _) = start(dir.path());
    append_each(&mut log, 9..=9).await;
}

#[tokio::test]
async fn a_crash_at_any_step_of_a_snapshot_leaves_one_story() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = start(dir.path());
    append_each(&mut log, 1..=10).await;
    let segments: Vec<_> =
        files(dir.path(), "segment").into_iter().map(|p| (p.clone(), fs::read(p).unwrap())).collect();
    let written = log.try_snapshot().unwrap().write(["s"]).unwrap();
    let unfinished = files(dir.path(), "snapshot").remove(0);
    let torn = fs::read(&unfinished).unwrap();
    log.try_install(written).unwrap();
    log.close(Duration::MAX).await;
    let snapshot = files(dir.path(), "snapshot").remove(0);
    // Removal came only so far: any set of the covered segments may still be there.
    for kept in 0..1 << segments.len() {
        for (i, (path, bytes)) in segments.iter().enumerate().filter(|(i, _)| kept & (1 << i) != 0) {
            assert!(i < segments.len());
            fs::write(path, bytes).unwrap();
        }
        let opened = Opened::open(config(dir.path())).unwrap();
        assert_eq!(opened.last(), Lsn(10));
        let all: Vec<_> = opened.replay().map(Result::unwrap).collect();
        assert_eq!(all, [Replayed::Snapshot(b"s".to_vec())], "{kept:b}");
        assert!(files(dir.path(), "segment").is_empty(), "{kept:b}");
    }
    // The snapshot was not named yet.
    fs::remove_file(&snapshot).unwrap();
    segments.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
    fs::write(&unfinished, &torn[..torn.len() - 3]).unwrap();
    assert_eq!(replay(dir.path()).unwrap(), records(1..=10));
    assert!(!unfinished.exists());
    // A snapshot that was named is durable: one that is short is damaged.
    fs::write(&snapshot, &torn[..torn.len() - FRAME_BYTES]).unwrap();
    assert!(matches!(replay(dir.path()), Err(LogError::Damaged { .. })));
}

#[tokio::test]
async fn a_snapshot_that_finds_the_disk_full_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, faults) = start(dir.path());
    append_each(&mut log, 1..=4).await;
    faults.set_free_bytes(Some(30));
    let error = log.try_snapshot().unwrap().write(["s"]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(files(dir.path(), "snapshot").is_empty());
    faults.set_free_bytes(None);
    append_each(&mut log, 5..=5).await;
    log.close(Duration::MAX).await;
    assert_eq!(replay(dir.path()).unwrap(), records(1..=5));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens to the bytes of the last batch, opening gives the earlier records and a beginning of the last
    /// batch, or an error: never another record, never a gap.
    #[test]
    fn no_noise_in_the_last_batch_makes_up_or_skips_a_record(
        cut in any::<prop::sample::Index>(), noise in proptest::collection::vec(any::<u8>(), 0..60),
        flips in proptest::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let (dir, path, whole) = with_last_segment(6);
        let mut bytes = whole[..HEADER_BYTES + cut.index(whole.len() - HEADER_BYTES + 1)].to_vec();
        bytes.extend_from_slice(&noise);
        for flip in flips {
            let room = bytes.len() - HEADER_BYTES;
            if room > 0 {
                bytes[HEADER_BYTES + flip.index(room)] ^= 0x40;
            }
        }
        fs::write(&path, bytes).unwrap();
        let opened = Opened::open(config(dir.path())).unwrap();
        let all = opened.replay().collect::<Result<Vec<_>, _>>().unwrap();
        prop_assert_eq!(all, records(1..=opened.last().0));
    }
}
