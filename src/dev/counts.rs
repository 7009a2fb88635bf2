//! What the live line counts.

use std::time::Duration;

/// One reading of the whole mesh. All but `devices` and `parked` only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    /// Devices connected now, at all gateways.
    pub(crate) devices: u64,
    /// Events that the backend has.
    pub(crate) events: u64,
    /// Commands taken in by the gateways, each attempt.
    pub(crate) commands: u64,
    /// Commands in custody that are not at a gateway now.
    pub(crate) parked: u64,
    /// Final receipts.
    pub(crate) receipts: u64,
}

impl Counts {
    /// The line, with what grew per second since `earlier`.
    pub(crate) fn line(self, earlier: Self, since: Duration) -> String {
        let a_second = |now: u64, then: u64| {
            let grown = now.saturating_sub(then) as f64;
            (grown / since.as_secs_f64().max(0.001)).round()
        };
        format!(
            "devices {} · events up {}/s · commands down {}/s · parked {} · receipts {}",
            self.devices,
            a_second(self.events, earlier.events),
            a_second(self.commands, earlier.commands),
            self.parked,
            self.receipts
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_a_second_and_the_rest_is_as_it_is() {
        let earlier = Counts { devices: 9, events: 100, commands: 10, parked: 7, receipts: 1 };
        let now = Counts { devices: 2, events: 350, commands: 10, parked: 3, receipts: 5 };
        let line = now.line(earlier, Duration::from_millis(500));
        assert_eq!(line, "devices 2 · events up 500/s · commands down 0/s · parked 3 · receipts 5");
    }
}
