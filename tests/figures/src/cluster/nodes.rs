//! Three nodes of RabbitMQ that are one cluster.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use super::network::Network;

/// How many.
pub(super) const NODES: usize = 3;
/// What a node may use before it raises its alarm: as in `tests/harness/bin/rabbitmq`.
pub(super) const MEMORY_MIB: u32 = 1_500;

const PROGRAMS: &str = "/usr/lib/rabbitmq/bin";
/// Three of them start at once on few cores.
const STARTS_WITHIN: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What is wrong with a node.
#[derive(Debug)]
#[expect(dead_code, reason = "what is in it is for who reads the error")]
enum Trouble {
    /// It sees only so many nodes.
    Sees(usize),
    /// It does not answer.
    Silent(String),
}

/// A running cluster. It is stopped when it is dropped, or the namespaces go.
pub(super) struct Cluster {
    network: Network,
    directory: tempfile::TempDir,
    /// The scripts that watch the nodes.
    watchers: Vec<Option<Child>>,
    http: reqwest::Client,
}

impl Cluster {
    /// Starts all nodes and awaits that they are one cluster.
    pub(super) async fn start() -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("roost-cluster-").tempdir()?;
        let cookie: String = (0..24).map(|_| char::from(rand::random_range(b'A'..=b'Z'))).collect();
        for node in 0..NODES {
            let home = home(directory.path(), node);
            std::fs::create_dir_all(&home)?;
            let file = home.join(".erlang.cookie");
            std::fs::write(&file, &cookie)?;
            std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o400))?;
        }
        let network = Network::of(NODES)?;
        let mut cluster = Self { network, directory, watchers: Vec::new(), http: reqwest::Client::new() };
        for node in 0..NODES {
            let watcher = cluster.watch(node)?;
            cluster.watchers.push(Some(watcher));
        }
        cluster.is_whole().await?;
        Ok(cluster)
    }

    /// Where clients find it: every node.
    pub(super) fn uri(&self) -> String {
        let nodes: Vec<String> = (0..NODES).map(Network::client_address).collect();
        format!("amqp://guest:guest@{}/%2f", nodes.join(","))
    }

    pub(super) fn network(&self) -> &Network {
        &self.network
    }

    /// `kill -9`.
    pub(super) async fn kill(&mut self, node: usize) -> anyhow::Result<()> {
        let file = self.path(node).join("pid");
        let pid = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let pid = rustix::process::Pid::from_raw(pid.trim().parse()?).context("not the pid of a node")?;
        rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
        let mut watcher = self.watchers[node].take().context("the node does not run")?;
        // It ends when it sees that the node has.
        tokio::task::spawn_blocking(move || watcher.wait()).await??;
        Ok(())
    }

    /// Starts a node that was killed, and awaits that it is part of the cluster again.
    pub(super) async fn start_again(&mut self, node: usize) -> anyhow::Result<()> {
        self.launch(node)?;
        self.is_whole().await
    }

    fn launch(&mut self, node: usize) -> anyhow::Result<()> {
        std::fs::remove_file(self.path(node).join("env"))?;
        let watcher = self.watch(node)?;
        self.watchers[node] = Some(watcher);
        Ok(())
    }

    /// From now on the nodes may use so many MiB.
    pub(super) fn memory(&self, mib: u32) -> anyhow::Result<()> {
        for node in 0..NODES {
            self.ctl(node, &["set_vm_memory_high_watermark", "absolute", &format!("{mib}MB")])?;
        }
        Ok(())
    }

    /// Awaits that every node is part of it and says so.
    async fn is_whole(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + STARTS_WITHIN;
        while !self.troubles().await?.is_empty() {
            ensure!(Instant::now() < deadline, "the cluster is not whole: {:?}", self.troubles().await?);
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Awaits that two nodes serve together.
    pub(super) async fn has_majority(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + STARTS_WITHIN;
        loop {
            for node in 0..NODES {
                if self.running(node).await.is_ok_and(|running| running > NODES / 2) {
                    return Ok(());
                }
            }
            ensure!(Instant::now() < deadline, "no two nodes serve together after {STARTS_WITHIN:?}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Awaits that every node is part of it again. Those that are not by then are killed and started, and named.
    pub(super) async fn comes_back(&mut self, within: Duration) -> anyhow::Result<Vec<String>> {
        let deadline = Instant::now() + within;
        loop {
            let troubles = self.troubles().await?;
            if troubles.is_empty() {
                return Ok(Vec::new());
            }
            if Instant::now() > deadline {
                let silent = troubles.iter().filter(|(_, trouble)| matches!(trouble, Trouble::Silent(_)));
                let nodes: Vec<usize> = silent.map(|(node, _)| *node).collect();
                ensure!(!nodes.is_empty(), "the cluster is not whole: {troubles:?}");
                eprintln!("nodes {nodes:?}, counted from 0, are restarted: {troubles:?}");
                for &node in &nodes {
                    self.kill(node).await?;
                    self.launch(node)?;
                }
                self.is_whole().await?;
                return Ok(nodes.into_iter().map(|node| (node + 1).to_string()).collect());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Which nodes are not part of it, and why.
    async fn troubles(&mut self) -> anyhow::Result<Vec<(usize, Trouble)>> {
        let mut troubles = Vec::new();
        for node in 0..NODES {
            if let Some(status) = self.watchers[node].as_mut().map(Child::try_wait).transpose()?.flatten() {
                bail!("node {} has ended: {status}", node + 1);
            }
            match self.running(node).await {
                Ok(NODES) => {}
                Ok(running) => troubles.push((node, Trouble::Sees(running))),
                Err(error) => troubles.push((node, Trouble::Silent(format!("{error:#}")))),
            }
        }
        Ok(troubles)
    }

    /// What it is.
    pub(super) fn version(&self) -> anyhow::Result<String> {
        Ok(format!("RabbitMQ {}", self.ctl(0, &["version"])?.trim()))
    }

    /// How many messages each queue has.
    pub(super) async fn depths(&self) -> anyhow::Result<String> {
        let queues = self.ask(0, "queues").await?;
        let queues = queues.as_array().context("not a list of queues")?;
        let depth =
            |queue: &Value| format!("{} {}", queue["name"].as_str().unwrap_or("?"), queue["messages"]);
        Ok(queues.iter().map(depth).collect::<Vec<_>>().join(", "))
    }

    /// How many nodes run, as one of them says.
    async fn running(&self, node: usize) -> anyhow::Result<usize> {
        let answer = self.ask(node, "nodes").await?;
        let nodes = answer.as_array().context("not a list of nodes")?;
        let runs = |node: &&Value| {
            node["running"] == true && node["partitions"].as_array().is_none_or(Vec::is_empty)
        };
        Ok(nodes.iter().filter(runs).count())
    }

    /// Asks a node's management API.
    async fn ask(&self, node: usize, what: &str) -> anyhow::Result<Value> {
        let url = format!("http://{}:15672/api/{what}", Network::client_address(node));
        let request = self.http.get(url).basic_auth("guest", Some("guest")).timeout(Duration::from_secs(5));
        Ok(request.send().await?.error_for_status()?.json().await?)
    }

    fn watch(&self, node: usize) -> anyhow::Result<Child> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../harness/bin/rabbitmq").canonicalize()?;
        let mut command = self.network.command(node, "bash");
        command.arg(script).arg(self.path(node)).arg(Network::peer_address(node));
        command.args((0..NODES).map(Network::peer_address));
        command.stdin(Stdio::null()).spawn().context("a node")
    }

    fn ctl(&self, node: usize, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command: Command = self.network.command(node, &format!("{PROGRAMS}/rabbitmqctl"));
        command.args(["--longnames", "--node", &format!("rabbit@{}", Network::peer_address(node))]);
        command.args(arguments).env("HOME", home(self.directory.path(), node)).env("LC_ALL", "C.UTF-8");
        let output = command.output().context("rabbitmqctl")?;
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        ensure!(output.status.success(), "{command:?}: {}{}", said(&output.stdout), said(&output.stderr));
        Ok(said(&output.stdout))
    }

    fn path(&self, node: usize) -> PathBuf {
        self.directory.path().join(node.to_string())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for watcher in self.watchers.iter_mut().flatten() {
            let pid = rustix::process::Pid::from_child(watcher);
            // It takes its node with it; an error means that it has ended.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let _ = watcher.wait();
        }
    }
}

fn home(directory: &Path, node: usize) -> PathBuf {
    directory.join(node.to_string()).join("home")
}
