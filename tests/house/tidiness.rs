//! Files hold one noun and fit a reader's head; channels are bounded; nothing is ignored.

use super::{Source, source, sources};

const LINES_MAX: usize = 600;
const DRAWERS: [&str; 6] = ["utils.rs", "util.rs", "common.rs", "types.rs", "helpers.rs", "misc.rs"];
/// Written in two parts, so that this file does not find itself.
const FORBIDDEN: [(&str, &str, &str); 7] = [
    ("unbounded", "_channel", "a channel has a bound, and an answer when it is reached"),
    ("Unb", "ounded", "a channel has a bound, and an answer when it is reached"),
    ("#[ign", "ore", "a test runs or is not there"),
    ("tod", "o!(", "what is not done is not there"),
    ("unimplement", "ed!(", "what is not done is not there"),
    ("fn ge", "t_", "a getter is named for what it gives"),
    ("unsaf", "e {", "argued in its file, or not there"),
];

fn violations(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    let lines = source.text.lines().count();
    if lines > LINES_MAX {
        found
            .push(format!("{}: {lines} lines, at most {LINES_MAX}: it has two nouns", source.path.display()));
    }
    if source.path.file_name().is_some_and(|name| DRAWERS.iter().any(|drawer| name == *drawer)) {
        found.push(format!("{}: named for nothing in particular", source.path.display()));
    }
    for (number, line) in source.text.lines().enumerate() {
        for (head, tail, why) in FORBIDDEN {
            if line.contains(&format!("{head}{tail}")) {
                found.push(format!("{}:{}: {why}: {}", source.path.display(), number + 1, line.trim()));
            }
        }
    }
    found
}

#[test]
fn the_house_is_tidy() {
    let sources = sources(&["src", "wire", "gateway", "backend", "router", "config", "ops", "log", "tests"]);
    let found: Vec<String> = sources.iter().flat_map(violations).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn planted_untidiness_is_found() {
    let long = "x\n".repeat(LINES_MAX + 1);
    assert_eq!(violations(&source("a/b.rs", &long)).len(), 1);
    assert_eq!(violations(&source("a/utils.rs", "")).len(), 1);
    let ignored = format!("#[ign{}]\nfn a() {{}}", "ore");
    assert_eq!(violations(&source("a/b.rs", &ignored)).len(), 1);
    let hidden = format!("fn a(sender: Unb{}Sender<u8>) {{}}", "ounded");
    assert_eq!(violations(&source("a/b.rs", &hidden)).len(), 1);
}
