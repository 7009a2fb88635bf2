//! A demo from its begin to its verdict: the mesh, the devices in it, the faults, and the screen.

use std::fmt::Write as _;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::ensure;
use rand::RngExt as _;
use roost_backend::AmqpAddress;
use tokio::sync::watch;
use tokio::time::Instant;

use super::chaos::{Chaos, Fault, FaultKind, News, Roles, at_gateways, schedule};
use super::data::Data;
use super::demo::{AtGateways, Demo, LONGEST, Screen, Verdict, Wanted, clock};
use super::endpoints::Endpoints;
use super::mesh::{GATEWAYS, GRACE, Mesh, Wishes};
use super::{PART_ENDED, own_name};
use crate::cli::DemoArguments;
use crate::span;
use crate::stop::Stop;

/// Devices of `--chaos` alone.
const DEVICES: u32 = 200;
/// How much of a plan without an end is printed.
const PLAN_SHOWN: Duration = Duration::from_secs(600);
/// How long is waited for what is on its way when somebody wants to leave.
const SETTLE_ASKED: Duration = Duration::from_secs(10);
/// And when the verdict is what counts: lease and margin, settle timeout, and the longest retries, several times over.
const SETTLE_FOR: Duration = Duration::from_secs(150);

/// What is to be shown.
#[derive(Debug)]
pub(super) struct Show {
    wanted: Wanted,
    chaos: Option<u64>,
    faults: Vec<Fault>,
    duration: Option<Duration>,
    /// The broker is ours, and can be killed.
    has_backend: bool,
}

/// The mesh, in whichever form.
enum Parts {
    /// In this process.
    Mesh(Box<Mesh>),
    /// In processes of their own.
    Roles { chaos: Option<Chaos>, roles: Option<Box<Roles>>, devices: watch::Receiver<AtGateways> },
}

/// Why the load ends.
enum End {
    Asked(&'static str),
    TimeIsOver,
}

impl Show {
    /// `None` if neither devices nor faults are wanted.
    pub(super) fn of(arguments: &DemoArguments, has_backend: bool) -> anyhow::Result<Option<Self>> {
        let devices = arguments.devices.or(arguments.chaos.map(|_| DEVICES));
        let Some(devices) = devices else {
            ensure!(
                arguments.duration.is_none(),
                "--for needs --devices or --chaos: alone nothing would be judged"
            );
            return Ok(None);
        };
        if let Some(duration) = arguments.duration {
            ensure!(
                !duration.is_zero() && duration <= LONGEST,
                "--for must be above 0 and at most {}",
                span::show(LONGEST)
            );
        }
        let within = arguments.duration.unwrap_or(LONGEST);
        let faults = arguments.chaos.map(|seed| schedule(seed, within, has_backend)).unwrap_or_default();
        let wanted = Wanted {
            devices,
            rate: arguments.rate,
            command_rate: arguments.command_rate,
            roam: arguments.roam,
            seed: arguments.chaos.unwrap_or_else(|| rand::rng().random()),
            steps: faults.iter().filter_map(Fault::step).collect(),
        };
        wanted.check()?;
        Ok(Some(Self { wanted, chaos: arguments.chaos, faults, duration: arguments.duration, has_backend }))
    }

    /// What will happen, and when, counted from the moment when all devices are there.
    pub(super) fn faults(&self) -> String {
        let mut text = String::new();
        let shown = self.duration.unwrap_or(PLAN_SHOWN);
        for fault in self.faults.iter().take_while(|fault| fault.at < shown) {
            let _ = writeln!(text, "{:>8.3} s  {}", fault.at.as_secs_f64(), fault.kind);
        }
        text
    }

    /// Runs it until it is asked to stop, or its time is over.
    pub(super) async fn run(
        &self,
        endpoints: &Endpoints,
        data: &Data,
        wishes: &Wishes,
    ) -> anyhow::Result<ExitCode> {
        let mut stop = Stop::listen()?;
        let starting = async {
            let (parts, amqp) = self.start(endpoints, data, wishes).await?;
            writeln!(std::io::stdout(), "{}", endpoints.describe(data, &own_name()))?;
            writeln!(std::io::stdout(), "{}", self.describe())?;
            let gateways = GATEWAYS.map(|(_, _, listen, _)| endpoints.of(listen));
            let demo = Demo::start(&self.wanted, gateways.into(), &amqp).await?;
            anyhow::Ok((parts, demo))
        };
        let (mut parts, mut demo) = tokio::select! {
            started = starting => started?,
            _ = stop.asked() => return Ok(ExitCode::SUCCESS),
        };
        let end = self.watch(&mut parts, &mut demo, &mut stop).await?;
        Box::pin(stop.or_abandon(self.wind_down(parts, demo, &end))).await
    }

    async fn start(
        &self,
        endpoints: &Endpoints,
        data: &Data,
        wishes: &Wishes,
    ) -> anyhow::Result<(Parts, AmqpAddress)> {
        if self.chaos.is_none() {
            let mesh = Mesh::start(endpoints, data, wishes).await?;
            return Ok((Parts::Mesh(Box::new(mesh)), endpoints.amqp().0));
        }
        let roles = Roles::start(endpoints, data.path(), wishes).await?;
        let amqp = roles.amqp().clone();
        let devices = at_gateways(endpoints);
        Ok((Parts::Roles { chaos: None, roles: Some(Box::new(roles)), devices }, amqp))
    }

    fn describe(&self) -> String {
        let Wanted { devices, rate, command_rate, .. } = &self.wanted;
        let mut text = format!(
            "{devices} devices, each with {rate} events a second, and a microservice that sends {command_rate} commands a second."
        );
        if let Some(seed) = self.chaos {
            let _ = write!(
                text,
                "\nEach role is a process of its own, and faults come as seed {seed} draws them: --chaos {seed} --plan prints them."
            );
        }
        text
    }

    /// Leads devices and faults, and keeps the screen, until the load is to end.
    async fn watch(&self, parts: &mut Parts, demo: &mut Demo, stop: &mut Stop) -> anyhow::Result<End> {
        let mut out = std::io::stdout();
        let mut screen = Screen::new();
        let mut ends: Option<Instant> = None;
        let mut is_done = self.chaos.is_none();
        let end = loop {
            if ends.is_none()
                && let Some(began) = demo.began()
            {
                let begin = roost_fleet::shell::instant(began);
                ends = Some(begin + self.duration.unwrap_or(LONGEST));
                parts.let_loose(&self.faults, begin);
            }
            let over = async {
                match ends {
                    // All faults that were drawn happen, also if some took longer than they should.
                    Some(ends) if is_done => tokio::time::sleep_until(ends).await,
                    Some(_) | None => std::future::pending().await,
                }
            };
            tokio::select! {
                step = demo.step() => step?,
                () = screen.due() => {
                    let gateways = parts.at_gateways()?;
                    screen.show(&mut out, &demo.lines(&gateways))?;
                }
                news = parts.news() => match news {
                    None => {
                        // It has failed, and says why.
                        screen.end(&mut out)?;
                        parts.stop_chaos().await?;
                        anyhow::bail!(PART_ENDED);
                    }
                    Some(News::Done) => is_done = true,
                    Some(news) => tell(&mut screen, &mut out, demo, &news)?,
                },
                signal = stop.asked() => break End::Asked(signal),
                () = over => break End::TimeIsOver,
            }
        };
        screen.end(&mut out)?;
        Ok(end)
    }

    /// What is on its way comes to its end; then devices, service and mesh go, and the verdict is told.
    async fn wind_down(&self, mut parts: Parts, mut demo: Demo, end: &End) -> anyhow::Result<ExitCode> {
        let mut out = std::io::stdout();
        let (why, patience) = match end {
            End::Asked(signal) => (*signal, SETTLE_ASKED),
            End::TimeIsOver => ("The time is over", SETTLE_FOR),
        };
        writeln!(
            out,
            "{why}: waiting for what is on its way, for {} s at most, and draining; Ctrl-C now ends at once.",
            patience.as_secs()
        )?;
        // A fault that is under way comes to its end first; devices go on meanwhile.
        {
            let mut stopping = std::pin::pin!(parts.stop_chaos());
            loop {
                tokio::select! {
                    stopped = &mut stopping => break stopped?,
                    step = demo.step() => step?,
                }
            }
        }
        demo.whole();
        let until = Instant::now() + patience;
        let is_quiet = demo.settle(patience).await?;
        let taken = parts.commands_taken();
        let is_early = match end {
            End::Asked(_) => !is_quiet,
            End::TimeIsOver => false,
        };
        let verdict = demo.finish(is_early, until.saturating_duration_since(Instant::now())).await?;
        parts.drain().await?;
        self.judge(&verdict, taken)
    }

    fn judge(&self, verdict: &Verdict, taken: Option<u64>) -> anyhow::Result<ExitCode> {
        let mut out = std::io::stdout();
        writeln!(out, "\n{verdict}")?;
        if let Some(taken) = taken {
            writeln!(out, "          the gateways say that they took in {taken}, each attempt counted")?;
        }
        let promises = if verdict.is_good() { "every promise was kept" } else { "A PROMISE WAS BROKEN" };
        writeln!(out, "Verdict: {promises}.")?;
        if let Some(seed) = self.chaos {
            writeln!(out, "Seed {seed}; again: {}", self.again(seed))?;
        }
        writeln!(out, "Ended in good order.")?;
        Ok(if verdict.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl Show {
    /// What to type for the same devices, load and faults.
    fn again(&self, seed: u64) -> String {
        let Wanted { devices, rate, command_rate, roam, .. } = &self.wanted;
        let mut text = format!(
            "{} dev --chaos {seed} --devices {devices} --rate {rate} --command-rate {command_rate} --roam {roam}",
            own_name()
        );
        if let Some(time) = self.duration {
            let _ = write!(text, " --for {}ms", time.as_millis());
        }
        // Its URL may have a password in it: whoever typed it knows it.
        text += if self.has_backend { "" } else { " --amqp …" };
        text
    }
}

impl Parts {
    /// Faults begin, counted from `begin`.
    fn let_loose(&mut self, faults: &[Fault], begin: Instant) {
        match self {
            Self::Mesh(_) => {}
            Self::Roles { chaos, roles, .. } => {
                *chaos = roles.take().map(|roles| Chaos::start(*roles, faults.to_vec(), begin));
            }
        }
    }

    /// News of the faults; `None` when they have failed. Cancel safe.
    async fn news(&mut self) -> Option<News> {
        match self {
            Self::Roles { chaos: Some(chaos), .. } => chaos.next().await,
            Self::Mesh(_) | Self::Roles { .. } => std::future::pending().await,
        }
    }

    /// No more faults.
    async fn stop_chaos(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Mesh(_) => {}
            Self::Roles { chaos, roles, .. } => {
                if let Some(chaos) = chaos.take() {
                    *roles = Some(Box::new(chaos.stop().await?));
                }
            }
        }
        Ok(())
    }

    /// How many devices each gateway has; an error if a part has ended by itself.
    fn at_gateways(&mut self) -> anyhow::Result<AtGateways> {
        match self {
            Self::Mesh(mesh) => {
                ensure!(!mesh.has_failed(), PART_ENDED);
                Ok(mesh.at_gateways())
            }
            Self::Roles { roles, devices, .. } => {
                roles.as_mut().map_or(Ok(()), |roles| roles.check())?;
                Ok(devices.borrow().clone())
            }
        }
    }

    /// How many commands the gateways took in, if they have counted from the begin.
    fn commands_taken(&self) -> Option<u64> {
        match self {
            Self::Mesh(mesh) => Some(mesh.commands_taken()),
            // Who was killed has forgotten.
            Self::Roles { .. } => None,
        }
    }

    async fn drain(self) -> anyhow::Result<()> {
        match self {
            Self::Mesh(mesh) => {
                let within = GRACE + GRACE;
                ensure!(tokio::time::timeout(within, mesh.drain()).await.is_ok(), "the mesh does not drain");
                Ok(())
            }
            Self::Roles { roles, .. } => match roles {
                Some(roles) => roles.drain().await,
                None => Ok(()),
            },
        }
    }
}

/// Says what happens, and notes in the books when links are broken.
fn tell(screen: &mut Screen, out: &mut impl Write, demo: &mut Demo, news: &News) -> anyhow::Result<()> {
    let at = clock(demo.since_begin());
    match news {
        News::Begins(fault) => {
            if fault.breaks_links() {
                demo.broken();
            }
            screen.say(out, &format!("{at} {fault}"))?;
        }
        News::Over(fault, after) => {
            if fault.breaks_links() {
                demo.whole();
            }
            let after = format!("after {:.1} s", after.as_secs_f64());
            match fault {
                FaultKind::Kill { role, .. } => {
                    screen.say(out, &format!("{at} {}: back, {after}", role.what()))?;
                }
                FaultKind::CutWan { .. } | FaultKind::StallWan { .. } | FaultKind::CutLinks { .. } => {
                    screen.say(out, &format!("{at} links are whole, {after}"))?;
                }
                FaultKind::CutDevices { .. } | FaultKind::RoamDevices { .. } => {}
            }
        }
        News::Done => {}
    }
    Ok(())
}
