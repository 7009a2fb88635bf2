//! The command line as it can be typed.

mod demo;
mod fleet;
mod user;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use reqwest::Url;
use roost_backend::AmqpAddress;
use roost_config::Threads;
use roost_wire::{Device, MessageId, SampleRatio, Topic};

use crate::dev::Listener;
use crate::span;

pub(crate) use demo::DemoArguments;
pub(crate) use fleet::{FleetArguments, MqttArgument, ProxyHeaderArgument, ReconnectArgument};
pub(crate) use user::{AddUserArguments, RemoveUserArguments, UserCommand};

/// A federated messaging mesh for fleets of devices.
#[derive(Debug, Parser)]
#[command(
    name = "roost",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    /// What to log to stderr, for example `info` or `warn,roost_router=debug`
    #[arg(long, global = true, env = "ROOST_LOG", value_name = "FILTER")]
    pub(crate) log: Option<String>,
    /// How to log it: text for people, or JSON, one object a line
    #[arg(long, global = true, env = "ROOST_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How logs look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// For programs: timestamp, level, target, message, and the fields of the event beside them.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the whole mesh in one process, on loopback, to develop against
    Dev(DevArguments),
    /// Run a gateway: it faces devices
    Gateway(GatewayArguments),
    /// Run a router: it has custody of commands
    Router(RoleArguments),
    /// Run the embedded AMQP broker
    Backend(RoleArguments),
    /// Check configuration files
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Keep the users of gateways
    User {
        #[command(subcommand)]
        command: UserCommand,
    },
    /// Send a command to a device and print its receipt
    Send(SendArguments),
    /// Say where a device is
    Locate(LocateArguments),
    /// Say what happened to a command, step by step, and why
    Why(WhyArguments),
    /// Watch gateways, router and backend: what they do each second, and what they hold
    Top(TopArguments),
    /// Measure a broker or a mesh with thousands of simulated devices
    Fleet(Box<FleetArguments>),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Say whether a file is good
    ///
    /// The file's top-level key `role` says whether it is for a gateway, a router or a backend. Everything that is wrong
    /// is printed at once, one `file:line:column: message` per line, and the exit status is 1.
    Check {
        /// The YAML file
        file: PathBuf,
    },
}

/// Run the whole mesh in one process, on loopback, to develop against.
#[derive(Debug, Args)]
#[command(
    after_help = "Ctrl-C drains and exits 0; a second one exits at once, 130. With --for the exit status is 1 if a promise was broken."
)]
pub(crate) struct DevArguments {
    /// Add this to every port: 5672 8080 8081 8082 8083 1883 1884
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=i64::from(Listener::OFFSET_MAX)))]
    pub(crate) port_offset: u16,
    /// Keep journal and queues here [default: a temporary directory, removed at the end]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Use this RabbitMQ instead of the embedded broker
    #[arg(long, value_name = "URL")]
    pub(crate) amqp: Option<AmqpAddress>,
    /// Send OpenTelemetry spans to this collector by OTLP over HTTP, for example http://127.0.0.1:4318 [default: make none]
    #[arg(long, value_name = "URL", value_parser = roost_config::tracing::collector_address)]
    pub(crate) otlp: Option<String>,
    /// Of the traces that begin in the mesh record this share, from 0 to 1
    #[arg(long, value_name = "R", default_value = "1", requires = "otlp", value_parser = parse_sample)]
    pub(crate) trace_sample: SampleRatio,
    /// Threads of each gateway that serve devices; auto: one for each processor
    #[arg(long, value_name = "N", default_value_t = Threads::Exactly(1))]
    pub(crate) threads: Threads,
    #[command(flatten)]
    pub(crate) demo: DemoArguments,
}

/// Which file a role reads.
#[derive(Debug, Args)]
#[command(
    after_help = "SIGINT and SIGTERM drain within the file's shutdown_grace_s and exit 0; a second one exits at once, 130."
)]
pub(crate) struct RoleArguments {
    /// The role's YAML file; there is a commented one for each role in config/
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// End at once when standard input ends, with whoever started this
    #[arg(long, hide = true)]
    pub(crate) with_parent: bool,
}

/// Run a gateway: it faces devices.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "SIGINT and SIGTERM drain within the file's shutdown_grace_s and exit 0; a second one exits at once, 130."
)]
pub(crate) struct GatewayArguments {
    /// The role's YAML file; there is a commented one for each role in config/
    #[arg(long, value_name = "FILE", required = true)]
    pub(crate) config: Option<PathBuf>,
    /// End at once when standard input ends, with whoever started this
    #[arg(long, hide = true)]
    pub(crate) with_parent: bool,
    #[command(subcommand)]
    pub(crate) command: Option<GatewayCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum GatewayCommand {
    /// Say what waits in a running gateway's spool, and for how long it lasts
    #[command(
        after_help = "Exit status: 0 it takes events in; 1 it does not, the gateway has no spool, or nobody answers; 64 wrong usage."
    )]
    Spool {
        /// The gateway's admin address
        #[arg(value_name = "URL", value_parser = parse_url, default_value = "http://127.0.0.1:8081")]
        admin: Url,
        #[arg(short, long, value_enum, default_value_t = OutputArgument::Text)]
        output: OutputArgument,
    },
}

/// Where the router's API is.
#[derive(Debug, Args)]
pub(crate) struct ApiArgument {
    /// The router's HTTP API
    #[arg(long, env = "ROOST_API", value_name = "URL", default_value = "http://127.0.0.1:8080", value_parser = parse_url)]
    pub(crate) api: Url,
}

/// Send a command to a device and print its receipt.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 delivered or sent; 1 the command was not accepted, or the API is out of reach; \
    2 it ended otherwise (expired, rejected, superseded, unreachable, unknown); 3 no final receipt within --wait: the mesh \
    goes on trying; 64 wrong usage."
)]
pub(crate) struct SendArguments {
    /// To whom; the tenant is `main` if it is left out
    #[arg(value_name = "[TENANT/]DEVICE")]
    pub(crate) device: Device,
    /// On which topic the device gets it [default: devices/DEVICE/cmd]
    #[arg(long)]
    pub(crate) topic: Option<Topic>,
    /// What the device gets, as text
    #[arg(long, value_name = "TEXT", required_unless_present = "payload_file")]
    pub(crate) payload: Option<String>,
    /// What the device gets, from a file; `-` is the standard input
    #[arg(long, value_name = "FILE", conflicts_with = "payload")]
    pub(crate) payload_file: Option<PathBuf>,
    /// 1: until the device has acknowledged it; 0: until it is written
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=1))]
    pub(crate) qos: u8,
    /// How long the mesh may try, for example 30s or 2h [default: the router's, 24h]
    #[arg(long, value_name = "TIME", value_parser = span::parse)]
    pub(crate) expires: Option<Duration>,
    /// What to do while the device is away
    #[arg(long, value_enum, default_value_t = OfflineArgument::Park)]
    pub(crate) offline: OfflineArgument,
    /// Which receipts go to the exchange roost.receipts
    #[arg(long, value_enum, default_value_t = ReceiptsArgument::Final)]
    pub(crate) receipts: ReceiptsArgument,
    /// The idempotency key: a second command with the same one is the first [default: a new one]
    #[arg(long, value_name = "ID")]
    pub(crate) message_id: Option<MessageId>,
    /// Take the place of earlier commands for the device that have this key and still wait
    #[arg(long, value_name = "KEY")]
    pub(crate) supersede_key: Option<String>,
    /// How long to wait for the final receipt
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = span::parse_wait)]
    pub(crate) wait: Duration,
    /// How to print the receipt
    #[arg(short, long, value_enum, default_value_t = OutputArgument::Text)]
    pub(crate) output: OutputArgument,
    #[command(flatten)]
    pub(crate) api: ApiArgument,
}

/// Say where a device is.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 the answer is printed, whatever it is; 1 the API is out of reach; 64 wrong usage."
)]
pub(crate) struct LocateArguments {
    /// Which; the tenant is `main` if it is left out
    #[arg(value_name = "[TENANT/]DEVICE")]
    pub(crate) device: Device,
    /// Say also how sure that is, and what a send would do now and why
    #[arg(long)]
    pub(crate) explain: bool,
    /// How to print the answer; json is the API's own and always whole
    #[arg(short, long, value_enum, default_value_t = OutputArgument::Text)]
    pub(crate) output: OutputArgument,
    #[command(flatten)]
    pub(crate) api: ApiArgument,
}

/// Watch gateways, router and backend: what they do each second, and what they hold.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0; with --once 1 if no role answers; 64 wrong usage. What each figure means stands in docs/metrics.md."
)]
pub(crate) struct TopArguments {
    /// The admin addresses of gateways and backend, and the router's API; those of `roost dev` if none is named
    #[arg(value_name = "URL", value_parser = parse_url, default_values = DEV_ROLES)]
    pub(crate) roles: Vec<Url>,
    /// How long between two looks
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = span::parse)]
    pub(crate) every: Duration,
    /// Print one table, of two looks, and end
    #[arg(long)]
    pub(crate) once: bool,
}

/// Where `roost dev` answers.
const DEV_ROLES: [&str; 4] =
    ["http://127.0.0.1:8081", "http://127.0.0.1:8082", "http://127.0.0.1:8080", "http://127.0.0.1:8083"];

/// Say what happened to a command, step by step, and why.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 the steps are printed; 1 no such command is remembered, or the API is out of reach; 64 wrong usage."
)]
pub(crate) struct WhyArguments {
    /// The command's message id: what its sender gave it, or `roost send` printed
    #[arg(value_name = "MESSAGE_ID", value_parser = MessageId::parse)]
    pub(crate) message_id: MessageId,
    /// Only the one for this device; ids are a sender's own and may repeat from device to device
    #[arg(long, value_name = "[TENANT/]DEVICE")]
    pub(crate) device: Option<Device>,
    /// How to print the answer; json is the API's own
    #[arg(short, long, value_enum, default_value_t = OutputArgument::Text)]
    pub(crate) output: OutputArgument,
    #[command(flatten)]
    pub(crate) api: ApiArgument,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OfflineArgument {
    /// Keep it until the device is back or its lifetime has ended
    Park,
    /// End it as unreachable
    Fail,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReceiptsArgument {
    /// None at all
    None,
    /// The final one
    Final,
    /// Each state
    All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputArgument {
    /// For people
    Text,
    /// For programs
    Json,
}

fn parse_sample(text: &str) -> Result<SampleRatio, String> {
    text.parse().ok().and_then(SampleRatio::new).ok_or_else(|| "expected a number from 0 to 1".to_owned())
}

fn parse_url(text: &str) -> Result<Url, String> {
    let url: Url =
        text.parse().map_err(|error| format!("{error}; expected for example http://127.0.0.1:8080"))?;
    match url.scheme() == "http" && !url.cannot_be_a_base() {
        true => Ok(url),
        false => Err("expected http://HOST:PORT; the API has no TLS yet".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn send_is_read_with_its_defaults() {
        let Command::Send(send) = parse("roost send d1 --payload on").unwrap().command else {
            panic!("send")
        };
        assert_eq!(send.device.to_string(), "main/d1");
        assert_eq!((send.topic, send.qos, send.expires, send.wait), (None, 1, None, Duration::from_secs(5)));
        assert_eq!((send.offline, send.receipts), (OfflineArgument::Park, ReceiptsArgument::Final));
        assert_eq!(send.output, OutputArgument::Text);
        let line = "roost send acme/d1 --topic a/b --payload x --qos 0 --expires 2h --offline fail --receipts all \
            --message-id m --wait 500ms -o json --api http://127.0.0.1:9";
        let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        let Command::Send(send) = parse(&line).unwrap().command else { panic!("send") };
        assert_eq!(send.device.to_string(), "acme/d1");
        assert_eq!((send.qos, send.expires), (0, Some(Duration::from_secs(7_200))));
        assert_eq!((send.offline, send.receipts), (OfflineArgument::Fail, ReceiptsArgument::All));
        assert_eq!((send.wait, send.output), (Duration::from_millis(500), OutputArgument::Json));
        assert_eq!(send.api.api.as_str(), "http://127.0.0.1:9/");
    }

    #[test]
    fn dev_is_read_with_its_defaults() {
        let Command::Dev(dev) = parse("roost dev").unwrap().command else { panic!("dev") };
        assert_eq!((dev.port_offset, dev.data, dev.amqp), (0, None, None));
        assert_eq!((dev.demo.devices, dev.demo.chaos, dev.demo.duration), (None, None, None));
        assert_eq!((dev.demo.rate, dev.demo.command_rate, dev.demo.roam), (0.1, 10.0, 0.01));
        let line = "roost dev --port-offset 57452 --data d --amqp amqp://host";
        let Command::Dev(dev) = parse(line).unwrap().command else { panic!("dev") };
        assert_eq!((dev.port_offset, dev.data), (57_452, Some("d".into())));
        assert_eq!(dev.amqp, Some("amqp://host".parse().unwrap()));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_where_it_is_typed() {
        for line in [
            "roost",
            "roost send d1",
            "roost send Acme/d1 --payload x",
            "roost send d+1 --payload x",
            "roost send d1 --payload x --payload-file y",
            "roost send d1 --payload x --qos 2",
            "roost send d1 --payload x --topic a/#",
            "roost send d1 --payload x --expires soon",
            "roost send d1 --payload x --wait 2h",
            "roost send d1 --payload x --api 127.0.0.1:8080",
            "roost send d1 --payload x --api https://host",
            "roost locate",
            "roost config check",
            "roost user",
            "roost user add ann",
            "roost user add --scram f ann --iterations 4095",
            "roost user add --scram f ann secret",
            "roost user remove ann",
            "roost gateway",
            "roost dev --port-offset 57453",
            "roost dev --port-offset -1",
            "roost dev --amqp http://host",
            "roost dev --devices 0",
            "roost dev --devices 10 --rate -1",
            "roost dev --devices 10 --roam 2",
            "roost dev --devices 10 --plan",
            "roost dev --chaos seed",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
