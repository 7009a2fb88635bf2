//! A private Prometheus, and its tool that checks files.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::api::Api;
use crate::environment::{required, temporary_directory};
use crate::ports::ReservedPort;
use crate::process::{Ended, Process};

/// A running Prometheus on a port of its own, with its data in a directory of its own.
#[derive(Debug)]
pub struct Prometheus {
    _process: Process,
    api: Api,
    _data: tempfile::TempDir,
    _port: ReservedPort,
}

impl Prometheus {
    /// Starts it with this configuration file's text, kept beside a copy of `rules`, and awaits that it is ready.
    ///
    /// # Panics
    /// When it does not become it.
    pub async fn start(config: &str, rules: &[PathBuf]) -> Self {
        let (data, port) = (temporary_directory("prometheus"), ReservedPort::any());
        let file = data.path().join("prometheus.yml");
        std::fs::write(&file, config).expect("a new directory takes a file");
        for rule in rules {
            let name = rule.file_name().expect("a rule file has a name");
            std::fs::copy(rule, data.path().join(name)).unwrap_or_else(|e| panic!("{}: {e}", rule.display()));
        }
        let mut command = Command::new(required("ROOST_TEST_PROMETHEUS"));
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", data.path().join("data").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{}", port.number()));
        let process = Process::start("prometheus", command);
        let api = Api::at(port.number());
        api.answers("/-/ready").await;
        Self { _process: process, api, _data: data, _port: port }
    }

    /// What an instant query gives: one value for each series.
    ///
    /// # Errors
    /// What Prometheus says against it.
    pub async fn query(&self, expression: &str) -> Result<Vec<Value>, String> {
        let answer = self.api.get(&format!("/api/v1/query?query={}", escaped(expression))).await?;
        match answer.body["data"]["result"].as_array() {
            Some(series) if answer.body["status"] == "success" => Ok(series.clone()),
            _ => Err(format!("{expression}: {}", answer.body)),
        }
    }
}

/// Runs `promtool` with these arguments in `directory`.
pub async fn promtool(directory: &Path, arguments: &[&str]) -> Ended {
    let mut command = Command::new(required("ROOST_TEST_PROMTOOL"));
    command.current_dir(directory).args(arguments);
    Process::run("promtool", command).await
}

fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte.is_ascii_alphanumeric() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}
