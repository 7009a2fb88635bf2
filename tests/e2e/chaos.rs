//! `roost dev --chaos`: every fault that a seed draws happens, no promise is broken, and nothing is left behind.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use roost_harness::{
    Backend, Ended, PATIENCE, PortOffset, Process, Vhost, eventually, on_both_backends, roost,
};

/// Seed 16 kills broker, router and a gateway within this time, cuts devices and moves them.
const SEED: &str = "16";
const LOAD: &str = "44s";
/// The load, what restarts add to it, and what is on its way at the end: a bound on a failing run, not a measure.
const CHAOS_PATIENCE: Duration = Duration::from_secs(300);

/// The processes that were started with a file of this folder.
fn roles_of(folder: &Path) -> Vec<u32> {
    let folder = folder.display().to_string();
    let processes = std::fs::read_dir("/proc").expect("this machine has /proc").flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_role = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        line.contains("--with-parent") && line.contains(&folder)
    };
    pids.filter(is_role).collect()
}

async fn gone(folder: &Path) {
    eventually("every role is gone", PATIENCE, async || match roles_of(folder) {
        left if left.is_empty() => Ok(()),
        left => Err(format!("{left:?}")),
    })
    .await;
}

fn chaos(ports: &PortOffset, data: &Path, arguments: &[&str]) -> Command {
    let mut command = roost();
    command
        .args(["dev", "--port-offset", &ports.offset().to_string(), "--data"])
        .arg(data)
        .args(["--chaos", SEED, "--devices", "40", "--rate", "1", "--command-rate", "10"])
        .args(arguments);
    command
}

async fn plan(more: &[&str]) -> Vec<String> {
    let mut command = roost();
    command.args(["dev", "--chaos", SEED, "--for", LOAD, "--plan"]).args(more);
    let Ended { status, output } = Process::run("roost-plan", command).await;
    assert!(status.success(), "{output}");
    output.lines().map(str::to_owned).collect()
}

async fn faults_break_no_promise(backend: Backend) {
    let (ports, data) = (PortOffset::reserve(), tempfile::tempdir().expect("a directory"));
    let vhost = match backend {
        Backend::Embedded => None,
        Backend::RabbitMq => Some(Vhost::create().await),
    };
    let uri = vhost.as_ref().map(Vhost::uri);
    let amqp: Vec<&str> = uri.iter().flat_map(|uri| ["--amqp", uri.as_str()]).collect();
    let plan = plan(&amqp).await;
    assert!(plan.len() >= 4, "{plan:?}");

    let command = chaos(&ports, data.path(), &[&amqp[..], &["--for", LOAD]].concat());
    let ended = Process::start("roost-chaos", command).ended(CHAOS_PATIENCE).await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.output);
    for fault in &plan {
        let (_, what) = fault.split_once(" s  ").expect("a time and what happens");
        assert!(ended.output.contains(what), "{what} did not happen: {}", ended.output);
    }
    for part in ["Verdict: every promise was kept.", "without an end 0, with two 0", "Seed 16; again: "] {
        assert!(ended.output.contains(part), "{part} is missing: {}", ended.output);
    }
    let delivered = ended.output.lines().find_map(|line| line.strip_prefix("receipts  delivered "));
    let delivered = delivered.and_then(|line| line.split(',').next()?.parse::<u32>().ok());
    assert!(delivered.is_some_and(|delivered| delivered > 100), "{}", ended.output);
    assert_eq!(roles_of(data.path()), Vec::<u32>::new());
}

on_both_backends!(faults_break_no_promise);

#[tokio::test]
async fn a_seed_is_a_schedule() {
    let one = plan(&[]).await;
    assert_eq!(one, plan(&[]).await);
    let kinds = ["the backend: kill -9", "the router: kill -9", "gateway us-1: kill -9"];
    for kind in kinds {
        assert!(one.iter().any(|line| line.contains(kind)), "{one:?}");
    }
}

/// Also when nobody can say goodbye.
#[tokio::test]
async fn roles_end_with_the_demo_however_it_ends() {
    type End = fn(&mut Process);
    let ends: [End; 2] = [Process::kill, |process| process.interrupt()];
    for end in ends {
        let (ports, data) = (PortOffset::reserve(), tempfile::tempdir().expect("a directory"));
        let mut process = Process::start("roost-chaos", chaos(&ports, data.path(), &[]));
        eventually("all roles run and devices are there", PATIENCE, async || {
            let roles = roles_of(data.path());
            let said = process.output();
            let is_up = roles.len() == 4 && said.contains("00:0");
            if is_up { Ok(()) } else { Err(format!("{roles:?} {said}")) }
        })
        .await;
        end(&mut process);
        gone(data.path()).await;
    }
}
