//! The file, and what is read of it before anybody is served.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;
use redb::{Database, DatabaseError, Durability, ReadableDatabase as _, TableDefinition};

use super::StoreError;
use crate::store::{RETAINED, ROUTER, SESSIONS, StoreOpened, StoreRecord, VERSION, VERSION_WRITTEN};

/// All records.
pub(super) const RECORDS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("records");

/// Pages that redb keeps in memory. The sessions themselves are there already.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// The open file; closed while it is opened anew.
pub(super) struct File {
    path: PathBuf,
    how: Box<How>,
    open: RwLock<Option<Database>>,
}

/// How a file is opened, or made.
type How = dyn Fn(&Path) -> Result<Database, DatabaseError> + Send + Sync;

impl File {
    /// Opens the file in the directory, or makes both.
    pub(super) fn open(directory: &Path) -> Result<Self, StoreError> {
        Self::open_as(
            directory,
            Box::new(|path| Database::builder().set_cache_size(CACHE_BYTES).create(path)),
        )
    }

    pub(super) fn open_as(directory: &Path, how: Box<How>) -> Result<Self, StoreError> {
        let error = |source| StoreError::Directory { directory: directory.to_owned(), source };
        fs::create_dir_all(directory).map_err(error)?;
        let path = directory.join("sessions.redb");
        let file = Self { path, how, open: RwLock::new(None) };
        file.reopen().and_then(|()| file.begin()).map_err(|source| file.error(source))?;
        // The file's name is on disk as well.
        fs::File::open(directory).and_then(|directory| directory.sync_all()).map_err(error)?;
        Ok(file)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What it takes on disk.
    pub(super) fn bytes(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |metadata| metadata.len())
    }

    /// Closes it and opens it again: redb does nothing more with one that has failed.
    pub(super) fn reopen(&self) -> Result<(), redb::Error> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        *open = None;
        *open = Some((self.how)(&self.path)?);
        Ok(())
    }

    /// Does something with the open file.
    pub(super) fn with<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, redb::Error> {
        match &*self.open.read().unwrap_or_else(PoisonError::into_inner) {
            Some(database) => work(database),
            None => Err(redb::Error::DatabaseClosed),
        }
    }

    /// Makes changes that are durable as a whole, or not at all.
    pub(super) fn commit(
        &self,
        change: impl FnOnce(&mut redb::Table<'_, &[u8], &[u8]>) -> Result<(), redb::Error>,
    ) -> Result<(), redb::Error> {
        self.with(|database| {
            let mut transaction = database.begin_write()?;
            transaction.set_durability(Durability::Immediate)?;
            transaction.set_quick_repair(true);
            {
                let mut table = transaction.open_table(RECORDS)?;
                change(&mut table)?;
            }
            transaction.commit()?;
            Ok(())
        })
    }

    /// Records in the order of their keys, from the first at or behind `from` that `is_wanted`; up to the first that is not.
    pub(super) fn read(
        &self,
        from: &[u8],
        mut is_wanted: impl FnMut(&StoreRecord) -> bool,
    ) -> Result<Vec<StoreRecord>, redb::Error> {
        self.with(|database| {
            let table = database.begin_read()?.open_table(RECORDS)?;
            let mut records = Vec::new();
            for entry in table.range(from..)? {
                let (key, value) = entry?;
                let copied = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
                let record = StoreRecord { key: copied(key.value()), value: copied(value.value()) };
                if !is_wanted(&record) {
                    break;
                }
                records.push(record);
            }
            Ok(records)
        })
    }

    /// Writes the version into a file that is new.
    fn begin(&self) -> Result<(), redb::Error> {
        let is_there = self.with(|database| {
            let transaction = database.begin_read()?;
            match transaction.open_table(RECORDS) {
                Ok(table) => Ok(table.get(VERSION)?.is_some()),
                Err(redb::TableError::TableDoesNotExist(_)) => Ok(false),
                Err(error) => Err(error.into()),
            }
        })?;
        if is_there {
            return Ok(());
        }
        self.commit(|table| {
            table.insert(VERSION, VERSION_WRITTEN)?;
            Ok(())
        })
    }

    /// What is there before anybody is served.
    pub(super) fn read_opened(&self) -> Result<StoreOpened, StoreError> {
        let version = self.record(VERSION)?;
        if version.as_deref() != Some(VERSION_WRITTEN) {
            return Err(StoreError::Version { path: self.path.clone() });
        }
        let retained = self.read(RETAINED, |record| record.key.starts_with(RETAINED));
        let mut first = self.read(SESSIONS, one_that(|record| record.key.starts_with(SESSIONS)));
        let has_sessions = first.as_mut().is_ok_and(|first| first.pop().is_some());
        first.map_err(|source| self.error(source))?;
        Ok(StoreOpened {
            boot: boot(),
            has_sessions,
            had_router: self.record(ROUTER)?.is_some(),
            retained: retained.map_err(|source| self.error(source))?,
        })
    }

    fn record(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let found =
            self.read(key, one_that(|record| record.key == key)).map_err(|source| self.error(source))?;
        Ok(found.into_iter().next().map(|record| record.value))
    }

    fn error(&self, source: redb::Error) -> StoreError {
        StoreError::File { path: self.path.clone(), source: Box::new(source) }
    }
}

/// Wants the first record, if it is one of those.
fn one_that(is_one: impl Fn(&StoreRecord) -> bool) -> impl FnMut(&StoreRecord) -> bool {
    let mut is_first = true;
    move |record| std::mem::replace(&mut is_first, false) && is_one(record)
}

/// Names the run of the machine. Where the system does not say it, each process counts as another one.
fn boot() -> u64 {
    let named = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().and_then(|id| {
        let digits: String = id.chars().filter(char::is_ascii_hexdigit).take(16).collect();
        u64::from_str_radix(&digits, 16).ok()
    });
    // Zero names none.
    named.unwrap_or_else(rand::random).max(1)
}
