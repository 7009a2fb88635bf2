//! Runs seeds, or replays one.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{available_parallelism, scope};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;
use roost_simulation::{Break, Burst, Coverage, Plan, Report, diagram, run};

/// Runs the simulation of the whole mesh.
#[derive(Debug, Parser)]
struct Arguments {
    /// Run this seed alone.
    #[arg(long, conflicts_with_all = ["seeds", "from", "sim_for"])]
    seed: Option<u64>,
    /// Run so many seeds.
    #[arg(long, default_value_t = 200, conflicts_with = "sim_for")]
    seeds: u64,
    /// Run for so long: 90s, 10m, 8h.
    #[arg(long = "for", id = "sim_for", value_parser = duration)]
    sim_for: Option<Duration>,
    /// The first of them; with --for the default is drawn from the calendar.
    #[arg(long)]
    from: Option<u64>,
    /// How many at a time; 0: one for each core.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Print every event.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Draw who sent what to whom, round this device or, without one, round the first rule that is broken.
    #[arg(long, requires = "seed", value_name = "DEVICE", num_args = 0..=1, value_parser = device)]
    diagram: Option<Option<usize>>,
    /// Break a rule on purpose; --break help lists them.
    #[arg(long = "break", value_parser = plant)]
    plant: Option<Break>,
    /// Let nothing go wrong but such bursts of faults; --burst help lists them.
    #[arg(long, value_parser = burst)]
    burst: Option<Burst>,
    /// Print how often each thing happened.
    #[arg(long)]
    coverage: bool,
    /// Write what came of it to this page.
    #[arg(long)]
    page: Option<PathBuf>,
}

/// Broken rules of one seed that are told.
const BROKEN_MAX: usize = 20;
/// Diagrams of failed seeds that are drawn; of the others the numbers are told.
const DIAGRAMS_MAX: u64 = 3;

#[expect(clippy::print_stdout, reason = "it is the command line")]
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let began = Instant::now();
    let from = match (arguments.seed, arguments.from, arguments.sim_for) {
        (Some(seed), ..) | (None, Some(seed), _) => seed,
        (None, None, Some(_)) => drawn(),
        (None, None, None) => 0,
    };
    let count = if arguments.seed.is_some() { 1 } else { arguments.seeds };
    let end = arguments.sim_for.map_or(from.saturating_add(count), |_| u64::MAX);
    if let Some(time) = arguments.sim_for {
        println!("from seed {from} on, for {} s", time.as_secs());
    }
    let totals = Mutex::new(Totals::default());
    let next = AtomicU64::new(from);
    let is_over = || arguments.sim_for.is_some_and(|time| began.elapsed() >= time);
    let work = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end || is_over() {
            break;
        }
        let plan = Plan { seed, plant: arguments.plant, burst: arguments.burst, prints: arguments.trace };
        let report = run(plan);
        let is_told = arguments.seed.is_some() || !report.broken.is_empty();
        let failed = totals.lock().expect("no run has panicked").add(&report);
        if is_told {
            tell(&report);
        }
        if !report.broken.is_empty() {
            println!("  replay: tests/run --sim {seed}; diagram: tests/run --sim {seed} --diagram");
            if arguments.diagram.is_none() && failed <= DIAGRAMS_MAX {
                println!("{}", diagram(plan, None));
            }
        }
        if let Some(device) = arguments.diagram {
            println!("{}", diagram(plan, device));
        }
    };
    scope(|scope| {
        for _ in 0..threads(&arguments) {
            scope.spawn(work);
        }
    });
    let totals = totals.into_inner().expect("no run has panicked");
    conclude(&arguments, from, &totals, began.elapsed())
}

#[expect(clippy::print_stdout, reason = "it is the command line")]
fn conclude(arguments: &Arguments, from: u64, totals: &Totals, took: Duration) -> ExitCode {
    let coverage = &totals.coverage;
    if arguments.coverage {
        for (what, times) in &coverage.happened {
            println!("{times:>9}  {what}");
        }
    }
    println!("{} seeds, {} failed, {} s", coverage.runs, totals.failed, took.as_secs());
    if let Some(page) = &arguments.page {
        let text = totals.page(from, took.as_secs(), threads(arguments));
        if let Err(error) = std::fs::write(page, text) {
            println!("{}: {error}", page.display());
            return ExitCode::FAILURE;
        }
    }
    if totals.failed > 0 {
        return ExitCode::FAILURE;
    }
    // What never occurs is not tested; a single seed need not meet everything, nor a few.
    let missing = coverage.missing();
    if arguments.seed.is_none()
        && arguments.burst.is_none()
        && coverage.runs >= COVERED_BY
        && !missing.is_empty()
    {
        println!("these never occurred: {}", missing.join(", "));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// So many seeds meet everything.
const COVERED_BY: u64 = 200;

fn threads(arguments: &Arguments) -> usize {
    let cores = available_parallelism().map_or(1, usize::from);
    match (arguments.seed, arguments.threads) {
        (Some(_), _) => 1,
        (None, 0) => cores,
        (None, threads) => threads,
    }
}

/// A seed that no run before had.
fn drawn() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64 * 1_000
}

#[expect(clippy::print_stdout, reason = "it is the command line")]
fn tell(report: &Report) {
    let Report { seed, hash, events, seconds, broken, .. } = report;
    println!("seed {seed}: trace {hash:016x}, {events} events in {seconds} s, {} broken rules", broken.len());
    for what in broken.iter().take(BROKEN_MAX) {
        println!("  {what}");
    }
    if let Some(more) = broken.len().checked_sub(BROKEN_MAX).filter(|more| *more > 0) {
        println!("  and {more} more");
    }
}

/// What all runs did together.
#[derive(Debug, Default)]
struct Totals {
    coverage: Coverage,
    failed: u64,
    events: u64,
    seconds: u64,
}

impl Totals {
    /// How many have failed by now.
    fn add(&mut self, report: &Report) -> u64 {
        self.coverage.add(report);
        self.events += report.events;
        self.seconds += report.seconds;
        self.failed += u64::from(!report.broken.is_empty());
        self.failed
    }

    fn page(&self, from: u64, took_s: u64, threads: usize) -> String {
        let Self { coverage, failed, events, seconds } = self;
        let (runs, hours) = (coverage.runs, seconds / 3_600);
        let mut text = format!(
            "# Simulation\n\n`tests/long simulation --seeds {runs}`: the whole mesh under faults, every rule judged at the end of each run. \
             What is modelled\nstands in [its README](../../tests/simulation/README.md).\n\n\
             | | |\n|---|---|\n| seeds | {from} to {} |\n| runs with a broken rule | {failed} |\n| events | {events} |\n\
             | hours on the simulated clock | {hours} |\n| seconds it took | {took_s} |\n| at a time | {threads} |\n\n\
             What happened in them, all together:\n\n| times | what |\n|---|---|\n",
            from + runs.saturating_sub(1),
        );
        for (what, times) in &coverage.happened {
            writeln!(text, "| {times} | {what} |").expect("text takes all");
        }
        text
    }
}

fn plant(text: &str) -> Result<Break, String> {
    let found = Break::ALL.into_iter().find(|plant| plant.as_str() == text);
    found.ok_or_else(|| format!("one of {}", Break::ALL.map(Break::as_str).join(", ")))
}

fn burst(text: &str) -> Result<Burst, String> {
    let found = Burst::ALL.into_iter().find(|burst| burst.as_str() == text);
    found.ok_or_else(|| format!("one of {}", Burst::ALL.map(Burst::as_str).join(", ")))
}

/// `12`, or `device-12`.
fn device(text: &str) -> Result<usize, String> {
    let number = text.strip_prefix("device-").unwrap_or(text);
    number.parse().map_err(|_| format!("{text:?} is no device: 12, or device-12"))
}

/// `90s`, `10m`, `8h`.
fn duration(text: &str) -> Result<Duration, String> {
    let error = || format!("{text:?} is no time: 90s, 10m, 8h");
    let (number, unit) = text.split_at(text.len().saturating_sub(1));
    let number: u64 = number.parse().map_err(|_| error())?;
    let seconds = match unit {
        "s" => number,
        "m" => number * 60,
        "h" => number * 3_600,
        _ => return Err(error()),
    };
    Ok(Duration::from_secs(seconds))
}
