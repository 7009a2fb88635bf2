//! mosquitto, the peer that most people know.

use std::process::Command;

use anyhow::Context;
use roost_harness::{PATIENCE, Process, ReservedPort, eventually};

/// A private mosquitto with Debian's defaults, open to this machine only.
pub(crate) struct Mosquitto {
    port: ReservedPort,
    process: Process,
    _directory: tempfile::TempDir,
}

impl Mosquitto {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let program = std::env::var("ROOST_TEST_MOSQUITTO")
            .context("ROOST_TEST_MOSQUITTO is not set: start with tests/long")?;
        let directory = tempfile::tempdir()?;
        let (port, file) = (ReservedPort::any(), directory.path().join("mosquitto.conf"));
        // As root it would become another user, who may not have the descriptors.
        let text = format!("listener {} 127.0.0.1\nallow_anonymous true\nuser root\n", port.number());
        std::fs::write(&file, text)?;
        let mut command = Command::new(program);
        command.arg("-c").arg(&file);
        let process = Process::start("mosquitto", command);
        eventually("mosquitto listens", PATIENCE, async || {
            let connected = tokio::net::TcpStream::connect(("127.0.0.1", port.number())).await;
            connected.map(drop).map_err(|error| error.to_string())
        })
        .await;
        Ok(Self { port, process, _directory: directory })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.number()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }
}
