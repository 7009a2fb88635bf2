//! Child processes: their output is kept, and they never outlive their owner.

use std::fs::File;
use std::future::ready;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::environment::temporary_directory;
use crate::eventually::{PATIENCE, eventually};

/// How much of the log of a process is shown when its test fails.
const SHOWN_BYTES: u64 = 16 * 1024;

/// A running child process. Dropping it kills it (`-9`, by pid) and waits for it; if the test is failing, the end
/// of its output is shown.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    _directory: tempfile::TempDir,
    reaped: bool,
}

/// How a process ended, and all it said.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// Standard output and error, as they came.
    pub output: String,
}

impl Process {
    /// Starts `command` with its output going to a file.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(name: &str, command: Command) -> Self {
        Self::spawn(name, command, Stdio::null(), None)
    }

    /// As [`Process::start`], but input and output are pipes, for [`Process::pipes`]. Only errors go to the file.
    pub(crate) fn start_piped(name: &str, command: Command) -> Self {
        Self::spawn(name, command, Stdio::piped(), Some(Stdio::piped()))
    }

    fn spawn(name: &str, mut command: Command, input: Stdio, output: Option<Stdio>) -> Self {
        let directory = temporary_directory(name);
        let log = directory.path().join("log");
        let file = File::create(&log).expect("a new directory takes a file");
        let copy = file.try_clone().expect("a file can be duplicated");
        command.stdin(input).stdout(output.unwrap_or_else(|| copy.into())).stderr(file);
        let child =
            command.spawn().unwrap_or_else(|error| panic!("cannot start {name} ({command:?}): {error}"));
        Self { name: name.to_owned(), child, log, _directory: directory, reaped: false }
    }

    /// Its input and output.
    pub(crate) fn pipes(&mut self) -> (std::process::ChildStdin, std::process::ChildStdout) {
        let pipes = self.child.stdin.take().zip(self.child.stdout.take());
        pipes.expect("started with pipes, and taken once")
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.reaped = true;
        self.child.wait().unwrap_or_else(|error| panic!("cannot wait for {}: {error}", self.name));
    }

    /// What Ctrl-C sends.
    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// What a service manager sends.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Runs `command` to its end.
    ///
    /// # Panics
    /// When it cannot be started, or does not end.
    pub async fn run(name: &str, command: Command) -> Ended {
        Self::start(name, command).ended(PATIENCE).await
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// When it has not within `within`.
    pub async fn ended(mut self, within: Duration) -> Ended {
        let name = self.name.clone();
        let status = eventually(&format!("{name} ends"), within, || {
            let status =
                self.child.try_wait().unwrap_or_else(|error| panic!("cannot wait for {name}: {error}"));
            ready(status.ok_or_else(|| "still running".to_owned()))
        })
        .await;
        self.reaped = true;
        Ended { status, output: self.output() }
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        let ended = self.child.try_wait().is_ok_and(|status| status.is_some());
        self.reaped |= ended;
        ended
    }

    /// What it has said so far.
    pub fn output(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Its pid, while it lives.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn signal(&self, signal: Signal) {
        if self.reaped {
            return; // the pid may be somebody else's by now
        }
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal)
            .unwrap_or_else(|error| panic!("cannot send {signal:?} to {}: {error}", self.name));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.reaped {
            // It may have ended meanwhile: then there is nothing to kill, and waiting returns at once.
            self.child.kill().ok();
            self.child.wait().ok();
        }
        if std::thread::panicking() {
            eprintln!("--- {} said last:\n{}\n--- end of {}", self.name, tail(&self.log), self.name);
        }
    }
}

fn tail(log: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(SHOWN_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_else(|error| format!("(its log cannot be read: {error})"))
}

/// A command that runs the `roost` binary of this build.
///
/// # Panics
/// When it has not been built.
pub fn roost() -> Command {
    // Cargo puts test programs into deps/, below the binaries.
    let own = std::env::current_exe().expect("a running program has a path");
    let beside = own.parent().expect("a program lies in a directory");
    let built = if beside.ends_with("deps") { beside.with_file_name("roost") } else { beside.join("roost") };
    assert!(built.is_file(), "{} is missing: build the workspace first (tests/run does)", built.display());
    let mut command = Command::new(built);
    command
        .env_remove("ROOST_API")
        .env_remove("ROOST_LOG")
        .env_remove("ROOST_LOG_FORMAT")
        .env("NO_COLOR", "1");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn keeps_what_a_process_says_and_how_it_ends() {
        let ended = Process::start("talker", shell("echo out; echo err >&2; exit 3")).ended(PATIENCE).await;
        assert_eq!((ended.status.code(), ended.output.as_str()), (Some(3), "out\nerr\n"));
    }

    #[tokio::test]
    async fn interrupts_and_terminates() {
        for (send, name) in [(Process::interrupt as fn(&Process), "INT"), (Process::terminate, "TERM")] {
            let script = format!("trap 'exit 7' {name}; echo ready; while :; do sleep 0.05; done");
            let process = Process::start("patient", shell(&script));
            eventually("the trap is set", PATIENCE, async || match process.output() {
                ready if ready == "ready\n" => Ok(()),
                other => Err(other),
            })
            .await;
            send(&process);
            assert_eq!(process.ended(PATIENCE).await.status.code(), Some(7), "{name}");
        }
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let process = Process::start("sleeper", shell("exec sleep 1000"));
        let entry = PathBuf::from(format!("/proc/{}", process.pid()));
        assert!(entry.exists());
        drop(process);
        assert!(!entry.exists());
    }
}
