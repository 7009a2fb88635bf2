//! The moments of a run as its report has them: as many of a long run as of a short one.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::{Count, Figures, Moment, Percentiles, Span};

/// So many moments of the measured time show all that a plot can; a run of hours keeps no more.
const MOMENTS_MAX: u32 = 200;

/// Puts looks at a run together to moments.
#[derive(Debug)]
pub(crate) struct Timeline {
    /// How long a moment is, in seconds.
    length_s: f64,
    moments: Vec<Packed>,
    /// The processes that are watched.
    names: Vec<String>,
    /// What the next moment is made of.
    figures: Figures,
    looks: u32,
    current: Moment,
}

/// A moment in a tenth of the memory that its names would take: a long run is not to grow for being looked at.
#[derive(Debug)]
struct Packed {
    at_s: f64,
    lasted_s: f64,
    measured: bool,
    online: i64,
    /// By [`Count`].
    counts: Box<[u64]>,
    /// By [`Span`].
    latencies: Box<[Option<Percentiles>]>,
    /// By place in [`Timeline::names`].
    processes: Box<[Process]>,
}

/// What is known of a process.
#[derive(Debug)]
struct Process {
    cpu_cores: Option<f64>,
    rss_bytes: Option<u64>,
    anonymous_bytes: Option<u64>,
}

impl Timeline {
    /// Of a run that is measured for so long. Moments are at least a second.
    pub(crate) fn new(measured: Duration) -> Self {
        let length_s = (measured.as_secs_f64() / f64::from(MOMENTS_MAX)).max(1.0);
        Self {
            length_s,
            // Those before and behind the measured time come on top.
            moments: Vec::with_capacity(MOMENTS_MAX as usize + 100),
            names: Vec::new(),
            figures: Figures::default(),
            looks: 0,
            current: Moment::default(),
        }
    }

    /// Adds a look at the run, and what was counted and timed since the one before.
    pub(crate) fn add(&mut self, look: &Moment, figures: &Figures) {
        if self.looks > 0 && self.current.measured != look.measured {
            self.finish();
        }
        self.figures.add(figures);
        self.looks += 1;
        let current = &mut self.current;
        let lasted_s = current.lasted_s + look.lasted_s;
        for (name, cores) in &look.cpu_cores {
            let mean = current.cpu_cores.entry(name.clone()).or_default();
            *mean = (*mean * current.lasted_s + cores * look.lasted_s) / lasted_s.max(f64::MIN_POSITIVE);
        }
        (current.at_s, current.measured, current.online) = (look.at_s, look.measured, look.online);
        current.lasted_s = lasted_s;
        let pairs = |bytes: &BTreeMap<String, u64>| bytes.clone().into_iter();
        current.rss_bytes.extend(pairs(&look.rss_bytes));
        current.anonymous_bytes.extend(pairs(&look.anonymous_bytes));
        // A look comes a little late, always: it is not to wait for one more.
        if lasted_s > self.length_s - 0.5 {
            self.finish();
        }
    }

    /// All moments.
    pub(crate) fn into_moments(mut self) -> Vec<Moment> {
        if self.looks > 0 {
            self.finish();
        }
        self.moments.iter().map(|packed| packed.unpack(&self.names)).collect()
    }

    fn finish(&mut self) {
        let moment = std::mem::take(&mut self.current);
        for name in moment.rss_bytes.keys().chain(moment.cpu_cores.keys()) {
            if !self.names.contains(name) {
                self.names.push(name.clone());
            }
        }
        self.moments.push(Packed::of(&moment, &self.figures, &self.names));
        self.figures.clear();
        self.looks = 0;
    }
}

impl Packed {
    fn of(moment: &Moment, figures: &Figures, names: &[String]) -> Self {
        let process = |name: &String| Process {
            cpu_cores: moment.cpu_cores.get(name).copied(),
            rss_bytes: moment.rss_bytes.get(name).copied(),
            anonymous_bytes: moment.anonymous_bytes.get(name).copied(),
        };
        Self {
            at_s: moment.at_s,
            lasted_s: moment.lasted_s,
            measured: moment.measured,
            online: moment.online,
            counts: Count::ALL.iter().map(|count| figures.of(*count)).collect(),
            latencies: Span::ALL.iter().map(|span| figures.latency(*span).percentiles()).collect(),
            processes: names.iter().map(process).collect(),
        }
    }

    fn unpack(&self, names: &[String]) -> Moment {
        let counts = Count::ALL.iter().zip(&self.counts).filter(|(_, many)| **many > 0);
        let latencies = Span::ALL.iter().zip(&self.latencies);
        let processes = || names.iter().zip(&self.processes);
        Moment {
            at_s: self.at_s,
            lasted_s: self.lasted_s,
            measured: self.measured,
            online: self.online,
            counts: counts.map(|(count, many)| (count.name().to_owned(), *many)).collect(),
            latencies: latencies
                .filter_map(|(span, percentiles)| Some((span.name().to_owned(), (*percentiles)?)))
                .collect(),
            cpu_cores: processes()
                .filter_map(|(name, process)| Some((name.clone(), process.cpu_cores?)))
                .collect(),
            rss_bytes: processes()
                .filter_map(|(name, process)| Some((name.clone(), process.rss_bytes?)))
                .collect(),
            anonymous_bytes: processes()
                .filter_map(|(name, process)| Some((name.clone(), process.anonymous_bytes?)))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Count;

    fn look(second: u32, cores: f64) -> Moment {
        Moment {
            at_s: f64::from(second),
            lasted_s: 1.0,
            measured: second > 2,
            online: 7,
            cpu_cores: [("broker".to_owned(), cores)].into(),
            rss_bytes: [("broker".to_owned(), u64::from(second))].into(),
            ..Moment::default()
        }
    }

    fn timeline(measured: Duration, seconds: u32) -> Vec<Moment> {
        let mut timeline = Timeline::new(measured);
        let mut figures = Figures::default();
        figures.count_many(Count::Published, 10);
        (1..=seconds).for_each(|second| timeline.add(&look(second, f64::from(second % 2)), &figures));
        timeline.into_moments()
    }

    #[test]
    fn a_short_run_has_a_moment_each_second() {
        let moments = timeline(Duration::from_secs(60), 60);
        assert_eq!(moments.len(), 60);
        assert_eq!((moments[7].at_s, moments[7].lasted_s, moments[7].counts["published"]), (8.0, 1.0, 10));
    }

    #[test]
    fn a_long_run_has_no_more_and_each_says_how_long_it_was() {
        let moments = timeline(Duration::from_secs(1_800), 1_802);
        assert!(moments.len() <= 202, "{}", moments.len());
        let measured: Vec<&Moment> = moments.iter().filter(|moment| moment.measured).collect();
        assert!(measured.iter().all(|moment| moment.lasted_s <= 9.0 && moment.online == 7));
        let published: u64 = moments.iter().map(|moment| moment.counts["published"]).sum();
        assert_eq!(published, 18_020, "nothing is left out");
        assert!((measured[3].cpu_cores["broker"] - 0.5).abs() < 0.06, "a mean");
        assert_eq!(measured[3].rss_bytes["broker"], measured[3].at_s as u64, "what it was at its end");
        assert!(measured[3].anonymous_bytes.is_empty() && measured[3].latencies.is_empty(), "nobody told");
        assert_eq!(moments[0].lasted_s, 2.0, "what is not measured is not mixed with what is");
    }
}
