//! Where a test's random choices come from.

use std::fmt;

use rand::SeedableRng;
use rand::rngs::StdRng;

/// The seed of a test that chooses at random: from `ROOST_SEED`, or drawn. Printed, so that a failure can be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(u64);

impl Seed {
    /// Takes the seed from the environment, or draws one, and prints it.
    ///
    /// # Panics
    /// When `ROOST_SEED` is not a number.
    pub fn from_environment() -> Self {
        let seed = match std::env::var("ROOST_SEED") {
            Ok(text) => text.parse().unwrap_or_else(|_| panic!("ROOST_SEED is no number: {text:?}")),
            Err(_) => rand::random(),
        };
        eprintln!("seed {seed} (again with ROOST_SEED={seed})");
        Self(seed)
    }

    /// A generator of its own for `part` of the test: parts that run at the same time do not disturb one another.
    pub fn generator(self, part: u64) -> StdRng {
        StdRng::seed_from_u64(self.0 ^ part.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}
