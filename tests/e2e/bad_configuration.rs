//! A mistake of the operator is told before anything runs: where it is and what to change.

use std::net::{Ipv4Addr, TcpListener};

use roost_harness::{Ended, PortOffset, Process, roost};

async fn run(arguments: &[&str]) -> Ended {
    let mut command = roost();
    command.args(arguments);
    Process::run("roost", command).await
}

#[tokio::test]
async fn a_wrong_key_is_shown_with_file_line_and_column() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("gateway.yaml");
    std::fs::write(&file, "# the first gateway\nno_such_key: 1\n").expect("a new directory takes a file");
    let file = file.to_str().expect("temporary paths are text");
    for arguments in [&["config", "check", file][..], &["gateway", "--config", file]] {
        let ended = run(arguments).await;
        assert!(ended.status.code().is_some_and(|code| code != 0), "{arguments:?}: {ended:?}");
        assert!(
            ended.output.contains(&format!("{file}:2:1")),
            "{arguments:?}: file, line and column: {ended:?}"
        );
        assert!(ended.output.contains("no_such_key"), "{arguments:?}: {ended:?}");
    }
}

#[tokio::test]
async fn a_file_that_is_not_there_is_named() {
    let ended = run(&["router", "--config", "/nowhere/router.yaml"]).await;
    assert!(!ended.status.success() && ended.output.contains("/nowhere/router.yaml"), "{ended:?}");
}

#[tokio::test]
async fn the_shipped_files_are_right() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/config");
    let mut checked = 0;
    for entry in std::fs::read_dir(directory).expect("config/ is there") {
        let path = entry.expect("config/ can be read").path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let ended = run(&["config", "check", path.to_str().expect("repository paths are text")]).await;
            assert!(ended.status.success(), "{}: {ended:?}", path.display());
            checked += 1;
        }
    }
    assert!(checked >= 3, "a file for each role");
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let ports = PortOffset::reserve();
    let taken = ports.of(PortOffset::MQTT_US);
    let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, taken)).expect("a reserved port is free");
    let ended = run(&["dev", "--port-offset", &ports.offset().to_string()]).await;
    assert!(ended.status.code().is_some_and(|code| code != 0), "{ended:?}");
    assert!(ended.output.contains(&taken.to_string()) && ended.output.contains("in use"), "{ended:?}");
}
