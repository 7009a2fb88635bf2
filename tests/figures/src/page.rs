//! A page of figures in Markdown.

use std::fmt::Write as _;

use roost_fleet::{Percentiles, Summary};

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

    pub(crate) fn write(&self, file: &std::path::Path) -> anyhow::Result<()> {
        use anyhow::Context;
        std::fs::write(file, &self.text).with_context(|| format!("writing {}", file.display()))
    }
}

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
}
