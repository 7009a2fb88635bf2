//! What all connections together hold of messages that are not whole yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One connection's share of a sum that has a bound. It gives its share back when it is dropped.
#[derive(Debug)]
pub(super) struct Assembling {
    total: Arc<AtomicU64>,
    total_max: u64,
    share: u64,
}

impl Assembling {
    pub(super) fn new(total_max: u64) -> Self {
        Self { total: Arc::new(AtomicU64::new(0)), total_max, share: 0 }
    }

    /// Another connection's share of the same sum.
    pub(super) fn another(&self) -> Self {
        Self { total: Arc::clone(&self.total), total_max: self.total_max, share: 0 }
    }

    /// Sets this share; false if the sum is above the bound and this share is to blame.
    pub(super) fn set(&mut self, share: u64) -> bool {
        let before = std::mem::replace(&mut self.share, share);
        let total = if share >= before {
            self.total.fetch_add(share - before, Ordering::Relaxed) + (share - before)
        } else {
            self.total.fetch_sub(before - share, Ordering::Relaxed) - (before - share)
        };
        share <= before || total <= self.total_max
    }
}

impl Drop for Assembling {
    fn drop(&mut self) {
        self.total.fetch_sub(self.share, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_passes_the_bound_is_refused_and_gives_back() {
        let root = Assembling::new(100);
        let (mut one, mut two) = (root.another(), root.another());
        assert!(one.set(60));
        assert!(!two.set(60));
        assert!(two.set(0));
        drop(one);
        assert!(two.set(100));
    }
}
