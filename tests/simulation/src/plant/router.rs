//! Rules of the router's, broken between its core and its connections.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use roost_router::decide::ParkReason;
use roost_router::journal::Record;
use roost_router::{Publication, PublishToken, Queue, RouterCore};
use roost_wire::mesh::Report;
use roost_wire::{
    BootTime, CommandId, Control, ControlReport, Device, Epoch, GatewayId, Heartbeat, InFlight, Incarnation,
    LinkId, Message, Now, Outcome, Present, Region, ReturnReason, SessionId, Settlement, SettlementItem,
    SettlementReport, ShardId, Sighting, SightingReport,
};

use super::Break;

/// What the router does wrong, in all its lives.
#[derive(Debug, Clone, Default)]
pub(crate) struct RouterPlant {
    which: Option<Break>,
    /// To whom each command was given last, until any answer to it is read.
    given: BTreeMap<CommandId, Given>,
    /// The runs of each gateway, in the order in which they were heard first.
    runs: BTreeMap<GatewayId, Vec<Incarnation>>,
    /// Publications that are not published again.
    once: BTreeSet<PublishToken>,
}

#[derive(Debug, Clone)]
struct Given {
    device: Device,
    gateway: GatewayId,
    incarnation: Incarnation,
    session: SessionId,
    epoch: Epoch,
}

/// What becomes of a publication.
#[derive(Debug)]
pub(crate) enum Fate {
    Publish(Publication),
    /// It is not published, the core is told that it was, and reads these.
    Swallow(Vec<(Queue, Message)>),
}

/// By how much a wrong bound is off.
const OFF: std::time::Duration = std::time::Duration::from_secs(5);

impl RouterPlant {
    pub(crate) fn new(which: Option<Break>) -> Self {
        Self { which, ..Self::default() }
    }

    pub(crate) fn is(&self, plant: Break) -> bool {
        self.which == Some(plant)
    }

    /// The journal as a start reads it.
    pub(crate) fn journal(&self, disk: &[Bytes]) -> Vec<Record> {
        let read = |record: &Bytes| Record::decode(record).expect("what was written is readable");
        let mut records: Vec<Record> = disk.iter().map(read).collect();
        match self.which {
            Some(Break::ForgetFinals) => forget_finals(&mut records),
            Some(Break::ForwardBeforeSyncs) => records.retain(|record| {
                !matches!(
                    record,
                    Record::GatewaySeen { .. } | Record::GatewaySynced { .. } | Record::GatewayLost { .. }
                )
            }),
            Some(_) | None => {}
        }
        records
    }

    /// What the core reads instead of a message, in order.
    pub(crate) fn reads(
        &mut self,
        core: &RouterCore,
        now: Now,
        queue: Queue,
        message: Message,
    ) -> Vec<(Queue, Message)> {
        match (self.which, queue) {
            (None, _) | (Some(_), Queue::Commands | Queue::Expired) => vec![(queue, message)],
            (Some(_), Queue::Sightings) => match SightingReport::from_body(&message.body) {
                Ok(report) => self.sightings(core, now, report, &message),
                Err(_) => vec![(queue, message)],
            },
            (Some(_), Queue::Settlements) => match SettlementReport::from_body(&message.body) {
                Ok(SettlementReport::Gateway { gateway, incarnation, link, items }) => {
                    let mut reports = self.settlements((gateway.clone(), incarnation, link), items);
                    if reports.is_empty() {
                        // It is read all the same, and acknowledged.
                        reports.push(SettlementReport::Gateway {
                            gateway,
                            incarnation,
                            link,
                            items: Vec::new(),
                        });
                    }
                    reports.iter().map(|report| (queue, like(&message, report))).collect()
                }
                Ok(SettlementReport::Marker { .. }) | Err(_) => vec![(queue, message)],
            },
        }
    }

    /// What becomes of what the core wants published.
    pub(crate) fn publishes(
        &mut self,
        core: &RouterCore,
        now: Now,
        token: PublishToken,
        what: Publication,
    ) -> Fate {
        match (self.which, what) {
            (None, what) => Fate::Publish(what),
            (Some(Break::MarkerReadAtOnce), what @ Publication::Marker { .. }) => {
                Fate::Swallow(vec![(Queue::Settlements, what.into_message(ShardId(0)))])
            }
            (Some(Break::ReceiptsOnce), what @ Publication::Receipt { .. }) => {
                self.once.insert(token);
                Fate::Publish(what)
            }
            (Some(Break::RivalsStayOpen), Publication::Control { queue, mut report }) => {
                report.items.retain(|item| !matches!(item, Control::Close { .. }));
                match report.items.is_empty() {
                    true => Fate::Swallow(Vec::new()),
                    false => Fate::Publish(Publication::Control { queue, report }),
                }
            }
            (Some(Break::AskOneOfTwo), Publication::Control { queue, report }) => {
                match answer_for_the_asked(core, now, &queue, &report) {
                    Some(answer) => Fate::Swallow(vec![(Queue::Sightings, answer)]),
                    None => Fate::Publish(Publication::Control { queue, report }),
                }
            }
            (Some(_), Publication::Delivery { gateway, inbox, delivery }) => {
                if let Some(location) = core.explain(now, &delivery.device).location {
                    let given = Given {
                        device: delivery.device.clone(),
                        gateway: gateway.clone(),
                        incarnation: location.incarnation,
                        session: delivery.session,
                        epoch: delivery.epoch,
                    };
                    self.given.insert(delivery.id, given);
                }
                Fate::Publish(Publication::Delivery { gateway, inbox, delivery })
            }
            (Some(_), what) => Fate::Publish(what),
        }
    }

    /// Whether a lost publication is left as it is.
    pub(crate) fn is_published_once(&self, token: PublishToken) -> bool {
        self.once.contains(&token)
    }

    fn sightings(
        &mut self,
        core: &RouterCore,
        now: Now,
        mut report: SightingReport,
        message: &Message,
    ) -> Vec<(Queue, Message)> {
        let runs = self.runs.entry(report.gateway.clone()).or_default();
        if !runs.contains(&report.incarnation) {
            runs.push(report.incarnation);
        }
        let newest = runs.last().copied().filter(|newest| *newest != report.incarnation);
        let offset =
            || core.gateways(now).into_iter().find(|view| view.gateway == report.gateway)?.offset_micros;
        let mut behind = Vec::new();
        match self.which {
            Some(Break::ForgetWithoutCompare) => {
                return without_compare(core, now, report, message);
            }
            Some(Break::BelieveTheVoided) => {
                if let Some(newest) = newest {
                    report.incarnation = newest;
                    report.items.retain(|item| !matches!(item, Sighting::Heartbeat(_)));
                }
            }
            Some(Break::LastToArriveWins) => {
                if let Some((low, _)) = offset() {
                    for item in &mut report.items {
                        if let Sighting::Accepted(present) = item {
                            // Behind everything that was ever read.
                            let moment = now.boot.as_micros() as i64 - low;
                            present.accepted_at = BootTime::from_micros(moment.max(0) as u64);
                        }
                    }
                }
            }
            Some(Break::ClocksAsTheyAre) => beats(&mut report).for_each(|beat| {
                beat.sent_at = now.boot;
                if let Some(echo) = &mut beat.echo {
                    echo.read_at = echo.answered_at;
                }
            }),
            Some(Break::BoundsWithoutTheMoment) if report.gateway.as_str() == "eu-1" => {
                beats(&mut report).for_each(|beat| {
                    beat.sent_at = beat.sent_at + OFF;
                    if let Some(echo) = &mut beat.echo {
                        echo.read_at = echo.read_at + OFF;
                    }
                });
            }
            Some(Break::AnnouncementsOnlyAdd) => {
                for item in &mut report.items {
                    if let Sighting::Snapshot { last, .. } = item {
                        *last = false;
                    }
                }
            }
            Some(Break::NextHoldAtOnce) => {
                for item in &report.items {
                    if let Sighting::Accepted(present) = item {
                        behind.extend(self.returned_for(&report.gateway, present));
                    }
                }
            }
            Some(_) | None => {}
        }
        let first = (Queue::Sightings, like(message, &report));
        [first]
            .into_iter()
            .chain(behind.into_iter().map(|report| (Queue::Settlements, like(message, &report))))
            .collect()
    }

    /// What is outstanding for a device that has been seen in another session, as if it had come back.
    fn returned_for(&mut self, at: &GatewayId, present: &Present) -> Vec<SettlementReport> {
        let is_left = |given: &Given| {
            given.device == present.device && (given.gateway != *at || given.session != present.session)
        };
        let left: Vec<CommandId> =
            self.given.iter().filter(|(_, given)| is_left(given)).map(|(command, _)| *command).collect();
        let returned = |command| {
            let given = self.given.remove(&command)?;
            let outcome = Outcome::Returned { reason: ReturnReason::HoldEnded };
            Some(given.settled(command, outcome))
        };
        left.into_iter().filter_map(returned).collect()
    }

    fn settlements(
        &mut self,
        (gateway, incarnation, link): (GatewayId, Incarnation, LinkId),
        items: Vec<SettlementItem>,
    ) -> Vec<SettlementReport> {
        let mut reports = Vec::new();
        for item in items {
            let one = match item {
                SettlementItem::Settled(settlement) => {
                    let given = self.given.get(&settlement.command).cloned();
                    let is_other = given.as_ref().is_some_and(|given| given.epoch != settlement.epoch);
                    if !is_other {
                        self.given.remove(&settlement.command);
                    }
                    match given.filter(|_| is_other && !settlement.outcome.is_success()) {
                        Some(given) if self.is(Break::AnswersOfOtherHolds) => {
                            let outcome = match settlement.outcome {
                                // Where the device is, is another question.
                                Outcome::Gone { .. } => Outcome::Returned { reason: ReturnReason::HoldEnded },
                                other => other,
                            };
                            reports.push(given.settled(settlement.command, outcome));
                            continue;
                        }
                        Some(_) | None => SettlementItem::Settled(settlement),
                    }
                }
                SettlementItem::Subscribed { .. } if self.is(Break::NobodyTellsOfSubscribing) => continue,
                SettlementItem::Sync { number, first, last, .. } if self.is(Break::SyncForgetsTheListed) => {
                    SettlementItem::Sync { number, first, last, in_flight: Vec::new() }
                }
                SettlementItem::Sync { number, first, last: true, mut in_flight }
                    if self.is(Break::SyncKeepsTheMissing) =>
                {
                    let is_there =
                        |given: &Given| given.gateway == gateway && given.incarnation == incarnation;
                    let there = self.given.iter().filter(|(_, given)| is_there(given));
                    in_flight.extend(there.map(|(command, given)| given.in_flight(*command)));
                    SettlementItem::Sync { number, first, last: true, in_flight }
                }
                other @ (SettlementItem::Subscribed { .. } | SettlementItem::Sync { .. }) => other,
            };
            let gateway = gateway.clone();
            reports.push(SettlementReport::Gateway { gateway, incarnation, link, items: vec![one] });
        }
        reports
    }
}

impl Given {
    fn settled(&self, command: CommandId, outcome: Outcome) -> SettlementReport {
        let Self { device, gateway, incarnation, session, epoch } = self.clone();
        let settlement = Settlement { command, device, session, epoch, outcome };
        let items = vec![SettlementItem::Settled(settlement)];
        SettlementReport::Gateway { gateway, incarnation, link: LinkId::default(), items }
    }

    fn in_flight(&self, command: CommandId) -> InFlight {
        InFlight { command, device: self.device.clone(), session: self.session, epoch: self.epoch }
    }
}

fn beats(report: &mut SightingReport) -> impl Iterator<Item = &mut Heartbeat> {
    report.items.iter_mut().filter_map(|item| match item {
        Sighting::Heartbeat(beat) => Some(beat),
        _ => None,
    })
}

fn like(message: &Message, report: &impl Report) -> Message {
    Message { body: report.to_body(), ..message.clone() }
}

/// Commands that have ended, and whose receipt is published, were never there; but their places are used.
fn forget_finals(records: &mut Vec<Record>) {
    let published = records.iter().filter_map(|record| match record {
        Record::ReceiptPublished { sequence } => Some(*sequence),
        Record::Finished { end, owed: false } => Some(end.receipt.command_id.sequence),
        _ => None,
    });
    let published: BTreeSet<u64> = published.collect();
    let place = |record: &Record| match record {
        Record::Accepted(accepted) => Some(accepted.sequence),
        Record::Given { sequence, .. }
        | Record::TakenBack { sequence }
        | Record::Interrupted { sequence }
        | Record::ReceiptPublished { sequence }
        | Record::Answered { sequence, .. } => Some(*sequence),
        Record::Finished { end, .. } => Some(end.receipt.command_id.sequence),
        Record::RunStarted { .. }
        | Record::Used { .. }
        | Record::GatewaySeen { .. }
        | Record::GatewaySynced { .. }
        | Record::GatewayLost { .. } => None,
    };
    let next = records.iter().filter_map(place).max().map(|last| last + 1);
    records.retain(|record| place(record).is_none_or(|place| !published.contains(&place)));
    records.extend(next.map(|next| Record::Used { next }));
}

/// The report as several, in each of which "gone" names the session and gateway that the router believes in, so that its
/// comparison always holds.
fn without_compare(
    core: &RouterCore,
    now: Now,
    report: SightingReport,
    message: &Message,
) -> Vec<(Queue, Message)> {
    let mut reports = Vec::new();
    for item in report.items {
        let mut one = SightingReport {
            gateway: report.gateway.clone(),
            region: report.region.clone(),
            incarnation: report.incarnation,
            link: report.link,
            items: vec![item],
        };
        if let [Sighting::Gone { device, session }] = one.items.as_mut_slice()
            && let Some(location) = core.explain(now, device).location
        {
            *session = location.session;
            (one.gateway, one.region) = (location.gateway, location.region);
            one.incarnation = location.incarnation;
        }
        reports.push((Queue::Sightings, like(message, &one)));
    }
    reports
}

/// Two gateways claim a device: the one that was heard of later is not asked, and "absent" is heard instead.
fn answer_for_the_asked(core: &RouterCore, now: Now, queue: &str, report: &ControlReport) -> Option<Message> {
    let [Control::Ask { question, device }] = report.items.as_slice() else { return None };
    let claimants = core.explain(now, device).decision.gateways;
    let view = core.gateways(now).into_iter().find(|view| {
        let name = format!("roost.control.{}.", view.gateway);
        queue.starts_with(&name)
    })?;
    let is_later =
        claimants.len() > 1 && claimants.iter().position(|claimant| *claimant == view.gateway)? > 0;
    if !is_later || core.explain(now, device).decision.reason != ParkReason::Contested.as_str() {
        return None;
    }
    let absent = SightingReport {
        gateway: view.gateway,
        region: view.region.unwrap_or_else(|| Region::parse("eu").expect("it is a good name")),
        incarnation: view.incarnation,
        link: view.link.unwrap_or_default(),
        items: vec![Sighting::Absent { question: *question, run: report.run, device: device.clone() }],
    };
    let none = Message {
        exchange: String::new(),
        routing_key: String::new(),
        properties: roost_wire::Properties::default(),
        body: Bytes::new(),
    };
    Some(like(&none, &absent))
}
