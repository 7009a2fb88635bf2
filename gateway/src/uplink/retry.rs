//! How often and how late a publication is tried again that the backend refused.

use std::time::Duration;

/// After the first publication and this many more, an event goes to `roost.dead`: a queue that is full for seconds is
/// full for good, and one service must not stall the fleet.
pub(crate) const RETRIES_MAX: u32 = 5;
/// Where that was in vain and the window fills with such events: once, for what refuses for less than a moment.
pub(crate) const RETRIES_MIN: u32 = 1;

const FIRST: Duration = Duration::from_millis(400);
const MAX: Duration = Duration::from_secs(10);

/// How long to wait after the `refusals`-th refusal: doubling from 400 ms, so that five retries span twelve seconds, in which
/// a queue that has lost its leader has another; at most ten seconds.
pub(crate) fn delay(refusals: u32) -> Duration {
    let doublings = refusals.saturating_sub(1).min(6);
    FIRST.saturating_mul(1 << doublings).min(MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_a_bound() {
        let delays = [1, 2, 3, 6, 7, 1_000].map(|n| delay(n).as_millis());
        assert_eq!(delays, [400, 800, 1_600, 10_000, 10_000, 10_000]);
    }
}
