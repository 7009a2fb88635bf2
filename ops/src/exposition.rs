//! Prometheus' text format, version 0.0.4.

use std::fmt::{Display, Write};

use crate::Histogram;

/// What Prometheus may do with a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows, from zero at each start. Its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations by class, in seconds. Its name ends in `_seconds`.
    Histogram,
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
            MetricKind::Histogram => "histogram",
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
        self.series("", labels, value);
        self
    }

    /// Families of one kind with a single sample each: name, help and value.
    pub fn singles<'a, V: Display>(
        &mut self,
        kind: MetricKind,
        families: impl IntoIterator<Item = (&'a str, &'a str, V)>,
    ) {
        for (name, help, value) in families {
            self.family(name, kind, help).sample(&[], value);
        }
    }

    /// One histogram of the family that was begun last: its classes, sum and count.
    pub fn histogram(&mut self, labels: &[(&str, &str)], histogram: &Histogram) -> &mut Self {
        let mut with_bound = labels.to_vec();
        let own = with_bound.len();
        for (bound, count) in histogram.cumulative() {
            let bound = bound.to_string();
            let mut labels = with_bound.clone();
            labels.push(("le", &bound));
            self.series("_bucket", &labels, count);
        }
        with_bound.push(("le", "+Inf"));
        self.series("_bucket", &with_bound, histogram.count());
        self.series("_sum", &with_bound[..own], histogram.sum_s());
        self.series("_count", &with_bound[..own], histogram.count());
        self
    }

    fn series(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(&self.family);
        self.text.push_str(suffix);
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

    #[test]
    fn a_histogram_has_classes_a_sum_and_a_count() {
        let mut histogram = Histogram::default();
        histogram.observe(std::time::Duration::from_millis(2));
        let mut page = Exposition::default();
        page.family("roost_wait_seconds", MetricKind::Histogram, "Waits.")
            .histogram(&[("link", "a")], &histogram);
        let page = page.finish();
        for line in [
            "# TYPE roost_wait_seconds histogram",
            "roost_wait_seconds_bucket{link=\"a\",le=\"0.001\"} 0",
            "roost_wait_seconds_bucket{link=\"a\",le=\"0.0025\"} 1",
            "roost_wait_seconds_bucket{link=\"a\",le=\"+Inf\"} 1",
            "roost_wait_seconds_sum{link=\"a\"} 0.002",
            "roost_wait_seconds_count{link=\"a\"} 1",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
        }
    }
}
