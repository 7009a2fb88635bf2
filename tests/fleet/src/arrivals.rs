//! What arrived of one device's messages one way: which, how often, in what order.

use serde::{Deserialize, Serialize};

use crate::NumberSet;

/// The messages that arrived.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrivals {
    /// Which.
    pub numbers: NumberSet,
    /// How many came that had come before.
    pub duplicates: u32,
    /// How many came for the first time after one with a greater number.
    pub reordered: u32,
}

impl Arrivals {
    /// Notes one that the broker delivered before, to anybody; `false` if it had come. Then it is the same copy, and no duplicate.
    pub fn note_again(&mut self, sequence: u32) -> bool {
        !self.numbers.contains(sequence) && self.note(sequence)
    }

    /// Notes one; `false` if it had come before.
    pub fn note(&mut self, sequence: u32) -> bool {
        let greatest = self.numbers.last();
        let is_new = self.numbers.insert(sequence);
        match is_new {
            true => self.reordered += u32::from(greatest.is_some_and(|greatest| greatest > sequence)),
            false => self.duplicates += 1,
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_and_late_ones_are_told_apart() {
        let mut arrivals = Arrivals::default();
        let new: Vec<bool> = [0, 1, 4, 2, 4, 2, 5].into_iter().map(|n| arrivals.note(n)).collect();
        assert_eq!(new, [true, true, true, true, false, false, true]);
        assert_eq!((arrivals.duplicates, arrivals.reordered, arrivals.numbers.len()), (2, 1, 5));
        assert!(!arrivals.note_again(4) && arrivals.note_again(9));
        assert_eq!((arrivals.duplicates, arrivals.numbers.len()), (2, 6));
    }
}
