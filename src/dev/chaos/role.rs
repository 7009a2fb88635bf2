//! One role of the mesh as a child process, to be killed and started again.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::schedule::RoleName;

/// How long a role may take to be ready.
const READY_PATIENCE: Duration = Duration::from_secs(60);
const READY_LOOK: Duration = Duration::from_millis(50);
/// How long a drain may take beyond the role's own grace.
const DRAIN_PATIENCE: Duration = Duration::from_secs(35);

/// A role with its file and its log. The process ends when this is dropped, and when the demo ends in whatever way: it notices
/// that its input has ended.
#[derive(Debug)]
pub(crate) struct Role {
    pub(crate) name: RoleName,
    config: PathBuf,
    log: PathBuf,
    /// Where it says whether it is ready.
    admin: SocketAddr,
    child: Option<Child>,
}

impl Role {
    /// Writes its file into `folder`. Nothing runs yet.
    pub(crate) fn new(folder: &Path, name: RoleName, admin: SocketAddr, yaml: &str) -> anyhow::Result<Self> {
        let stem = name.what().rsplit(' ').next().unwrap_or_default();
        let config = folder.join(format!("{stem}.yaml"));
        // The backend's password is in it.
        let mut file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&config)
            .with_context(|| config.display().to_string())?;
        file.write_all(yaml.as_bytes()).with_context(|| config.display().to_string())?;
        Ok(Self { name, config, log: folder.join(format!("{stem}.log")), admin, child: None })
    }

    /// Starts it and awaits that it is ready.
    pub(crate) async fn start(&mut self) -> anyhow::Result<()> {
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.with_context(|| self.log.display().to_string())?;
        let word = match self.name {
            RoleName::Backend => "backend",
            RoleName::Router => "router",
            RoleName::Gateway(_) => "gateway",
        };
        let mut command = Command::new(std::env::current_exe().context("finding this program")?);
        command
            .args([word, "--with-parent", "--config"])
            .arg(&self.config)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A Ctrl-C in the terminal is the demo's, which drains its roles in order.
            .process_group(0)
            .kill_on_drop(true);
        self.child = Some(command.spawn().with_context(|| format!("starting {}", self.name.what()))?);
        self.ready().await
    }

    /// `kill -9`, by its pid.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        self.check()?;
        if let Some(mut child) = self.child.take() {
            child.kill().await.with_context(|| format!("killing {}", self.name.what()))?;
        }
        Ok(())
    }

    /// Whether it still runs, where it should: a role that ended by itself is a fault of the program.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        match self.child.as_mut().map(Child::try_wait) {
            Some(Ok(Some(status))) => Err(self.ended(status)),
            Some(Ok(None) | Err(_)) | None => Ok(()),
        }
    }

    /// Asks it to drain, and awaits its end.
    pub(crate) async fn drain(&mut self) -> anyhow::Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        let pid = pid.ok_or_else(|| anyhow!("{} has ended by itself", self.name.what()))?;
        kill_process(pid, Signal::TERM).with_context(|| format!("telling {} to drain", self.name.what()))?;
        // Waiting would close it, and the role would take that for the end of its parent.
        let _input = child.stdin.take();
        match timeout(DRAIN_PATIENCE, child.wait()).await {
            Ok(status) => {
                let status = status?;
                ensure!(status.success(), self.ended(status));
                Ok(())
            }
            Err(_) => bail!("{} does not end, its log is {}", self.name.what(), self.log.display()),
        }
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        let url = format!("http://{}/readyz", self.admin);
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build()?;
        let until = Instant::now() + READY_PATIENCE;
        loop {
            self.check()?;
            let answer = client.get(&url).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            ensure!(
                Instant::now() < until,
                "{} is not ready after {} s, its log is {}",
                self.name.what(),
                READY_PATIENCE.as_secs(),
                self.log.display()
            );
            sleep(READY_LOOK).await;
        }
    }

    fn ended(&self, status: ExitStatus) -> anyhow::Error {
        anyhow!(
            "{} has ended by itself ({status}), which is a fault of Roost: {} says why",
            self.name.what(),
            self.log.display()
        )
    }
}
