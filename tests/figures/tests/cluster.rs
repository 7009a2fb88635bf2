//! A cluster of three RabbitMQ nodes loses one, loses touch with one and runs out of memory, and the mesh loses nothing: the short form
//! of `tests/long cluster`.

use std::process::Command;

#[test]
fn a_node_dies_and_memory_runs_out_and_nothing_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let page = directory.path().join("cluster.md");
    // Its networks, its disks and its processes are its own, and end with it.
    let alone = ["--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let output = Command::new("unshare")
        .args(alone)
        .args([env!("CARGO_BIN_EXE_roost-figures"), "cluster", "--short", "--page"])
        .arg(&page)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    // It fails if one event, command or receipt is lost, or commands come out of order.
    assert!(output.status.success(), "{}: {said}", output.status);
    let page = std::fs::read_to_string(&page).unwrap();
    let faults = [
        "`kill -9` of node 1, back after 5 s",
        "node 1 cut off from the others for 10 s",
        "memory alarm for 10 s",
    ];
    for fault in faults {
        let row = page.lines().find(|line| line.starts_with(&format!("| {fault} |")));
        let cells: Vec<_> = row.unwrap_or_else(|| panic!("{fault} is not in {page}")).split(" | ").collect();
        let [_, events, lost, commands, ..] = cells[..] else { panic!("{cells:?}") };
        assert!(lost.starts_with("0 / "), "{cells:?}");
        assert!(events != "0" && commands != "0", "{cells:?}");
    }
}
