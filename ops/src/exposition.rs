//! Prometheus' text format, version 0.0.4.

use std::fmt::{Display, Write};

/// What Prometheus may do with a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows, from zero at each start. Its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// A page of metrics as it is written: families one after another, each with its samples.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
    family: String,
}

impl Exposition {
    /// Begins a family: its samples follow. Names are `roost_…` in base units.
    pub fn family(&mut self, name: &str, kind: MetricKind, help: &str) -> &mut Self {
        let kind = match kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
        };
        debug_assert_eq!(kind == "counter", name.ends_with("_total"), "{name}: counters end in _total");
        let _ = write!(self.text, "# HELP {name} ");
        escape(&mut self.text, help, false);
        let _ = write!(self.text, "\n# TYPE {name} {kind}\n");
        name.clone_into(&mut self.family);
        self
    }

    /// One sample of the family that was begun last. Labels are few and bounded: never a device, never a topic.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) -> &mut Self {
        self.text.push_str(&self.family);
        for (i, (name, value)) in labels.iter().enumerate() {
            self.text.push(if i == 0 { '{' } else { ',' });
            let _ = write!(self.text, "{name}=\"");
            escape(&mut self.text, value, true);
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
        self
    }

    /// The page.
    #[must_use]
    pub fn finish(self) -> String {
        self.text
    }
}

fn escape(text: &mut String, value: &str, quoted: bool) {
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '"' if quoted => text.push_str("\\\""),
            _ => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_reads_as_prometheus_writes_it() {
        let mut page = Exposition::default();
        page.family("roost_up", MetricKind::Gauge, "Whether it is up.").sample(&[], 1);
        page.family("roost_drops_total", MetricKind::Counter, "Drops\nby reason.")
            .sample(&[("reason", "a\"b\\c"), ("gateway", "eu-1")], 2_u64)
            .sample(&[("reason", "d")], 0.5);
        let expected = "# HELP roost_up Whether it is up.\n# TYPE roost_up gauge\nroost_up 1\n\
            # HELP roost_drops_total Drops\\nby reason.\n# TYPE roost_drops_total counter\n\
            roost_drops_total{reason=\"a\\\"b\\\\c\",gateway=\"eu-1\"} 2\nroost_drops_total{reason=\"d\"} 0.5\n";
        assert_eq!(page.finish(), expected);
    }
}
