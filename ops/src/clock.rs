//! The one place that reads clocks: cores get what it read as a value.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use roost_wire::{BootTime, Now, WallTime};
use rustix::time::{ClockId, clock_gettime};

/// Both clocks, now. The boot clock runs on while the machine sleeps (`CLOCK_BOOTTIME`), as a lease must.
#[must_use]
pub fn now() -> Now {
    let boot = clock_gettime(ClockId::Boottime);
    let since_boot = Duration::try_from(boot).unwrap_or_default();
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now {
        boot: BootTime::from_micros(u64::try_from(since_boot.as_micros()).unwrap_or(u64::MAX)),
        wall: WallTime::from_millis(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_clock_never_goes_back_and_the_wall_clock_is_in_this_century() {
        let (first, second) = (now(), now());
        assert!(second.boot >= first.boot);
        assert!(first.boot.as_micros() > 0);
        assert!(first.wall.as_millis() > 1_600_000_000_000);
    }
}
