//! Time as a value. The cores never read a clock; the shell does, and passes what it read.

use std::time::Duration;

/// A moment on one process's monotonic clock that also runs while the machine sleeps (Linux: `CLOCK_BOOTTIME`), in
/// microseconds. Two processes' values compare only through measured bounds; it is never persisted.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct BootTime {
    micros: u64,
}

impl BootTime {
    /// That many microseconds since the clock's zero.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self { micros }
    }

    /// Microseconds since the clock's zero.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.micros
    }

    /// The time from `earlier` to here; zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.micros.saturating_sub(earlier.micros))
    }
}

impl std::ops::Add<Duration> for BootTime {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        Self { micros: self.micros.saturating_add(micros(duration)) }
    }
}

/// A moment by the calendar, in milliseconds since 1970 (UTC). Used where a time must survive a restart or be read by
/// people: deadlines in the journal, times in receipts. Never for order.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct WallTime {
    millis: u64,
}

impl WallTime {
    /// That many milliseconds since 1970 (UTC).
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self { millis }
    }

    /// Milliseconds since 1970 (UTC).
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.millis
    }

    /// The time from `earlier` to here; zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.millis.saturating_sub(earlier.millis))
    }
}

impl std::ops::Add<Duration> for WallTime {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self { millis: self.millis.saturating_add(millis) }
    }
}

/// One reading of both clocks: what every core gets with every input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Now {
    /// For order, leases and time-outs.
    pub boot: BootTime,
    /// For deadlines that outlive the process, and for people.
    pub wall: WallTime,
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_saturate_instead_of_wrapping() {
        let late = BootTime::from_micros(u64::MAX - 1) + Duration::from_secs(1);
        assert_eq!(late.as_micros(), u64::MAX);
        assert_eq!(BootTime::from_micros(5).since(BootTime::from_micros(9)), Duration::ZERO);
        assert_eq!((WallTime::from_millis(1_000) + Duration::from_secs(2)).as_millis(), 3_000);
    }
}
