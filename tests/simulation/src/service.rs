//! The backend's side: a service that sends commands over AMQP and HTTP, and queues that keep what the mesh says.

use std::collections::BTreeSet;

use bytes::Bytes;
use roost_backend::shell::{ConsumePlan, ConsumeQueue};
use roost_backend::window::{Loss, OnLoss, Publish, Published};
use roost_backend::{Overflow, Queue, Topology, contract};
use roost_wire::{CommandRequest, Device, Event, MessageId, Offline, Qos, ReceiptsWanted};

use crate::amqp::FromBroker;
use crate::amqp::consumer::{Arrived, ConsumingEnd, Heard, Token};
use crate::amqp::publisher::{PublishingEnd, Said};
use crate::chance::Chance;
use crate::effect::Effect;
use crate::event::End;
use crate::settings::Settings;
use crate::time::{Clock, Micros, SECOND};
use crate::world::leaves_early;

/// Every event that reached the backend.
pub(crate) const EVENTS: &str = "service.events";
/// Every event again, in a queue that refuses more than it holds, with a consumer that is slow now and then.
pub(crate) const WORK: &str = "service.work";
/// Every receipt.
pub(crate) const RECEIPTS: &str = "service.receipts";
/// Every answer of a device.
pub(crate) const ANSWERS: &str = "service.answers";

#[derive(Debug)]
pub(crate) struct Service {
    clock: Clock,
    publisher: PublishingEnd,
    worker: ConsumingEnd,
    /// Until when it takes nothing.
    slow_until: Micros,
    /// What it has read and not taken meanwhile.
    waiting: Vec<Token>,
    /// Events that it has taken: device and number.
    pub(crate) worked: BTreeSet<(Device, String)>,
    pub(crate) orders: Vec<Order>,
    /// Which of them the mesh has said that it has.
    pub(crate) accepted: BTreeSet<usize>,
    /// Those whose publication came back, which must not be.
    pub(crate) refused: Vec<usize>,
}

/// One command to send.
#[derive(Debug)]
pub(crate) struct Order {
    /// How often it was sent over HTTP: who has asked again waits for that answer only.
    pub(crate) attempts: u32,
    /// When it is sent: more than once, if the sender forgets that it did.
    pub(crate) times: Vec<Micros>,
    pub(crate) way: Way,
    pub(crate) request: CommandRequest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Amqp,
    Http,
}

/// What the worker reads before it has answered.
const PREFETCH: u16 = 10;
/// How many devices never come.
const GHOSTS: u64 = 3;

/// Devices that never come.
pub(crate) fn ghosts() -> impl Iterator<Item = Device> {
    (0..GHOSTS).map(ghost)
}

fn ghost(number: u64) -> Device {
    format!("main/ghost-{number}").parse().expect("it is a good name")
}

impl Service {
    pub(crate) fn new(clock: Clock, settings: &Settings, devices: &[Device], chance: &mut Chance) -> Self {
        let orders = (0..settings.commands).map(|number| order(number, settings, devices, chance)).collect();
        let watch = Topology::of(Queue::classic(EVENTS)).bind(EVENTS, contract::UP, "#");
        let watch = watch.and(Topology::of(Queue::classic(ANSWERS)));
        let work = Queue {
            length_max: Some((settings.service_queue_max, Overflow::RejectPublish)),
            ..Queue::classic(WORK)
        };
        let watch = watch.and(Topology::of(work)).bind(WORK, contract::UP, "#");
        let watch = watch.and(Topology::of(Queue::classic(RECEIPTS))).bind(RECEIPTS, contract::RECEIPTS, "#");
        Self {
            clock,
            publisher: PublishingEnd::new("service", Topology::contract(1).and(watch)),
            worker: ConsumingEnd::new("service"),
            slow_until: 0,
            waiting: Vec::new(),
            worked: BTreeSet::new(),
            orders,
            accepted: BTreeSet::new(),
            refused: Vec::new(),
        }
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.publisher.is_settled()
            && self.worker.is_up()
            && self.waiting.is_empty()
            && self.accepted.len() == self.orders.len()
    }

    /// When the last command is sent, repetitions among them.
    pub(crate) fn last_sent_at(&self) -> Micros {
        self.orders.iter().flat_map(|order| &order.times).copied().max().unwrap_or_default()
    }

    /// The numbers of the commands that are sent once, by AMQP, in the order in which they are; only those that live so long that
    /// none expires in the shard queue.
    pub(crate) fn sent_over_amqp(&self) -> Vec<usize> {
        let of_amqp = |number: &usize| {
            let order = &self.orders[*number];
            let lives_long = order.request.lifetime_ms.is_none_or(|ms| ms > 150_000);
            order.way == Way::Amqp && order.times.len() == 1 && lives_long
        };
        let mut numbers: Vec<usize> = (0..self.orders.len()).filter(of_amqp).collect();
        numbers.sort_by_key(|&number| self.orders[number].times.first().copied());
        numbers
    }

    pub(crate) fn replayed(&self) -> u64 {
        self.publisher.replayed
    }

    pub(crate) fn connect(&mut self, end: End) -> Vec<Effect> {
        let frames = match end {
            End::Publisher => self.publisher.connect(),
            End::Reports if self.publisher.is_up() => self.worker.connect(|_| ConsumePlan {
                topology: Topology::default(),
                queues: vec![ConsumeQueue { name: WORK.to_owned(), prefetch: PREFETCH }],
            }),
            End::Reports | End::Commands | End::Uplink | End::Mesh | End::Inbox => return Vec::new(),
        };
        vec![Effect::Write { end, frames }]
    }

    pub(crate) fn send(&mut self, at: Micros, number: usize) -> Vec<Effect> {
        let message = self.orders[number].request.clone().into_message(contract::DOWN);
        let token = number as u64;
        self.publisher.publish(Publish { message, mandatory: true, on_loss: OnLoss::PublishAgain, token });
        self.pump(at, Vec::new())
    }

    pub(crate) fn hear(&mut self, at: Micros, end: End, frame: FromBroker) -> Vec<Effect> {
        if end == End::Reports {
            let heard = self.worker.hear(frame);
            return self.heard(at, heard);
        }
        let said = self.publisher.hear(frame);
        self.pump(at, said)
    }

    pub(crate) fn lost(&mut self, at: Micros, end: End) -> Vec<Effect> {
        if end == End::Reports {
            let heard = self.worker.lost();
            return self.heard(at, heard);
        }
        let said = self.publisher.lost(&Loss::Broken);
        self.pump(at, said)
    }

    /// It takes no events until then: what it has read is not acknowledged.
    pub(crate) fn is_slow_until(&mut self, until: Micros) {
        self.slow_until = self.slow_until.max(until);
    }

    /// It takes what it has read, unless it is still slow.
    pub(crate) fn goes_on(&mut self, at: Micros) -> Vec<Effect> {
        if at < self.slow_until || self.waiting.is_empty() {
            return Vec::new();
        }
        for token in std::mem::take(&mut self.waiting) {
            self.worker.ack(token);
        }
        vec![Effect::FlushSoon { end: End::Reports }]
    }

    pub(crate) fn flush(&mut self, end: End) -> Vec<Effect> {
        vec![Effect::Write { end, frames: self.worker.answers() }]
    }

    fn heard(&mut self, at: Micros, heard: Vec<Heard>) -> Vec<Effect> {
        let end = End::Reports;
        let mut effects = Vec::new();
        for heard in heard {
            match heard {
                Heard::Write(frames) => effects.push(Effect::Write { end, frames }),
                Heard::Up(_) => {}
                Heard::Down(_) => {
                    self.waiting.clear();
                    effects.push(Effect::HangUp { end, again: true });
                }
                Heard::Delivery(arrived) => {
                    let Arrived { token, message, redelivered } = *arrived;
                    if redelivered {
                        effects.push(Effect::Redelivered);
                    }
                    let event = Event::from_message(&message).expect("the gateways' events are readable");
                    let number = String::from_utf8_lossy(&event.payload).into_owned();
                    self.worked.insert((event.device, number));
                    if at < self.slow_until {
                        self.waiting.push(token);
                        continue;
                    }
                    if !self.worker.has_answers() {
                        effects.push(Effect::FlushSoon { end });
                    }
                    self.worker.ack(token);
                }
            }
        }
        effects
    }

    pub(crate) fn is_overdue(&self, at: Micros) -> bool {
        self.publisher.is_overdue(self.clock.read(at).boot)
    }

    fn pump(&mut self, at: Micros, mut said: Vec<Said>) -> Vec<Effect> {
        let frames = self.publisher.pump(self.clock.read(at).boot, &mut said);
        let mut effects = Vec::new();
        for said in said {
            match said {
                Said::Up if self.worker.is_down() => effects.push(Effect::Connect { end: End::Reports }),
                Said::Up => {}
                Said::Down => effects.push(Effect::HangUp { end: End::Publisher, again: true }),
                Said::Done { token, outcome: Published::Confirmed } => {
                    self.accepted.insert(token as usize);
                }
                Said::Done { token, .. } => self.refused.push(token as usize),
            }
        }
        if !frames.is_empty() {
            effects.push(Effect::Write { end: End::Publisher, frames });
        }
        effects
    }
}

fn order(number: usize, settings: &Settings, devices: &[Device], chance: &mut Chance) -> Order {
    let is_for_ghost = chance.one_in(25);
    let device = match is_for_ghost {
        true => ghost(chance.below(GHOSTS)),
        // A third of them for three devices, so that mailboxes and windows fill.
        false if chance.one_in(3) => devices[chance.below(3) as usize].clone(),
        false => devices[chance.below(devices.len() as u64) as usize].clone(),
    };
    // Nobody takes what is for a device that has left.
    let is_left = devices.iter().position(|known| *known == device).is_some_and(leaves_early);
    let is_for_ghost = is_for_ghost || is_left;
    let id = MessageId::parse(&format!("c{number}")).expect("it is a good id");
    let mut request = CommandRequest::new(device, id, Bytes::from(format!("c{number}")));
    request.receipts = chance.pick(&[ReceiptsWanted::All, ReceiptsWanted::All, ReceiptsWanted::Final]);
    request.offline = if chance.one_in(8) { Offline::Fail } else { Offline::Park };
    request.qos = if chance.one_in(8) { Qos::AtMostOnce } else { Qos::AtLeastOnce };
    let lifetime_s = match chance.below(10) {
        0 | 1 => chance.between(1, 5),
        2..=5 => chance.between(10, 60),
        _ => chance.between(60, 300),
    };
    // What nobody ever takes has to expire within the run.
    request.lifetime_ms = Some(1_000 * if is_for_ghost { lifetime_s.min(30) } else { lifetime_s });
    match chance.below(150) {
        0 => request.lifetime_ms = Some(8 * 24 * 3_600 * 1_000),
        1 => request.payload = vec![b'x'; settings.router.payload_bytes_max + 1].into(),
        2..30 if !is_for_ghost => request.lifetime_ms = None,
        _ => {}
    }
    if chance.one_in(3) {
        request.reply_to = Some(ANSWERS.to_owned());
    }
    if chance.one_in(5) {
        request.supersede_key = Some(format!("k{}", chance.below(2)));
    }
    let first = chance.between(3 * SECOND, settings.heals_at);
    // In bursts, now and then: several at one moment, from one sender, for one device.
    let first = if chance.one_in(3) { first / (20 * SECOND) * (20 * SECOND) + 5 * SECOND } else { first };
    let mut times = vec![first];
    if chance.one_in(10) {
        times.push(first + chance.below(40 * SECOND));
    }
    let way = if chance.one_in(4) { Way::Http } else { Way::Amqp };
    Order { attempts: 0, times, way, request }
}
