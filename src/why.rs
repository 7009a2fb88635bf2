//! `roost why`.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;

use crate::api::Api;
use crate::cli::{OutputArgument, WhyArguments};
use crate::span;

/// Asks, prints the answer.
pub(crate) async fn run(arguments: WhyArguments) -> anyhow::Result<ExitCode> {
    let api = Api::new(arguments.api.api.clone())?;
    let text = api.why(&arguments.message_id, arguments.device.as_ref()).await?;
    let mut out = std::io::stdout().lock();
    match arguments.output {
        OutputArgument::Json => writeln!(out, "{text}")?,
        OutputArgument::Text => {
            let answer: Answer = serde_json::from_str(&text)
                .with_context(|| format!("the API answered with something else than steps: {text}"))?;
            write!(out, "{}", answer.commands.iter().map(describe).collect::<Vec<_>>().join("\n"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What the API says. Members that a later router adds are not ours to refuse.
#[derive(Debug, Deserialize)]
struct Answer {
    commands: Vec<Command>,
}

#[derive(Debug, Deserialize)]
struct Command {
    tenant: String,
    device: String,
    message_id: String,
    command_id: String,
    steps: Vec<Step>,
    left_out: u64,
}

#[derive(Debug, Deserialize)]
struct Step {
    at: u64,
    words: String,
    times: u32,
}

/// The steps of a long story that are always kept at its beginning: what is left out stands behind them.
const FIRST: usize = 8;

fn describe(command: &Command) -> String {
    let Command { tenant, device, message_id, command_id, steps, left_out } = command;
    let mut lines = vec![format!("{tenant}/{device} {message_id} (command {command_id})")];
    let begun = steps.first().map_or(0, |step| step.at);
    for (index, Step { at, words, times }) in steps.iter().enumerate() {
        if index == FIRST && *left_out > 0 {
            lines.push(format!("  {:>10}  {left_out} steps are not kept", "…"));
        }
        let after = format!("+{}", span::show(Duration::from_millis(at.saturating_sub(begun))));
        let again = if *times > 1 { format!(" ({times} times)") } else { String::new() };
        lines.push(format!("  {after:>10}  {words}{again}"));
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_read_as_a_story() {
        let text = r#"{"tenant": "main", "device": "d1", "message_id": "m-1", "command_id": "0000abcd-7", "left_out": 0, "later": 1,
            "steps": [{"at": 1000, "step": "taken", "words": "taken over HTTP", "times": 1},
                {"at": 1004, "step": "decided", "words": "decided: ask eu-1: it is not known", "times": 3},
                {"at": 2300, "step": "ended", "words": "ended: delivered", "times": 1}]}"#;
        let expected = "main/d1 m-1 (command 0000abcd-7)\n\
            \x20      +0 ms  taken over HTTP\n\
            \x20      +4 ms  decided: ask eu-1: it is not known (3 times)\n\
            \x20     +1.3 s  ended: delivered\n";
        assert_eq!(describe(&serde_json::from_str(text).unwrap()), expected);
    }

    #[test]
    fn a_gap_is_said() {
        let step = |at| Step { at, words: "came back".into(), times: 1 };
        let command = Command {
            tenant: "main".into(),
            device: "d1".into(),
            message_id: "m-1".into(),
            command_id: "0000abcd-7".into(),
            steps: (0..9).map(step).collect(),
            left_out: 70,
        };
        let lines: Vec<String> = describe(&command).lines().map(str::to_owned).collect();
        assert_eq!(lines[9].trim(), "…  70 steps are not kept");
    }
}
