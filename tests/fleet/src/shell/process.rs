//! What processes take of the machine, as `/proc` tells it.

use std::time::Duration;

use roost_wire::BootTime;

use super::clock;
use crate::Usage;

/// Some processes that are one thing to the reader, watched over time.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) name: String,
    pids: Vec<u32>,
    last: Option<Sample>,
    /// Where the measured time began.
    mark: Option<Sample>,
    rss_max_bytes: u64,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: BootTime,
    cpu: Duration,
    rss_bytes: u64,
    anonymous_bytes: u64,
}

impl Watch {
    pub(super) fn new(name: impl Into<String>, pids: Vec<u32>) -> Self {
        Self { name: name.into(), pids, last: None, mark: None, rss_max_bytes: 0 }
    }

    /// The cores kept busy since the last look, the resident memory, and what of it is anonymous; `None` at first, and once the
    /// processes are gone.
    pub(super) fn look(&mut self) -> Option<(f64, u64, u64)> {
        let sample = self.sample()?;
        self.rss_max_bytes = self.rss_max_bytes.max(sample.rss_bytes);
        let last = self.last.replace(sample)?;
        Some((cores(last, sample), sample.rss_bytes, sample.anonymous_bytes))
    }

    /// The measured time begins.
    pub(super) fn mark(&mut self) {
        self.mark = self.sample();
    }

    /// What it took since the mark, up to the last look.
    pub(super) fn usage(&self) -> Usage {
        let Some(last) = self.last else { return Usage::default() };
        let cpu_cores = self.mark.map_or(0.0, |mark| cores(mark, last));
        Usage { cpu_cores, rss_bytes: last.rss_bytes, rss_max_bytes: self.rss_max_bytes }
    }

    fn sample(&self) -> Option<Sample> {
        let mut sum = Sample { at: clock::now(), cpu: Duration::ZERO, rss_bytes: 0, anonymous_bytes: 0 };
        for pid in &self.pids {
            let (cpu, rss_bytes, anonymous_bytes) = read(*pid)?;
            sum.cpu += cpu;
            sum.rss_bytes += rss_bytes;
            sum.anonymous_bytes += anonymous_bytes;
        }
        Some(sum)
    }
}

fn cores(from: Sample, to: Sample) -> f64 {
    let wall = to.at.since(from.at).as_secs_f64();
    if wall > 0.0 { to.cpu.saturating_sub(from.cpu).as_secs_f64() / wall } else { 0.0 }
}

/// CPU time, resident memory, and that without pages of files (proc_pid_stat(5), proc_pid_statm(5)).
fn read(pid: u32) -> Option<(Duration, u64, u64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, and may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |field: usize| fields.get(field).and_then(|text| text.parse::<u64>().ok());
    let cpu_ticks = ticks(11)? + ticks(12)?;
    let cpu = Duration::from_secs_f64(cpu_ticks as f64 / rustix::param::clock_ticks_per_second() as f64);
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let mut pages = statm.split_whitespace().skip(1).map_while(|text| text.parse::<u64>().ok());
    let (resident, shared) = (pages.next()?, pages.next()?);
    let bytes = |pages: u64| pages * rustix::param::page_size() as u64;
    Some((cpu, bytes(resident), bytes(resident.saturating_sub(shared))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_takes_memory_and_time() {
        let mut watch = Watch::new("self", vec![std::process::id()]);
        assert_eq!(watch.look(), None, "there is no last look");
        watch.mark();
        let begin = read(std::process::id()).unwrap().0;
        let mut sum = 0_u64;
        while read(std::process::id()).unwrap().0 == begin {
            sum = (0..100_000).fold(sum, u64::wrapping_add);
        }
        let (cpu_cores, rss_bytes, anonymous_bytes) = watch.look().unwrap();
        assert!((1..rss_bytes).contains(&anonymous_bytes), "{anonymous_bytes} of {rss_bytes}");
        assert!(cpu_cores > 0.0 && rss_bytes > 100_000 && sum > 0, "{cpu_cores} {rss_bytes}");
        assert!(watch.usage().rss_max_bytes >= rss_bytes);
    }

    #[test]
    fn a_process_that_is_gone_has_nothing_more() {
        assert_eq!(Watch::new("gone", vec![u32::MAX]).look(), None);
    }
}
