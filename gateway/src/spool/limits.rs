//! The bounds of a spool.

use std::time::Duration;

/// The bounds of a spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolLimits {
    /// Bytes on disk. Beyond: no event is taken in; see [`super::SpoolState::Full`].
    pub bytes_max: u64,
    /// An event that has waited longer is dropped and counted, also while the backend is away: it makes room for those that come.
    pub age_max: Duration,
    /// Events that are read back from disk and published, per second at most.
    pub drain_per_s: u32,
    /// Events published and not answered. Beyond: the line waits.
    pub window_events: usize,
    /// Payload bytes of the same.
    pub window_bytes: usize,
    /// Events at the end of the line that are kept in memory as well.
    pub memory_events: usize,
    /// Payload bytes of the same.
    pub memory_bytes: usize,
}

impl Default for SpoolLimits {
    fn default() -> Self {
        Self {
            // A gateway's 1,000 events a second of 256 bytes for two hours.
            bytes_max: 4 * 1024 * 1024 * 1024,
            // As long as a command lives at most: after a week's cut nobody wants to know any more.
            age_max: Duration::from_secs(7 * 24 * 3_600),
            // Several times what a gateway of 10,000 devices takes in, and half of what a broker node does.
            drain_per_s: 10_000,
            window_events: 2_000,
            window_bytes: 32 * 1024 * 1024,
            memory_events: 4_000,
            memory_bytes: 16 * 1024 * 1024,
        }
    }
}
