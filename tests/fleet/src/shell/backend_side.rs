//! The backend side: consumes `roost.up`, sends commands to `roost.down`, takes their receipts and answers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use roost_backend::contract::{DOWN, RECEIPTS, UP};
use roost_backend::shell::{
    ConsumePlan, ConsumeQueue, Consumer, ConsumerEvent, Delivered, LinkConfig, OnLoss, Publish, Published,
    Publisher, PublisherConfig, PublisherEvent, consumer, publisher,
};
use roost_backend::{AmqpAddress, Queue, Topology};
use roost_wire::envelope::CommandRequest;
use roost_wire::{BootTime, Device, DeviceId, LinkId, MessageId, Qos, Receipt, ReceiptState, Tenant};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::clock;
use crate::chance::draw;
use crate::{Arrivals, Count, Figures, Kind, NumberSet, Plan, Span, Stamp};

/// Deliveries without an answer: enough for a broker to keep a consumer busy.
const PREFETCH: u16 = 2_000;
/// How long durable queues stay behind a fleet that has ended.
const IDLE_MAX_MS: u32 = 600_000;
/// How long closing may take.
const CLOSE: Duration = Duration::from_secs(5);
/// What the draws of this file are for.
const RECIPIENT: u64 = 5 << 32;

/// Which queue of the consumer's plan has the receipts: the one behind the events. Behind both are answers, if commands ask for any.
const RECEIPTS_OF_COMMANDS: usize = 1;

/// A connected backend side.
pub(super) struct BackendSide {
    shared: Arc<Shared>,
    publisher: Publisher,
    close: oneshot::Sender<()>,
    consuming: JoinHandle<()>,
    confirming: JoinHandle<()>,
    sending: Option<JoinHandle<()>>,
    up: watch::Receiver<Links>,
}

/// Which of the two links are up, and what was wrong last.
#[derive(Debug, Clone, Default)]
struct Links {
    consuming: bool,
    publishing: bool,
    trouble: String,
}

struct Shared {
    plan: Plan,
    ledger: Mutex<Ledger>,
}

/// What is known of messages on this side.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) figures: Figures,
    pub(super) events: BTreeMap<u32, Arrivals>,
    pub(super) confirmed: BTreeMap<u32, NumberSet>,
    pub(super) receipts: BTreeMap<u32, Arrivals>,
    pub(super) delivered: BTreeMap<u32, NumberSet>,
    pub(super) answers: BTreeMap<u32, Arrivals>,
    /// Answers that came for the first time.
    pub(super) answers_new: u64,
    /// Events that came for the first time.
    pub(super) events_new: u64,
    /// Commands that have their final receipt.
    pub(super) receipts_new: u64,
    /// Where answers go: a queue of the link that is up.
    answers_to: Option<String>,
    /// How many commands were sent: the token of the next one.
    sent: u64,
    /// Device and serial number of each command that the broker has not answered, by its token.
    unanswered: BTreeMap<u64, (u32, u32)>,
    /// How many commands each device was sent.
    next: BTreeMap<u32, u32>,
    /// Commands without a final receipt, by device: in order, and few.
    pending: BTreeMap<u32, VecDeque<(u32, BootTime)>>,
}

impl Shared {
    /// The lock is held for one message, never across an await.
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BackendSide {
    /// Connects; [`BackendSide::ready`] awaits that it is.
    pub(super) fn start(plan: &Plan, address: &AmqpAddress) -> Self {
        let shared = Arc::new(Shared { plan: plan.clone(), ledger: Mutex::default() });
        let link =
            |end: &str| LinkConfig::new(address.clone(), format!("roost-fleet-{end}-{:08x}", plan.run));
        let topology = Topology::contract(1);
        let planned = plan.clone();
        let (consumer, deliveries) =
            consumer(link("consumer"), move |link| Queues::of(&planned, link).consumed());
        let (publisher, outcomes) = publisher(link("publisher"), topology, PublisherConfig::default());
        let (links, up) = watch::channel(Links::default());
        let links = Arc::new(links);
        let (close, closed) = oneshot::channel();
        let consuming =
            tokio::spawn(consume(Arc::clone(&shared), (consumer, deliveries), Arc::clone(&links), closed));
        let confirming = tokio::spawn(confirm(Arc::clone(&shared), outcomes, links));
        Self { shared, publisher, close, consuming, confirming, sending: None, up }
    }

    /// Waits until both links are up.
    ///
    /// # Errors
    /// What was wrong last, when it takes too long.
    pub(super) async fn ready(&mut self, within: Duration) -> Result<(), String> {
        let up = self.up.wait_for(|links| links.consuming && links.publishing);
        let ready = matches!(tokio::time::timeout(within, up).await, Ok(Ok(_)));
        if ready { Ok(()) } else { Err(self.up.borrow().trouble.clone()) }
    }

    /// Sends commands from `begin` to `end`, each when it is due, whatever became of those before.
    pub(super) fn send(&mut self, rate: f64, begin: BootTime, end: BootTime) {
        let sending = send(Arc::clone(&self.shared), self.publisher.clone(), rate, begin, end);
        self.sending = Some(tokio::spawn(sending));
    }

    /// Sends no more.
    pub(super) fn cease(&mut self) {
        if let Some(sending) = self.sending.take() {
            sending.abort();
        }
    }

    /// Looks at what is known.
    pub(super) fn with<T>(&self, look: impl FnOnce(&mut Ledger) -> T) -> T {
        look(&mut self.shared.ledger())
    }

    /// Closes both links, and gives away what is known.
    pub(super) async fn close(mut self) -> Ledger {
        self.cease();
        self.publisher.close(CLOSE).await;
        // An error means that the task has ended already.
        let _ = self.close.send(());
        let _ = self.consuming.await;
        let _ = self.confirming.await;
        std::mem::take(&mut *self.shared.ledger())
    }
}

/// The names of the queues that one link consumes.
struct Queues {
    events: String,
    /// What the queue of events is bound with.
    binding: String,
    receipts: String,
    answers: Option<String>,
    are_durable: bool,
}

impl Queues {
    fn of(plan: &Plan, link: LinkId) -> Self {
        let Plan { run, durable_queues, .. } = plan;
        let name = |of: &str| match durable_queues {
            true => format!("roost.fleet.{run:08x}.{of}"),
            false => format!("roost.fleet.{run:08x}.{link}.{of}"),
        };
        let answers = plan.answer.is_some().then(|| name("answers"));
        Self {
            events: name("up"),
            binding: plan.binding(),
            receipts: name("receipts"),
            answers,
            are_durable: *durable_queues,
        }
    }

    fn consumed(self) -> ConsumePlan {
        let queue = |name: &str| match self.are_durable {
            true => Queue { idle_max_ms: Some(IDLE_MAX_MS), ..Queue::quorum(name) },
            false => Queue::of_link(name),
        };
        let names = [&self.events, &self.receipts].into_iter().chain(&self.answers);
        let topology = names.map(|name| Topology::of(queue(name))).fold(Topology::contract(1), Topology::and);
        let topology = topology.bind(&self.events, UP, &self.binding).bind(&self.receipts, RECEIPTS, "#");
        let names = [self.events, self.receipts].into_iter().chain(self.answers);
        let queues = names.map(|name| ConsumeQueue { name, prefetch: PREFETCH }).collect();
        ConsumePlan { topology, queues }
    }
}

/// Reads until it is told to close.
async fn consume(
    shared: Arc<Shared>,
    (consumer, mut deliveries): (Consumer, mpsc::Receiver<ConsumerEvent>),
    links: Arc<watch::Sender<Links>>,
    mut close: oneshot::Receiver<()>,
) {
    loop {
        let event = tokio::select! {
            event = deliveries.recv() => event,
            _ = &mut close => None,
        };
        match event {
            Some(ConsumerEvent::Up { link }) => {
                shared.ledger().answers_to = Queues::of(&shared.plan, link).answers;
                links.send_modify(|links| links.consuming = true);
            }
            Some(ConsumerEvent::Down { reason, .. }) => {
                let was_up = links.borrow().consuming;
                shared.ledger().figures.count_many(Count::AmqpLost, u64::from(was_up));
                links.send_modify(|links| (links.consuming, links.trouble) = (false, reason.to_string()));
            }
            Some(ConsumerEvent::Delivery(delivered)) => {
                shared.ledger().take(&shared.plan, clock::now(), &delivered);
                consumer.ack(delivered.token);
            }
            None => return consumer.close().await,
        }
    }
}

/// Reads what becomes of commands until the publisher is closed.
async fn confirm(
    shared: Arc<Shared>,
    mut outcomes: mpsc::Receiver<PublisherEvent>,
    links: Arc<watch::Sender<Links>>,
) {
    while let Some(event) = outcomes.recv().await {
        match event {
            PublisherEvent::Up => {
                links.send_modify(|links| links.publishing = true);
            }
            PublisherEvent::Down { reason } => {
                links.send_modify(|links| (links.publishing, links.trouble) = (false, reason.to_string()));
            }
            PublisherEvent::Blocked { .. } | PublisherEvent::Unblocked => {}
            PublisherEvent::Done { token, outcome } => shared.ledger().done(token, &outcome),
        }
    }
}

/// Sends each command when it is due. One that has to wait for the publisher is late, and so are those behind it.
async fn send(shared: Arc<Shared>, publisher: Publisher, rate: f64, begin: BootTime, end: BootTime) {
    for number in 0_u32.. {
        let due = begin + Duration::from_secs_f64(f64::from(number) / rate);
        if due >= end {
            return;
        }
        // A sleep takes at least a millisecond, also one that is over: what is late would be a thousand a second at most.
        if due > clock::now() {
            tokio::time::sleep_until(clock::instant(due)).await;
        }
        let publish = shared.ledger().command(&shared.plan, number, due);
        if publisher.publish(publish).await.is_err() {
            return; // it was closed
        }
    }
}

impl Ledger {
    /// The next command, to a device that is drawn.
    fn command(&mut self, plan: &Plan, number: u32, due: BootTime) -> Publish {
        let device = (draw(plan.seed, number, RECIPIENT) % u64::from(plan.devices)) as u32;
        let next = self.next.entry(device).or_default();
        let sequence = *next;
        *next += 1;
        self.figures.count(Count::CommandOffered);
        let token = self.sent;
        self.sent += 1;
        self.unanswered.insert(token, (device, sequence));
        self.pending.entry(device).or_default().push_back((sequence, due));
        let stamp = Stamp { kind: Kind::Command, run: plan.run, device, sequence, intended: due };
        let id = DeviceId::parse(&plan.client_id(device)).expect("the plan's prefix was checked");
        let message_id = MessageId::parse(&format!("fleet-{:08x}-{device}-{sequence}", plan.run));
        let message_id = message_id.expect("letters, digits and dashes make an id");
        let payload = stamp.payload(plan.traffic.size as usize);
        let mut command = CommandRequest::new(Device::new(Tenant::default(), id), message_id, payload);
        command.reply_to = self.answers_to.clone();
        command.qos = if plan.command_qos == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce };
        Publish { message: command.into_message(DOWN), mandatory: true, on_loss: OnLoss::PublishAgain, token }
    }

    fn done(&mut self, token: u64, outcome: &Published) {
        let Some((device, sequence)) = self.unanswered.remove(&token) else { return };
        match outcome {
            Published::Confirmed => {
                self.figures.count(Count::CommandConfirmed);
                self.confirmed.entry(device).or_default().insert(sequence);
            }
            Published::Returned { .. } | Published::Nacked | Published::Lost | Published::Refused { .. } => {
                self.figures.count(Count::CommandFailed);
            }
        }
    }

    fn take(&mut self, plan: &Plan, now: BootTime, delivered: &Delivered) {
        match delivered.queue {
            RECEIPTS_OF_COMMANDS => self.take_receipt(plan, now, delivered),
            // An event, or an answer: the payload says which.
            _ => self.take_event(plan, now, delivered),
        }
    }

    fn take_event(&mut self, plan: &Plan, now: BootTime, delivered: &Delivered) {
        let Some(stamp) = Stamp::read(&delivered.message.body, plan.run) else { return }; // of others
        let (count, span, arrivals, new) = match stamp.kind {
            Kind::Event => (Count::EventReceived, Span::Up, &mut self.events, &mut self.events_new),
            Kind::Answer => (Count::AnswerReceived, Span::Answer, &mut self.answers, &mut self.answers_new),
            Kind::Command => return, // an event of a device that sends them back; nobody asked for it
        };
        self.figures.count(count);
        if note(arrivals.entry(stamp.device).or_default(), stamp.sequence, delivered) {
            *new += 1;
            self.figures.took(span, now.since(stamp.intended));
        }
    }

    fn take_receipt(&mut self, plan: &Plan, now: BootTime, delivered: &Delivered) {
        let Ok(receipt) = serde_json::from_slice::<Receipt>(&delivered.message.body) else { return };
        let id = receipt.message_id.as_ref().map(MessageId::as_str);
        let Some((device, sequence)) = id.and_then(|id| read_id(id, plan.run)) else { return };
        if !receipt.state.is_final() {
            return;
        }
        self.figures.count(Count::ReceiptReceived);
        if !note(self.receipts.entry(device).or_default(), sequence, delivered) {
            return;
        }
        self.receipts_new += 1;
        if matches!(receipt.state, ReceiptState::Delivered | ReceiptState::Sent) {
            self.delivered.entry(device).or_default().insert(sequence);
        }
        if let Some(due) = self.due(device, sequence) {
            self.figures.took(Span::Receipt, now.since(due));
        }
    }

    fn due(&mut self, device: u32, sequence: u32) -> Option<BootTime> {
        let pending = self.pending.get_mut(&device)?;
        let at = pending.iter().position(|(number, _)| *number == sequence)?;
        pending.remove(at).map(|(_, due)| due)
    }
}

/// Notes an arrival; `false` if it had come before.
fn note(arrivals: &mut Arrivals, sequence: u32, delivered: &Delivered) -> bool {
    if delivered.redelivered { arrivals.note_again(sequence) } else { arrivals.note(sequence) }
}

/// Device and serial number in a command's message id.
fn read_id(id: &str, run: u32) -> Option<(u32, u32)> {
    let rest = id.strip_prefix("fleet-")?.strip_prefix(&format!("{run:08x}-"))?;
    let (device, sequence) = rest.split_once('-')?;
    Some((device.parse().ok()?, sequence.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::plan;

    #[test]
    fn a_command_names_its_device_and_number_and_is_found_again() {
        let plan = plan();
        let mut ledger = Ledger::default();
        for number in 0..50 {
            let publish = ledger.command(&plan, number, BootTime::from_micros(u64::from(number)));
            let id = publish.message.properties.message_id.unwrap();
            let stamp = Stamp::read(&publish.message.body, plan.run).unwrap();
            assert_eq!(read_id(&id, plan.run), Some((stamp.device, stamp.sequence)));
            assert_eq!(read_id(&id, 1), None);
            ledger.done(publish.token, &Published::Confirmed);
        }
        assert_eq!(ledger.figures.of(Count::CommandConfirmed), 50);
        let confirmed: u64 = ledger.confirmed.values().map(NumberSet::len).sum();
        assert_eq!(confirmed, 50);
    }
}
