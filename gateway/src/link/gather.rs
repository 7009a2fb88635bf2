//! Lists that every shard contributes to.

use crate::ShardIndex;

/// Waits for one list of each shard.
#[derive(Debug)]
pub(super) struct Gather<T> {
    lists: Vec<Option<Vec<T>>>,
}

impl<T> Gather<T> {
    pub(super) fn new(shards: u16) -> Self {
        Self { lists: (0..shards).map(|_| None).collect() }
    }

    /// Takes in a shard's list; only the first counts.
    pub(super) fn put(&mut self, shard: ShardIndex, list: Vec<T>) {
        if let Some(slot @ None) = self.lists.get_mut(usize::from(shard.0)) {
            *slot = Some(list);
        }
    }

    /// Whether the shard has contributed, so that what it says now belongs behind the list.
    pub(super) fn has(&self, shard: ShardIndex) -> bool {
        self.lists.get(usize::from(shard.0)).is_some_and(Option::is_some)
    }

    pub(super) fn is_complete(&self) -> bool {
        self.lists.iter().all(Option::is_some)
    }

    /// The whole list, cut into parts of at most `items_max`; at least one, which may be empty.
    pub(super) fn into_parts(self, items_max: usize) -> Vec<Part<T>> {
        let mut items = self.lists.into_iter().flatten().flatten().peekable();
        let mut parts = Vec::new();
        loop {
            let is_first = parts.is_empty();
            let list: Vec<T> = items.by_ref().take(items_max).collect();
            let is_last = items.peek().is_none();
            parts.push(Part { is_first, is_last, list });
            if is_last {
                return parts;
            }
        }
    }
}

/// A part of a complete list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part<T> {
    pub(super) is_first: bool,
    pub(super) is_last: bool,
    pub(super) list: Vec<T>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_complete_when_every_shard_has_spoken_and_comes_in_parts() {
        let mut gather = Gather::new(2);
        gather.put(ShardIndex(1), vec![4, 5]);
        gather.put(ShardIndex(1), vec![9]);
        assert!(gather.has(ShardIndex(1)) && !gather.has(ShardIndex(0)) && !gather.is_complete());
        gather.put(ShardIndex(0), vec![1, 2, 3]);
        assert!(gather.is_complete());
        let parts = gather.into_parts(2);
        assert_eq!(
            parts,
            [
                Part { is_first: true, is_last: false, list: vec![1, 2] },
                Part { is_first: false, is_last: false, list: vec![3, 4] },
                Part { is_first: false, is_last: true, list: vec![5] },
            ]
        );
        let mut empty = Gather::<u8>::new(1);
        empty.put(ShardIndex(0), Vec::new());
        assert_eq!(empty.into_parts(2), [Part { is_first: true, is_last: true, list: Vec::new() }]);
    }
}
