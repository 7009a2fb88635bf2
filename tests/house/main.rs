//! The house rules that a machine can see: pure cores, who may name which library, small files, no drawers
//! without a noun; and that what is promised names its tests.

#![allow(clippy::unwrap_used, reason = "a check that cannot read its files fails loudly")]

mod conformance;
mod promises;
mod purity;
mod rooms;
mod tidiness;

use std::path::{Path, PathBuf};

/// A source file of the workspace, with its path from the root.
struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// The lines that are compiled outside tests: no comments, and nothing from the test module at the foot on.
    fn production_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(i, line)| (i + 1, line.trim()));
        lines.take_while(|(_, line)| *line != "#[cfg(test)]").filter(|(_, line)| !line.starts_with("//"))
    }

    /// Below a `src` folder only what is inside of it tells: `tests/fleet/src` is a crate like any other.
    fn is_test(&self) -> bool {
        let parts: Vec<_> = self.path.iter().collect();
        let inside = parts.iter().rposition(|part| *part == "src").map_or(&parts[..], |src| &parts[src..]);
        inside.iter().any(|part| *part == "tests" || *part == "benches")
            || self.path.file_name().is_some_and(|name| name == "tests.rs")
    }

    fn is_shell(&self) -> bool {
        self.path.components().any(|part| part.as_os_str() == "shell" || part.as_os_str() == "shell.rs")
    }
}

/// Every Rust file under the given folders of the workspace.
fn sources(folders: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in folders {
        walk(&root.join(folder), root, &mut found);
    }
    assert!(!found.is_empty(), "no source under {folders:?}: the rule would check nothing");
    found
}

fn walk(folder: &Path, root: &Path, found: &mut Vec<Source>) {
    for entry in std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                walk(&path, root, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            found.push(Source { path: path.strip_prefix(root).unwrap().to_owned(), text });
        }
    }
}

fn source(path: &str, text: &str) -> Source {
    Source { path: path.into(), text: text.to_owned() }
}
