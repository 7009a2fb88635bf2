//! The one virtual clock, and how each process reads it.

use roost_backend::embedded::core::UnixMillis;
use roost_wire::{BootTime, Now, WallTime};

/// A moment of the simulation: microseconds since its beginning.
pub(crate) type Micros = u64;

/// A second.
pub(crate) const SECOND: Micros = 1_000_000;

/// A millisecond.
pub(crate) const MILLI: Micros = 1_000;

/// When a simulation begins, by the calendar: in 2026, so that no number is small by accident.
const EPOCH_MS: u64 = 1_780_000_000_000;

/// One process's clocks: its boot clock began some time ago and runs a little fast or slow, its calendar is a little off.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    /// What the boot clock showed at the beginning, in microseconds.
    pub(crate) offset: u64,
    /// How fast it runs, in millionths: −100 to 100 is what quartz does.
    pub(crate) drift_ppm: i64,
    /// How much the calendar is ahead, in milliseconds. It is set forward and back now and then.
    pub(crate) ahead_ms: i64,
}

impl Clock {
    /// What this process reads at that moment.
    pub(crate) fn read(&self, at: Micros) -> Now {
        let drift = at as i64 * self.drift_ppm / 1_000_000;
        Now {
            boot: BootTime::from_micros(self.offset + at.saturating_add_signed(drift)),
            wall: WallTime::from_millis((EPOCH_MS + at / MILLI).saturating_add_signed(self.ahead_ms)),
        }
    }

    /// The first moment at which this process reads that time or a later one.
    pub(crate) fn moment(&self, boot: BootTime) -> Micros {
        let shown = boot.as_micros().saturating_sub(self.offset) as i64;
        let rate = 1_000_000 + self.drift_ppm;
        let mut at = (shown as i128 * 1_000_000 / i128::from(rate)).max(0) as Micros;
        while self.read(at).boot < boot {
            at += 1;
        }
        at
    }
}

/// What the broker's calendar says.
pub(crate) fn broker_time(at: Micros) -> UnixMillis {
    UnixMillis(EPOCH_MS + at / MILLI)
}

/// The first moment at which the broker's calendar says so.
pub(crate) fn broker_moment(time: UnixMillis) -> Micros {
    time.0.saturating_sub(EPOCH_MS) * MILLI
}
