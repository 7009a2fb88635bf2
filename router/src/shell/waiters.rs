//! HTTP requests that wait for what becomes of their commands.

use std::collections::HashMap;

use roost_wire::Receipt;
use tokio::sync::watch;

use crate::RequestId;

/// Where each waiting request looks. A request that looks slowly sees the newest state and misses older ones: it never
/// holds up the core.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    waiting: HashMap<RequestId, watch::Sender<Option<Receipt>>>,
    next: u64,
}

impl Waiters {
    pub(super) fn add(&mut self, answers: watch::Sender<Option<Receipt>>) -> RequestId {
        let request = RequestId(self.next);
        self.next += 1;
        self.waiting.insert(request, answers);
        request
    }

    pub(super) fn answer(&mut self, request: RequestId, receipt: Receipt) {
        let is_final = receipt.state.is_final();
        let gone = self.waiting.get(&request).is_some_and(|answers| answers.send(Some(receipt)).is_err());
        if is_final || gone {
            self.waiting.remove(&request);
        }
    }

    /// Forgets requests that are over.
    pub(super) fn sweep(&mut self) {
        self.waiting.retain(|_, answers| !answers.is_closed());
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}
