//! Sets of serial numbers, kept as ranges: what came in order costs eight bytes in all.

use serde::{Deserialize, Serialize};

/// A set of serial numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NumberSet {
    /// First and last of each range: in order, apart by at least one number.
    ranges: Vec<(u32, u32)>,
}

impl NumberSet {
    /// Adds a number; `false` if it is there already.
    pub fn insert(&mut self, number: u32) -> bool {
        let after = self.ranges.partition_point(|(_, last)| *last < number);
        if self.ranges.get(after).is_some_and(|(first, _)| *first <= number) {
            return false;
        }
        let joins_next =
            self.ranges.get(after).is_some_and(|(first, _)| number.checked_add(1) == Some(*first));
        let joins_previous = after > 0 && self.ranges[after - 1].1.checked_add(1) == Some(number);
        match (joins_previous, joins_next) {
            (true, true) => {
                self.ranges[after - 1].1 = self.ranges[after].1;
                self.ranges.remove(after);
            }
            (true, false) => self.ranges[after - 1].1 = number,
            (false, true) => self.ranges[after].0 = number,
            (false, false) => self.ranges.insert(after, (number, number)),
        }
        true
    }

    /// Whether it is there.
    #[must_use]
    pub fn contains(&self, number: u32) -> bool {
        let at = self.ranges.partition_point(|(_, last)| *last < number);
        self.ranges.get(at).is_some_and(|(first, _)| *first <= number)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.ranges.iter().map(|(first, last)| u64::from(last - first) + 1).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The greatest.
    #[must_use]
    pub fn last(&self) -> Option<u32> {
        self.ranges.last().map(|(_, last)| *last)
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.ranges.iter().flat_map(|(first, last)| *first..=*last)
    }

    /// How many are here and not in `other`. Costs as much as there are ranges, not numbers.
    #[must_use]
    pub fn count_without(&self, other: &Self) -> u64 {
        let (mut shared, mut at) = (0, 0);
        for (first, last) in &self.ranges {
            while other.ranges.get(at).is_some_and(|(_, end)| end < first) {
                at += 1;
            }
            let overlapping = other.ranges[at..].iter().take_while(|(begin, _)| begin <= last);
            shared +=
                overlapping.map(|(begin, end)| u64::from(end.min(last) - begin.max(first)) + 1).sum::<u64>();
        }
        self.len() - shared
    }

    /// Those that are here and not in `other`, in order.
    pub fn without<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = u32> + 'a {
        self.iter().filter(|number| !other.contains(*number))
    }
}

impl FromIterator<u32> for NumberSet {
    fn from_iter<I: IntoIterator<Item = u32>>(numbers: I) -> Self {
        let mut set = Self::default();
        for number in numbers {
            set.insert(number);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_comes_in_order_is_one_range() {
        let set: NumberSet = (0..1_000).collect();
        assert_eq!(set.ranges, [(0, 999)]);
        let set: NumberSet = [u32::MAX, 0, u32::MAX - 1].into_iter().collect();
        assert_eq!(set.ranges, [(0, 0), (u32::MAX - 1, u32::MAX)]);
    }

    proptest! {
        #[test]
        fn it_is_the_set_that_the_standard_library_has(
            a in proptest::collection::vec(0_u32..60, 0..80), b in proptest::collection::vec(0_u32..60, 0..80),
        ) {
            let (mut set, mut naive) = (NumberSet::default(), BTreeSet::new());
            for number in &a {
                prop_assert_eq!(set.insert(*number), naive.insert(*number));
            }
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), naive.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!((set.len(), set.last()), (naive.len() as u64, naive.last().copied()));
            let (other, other_naive): (NumberSet, BTreeSet<u32>) = (b.iter().copied().collect(), b.into_iter().collect());
            let difference: Vec<u32> = naive.difference(&other_naive).copied().collect();
            prop_assert_eq!(set.count_without(&other), difference.len() as u64);
            prop_assert_eq!(set.without(&other).collect::<Vec<_>>(), difference);
        }
    }
}
