//! A gateway's spool: events on its disk until the backend has them.

use std::time::Duration;

use crate::section::Section;
use crate::value::{choice, seconds, whole};

/// `spool`: its bounds. It lives in the directory `spool` of the gateway's `data`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolSettings {
    /// `bytes_max`: on disk. At it no PUBACK leaves for what is to be spooled, a publisher whose receive maximum is reached is disconnected,
    /// and who connects is told that the server is unavailable.
    pub bytes_max: u64,
    /// `age_s_max`: what has waited longer is dropped and counted.
    pub age_max: Duration,
    /// `drain_per_s`: events that leave it per second at most, once the backend is back.
    pub drain_per_s: u32,
    /// `when_full`: what publishers are told at `bytes_max`.
    pub when_full: WhenFull,
}

/// What becomes of an event whose spool is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// `withhold`: its publisher waits for the PUBACK, and is disconnected when its receive maximum is reached.
    Withhold,
    /// `refuse`: a v5 client gets the PUBACK 0x97, Quota exceeded, and has to keep the event itself.
    Refuse,
}

const WHEN_FULL: [(&str, WhenFull); 2] = [("withhold", WhenFull::Withhold), ("refuse", WhenFull::Refuse)];

/// 4 GiB: 1,000 events a second of 256 bytes for two hours.
pub const BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// 7 days: the longest lifetime of a command by default; after a week's cut nobody wants to know any more.
pub const AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);
/// 10,000: several times what 10,000 devices publish, and about half of what a node of a broker takes.
pub const DRAIN_PER_S: u32 = 10_000;

impl Default for SpoolSettings {
    fn default() -> Self {
        Self {
            bytes_max: BYTES_MAX,
            age_max: AGE_MAX,
            drain_per_s: DRAIN_PER_S,
            // Many clients take any PUBACK for success.
            when_full: WhenFull::Withhold,
        }
    }
}

impl SpoolSettings {
    pub(crate) fn read(mut s: Section<'_>) -> Self {
        let d = Self::default();
        let settings = Self {
            // Below it there is no room for segments to come and go.
            bytes_max: s.or("bytes_max", d.bytes_max, whole(1024 * 1024..=1 << 44)),
            age_max: s.or("age_s_max", d.age_max, seconds(1..=365 * 24 * 3_600)),
            drain_per_s: s.or("drain_per_s", d.drain_per_s, whole(50..=1_000_000)),
            when_full: s.or("when_full", d.when_full, choice(&WHEN_FULL)),
        };
        s.finish();
        settings
    }
}
