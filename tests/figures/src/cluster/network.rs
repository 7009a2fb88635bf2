//! Two networks between the nodes and whoever uses them: one on which nodes find each other, and one for their clients.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};

/// The two bridges, and the namespace of each node.
#[derive(Debug)]
pub(super) struct Network {
    nodes: Vec<Child>,
}

/// On which nodes find each other.
const PEERS: &str = "peers";
/// On which clients find nodes.
const CLIENTS: &str = "clients";

impl Network {
    /// The networks of so many nodes.
    pub(super) fn of(nodes: usize) -> anyhow::Result<Self> {
        let own = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net"));
        ensure!(
            std::process::id() == 1 && own("self")? == own("1")?,
            "start it with tests/long cluster: it needs namespaces of its own"
        );
        ip("link set lo up")?;
        for bridge in [PEERS, CLIENTS] {
            ip(&format!("link add {bridge} type bridge"))?;
            ip(&format!("link set {bridge} up"))?;
        }
        ip(&format!("address add {}/24 dev {CLIENTS}", address(CLIENTS, None)))?;
        let mut network = Self { nodes: Vec::new() };
        for node in 0..nodes {
            network.add(node)?;
        }
        Ok(network)
    }

    /// A command that runs in the namespace of a node.
    pub(super) fn command(&self, node: usize, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.nodes[node].id())).arg("--").arg(program);
        command
    }

    /// From now on the node and the other nodes do not hear each other; clients reach it as before.
    pub(super) fn cut_off(&self, node: usize) -> anyhow::Result<()> {
        // Its end stays up: packets are lost, and nobody is told.
        ip(&format!("link set {PEERS}{node} nomaster"))
    }

    /// From now on they do.
    pub(super) fn join(&self, node: usize) -> anyhow::Result<()> {
        ip(&format!("link set {PEERS}{node} master {PEERS}"))
    }

    /// Where the other nodes find it.
    pub(super) fn peer_address(node: usize) -> String {
        address(PEERS, Some(node))
    }

    /// Where clients do.
    pub(super) fn client_address(node: usize) -> String {
        address(CLIENTS, Some(node))
    }

    fn add(&mut self, node: usize) -> anyhow::Result<()> {
        // Somebody has to be in a namespace for it to be there.
        let holder =
            Command::new("unshare").args(["--net", "sleep", "infinity"]).stdin(Stdio::null()).spawn();
        let holder = holder.context("unshare")?;
        let pid = holder.id();
        self.nodes.push(holder);
        let ours = std::fs::read_link("/proc/self/ns/net")?;
        let theirs = format!("/proc/{pid}/ns/net");
        // It runs before it is in its own.
        while std::fs::read_link(&theirs)? == ours {
            std::thread::yield_now();
        }
        for bridge in [PEERS, CLIENTS] {
            ip(&format!("link add {bridge}{node} type veth peer name {bridge} netns {pid}"))?;
            ip(&format!("link set {bridge}{node} master {bridge} up"))?;
            let inside = |command: &str| {
                let mut enter = self.command(node, "ip");
                enter.args(command.split_whitespace());
                run(enter)
            };
            inside(&format!("address add {}/24 dev {bridge}", address(bridge, Some(node))))?;
            inside(&format!("link set {bridge} up"))?;
            inside("link set lo up")?;
        }
        Ok(())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for holder in &mut self.nodes {
            // An error means that it is gone.
            let _ = holder.kill();
            let _ = holder.wait();
        }
    }
}

/// A node's address on a bridge, or that of whoever is outside.
fn address(bridge: &str, node: Option<usize>) -> String {
    let network = if bridge == PEERS { 77 } else { 78 };
    format!("10.{network}.0.{}", node.map_or(1, |node| node + 11))
}

fn ip(command: &str) -> anyhow::Result<()> {
    let mut ip = Command::new("ip");
    ip.args(command.split_whitespace());
    run(ip)
}

fn run(mut command: Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
