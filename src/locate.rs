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
    decision: DecisionWords,
}

#[derive(Debug, Deserialize)]
struct Location {
    gateway: String,
    region: String,
    session: u64,
    age_ms: u64,
    answered_ago_ms: Option<u64>,
    sure: String,
}

#[derive(Debug, Deserialize)]
struct Mailbox {
    waiting: u64,
    waiting_bytes: u64,
    outstanding: u64,
    unanswered_ms: Option<u64>,
    epoch: Option<String>,
    held_by: Option<String>,
    blocked_by: Option<String>,
}

#[derive(Debug, Deserialize)]
struct DecisionWords {
    words: String,
}

fn describe(device: &Device, answer: &Answer, explain: bool) -> String {
    let mut lines = vec![headline(device, answer)];
    if explain {
        let mut say = |name: &str, value: String| lines.push(format!("  {name:<12}{value}"));
        if let Some(location) = &answer.location {
            say("sure", location.sure.clone());
            say("session", format!("{} at {}", location.session, location.gateway));
            if let Some(ms) = location.answered_ago_ms {
                say("heartbeat", format!("{} was last answered {} ago", location.gateway, shown(ms)));
            }
        }
        let Mailbox { waiting, waiting_bytes, outstanding, unanswered_ms, epoch, held_by, blocked_by } =
            &answer.mailbox;
        say("mailbox", format!("{waiting} waiting ({waiting_bytes} bytes), {outstanding} at a gateway"));
        if let (Some(epoch), Some(gateway)) = (epoch, held_by) {
            let unanswered = unanswered_ms.map(|ms| format!(", unanswered for {}", shown(ms)));
            say("hold", format!("epoch {epoch} at {gateway}{}", unanswered.unwrap_or_default()));
        }
        if let Some(blocked_by) = blocked_by {
            say("blocked", blocked_by.clone());
        }
        say("a send now", format!("would {}", answer.decision.words));
    }
    lines.join("\n") + "\n"
}

fn headline(device: &Device, answer: &Answer) -> String {
    let Some(location) = &answer.location else { return format!("{device}: not known to be at any gateway") };
    let state = match answer.online {
        Some(true) => "online at",
        Some(false) | None => "away, last at",
    };
    let Location { gateway, region, age_ms, .. } = location;
    format!("{device}: {state} {gateway} (region {region}), for {}", shown(*age_ms))
}

fn shown(ms: u64) -> String {
    span::show(Duration::from_millis(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_reads_as_lines() {
        let device = "d1".parse().unwrap();
        let text = r#"{"tenant": "main", "device": "d1", "online": true, "later": true,
            "location": {"gateway": "eu-1", "region": "eu", "incarnation": "00000000000000ab", "session": 7,
                "age_ms": 4200, "answered_ago_ms": 900, "lease_runs": true, "sure": "sure: its gateway's lease runs"},
            "mailbox": {"waiting": 2, "waiting_bytes": 40, "outstanding": 1, "unanswered_ms": 1500, "epoch": "3.17", "held_by": "eu-1",
                "hold_is_ending": false, "blocked_by": "as many commands as may be are at the gateway"},
            "decision": {"kind": "forward", "reason": "", "words": "forward to eu-1: the device is there", "gateways": ["eu-1"]}}"#;
        let answer: Answer = serde_json::from_str(text).unwrap();
        let expected = "main/d1: online at eu-1 (region eu), for 4.2 s\n\
            \x20 sure        sure: its gateway's lease runs\n\
            \x20 session     7 at eu-1\n\
            \x20 heartbeat   eu-1 was last answered 900 ms ago\n\
            \x20 mailbox     2 waiting (40 bytes), 1 at a gateway\n\
            \x20 hold        epoch 3.17 at eu-1, unanswered for 1.5 s\n\
            \x20 blocked     as many commands as may be are at the gateway\n\
            \x20 a send now  would forward to eu-1: the device is there\n";
        assert_eq!(describe(&device, &answer, true), expected);
        assert_eq!(describe(&device, &answer, false), "main/d1: online at eu-1 (region eu), for 4.2 s\n");
    }

    #[test]
    fn a_device_that_nobody_knows_is_said_to_be_so() {
        let text = r#"{"online": null, "location": null,
            "mailbox": {"waiting": 0, "waiting_bytes": 0, "outstanding": 0, "epoch": null, "held_by": null, "blocked_by": null},
            "decision": {"words": "ask eu-1, us-1: it is not known which gateway holds the device"}}"#;
        let answer: Answer = serde_json::from_str(text).unwrap();
        let expected = "main/d1: not known to be at any gateway\n\
            \x20 mailbox     0 waiting (0 bytes), 0 at a gateway\n\
            \x20 a send now  would ask eu-1, us-1: it is not known which gateway holds the device\n";
        assert_eq!(describe(&"d1".parse().unwrap(), &answer, true), expected);
    }
}
