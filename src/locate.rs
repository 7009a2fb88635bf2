//! `roost locate`.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use roost_wire::Device;
use serde::Deserialize;

use crate::api::Api;
use crate::cli::{LocateArguments, OutputArgument};
use crate::span;

/// Asks, prints the answer.
pub(crate) async fn run(arguments: LocateArguments) -> anyhow::Result<ExitCode> {
    let api = Api::new(arguments.api.api.clone())?;
    let text = api.locate(&arguments.device).await?;
    let mut out = std::io::stdout().lock();
    match arguments.output {
        OutputArgument::Json => writeln!(out, "{text}")?,
        OutputArgument::Text => {
            let answer: Answer = serde_json::from_str(&text)
                .with_context(|| format!("the API answered with something else than a device: {text}"))?;
            write!(out, "{}", describe(&arguments.device, &answer, arguments.explain))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What the API says of a device. Members that a later router adds are not ours to refuse.
#[derive(Debug, Deserialize)]
struct Answer {
    online: Option<bool>,
    location: Option<Location>,
    mailbox: Mailbox,
    decision: Decision,
}

#[derive(Debug, Deserialize)]
struct Location {
    gateway: String,
    region: String,
    session: u64,
    age_ms: u64,
    sure: String,
}

#[derive(Debug, Deserialize)]
struct Mailbox {
    waiting: u64,
    waiting_bytes: u64,
    outstanding: u64,
    /// The hold that is open.
    epoch: Option<String>,
    held_by: Option<String>,
    blocked_by: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Decision {
    words: String,
}

fn describe(device: &Device, answer: &Answer, explain: bool) -> String {
    let mut lines = vec![headline(device, answer)];
    if explain {
        let mut say = |name: &str, value: String| lines.push(format!("  {name:<10}{value}"));
        let Mailbox { waiting, waiting_bytes, outstanding, epoch, held_by, blocked_by } = &answer.mailbox;
        if let Some(Location { gateway, session, sure, .. }) = &answer.location {
            say("session", format!("{session} at {gateway}"));
            say("sure", sure.clone());
        }
        match (epoch, held_by) {
            (Some(epoch), Some(gateway)) => say("hold", format!("epoch {epoch} at {gateway}")),
            _ => say("hold", "none open".to_owned()),
        }
        say(
            "mailbox",
            format!("{waiting} commands waiting ({waiting_bytes} bytes), {outstanding} at a gateway"),
        );
        if let Some(blocked_by) = blocked_by {
            say("blocked", blocked_by.clone());
        }
        say("send now", answer.decision.words.clone());
    }
    lines.join("\n") + "\n"
}

fn headline(device: &Device, answer: &Answer) -> String {
    let Some(location) = &answer.location else { return format!("{device}: not known to be at any gateway") };
    let state = if answer.online == Some(true) { "online at" } else { "away, last at" };
    let age = span::show(Duration::from_millis(location.age_ms));
    format!("{device}: {state} {} (region {}), {age} ago", location.gateway, location.region)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_reads_as_lines() {
        let device = "d1".parse().unwrap();
        let text = r#"{"tenant": "main", "device": "d1", "online": true, "later": 1,
            "location": {"gateway": "eu-1", "region": "eu", "session": 7, "age_ms": 4200, "sure": "sure: its lease runs"},
            "mailbox": {"waiting": 2, "waiting_bytes": 40, "outstanding": 1, "epoch": "3.17", "held_by": "eu-1",
                "hold_is_ending": false, "blocked_by": null},
            "decision": {"kind": "forward", "reason": "", "words": "forward to eu-1", "gateways": ["eu-1"]}}"#;
        let answer: Answer = serde_json::from_str(text).unwrap();
        let expected = "main/d1: online at eu-1 (region eu), 4.2 s ago\n\
            \x20 session   7 at eu-1\n\
            \x20 sure      sure: its lease runs\n\
            \x20 hold      epoch 3.17 at eu-1\n\
            \x20 mailbox   2 commands waiting (40 bytes), 1 at a gateway\n\
            \x20 send now  forward to eu-1\n";
        assert_eq!(describe(&device, &answer, true), expected);
        assert_eq!(describe(&device, &answer, false), "main/d1: online at eu-1 (region eu), 4.2 s ago\n");
    }

    #[test]
    fn a_device_that_nobody_knows_is_said_to_be_unknown() {
        let text = r#"{"tenant": "main", "device": "d1", "online": null, "location": null,
            "mailbox": {"waiting": 0, "waiting_bytes": 0, "outstanding": 0, "epoch": null, "held_by": null,
                "hold_is_ending": false, "blocked_by": null},
            "decision": {"kind": "ask", "reason": "unknown", "words": "ask every gateway", "gateways": []}}"#;
        let answer: Answer = serde_json::from_str(text).unwrap();
        let shown = describe(&"d1".parse().unwrap(), &answer, true);
        assert!(shown.starts_with("main/d1: not known to be at any gateway\n"), "{shown}");
        assert!(shown.contains("send now  ask every gateway"), "{shown}");
    }
}
