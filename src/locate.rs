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
    location: Option<Location>,
    /// The hold that is open, or was last.
    epoch: Option<String>,
    mailbox: Option<Mailbox>,
    send_now: Option<SendNow>,
}

#[derive(Debug, Deserialize)]
struct Location {
    gateway: String,
    region: String,
    session: u64,
    online: bool,
    age_ms: u64,
    /// Why the router is not sure, if it is not.
    doubt: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Mailbox {
    commands: u64,
    bytes: u64,
    outstanding: u64,
}

#[derive(Debug, Deserialize)]
struct SendNow {
    decision: String,
    why: String,
}

fn describe(device: &Device, answer: &Answer, explain: bool) -> String {
    let mut lines = vec![headline(device, answer.location.as_ref())];
    if explain {
        let mut say = |name: &str, value: String| lines.push(format!("  {name:<10}{value}"));
        if let Some(location) = &answer.location {
            let hold =
                answer.epoch.as_ref().map_or("no hold yet".to_owned(), |epoch| format!("hold epoch {epoch}"));
            say("session", format!("{} at {}, {hold}", location.session, location.gateway));
            say("sure", location.doubt.as_ref().map_or("yes".to_owned(), |doubt| format!("no: {doubt}")));
        }
        if let Some(mailbox) = &answer.mailbox {
            let Mailbox { commands, bytes, outstanding } = mailbox;
            say(
                "mailbox",
                format!("{commands} commands waiting ({bytes} bytes), {outstanding} at its gateway"),
            );
        }
        if let Some(SendNow { decision, why }) = &answer.send_now {
            say("send now", format!("{decision}: {why}"));
        }
    }
    lines.join("\n") + "\n"
}

fn headline(device: &Device, location: Option<&Location>) -> String {
    let Some(location) = location else { return format!("{device}: not known to be at any gateway") };
    let state = if location.online { "online at" } else { "away, last at" };
    let age = span::show(Duration::from_millis(location.age_ms));
    format!("{device}: {state} {} (region {}), {age} ago", location.gateway, location.region)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_reads_as_lines() {
        let device = "d1".parse().unwrap();
        let text = r#"{"location": {"gateway": "eu-1", "region": "eu", "session": 7, "online": true, "age_ms": 4200},
            "epoch": "3.17", "mailbox": {"commands": 2, "bytes": 40, "outstanding": 1}, "later": true,
            "send_now": {"decision": "forward to eu-1", "why": "it is online there"}}"#;
        let answer: Answer = serde_json::from_str(text).unwrap();
        let expected = "main/d1: online at eu-1 (region eu), 4.2 s ago\n\
            \x20 session   7 at eu-1, hold epoch 3.17\n\
            \x20 sure      yes\n\
            \x20 mailbox   2 commands waiting (40 bytes), 1 at its gateway\n\
            \x20 send now  forward to eu-1: it is online there\n";
        assert_eq!(describe(&device, &answer, true), expected);
        assert_eq!(describe(&device, &answer, false), "main/d1: online at eu-1 (region eu), 4.2 s ago\n");
        let answer: Answer = serde_json::from_str("{}").unwrap();
        assert_eq!(describe(&device, &answer, true), "main/d1: not known to be at any gateway\n");
    }
}
