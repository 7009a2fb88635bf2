//! Finds slots by the hash of what is in them. It keeps only their numbers; the caller compares.

use hashbrown::HashTable;

use super::slab::Slot;

/// A table moves all it has when it grows. Of 64 tables one grows at a time, so that a million entries stall nobody.
const TABLES: usize = 64;
const TABLE_SHIFT: u32 = u32::BITS - TABLES.ilog2();

/// A set of slots, found by a hash of 32 bits.
#[derive(Debug)]
pub(super) struct SlotIndex {
    tables: [HashTable<Slot>; TABLES],
}

impl SlotIndex {
    pub(super) const fn new() -> Self {
        Self { tables: [const { HashTable::new() }; TABLES] }
    }

    pub(super) fn find(&self, hash: u32, is_it: impl Fn(Slot) -> bool) -> Option<Slot> {
        self.table(hash).find(spread(hash), |&slot| is_it(slot)).copied()
    }

    /// Adds a slot that is not in it; `hash_of` tells the hash of those that are, should the table have to grow.
    pub(super) fn insert(&mut self, hash: u32, slot: Slot, hash_of: impl Fn(Slot) -> u32) {
        self.table_mut(hash).insert_unique(spread(hash), slot, |&other| spread(hash_of(other)));
    }

    /// Puts a slot into the place of another with the same hash; both must be what they are said to be.
    pub(super) fn replace(&mut self, hash: u32, old: Slot, new: Slot) {
        if let Some(entry) = self.table_mut(hash).find_mut(spread(hash), |&slot| slot == old) {
            *entry = new;
        }
    }

    pub(super) fn remove(&mut self, hash: u32, slot: Slot) {
        // Not `entry`, which may make room, and so would need to know the hash of the others.
        if let Ok(entry) = self.table_mut(hash).find_entry(spread(hash), |&other| other == slot) {
            entry.remove();
        }
    }

    pub(super) fn allocated_bytes(&self) -> usize {
        self.tables.iter().map(HashTable::allocation_size).sum()
    }

    fn table(&self, hash: u32) -> &HashTable<Slot> {
        &self.tables[(hash >> TABLE_SHIFT) as usize]
    }

    fn table_mut(&mut self, hash: u32) -> &mut HashTable<Slot> {
        &mut self.tables[(hash >> TABLE_SHIFT) as usize]
    }
}

/// The table wants 64 bits and looks at the highest seven and the lowest ones. The highest of the 32 chose the table
/// already; multiplying fills the upper half again.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[cfg(test)]
mod tests {
    use super::super::slab::Slab;
    use super::*;

    #[test]
    fn what_is_removed_takes_nothing_else_along() {
        let mut slab = Slab::new();
        let mut index = SlotIndex::new();
        // All in one table, at every load on the way up and down.
        let hash_of = |value: u32| value.wrapping_mul(0x9E37_79B9) >> 8;
        let slots: Vec<Slot> = (0..1_000u32).map(|value| slab.insert(value)).collect();
        for &slot in &slots {
            index.insert(hash_of(slab[slot]), slot, |slot| hash_of(slab[slot]));
        }
        for (removed, &slot) in slots.iter().enumerate() {
            index.remove(hash_of(slab[slot]), slot);
            for (at, &other) in slots.iter().enumerate() {
                let found = index.find(hash_of(slab[other]), |found| found == other);
                assert_eq!(found.is_some(), at > removed);
            }
        }
    }
}
