//! CPU time of a process, as proc_pid_stat(5) tells it.

use std::time::{Duration, Instant};

use anyhow::Context;

/// A stopwatch for the wall and for one process's CPU.
pub(crate) struct Meter {
    pid: u32,
    wall: Instant,
    cpu: Duration,
}

impl Meter {
    pub(crate) fn start(pid: u32) -> anyhow::Result<Self> {
        Ok(Self { pid, wall: Instant::now(), cpu: cpu_time(pid)? })
    }

    /// Cores that it kept busy since the start, on average.
    pub(crate) fn cores(&self) -> anyhow::Result<f64> {
        Ok(self.used()?.as_secs_f64() / self.wall.elapsed().as_secs_f64())
    }

    /// CPU time since the start.
    pub(crate) fn used(&self) -> anyhow::Result<Duration> {
        Ok(cpu_time(self.pid)?.saturating_sub(self.cpu))
    }
}

/// Resident memory of a process, in bytes.
pub(crate) fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let file = format!("/proc/{pid}/statm");
    let statm = std::fs::read_to_string(&file).with_context(|| file.clone())?;
    let pages: Option<u64> = statm.split_whitespace().nth(1).and_then(|field| field.parse().ok());
    let pages = pages.with_context(|| format!("{file} has another shape"))?;
    Ok(pages * rustix::param::page_size() as u64)
}

/// User and system time together.
fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let file = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&file).with_context(|| file.clone())?;
    // The second field is the program's name in parentheses, and may hold anything.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let ticks: Vec<u64> = fields.skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    anyhow::ensure!(ticks.len() == 2, "{file} has another shape");
    let ticks_per_second = rustix::param::clock_ticks_per_second() as f64;
    Ok(Duration::from_secs_f64(ticks.iter().sum::<u64>() as f64 / ticks_per_second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_at_work_keeps_a_core_busy() {
        let meter = Meter::start(std::process::id()).unwrap();
        let begin = cpu_time(std::process::id()).unwrap();
        let mut sum = 0_u64;
        while cpu_time(std::process::id()).unwrap() == begin {
            sum = (0..100_000).fold(sum, u64::wrapping_add);
        }
        assert!(meter.cores().unwrap() > 0.0 && sum > 0);
        assert!(Meter::start(u32::MAX).is_err());
    }
}
