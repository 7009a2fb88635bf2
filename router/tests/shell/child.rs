//! A test as a process of its own, which can be killed or put under limits: the test program runs one of its tests again,
//! which sees from the environment that it is the child.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

const DIRECTORY: &str = "ROOST_TEST_CHILD_DIRECTORY";

/// What a child prints before each line that is for its parent; the test program prints lines of its own.
const MARK: &str = "to-parent:";

/// The directory that the parent gave; `None` in the parent.
pub(crate) fn directory() -> Option<PathBuf> {
    std::env::var_os(DIRECTORY).map(PathBuf::from)
}

/// Tells the parent a line.
#[allow(clippy::print_stdout, reason = "it is the pipe to the parent")]
pub(crate) fn tell(line: impl std::fmt::Display) {
    println!("{MARK}{line}");
}

/// A running child; killed when dropped.
pub(crate) struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Running {
    /// Runs the test of that name, with its module, as a child. `limits` are `ulimit` commands of the shell.
    pub(crate) fn start(test: &str, directory: &Path, limits: &str) -> Self {
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(format!("{limits} exec \"$@\""))
            .arg("sh")
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(DIRECTORY, directory)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// The next line it tells; `None` when it has ended.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        while self.lines.read_line(&mut line).unwrap() > 0 {
            // Only whole lines count: the last one of a killed child may be cut.
            if let Some((_, told)) = line.strip_suffix('\n').and_then(|line| line.split_once(MARK)) {
                return Some(told.to_owned());
            }
            line.clear();
        }
        None
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL; returns when it is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
