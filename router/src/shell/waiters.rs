//! HTTP requests that wait for what becomes of their commands.

use std::collections::HashMap;

use roost_wire::Receipt;
use tokio::sync::watch;

use crate::RequestId;

/// What a request knows of its command.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) enum Progress {
    /// Nothing yet: it is not durable.
    #[default]
    Unknown,
    /// It was not taken, and nothing remembers it.
    NotTaken(NotTaken),
    /// The newest receipt.
    At(Box<Receipt>),
}

/// Why the router takes no command over HTTP at the moment. The same command may be sent again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum NotTaken {
    /// Another router serves the shard.
    Standby,
    /// The disk takes nothing.
    JournalStuck,
    /// It is shutting down.
    Draining,
    /// The bound on commands in custody is reached.
    Full,
}

impl NotTaken {
    /// All of them.
    pub(super) const ALL: [Self; 4] = [Self::Standby, Self::JournalStuck, Self::Draining, Self::Full];

    /// The reason as metrics write it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Standby => "standby",
            Self::JournalStuck => "journal_stuck",
            Self::Draining => "draining",
            Self::Full => "full",
        }
    }
}

impl Progress {
    pub(super) fn receipt(&self) -> Option<&Receipt> {
        match self {
            Self::At(receipt) => Some(receipt),
            Self::Unknown | Self::NotTaken(_) => None,
        }
    }
}

/// Where each waiting request looks. A request that looks slowly sees the newest state and misses older ones: it never
/// holds up the core. Bounded by the requests that HTTP lets wait.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    waiting: HashMap<RequestId, watch::Sender<Progress>>,
    next: u64,
}

impl Waiters {
    pub(super) fn add(&mut self, progress: watch::Sender<Progress>) -> RequestId {
        let request = RequestId(self.next);
        self.next += 1;
        self.waiting.insert(request, progress);
        request
    }

    /// Shows a request where its command is now. Of a request that repeats another every receipt is a duplicate, also those of
    /// changes that came after it.
    pub(super) fn answer(&mut self, request: RequestId, mut receipt: Receipt) {
        let Some(progress) = self.waiting.get(&request) else { return };
        receipt.duplicate |= progress.borrow().receipt().is_some_and(|before| before.duplicate);
        let is_final = receipt.state.is_final();
        let is_gone = progress.send(Progress::At(Box::new(receipt))).is_err();
        if is_final || is_gone {
            self.waiting.remove(&request);
        }
    }

    /// Tells a request that its command was not taken, and forgets it.
    pub(super) fn refuse(&mut self, request: RequestId, why: NotTaken) {
        if let Some(progress) = self.waiting.remove(&request) {
            progress.send_replace(Progress::NotTaken(why));
        }
    }

    /// Forgets requests that are over.
    pub(super) fn sweep(&mut self) {
        self.waiting.retain(|_, progress| !progress.is_closed());
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}
