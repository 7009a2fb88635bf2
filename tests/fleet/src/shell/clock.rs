//! The one place that reads clocks.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use roost_wire::BootTime;
use rustix::time::{ClockId, clock_gettime};

/// The boot-time clock: one for all processes of the machine, so that a message's due time means the same in each.
#[must_use]
pub fn now() -> BootTime {
    let since_boot = Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default();
    BootTime::from_micros(u64::try_from(since_boot.as_micros()).unwrap_or(u64::MAX))
}

/// Milliseconds since 1970.
pub(super) fn wall_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}

/// The moment on tokio's clock that is `at` on the boot-time clock.
#[must_use]
pub fn instant(at: BootTime) -> tokio::time::Instant {
    tokio::time::Instant::now() + at.since(now())
}
