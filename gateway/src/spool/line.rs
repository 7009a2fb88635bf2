//! The line: events in the order in which they were stored, the newest of them in memory.

use std::collections::VecDeque;

use super::ranges::Ranges;
use super::record::Stored;

/// What is at its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    /// Nothing: everybody had their turn, or what has not is on its way to disk only.
    Empty,
    /// An event that never left memory.
    InMemory,
    /// One that was read back from disk.
    ReadBack,
    /// Some that have to be read.
    OnDisk {
        /// The first.
        from: u64,
        /// The last that it makes sense to read.
        to: u64,
    },
    /// They are being read.
    Reading,
}

/// Whose turn it is.
#[derive(Debug)]
pub(super) struct Line {
    /// The number at the head.
    next: u64,
    last: u64,
    /// Those in the line that have had their turn.
    ahead: Ranges,
    /// The newest, without gaps but for those that stepped ahead.
    recent: VecDeque<(u64, Stored)>,
    recent_bytes: usize,
    /// The number before the first of these.
    before_recent: u64,
    /// What was read from disk and has not had its turn.
    chunk: VecDeque<(u64, Stored)>,
    is_reading: bool,
    events_max: usize,
    bytes_max: usize,
}

impl Line {
    /// A line of the numbers from `next` to `last`, all on disk; those in `ahead` have had their turn.
    pub(super) fn new(next: u64, last: u64, ahead: Ranges, events_max: usize, bytes_max: usize) -> Self {
        Self {
            next,
            last,
            ahead,
            recent: VecDeque::new(),
            recent_bytes: 0,
            before_recent: last,
            chunk: VecDeque::new(),
            is_reading: false,
            events_max,
            bytes_max,
        }
    }

    /// Puts the next number at the end.
    pub(super) fn push(&mut self, number: u64, stored: Stored) {
        debug_assert_eq!(number, self.last + 1, "numbers come without gaps");
        self.last = number;
        if self.recent.is_empty() {
            self.before_recent = number - 1;
        }
        self.recent_bytes += stored.event.payload.len();
        self.recent.push_back((number, stored));
        while self.recent.len() > self.events_max || self.recent_bytes > self.bytes_max {
            let Some((oldest, stored)) = self.recent.pop_front() else { break };
            self.recent_bytes -= stored.event.payload.len();
            self.before_recent = oldest;
        }
    }

    /// This number has its turn at once, or never: it is the next one, or one that is in the line already.
    pub(super) fn step_ahead(&mut self, number: u64) {
        self.last = self.last.max(number);
        self.ahead.insert(number);
    }

    /// Whether somebody waits.
    pub(super) fn is_backlog(&self) -> bool {
        self.next <= self.last
    }

    /// What is at the head; of what is on disk only the records up to `durable` can be read.
    pub(super) fn head(&mut self, durable: u64) -> Head {
        self.skip();
        if self.next > self.last {
            return Head::Empty;
        }
        if self.next > self.before_recent {
            return Head::InMemory;
        }
        if self.is_reading {
            return Head::Reading;
        }
        let to = durable.min(self.before_recent);
        match self.chunk.front() {
            Some(_) => Head::ReadBack,
            None if self.next > to => Head::Empty,
            None => Head::OnDisk { from: self.next, to },
        }
    }

    /// Whether what is at the head was read back from disk.
    pub(super) fn is_read_back(&self) -> bool {
        self.next <= self.before_recent && self.chunk.front().is_some_and(|(number, _)| *number == self.next)
    }

    /// Records from the head on are being read.
    pub(super) fn reads(&mut self) {
        self.is_reading = true;
    }

    /// These were read, from the head on; none if they cannot be read now.
    pub(super) fn was_read(&mut self, stored: Vec<(u64, Stored)>) {
        self.is_reading = false;
        self.chunk.extend(stored);
    }

    /// Takes what is at the head, if it is in memory.
    pub(super) fn pop(&mut self) -> Option<(u64, Stored)> {
        let taken = match self.next > self.before_recent {
            true => {
                self.recent.pop_front().inspect(|(_, stored)| self.recent_bytes -= stored.event.payload.len())
            }
            false => self.chunk.pop_front(),
        };
        if let Some((number, _)) = &taken {
            debug_assert_eq!(*number, self.next, "the head is where it should be");
            self.next = number + 1;
        }
        taken
    }

    /// What is at the head, if it is in memory.
    pub(super) fn first(&self) -> Option<(u64, &Stored)> {
        let line = if self.next > self.before_recent { &self.recent } else { &self.chunk };
        line.front().map(|(number, stored)| (*number, stored))
    }

    /// Goes past those that have had their turn.
    fn skip(&mut self) {
        if let Some(end) = self.ahead.end_of(self.next) {
            self.ahead.remove_up_to(end);
            self.next = end + 1;
        }
        while self.chunk.front().is_some_and(|(number, _)| *number < self.next) {
            self.chunk.pop_front();
        }
        while self.recent.front().is_some_and(|(number, _)| *number < self.next) {
            if let Some((_, stored)) = self.recent.pop_front() {
                self.recent_bytes -= stored.event.payload.len();
            }
        }
    }
}
