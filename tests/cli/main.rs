//! The command line as a person meets it: what it prints, and how it ends.

#![allow(clippy::unwrap_used, reason = "a test that cannot run its program fails loudly")]

mod client;
mod config_check;
mod roles;
mod runbooks;
mod user;

use std::process::{Command, Output};

/// Runs `roost` with these arguments and nothing of this process's environment that changes it.
fn roost(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roost"));
    command
        .env_remove("ROOST_LOG")
        .env_remove("ROOST_LOG_FORMAT")
        .env_remove("ROOST_API")
        .args(arguments)
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn help_and_version_are_no_errors_and_nonsense_is() {
    for arguments in [&["--help"][..], &["--version"], &["send", "--help"]] {
        let output = roost(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(stdout(&output).contains("roost"), "{arguments:?}");
    }
    for arguments in [&[][..], &["fly"], &["send", "d1"], &["send", "D/d1", "--payload", "x"]] {
        let output = roost(arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(!stderr(&output).is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_log_filter_that_cannot_be_read_is_said() {
    let output = roost(&["--log", "a=b=c", "locate", "d1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("a=b=c"), "{}", stderr(&output));
}
