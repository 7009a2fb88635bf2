//! `roost user`: a file of users that nobody else may read, and in which no password stands.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::{stderr, stdout};

/// Runs `roost user …` with this on its standard input.
fn user(arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roost"));
    command.env_remove("ROOST_LOG").arg("user").args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It may have ended without reading.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn add(file: &Path, name: &str, password: &str) -> Output {
    user(&["add", "--scram", file.to_str().unwrap(), name], password)
}

fn names(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().map(|line| line.split(":SCRAM-SHA-256$").next().unwrap().to_owned()).collect()
}

#[test]
fn users_come_and_go_and_get_other_passwords() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users");
    for (name, password) in [("ann", "correct horse\n"), ("b:c d", "x"), ("u\u{308}", "p\r\n")] {
        let added = add(&file, name, password);
        assert_eq!(added.status.code(), Some(0), "{}", stderr(&added));
        assert!(stdout(&added).contains("is a user"), "{}", stdout(&added));
    }
    assert_eq!(names(&file), ["ann", "b:c d", "\u{FC}"], "SASLprep");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains("horse") && text.contains("$4096:"), "{text}");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    // What others may read they may not when it was changed, and a comment stays.
    std::fs::write(&file, format!("# ours\n{text}")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let path = file.to_str().unwrap();
    let changed = user(&["add", "--iterations", "20000", "--scram", path, "ann"], "another\n");
    assert_eq!(changed.status.code(), Some(0), "{}", stderr(&changed));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(names(&file), ["# ours", "ann", "b:c d", "\u{FC}"]);
    let lines = std::fs::read_to_string(&file).unwrap();
    assert!(lines.lines().nth(1).unwrap().starts_with("ann:SCRAM-SHA-256$20000:"), "{lines}");

    let removed = user(&["remove", "--scram", path, "ann"], "");
    assert_eq!(removed.status.code(), Some(0), "{}", stderr(&removed));
    assert_eq!(names(&file), ["# ours", "b:c d", "\u{FC}"]);
    let again = user(&["remove", "--scram", path, "ann"], "");
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("there is no user ann"), "{}", stderr(&again));
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing else is left: {left:?}");
}

#[test]
fn a_link_stays_one() {
    let folder = tempfile::tempdir().unwrap();
    let (file, link) = (folder.path().join("users"), folder.path().join("link"));
    std::fs::write(&file, "").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    assert_eq!(add(&link, "ann", "x").status.code(), Some(0));
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(names(&file), ["ann"]);
}

#[test]
fn two_who_add_users_at_once_lose_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users");
    let names_of: Vec<String> = (0..8).map(|n| format!("user-{n}")).collect();
    std::thread::scope(|scope| {
        for name in &names_of {
            scope.spawn(|| assert_eq!(add(&file, name, "x").status.code(), Some(0)));
        }
    });
    let mut found = names(&file);
    found.sort();
    assert_eq!(found, names_of);
}

#[test]
fn what_is_wrong_changes_nothing_and_is_said_without_the_password() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users");
    for (name, password, said) in [
        ("ann", "", "there is no password"),
        ("ann", "\n", "there is no password"),
        ("ann", "sec\u{7}ret\n", "SASLprep"),
        ("", "secret\n", "user name is empty"),
        ("#ann", "secret\n", "would be a comment"),
        ("a\nb", "secret\n", "SASLprep"),
    ] {
        let refused = add(&file, name, password);
        assert_eq!(refused.status.code(), Some(1), "{name:?}");
        let error = stderr(&refused);
        assert!(error.contains(said) && !error.contains("secret"), "{name:?}: {error}");
        assert!(!file.exists());
    }
    std::fs::write(&file, "# ours\nann:secret\n").unwrap();
    let refused = add(&file, "bob", "x");
    let error = stderr(&refused);
    assert!(error.contains("users: line 2: expected NAME:") && !error.contains("secret"), "{error}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "# ours\nann:secret\n");
    let nowhere = user(&["remove", "--scram", "/nowhere/users", "ann"], "");
    assert!(stderr(&nowhere).contains("/nowhere"), "{}", stderr(&nowhere));
}
