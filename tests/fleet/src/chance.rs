//! Chance as a value: numbers drawn from the run's seed, the same on every machine and in every worker.

/// A number drawn for one purpose of one device: equal arguments, equal number (splitmix64).
#[must_use]
pub(crate) fn draw(seed: u64, device: u32, purpose: u64) -> u64 {
    let mut z = seed
        .wrapping_add(u64::from(device).wrapping_mul(0x9E37_79B9_7F4A_7C15))
        .wrapping_add(purpose.wrapping_mul(0xD1B5_4A32_D192_ED03));
    for _ in 0..2 {
        z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
    }
    z
}

/// The same as a share, 0 up to but not including 1.
#[must_use]
pub(crate) fn share(seed: u64, device: u32, purpose: u64) -> f64 {
    // The 53 bits that a double holds exactly.
    (draw(seed, device, purpose) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_spread_evenly_and_repeat() {
        let drawn: Vec<f64> = (0..10_000).map(|device| share(7, device, 1)).collect();
        let mean = drawn.iter().sum::<f64>() / drawn.len() as f64;
        assert!((0.48..0.52).contains(&mean), "{mean}");
        assert!(drawn.iter().all(|share| (0.0..1.0).contains(share)));
        assert_eq!(draw(7, 3, 1), draw(7, 3, 1));
        assert_ne!(draw(7, 3, 1), draw(8, 3, 1));
        assert_ne!(draw(7, 3, 1), draw(7, 3, 2));
    }
}
