//! Faults inside a running demo: kills and cuts, drawn from a seed.

mod role;
mod roles;
mod schedule;

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

pub(crate) use roles::{Roles, at_gateways};
pub(crate) use schedule::{Fault, FaultKind, schedule};

/// News that wait for their reader.
const NEWS_MAX: usize = 16;
/// Between faults it looks so often whether all roles still run.
const CHECK_EVERY: Duration = Duration::from_millis(500);

/// What happens.
#[derive(Debug)]
pub(crate) enum News {
    /// A fault begins.
    Begins(FaultKind),
    /// It is over, after so long.
    Over(FaultKind, Duration),
    /// No more will come.
    Done,
}

/// A task that inflicts faults.
pub(crate) struct Chaos {
    task: tokio::task::JoinHandle<anyhow::Result<Roles>>,
    news: mpsc::Receiver<News>,
    stop: watch::Sender<bool>,
}

impl Chaos {
    /// Inflicts the faults on the roles, counted from `begin`.
    pub(crate) fn start(roles: Roles, faults: Vec<Fault>, begin: Instant) -> Self {
        let (tell, news) = mpsc::channel(NEWS_MAX);
        let (stop, stopped) = watch::channel(false);
        Self { task: tokio::spawn(inflict(roles, faults, begin, tell, stopped)), news, stop }
    }

    /// The next of the news; `None` when it has failed, which [`Chaos::stop`] tells. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<News> {
        self.news.recv().await
    }

    /// No more faults; what is under way comes to its end. The roles, all of them ready.
    pub(crate) async fn stop(mut self) -> anyhow::Result<Roles> {
        self.stop.send_replace(true);
        // Nobody reads the news any more, and nobody waits for a reader.
        self.news.close();
        self.task.await?
    }
}

async fn inflict(
    mut roles: Roles,
    faults: Vec<Fault>,
    begin: Instant,
    tell: mpsc::Sender<News>,
    mut stopped: watch::Receiver<bool>,
) -> anyhow::Result<Roles> {
    for fault in faults {
        let at = begin + fault.at;
        while Instant::now() < at {
            roles.check()?;
            tokio::select! {
                () = tokio::time::sleep_until(at.min(Instant::now() + CHECK_EVERY)) => {}
                _ = stopped.wait_for(|stopped| *stopped) => return Ok(roles),
            }
        }
        if *stopped.borrow() {
            return Ok(roles);
        }
        // An error means that it is to end soon.
        let _ = tell.send(News::Begins(fault.kind.clone())).await;
        let since = Instant::now();
        roles.inflict(&fault.kind).await?;
        let _ = tell.send(News::Over(fault.kind, since.elapsed())).await;
    }
    let _ = tell.send(News::Done).await;
    loop {
        tokio::select! {
            () = tokio::time::sleep(CHECK_EVERY) => roles.check()?,
            // Also when nobody is there any more who could ask for it.
            _ = stopped.wait_for(|stopped| *stopped) => return Ok(roles),
        }
    }
}
