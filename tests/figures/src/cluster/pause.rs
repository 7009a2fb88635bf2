//! For how long nothing was confirmed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use roost_harness::{Api, Metrics};
use tokio::task::JoinHandle;

/// As exact as a pause is.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Longer than a fleet waits for what is on its way.
const PATIENCE: Duration = Duration::from_secs(120);

/// Watches a gateway's count of confirmed events.
pub(super) struct Pause {
    grew: Arc<Mutex<Vec<Instant>>>,
    task: JoinHandle<()>,
}

impl Pause {
    pub(super) fn watch(gateway: Api) -> Self {
        let grew = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&grew);
        let task = tokio::spawn(async move {
            let mut before = 0.0;
            loop {
                let now = Metrics::of(&gateway).await.sum("roost_gateway_events_total", &[]);
                if now > before {
                    seen.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
                }
                before = now;
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
        Self { grew, task }
    }

    /// From here on pauses count.
    pub(super) fn begins(&self) {
        let mut grew = self.grew.lock().unwrap_or_else(PoisonError::into_inner);
        grew.clear();
        grew.push(Instant::now());
    }

    /// Awaits that it has grown after `healed`: the longest pause until then, and how long that took.
    pub(super) async fn ends(self, healed: Instant) -> anyhow::Result<(Duration, Duration)> {
        let resumed = tokio::time::timeout(PATIENCE, async {
            loop {
                let found = {
                    let grew = self.grew.lock().unwrap_or_else(PoisonError::into_inner);
                    grew.iter().find(|at| **at > healed).copied()
                };
                match found {
                    Some(at) => return at,
                    None => tokio::time::sleep(LOOK_EVERY).await,
                }
            }
        })
        .await
        .context("nothing is confirmed any more")?;
        self.task.abort();
        let grew = self.grew.lock().unwrap_or_else(PoisonError::into_inner);
        let longest = grew.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
        Ok((longest, resumed - healed))
    }
}
