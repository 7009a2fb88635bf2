//! What a run has shown, as a report has it: `-o json` prints this, version 1.
//!
//! Latencies are in milliseconds and counted from the time when a message was meant to be sent. Rates are per second of the
//! measured time. New fields may come within a version; the meaning of those that are there stays.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Check, Count, Figures, Percentiles, Plan, Span, Verdict};

/// The report of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Always 1 in this version.
    pub version: u8,
    /// What the run was to do.
    pub plan: Plan,
    /// Commands per second that were offered over all devices; absent without a backend side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_rate: Option<f64>,
    /// When the measured time began, in milliseconds since 1970.
    pub began_at_ms: u64,
    /// How long the measured time was, in seconds.
    pub measured_s: f64,
    /// Cores of the machine.
    pub cores: u32,
    /// Processes that ran devices.
    pub workers: u32,
    /// Most devices online at a time.
    pub online_max: i64,
    /// All counts, by name, over connecting, measured time and drain.
    pub counts: BTreeMap<String, u64>,
    /// All latencies, by name; those that nothing was measured of are absent.
    pub latencies: BTreeMap<String, Percentiles>,
    /// What became of the messages.
    pub verdict: Verdict,
    /// The fleet's own processes, over the measured time.
    pub fleet: Usage,
    /// Processes that were watched, over the measured time.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub watched: BTreeMap<String, Usage>,
    /// The run, moment by moment: each is a second, or a 200th of the measured time if that is longer.
    pub timeline: Vec<Moment>,
    /// The bounds that it was held against.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckResult>,
    /// What the reader should know before using a figure.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
}

/// What a process, or some, took of the machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Cores kept busy, on average.
    pub cpu_cores: f64,
    /// Resident memory at the end, in bytes.
    pub rss_bytes: u64,
    /// The most resident memory that was seen, in bytes.
    pub rss_max_bytes: u64,
}

/// A short piece of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// Where it ends: seconds from the start of the fleet.
    pub at_s: f64,
    /// How long it was, in seconds.
    #[serde(default = "a_second")]
    pub lasted_s: f64,
    /// Whether it is part of the measured time.
    pub measured: bool,
    /// Devices that are online.
    pub online: i64,
    /// What was counted in it, without what is zero.
    pub counts: BTreeMap<String, u64>,
    /// What was timed in it.
    pub latencies: BTreeMap<String, Percentiles>,
    /// Cores kept busy, by process name; `fleet` is the fleet itself.
    pub cpu_cores: BTreeMap<String, f64>,
    /// Resident memory in bytes, by process name.
    pub rss_bytes: BTreeMap<String, u64>,
    /// What of it is no file's: pages of the program itself come and go as the system has room, and show no leak.
    #[serde(default)]
    pub anonymous_bytes: BTreeMap<String, u64>,
}

/// A bound and whether it held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckResult {
    /// As it was asked for.
    pub check: String,
    /// What was measured; absent if nothing was.
    pub value: Option<f64>,
    /// Whether it held.
    pub passed: bool,
}

impl Summary {
    /// The version that this build writes.
    pub const VERSION: u8 = 1;

    /// The counts of `figures` by name, without those that are zero.
    #[must_use]
    pub fn counts_of(figures: &Figures) -> BTreeMap<String, u64> {
        let counts = Count::ALL.iter().map(|count| (count.name().to_owned(), figures.of(*count)));
        counts.filter(|(_, many)| *many > 0).collect()
    }

    /// The latencies of `figures` by name.
    #[must_use]
    pub fn latencies_of(figures: &Figures) -> BTreeMap<String, Percentiles> {
        let spans = Span::ALL.iter();
        spans
            .filter_map(|span| Some((span.name().to_owned(), figures.latency(*span).percentiles()?)))
            .collect()
    }

    /// Every figure that a check can name. Without a prefix a percentile is that of the whole way of a message: `up` with a
    /// backend side, else `echo` with `--echo`, else `publish`; `lost`, `duplicates` and `reordered` are the sums. They are absent
    /// if a device has not told what it has: a bound on them does not hold then.
    #[must_use]
    pub fn figures(&self) -> BTreeMap<String, f64> {
        let mut figures = BTreeMap::new();
        for count in Count::ALL {
            let many = self.counts.get(count.name()).copied().unwrap_or(0);
            figures.insert(count.name().to_owned(), many as f64);
        }
        for (name, latency) in &self.latencies {
            for (figure, value) in percentiles(latency) {
                figures.insert(format!("{name}.{figure}"), value);
                if name == Self::main_span(&self.plan, self.command_rate.is_some()).name() {
                    figures.insert(figure.to_owned(), value);
                }
            }
        }
        figures.insert("devices_missing".to_owned(), self.verdict.devices_missing as f64);
        for (name, verdict) in self.verdict.directions().filter(|_| self.verdict.devices_missing == 0) {
            let found = [
                ("lost", verdict.lost),
                ("duplicates", verdict.duplicates),
                ("reordered", verdict.reordered),
            ];
            for (figure, many) in found {
                figures.insert(format!("{name}.{figure}"), many as f64);
                *figures.entry(figure.to_owned()).or_default() += many as f64;
            }
            figures.insert(format!("{name}.rate"), verdict.arrived as f64 / self.measured_s);
        }
        figures.insert("online_max".to_owned(), self.online_max as f64);
        figures.insert("fleet_cpu_share".to_owned(), self.fleet.cpu_cores / f64::from(self.cores.max(1)));
        figures.insert("fleet_rss_bytes".to_owned(), self.fleet.rss_max_bytes as f64);
        figures
    }

    /// The names that [`Summary::figures`] of a run of this plan can have.
    #[must_use]
    pub fn figure_names(plan: &Plan, has_backend: bool) -> Vec<String> {
        let own = str::to_owned;
        let mut names: Vec<String> = ["p50_ms", "p90_ms", "p99_ms", "p999_ms", "max_ms"].map(own).into();
        let judged = [
            ("up", has_backend),
            ("down", plan.commands),
            ("receipts", plan.commands),
            ("answers", plan.has_answers()),
            ("echo", plan.is_heard()),
        ];
        let judged: Vec<&str> = judged.into_iter().filter(|(_, is)| *is).map(|(name, _)| name).collect();
        for figure in ["lost", "duplicates", "reordered"] {
            names.extend((!judged.is_empty()).then(|| own(figure)));
        }
        for name in &judged {
            names
                .extend(["lost", "duplicates", "reordered", "rate"].map(|figure| format!("{name}.{figure}")));
        }
        for span in Span::ALL {
            let measured = match span {
                Span::Connect | Span::Publish => true,
                Span::Echo => plan.is_heard(),
                Span::Up => has_backend,
                Span::Down | Span::Receipt => plan.commands,
                Span::Answer => plan.has_answers(),
            };
            let figures = ["p50_ms", "p90_ms", "p99_ms", "p999_ms", "max_ms"];
            names.extend(
                figures.iter().filter(|_| measured).map(|figure| format!("{}.{figure}", span.name())),
            );
        }
        names.extend(Count::ALL.iter().map(|count| own(count.name())));
        names.extend(["online_max", "devices_missing", "fleet_cpu_share", "fleet_rss_bytes"].map(own));
        names
    }

    /// Holds the run against bounds, and notes what came of it.
    pub fn check(&mut self, checks: &[Check]) {
        let figures = self.figures();
        let results = checks.iter().map(|check| {
            let value = figures.get(&check.figure).copied();
            let passed = value.is_some_and(|value| check.holds(value));
            CheckResult { check: check.to_string(), value, passed }
        });
        self.checks = results.collect();
    }

    /// Whether every bound held.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.passed)
    }

    fn main_span(plan: &Plan, has_backend: bool) -> Span {
        match () {
            () if has_backend => Span::Up,
            () if plan.is_heard() => Span::Echo,
            () => Span::Publish,
        }
    }
}

/// What a moment was before it said so.
fn a_second() -> f64 {
    1.0
}

fn percentiles(latency: &Percentiles) -> [(&'static str, f64); 5] {
    [
        ("p50_ms", latency.p50_ms),
        ("p90_ms", latency.p90_ms),
        ("p99_ms", latency.p99_ms),
        ("p999_ms", latency.p999_ms),
        ("max_ms", latency.max_ms),
    ]
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::plan::tests::plan;
    use crate::{DirectionVerdict, Latency};

    pub(crate) fn summary() -> Summary {
        let mut figures = Figures::default();
        figures.count_many(Count::Published, 1_000);
        (1..=1_000).for_each(|ms| figures.took(Span::Up, Duration::from_millis(ms)));
        figures.took(Span::Publish, Duration::from_millis(2));
        let up = DirectionVerdict {
            expected: 1_000,
            arrived: 999,
            lost: 1,
            lost_examples: vec!["fleet-000001/7".to_owned()],
            ..DirectionVerdict::default()
        };
        Summary {
            version: Summary::VERSION,
            plan: plan(),
            command_rate: Some(0.0),
            began_at_ms: 0,
            measured_s: 10.0,
            cores: 2,
            workers: 1,
            online_max: 10,
            counts: Summary::counts_of(&figures),
            latencies: Summary::latencies_of(&figures),
            verdict: Verdict { up: Some(up), ..Verdict::default() },
            fleet: Usage { cpu_cores: 0.5, rss_bytes: 1 << 20, rss_max_bytes: 2 << 20 },
            watched: BTreeMap::new(),
            timeline: Vec::new(),
            checks: Vec::new(),
            remarks: Vec::new(),
        }
    }

    #[test]
    fn a_run_is_held_against_its_bounds() {
        let mut summary = summary();
        summary.check(&Check::parse_list("p99_ms<1000,published=1000,fleet_cpu_share<0.8").unwrap());
        assert!(summary.passed(), "{:?}", summary.checks);
        summary.check(&Check::parse_list("p99_ms<1000,lost=0").unwrap());
        assert!(!summary.passed());
        assert_eq!(
            summary.checks[1],
            CheckResult { check: "lost=0".to_owned(), value: Some(1.0), passed: false }
        );
        summary.check(&Check::parse_list("down.p99_ms<1").unwrap());
        assert!(!summary.passed(), "what was not measured holds no bound");
    }

    #[test]
    fn nothing_is_said_to_be_whole_while_a_device_has_not_told_what_it_has() {
        let mut summary = summary();
        summary.verdict.up =
            Some(DirectionVerdict { expected: 5, arrived: 5, ..DirectionVerdict::default() });
        summary.check(&Check::parse_list("lost=0,up.lost=0,devices_missing=0").unwrap());
        assert!(summary.passed());
        summary.verdict.devices_missing = 1;
        summary.check(&Check::parse_list("lost=0,up.lost=0,duplicates=0,devices_missing=0").unwrap());
        assert!(summary.checks.iter().all(|check| !check.passed), "{:?}", summary.checks);
    }

    #[test]
    fn names_that_can_be_checked_are_known_before_the_run() {
        let names = Summary::figure_names(&plan(), true);
        let unknown: Vec<String> =
            summary().figures().into_keys().filter(|name| !names.contains(name)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
        let without = Summary::figure_names(&plan(), false);
        assert!(!without.contains(&"lost".to_owned()), "nothing says what was lost where nobody receives");
    }

    #[test]
    fn it_reads_back() {
        let json = serde_json::to_string(&summary()).unwrap();
        assert_eq!(serde_json::from_str::<Summary>(&json).unwrap(), summary());
        assert_eq!(Latency::default().percentiles(), None);
    }
}
