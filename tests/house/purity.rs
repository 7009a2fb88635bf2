//! Decisions are made by plain state machines: outside `shell/` nothing touches a socket, clock, thread, task or chance.

use super::{Source, source, sources};

/// What a pure core may not name, and what it does instead.
const IMPURE: [(&str, &str); 14] = [
    ("tokio", "tasks and sockets live in shell/"),
    ("lapin", "the link lives in backend/src/shell/"),
    ("axum", "HTTP lives in shell/"),
    ("std::net::Tcp", "sockets live in shell/"),
    ("std::net::Udp", "sockets live in shell/"),
    ("std::fs", "files live in shell/"),
    ("std::thread", "threads live in shell/"),
    ("std::process", "processes live in shell/"),
    ("std::env", "the environment belongs to config and the command line"),
    ("Instant", "time is a value: roost_wire::Now"),
    ("SystemTime", "time is a value: roost_wire::Now"),
    ("rand::", "chance is a value: the shell draws it"),
    ("std::sync::Mutex", "a core has one owner"),
    ("RandomState::new", "chance is a value: the shell draws it"),
];

fn violations(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in source.production_lines() {
        for (name, instead) in IMPURE {
            if names(line, name) {
                found.push(format!("{}:{number}: {name}: {instead}: {line}", source.path.display()));
            }
        }
    }
    found
}

/// Whether the line names it as a whole word, so that `Instantiate` is not `Instant`.
fn names(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let open = name.ends_with(':') || name.ends_with("Tcp") || name.ends_with("Udp");
        !line[..at].ends_with(word) && (open || !line[at + name.len()..].starts_with(word))
    })
}

#[test]
fn the_cores_are_pure() {
    // A simulation that replays and a fleet that is judged have nothing of these either; a command line has a clock and a file.
    let rooms =
        ["wire/src", "gateway/src", "backend/src", "router/src", "tests/simulation/src", "tests/fleet/src"];
    let sources = sources(&rooms);
    let cores = sources.iter().filter(|source| {
        !source.is_shell() && !source.is_test() && !source.path.ends_with("simulation/src/main.rs")
    });
    let found: Vec<String> = cores.flat_map(violations).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_planted_impurity_is_found() {
    let planted = "use std::time::Instant;\n// tokio in a comment is fine\nlet r = tokio::spawn(f);\n#[cfg(test)]\nuse rand::x;";
    let found = violations(&source("gateway/src/session.rs", planted));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(!source("tests/fleet/src/plan.rs", "").is_test() && source("router/tests/a.rs", "").is_test());
    assert!(violations(&source("a.rs", "let instantiate = Instantiated;")).is_empty());
}
