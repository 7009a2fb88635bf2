//! Runs files through a target: to see what a failing one does, or what a corpus meets.

#![allow(clippy::print_stdout, reason = "it is a command line")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use roost_fuzzing::sessions::{self, Met};
use roost_fuzzing::{packets, shard, subscriptions};

const USAGE: &str = "usage: roost-fuzzing packets|sessions|shard|subscriptions FILE|FOLDER…";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((target, paths)) = arguments.split_first().filter(|(_, paths)| !paths.is_empty()) else {
        println!("{USAGE}");
        return ExitCode::from(2);
    };
    let mut inputs = Vec::new();
    for path in paths {
        if let Err(error) = read(Path::new(path), &mut inputs) {
            println!("{path}: {error}");
            return ExitCode::from(2);
        }
    }
    match target.as_str() {
        "packets" => {
            let found: Vec<_> = inputs.iter().map(|(_, input)| packets::check(input)).collect();
            println!("| packets decoded | {} |", found.iter().map(|found| found.packets).sum::<usize>());
            println!("| inputs refused | {} |", found.iter().filter(|found| found.is_refused).count());
        }
        "shard" => {
            println!("| steps | {} |", inputs.iter().map(|(_, input)| shard::check(input)).sum::<u64>())
        }
        "subscriptions" => {
            println!(
                "| steps | {} |",
                inputs.iter().map(|(_, input)| subscriptions::check(input)).sum::<u64>()
            );
        }
        "sessions" => return run_sessions(&inputs),
        _ => {
            println!("{USAGE}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn run_sessions(inputs: &[(PathBuf, Vec<u8>)]) -> ExitCode {
    let mut met = Met::default();
    for (path, input) in inputs {
        match sessions::check(input) {
            Ok(more) => met.add(&more),
            Err(error) => {
                let shortest = sessions::shorten(input, |input| sessions::check(input).is_err());
                println!("{}: {error}\n\nshortened:\n{}", path.display(), sessions::describe(&shortest));
                println!("{:?}", sessions::check(&shortest).err());
                return ExitCode::FAILURE;
            }
        }
    }
    for what in Met::ALL {
        println!("| {what} | {} |", met.of(what));
    }
    ExitCode::SUCCESS
}

/// A file, or those in a folder, in the order of their names.
fn read(path: &Path, inputs: &mut Vec<(PathBuf, Vec<u8>)>) -> std::io::Result<()> {
    if !path.is_dir() {
        inputs.push((path.to_owned(), std::fs::read(path)?));
        return Ok(());
    }
    let mut paths =
        std::fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    paths.sort();
    paths.into_iter().try_for_each(|path| read(&path, inputs))
}
