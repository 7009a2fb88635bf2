//! `roost top`.

mod exposition;
mod table;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use reqwest::{Client, Url};
use tokio::task::JoinSet;
use tokio::time::sleep;

pub(crate) use self::exposition::Exposition;
use self::table::{Look, tables};
use crate::cli::TopArguments;

/// How long a role may take to answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Clears the screen below the cursor's home.
const HOME: &str = "\x1b[H\x1b[J";

/// Looks, prints, and looks again until it is interrupted; with `--once` prints one table of two looks.
pub(crate) async fn run(arguments: TopArguments) -> anyhow::Result<ExitCode> {
    // A proxy from the environment would not find this machine's loopback.
    let client =
        Client::builder().no_proxy().timeout(TIMEOUT).build().context("preparing the HTTP client")?;
    let mut before = look(&client, &arguments.roles).await;
    let mut looked_at = Instant::now();
    loop {
        sleep(arguments.every).await;
        let now = look(&client, &arguments.roles).await;
        let seconds = looked_at.elapsed().as_secs_f64();
        looked_at = Instant::now();
        let looks: Vec<Look> = arguments
            .roles
            .iter()
            .zip(before.into_iter().zip(now))
            .map(|(url, (before, now))| Look { address: address(url), before: before.ok(), now })
            .collect();
        let answers = looks.iter().any(|look| look.now.is_ok());
        let mut out = std::io::stdout().lock();
        let home = if out.is_terminal() && !arguments.once { HOME } else { "" };
        write!(out, "{home}{}", tables(&looks, seconds))?;
        out.flush()?;
        if arguments.once {
            return Ok(if answers { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        before = looks.into_iter().map(|look| look.now).collect();
    }
}

/// What each role says, in their order.
async fn look(client: &Client, roles: &[Url]) -> Vec<Result<Exposition, String>> {
    let mut asked = JoinSet::new();
    for (place, role) in roles.iter().enumerate() {
        let (client, role) = (client.clone(), role.clone());
        asked.spawn(async move { (place, ask(&client, role).await) });
    }
    let mut answers = asked.join_all().await;
    answers.sort_unstable_by_key(|(place, _)| *place);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

async fn ask(client: &Client, mut role: Url) -> Result<Exposition, String> {
    role.set_path("/metrics");
    let words = |error: reqwest::Error| match () {
        () if error.is_connect() => "nothing listens there".to_owned(),
        () if error.is_timeout() => format!("not within {} s", TIMEOUT.as_secs()),
        () => error.to_string(),
    };
    let response = client.get(role).send().await.map_err(words)?;
    if !response.status().is_success() {
        return Err(format!("HTTP {}", response.status()));
    }
    Ok(Exposition::parse(&response.text().await.map_err(words)?))
}

fn address(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port_or_known_default().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}
