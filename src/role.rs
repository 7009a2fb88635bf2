//! `roost gateway|router|backend --config FILE`: one role as a process.

mod backend;
pub(crate) mod gateway;
pub(crate) mod router;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::ensure;
use roost_config::{Role, Settings, TracingSettings};
use roost_gateway::shell::Gateway;
use roost_ops::TracingConfig;
use roost_router::shell::Router;

pub(crate) use backend::Backend;

use crate::stop::Stop;

/// How often a role looks whether it still serves.
const ALIVE_CHECK: Duration = Duration::from_secs(1);

/// The exit status of a role whose parent is gone; nobody is there to read it.
const EXIT_ORPHAN: i32 = 1;

/// What is left of the grace for the sockets and files that a drain leaves: the runtime is not waited for longer.
const RUNTIME_GRACE: Duration = Duration::from_secs(1);

/// Reads the file, runs the role until it is asked to stop, and drains it.
pub(crate) fn run(role: Role, file: &Path, with_parent: bool) -> anyhow::Result<ExitCode> {
    if with_parent {
        std::thread::Builder::new().name("parent".to_owned()).spawn(end_with_parent)?;
    }
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

/// The section `tracing` as the roles take it.
fn collector(settings: &TracingSettings) -> TracingConfig {
    TracingConfig { otlp: settings.otlp.clone(), sample: settings.sample }
}

/// Ends this process when its input does. Whoever started it holds the other end, and lets go of it however it ends, also by
/// `kill -9`.
fn end_with_parent() {
    // An error is an end as well.
    let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
    std::process::exit(EXIT_ORPHAN)
}

async fn serve(settings: Settings) -> anyhow::Result<()> {
    let stop = Stop::listen()?;
    match settings {
        Settings::Backend(settings) => {
            let grace = settings.shutdown_grace;
            let backend = Backend::start(settings).await?;
            let stop = wait(stop, grace, || false).await?;
            stop.or_abandon(backend.drain(grace)).await;
        }
        Settings::Gateway(settings) => {
            let grace = settings.shutdown_grace;
            let gateway = Gateway::start(gateway::config(&settings)).await?;
            let stop = wait(stop, grace, || gateway.has_failed()).await?;
            gateway::report(settings.id.as_str(), stop.or_abandon(gateway.drain(grace)).await);
        }
        Settings::Router(settings) => {
            let grace = settings.shutdown_grace;
            let router = Router::start(router::config(&settings)).await?;
            let stop = wait(stop, grace, || router.has_failed()).await?;
            router::report(stop.or_abandon(router.drain(grace)).await);
        }
    }
    tracing::info!("ended in good order");
    Ok(())
}

/// Waits until a drain is asked for. A role that has ended by itself is an error: a process that serves nobody must end, so
/// that its manager starts another.
async fn wait(mut stop: Stop, grace: Duration, has_failed: impl Fn() -> bool) -> anyhow::Result<Stop> {
    let mut ticks = tokio::time::interval(ALIVE_CHECK);
    loop {
        tokio::select! {
            signal = stop.asked() => {
                tracing::info!(signal, grace_s = grace.as_secs(), "draining");
                return Ok(stop);
            }
            _ = ticks.tick() => {
                ensure!(!has_failed(), "the role has ended by itself, which is a fault of Roost: its log says why");
            }
        }
    }
}
