//! Runs seeds, or replays one.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use roost_simulation::{Break, Coverage, Plan, Report, run};

/// Runs the simulation of the whole mesh.
#[derive(Debug, Parser)]
struct Arguments {
    /// Run this seed alone.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Run so many seeds.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Print every event.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Break a rule on purpose: acknowledge-before-fsync, two-holders or forget-without-compare.
    #[arg(long = "break", value_parser = plant)]
    plant: Option<Break>,
    /// Print how often each thing happened.
    #[arg(long)]
    coverage: bool,
    /// Write what came of it to this page.
    #[arg(long)]
    page: Option<PathBuf>,
}

#[expect(clippy::print_stdout, reason = "it is the command line")]
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seeds = match arguments.seed {
        Some(seed) => seed..seed.saturating_add(1),
        None => arguments.from..arguments.from.saturating_add(arguments.seeds),
    };
    let (began, mut totals) = (Instant::now(), Totals::default());
    let mut coverage = Coverage::default();
    let mut failed = 0;
    for seed in seeds {
        let report = run(Plan { seed, plant: arguments.plant, prints: arguments.trace });
        coverage.add(&report);
        totals.events += report.events;
        totals.seconds += report.seconds;
        if arguments.seed.is_some() || !report.broken.is_empty() {
            tell(&report);
        }
        failed += u64::from(!report.broken.is_empty());
    }
    if arguments.coverage {
        for (what, times) in &coverage.happened {
            println!("{times:>9}  {what}");
        }
    }
    println!("{} seeds, {failed} failed", coverage.runs);
    if let Some(page) = &arguments.page {
        let text = totals.page(&arguments, &coverage, failed, began.elapsed().as_secs());
        if let Err(error) = std::fs::write(page, text) {
            println!("{}: {error}", page.display());
            return ExitCode::FAILURE;
        }
    }
    if failed > 0 {
        println!("replay a failed seed with --seed and --trace");
        return ExitCode::FAILURE;
    }
    // What never occurs is not tested; a single seed need not meet everything.
    let missing = coverage.missing();
    if arguments.seed.is_none() && !missing.is_empty() {
        println!("these never occurred: {}", missing.join(", "));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

#[expect(clippy::print_stdout, reason = "it is the command line")]
fn tell(report: &Report) {
    let Report { seed, hash, events, seconds, broken, .. } = report;
    println!("seed {seed}: trace {hash:016x}, {events} events in {seconds} s, {} broken rules", broken.len());
    for what in broken {
        println!("  {what}");
    }
}

/// What all runs did together.
#[derive(Debug, Default)]
struct Totals {
    events: u64,
    seconds: u64,
}

impl Totals {
    fn page(&self, arguments: &Arguments, coverage: &Coverage, failed: u64, took_s: u64) -> String {
        let Self { events, seconds } = self;
        let (from, runs, hours) = (arguments.from, coverage.runs, seconds / 3_600);
        let mut text = format!(
            "# Simulation\n\n`tests/long simulation --seeds {runs}`: the whole mesh under faults, every rule judged at the end of each run. \
             What is modelled\nstands in [its README](../../tests/simulation/README.md).\n\n\
             | | |\n|---|---|\n| seeds | {from} to {} |\n| runs with a broken rule | {failed} |\n| events | {events} |\n\
             | hours on the simulated clock | {hours} |\n| seconds it took, on one core | {took_s} |\n\n\
             What happened in them, all together:\n\n| times | what |\n|---|---|\n",
            from + runs - 1,
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
