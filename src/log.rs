//! Logs: text on stderr, filtered as `--log` or `RUST_LOG` say.

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

/// What a command that answers a person logs by itself.
pub(crate) const QUIET: &str = "warn";

/// What a process that serves logs by itself. The AMQP library repeats at length what the link says in a line.
pub(crate) const SERVING: &str = "info,lapin=off";

/// Starts logging. Called once.
pub(crate) fn start(filter: Option<&str>, default: &str) -> anyhow::Result<()> {
    let text = filter.filter(|text| !text.is_empty()).unwrap_or(default);
    let filter = EnvFilter::builder().parse(text).with_context(|| format!("--log or RUST_LOG {text:?}"))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    Ok(())
}
