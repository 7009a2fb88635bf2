//! A page of figures in Markdown.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;
use roost_fleet::{Percentiles, Summary};

use crate::machine;

/// Builds one; columns are as wide as their text, which Markdown does not mind.
#[derive(Debug, Default)]
pub(crate) struct Page {
    text: String,
}

impl Page {
    pub(crate) fn titled(title: &str) -> Self {
        Self { text: format!("# {title}\n") }
    }

    pub(crate) fn heading(&mut self, text: &str) {
        let _ = write!(self.text, "\n## {text}\n");
    }

    pub(crate) fn paragraph(&mut self, text: &str) {
        let _ = write!(self.text, "\n{text}\n");
    }

    pub(crate) fn command(&mut self, line: &str) {
        let _ = write!(self.text, "\n```sh\n{line}\n```\n");
    }

    pub(crate) fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        let _ = write!(self.text, "\n| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
        for row in rows {
            let _ = writeln!(self.text, "| {} |", row.join(" | "));
        }
    }

    pub(crate) fn write(&self, file: &Path) -> anyhow::Result<()> {
        std::fs::write(file, &self.text).with_context(|| format!("writing {}", file.display()))
    }
}

/// A page whose sections are measured one by one, each when it is wanted: the others stay as they were measured before.
#[derive(Debug)]
pub(crate) struct Sections {
    head: Page,
    /// Their names, in their order on the page.
    order: Vec<String>,
    measured: HashMap<String, String>,
}

impl Sections {
    /// With those sections of the file that are among `order`; no file is a page without any.
    fn read(file: &Path, head: Page, order: Vec<String>) -> anyhow::Result<Self> {
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(|| format!("reading {}", file.display())),
        };
        Ok(Self::parse(&text, head, order))
    }

    fn parse(text: &str, head: Page, order: Vec<String>) -> Self {
        let measured = text.split(SECTION).skip(1).filter_map(|section| section.split_once(SECTION_NAMED));
        let measured = measured.map(|(name, text)| (name.to_owned(), text.trim_end().to_owned())).collect();
        Self { head, order, measured }
    }

    /// From now on the section of that name is this one.
    fn put(&mut self, name: &str, section: &Page) {
        self.measured.insert(name.to_owned(), section.text.trim_end().to_owned());
    }

    /// Writes one section that was measured just now into the file, with what it was measured on. The file is read only here: another run may
    /// have measured other sections meanwhile.
    pub(crate) fn write(
        file: &Path,
        head: Page,
        order: Vec<String>,
        (name, mut section): (&str, Page),
    ) -> anyhow::Result<()> {
        section.paragraph(&format!("Measured on {}", machine::describe()));
        let mut sections = Self::read(file, head, order)?;
        sections.put(name, &section);
        sections.page().write(file)
    }

    /// All of it.
    fn page(&self) -> Page {
        let mut text = self.head.text.clone();
        for name in &self.order {
            if let Some(section) = self.measured.get(name) {
                let _ = write!(text, "\n{SECTION}{name}{SECTION_NAMED}{section}\n");
            }
        }
        Page { text }
    }
}

/// Before and behind the name of a section, which a reader of the page does not see.
const SECTION: &str = "<!-- measured: ";
const SECTION_NAMED: &str = " -->";

/// A number with groups of three digits.
pub(crate) fn whole(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `p50 / p99` in milliseconds.
pub(crate) fn p50_p99(summary: &Summary, span: &str) -> String {
    let both = |latency: &Percentiles| format!("{:.1} / {:.1} ms", latency.p50_ms, latency.p99_ms);
    summary.latencies.get(span).map_or_else(|| "–".to_owned(), both)
}

/// What each watched process took, and the fleet: `gateway 0.41 · fleet 0.20 (10% of the cores)`.
pub(crate) fn cores_taken(summary: &Summary) -> String {
    let mut parts: Vec<String> =
        summary.watched.iter().map(|(name, usage)| format!("{name} {:.2}", usage.cpu_cores)).collect();
    parts.push(fleet_cores(summary));
    parts.join(" · ")
}

/// The fleet's own CPU, and its share of the machine.
pub(crate) fn fleet_cores(summary: &Summary) -> String {
    let cores = summary.fleet.cpu_cores;
    format!("fleet {cores:.2} ({:.0}% of the cores)", 100.0 * cores / f64::from(summary.cores.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let texts = [0.4, 999.0, 1_000.0, 12_345.6, 1_234_567.0].map(whole);
        assert_eq!(texts, ["0", "999", "1,000", "12,346", "1,234,567"]);
    }

    #[test]
    fn a_table_has_a_head_and_its_rows() {
        let mut page = Page::titled("T");
        page.table(&["a", "b"], &[vec!["1".to_owned(), "2".to_owned()]]);
        assert_eq!(page.text, "# T\n\n| a | b |\n|---|---|\n| 1 | 2 |\n");
    }

    #[test]
    fn a_section_measured_again_replaces_the_old_one_and_leaves_the_others() {
        let order = || ["first", "second", "third"].map(str::to_owned).to_vec();
        let section = |text: &str| {
            let mut section = Page::default();
            section.heading(text);
            section
        };
        let mut page = Sections::parse("", Page::titled("T"), order());
        page.put("third", &section("C"));
        page.put("first", &section("A"));
        let text = page.page().text;
        let mut page = Sections::parse(&text, Page::titled("T"), order());
        page.put("second", &section("B"));
        page.put("first", &section("A2"));
        let text = page.page().text;
        let headings: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(headings, ["A2", "B", "C"]);
        assert_eq!(Sections::parse(&text, Page::titled("T"), order()).page().text, text);
    }
}
