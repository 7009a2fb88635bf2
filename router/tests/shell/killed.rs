//! A log whose process is killed at any moment has every record that was reported durable, in order.

use std::path::Path;

use bytes::Bytes;
use roost_log::{Full, LogConfig, Lsn, Opened, Replayed};

use crate::child::{self, Running};

const NAME: &str = "killed::every_record_reported_durable_survives_a_kill_in_order";

fn config(directory: &Path) -> LogConfig {
    LogConfig { segment_bytes: 64 * 1024, queue_records: 64, ..LogConfig::new(directory.to_owned()) }
}

/// What a record holds: its number, and bytes that follow from it.
fn record(number: u64) -> Bytes {
    let length = usize::try_from(number * 37 % 1_500).unwrap();
    let filling = number.to_le_bytes().into_iter().cycle().take(length);
    number.to_le_bytes().into_iter().chain(filling).collect::<Vec<u8>>().into()
}

/// Appends for ever, as fast as the disk takes it, and tells what is durable; now and then compacts: a snapshot holds the
/// number of its last record.
async fn append_for_ever(directory: &Path) {
    let mut log = Opened::open(config(directory)).unwrap().start().unwrap();
    let status = log.status();
    let mut told = Lsn::ZERO;
    loop {
        let mut record = record(log.last().0 + 1);
        while let Err(Full(back)) = log.try_append(record) {
            record = back;
            log.room().await;
        }
        let durable = status.borrow().durable;
        if durable > told {
            told = durable;
            child::tell(told);
        }
        if log.last().0.is_multiple_of(500)
            && let Some(snapshot) = log.try_snapshot()
        {
            let covers = snapshot.covers().0;
            let mut written = snapshot.write([covers.to_le_bytes()]).unwrap();
            while let Err(back) = log.try_install(written) {
                written = back;
                log.room().await;
            }
        }
    }
}

#[tokio::test]
async fn every_record_reported_durable_survives_a_kill_in_order() {
    if let Some(directory) = child::directory() {
        return append_for_ever(&directory).await;
    }
    let data = tempfile::tempdir().unwrap();
    let mut durable = 0;
    for round in 1..=8 {
        let mut running = Running::start(NAME, data.path(), "");
        // Each round is killed elsewhere: after so many reports, and whatever the disk was doing then.
        for _ in 0..round * 7 {
            durable = running.line().expect("it appends until it is killed").parse().unwrap();
        }
        running.kill();
        while let Some(line) = running.line() {
            durable = line.parse().unwrap();
        }
        let last = check(data.path());
        assert!(last >= durable, "round {round}: {durable} was reported durable, {last} is there");
    }
}

/// Replays; every record is what it was, and none is missing. Returns the last.
fn check(directory: &Path) -> u64 {
    let opened = Opened::open(config(directory)).unwrap();
    let mut last = 0;
    for replayed in opened.replay() {
        match replayed.unwrap() {
            Replayed::Snapshot(bytes) => last = u64::from_le_bytes(bytes.try_into().unwrap()),
            Replayed::Record(lsn, bytes) => {
                assert_eq!((lsn.0, &bytes), (last + 1, &record(last + 1).to_vec()));
                last = lsn.0;
            }
        }
    }
    assert_eq!(last, opened.last().0);
    last
}
