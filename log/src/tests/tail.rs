//! What is read from a log that is being appended to, and marks.

use super::*;
use crate::Tail;

const NOTHING: [Vec<u8>; 0] = [];

/// All that may be read by now.
fn read(tail: &mut Tail, log: &Log) -> Vec<Vec<u8>> {
    let durable = log.status().borrow().durable;
    std::iter::from_fn(|| tail.next(durable).unwrap()).collect()
}

fn bytes(numbers: std::ops::RangeInclusive<u64>) -> Vec<Vec<u8>> {
    numbers.map(|number| record(number).to_vec()).collect()
}

#[tokio::test]
async fn a_tail_reads_on_across_segments_as_records_become_durable() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = start(dir.path());
    let mut tail = log.tail(Lsn(1));
    assert_eq!(read(&mut tail, &log), NOTHING);
    let mut from_the_middle = log.tail(Lsn(15));
    for last in [3, 20, 21, 40] {
        let first = tail.at().0;
        append_each(&mut log, first..=last).await;
        assert_eq!(read(&mut tail, &log), bytes(first..=last));
        assert_eq!(read(&mut tail, &log), NOTHING, "what was read is read once");
    }
    assert_eq!(tail.at(), Lsn(41));
    assert_eq!(read(&mut from_the_middle, &log), bytes(15..=40));
    assert!(files(dir.path(), "segment").len() > 2);
}

#[tokio::test]
async fn a_tail_reads_a_record_once_whose_first_write_failed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, faults) = start(dir.path());
    append_each(&mut log, 1..=3).await;
    let mut tail = log.tail(Lsn(1));
    assert_eq!(read(&mut tail, &log), bytes(1..=3));
    faults.fail_syncs(3);
    append_each(&mut log, 4..=5).await;
    faults.set_free_bytes(Some(7));
    append(&mut log, record(6)).await;
    until(&log, |status| status.stuck.is_some()).await;
    assert_eq!(read(&mut tail, &log), bytes(4..=5), "what is not durable is not read");
    faults.set_free_bytes(None);
    until(&log, |status| status.durable == Lsn(6)).await;
    append_each(&mut log, 7..=9).await;
    assert_eq!(read(&mut tail, &log), bytes(6..=9));
}

#[tokio::test]
async fn a_durable_record_that_is_damaged_is_an_error_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = start(dir.path());
    append_each(&mut log, 1..=3).await;
    let segment = files(dir.path(), "segment").remove(0);
    change(&segment, HEADER_BYTES + FRAME_BYTES + 2);
    let mut tail = log.tail(Lsn(1));
    for _ in 0..2 {
        let error = tail.next(Lsn(3)).unwrap_err();
        assert!(matches!(&error, LogError::Damaged { path, lsn: Lsn(1), .. } if *path == segment), "{error}");
    }
}

#[tokio::test]
async fn what_a_mark_covers_is_gone_and_what_is_behind_it_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = start(dir.path());
    append_each(&mut log, 1..=30).await;
    let before = files(dir.path(), "segment").len();
    let mut tail = log.tail(Lsn(21));
    for covers in [Lsn(12), Lsn(20)] {
        let written = log.mark(covers).write([format!("up to {covers}")]).unwrap();
        log.try_install(written).unwrap();
        until(&log, |status| status.covered == covers).await;
    }
    assert!(files(dir.path(), "segment").len() < before && files(dir.path(), "snapshot").len() == 1);
    append_each(&mut log, 31..=33).await;
    assert_eq!(read(&mut tail, &log), bytes(21..=33));
    // Whoever reads has the directory too.
    drop(tail);
    log.close(Duration::MAX).await;

    let replayed = replay(dir.path()).unwrap();
    assert_eq!(replayed[0], Replayed::Snapshot(b"up to 20".to_vec()));
    assert_eq!(replayed[1..], records(21..=33));
    let (mut log, _) = start(dir.path());
    let everything = log.mark(log.last()).write([""; 0]).unwrap();
    log.try_install(everything).unwrap();
    until(&log, |status| status.covered == Lsn(33)).await;
    assert_eq!(files(dir.path(), "segment").len(), 0, "of what is done with nothing is left");
    append_each(&mut log, 34..=35).await;
    assert_eq!(read(&mut log.tail(Lsn(34)), &log), bytes(34..=35));
}
