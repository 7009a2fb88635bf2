//! Ids for new traces and spans, without chance: they follow from a seed that the shell draws.

use super::{SpanId, TraceContext, TraceId};

/// Draws ids. Two with different seeds practically never draw the same.
#[derive(Debug, Clone)]
pub struct TraceIds {
    seed: [u64; 2],
    drawn: u64,
    sample: SampleRatio,
}

/// Which share of the traces that begin here is recorded. Every process decides the same of a trace, since its id decides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampleRatio {
    ratio: f64,
}

/// 2^64 divided by the golden ratio: steps that never repeat.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Of a trace id the last 56 bits are random by the recommendation (W3C Trace Context 2, 3.2.2.3); these decide.
const RANDOM_BITS: u32 = 56;

impl TraceIds {
    /// `seed` is random: 128 bits, fresh with each run.
    #[must_use]
    pub const fn new(seed: [u64; 2], sample: SampleRatio) -> Self {
        Self { seed, drawn: 0, sample }
    }

    /// The first span of a new trace.
    pub fn root(&mut self) -> TraceContext {
        let trace = self.trace();
        TraceContext::new(trace, self.span(), self.sample.includes(trace))
    }

    /// A new trace, and whether it is recorded.
    pub fn trace(&mut self) -> TraceId {
        let (first, second) = (self.draw(0), self.draw(1));
        let bytes = u128::from(first) << 64 | u128::from(second);
        TraceId::new(bytes.to_be_bytes()).unwrap_or_else(|| self.trace())
    }

    /// Whether a new trace is recorded.
    #[must_use]
    pub fn samples(&self, trace: TraceId) -> bool {
        self.sample.includes(trace)
    }

    /// A new span.
    pub fn span(&mut self) -> SpanId {
        SpanId::new(self.draw(0).to_be_bytes()).unwrap_or_else(|| self.span())
    }

    fn draw(&mut self, which: usize) -> u64 {
        self.drawn += 1;
        scramble(self.seed[which].wrapping_add(self.drawn.wrapping_mul(GOLDEN)))
    }
}

impl SpanId {
    /// The span that always follows from these numbers, so that a process finds it again that has forgotten it.
    #[must_use]
    pub fn derived(trace: TraceId, numbers: [u64; 2]) -> Self {
        let trace = u128::from_be_bytes(trace.bytes());
        let parts = [(trace >> 64) as u64, trace as u64, numbers[0], numbers[1]];
        let mixed = parts.into_iter().fold(0, |sum: u64, part| scramble(sum ^ part).wrapping_add(GOLDEN));
        // One in 2^64 is zero, which names nothing.
        Self::new(mixed.to_be_bytes()).unwrap_or(Self([1; 8]))
    }
}

impl SampleRatio {
    /// None at all.
    pub const NONE: Self = Self { ratio: 0.0 };
    /// Each.
    pub const ALL: Self = Self { ratio: 1.0 };

    /// `None` unless it is from 0 to 1.
    #[must_use]
    pub fn new(ratio: f64) -> Option<Self> {
        (0.0..=1.0).contains(&ratio).then_some(Self { ratio })
    }

    /// The share, from 0 to 1.
    #[must_use]
    pub const fn value(self) -> f64 {
        self.ratio
    }

    /// Whether it includes this trace.
    #[must_use]
    pub fn includes(self, trace: TraceId) -> bool {
        let random = u128::from_be_bytes(trace.bytes()) as u64 & ((1 << RANDOM_BITS) - 1);
        (random as f64) < self.ratio * (1_u64 << RANDOM_BITS) as f64
    }
}

/// SplitMix64's finish: one draw for each input, none related to the next.
fn scramble(x: u64) -> u64 {
    let x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ x >> 31
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn ratio(ratio: f64) -> SampleRatio {
        SampleRatio::new(ratio).unwrap()
    }

    #[test]
    fn ids_follow_from_the_seed_and_do_not_repeat() {
        let contexts = |seed| {
            let mut ids = TraceIds::new(seed, SampleRatio::ALL);
            (0..1_000).map(|_| ids.root()).collect::<Vec<_>>()
        };
        assert_eq!(contexts([1, 2]), contexts([1, 2]));
        let all: Vec<TraceContext> = [[1, 2], [1, 3], [2, 2]].into_iter().flat_map(contexts).collect();
        assert_eq!(all.iter().map(|context| context.trace).collect::<BTreeSet<_>>().len(), all.len());
    }

    #[test]
    fn the_share_that_is_recorded_is_the_one_asked_for() {
        for (share, expected) in [(0.0, 0..=0), (0.25, 2_300..=2_700), (1.0, 10_000..=10_000)] {
            let mut ids = TraceIds::new([5, 6], ratio(share));
            let sampled = (0..10_000).filter(|_| ids.root().is_sampled()).count();
            assert!(expected.contains(&sampled), "{share}: {sampled}");
        }
        for wrong in [-0.1, 1.1, f64::NAN] {
            assert_eq!(SampleRatio::new(wrong), None);
        }
    }

    #[test]
    fn a_higher_ratio_includes_what_a_lower_one_does() {
        let mut ids = TraceIds::new([9, 9], SampleRatio::NONE);
        let traces: Vec<TraceId> = (0..1_000).map(|_| ids.trace()).collect();
        assert!(traces.iter().all(|trace| !ratio(0.1).includes(*trace) || ratio(0.2).includes(*trace)));
    }

    #[test]
    fn a_derived_span_is_found_again_and_differs_by_its_numbers() {
        let trace = TraceId::new([3; 16]).unwrap();
        let span = |numbers| SpanId::derived(trace, numbers);
        assert_eq!(span([1, 2]), span([1, 2]));
        assert_eq!(BTreeSet::from([span([1, 2]), span([2, 1]), span([1, 3]), span([0, 0])]).len(), 4);
    }
}
