//! A set of numbers that come nearly in order: as many entries as there are gaps.

use std::collections::BTreeMap;

/// Numbers, as ranges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ranges {
    /// Each range's last number, by its first. No two touch.
    by_first: BTreeMap<u64, u64>,
    count: u64,
}

impl Ranges {
    /// From ranges as [`Self::iter`] gave them.
    pub(super) fn from_pairs(pairs: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let mut ranges = Self::default();
        pairs.into_iter().for_each(|(first, last)| ranges.insert_range(first, last));
        ranges
    }

    pub(super) fn insert(&mut self, number: u64) {
        self.insert_range(number, number);
    }

    fn insert_range(&mut self, mut first: u64, mut last: u64) {
        while let Some((&before, &end)) = self.by_first.range(..=last.saturating_add(1)).next_back() {
            if end.saturating_add(1) < first {
                break;
            }
            self.by_first.remove(&before);
            self.count -= end - before + 1;
            (first, last) = (first.min(before), last.max(end));
        }
        self.by_first.insert(first, last);
        self.count += last - first + 1;
    }

    /// The last number of the range that this one is in.
    pub(super) fn end_of(&self, number: u64) -> Option<u64> {
        let (_, &last) = self.by_first.range(..=number).next_back()?;
        (number <= last).then_some(last)
    }

    /// Removes everything up to a number.
    pub(super) fn remove_up_to(&mut self, number: u64) {
        while let Some((&first, &last)) = self.by_first.first_key_value() {
            if first > number {
                break;
            }
            self.by_first.remove(&first);
            self.count -= last.min(number) - first + 1;
            if last > number {
                self.by_first.insert(number + 1, last);
            }
        }
    }

    /// How many numbers there are.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// First and last number of each range, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.by_first.iter().map(|(&first, &last)| (first, last))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_holds_what_a_set_holds(steps in prop::collection::vec((0_u8..6, 0_u64..60), 0..80)) {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for (kind, number) in steps {
                if kind == 0 {
                    ranges.remove_up_to(number);
                    set.retain(|kept| *kept > number);
                } else {
                    ranges.insert(number);
                    set.insert(number);
                }
                prop_assert_eq!(ranges.count(), set.len() as u64);
                let held: Vec<u64> = ranges.iter().flat_map(|(first, last)| first..=last).collect();
                prop_assert_eq!(held, set.iter().copied().collect::<Vec<_>>());
                let pairs: Vec<_> = ranges.iter().collect();
                prop_assert!(pairs.windows(2).all(|two| two[0].1 + 1 < two[1].0), "they touch: {:?}", pairs);
                let end = set.contains(&number).then(|| (number..).find(|n| !set.contains(n)).unwrap() - 1);
                prop_assert_eq!(ranges.end_of(number), end);
                prop_assert_eq!(Ranges::from_pairs(ranges.iter()), ranges.clone());
            }
        }
    }
}
