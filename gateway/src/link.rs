//! The link: what the gateway as a whole has with one router. Heartbeats and the lease, sightings and settlements.
//!
//! ```text
//!            sightings ──────────> roost.sightings.<shard>
//! shards ──> settlements ────────> roost.settle.<shard>           router
//!        <── words <── control <── roost.control.<gateway>…
//! ```
//! Commands do not pass here: they go to the device's shard at once, which knows from the link whether it may deliver.

mod dialogue;
mod gather;
mod lease;
mod moves;
mod settlements;
mod sightings;
mod words;

use std::collections::VecDeque;
use std::time::Duration;

pub use dialogue::{FromShard, ToShard};
use lease::{Answered, Lease};
use moves::Moves;
use roost_wire::{
    BootTime, Control, ControlReport, DeliveryMode, Device, Echo, GatewayId, Heartbeat, Incarnation, LinkId,
    Message, Now, Properties, Region, RouterRun, SettlementReport, ShardId, Sighting, SightingReport,
    mesh::Report,
};
use settlements::{After, Settlements};
use sightings::Sightings;
pub use words::{LinkInput, LinkOutput};

use crate::shard::Backend;
use crate::{
    Count, Counters, OnLoss, Placement, Publication, PublishOrigin, PublishOutcome, PublishToken, ShardIndex,
};

/// What a link is made with.
#[derive(Debug, Clone)]
pub struct LinkConfig {
    /// Which gateway it speaks for.
    pub gateway: GatewayId,
    /// That gateway's region.
    pub region: Region,
    /// That gateway's run.
    pub incarnation: Incarnation,
    /// Which router it speaks with.
    pub router: ShardId,
    /// How many shards the process has.
    pub shards: u16,
    /// How often to say "I am alive".
    pub heartbeat: Duration,
    /// For how long after sending an answered heartbeat commands may be delivered.
    pub lease: Duration,
    /// The exchange for reports: `roost.mesh`.
    pub exchange: String,
    /// The routing key of sightings: `sightings.<shard>`.
    pub sightings_key: String,
    /// The routing key of settlements: `settle.<shard>`.
    pub settle_key: String,
    /// The AMQP user that publishes: the broker vouches for it to the router.
    pub user: Option<String>,
    /// Whether sessions are handed over to other gateways, and fetched from them.
    pub moves_sessions: bool,
}

/// What the gateway as a whole has with one router.
#[derive(Debug)]
pub struct Link {
    config: LinkConfig,
    counters: Counters,
    now: Now,
    /// When the incarnation began to serve.
    began: Option<BootTime>,
    /// The queues of the link that is up.
    up: Option<Queues>,
    link: LinkId,
    backend: Backend,
    /// The newest run that the router spoke in.
    run: Option<RouterRun>,
    lease: Lease,
    had_lease: bool,
    echo: Option<Echo>,
    heartbeats: u64,
    next_heartbeat: BootTime,
    present: u64,
    is_draining: bool,
    /// A newer process has this gateway's id, as the router says.
    superseded_by: Option<Incarnation>,
    sightings: Sightings,
    settlements: Settlements,
    moves: Moves,
    /// Whether the router said that it moves sessions.
    roams: Option<bool>,
    publications: u64,
    outputs: VecDeque<LinkOutput>,
}

#[derive(Debug)]
struct Queues {
    inbox: String,
    control: String,
}

impl Link {
    /// A link that is not up yet.
    #[must_use]
    pub fn new(config: LinkConfig) -> Self {
        Self {
            counters: Counters::default(),
            now: Now::default(),
            began: None,
            up: None,
            link: LinkId::default(),
            backend: Backend::Away,
            run: None,
            lease: Lease::new(config.lease),
            had_lease: false,
            echo: None,
            heartbeats: 0,
            next_heartbeat: BootTime::default(),
            present: 0,
            is_draining: false,
            superseded_by: None,
            sightings: Sightings::new(config.shards),
            settlements: Settlements::new(config.shards),
            moves: Moves::default(),
            roams: None,
            publications: 0,
            outputs: VecDeque::new(),
            config,
        }
    }

    /// Takes in one thing that happened.
    pub fn handle(&mut self, now: Now, input: LinkInput) {
        self.now = now;
        self.began.get_or_insert(now.boot);
        // Whatever comes: a lease that has run out is over before it is looked at.
        self.watch_lease();
        match input {
            LinkInput::Up { link, inbox, control } => self.link_up(link, Queues { inbox, control }),
            LinkInput::Down { link } if link == self.link => self.link_down(),
            LinkInput::Down { .. } => {}
            LinkInput::Backend(backend) => self.backend_is(backend),
            LinkInput::Control { link, report } => self.router_says(link, report),
            LinkInput::FromShard { shard, word } => self.shard_says(shard, word),
            LinkInput::Published { token, outcome } => self.published(token, outcome),
            LinkInput::Drain => {
                self.is_draining = true;
                self.next_heartbeat = now.boot;
            }
            LinkInput::Tick => {}
        }
        self.beat();
        if self.sightings.begin_snapshot(now.boot) {
            self.tell_all(|| ToShard::ListPresent);
        }
    }

    /// The next effect, in order; `None` when there is none for now. What has been said since the last call is put
    /// together into reports here, so handle all that is at hand before asking.
    pub fn poll_output(&mut self) -> Option<LinkOutput> {
        self.outputs
            .pop_front()
            .or_else(|| self.report_sightings())
            .or_else(|| self.hand_over())
            .or_else(|| self.report_settlements())
    }

    /// When to come back with [`LinkInput::Tick`] if nothing happens before. Call it when the outputs are taken.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<BootTime> {
        let heartbeat = self.is_ready().then_some(self.next_heartbeat);
        let retries = [self.sightings.next_time(), self.settlements.next_time(), self.moves.next_time()];
        // What may be published now already waits for something else than time.
        let retries = retries.into_iter().flatten().filter(|at| *at > self.now.boot);
        heartbeat.into_iter().chain(self.lease.next_lapse()).chain(retries).min()
    }

    /// Whether everything said is published and confirmed: the end of a drain.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.outputs.is_empty()
            && self.sightings.is_settled()
            && self.settlements.is_settled()
            && self.moves.is_settled()
    }

    /// Until when commands may be delivered; none without a lease.
    #[must_use]
    pub fn lease_until(&self) -> Option<BootTime> {
        self.lease.until()
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn is_ready(&self) -> bool {
        self.up.is_some() && self.backend == Backend::Up
    }

    fn link_up(&mut self, link: LinkId, queues: Queues) {
        self.link = link;
        self.up = Some(queues);
        self.settlements.set_link(link);
        self.tell_all(|| ToShard::Link(link));
        self.begin_sync();
        self.readiness_changed();
    }

    fn link_down(&mut self) {
        self.up = None;
        self.readiness_changed();
    }

    fn backend_is(&mut self, backend: Backend) {
        if self.backend != backend {
            self.backend = backend;
            self.readiness_changed();
        }
    }

    fn readiness_changed(&mut self) {
        let is_ready = self.is_ready();
        self.sightings.set_ready(is_ready, &mut self.counters);
        self.settlements.set_ready(is_ready);
        self.moves.set_ready(is_ready);
        // The router learns the new queues at once, and before anything else.
        self.next_heartbeat = self.now.boot;
        self.beat();
    }

    /// Says "I am alive" if it is time.
    fn beat(&mut self) {
        let Some(queues) = self.up.as_ref().filter(|_| self.backend == Backend::Up) else { return };
        if self.now.boot < self.next_heartbeat {
            return;
        }
        self.heartbeats += 1;
        let heartbeat = Heartbeat {
            number: self.heartbeats,
            sent_at: self.now.boot,
            echo: self.echo,
            inbox: queues.inbox.clone(),
            control: queues.control.clone(),
            sessions: self.present,
            draining: self.is_draining,
            moves_sessions: self.config.moves_sessions,
            started_at: self.began,
        };
        self.lease.sent(self.heartbeats, self.now.boot);
        self.next_heartbeat = self.now.boot + self.config.heartbeat;
        self.sightings.say(None, Sighting::Heartbeat(heartbeat), &mut self.counters);
    }

    fn watch_lease(&mut self) {
        if self.lease.lapses(self.now.boot) {
            self.counters.add(Count::LeaseLapsed);
            self.tell_all(|| ToShard::LeaseLapsed);
        }
    }

    fn router_says(&mut self, link: LinkId, report: ControlReport) {
        if link != self.link || self.up.is_none() {
            return self.counters.add(Count::ControlOldLink);
        }
        if report.shard != self.config.router {
            return self.counters.add(Count::ControlOtherShard);
        }
        if self.run.is_some_and(|run| report.run < run) {
            return self.counters.add(Count::ControlOldRun);
        }
        if self.run != Some(report.run) {
            self.run = Some(report.run);
            // Unless it answers one of ours it may not know yet where it reaches us.
            if !report.items.iter().any(|item| matches!(item, Control::HeartbeatAnswer { .. })) {
                self.next_heartbeat = self.now.boot;
            }
            self.tell_all(|| ToShard::NewRun);
            self.begin_sync();
            self.sightings.want_snapshot();
        }
        for item in report.items {
            self.control(report.run, item);
        }
    }

    fn control(&mut self, run: RouterRun, item: Control) {
        match item {
            Control::HeartbeatAnswer { number, answered_at, moves_sessions } => {
                if self.roams.replace(moves_sessions) != Some(moves_sessions) {
                    self.tell_all(|| ToShard::Roams(moves_sessions));
                }
                self.heartbeat_answered(run, number, answered_at);
            }
            Control::Ask { question, device } => {
                let shard = self.shard_of(&device);
                self.tell(shard, ToShard::Ask { question, run, device });
            }
            Control::Superseded { by } => {
                self.counters.add(Count::Superseded);
                if self.superseded_by.replace(by) != Some(by) {
                    self.outputs.push_back(LinkOutput::Superseded { by });
                }
            }
            Control::Sync => self.begin_sync(),
            Control::Snapshot => self.sightings.want_snapshot(),
            Control::Close { device, session, reason, forget } => {
                let shard = self.shard_of(&device);
                self.tell(shard, ToShard::Close { device, session, reason, forget });
            }
            Control::Forget { device, session } => {
                let shard = self.shard_of(&device);
                self.tell(shard, ToShard::Forget { device, session });
            }
            Control::FindSession { question, device } => {
                let shard = self.shard_of(&device);
                self.tell(shard, ToShard::FindSession { question, run, device });
            }
            Control::MoveSession { question, device, session } => {
                let shard = self.shard_of(&device);
                self.tell(shard, ToShard::MoveSession { question, run, device, session });
            }
            Control::SessionAnswer { request, device, answer } => {
                let shard = self.shard_of(&device);
                self.tell(shard, ToShard::SessionAnswer { request, device, answer: Some(answer) });
            }
        }
    }

    fn heartbeat_answered(&mut self, run: RouterRun, number: u64, answered_at: BootTime) {
        self.echo = Some(Echo { run, answered_at, read_at: self.now.boot });
        match self.lease.answered(self.now.boot, number) {
            Answered::TooLate => self.counters.add(Count::AnswerUnknown),
            Answered::Extended(until) => self.tell_all(|| ToShard::Lease { until }),
            Answered::Granted(until) => {
                // Regained: what the router believed of the time between is wrong. The number comes before the lease.
                if self.had_lease {
                    self.begin_sync();
                    self.sightings.want_snapshot();
                }
                self.had_lease = true;
                self.tell_all(|| ToShard::Lease { until });
            }
        }
    }

    fn begin_sync(&mut self) {
        let number = self.settlements.begin_sync();
        self.tell_all(|| ToShard::Number(number));
        self.tell_all(|| ToShard::ListInFlight { number });
    }

    fn shard_says(&mut self, shard: ShardIndex, word: FromShard) {
        match word {
            FromShard::Sighting(sighting) => {
                match &sighting {
                    Sighting::WantsSession { device, request, .. } if !self.is_ready() => {
                        let (request, device) = (*request, device.clone());
                        return self.tell(shard, ToShard::SessionAnswer { request, device, answer: None });
                    }
                    Sighting::Accepted(_) => self.present += 1,
                    Sighting::Gone { .. } => self.present = self.present.saturating_sub(1),
                    Sighting::Heartbeat(_)
                    | Sighting::Claim { .. }
                    | Sighting::Absent { .. }
                    | Sighting::WantsSession { .. }
                    | Sighting::HoldsSession { .. }
                    | Sighting::NoSession { .. }
                    | Sighting::Snapshot { .. } => {}
                }
                self.sightings.say(Some(shard), sighting, &mut self.counters);
            }
            FromShard::Session(session) => self.moves.give(*session),
            FromShard::Settlement(item) => {
                if self.settlements.say(shard, item, &mut self.counters) {
                    self.begin_sync();
                }
            }
            FromShard::InFlight { number, list } => self.settlements.listed(shard, number, list),
            FromShard::Present(present) => self.sightings.listed(shard, present, &mut self.counters),
        }
    }

    fn published(&mut self, token: PublishToken, outcome: PublishOutcome) {
        let is_confirmed = outcome == PublishOutcome::Confirmed;
        let number = token.number();
        if self.sightings.outcome(self.now.boot, number, is_confirmed, &mut self.counters) {
            return;
        }
        if let Some((device, is_safe)) = self.moves.outcome(self.now.boot, number, is_confirmed) {
            match is_safe {
                true => self.tell(self.shard_of(&device), ToShard::SessionGiven),
                false => self.counters.add(Count::SessionNacked),
            }
            return;
        }
        match self.settlements.outcome(self.now.boot, number, is_confirmed, &mut self.counters) {
            After::Sync => self.begin_sync(),
            After::Nothing | After::NotMine => {}
        }
    }

    fn report_sightings(&mut self) -> Option<LinkOutput> {
        let items = self.sightings.next_report();
        if items.is_empty() {
            return None;
        }
        let report = SightingReport {
            gateway: self.config.gateway.clone(),
            region: self.config.region.clone(),
            incarnation: self.config.incarnation,
            link: self.link,
            items,
        };
        let number = self.next_publication();
        self.sightings.published(number);
        let key = self.config.sightings_key.clone();
        Some(self.publication(number, key, report.to_body(), OnLoss::Report))
    }

    fn hand_over(&mut self) -> Option<LinkOutput> {
        let number = self.publications + 1;
        let session = self.moves.next(self.now.boot, number)?;
        self.publications = number;
        let LinkConfig { exchange, sightings_key, user, .. } = &self.config;
        let message = session.into_message(exchange, sightings_key, user.clone());
        let token = PublishToken::new(PublishOrigin::Link, number);
        let on_loss = OnLoss::PublishAgain;
        Some(LinkOutput::Publish(Box::new(Publication { token, message, mandatory: true, on_loss })))
    }

    fn report_settlements(&mut self) -> Option<LinkOutput> {
        let number = self.publications + 1;
        let (batch, on_loss) = self.settlements.next_report(self.now.boot, number, &mut self.counters)?;
        let report = SettlementReport::Gateway {
            gateway: self.config.gateway.clone(),
            incarnation: self.config.incarnation,
            link: batch.link,
            items: batch.items,
        };
        let number = self.next_publication();
        let key = self.config.settle_key.clone();
        Some(self.publication(number, key, report.to_body(), on_loss))
    }

    fn next_publication(&mut self) -> u64 {
        self.publications += 1;
        self.publications
    }

    fn publication(
        &self,
        number: u64,
        routing_key: String,
        body: bytes::Bytes,
        on_loss: OnLoss,
    ) -> LinkOutput {
        let properties = Properties {
            content_type: Some("application/json".to_owned()),
            delivery_mode: DeliveryMode::Persistent,
            user_id: self.config.user.clone(),
            ..Properties::default()
        };
        let message = Message { exchange: self.config.exchange.clone(), routing_key, properties, body };
        let token = PublishToken::new(PublishOrigin::Link, number);
        LinkOutput::Publish(Box::new(Publication { token, message, mandatory: true, on_loss }))
    }

    fn shard_of(&self, device: &Device) -> ShardIndex {
        Placement::new(ShardIndex(0), self.config.shards).shard_of(device)
    }

    fn tell(&mut self, shard: ShardIndex, word: ToShard) {
        self.outputs.push_back(LinkOutput::ToShard { shard, word });
    }

    fn tell_all(&mut self, word: impl Fn() -> ToShard) {
        for index in 0..self.config.shards {
            self.tell(ShardIndex(index), word());
        }
    }
}
