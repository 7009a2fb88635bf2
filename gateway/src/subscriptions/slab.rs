//! Numbered slots in pages: a number of four bytes instead of a pointer, and growth that never moves what is there.

use std::num::NonZeroU32;
use std::ops::{Index, IndexMut};

const PAGE_SLOTS: usize = 1_024;

/// The number of an occupied slot. `Option<Slot>` takes four bytes too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Slot(NonZeroU32);

impl Slot {
    /// The first slot that a slab gives out.
    pub(super) const FIRST: Self = Self(NonZeroU32::MIN);

    fn new(index: usize) -> Self {
        let number = u32::try_from(index + 1).ok().and_then(NonZeroU32::new);
        Self(number.expect("memory ends long before four billion slots"))
    }

    fn place(self) -> (usize, usize) {
        let index = self.0.get() as usize - 1;
        (index / PAGE_SLOTS, index % PAGE_SLOTS)
    }
}

/// Values by number. A page is allocated when the ones before it are full, and kept for reuse.
#[derive(Debug)]
pub(super) struct Slab<T> {
    pages: Vec<Vec<Option<T>>>,
    free: Vec<Slot>,
    len: usize,
}

impl<T> Slab<T> {
    pub(super) const fn new() -> Self {
        Self { pages: Vec::new(), free: Vec::new(), len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn insert(&mut self, value: T) -> Slot {
        self.len += 1;
        if let Some(slot) = self.free.pop() {
            let (page, at) = slot.place();
            self.pages[page][at] = Some(value);
            return slot;
        }
        if self.pages.last().is_none_or(|page| page.len() == PAGE_SLOTS) {
            self.pages.push(Vec::with_capacity(PAGE_SLOTS));
        }
        let full_pages = self.pages.len() - 1;
        let page = &mut self.pages[full_pages];
        page.push(Some(value));
        Slot::new(full_pages * PAGE_SLOTS + page.len() - 1)
    }

    pub(super) fn remove(&mut self, slot: Slot) -> T {
        let (page, at) = slot.place();
        let value = self.pages[page][at].take().expect("a slot is removed once, by whoever unlinked it");
        self.free.push(slot);
        self.len -= 1;
        value
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.pages.iter().flatten().flatten()
    }

    /// The bytes it holds allocated, without what its values own elsewhere.
    pub(super) fn allocated_bytes(&self) -> usize {
        let page_bytes = PAGE_SLOTS * size_of::<Option<T>>();
        self.pages.len() * page_bytes
            + self.pages.capacity() * size_of::<Vec<Option<T>>>()
            + self.free.capacity() * size_of::<Slot>()
    }
}

impl<T> Index<Slot> for Slab<T> {
    type Output = T;

    fn index(&self, slot: Slot) -> &T {
        let (page, at) = slot.place();
        self.pages[page][at].as_ref().expect("whoever holds a slot's number keeps it occupied")
    }
}

impl<T> IndexMut<Slot> for Slab<T> {
    fn index_mut(&mut self, slot: Slot) -> &mut T {
        let (page, at) = slot.place();
        self.pages[page][at].as_mut().expect("whoever holds a slot's number keeps it occupied")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_reused_and_pages_follow_one_another() {
        let mut slab = Slab::new();
        let slots: Vec<Slot> = (0..2_500).map(|value| slab.insert(value)).collect();
        assert_eq!(slots[0], Slot::FIRST);
        assert!(slots.iter().enumerate().all(|(value, &slot)| slab[slot] == value));
        assert_eq!(slab.remove(slots[1_500]), 1_500);
        assert_eq!(slab.len(), 2_499);
        assert_eq!(slab.insert(7), slots[1_500]);
        assert_eq!(slab.pages.len(), 3);
    }
}
