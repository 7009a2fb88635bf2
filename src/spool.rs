//! `roost gateway spool`.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::{StatusCode, Url};
use serde::Deserialize;

use crate::cli::OutputArgument;
use crate::span;

/// The gateway answers from memory.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks, prints the answer.
pub(crate) async fn run(admin: &Url, output: OutputArgument) -> anyhow::Result<ExitCode> {
    let url = admin.join("spool").context("this URL has no path to ask at")?;
    let client = reqwest::Client::builder().timeout(PATIENCE).build()?;
    let answer = client.get(url).send().await.with_context(|| format!("no gateway answers at {admin}"))?;
    let status = answer.status();
    let text = answer.text().await?;
    if status == StatusCode::NOT_FOUND {
        bail!("the gateway at {admin} has no spool: none of its uplink rules says `acknowledge: spooled`");
    }
    let spool: Spool = serde_json::from_str(&text)
        .with_context(|| format!("{admin} answered {status} with something else than a spool: {text}"))?;
    let mut out = std::io::stdout().lock();
    match output {
        OutputArgument::Json => writeln!(out, "{text}")?,
        OutputArgument::Text => write!(out, "{}", spool.describe())?,
    }
    Ok(if spool.state == "full" { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What the gateway says. Members that a later gateway adds are not ours to refuse.
#[derive(Debug, Deserialize)]
struct Spool {
    state: String,
    stuck: Option<String>,
    events: u64,
    bytes: u64,
    bytes_max: u64,
    oldest_age_ms: Option<u64>,
    full_in_ms: Option<u64>,
}

impl Spool {
    fn describe(&self) -> String {
        let Self { state, stuck, events, bytes, bytes_max, oldest_age_ms, full_in_ms } = self;
        let state = match state.as_str() {
            "open" => "takes events in",
            "bypassed" => "cannot be written; events wait for the backend's confirms instead",
            "full" => "FULL: publishers wait, and who connects is refused",
            other => other,
        };
        let mut text = format!("The spool {state}.\n");
        if let Some(stuck) = stuck {
            text += &format!("  disk      {stuck}\n");
        }
        let age = oldest_age_ms.map(|ms| format!(", the oldest {} old", shown(ms))).unwrap_or_default();
        text += &format!("  events    {events}{age}\n");
        text += &format!("  bytes     {} of {}\n", size(*bytes), size(*bytes_max));
        text += &match full_in_ms {
            Some(ms) => format!("  at the rate of the last minute this link survives {}\n", shown(*ms)),
            None => "  it does not grow\n".to_owned(),
        };
        text
    }
}

fn shown(ms: u64) -> String {
    span::show(Duration::from_millis(ms))
}

fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let power = (bytes.max(1).ilog2() / 10).min(UNITS.len() as u32 - 1);
    match power {
        0 => format!("{bytes} B"),
        power => format!("{:.1} {}", bytes as f64 / 1024_f64.powi(power as i32), UNITS[power as usize]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_growing_spool_says_how_long_it_lasts() {
        let text = r#"{"state": "open", "stuck": null, "events": 12, "bytes": 3250586, "bytes_max": 4294967296,
            "oldest_age_ms": 41000, "full_in_ms": 2460000, "later": 1}"#;
        let spool: Spool = serde_json::from_str(text).unwrap();
        let expected = "The spool takes events in.\n\
            \x20 events    12, the oldest 41 s old\n\
            \x20 bytes     3.1 MiB of 4.0 GiB\n\
            \x20 at the rate of the last minute this link survives 41 min 0 s\n";
        assert_eq!(spool.describe(), expected);
    }

    #[test]
    fn a_full_disk_is_named() {
        let text = r#"{"state": "full", "stuck": "No space left on device", "events": 0, "bytes": 1023, "bytes_max": 1024,
            "oldest_age_ms": null, "full_in_ms": null}"#;
        let text = serde_json::from_str::<Spool>(text).unwrap().describe();
        assert!(
            text.contains("FULL") && text.contains("No space left") && text.contains("1023 B of 1.0 KiB"),
            "{text}"
        );
    }
}
