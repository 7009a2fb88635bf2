//! The report as one page that needs nothing else: no script, no network, plots as SVG.

mod chart;

use std::fmt::Write;

use chart::{Chart, Series};

use crate::{Moment, Summary};

const STYLE: &str = ":root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:62rem;padding:0 1rem;color:#1c2733;background:#fff}\
    h1{font-size:1.5rem}h2{font-size:1.1rem;margin:2rem 0 .3rem}pre{background:#f4f6f8;padding:1rem;overflow-x:auto;font-size:13px}\
    .plot{overflow-x:auto}svg{width:100%;min-width:40rem;height:auto}.pass{color:#0a7a3d}.fail{color:#b3261e;font-weight:600}\
    @media(prefers-color-scheme:dark){body{color:#dde5ec;background:#12181f}pre{background:#1c252e}.pass{color:#4cc38a}.fail{color:#ff8a80}}";

impl Summary {
    /// The page.
    #[must_use]
    pub fn page(&self) -> String {
        let title = format!("roost fleet: {} devices, {:.0} s", self.plan.devices, self.measured_s);
        let mut page = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style></head>\n\
             <body><h1>{title}</h1>\n"
        );
        for check in &self.checks {
            let (class, word) = if check.passed { ("pass", "held") } else { ("fail", "failed") };
            let value = check.value.map_or("not measured".to_owned(), |value| format!("{value:.3}"));
            let _ = writeln!(page, "<p class=\"{class}\">{} {word}: {value}</p>", escape(&check.check));
        }
        let _ = writeln!(page, "<pre>{}</pre>", escape(&self.to_string()));
        for chart in self.charts().into_iter().filter(|chart| !chart.is_empty()) {
            let _ =
                writeln!(page, "<h2>{}</h2>\n<div class=\"plot\">{}</div>", escape(chart.title), chart.svg());
        }
        let plan = serde_json::to_string_pretty(&self.plan).unwrap_or_default();
        let _ = writeln!(page, "<h2>The plan</h2>\n<pre>{}</pre>\n</body></html>", escape(&plan));
        page
    }

    fn charts(&self) -> Vec<Chart> {
        let mut charts = Vec::new();
        for (title, span) in [
            ("Events: from their due time to roost.up", "up"),
            ("Commands: from their due time to the device", "down"),
            ("Receipts: from a command's due time", "receipt"),
            ("Answers: from their command's due time to its sender", "answer"),
            ("Own messages: from their due time back to the device", "echo"),
            ("Acknowledgements: from a message's due time", "publish"),
            ("Connections: from their due time to CONNACK", "connect"),
        ] {
            let line = |name: &str, value: fn(&crate::Percentiles) -> f64| {
                self.series(name, |moment| moment.latencies.get(span).map(value))
            };
            let series = vec![
                line("p50", |latency| latency.p50_ms),
                line("p90", |latency| latency.p90_ms),
                line("p99", |latency| latency.p99_ms),
                line("max", |latency| latency.max_ms),
            ];
            charts.push(Chart { title, unit: "ms", logarithmic: true, series });
        }
        let rates = [
            "published",
            "acknowledged",
            "events_received",
            "commands_offered",
            "commands_received",
            "answers_received",
            "connects",
        ];
        let rate = |name: &&str| {
            self.series(name, |moment| {
                let many = moment.counts.get(*name).copied().unwrap_or(0) as f64;
                Some(many / moment.lasted_s.max(f64::MIN_POSITIVE))
            })
        };
        let series = rates.iter().map(rate).filter(|series| !series.is_zero()).collect();
        charts.push(Chart { title: "Throughput", unit: "per second", logarithmic: false, series });
        let online = self.series("online", |moment| Some(moment.online as f64));
        charts.push(Chart { title: "Devices online", unit: "", logarithmic: false, series: vec![online] });
        let names = || std::iter::once("fleet").chain(self.watched.keys().map(String::as_str));
        let cpu = names().map(|name| self.series(name, |moment| moment.cpu_cores.get(name).copied()));
        let series = cpu.collect();
        charts.push(Chart { title: "CPU", unit: "cores", logarithmic: false, series });
        let mib = |bytes: &u64| *bytes as f64 / f64::from(1 << 20);
        let rss = names().map(|name| self.series(name, |moment| moment.rss_bytes.get(name).map(mib)));
        let series = rss.collect();
        charts.push(Chart { title: "Resident memory", unit: "MiB", logarithmic: false, series });
        charts
    }

    fn series(&self, name: &str, value: impl Fn(&Moment) -> Option<f64>) -> Series {
        let points = self.timeline.iter().filter_map(|moment| Some((moment.at_s, value(moment)?)));
        Series { name: name.to_owned(), points: points.collect() }
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use crate::summary::tests::summary;
    use crate::{Check, Moment, Percentiles};

    #[test]
    fn the_page_stands_alone_and_shows_what_there_is() {
        let mut summary = summary();
        summary.timeline = (0..20_u32)
            .map(|second| {
                let latency =
                    Percentiles { count: 5, p50_ms: f64::from(second + 1), ..Percentiles::default() };
                Moment {
                    at_s: f64::from(second),
                    online: 10,
                    latencies: [("up".to_owned(), latency)].into(),
                    cpu_cores: [("fleet".to_owned(), 0.3)].into(),
                    ..Moment::default()
                }
            })
            .collect();
        summary.check(&Check::parse_list("lost=0,p99_ms<5000").unwrap());
        let page = summary.page();
        for part in
            ["lost=0 failed: 1.000", "p99_ms&lt;5000 held", "roost.up", "Devices online", "CPU", "<svg"]
        {
            assert!(page.contains(part), "{part} is missing");
        }
        assert!(!page.contains("Commands:"), "nothing was commanded");
        for outside in ["http://", "https://", "<script", "<link", "@import", "NaN", "inf"] {
            assert!(!page.contains(outside), "{outside}");
        }
        let tags = |tag: &str| page.matches(tag).count();
        assert_eq!((tags("<svg"), tags("<pre>")), (tags("</svg>"), tags("</pre>")));
    }
}
