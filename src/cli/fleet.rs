//! `roost fleet` as it can be typed.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use roost_backend::AmqpAddress;
use roost_fleet::{Check, TopicPattern};

use super::OutputArgument;
use crate::span;

/// Measure a broker or a mesh with thousands of simulated devices.
#[derive(Debug, Args)]
#[command(
    after_help = "Latencies are counted from the time when a message was meant to be sent. Figures for --check: \
    p50_ms p90_ms p99_ms p999_ms max_ms (of the whole way: up with --amqp, else echo, else publish), the same after connect. \
    publish. up. down. receipt. answer. echo., lost duplicates reordered (none of the three holds while devices_missing is not 0), and every count of -o json.\n\
    Exit status: 0 it ran and every check held; 1 a check failed, or it could not run; 64 wrong usage. Ctrl-C ends the measured time."
)]
pub(crate) struct FleetArguments {
    /// Where devices connect; more than one are used in turn
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:1883")]
    pub(crate) broker: Vec<String>,
    /// How many devices
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) devices: u32,
    /// How many connect in each second
    #[arg(long, value_name = "R", default_value_t = 500.0)]
    pub(crate) connect_rate: f64,
    /// Messages per device and second; 0 is none
    #[arg(long, value_name = "R", default_value_t = 0.1)]
    pub(crate) rate: f64,
    /// Bytes of each payload
    #[arg(long, value_name = "B", default_value_t = 64)]
    pub(crate) size: u32,
    /// Quality of service: 0, 1 or 2
    #[arg(long, default_value_t = 1)]
    pub(crate) qos: u8,
    /// How long to measure, once all are connected
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = span::parse)]
    pub(crate) duration: Duration,
    /// How long to wait afterwards for what is on its way
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = span::parse)]
    pub(crate) drain: Duration,
    /// Be the backend side too: consume roost.up, send commands, take receipts
    #[arg(long, value_name = "URL")]
    pub(crate) amqp: Option<AmqpAddress>,
    /// Consume through durable (quorum) queues, which outlive lost links and broker nodes; they go when they have idled for ten minutes
    #[arg(long, requires = "amqp")]
    pub(crate) durable_queues: bool,
    /// Commands per second over all devices
    #[arg(long, value_name = "R", default_value_t = 0.0, requires = "amqp")]
    pub(crate) command_rate: f64,
    /// Quality of service of commands: 0 or 1
    #[arg(long, default_value_t = 1, requires = "command_rate")]
    pub(crate) command_qos: u8,
    /// Where devices answer commands that name no Response Topic, as --topic, for example devices/{device}/answer; answers are
    /// measured from their commands' due times
    #[arg(long, value_name = "TOPIC", requires = "command_rate")]
    pub(crate) answer: Option<TopicPattern>,
    /// Devices subscribe to what they publish themselves: the whole way through any broker
    #[arg(long)]
    pub(crate) echo: bool,
    /// Each second device subscribes to what the one before it publishes, and publishes nothing itself: local pairs
    #[arg(long, conflicts_with = "echo")]
    pub(crate) pairs: bool,
    /// Where devices publish; {device}, {index} and {index%N} stand for what they say
    #[arg(long, value_name = "TOPIC", default_value = "devices/{device}/state")]
    pub(crate) topic: TopicPattern,
    /// By how much of its interval each message is moved at random, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub(crate) jitter: f64,
    /// Exponent of Zipf's law by which some devices publish more than others
    #[arg(long, value_name = "S", default_value_t = 0.0)]
    pub(crate) zipf: f64,
    /// Messages of one device that may wait for their acknowledgement
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub(crate) in_flight: u16,
    /// Messages that may wait in a device that is away; more are skipped, and counted
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub(crate) backlog: u32,
    /// Which MQTT
    #[arg(long, value_enum, default_value_t = MqttArgument::V311)]
    pub(crate) mqtt: MqttArgument,
    /// Sessions outlive connections; they are removed at the end
    #[arg(long)]
    pub(crate) persistent: bool,
    /// They are not
    #[arg(long, requires = "persistent")]
    pub(crate) keep_sessions: bool,
    /// Keep alive in seconds; 0 is none
    #[arg(long, value_name = "S", default_value_t = 60)]
    pub(crate) keep_alive: u16,
    /// How long a device waits for its connection
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = span::parse)]
    pub(crate) connect_timeout: Duration,
    /// Speak TLS, and trust the certificates in this PEM file
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_ca: Option<PathBuf>,
    /// The name that the broker's certificate must have [default: the host of the first --broker]
    #[arg(long, value_name = "NAME", requires = "tls_ca")]
    pub(crate) tls_name: Option<String>,
    /// Speak MQTT over WebSocket, at this path
    #[arg(long, value_name = "PATH", num_args = 0..=1, default_missing_value = "/mqtt")]
    pub(crate) websocket: Option<String>,
    /// Begin each connection with a PROXY header, as a load balancer does
    #[arg(long, value_enum, value_name = "VERSION")]
    pub(crate) proxy_header: Option<ProxyHeaderArgument>,
    /// The address that devices connect from, for example 127.0.0.2; more than one are used in turn [default: the
    /// system's choice; one of 127.0.0.x for each 4,000 devices where the brokers are on this machine]
    #[arg(long, value_name = "IP")]
    pub(crate) source: Vec<IpAddr>,
    /// What client ids begin with
    #[arg(long, value_name = "TEXT", default_value = "fleet-")]
    pub(crate) prefix: String,
    /// The user name; {device} stands for the client id
    #[arg(long, value_name = "TEXT")]
    pub(crate) username: Option<String>,
    /// The password; {device} stands for the client id
    #[arg(
        long,
        value_name = "TEXT",
        env = "ROOST_FLEET_PASSWORD",
        hide_env_values = true,
        requires = "username"
    )]
    pub(crate) password: Option<String>,
    /// User name and password of each device: CSV with the columns client_id, user and password
    #[arg(long, value_name = "FILE", conflicts_with_all = ["username", "jwt_key"])]
    pub(crate) credentials: Option<PathBuf>,
    /// Each device's password is a JSON Web Token for its client id, signed at each connection with the key in this file: RSA
    /// (RS256) or P-256 (ES256) as PEM, else a secret (HS256); its user name is --username, or the client id
    #[arg(long, value_name = "FILE", conflicts_with = "password")]
    pub(crate) jwt_key: Option<PathBuf>,
    /// How long a token lives
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = span::parse, requires = "jwt_key")]
    pub(crate) jwt_ttl: Duration,
    /// The tokens' audience
    #[arg(long, value_name = "TEXT", requires = "jwt_key")]
    pub(crate) jwt_audience: Option<String>,
    /// The tokens' issuer
    #[arg(long, value_name = "TEXT", requires = "jwt_key")]
    pub(crate) jwt_issuer: Option<String>,
    /// How a device comes back whose connection was lost
    #[arg(long, value_enum, default_value_t = ReconnectArgument::FullJitter)]
    pub(crate) reconnect: ReconnectArgument,
    /// The first wait of a device that comes back, or its bound
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = span::parse)]
    pub(crate) reconnect_first: Duration,
    /// The longest
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = span::parse)]
    pub(crate) reconnect_max: Duration,
    /// Spread the first try over this time
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = span::parse)]
    pub(crate) reconnect_spread: Duration,
    /// What happens to the devices: a YAML file, as those in config/fleet/
    #[arg(long, value_name = "FILE")]
    pub(crate) scenario: Option<PathBuf>,
    /// Everything random is drawn from this [default: drawn]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Worker processes [default: as many as the limit of open files asks for]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) workers: Option<u32>,
    /// A process whose CPU and memory the report shows
    #[arg(long, value_name = "NAME=PID", value_parser = parse_watch)]
    pub(crate) watch: Vec<(String, u32)>,
    /// Bounds that set the exit status, for example p99_ms<50,lost=0
    #[arg(long, value_name = "CHECKS", value_delimiter = ',')]
    pub(crate) check: Vec<Check>,
    /// Write the report as one page, with plots
    #[arg(long, value_name = "FILE.html")]
    pub(crate) report: Option<PathBuf>,
    /// How to print the report
    #[arg(short, long, value_enum, default_value_t = OutputArgument::Text)]
    pub(crate) output: OutputArgument,
    /// Be a worker of another fleet: orders come on the standard input
    #[arg(long, hide = true)]
    pub(crate) worker: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum MqttArgument {
    /// MQTT 3.1.1
    #[value(name = "3.1.1")]
    V311,
    /// MQTT 5
    #[value(name = "5")]
    V5,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProxyHeaderArgument {
    /// Text
    V1,
    /// Binary
    V2,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReconnectArgument {
    /// At once
    None,
    /// After a wait that doubles
    Exponential,
    /// After a wait drawn from zero up to one that doubles
    FullJitter,
}

fn parse_watch(text: &str) -> Result<(String, u32), String> {
    let error = || format!("{text:?} is not NAME=PID, for example gateway=4711");
    let (name, pid) = text.split_once('=').ok_or_else(error)?;
    let pid = pid.parse().map_err(|_| error())?;
    match std::path::Path::new(&format!("/proc/{pid}/stat")).exists() {
        true if !name.is_empty() => Ok((name.to_owned(), pid)),
        true => Err(error()),
        false => Err(format!("there is no process {pid}")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Command};
    use super::*;

    fn parse(line: &str) -> Result<FleetArguments, clap::Error> {
        match Cli::try_parse_from(format!("roost fleet {line}").split_whitespace())?.command {
            Command::Fleet(arguments) => Ok(*arguments),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn fleet_is_read_with_its_defaults() {
        let fleet = parse("").unwrap();
        assert_eq!((fleet.broker, fleet.devices, fleet.qos), (vec!["127.0.0.1:1883".to_owned()], 100, 1));
        let fleet = parse(
            "--broker a:1 --broker b:2 --devices 9 --for 5s --amqp amqp://h --command-rate 3 --check p99_ms<50,lost=0 \
            --mqtt 5 --source 127.0.0.2 --source 127.0.0.3 --reconnect exponential -o json",
        )
        .unwrap();
        assert_eq!((fleet.broker.len(), fleet.source.len(), fleet.devices), (2, 2, 9));
        assert_eq!((fleet.mqtt, fleet.command_rate), (MqttArgument::V5, 3.0));
        assert_eq!(fleet.check.len(), 2);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_where_it_is_typed() {
        for line in [
            "--command-rate 3",
            "--password x",
            "--check p99",
            "--watch x",
            "--watch x=0",
            "--topic a/#",
            "--source host",
            "--jwt-issuer x",
            "--jwt-key k --username u --password p",
            "--credentials f --username u",
            "--workers 0",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
