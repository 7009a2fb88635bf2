//! `roost gateway|router|backend --config FILE`: one role as a process.

mod backend;
pub(crate) mod gateway;
pub(crate) mod router;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use roost_config::{Role, Settings};
use roost_gateway::shell::Gateway;
use roost_router::shell::Router;

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
        Settings::Gateway(settings) => {
            let gateway = Gateway::start(gateway::config(&settings)).await?;
            let signal = tokio::select! {
                signal = stop.asked() => signal,
                () = failed(|| gateway.has_failed()) => bail!("gateway {} has ended by itself: see its log above", settings.id),
            };
            let grace = settings.shutdown_grace;
            tracing::info!(signal, grace_s = grace.as_secs(), "draining");
            gateway::report(settings.id.as_str(), stop.or_abandon(gateway.drain(grace)).await);
        }
        Settings::Router(settings) => {
            let router = Router::start(router::config(&settings)).await?;
            let signal = tokio::select! {
                signal = stop.asked() => signal,
                () = failed(|| router.has_failed()) => bail!("the router of shard {} has ended by itself: see its log above", settings.shard),
            };
            let grace = settings.shutdown_grace;
            tracing::info!(signal, grace_s = grace.as_secs(), "draining");
            router::report(stop.or_abandon(router.drain(grace)).await);
        }
    }
    tracing::info!("ended in good order");
    Ok(())
}

/// How often a role looks whether its thread still runs.
const ALIVE_CHECK: Duration = Duration::from_secs(1);

/// Waits until a role has ended by itself, which is a fault of the program: a process that serves nobody must end, so that
/// its manager starts another.
async fn failed(has_failed: impl Fn() -> bool) {
    let mut ticks = tokio::time::interval(ALIVE_CHECK);
    while !has_failed() {
        ticks.tick().await;
    }
}
