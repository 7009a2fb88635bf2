//! `roost user` as it can be typed.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use roost_gateway::authentication::scram::Verifier;

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Add a user to a file, or give one another password
    Add(AddUserArguments),
    /// Take a user out of a file
    Remove(RemoveUserArguments),
}

/// Add a user to a file, or give one another password.
#[derive(Debug, Args)]
#[command(
    after_help = "The password is typed twice, or is the first line of the standard input; it is not kept. The file is made if it is \
    not there, and only its owner may read it: the user that the gateway runs as. Gateways read it when they start.\n\n\
    Exit status: 0 the user is there; 1 the file, the name or the password is not as it should be; 64 wrong usage."
)]
pub(crate) struct AddUserArguments {
    /// The file that a gateway's `authentication: scram: file` names
    #[arg(long, value_name = "FILE")]
    pub(crate) scram: PathBuf,
    /// What a password costs who tries it, and a device each time that it logs in; 4096 is for passwords that are drawn at random, those
    /// that people choose want 15000 and more
    #[arg(long, value_name = "N", default_value_t = Verifier::ITERATIONS_MIN,
        value_parser = clap::value_parser!(u32).range(i64::from(Verifier::ITERATIONS_MIN)..=i64::from(Verifier::ITERATIONS_MAX)))]
    pub(crate) iterations: u32,
    /// The user; case counts
    pub(crate) name: String,
}

/// Take a user out of a file.
#[derive(Debug, Args)]
#[command(after_help = "Who is connected stays so; gateways read the file when they start.\n\n\
    Exit status: 0 the user is out; 1 there was none, or the file is not as it should be; 64 wrong usage.")]
pub(crate) struct RemoveUserArguments {
    /// The file that a gateway's `authentication: scram: file` names
    #[arg(long, value_name = "FILE")]
    pub(crate) scram: PathBuf,
    /// The user; case counts
    pub(crate) name: String,
}
