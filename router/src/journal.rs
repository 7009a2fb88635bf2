//! What survives a crash of the router: [`Record`]s in a log, and the [`Journal`], the index that they build.
//!
//! The index changes by [`Journal::apply`] and by nothing else, live and at replay alike, so what is rebuilt is what was. The log
//! itself (order, checksums, fsync, segments) is the shell's: it calls [`Record::encode`], and after a start gives every
//! record back in order, the snapshot's first. [`Journal::snapshot`] is the shortest list of records that builds the same index.

mod answers;
mod finals;
mod gateways;
mod index;
mod record;

pub use gateways::KnownGateway;
pub use index::{Held, Journal, Live};
pub(crate) use record::header_bytes;
pub use record::{Accepted, Final, GivenTo, Record, RecordError, Reply};

#[cfg(test)]
mod tests;
