//! `roost fleet`.

use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow};
use rand::RngExt as _;
use roost_fleet::shell::{Options, Progress, serve_worker};
use roost_fleet::{
    Backoff, Credentials, Mqtt, Plan, ProxyHeader, Reconnect, Scenario, Summary, Tls, Tokens, Traffic,
    Transport, WebSocket, sources,
};

use crate::cli::{FleetArguments, MqttArgument, OutputArgument, ProxyHeaderArgument, ReconnectArgument};
use crate::stop::Stop;

/// The largest key file: a long RSA key is a fifth of it.
const KEY_BYTES_MAX: u64 = 64 * 1024;

/// Runs a fleet, prints what it has shown, and says whether every check held.
pub(crate) fn run(arguments: &FleetArguments) -> anyhow::Result<ExitCode> {
    if arguments.worker {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(serve_worker())?;
        // Its input is read by a thread that waits for more, which nobody waits for.
        runtime.shutdown_background();
        return Ok(ExitCode::SUCCESS);
    }
    let options = options(arguments)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let summary = runtime.block_on(measure(&options))?;
    if let Some(file) = &arguments.report {
        std::fs::write(file, summary.page())
            .with_context(|| format!("writing the report to {}", file.display()))?;
    }
    let mut out = std::io::stdout().lock();
    match arguments.output {
        OutputArgument::Json => writeln!(out, "{}", serde_json::to_string(&summary)?)?,
        OutputArgument::Text => write!(out, "{summary}")?,
    }
    Ok(if summary.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn measure(options: &Options) -> anyhow::Result<Summary> {
    let mut stop = Stop::listen()?;
    let (asked, is_asked) = tokio::sync::oneshot::channel();
    let mut line = ProgressLine::new();
    let stopped = async {
        // The other end lives as long as the run.
        let _ = is_asked.await;
    };
    let mut running = pin!(roost_fleet::shell::run(options, stopped, |progress| line.show(progress)));
    let summary = tokio::select! {
        summary = &mut running => summary,
        _ = stop.asked() => {
            // An error means that the run is over.
            let _ = asked.send(());
            stop.or_abandon(running).await
        }
    };
    Ok(summary?)
}

fn options(arguments: &FleetArguments) -> anyhow::Result<Options> {
    let program = std::env::current_exe().context("finding this program, to start workers")?;
    let plan = plan(arguments)?;
    plan.check()?;
    Ok(Options {
        credentials: credentials(arguments, &plan)?,
        plan,
        amqp: arguments.amqp.clone(),
        command_rate: arguments.command_rate,
        workers: arguments.workers,
        worker_program: (program, vec!["fleet".to_owned(), "--worker".to_owned()]),
        watch: arguments.watch.clone(),
        checks: arguments.check.clone(),
    })
}

fn plan(arguments: &FleetArguments) -> anyhow::Result<Plan> {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let (first_ms, max_ms) = (ms(arguments.reconnect_first), ms(arguments.reconnect_max));
    let scenario = match &arguments.scenario {
        Some(file) => roost_config::scenario::load(file)?,
        None => Scenario::default(),
    };
    let brokers: Vec<SocketAddr> =
        arguments.broker.iter().map(|broker| resolve(broker)).collect::<anyhow::Result<_>>()?;
    let sources = match arguments.source.is_empty() {
        true => sources(arguments.devices, &brokers),
        false => arguments.source.clone(),
    };
    Ok(Plan {
        run: rand::rng().random(),
        seed: arguments.seed.unwrap_or_else(|| rand::rng().random()),
        brokers,
        sources,
        devices: arguments.devices,
        prefix: arguments.prefix.clone(),
        connect_rate: arguments.connect_rate,
        duration_ms: ms(arguments.duration),
        drain_ms: ms(arguments.drain),
        transport: transport(arguments)?,
        mqtt: Mqtt {
            v5: arguments.mqtt == MqttArgument::V5,
            persistent: arguments.persistent,
            clean_up: !arguments.keep_sessions,
            keep_alive_s: arguments.keep_alive,
            connect_timeout_ms: ms(arguments.connect_timeout),
        },
        traffic: Traffic {
            rate: arguments.rate,
            size: arguments.size,
            qos: arguments.qos,
            topic: arguments.topic.clone(),
            jitter: arguments.jitter,
            zipf: arguments.zipf,
            in_flight_max: arguments.in_flight,
            backlog_max: arguments.backlog,
        },
        echo: arguments.echo,
        pairs: arguments.pairs,
        commands: arguments.command_rate > 0.0,
        command_qos: arguments.command_qos,
        durable_queues: arguments.durable_queues,
        answer: arguments.answer.clone(),
        reconnect: Reconnect {
            backoff: match arguments.reconnect {
                ReconnectArgument::None => Backoff::None,
                ReconnectArgument::Exponential => Backoff::Exponential { first_ms, max_ms },
                ReconnectArgument::FullJitter => Backoff::FullJitter { first_ms, max_ms },
            },
            spread_ms: ms(arguments.reconnect_spread),
        },
        scenario,
    })
}

fn credentials(arguments: &FleetArguments, plan: &Plan) -> anyhow::Result<Credentials> {
    if let Some(file) = &arguments.credentials {
        let told = || format!("--credentials {}", file.display());
        let text = read_bounded(file, Credentials::FILE_BYTES_MAX).with_context(told)?;
        return Credentials::read_csv(&text, plan).map_err(|error| anyhow!(error)).with_context(told);
    }
    if let Some(file) = &arguments.jwt_key {
        let key =
            read_bounded(file, KEY_BYTES_MAX).with_context(|| format!("--jwt-key {}", file.display()))?;
        let tokens = Tokens {
            key,
            ttl_s: arguments.jwt_ttl.as_secs(),
            audience: arguments.jwt_audience.clone(),
            issuer: arguments.jwt_issuer.clone(),
        };
        let user_name = arguments.username.clone().unwrap_or_else(|| "{device}".to_owned());
        return Ok(Credentials::Tokens { user_name, tokens });
    }
    Ok(match &arguments.username {
        Some(user_name) => {
            Credentials::Pattern { user_name: user_name.clone(), password: arguments.password.clone() }
        }
        None => Credentials::Nothing,
    })
}

fn read_bounded(file: &Path, bytes_max: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more than is allowed is enough to see that it is too long.
    File::open(file)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > bytes_max {
        true => Err(anyhow!("it is longer than {bytes_max} bytes")),
        false => Ok(bytes),
    }
}

fn transport(arguments: &FleetArguments) -> anyhow::Result<Transport> {
    let proxy_header = arguments.proxy_header.map(|version| match version {
        ProxyHeaderArgument::V1 => ProxyHeader::V1,
        ProxyHeaderArgument::V2 => ProxyHeader::V2,
    });
    let first = arguments.broker.first().map(String::as_str).unwrap_or_default();
    let host = first.rsplit_once(':').map_or(first, |(host, _)| host);
    let name = arguments.tls_name.clone().unwrap_or_else(|| host.trim_matches(['[', ']']).to_owned());
    let websocket = arguments.websocket.as_ref().map(|path| WebSocket {
        path: path.clone(),
        host: arguments.tls_name.clone().unwrap_or_else(|| host.to_owned()),
    });
    let tls = match &arguments.tls_ca {
        Some(file) => {
            let ca_pem =
                std::fs::read_to_string(file).with_context(|| format!("--tls-ca {}", file.display()))?;
            Some(Tls { ca_pem, server_name: name })
        }
        None => None,
    };
    Ok(Transport { proxy_header, tls, websocket })
}

fn resolve(broker: &str) -> anyhow::Result<SocketAddr> {
    let mut found = broker
        .to_socket_addrs()
        .with_context(|| format!("--broker {broker}: expected HOST:PORT of a host that can be found"))?;
    found.next().ok_or_else(|| anyhow!("--broker {broker}: the host has no address"))
}

/// One line on the terminal that says where the run stands.
struct ProgressLine {
    is_terminal: bool,
}

impl ProgressLine {
    fn new() -> Self {
        Self { is_terminal: std::io::stderr().is_terminal() }
    }

    fn show(&mut self, progress: &Progress) {
        if self.is_terminal {
            // A terminal that is gone is no reason to end.
            let _ = write!(std::io::stderr(), "\r\x1b[K{}", describe(progress));
        }
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        if self.is_terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

fn describe(progress: &Progress) -> String {
    let moment = &progress.moment;
    let count = |name: &str| moment.counts.get(name).copied().unwrap_or(0);
    let p99 = ["up", "echo", "publish"].iter().find_map(|name| moment.latencies.get(*name));
    let mut line = format!(
        "{:.0} s {}: {} of {} online, {} published, {} acknowledged",
        moment.at_s,
        progress.phase,
        moment.online,
        progress.devices,
        count("published"),
        count("acknowledged"),
    );
    if let Some(p99) = p99 {
        line += &format!(", p99 {:.1} ms", p99.p99_ms);
    }
    if let Some(cpu) = moment.cpu_cores.get("fleet") {
        line += &format!(", own CPU {cpu:.2}");
    }
    line
}
