//! `roost`: parse, build, run, drain. Nothing else.

mod api;
mod cli;
mod config_check;
mod dev;
mod fleet;
mod locate;
mod log;
mod role;
mod send;
mod span;
mod spool;
mod stop;
mod top;
mod user;
mod why;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use cli::{Cli, Command, ConfigCommand, GatewayArguments, GatewayCommand, RoleArguments, UserCommand};
use roost_config::Role;

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
            let _ = writeln!(std::io::stderr(), "roost: {}", sentence(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let (log, format) = (cli.log.as_deref(), cli.log_format);
    let role = |role: Role, arguments: &RoleArguments| {
        log::start(log, format, log::SERVING)?;
        role::run(role, &arguments.config, arguments.with_parent)
    };
    match cli.command {
        Command::Dev(arguments) => {
            log::start(log, format, log::QUIET)?;
            dev::run(arguments)
        }
        Command::Gateway(GatewayArguments {
            command: Some(GatewayCommand::Spool { admin, output }), ..
        }) => {
            log::start(log, format, log::QUIET)?;
            client_runtime()?.block_on(spool::run(&admin, output))
        }
        Command::Gateway(GatewayArguments { config, with_parent, command: None }) => {
            let config = config.expect("clap asks for it where there is no subcommand");
            role(Role::Gateway, &RoleArguments { config, with_parent })
        }
        Command::Router(arguments) => role(Role::Router, &arguments),
        Command::Backend(arguments) => role(Role::Backend, &arguments),
        Command::Config { command: ConfigCommand::Check { file } } => config_check::run(&file),
        Command::User { command: UserCommand::Add(arguments) } => user::add(&arguments),
        Command::User { command: UserCommand::Remove(arguments) } => user::remove(&arguments),
        Command::Send(arguments) => {
            log::start(log, format, log::QUIET)?;
            client_runtime()?.block_on(send::run(arguments))
        }
        Command::Locate(arguments) => {
            log::start(log, format, log::QUIET)?;
            client_runtime()?.block_on(locate::run(arguments))
        }
        Command::Why(arguments) => {
            log::start(log, format, log::QUIET)?;
            client_runtime()?.block_on(why::run(arguments))
        }
        Command::Top(arguments) => {
            log::start(log, format, log::QUIET)?;
            client_runtime()?.block_on(top::run(arguments))
        }
        Command::Fleet(arguments) => {
            log::start(log, format, log::QUIET)?;
            fleet::run(&arguments)
        }
    }
}

/// One thread is enough to ask one question.
fn client_runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// The error and its causes, without those that it tells itself already.
fn sentence(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        match () {
            () if text.is_empty() => text = cause,
            () if !text.contains(&cause) => text += &format!(": {cause}"),
            () => {}
        }
    }
    text
}

fn usage(error: &clap::Error) -> ExitCode {
    // A pipe that nobody reads any more is no reason to fail otherwise than by this code.
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        _ => ExitCode::from(EXIT_USAGE),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let error = Err::<(), _>(anyhow!("disk full"))
            .context("the journal: disk full")
            .context("starting")
            .unwrap_err();
        assert_eq!(sentence(&error), "starting: the journal: disk full");
    }
}
