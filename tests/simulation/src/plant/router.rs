//! Rules of the router's, broken between its core and its connections.

mod publishing;
mod settlements;
mod sightings;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use roost_backend::contract;
use roost_router::decide::ParkReason;
use roost_router::explain::GatewayView;
use roost_router::journal::Record;
use roost_router::{Publication, PublishToken, Queue, RouterCore};
use roost_wire::mesh::Report;
use roost_wire::{
    BootTime, CommandId, CommandRequest, Delivery, Device, GatewayId, HeaderValue, InFlight, Incarnation,
    LinkId, Message, MessageId, Now, Outcome, Properties, QuestionId, Region, RouterRun, Settlement,
    SettlementItem, SettlementReport, Sighting, SightingReport,
};

use super::Break;

/// What the router does wrong, in all its lives.
#[derive(Debug, Clone, Default)]
pub(crate) struct RouterPlant {
    which: Option<Break>,
    settle_timeout: Duration,
    /// To whom each command was given last, until any answer to it is read.
    given: BTreeMap<CommandId, Given>,
    /// The runs of each gateway, in the order in which they were heard first.
    runs: BTreeMap<GatewayId, Vec<Incarnation>>,
    /// Publications that are not published again.
    once: BTreeSet<PublishToken>,
    /// Commands that have met no subscription.
    unsubscribed: BTreeSet<CommandId>,
    /// One such command of each device, that waits for a later one to go ahead of it.
    aside: BTreeMap<Device, (PublishToken, Publication)>,
    /// Copies of commands that gateways got instead of a question.
    copies: BTreeMap<(GatewayId, CommandId), (QuestionId, RouterRun)>,
}

#[derive(Debug, Clone)]
struct Given {
    at: BootTime,
    gateway: GatewayId,
    incarnation: Incarnation,
    inbox: String,
    delivery: Box<Delivery>,
}

/// What becomes of a publication.
#[derive(Debug)]
pub(crate) enum Fate {
    /// These are published, in this order.
    Publish(Vec<(PublishToken, Publication)>),
    /// It is not published, the core is told that it was, and reads these.
    Swallow(Vec<(Queue, Message)>),
}

/// What a message id has at its end while the core is not to know it again.
const UNCHECKED: &str = " (unchecked)";

impl RouterPlant {
    pub(crate) fn new(which: Option<Break>, settle_timeout: Duration) -> Self {
        Self { which, settle_timeout, ..Self::default() }
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
            (Some(Break::DeadLettersUnchecked), Queue::Expired) => vec![(queue, unchecked(core, message))],
            (None, _) | (Some(_), Queue::Commands | Queue::Expired) => vec![(queue, message)],
            (Some(_), Queue::Sightings) => match SightingReport::from_body(&message.body) {
                Ok(report) => self.sightings(core, now, report, &message),
                Err(_) => vec![(queue, message)],
            },
            (Some(_), Queue::Settlements) => match SettlementReport::from_body(&message.body) {
                Ok(SettlementReport::Gateway { gateway, incarnation, link, items }) => {
                    let mut instead =
                        self.settlements(core, now, (gateway.clone(), incarnation, link), items);
                    if instead.is_empty() {
                        // It is read all the same, and acknowledged.
                        let items = Vec::new();
                        let empty = SettlementReport::Gateway { gateway, incarnation, link, items };
                        instead.push(Instead::Settlements(empty));
                    }
                    instead.iter().map(|report| report.like(&message)).collect()
                }
                Ok(SettlementReport::Marker { .. }) | Err(_) => vec![(queue, message)],
            },
        }
    }

    /// As the router's next life has it: of this one's publications that were put aside nothing is left.
    pub(crate) fn in_the_next_life(self) -> Self {
        Self { aside: BTreeMap::new(), unsubscribed: BTreeSet::new(), ..self }
    }

    /// Whether a lost publication is left as it is.
    pub(crate) fn is_published_once(&self, token: PublishToken) -> bool {
        self.once.contains(&token)
    }
}

impl Given {
    fn settled(&self, command: CommandId, outcome: Outcome) -> SettlementReport {
        let Self { gateway, incarnation, delivery, .. } = self.clone();
        let Delivery { device, session, epoch, .. } = *delivery;
        let settlement = Settlement { command, device, session, epoch, outcome };
        let items = vec![SettlementItem::Settled(settlement)];
        SettlementReport::Gateway { gateway, incarnation, link: LinkId::default(), items }
    }

    fn in_flight(&self, command: CommandId) -> InFlight {
        let Delivery { device, session, epoch, .. } = &*self.delivery;
        InFlight { command, device: device.clone(), session: *session, epoch: *epoch }
    }
}

/// What is read instead of settlements.
#[derive(Debug)]
enum Instead {
    Settlements(SettlementReport),
    Sightings(SightingReport),
}

impl Instead {
    fn like(&self, message: &Message) -> (Queue, Message) {
        match self {
            Self::Settlements(report) => (Queue::Settlements, like(message, report)),
            Self::Sightings(report) => (Queue::Sightings, like(message, report)),
        }
    }
}

fn like(message: &Message, report: &impl Report) -> Message {
    Message { body: report.to_body(), ..message.clone() }
}

/// A message of nobody's, for a report.
fn made_up(report: &impl Report) -> Message {
    let (exchange, routing_key, properties) = (String::new(), String::new(), Properties::default());
    Message { exchange, routing_key, properties, body: report.to_body() }
}

fn is_contested(core: &RouterCore, now: Now, device: &Device) -> bool {
    core.explain(now, device).decision.reason == ParkReason::Contested.as_str()
}

/// The gateway that has this control queue.
fn gateway_at(core: &RouterCore, now: Now, queue: &str) -> Option<GatewayView> {
    let is_its = |view: &GatewayView| queue.starts_with(&format!("roost.control.{}.", view.gateway));
    core.gateways(now).into_iter().find(is_its)
}

/// As if the gateway had answered that it does not hold the device.
fn absent(view: GatewayView, question: QuestionId, run: RouterRun, device: Device) -> SightingReport {
    SightingReport {
        gateway: view.gateway,
        region: view.region.unwrap_or_else(|| Region::parse("eu").expect("it is a good name")),
        incarnation: view.incarnation,
        link: view.link.unwrap_or_default(),
        items: vec![Sighting::Absent { question, run, device }],
    }
}

/// A dead letter that is known, as one that is not.
fn unchecked(core: &RouterCore, mut message: Message) -> Message {
    let mut named = message.clone();
    // It has the key of its queue; who it was for is in the story of its death.
    if let Some(device) = device_of(&mut named)
        && let Some(id) = &mut message.properties.message_id
        && let Ok(known) = MessageId::parse(id)
        && (core.journal().live_id(&device, &known).is_some()
            || core.journal().final_of(&device, &known).is_some())
    {
        id.push_str(UNCHECKED);
    }
    message
}

fn device_of(letter: &mut Message) -> Option<Device> {
    let Some(HeaderValue::List(deaths)) = letter.properties.headers.get("x-death") else { return None };
    let Some(HeaderValue::Table(death)) = deaths.first() else { return None };
    let Some(HeaderValue::List(keys)) = death.get("routing-keys") else { return None };
    let Some(HeaderValue::Text(key)) = keys.first() else { return None };
    letter.routing_key = key.clone();
    CommandRequest::from_message(letter).ok().map(|request| request.device)
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
        | Record::Tried { sequence, .. }
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

/// The inbox of a gateway's present link.
fn inbox_of(view: &GatewayView) -> Option<String> {
    Some(contract::inbox_queue(&view.gateway, view.incarnation, view.link?))
}
