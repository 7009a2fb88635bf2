//! When a device whose connection is gone tries again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::chance::share;

/// What the draws of this file are for.
const FIRST: u64 = 2 << 32;
const LATER: u64 = 3 << 32;

/// A policy of coming back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconnect {
    /// How long the waits are.
    pub backoff: Backoff,
    /// The first attempt is at a moment drawn from a window of this length: what keeps a fleet that lost its connections
    /// together from coming back together.
    pub spread_ms: u64,
}

/// How the waits grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backoff {
    /// No wait but [`Reconnect::LEAST`].
    None,
    /// From `first_ms`, doubled each time up to `max_ms`.
    Exponential {
        /// The first wait.
        first_ms: u64,
        /// The longest.
        max_ms: u64,
    },
    /// A moment drawn from zero up to what [`Backoff::Exponential`] would wait.
    FullJitter {
        /// The bound of the first wait.
        first_ms: u64,
        /// The bound of the longest.
        max_ms: u64,
    },
}

impl Default for Reconnect {
    /// Full jitter from one second to half a minute: what device SDKs recommend.
    fn default() -> Self {
        Self { backoff: Backoff::FullJitter { first_ms: 1_000, max_ms: 30_000 }, spread_ms: 0 }
    }
}

impl Reconnect {
    /// Under every wait: a device that is refused at once must not spin.
    pub const LEAST: Duration = Duration::from_millis(20);

    /// How long to wait before the next attempt, after so many waits since the last connection that was accepted.
    #[must_use]
    pub fn wait(&self, seed: u64, device: u32, waits: u16) -> Duration {
        let draw = |purpose| share(seed, device, purpose + u64::from(waits));
        let spread = if waits == 0 { self.spread_ms as f64 * draw(FIRST) } else { 0.0 };
        let grown = |first: u64, max: u64| {
            let doubled = first.saturating_mul(1_u64.checked_shl(u32::from(waits)).unwrap_or(u64::MAX));
            doubled.min(max) as f64
        };
        let backoff = match self.backoff {
            Backoff::None => 0.0,
            Backoff::Exponential { first_ms, max_ms } => grown(first_ms, max_ms),
            Backoff::FullJitter { first_ms, max_ms } => grown(first_ms, max_ms) * draw(LATER),
        };
        Duration::from_secs_f64((spread + backoff) / 1_000.0).max(Self::LEAST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(backoff: Backoff) -> Vec<u128> {
        let reconnect = Reconnect { backoff, spread_ms: 0 };
        (0..70).map(|waits| reconnect.wait(5, 9, waits).as_millis()).collect()
    }

    #[test]
    fn exponential_waits_double_up_to_their_bound_and_never_overflow() {
        let waits = waits(Backoff::Exponential { first_ms: 100, max_ms: 1_000 });
        assert_eq!(waits[..6], [100, 200, 400, 800, 1_000, 1_000]);
        assert!(waits[6..].iter().all(|wait| *wait == 1_000));
    }

    #[test]
    fn full_jitter_draws_below_them() {
        let bounds = waits(Backoff::Exponential { first_ms: 100, max_ms: 1_000 });
        let drawn = waits(Backoff::FullJitter { first_ms: 100, max_ms: 1_000 });
        assert!(drawn.iter().zip(&bounds).all(|(drawn, bound)| drawn <= bound), "{drawn:?}");
        assert!(drawn.windows(2).any(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn the_first_try_is_spread_and_nobody_spins() {
        let reconnect = Reconnect { backoff: Backoff::None, spread_ms: 10_000 };
        let first: Vec<f64> = (0..1_000).map(|device| reconnect.wait(5, device, 0).as_secs_f64()).collect();
        assert!(first.iter().all(|wait| *wait <= 10.0));
        let early = first.iter().filter(|wait| **wait < 5.0).count();
        assert!((400..600).contains(&early), "{early} of 1000 in the first half of the window");
        assert_eq!(reconnect.wait(5, 9, 1), Reconnect::LEAST);
    }
}
