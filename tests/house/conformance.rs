//! `docs/conformance.md` lists every normative statement once, with tests that are there; a case and its rows name each
//! other; and what has no test is little, and told.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::sources;

/// The sections of the normative statements, with the number of the first and of the last one in each.
type Sections = [(&'static str, u32, u32)];

/// MQTT 3.1.1, Appendix B: 141 statements.
const V3_1_1: &Sections = &[
    ("1.5.3", 1, 3),
    ("2.2.2", 1, 2),
    ("2.3.1", 1, 7),
    ("3.1.0", 1, 2),
    ("3.1.2", 1, 24),
    ("3.1.3", 1, 11),
    ("3.1.4", 1, 5),
    ("3.2.0", 1, 1),
    ("3.2.2", 1, 6),
    ("3.3.1", 1, 12),
    ("3.3.2", 1, 3),
    ("3.3.4", 1, 1),
    ("3.3.5", 1, 2),
    ("3.6.1", 1, 1),
    ("3.8.1", 1, 1),
    ("3.8.3", 1, 4),
    ("3.8.4", 1, 6),
    ("3.9.3", 1, 2),
    ("3.10.1", 1, 1),
    ("3.10.3", 1, 2),
    ("3.10.4", 1, 6),
    ("3.12.4", 1, 1),
    ("3.14.1", 1, 1),
    ("3.14.4", 1, 3),
    ("4.1.0", 1, 2),
    ("4.3.1", 1, 1),
    ("4.3.2", 1, 2),
    ("4.3.3", 1, 2),
    ("4.4.0", 1, 1),
    ("4.5.0", 1, 2),
    ("4.6.0", 1, 6),
    ("4.7.1", 1, 3),
    ("4.7.2", 1, 1),
    ("4.7.3", 1, 4),
    ("4.8.0", 1, 2),
    ("6.0.0", 1, 4),
    ("7.0.0", 1, 2),
    ("7.1.1", 1, 1),
    ("7.1.2", 1, 1),
];

/// MQTT 5.0, Appendix B: 251 statements.
const V5_0: &Sections = &[
    ("1.5.4", 1, 3),
    ("1.5.5", 1, 1),
    ("1.5.7", 1, 1),
    ("2.1.3", 1, 1),
    ("2.2.1", 2, 6),
    ("2.2.2", 1, 1),
    ("3.1.0", 1, 2),
    ("3.1.2", 1, 30),
    ("3.1.3", 1, 12),
    ("3.1.4", 1, 6),
    ("3.2.0", 1, 2),
    ("3.2.2", 1, 22),
    ("3.3.1", 1, 13),
    ("3.3.2", 1, 20),
    ("3.3.4", 1, 10),
    ("3.4.2", 1, 3),
    ("3.5.2", 1, 3),
    ("3.6.1", 1, 1),
    ("3.6.2", 1, 3),
    ("3.7.2", 1, 3),
    ("3.8.1", 1, 1),
    ("3.8.3", 1, 5),
    ("3.8.4", 1, 8),
    ("3.9.2", 1, 2),
    ("3.9.3", 1, 2),
    ("3.10.1", 1, 1),
    ("3.10.3", 1, 2),
    ("3.10.4", 1, 6),
    ("3.11.2", 1, 2),
    ("3.11.3", 1, 2),
    ("3.12.4", 1, 1),
    ("3.14.0", 1, 1),
    ("3.14.1", 1, 1),
    ("3.14.2", 1, 4),
    ("3.14.4", 1, 3),
    ("3.15.1", 1, 1),
    ("3.15.2", 1, 3),
    ("4.1.0", 1, 2),
    ("4.2.0", 1, 1),
    ("4.3.1", 1, 1),
    ("4.3.2", 1, 5),
    ("4.3.3", 1, 13),
    ("4.4.0", 1, 2),
    ("4.5.0", 1, 2),
    ("4.6.0", 1, 6),
    ("4.7.0", 1, 1),
    ("4.7.1", 1, 2),
    ("4.7.2", 1, 1),
    ("4.7.3", 1, 4),
    ("4.8.2", 1, 6),
    ("4.9.0", 1, 3),
    ("4.12.0", 1, 7),
    ("4.12.1", 1, 2),
    ("4.13.1", 1, 1),
    ("4.13.2", 1, 1),
    ("6.0.0", 1, 4),
];

/// Each version, the heading of its tables, and how a case names its statements.
const VERSIONS: [(&str, &Sections, &str); 2] = [("MQTT 3.1.1", V3_1_1, "v4"), ("MQTT 5.0", V5_0, "v5")];

const PAGE: &str = "docs/conformance.md";
const CASES: &str = "../tests/conformance/";
const NOT_BUILT: &str = "*not built yet*";
const NONE: &str = "*none*";
const WITHOUT_TEST_MAX: usize = 10;

fn statements(sections: &Sections) -> Vec<String> {
    let all = sections.iter().flat_map(|(section, first, last)| {
        (*first..=*last).map(move |number| format!("MQTT-{section}-{number}"))
    });
    all.collect()
}

/// A line of a version's tables.
struct Row<'a> {
    statement: &'a str,
    binds: &'a str,
    shown_by: &'a str,
}

impl<'a> Row<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut cells = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ");
        let statement = cells.next().filter(|cell| cell.starts_with("MQTT-"))?;
        let (_, binds, shown_by) = (cells.next()?, cells.next()?, cells.next()?);
        Some(Self { statement, binds, shown_by })
    }

    /// Its tests, each with its file.
    fn tests(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let links = self.shown_by.split("[`").skip(1).filter_map(|rest| rest.split_once("`]("));
        links.filter_map(|(test, rest)| Some((test, rest.split_once(')')?.0)))
    }

    /// The conformance cases among them.
    fn cases(&self) -> impl Iterator<Item = &'a str> {
        self.tests().filter(|(_, file)| file.starts_with(CASES)).map(|(case, _)| case)
    }
}

/// The rows below a version's heading.
fn rows<'a>(page: &'a str, version: &str) -> Vec<Row<'a>> {
    let heading = format!("## {version}");
    let below = page.lines().skip_while(|line| *line != heading).skip(1);
    below.take_while(|line| !line.starts_with("## ")).filter_map(Row::parse).collect()
}

/// The statements of one version that each case names, from the sources of the cases.
fn named_by_cases(sources: &[String], version: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut named = BTreeMap::new();
    for entry in sources.iter().flat_map(|source| source.split("case!(").skip(1)) {
        let Some((case, rest)) = entry.split_once(',') else { continue };
        let list = rest.split_once(&format!("{version}: [")).and_then(|(_, rest)| rest.split_once(']'));
        let Some((list, _)) = list else { continue };
        let statements = list.split('"').filter(|part| part.starts_with("MQTT-")).map(str::to_owned);
        named.insert(case.trim().to_owned(), statements.collect());
    }
    named
}

/// What is wrong with the tables of one version.
fn problems(
    page: &str,
    cases: &[String],
    (version, sections, short): (&str, &Sections, &str),
) -> Vec<String> {
    let rows = rows(page, version);
    let mut found = Vec::new();
    for statement in statements(sections) {
        let times = rows.iter().filter(|row| row.statement == statement).count();
        if times != 1 {
            found.push(format!("{version}: {statement} is listed {times} times"));
        }
    }
    let mut linked: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in &rows {
        let Row { statement, binds, shown_by } = row;
        if !statements(sections).iter().any(|known| known == statement) {
            found.push(format!("{version}: there is no {statement}"));
        }
        if !["server", "client", "both"].contains(binds) {
            found.push(format!("{version}: {statement} binds {binds}"));
        }
        if !shown_by.contains("](") && *shown_by != NOT_BUILT && *shown_by != NONE {
            found.push(format!("{version}: {statement} names no test and does not say so"));
        }
        for case in row.cases() {
            linked.entry(case.to_owned()).or_default().insert((*statement).to_owned());
        }
    }
    for (case, named) in named_by_cases(cases, short) {
        let linked = linked.remove(&case).unwrap_or_default();
        let differ = named.symmetric_difference(&linked);
        found.extend(differ.map(|it| format!("{version}: {case} and the page do not both name {it}")));
    }
    found
        .extend(linked.into_keys().map(|case| format!("{version}: the page names {case}, which is no case")));
    found
}

/// The line of a version in the table of counts, as it should be.
fn counts(rows: &[Row], version: &str) -> String {
    let binds = |who: &str| rows.iter().filter(|row| row.binds == who).count();
    let not_built = rows.iter().filter(|row| row.shown_by.starts_with(NOT_BUILT)).count();
    let none = rows.iter().filter(|row| row.shown_by == NONE).count();
    let shown = rows.len() - not_built - none;
    let [server, client, both] = ["server", "client", "both"].map(binds);
    format!("| {version} | {} | {server} | {client} | {both} | {shown} | {not_built} | {none} |", rows.len())
}

fn page() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE)).unwrap()
}

fn cases() -> Vec<String> {
    let cases =
        sources(&["tests/conformance"]).into_iter().filter(|source| !source.path.ends_with("case.rs"));
    cases.map(|source| source.text).collect()
}

#[test]
fn every_normative_statement_is_listed_once_and_agrees_with_its_cases() {
    assert_eq!(VERSIONS.map(|(_, sections, _)| statements(sections).len()), [141, 251]);
    let (page, cases) = (page(), cases());
    let found: Vec<String> =
        VERSIONS.into_iter().flat_map(|version| problems(&page, &cases, version)).collect();
    assert!(found.is_empty(), "{PAGE}:\n{}", found.join("\n"));
}

#[test]
fn every_test_of_a_statement_is_there() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let page = page();
    let tests: BTreeSet<_> = VERSIONS
        .into_iter()
        .flat_map(|(version, _, _)| rows(&page, version))
        .flat_map(|row| row.tests().collect::<Vec<_>>())
        .collect();
    assert!(tests.len() > 200, "only {} tests are named", tests.len());
    for (test, file) in tests {
        let text = std::fs::read_to_string(folder.join(file)).unwrap_or_default();
        assert!(text.contains(&format!("fn {test}(")), "{file} has no {test}");
    }
}

#[test]
fn what_has_no_test_is_little_and_counted() {
    let page = page();
    let mut without = 0;
    for (version, _, _) in VERSIONS {
        let rows = rows(&page, version);
        let expected = counts(&rows, version);
        assert!(page.contains(&expected), "{PAGE} should say: {expected}");
        for row in rows.iter().filter(|row| row.shown_by == NONE) {
            without += 1;
            assert!(
                page.contains(&format!("- **{}, {}**: ", &version[5..], row.statement)),
                "{}",
                row.statement
            );
        }
    }
    assert!(without <= WITHOUT_TEST_MAX, "{without} statements have no test");
    let cases: BTreeSet<String> =
        VERSIONS.into_iter().flat_map(|(_, _, short)| named_by_cases(&cases(), short).into_keys()).collect();
    assert!(
        page.contains(&format!("come first: {} of them", cases.len())),
        "there are {} cases",
        cases.len()
    );
}

#[test]
fn planted_faults_of_the_page_are_found() {
    let row = |statement: &str, cell: &str| format!("| {statement} | what | server | {cell} |\n");
    let link = "[`a_case`](../tests/conformance/a.rs)";
    let sections: &Sections = &[("1.1.1", 1, 2)];
    let version = ("V", sections, "v4");
    let cases = ["case!(a_case, v4: [\"MQTT-1.1.1-1\"], v5: []),".to_owned()];
    let good = ["## V\n".to_owned(), row("MQTT-1.1.1-1", link), row("MQTT-1.1.1-2", NONE)].concat();
    assert_eq!(problems(&good, &cases, version), [""; 0]);
    let twice = format!("{good}{}", row("MQTT-1.1.1-2", NOT_BUILT));
    assert_eq!(problems(&twice, &cases, version), ["V: MQTT-1.1.1-2 is listed 2 times"]);
    let unknown = format!("{good}{}", row("MQTT-1.1.1-3", link));
    let expected = ["V: there is no MQTT-1.1.1-3", "V: a_case and the page do not both name MQTT-1.1.1-3"];
    assert_eq!(problems(&unknown, &cases, version), expected);
    let silent = good.replace(NONE, "");
    assert_eq!(problems(&silent.replace("|  |", "| … |"), &cases, version).len(), 1);
    assert_eq!(problems(&good, &[], version), ["V: the page names a_case, which is no case"]);
    assert_eq!(counts(&rows(&good, "V"), "V"), "| V | 2 | 2 | 0 | 0 | 1 | 0 | 1 |");
}
