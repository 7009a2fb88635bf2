//! Logs: text or JSON on stderr, filtered as `--log` or `ROOST_LOG` say.

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use crate::cli::LogFormat;

// Of lapin nothing: what it calls an error is a link that is made again, and the link itself says so, with the reason.

/// What a command that answers a person logs by itself.
pub(crate) const QUIET: &str = "warn,lapin=off";

/// What a process that serves logs by itself.
pub(crate) const SERVING: &str = "info,lapin=off";

/// Starts logging. Called once.
pub(crate) fn start(filter: Option<&str>, format: LogFormat, default: &str) -> anyhow::Result<()> {
    let text = filter.filter(|text| !text.is_empty()).unwrap_or(default);
    let filter = EnvFilter::builder().parse(text).with_context(|| format!("--log or ROOST_LOG {text:?}"))?;
    let printer = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => printer.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => {
            printer.json().flatten_event(true).with_current_span(false).with_span_list(false).init()
        }
    }
    Ok(())
}
