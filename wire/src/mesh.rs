//! How gateways and routers write their own messages: JSON with a version, bounded. Versions N and N−1 work together:
//! fields that a reader does not know are ignored, and fields that an older writer does not know have defaults.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The version that this build writes.
pub const VERSION: u8 = 1;

/// The oldest version that this build still reads.
pub const OLDEST_VERSION: u8 = 1;

/// The largest report that is read. Writers split theirs at [`ITEMS_MAX`] items, which stays far below.
pub const REPORT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The most items in one report. Readers refuse more.
pub const ITEMS_MAX: usize = 4_096;

/// Why a report could not be read. The reader counts it, drops it and asks for a sync or a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    /// More bytes than [`REPORT_BYTES_MAX`].
    #[error("report is {bytes} bytes long, at most {REPORT_BYTES_MAX} are read")]
    TooLong {
        /// How many.
        bytes: usize,
    },
    /// Written by a build that is too old or too new.
    #[error("report has version {version}, this build reads {OLDEST_VERSION} to {VERSION}")]
    Version {
        /// Which.
        version: u8,
    },
    /// More items than [`ITEMS_MAX`].
    #[error("report has {items} items, at most {ITEMS_MAX} are read")]
    TooMany {
        /// How many.
        items: usize,
    },
    /// Not JSON, or not of this kind.
    #[error("report is not readable: {0}")]
    Json(#[from] serde_json::Error),
}

/// A message between a gateway and a router.
pub trait Report: Serialize + DeserializeOwned {
    /// How many items it carries.
    fn items(&self) -> usize;

    /// The body of the AMQP message.
    #[must_use]
    fn to_body(&self) -> Bytes {
        debug_assert!(self.items() <= ITEMS_MAX, "writers split their reports");
        let versioned = Versioned { version: VERSION, report: self };
        serde_json::to_vec(&versioned).expect("reports hold no map with keys that are not text").into()
    }

    /// Reads the body of an AMQP message.
    ///
    /// # Errors
    /// [`MeshError`] says why it is not read.
    fn from_body(body: &[u8]) -> Result<Self, MeshError> {
        if body.len() > REPORT_BYTES_MAX {
            return Err(MeshError::TooLong { bytes: body.len() });
        }
        // The version first, so that what a later version wrote is refused for that reason and no other.
        let Header { version } = serde_json::from_slice(body)?;
        if !(OLDEST_VERSION..=VERSION).contains(&version) {
            return Err(MeshError::Version { version });
        }
        let report: Self = serde_json::from_slice(body)?;
        match report.items() {
            items if items > ITEMS_MAX => Err(MeshError::TooMany { items }),
            _ => Ok(report),
        }
    }
}

#[derive(Serialize)]
struct Versioned<'a, R> {
    version: u8,
    #[serde(flatten)]
    report: &'a R,
}

#[derive(Deserialize)]
struct Header {
    version: u8,
}
