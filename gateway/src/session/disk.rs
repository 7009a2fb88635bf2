//! What is known of a session's copy on disk, if there is a store.

use std::time::Duration;

use roost_wire::{BootTime, TopicFilter};

use super::Session;
use crate::share::Filter;
use crate::subscriptions::Subscription;

/// The copy of one session.
#[derive(Debug, Default)]
pub(crate) struct DiskCopy {
    /// Whether there is one, or one is on its way.
    pub(crate) is_there: bool,
    /// Whether the session may have changed since the copy was made.
    pub(crate) is_touched: bool,
    /// It was read from a disk that an earlier run of the machine has written, and its device has not come since: nobody can say when it was
    /// accepted.
    pub(crate) is_of_earlier_boot: bool,
    /// What the copy says of the session itself.
    pub(crate) head: Option<DiskHead>,
    /// Subscriptions that were made, or without one ended, since the copy was made. Asked for after each input, which bounds them.
    filters: Vec<(Filter, Option<Subscription>)>,
    /// The subscriptions of which the copy says that retained messages are owed for them.
    pub(crate) owed: Vec<TopicFilter>,
}

/// What is written of a session itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DiskHead {
    pub(crate) expiry: Duration,
    pub(crate) expires_at: Option<BootTime>,
    pub(crate) accepted_at: BootTime,
}

impl DiskCopy {
    /// A subscription was made, or replaced, or has ended.
    pub(crate) fn note_filter(&mut self, filter: &Filter, subscription: Option<Subscription>) {
        if self.is_there {
            self.filters.push((filter.clone(), subscription));
        }
    }

    pub(crate) fn take_filters(&mut self) -> Vec<(Filter, Option<Subscription>)> {
        std::mem::take(&mut self.filters)
    }
}

impl Session {
    /// Whether it is there again after its gateway has died: if it outlives its connection, and its client may count on it.
    pub(crate) fn outlives_its_process(&self) -> bool {
        !self.expiry.is_zero() && !self.is_untold && !self.is_doubted
    }

    /// What is written of it itself.
    pub(crate) fn disk_head(&self) -> DiskHead {
        DiskHead { expiry: self.expiry, expires_at: self.expires_at, accepted_at: self.accepted_at }
    }
}
