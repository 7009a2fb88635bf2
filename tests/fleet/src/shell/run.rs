//! A whole run, from its options to its summary.

use std::future::Future;

use super::conductor::{Conductor, FleetError, Options, Progress};
use super::logins::Logins;
use super::socket::Connector;
use crate::Summary;

/// Runs a fleet to its end, or until `stop`, and says what it has shown. `progress` is told every second.
///
/// # Errors
/// [`FleetError`]: what could not be started. What goes wrong later is in the summary.
pub async fn run(
    options: &Options,
    stop: impl Future<Output = ()>,
    progress: impl FnMut(&Progress),
) -> Result<Summary, FleetError> {
    options.plan.check()?;
    Connector::new(&options.plan.transport).map_err(FleetError::Transport)?;
    Logins::new(&options.credentials, &options.plan, options.plan.devices - 1)
        .map_err(FleetError::Credentials)?;
    let names = Summary::figure_names(&options.plan, options.amqp.is_some());
    options.checks.iter().try_for_each(|check| check.is_among(&names))?;
    let mut summary = Conductor::start(options, progress).await?.conduct(stop).await;
    summary.check(&options.checks);
    Ok(summary)
}
