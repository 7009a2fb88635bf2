//! The consuming end of a link.
//!
//! One task owns the connection and one channel per queue, hands deliveries to a bounded channel, and sends
//! acknowledgements in multiples, as the [`Ledger`] finds them. What is not acknowledged when a link is lost comes again on
//! the next one, marked as redelivered, with a new token.

mod serve;

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use roost_wire::{LinkId, Message};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;

use self::serve::Ready;
use super::LinkConfig;
use super::down_reason::DownReason;
use super::figures::ConsumerFigures;
use super::race::{Overlap, Race};
use super::retry::Retry;
use crate::Topology;
use crate::ledger::Ledger;

/// What one link declares and consumes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConsumePlan {
    /// Declared before anything is consumed; exclusive queues in it live as long as the link.
    pub topology: Topology,
    /// What is consumed, each on a channel of its own. May be empty: the link then only holds its exclusive queues.
    pub queues: Vec<ConsumeQueue>,
}

/// One queue to consume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumeQueue {
    /// Its name.
    pub name: String,
    /// The most deliveries without an answer (AMQP `basic.qos`). 0, which is AMQP's "no bound", is taken as 1.
    pub prefetch: u16,
}

/// What a consumer tells its owner, who must keep reading: what is not read is not consumed.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every event is a delivery: a box for each would save nothing"
)]
pub enum ConsumerEvent {
    /// Connected, the plan's topology declared, consuming.
    Up {
        /// Which link.
        link: LinkId,
    },
    /// The link was lost, or this attempt to make one was in vain. The next attempt follows by itself, as the next link.
    Down {
        /// Which link; that of the attempt, if it never came up.
        link: LinkId,
        /// Why.
        reason: DownReason,
    },
    /// A message. It is acknowledged or rejected by its token, in any order.
    Delivery(Delivered),
}

/// A message that was delivered.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivered {
    /// Its name in [`Consumer::ack`] and [`Consumer::reject`].
    pub token: DeliveryToken,
    /// Which queue of the plan, counted from 0.
    pub queue: usize,
    /// Whether the broker delivered it before, to anybody.
    pub redelivered: bool,
    /// The message.
    pub message: Message,
}

/// One delivery on one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryToken {
    link: LinkId,
    queue: usize,
    tag: u64,
}

impl DeliveryToken {
    /// The link it was delivered on.
    #[must_use]
    pub fn link(self) -> LinkId {
        self.link
    }
}

/// Answers deliveries. When it is dropped without [`Consumer::close`] the task ends by itself.
#[derive(Debug)]
pub struct Consumer {
    desk: Arc<Desk>,
    events: mpsc::WeakSender<ConsumerEvent>,
    closing: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// How many deliveries wait for their reader. More wait in lapin, bounded by the prefetch: enough that the task is not woken
/// for each of them.
const EVENTS_MAX: usize = 256;

/// How many answers are sent at once: measured to cost 6 µs of CPU each, against 67 to 84 µs one by one.
const ANSWERS: usize = 100;

/// Starts a consumer: it connects, carries out the plan, and does both again after every loss, for ever. `plan` is asked for
/// every attempt, with the number of the link that it would be.
#[must_use]
pub fn consumer(
    link: LinkConfig,
    plan: impl FnMut(LinkId) -> ConsumePlan + Send + 'static,
) -> (Consumer, mpsc::Receiver<ConsumerEvent>) {
    let (events, heard) = mpsc::channel(EVENTS_MAX);
    let (closing, close) = watch::channel(false);
    let desk = Arc::new(Desk::default());
    let weak = events.downgrade();
    let task = tokio::spawn(run(link, plan, Arc::clone(&desk), events, close));
    (Consumer { desk, events: weak, closing, task }, heard)
}

impl Consumer {
    /// The message is safe with the next one: the broker may forget it. Sent within a few milliseconds. A token of an older link
    /// is ignored (the message comes again), and so is one that was answered before.
    pub fn ack(&self, token: DeliveryToken) {
        self.desk.answer(token, |ledger| ledger.ack(token.queue, token.tag));
    }

    /// The message is not wanted: it goes back to its place in the queue, or to the queue's dead letters. As
    /// [`Consumer::ack`] otherwise.
    pub fn reject(&self, token: DeliveryToken, requeue: bool) {
        self.desk.answer(token, |ledger| ledger.reject(token.queue, token.tag, requeue));
    }

    /// Its figures, as of now.
    #[must_use]
    pub fn figures(&self) -> ConsumerFigures {
        let waiting = self.events.upgrade().map_or(0, |events| events.max_capacity() - events.capacity());
        self.desk.books(|Books { ledger, delivered, redelivered, .. }| ConsumerFigures {
            delivered: *delivered,
            redelivered: *redelivered,
            waiting,
            open: ledger.open(),
        })
    }

    /// Sends the answers that wait, closes the connection and ends. What was delivered and not answered goes back to its queue.
    /// Takes a few seconds at most, also if the broker is silent.
    pub async fn close(self) {
        self.closing.send_replace(true);
        match self.task.await {
            Ok(()) => {}
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => {}
        }
    }
}

/// Where answers meet the task. The lock is held for one entry of the ledger, never across an await.
#[derive(Debug, Default)]
struct Desk {
    books: Mutex<Books>,
    /// Something waits to be sent.
    some: Notify,
    /// Enough waits to be sent at once.
    enough: Notify,
}

#[derive(Debug, Default)]
struct Books {
    link: LinkId,
    ledger: Ledger,
    delivered: u64,
    redelivered: u64,
}

impl Desk {
    /// Runs `with` on the books of the present link.
    fn books<T>(&self, with: impl FnOnce(&mut Books) -> T) -> T {
        with(&mut self.books.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn answer(&self, token: DeliveryToken, note: impl FnOnce(&mut Ledger) -> bool) {
        let waiting = self.books(|books| match books.link == token.link && note(&mut books.ledger) {
            true => books.ledger.waiting(),
            false => 0,
        });
        match waiting {
            0 => {}
            1 => self.some.notify_one(),
            ANSWERS => self.enough.notify_one(),
            _ => {}
        }
    }
}

async fn run(
    config: LinkConfig,
    mut plan: impl FnMut(LinkId) -> ConsumePlan + Send + 'static,
    desk: Arc<Desk>,
    events: mpsc::Sender<ConsumerEvent>,
    mut close: watch::Receiver<bool>,
) {
    let mut retry = Retry::new(&config);
    let mut number = LinkId(0);
    loop {
        let ready = {
            // Queues of a plan may be exclusive to their connection.
            let mut race = Race::new(&config, Overlap::Excluded, |node, heard| {
                number = number.next();
                Ready::at(&config, node, heard, number, plan(number)).boxed()
            });
            loop {
                let attempt =
                    tokio::select! { attempt = race.ready() => attempt, () = closed(&mut close) => return };
                match attempt {
                    Ok(ready) => break ready,
                    Err((link, reason)) => {
                        if tell_down(&config, link, reason, &events, &mut close).await {
                            return;
                        }
                    }
                }
                tokio::select! { () = retry.wait() => {}, () = closed(&mut close) => return }
            }
        };
        let link = ready.number;
        let lost = ready.consume(&desk, &events, &mut retry, &mut close).await;
        let Some(reason) = lost else { return };
        if tell_down(&config, link, reason, &events, &mut close).await {
            return;
        }
        tokio::select! { () = retry.wait() => {}, () = closed(&mut close) => return }
    }
}

/// `true` if the consumer was closed meanwhile, or nobody reads its events any more.
async fn tell_down(
    config: &LinkConfig,
    link: LinkId,
    reason: DownReason,
    events: &mpsc::Sender<ConsumerEvent>,
    close: &mut watch::Receiver<bool>,
) -> bool {
    // For the owner it is an event, and worth a louder line when it changes something.
    tracing::debug!(connection = config.connection_name, %link, %reason, "no consuming link");
    let event = ConsumerEvent::Down { link, reason };
    tokio::select! { told = events.send(event) => told.is_err(), () = closed(close) => true }
}

/// Ends when the consumer was closed or dropped.
async fn closed(close: &mut watch::Receiver<bool>) {
    // An error means that it was dropped.
    let _ = close.wait_for(|closed| *closed).await;
}
