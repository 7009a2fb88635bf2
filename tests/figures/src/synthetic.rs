//! A gateway without devices: the link of a real one, over real AMQP, that says it has as many as it is told to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, bail};
use roost_backend::contract::{self, control_queue, inbox_queue};
use roost_backend::shell::{
    Consumer, ConsumerEvent, LinkConfig as AmqpConfig, OnLoss, Publish, Published, Publisher,
    PublisherConfig, PublisherEvent, consumer, publisher,
};
use roost_backend::{AmqpAddress, Topology};
use roost_gateway::link::{FromShard, Link, LinkConfig, LinkInput, LinkOutput, ToShard};
use roost_gateway::shard::Backend;
use roost_gateway::shell::inbox_plan;
use roost_gateway::{self as gateway, PublishOutcome, PublishToken, ShardIndex};
use roost_ops::now;
use roost_wire::mesh::Report;
use roost_wire::{
    BootTime, CommandId, ControlReport, Delivery, Device, Incarnation, LinkId, Outcome, Present, SessionId,
    Settlement, SettlementItem, ShardId, Sighting,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// As [`roost_gateway`]'s own.
const HEARTBEAT: std::time::Duration = std::time::Duration::from_secs(3);
const LEASE: std::time::Duration = std::time::Duration::from_secs(10);
/// All of a snapshot, and what else there is to say meanwhile.
const REPORTS_MAX: usize = 65_536;
/// There is one, and nobody minds.
const SHARD: ShardIndex = ShardIndex(0);
const INBOX: usize = 0;

/// One gateway. Its link ends when it is dropped.
#[derive(Debug)]
pub(crate) struct SyntheticGateway {
    told: Arc<Mutex<Told>>,
    task: JoinHandle<anyhow::Result<()>>,
}

/// What the router told it.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// How often it was asked for each device.
    pub(crate) questions: HashMap<Device, u32>,
    /// How often it was given each command.
    pub(crate) commands: HashMap<CommandId, u32>,
}

impl SyntheticGateway {
    /// Connects the gateway of that name, with these devices.
    pub(crate) fn start(name: &str, amqp: &str, devices: Vec<Device>) -> anyhow::Result<Self> {
        let told = Arc::new(Mutex::new(Told::default()));
        let address: AmqpAddress = amqp.parse()?;
        let incarnation = Incarnation(1);
        let id: roost_wire::GatewayId = name.parse()?;
        let link = Link::new(LinkConfig {
            gateway: id.clone(),
            region: "synthetic".parse()?,
            incarnation,
            router: ShardId(0),
            shards: 1,
            heartbeat: HEARTBEAT,
            lease: LEASE,
            exchange: contract::MESH.to_owned(),
            sightings_key: contract::sightings_key(ShardId(0)),
            settle_key: contract::settle_key(ShardId(0)),
            user: Some(address.user().to_owned()),
            // So nobody asks it for one.
            moves_sessions: false,
        });
        let amqp = AmqpConfig::new(address, name);
        let bounds =
            PublisherConfig { queue_max: REPORTS_MAX, events_max: REPORTS_MAX, ..PublisherConfig::default() };
        let (publisher, outcomes) = publisher(amqp.clone(), Topology::contract(1), bounds);
        let planned = id.clone();
        let (consumer, events) = consumer(amqp, move |link| inbox_plan(&planned, incarnation, 1, &[], link));
        let accepted_at = now().boot;
        let present = (1..).map(SessionId).zip(devices);
        let present = present.map(|(session, device)| (device, (session, accepted_at))).collect();
        let desk = Desk {
            link,
            queues: Box::new(move |link| {
                (inbox_queue(&id, incarnation, link), control_queue(&id, incarnation, link))
            }),
            current: LinkId::default(),
            publisher,
            consumer,
            present,
            told: Arc::clone(&told),
        };
        let task = tokio::spawn(desk.run(outcomes, events));
        Ok(Self { told, task })
    }

    /// What it was told so far.
    pub(crate) fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it still runs, which it does unless something is wrong.
    pub(crate) fn is_well(&self) -> bool {
        !self.task.is_finished()
    }
}

impl Drop for SyntheticGateway {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Desk {
    link: Link,
    queues: Box<dyn Fn(LinkId) -> (String, String) + Send>,
    current: LinkId,
    publisher: Publisher,
    consumer: Consumer,
    present: HashMap<Device, (SessionId, BootTime)>,
    told: Arc<Mutex<Told>>,
}

impl Desk {
    async fn run(
        mut self,
        mut outcomes: mpsc::Receiver<PublisherEvent>,
        mut events: mpsc::Receiver<ConsumerEvent>,
    ) -> anyhow::Result<()> {
        loop {
            self.perform()?;
            let wait = self.link.poll_timeout().map_or(HEARTBEAT, |at| at.since(now().boot));
            let input = tokio::select! {
                event = outcomes.recv() => self.published(event.context("the publisher has ended")?),
                event = events.recv() => self.heard(event.context("the consumer has ended")?)?,
                () = tokio::time::sleep(wait) => Some(LinkInput::Tick),
            };
            if let Some(input) = input {
                self.link.handle(now(), input);
            }
        }
    }

    fn published(&self, event: PublisherEvent) -> Option<LinkInput> {
        match event {
            PublisherEvent::Up | PublisherEvent::Unblocked => Some(LinkInput::Backend(Backend::Up)),
            PublisherEvent::Down { .. } | PublisherEvent::Blocked { .. } => {
                Some(LinkInput::Backend(Backend::Away))
            }
            PublisherEvent::Done { token, outcome } => {
                let outcome = match outcome {
                    Published::Confirmed => PublishOutcome::Confirmed,
                    Published::Returned { .. } => PublishOutcome::Returned,
                    Published::Nacked | Published::Refused { .. } => PublishOutcome::Nacked,
                    Published::Lost => PublishOutcome::Lost,
                };
                Some(LinkInput::Published { token: PublishToken(token), outcome })
            }
        }
    }

    fn heard(&mut self, event: ConsumerEvent) -> anyhow::Result<Option<LinkInput>> {
        match event {
            ConsumerEvent::Up { link } => {
                self.current = link;
                let (inbox, control) = (self.queues)(link);
                Ok(Some(LinkInput::Up { link, inbox, control }))
            }
            ConsumerEvent::Down { link, .. } => Ok(Some(LinkInput::Down { link })),
            ConsumerEvent::Delivery(delivered) => {
                self.consumer.ack(delivered.token);
                if delivered.queue != INBOX {
                    let report = ControlReport::from_body(&delivered.message.body)?;
                    return Ok(Some(LinkInput::Control { link: self.current, report }));
                }
                let Delivery { id, device, session, epoch, .. } = Delivery::from_message(&delivered.message)?;
                *self.note().commands.entry(id).or_default() += 1;
                let outcome = Outcome::Delivered;
                let settlement = Settlement { command: id, device, session, epoch, outcome };
                Ok(Some(from_shard(FromShard::Settlement(SettlementItem::Settled(settlement)))))
            }
        }
    }

    /// Does what the link wants; what its shards would say comes back at once.
    fn perform(&mut self) -> anyhow::Result<()> {
        while let Some(output) = self.link.poll_output() {
            match output {
                LinkOutput::Publish(publication) => self.publish(*publication)?,
                LinkOutput::Superseded { by } => bail!("another gateway has this one's id: {by:?}"),
                LinkOutput::ToShard { word, .. } => {
                    if let Some(answer) = self.answer(word) {
                        self.link.handle(now(), from_shard(answer));
                    }
                }
            }
        }
        Ok(())
    }

    fn answer(&self, word: ToShard) -> Option<FromShard> {
        match word {
            ToShard::ListInFlight { number } => Some(FromShard::InFlight { number, list: Vec::new() }),
            ToShard::ListPresent => {
                Some(FromShard::Present(self.present.keys().filter_map(|device| self.find(device)).collect()))
            }
            ToShard::Ask { question, run, device } => {
                *self.note().questions.entry(device.clone()).or_default() += 1;
                let sighting = match self.find(&device) {
                    Some(present) => Sighting::Claim { question, run, present },
                    None => Sighting::Absent { question, run, device },
                };
                Some(FromShard::Sighting(sighting))
            }
            ToShard::Link(_)
            | ToShard::Lease { .. }
            | ToShard::LeaseLapsed
            | ToShard::Number(_)
            | ToShard::Roams(_)
            | ToShard::NewRun
            | ToShard::FindSession { .. }
            | ToShard::MoveSession { .. }
            | ToShard::SessionAnswer { .. }
            | ToShard::SessionGiven
            | ToShard::Forget { .. }
            | ToShard::Close { .. } => None,
        }
    }

    fn find(&self, device: &Device) -> Option<Present> {
        let (session, accepted_at) = *self.present.get(device)?;
        Some(Present { device: device.clone(), session, accepted_at })
    }

    fn publish(&self, publication: gateway::Publication) -> anyhow::Result<()> {
        let gateway::Publication { token, message, mandatory, on_loss } = publication;
        let on_loss = match on_loss {
            gateway::OnLoss::PublishAgain => OnLoss::PublishAgain,
            gateway::OnLoss::Report => OnLoss::Report,
        };
        let publish = Publish { message, mandatory, on_loss, token: token.0 };
        Ok(self.publisher.try_publish(publish)?)
    }

    fn note(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn from_shard(word: FromShard) -> LinkInput {
    LinkInput::FromShard { shard: SHARD, word }
}
