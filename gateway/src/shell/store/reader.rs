//! The threads that read: all sessions, one page after another, and single ones that are asked for.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use roost_wire::Device;
use tokio::sync::mpsc;

use super::file::File;
use crate::store::{SESSIONS, StoreRecord, prefix_of};

/// What was read.
#[derive(Debug)]
pub(in crate::shell) enum WasRead {
    /// One session.
    Session {
        /// Whose.
        device: Device,
        /// Its records; none if there is none.
        records: Vec<StoreRecord>,
    },
    /// The next of all, each with all its records.
    Sessions {
        /// Their records.
        records: Vec<StoreRecord>,
        /// Whether there are no more.
        is_last: bool,
    },
    /// The file is damaged, and nothing more can be read.
    Damaged,
}

/// The records of a page, and their bytes, at least, if there are as many; then the session that it ends with goes on to its end. It takes
/// the world some milliseconds.
const PAGE_RECORDS: usize = 1_000;
const PAGE_BYTES: usize = 512 * 1024;

/// What can't be read is tried again after this.
const RETRY: Duration = Duration::from_secs(1);

/// Reads all sessions, and ends.
pub(super) fn read_all(file: Arc<File>, found: mpsc::Sender<WasRead>) -> io::Result<JoinHandle<()>> {
    let read = move || {
        let mut from = Bytes::from_static(SESSIONS);
        loop {
            let Some(records) = try_on(&found, || page(&file, &from)) else {
                let _ = found.blocking_send(WasRead::Damaged);
                return;
            };
            let is_last = records.is_empty();
            if let Some(last) = records.last() {
                // The first key that may stand behind it.
                from = [&last.key[..], &[0]].concat().into();
            }
            // An error means that the world has ended.
            if found.blocking_send(WasRead::Sessions { records, is_last }).is_err() || is_last {
                return;
            }
        }
    };
    thread::Builder::new().name("store-read-all".to_owned()).spawn(read)
}

fn page(file: &File, from: &[u8]) -> Result<Vec<StoreRecord>, redb::Error> {
    let (mut records, mut bytes) = (0, 0);
    let mut session: Option<Vec<u8>> = None;
    file.read(from, |record| {
        let Some(prefix) = prefix_of(&record.key) else { return false };
        let is_next = session.as_deref() != Some(prefix);
        if is_next && (records >= PAGE_RECORDS || bytes >= PAGE_BYTES) {
            return false;
        }
        if is_next {
            session = Some(prefix.to_vec());
        }
        records += 1;
        bytes += record.key.len() + record.value.len();
        true
    })
}

/// Reads the sessions that are asked for, until nobody asks any more.
pub(super) fn answer(
    file: Arc<File>,
    mut asked: mpsc::Receiver<(Device, Bytes)>,
    found: mpsc::Sender<WasRead>,
) -> io::Result<JoinHandle<()>> {
    let read = move || {
        while let Some((device, prefix)) = asked.blocking_recv() {
            let records = try_on(&found, || file.read(&prefix, |record| record.key.starts_with(&prefix)));
            let answer = records.map(|records| WasRead::Session { device, records });
            if found.blocking_send(answer.unwrap_or(WasRead::Damaged)).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("store-read".to_owned()).spawn(read)
}

/// Reads until it is done; `None` if the file is damaged, or nobody wants it any more.
fn try_on<T>(found: &mpsc::Sender<WasRead>, read: impl Fn() -> Result<T, redb::Error>) -> Option<T> {
    loop {
        match read() {
            Ok(read) => return Some(read),
            Err(_) if found.is_closed() => return None,
            Err(error @ redb::Error::Corrupted(_)) => {
                tracing::error!(%error, "the store of sessions is damaged, and the gateway ends");
                return None;
            }
            Err(error) => {
                tracing::error!(%error, "the store of sessions can't be read; it is tried again");
                thread::sleep(RETRY);
            }
        }
    }
}
