//! What was measured on: it belongs to every figure.

use std::process::Command;

/// Cores that a process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// One line: processor, cores, memory, kernel, and the versions of the peers.
pub(crate) fn describe() -> String {
    let model = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "an unknown processor".to_owned());
    let memory = field("/proc/meminfo", "MemTotal").and_then(|text| {
        let kib: u64 = text.split_whitespace().next()?.parse().ok()?;
        Some(format!("{} GiB", kib >> 20))
    });
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{} cores of {model}, {}, Linux {}; RabbitMQ {}, mosquitto {}; commit {}. Everything of a run shares those cores: the fleet, \
         the mesh, its peers.",
        cores(),
        memory.unwrap_or_else(|| "unknown memory".to_owned()),
        kernel.trim(),
        debian_version("rabbitmq-server"),
        debian_version("mosquitto"),
        commit(),
    )
}

/// What is measured.
pub(crate) fn commit() -> String {
    output("git", &["rev-parse", "--short", "HEAD"])
}

fn field(file: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn debian_version(package: &str) -> String {
    output("dpkg-query", &["-W", "-f", "${Version}", package])
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.ok().filter(|output| output.status.success());
    output.map_or_else(|| "?".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
