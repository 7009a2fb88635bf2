//! The time that the cores are told.

use crate::embedded::core::UnixMillis;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// Wall-clock time as it was at the start, moved on by the monotonic clock: an adjusted wall clock neither expires
/// messages nor keeps them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    started: Instant,
    started_at_ms: u64,
}

impl Clock {
    pub(super) fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let started_at_ms = u64::try_from(since_epoch.as_millis()).unwrap_or(0);
        Self { started: Instant::now(), started_at_ms }
    }

    pub(super) fn now(&self) -> UnixMillis {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        UnixMillis(self.started_at_ms).plus(elapsed)
    }

    /// When the runtime's clock shows that time, rounded up, so that a timer never fires early; with nothing to wait
    /// for, in an hour.
    pub(super) fn instant(&self, time: Option<UnixMillis>) -> Instant {
        match time {
            Some(time) => self.started + Duration::from_millis(time.0.saturating_sub(self.started_at_ms)),
            None => Instant::now() + Duration::from_secs(3600),
        }
    }
}
