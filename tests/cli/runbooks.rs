//! The runbooks and the code: what a page names is there, and every page can be found.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.as_ref().display()))
}

fn pages() -> Vec<PathBuf> {
    std::fs::read_dir(root("runbooks")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// The words of a text that begin with `roost_`: metrics.
fn metrics(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("roost_")).map(str::to_owned).collect()
}

#[test]
fn every_metric_that_a_page_names_is_exported() {
    // An end-to-end test keeps that page equal to what the roles export.
    let exported = metrics(&read(root("docs/metrics.md")));
    for page in pages() {
        let unknown: Vec<String> = metrics(&read(&page)).difference(&exported).cloned().collect();
        assert!(unknown.is_empty(), "{}: nobody exports {unknown:?}", page.display());
    }
}

#[test]
fn every_page_is_in_the_index_and_answers_the_four_questions() {
    let index = read(root("runbooks/README.md"));
    for page in pages().iter().filter(|page| !page.ends_with("README.md")) {
        let name = page.file_name().unwrap().to_str().unwrap();
        assert!(index.contains(&format!("({name})")), "{name} is not in the index");
        let text = read(page);
        for question in ["What it means.", "What devices and services see.", "How to be sure.", "What to do."]
        {
            assert!(text.contains(&format!("**{question}**")), "{name} does not say: {question}");
        }
    }
}

/// A page's headings, as links name them.
fn headings(page: &str) -> BTreeSet<String> {
    let titles =
        page.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches(['#', ' ']));
    let name = |title: &str| {
        title
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c))
            .collect::<String>()
            .replace(' ', "-")
    };
    titles.map(name).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut checked = 0;
    for file in pages().into_iter().chain([root("README.md")]) {
        let text = read(&file);
        for target in
            text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target)
        {
            if !target.contains("://") {
                let (path, heading) = target.split_once('#').unwrap_or((target, ""));
                let there = if path.is_empty() { file.clone() } else { file.parent().unwrap().join(path) };
                let page = std::fs::read_to_string(&there).unwrap_or_default();
                let leads = there.exists() && (heading.is_empty() || headings(&page).contains(heading));
                assert!(leads, "{}: {target}", file.display());
                checked += 1;
            }
        }
    }
    assert!(checked > 20, "only {checked} links found");
}
