//! `roost`: parse, build, run, drain. Nothing else.

mod api;
mod cli;
mod config_check;
mod locate;
mod log;
mod send;
mod span;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use cli::{Cli, Command, ConfigCommand};

/// A command line that cannot be understood. (clap's own 2 means something else to `roost send`.)
const EXIT_USAGE: u8 = 64;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "roost: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Config { command: ConfigCommand::Check { file } } => config_check::run(&file),
        Command::Send(arguments) => {
            log::start(cli.log.as_deref(), log::QUIET)?;
            client_runtime()?.block_on(send::run(arguments))
        }
        Command::Locate(arguments) => {
            log::start(cli.log.as_deref(), log::QUIET)?;
            client_runtime()?.block_on(locate::run(arguments))
        }
    }
}

/// One thread is enough to ask one question.
fn client_runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn usage(error: &clap::Error) -> ExitCode {
    // A pipe that nobody reads any more is no reason to fail otherwise than by this code.
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        _ => ExitCode::from(EXIT_USAGE),
    }
}
