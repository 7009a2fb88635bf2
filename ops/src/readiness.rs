//! The list of what a role still waits for before it can serve.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Shared by the parts of a role: each names what it waits for, and takes it back. Ready is who waits for nothing.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    waits: Arc<Mutex<BTreeMap<&'static str, String>>>,
}

impl Readiness {
    /// `part` is not ready, for this reason. A later reason replaces an earlier one. Returns whether anything changed, so
    /// that a retry that fails alike is logged once.
    pub fn not_ready(&self, part: &'static str, reason: impl Into<String>) -> bool {
        let reason = reason.into();
        let mut waits = self.lock();
        if waits.get(part) == Some(&reason) {
            return false;
        }
        waits.insert(part, reason);
        true
    }

    /// `part` is ready. Returns whether it was not before.
    pub fn ready(&self, part: &'static str) -> bool {
        self.lock().remove(part).is_some()
    }

    /// What is still waited for, as `part: reason`; empty when ready.
    #[must_use]
    pub fn waits(&self) -> Vec<String> {
        self.lock().iter().map(|(part, reason)| format!("{part}: {reason}")).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, String>> {
        // The map is whole after any panic: every change is one call.
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_who_waits_for_nothing() {
        let readiness = Readiness::default();
        assert!(readiness.waits().is_empty());
        assert!(readiness.not_ready("amqp", "connection refused"));
        assert!(!readiness.not_ready("amqp", "connection refused"), "nothing new");
        assert!(readiness.clone().not_ready("journal", "disk full"));
        assert_eq!(readiness.waits(), ["amqp: connection refused", "journal: disk full"]);
        assert!(readiness.ready("amqp"));
        assert!(!readiness.ready("amqp"));
        assert_eq!(readiness.waits(), ["journal: disk full"]);
    }
}
