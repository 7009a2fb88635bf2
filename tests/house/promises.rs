//! What is promised is shown: the tests that the pages name are there, and the README's matrix has no cell that neither links one nor
//! says that there is none.

use std::path::Path;

const PAGES: [&str; 3] = ["README.md", "docs/guarantees.md", "docs/conformance.md"];
const HEAD: &str = "| lost | twice | out of order |";

/// The tests that a page names, each with its file, from the page's folder: ``[`test`](file)`` and `[label]: file "test"`.
fn named(page: &str) -> Vec<(&str, &str)> {
    let links = page.split("[`").skip(1).filter_map(|rest| {
        let (test, rest) = rest.split_once("`](")?;
        Some((test, rest.split_once(')')?.0))
    });
    let definitions = page.lines().filter_map(|line| {
        let (_, rest) = line.strip_prefix('[')?.split_once("]: ")?;
        let (file, test) = rest.split_once(" \"")?;
        Some((test.strip_suffix('"')?, file))
    });
    links.filter(|(text, _)| is_function(text)).chain(definitions).collect()
}

/// Files and crates are linked from backticks as well; a test's name is a sentence.
fn is_function(text: &str) -> bool {
    text.contains('_') && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn missing(page: &str, read: impl Fn(&str) -> String) -> Vec<String> {
    let is_missing = |(test, file): &(&str, &str)| !read(file).contains(&format!("fn {test}("));
    named(page).into_iter().filter(is_missing).map(|(test, file)| format!("{file} has no {test}")).collect()
}

/// The cells of the matrix that say what becomes of a message.
fn outcomes(page: &str) -> Vec<&str> {
    let behind_the_head = page.lines().skip_while(|line| !line.ends_with(HEAD)).skip(2);
    let rows = behind_the_head.take_while(|line| line.starts_with('|'));
    rows.flat_map(|row| row.trim_end_matches('|').rsplit('|').take(3)).map(str::trim).collect()
}

/// Outcomes that nothing shows, and labels that lead nowhere.
fn gaps(page: &str) -> Vec<String> {
    let is_shown =
        |cell: &str| cell == "—" || cell.contains("not tested") || cell.contains("](") || cell.contains("][");
    let unshown = outcomes(page).into_iter().filter(|cell| !is_shown(cell)).map(str::to_owned);
    let labels = page.split("][").skip(1).filter_map(|rest| Some(rest.split_once(']')?.0));
    let undefined = labels.filter(|label| !page.contains(&format!("\n[{label}]: "))).map(str::to_owned);
    unshown.chain(undefined).collect()
}

#[test]
fn every_test_that_a_page_names_is_there() {
    let mut count = 0;
    for page in PAGES {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
        let text = std::fs::read_to_string(&path).unwrap();
        let folder = path.parent().unwrap();
        let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap_or_default();
        let missing = missing(&text, read);
        assert!(missing.is_empty(), "{page}: {}", missing.join("\n"));
        count += named(&text).len();
    }
    assert!(count > 80, "only {count} tests are named");
}

#[test]
fn every_outcome_in_the_matrix_is_shown_or_says_that_it_is_not() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGES[0]);
    let page = std::fs::read_to_string(page).unwrap();
    assert!(outcomes(&page).len() > 40, "the matrix is not there");
    assert!(gaps(&page).is_empty(), "{}", gaps(&page).join("\n"));
}

#[test]
fn planted_gaps_are_found() {
    let page = format!("{HEAD}\n|---|---|---|\n| [no][a] | no: not tested | never |\n\n[a]: x.rs \"a_b\"\n");
    assert_eq!(gaps(&page), ["never"]);
    assert_eq!(gaps(&page.replace("[a]: ", "[b]: ")), ["never", "a"]);
    assert_eq!(missing(&page, |_| "fn a_b()".to_owned()), [""; 0]);
    assert_eq!(missing(&page, |_| "fn a_bc()".to_owned()), ["x.rs has no a_b"]);
    let linked = "[`a_c`](y.rs), [`wire`](wire/src/lib.rs), [`x/y_z.rs`](x/y_z.rs)";
    assert_eq!(named(linked), [("a_c", "y.rs")]);
}
