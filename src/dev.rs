//! `roost dev`: the whole mesh in one process, on loopback; with `--devices` a fleet and a microservice in it, and with
//! `--chaos` one process per role and faults.

mod chaos;
mod counts;
mod data;
mod demo;
mod endpoints;
mod live;
mod mesh;
mod microservice;
mod show;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::ensure;
use roost_config::TracingSettings;

use crate::cli::DevArguments;
use crate::stop::Stop;

pub(crate) use endpoints::Listener;

use data::Data;
use endpoints::Endpoints;
use live::LiveLine;
use mesh::{Mesh, Wishes};
use show::Show;

/// Sockets and files that a drain leaves are not waited for longer.
const RUNTIME_GRACE: Duration = Duration::from_secs(1);

/// What is said of a part that is gone.
const PART_ENDED: &str = "a part has ended by itself, which is a fault of Roost: its log says why";

/// Runs until it is asked to stop, and drains.
pub(crate) fn run(arguments: DevArguments) -> anyhow::Result<ExitCode> {
    let show = Show::of(&arguments.demo, arguments.amqp.is_none())?;
    if let Some(show) = show.as_ref().filter(|_| arguments.demo.plan) {
        write!(std::io::stdout(), "{}", show.faults())?;
        return Ok(ExitCode::SUCCESS);
    }
    let endpoints = Endpoints::new(arguments.port_offset, arguments.amqp);
    endpoints.check()?;
    let data = Data::prepare(arguments.data)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let tracing = arguments.otlp.map(|otlp| TracingSettings { otlp, sample: arguments.trace_sample });
    let wishes = Wishes { tracing, threads: arguments.threads };
    let ended = runtime.block_on(async {
        match &show {
            Some(show) => Box::pin(show.run(&endpoints, &data, &wishes)).await,
            None => serve(&endpoints, &data, &wishes).await.map(|()| ExitCode::SUCCESS),
        }
    });
    runtime.shutdown_timeout(RUNTIME_GRACE);
    // After the runtime, since nothing writes there any more; also when it ended in an error.
    match &ended {
        Ok(code) if *code != ExitCode::SUCCESS => {
            writeln!(
                std::io::stdout(),
                "What was on disk, and the logs, are kept in {}.",
                data.keep().display()
            )?;
        }
        Err(_) if show.is_some() => {
            writeln!(
                std::io::stderr(),
                "What was on disk, and the logs, are kept in {}.",
                data.keep().display()
            )?;
        }
        Ok(_) | Err(_) => data.remove()?,
    }
    ended
}

async fn serve(endpoints: &Endpoints, data: &Data, wishes: &Wishes) -> anyhow::Result<()> {
    let mut stop = Stop::listen()?;
    let mesh = tokio::select! {
        mesh = Mesh::start(endpoints, data, wishes) => mesh?,
        _ = stop.asked() => return Ok(()),
    };
    let mut out = std::io::stdout();
    writeln!(out, "{}", endpoints.describe(data, &own_name()))?;
    let mut live = LiveLine::new();
    let signal = loop {
        tokio::select! {
            () = live.due() => {
                ensure!(!mesh.has_failed(), PART_ENDED);
                live.show(&mut out, mesh.counts())?;
            }
            signal = stop.asked() => break signal,
        }
    };
    live.end(&mut out)?;
    writeln!(out, "{signal}: draining, for {} s at most; once more ends at once.", mesh::GRACE.as_secs())?;
    stop.or_abandon(mesh.drain()).await;
    writeln!(out, "Ended in good order.")?;
    Ok(())
}

/// How this program was called, so that the commands to try can be copied.
fn own_name() -> String {
    std::env::args().next().unwrap_or_else(|| "roost".to_owned())
}
