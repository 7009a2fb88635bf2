//! The publishing end of a link.
//!
//! One task owns the connection, its one channel and the [`Window`]. It takes what is published from a bounded channel, sends up
//! to 64 at once (waiting for each alone costs ten times the CPU), waits up to a millisecond for more company while
//! others are in flight, and reads confirms in rounds.

mod outbox;
mod renewal;
mod serve;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use lapin::Channel;
use lapin::options::ConfirmSelectOptions;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use self::outbox::Outbox;
use super::LinkConfig;
use super::declare::declare;
use super::down_reason::DownReason;
use super::figures::PublisherFigures;
use super::link::Link;
use super::race::{Heard, Overlap, Race};
use super::retry::Retry;
use crate::window::{Publish, Published, Window};
use crate::{AmqpNode, Topology};

/// How much a publisher holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublisherConfig {
    /// The most messages without a confirm. When it is reached, nothing more is taken from the queue before it. 2,000: the
    /// least at which one connection reaches a quorum queue's full rate.
    pub window_max: usize,
    /// The most messages that wait before the window. When it is reached, [`Publisher::publish`] waits, and
    /// [`Publisher::try_publish`] says that it is full.
    pub queue_max: usize,
    /// The most events that wait for their reader. When it is reached, outcomes wait in the publisher, and it takes no more
    /// messages from the queue.
    pub events_max: usize,
}

impl Default for PublisherConfig {
    fn default() -> Self {
        Self { window_max: 2_000, queue_max: 256, events_max: 1_024 }
    }
}

/// What a publisher tells its owner. An owner that publishes and reads events in one task uses
/// [`Publisher::try_publish`]: waiting for room while nobody reads the events would be for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublisherEvent {
    /// Connected, the topology declared, ready.
    Up,
    /// The link was lost, or an attempt to make one was in vain. The next attempt follows by itself.
    Down {
        /// Why.
        reason: DownReason,
    },
    /// The broker takes no messages for now (AMQP `connection.blocked`): its memory or disk is short. What is published waits,
    /// without a time-out.
    Blocked {
        /// What it said.
        reason: String,
    },
    /// It takes messages again; also said by a new [`PublisherEvent::Up`].
    Unblocked,
    /// The one outcome of a message.
    Done {
        /// The token it was published with.
        token: u64,
        /// What became of it.
        outcome: Published,
    },
}

/// The publisher was closed: it takes no more messages. The message comes back.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("the publisher is closed")]
pub struct Closed(pub Box<Publish>);

/// Why a message was not taken. It comes back.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TryPublishError {
    /// The queue before the window is full: try again after the next outcome.
    #[error("the publisher is full")]
    Full(Box<Publish>),
    /// The publisher was closed.
    #[error("the publisher is closed")]
    Closed(Box<Publish>),
}

/// What had no outcome when the publisher was closed, in the order of publishing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unconfirmed {
    /// The tokens. Some of these messages may have arrived.
    pub tokens: Vec<u64>,
}

/// Takes messages to be published. Cheap to clone. When the last clone is dropped without [`Publisher::close`], what was taken is
/// still published within one time-out, and its outcomes are told to whoever still reads the events.
#[derive(Debug, Clone)]
pub struct Publisher {
    queue: mpsc::Sender<Publish>,
    closing: Arc<watch::Sender<Option<Instant>>>,
    task: Arc<Mutex<Option<JoinHandle<Unconfirmed>>>>,
    tally: Tally,
}

/// Where the task notes its figures. The lock is held for a few numbers, never across an await.
#[derive(Debug, Clone, Default)]
struct Tally(Arc<Mutex<PublisherFigures>>);

/// Starts a publisher: it connects, declares the topology, and does both again after every loss, for ever.
#[must_use]
pub fn publisher(
    link: LinkConfig,
    topology: Topology,
    config: PublisherConfig,
) -> (Publisher, mpsc::Receiver<PublisherEvent>) {
    let (queue, published) = mpsc::channel(config.queue_max);
    let (events, heard) = mpsc::channel(config.events_max);
    let (closing, close) = watch::channel(None);
    let tally = Tally::default();
    let desk = Desk {
        retry: Retry::new(&link),
        link,
        topology,
        window: Window::new(config.window_max),
        published,
        events: Outbox::new(events, config.window_max + config.events_max, tally.clone()),
        tally: tally.clone(),
        close,
        started: Instant::now(),
    };
    let task = Arc::new(Mutex::new(Some(tokio::spawn(desk.run()))));
    (Publisher { queue, closing: Arc::new(closing), task, tally }, heard)
}

impl Publisher {
    /// Takes a message, waiting for room.
    ///
    /// # Errors
    /// [`Closed`] once the publisher is closed.
    pub async fn publish(&self, publish: Publish) -> Result<(), Closed> {
        self.queue.send(publish).await.map_err(|unsent| Closed(Box::new(unsent.0)))
    }

    /// Takes a message if there is room.
    ///
    /// # Errors
    /// [`TryPublishError`] with the message.
    pub fn try_publish(&self, publish: Publish) -> Result<(), TryPublishError> {
        self.queue.try_send(publish).map_err(|unsent| match unsent {
            mpsc::error::TrySendError::Full(publish) => TryPublishError::Full(Box::new(publish)),
            mpsc::error::TrySendError::Closed(publish) => TryPublishError::Closed(Box::new(publish)),
        })
    }

    /// Its figures, at most a moment old.
    #[must_use]
    pub fn figures(&self) -> PublisherFigures {
        self.tally.note(|figures| *figures)
    }

    /// Takes no more, publishes what was taken, waits up to `grace` for the confirms, closes the connection, and says what is
    /// left without an outcome. Outcomes that nobody reads meanwhile are kept only as far as the events' bound; they do not
    /// hold up the close. A second call, from a clone, finds nothing left to close.
    pub async fn close(self, grace: Duration) -> Unconfirmed {
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(task) = task else { return Unconfirmed::default() };
        self.closing.send_replace(Some(Instant::now() + grace));
        match task.await {
            Ok(unconfirmed) => unconfirmed,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Unconfirmed::default(),
        }
    }
}

impl Tally {
    fn note<T>(&self, with: impl FnOnce(&mut PublisherFigures) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn window(&self, window: &Window) {
        self.note(|figures| (figures.in_flight, figures.unsent) = (window.in_flight(), window.unsent()));
    }
}

/// All that the publishing task owns.
struct Desk {
    tally: Tally,
    link: LinkConfig,
    topology: Topology,
    window: Window,
    published: mpsc::Receiver<Publish>,
    events: Outbox,
    close: watch::Receiver<Option<Instant>>,
    retry: Retry,
    started: Instant,
}

/// Why a link is no longer served.
enum Ending {
    Lost(DownReason),
    /// The publisher was closed, and all is confirmed or the grace is over.
    Closed,
}

impl Desk {
    async fn run(mut self) -> Unconfirmed {
        while let Some((link, channel)) = self.come_up().await {
            self.retry.up();
            self.events.push(PublisherEvent::Up);
            let ending = self.serve(&link, channel).await;
            let closed = matches!(ending, Ending::Closed);
            if let Ending::Lost(reason) = ending {
                // For the owner it is an event, and worth a louder line when it changes something.
                tracing::debug!(connection = self.link.connection_name, %reason, "publishing link lost");
                let loss = reason.loss();
                self.events.push(PublisherEvent::Down { reason });
                let in_flight = self.window.in_flight();
                let outcomes = self.window.lost(&loss);
                let again = in_flight.saturating_sub(outcomes.len()) as u64;
                self.tally.note(|figures| figures.republished += again);
                self.events.done(outcomes);
                self.tally.window(&self.window);
            }
            link.end().await;
            if closed || !self.pause().await {
                break;
            }
        }
        self.finish()
    }

    /// Tries until a link is up; `None` if the publisher was closed and its grace is over, or nothing is left to publish.
    async fn come_up(&mut self) -> Option<(Link, Channel)> {
        let Self { link: config, topology, retry, close, window, published, events, .. } = self;
        let (config, topology, window) = (&*config, &*topology, &*window);
        // What a publisher declares is nobody's alone.
        let mut race =
            Race::new(config, Overlap::Allowed, |node, heard| attempt(config, node, heard, topology).boxed());
        loop {
            let attempt = tokio::select! {
                attempt = race.ready() => attempt,
                () = over(close, window, published, config.timeout) => return None,
                () = events.flush_for_ever() => unreachable!("it never ends"),
            };
            match attempt {
                Ok(up) => return Some(up),
                Err(reason) => {
                    tracing::debug!(connection = config.connection_name, %reason, "no publishing link");
                    events.push(PublisherEvent::Down { reason });
                }
            }
            tokio::select! {
                () = pause(retry, events) => {}
                () = over(close, window, published, config.timeout) => return None,
            }
        }
    }

    /// As [`pause`]; `false` as [`Desk::come_up`]'s `None`.
    async fn pause(&mut self) -> bool {
        let Self { link, retry, close, window, published, events, .. } = self;
        tokio::select! {
            () = pause(retry, events) => true,
            () = over(close, window, published, link.timeout) => false,
        }
    }

    /// Tells what can still be told without waiting, and says what is left.
    fn finish(mut self) -> Unconfirmed {
        self.published.close();
        let mut tokens = self.window.tokens();
        while let Ok(publish) = self.published.try_recv() {
            tokens.push(publish.token);
        }
        self.events.flush_now();
        Unconfirmed { tokens }
    }
}

/// Waits before the next attempt, and until the events' reader has caught up with what there is to tell.
async fn pause(retry: &mut Retry, events: &mut Outbox) {
    tokio::select! { () = retry.wait() => {}, () = events.flush_for_ever() => {} }
    events.flush_to_bound().await;
}

/// One attempt to come up at a node: connected, declared, a channel that confirms.
async fn attempt(
    config: &LinkConfig,
    node: &AmqpNode,
    heard: Heard,
    topology: &Topology,
) -> Result<(Link, Channel), DownReason> {
    let link = Link::open(config, node, "publish", heard).await?;
    let prepared = async {
        declare(&link, topology).await?;
        confirming_channel(&link).await
    };
    match prepared.await {
        Ok(channel) => Ok((link, channel)),
        Err(reason) => {
            link.end().await;
            Err(reason)
        }
    }
}

/// A channel that confirms.
async fn confirming_channel(link: &Link) -> Result<Channel, DownReason> {
    let channel = link.channel().await?;
    let confirming = channel.confirm_select(ConfirmSelectOptions::default());
    link.ask("asking for confirms", confirming).await?;
    Ok(channel)
}

/// Ends when the publisher was closed while it has no link, and nothing is left to publish or the grace is over.
async fn over(
    close: &mut watch::Receiver<Option<Instant>>,
    window: &Window,
    published: &mpsc::Receiver<Publish>,
    timeout: Duration,
) {
    let deadline = closed(close, timeout).await;
    if !window.is_empty() || !published.is_empty() {
        tokio::time::sleep_until(deadline.into()).await;
    }
}

/// Ends when the publisher was closed, or all its clones were dropped: then the grace is one time-out.
async fn closed(close: &mut watch::Receiver<Option<Instant>>, timeout: Duration) -> Instant {
    match close.wait_for(Option::is_some).await {
        Ok(deadline) => deadline.unwrap_or_else(Instant::now),
        Err(_) => Instant::now() + timeout,
    }
}
