//! What is to happen, in order.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::event::Event;
use crate::time::Micros;

/// Events by time; those of one moment in the order in which they were put down. Events are large and the heap moves its entries
/// about, so they lie beside it.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    entries: BinaryHeap<Entry>,
    next: u64,
    events: Vec<Option<Event>>,
    free: Vec<usize>,
}

#[derive(Debug)]
struct Entry {
    at: Micros,
    number: u64,
    place: usize,
}

impl Agenda {
    pub(crate) fn put(&mut self, at: Micros, event: Event) {
        let place = match self.free.pop() {
            Some(place) => {
                self.events[place] = Some(event);
                place
            }
            None => {
                self.events.push(Some(event));
                self.events.len() - 1
            }
        };
        self.entries.push(Entry { at, number: self.next, place });
        self.next += 1;
    }

    pub(crate) fn pop(&mut self) -> Option<(Micros, Event)> {
        let Entry { at, place, .. } = self.entries.pop()?;
        self.free.push(place);
        self.events[place].take().map(|event| (at, event))
    }
}

impl Ord for Entry {
    /// The earliest is the greatest: the heap gives that first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}
