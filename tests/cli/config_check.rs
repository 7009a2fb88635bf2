//! `roost config check`.

use std::path::Path;

use super::{roost, stderr, stdout};

fn check(text: &str) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f.yaml");
    std::fs::write(&file, text).unwrap();
    let output = roost(&["config", "check", file.to_str().unwrap()]);
    let folder = format!("{}/", folder.path().display());
    (output.status.code(), stdout(&output).replace(&folder, ""), stderr(&output).replace(&folder, ""))
}

#[test]
fn the_examples_are_good() {
    for (role, said) in [
        ("gateway", "gateway eu-1 in region eu, MQTT on 127.0.0.1:1883"),
        ("router", "router of shard 0, HTTP on 127.0.0.1:8080"),
        ("backend", "backend, AMQP on 127.0.0.1:5672"),
    ] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("config/{role}.yaml"));
        let output = roost(&["config", "check", file.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(stdout(&output), format!("{}: good, {said}\n", file.display()));
    }
}

#[test]
fn a_wrong_key_is_found_with_file_line_and_column() {
    let (code, out, err) = check("role: gateway\nid: eu-1\nregion: eu\nmesh:\n  heartbeat: 3\n");
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert_eq!(err, "f.yaml:5:3: unknown key \"heartbeat\"; did you mean \"heartbeat_s\"?\n");
}

#[test]
fn everything_wrong_is_said_at_once() {
    let (code, _, err) = check("role: router\nhttp: 0.0.0.0:80\nlease_s: long\n");
    assert_eq!(code, Some(1));
    let expected = "f.yaml:1:1: data is missing; it has no default\n\
        f.yaml:2:7: http: 0.0.0.0:80 is not loopback; HTTP asks for no token yet, so only 127.0.0.1 and [::1] are allowed\n\
        f.yaml:3:10: lease_s: expected a whole number, found text\n";
    assert_eq!(err, expected);
}

#[test]
fn what_is_no_yaml_and_what_is_no_file_are_said_alike() {
    let (code, _, err) = check("role: [router\n");
    assert_eq!(code, Some(1));
    assert_eq!(err, "f.yaml:1:7: unclosed bracket '['\n");
    let output = roost(&["config", "check", "/nowhere/f.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).starts_with("/nowhere/f.yaml:1:1: cannot be read: "), "{}", stderr(&output));
}
