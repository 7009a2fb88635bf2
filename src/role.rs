//! `roost gateway|router|backend --config FILE`: one role as a process.

mod backend;
mod gateway;
mod router;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use roost_config::{Role, Settings};

pub(crate) use backend::Backend;

use crate::stop::Stop;

/// What is left of the grace for the sockets and files that a drain leaves: the runtime is not waited for longer.
const RUNTIME_GRACE: Duration = Duration::from_secs(1);

/// Reads the file, runs the role until it is asked to stop, and drains it.
pub(crate) fn run(role: Role, file: &Path) -> anyhow::Result<ExitCode> {
    let settings = match Settings::load(file, Some(role)) {
        Ok(settings) => settings,
        Err(problems) => {
            writeln!(std::io::stderr(), "{problems}")?;
            return Ok(ExitCode::FAILURE);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(serve(settings));
    runtime.shutdown_timeout(RUNTIME_GRACE);
    ended.map(|()| ExitCode::SUCCESS)
}

async fn serve(settings: Settings) -> anyhow::Result<()> {
    let mut stop = Stop::listen()?;
    match settings {
        Settings::Backend(settings) => {
            let grace = settings.shutdown_grace;
            let backend = Backend::start(settings).await?;
            tracing::info!(signal = stop.asked().await, grace_s = grace.as_secs(), "draining");
            stop.or_abandon(backend.drain(grace)).await;
        }
        Settings::Gateway(settings) => gateway::start(&settings)?,
        Settings::Router(settings) => router::start(&settings)?,
    }
    tracing::info!("ended in good order");
    Ok(())
}
