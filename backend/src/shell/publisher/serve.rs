//! Publishing over one link, as long as it lasts.

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, Stream, StreamExt};
use lapin::message::Delivery;
use lapin::options::BasicPublishOptions;
use lapin::{Channel, Confirmation, Error, ErrorKind, Event};
use roost_wire::BootTime;

use super::outbox::Outbox;
use super::renewal::Renewal;
use super::{Desk, Ending, PublisherEvent, Tally, closed, confirming_channel};
use crate::Topology;
use crate::conversion::{Outgoing, incoming};
use crate::shell::declare::declare;
use crate::shell::down_reason::DownReason;
use crate::shell::link::Link;
use crate::shell::retry::sleep_until;
use crate::window::{Confirm, Place, Window};

/// How many messages are given to lapin at once: measured to cost 6 to 7 µs of CPU each, against 64 to 80 µs one by one.
const BATCH_MAX: usize = 64;

/// How long a message waits for company while others are in flight. Nothing waits on an idle link.
const LINGER: Duration = Duration::from_millis(1);

impl Desk {
    /// Publishes until the link is lost, or the publisher was closed and is done. A channel on which messages are refused is
    /// replaced now and then ([`Renewal`]); so is one on which a message came back for which the topology has a queue, which then is
    /// declared again.
    pub(super) async fn serve(&mut self, link: &Link, mut channel: Channel) -> Ending {
        let now = boot_time(self.started);
        let mut notices = pin!(link.events());
        let mut course = Course {
            pace: Pace { blocked: false, quiet_since: now, linger_until: None },
            renewal: Renewal::new(now),
            deadline: None,
            drained: false,
            has_gap: false,
        };
        loop {
            if let Some(ending) = self.serve_channel(link, &channel, notices.as_mut(), &mut course).await {
                return ending;
            }
            let again = async {
                if std::mem::take(&mut course.has_gap) {
                    declare(link, &self.topology).await?;
                }
                confirming_channel(link).await
            };
            channel = match again.await {
                Ok(channel) => channel,
                Err(reason) => return Ending::Lost(reason),
            };
            course.renewal.renewed(boot_time(self.started));
            self.tally.note(|figures| figures.channels_renewed += 1);
        }
    }

    /// Publishes over one channel. `None`: nothing is in flight on it, and it is to be replaced.
    async fn serve_channel(
        &mut self,
        link: &Link,
        channel: &Channel,
        mut notices: Pin<&mut impl Stream<Item = Event>>,
        Course { pace, renewal, deadline, drained, has_gap }: &mut Course,
    ) -> Option<Ending> {
        let (timeout, user, frame_max) =
            (self.link.timeout, self.link.address.user().to_owned(), link.frame_max());
        let Self { window, published, events, close, started, tally, topology, .. } = self;
        let told = Told { tally, started: *started, topology };
        let unwritten = AtomicUsize::new(0);
        let mut flights = FuturesUnordered::new();
        let mut watch =
            tokio::time::interval((timeout / 10).clamp(Duration::from_millis(5), Duration::from_secs(1)));
        let mut taken = Vec::with_capacity(BATCH_MAX);
        let down = loop {
            let is_to_be_replaced =
                !pace.blocked && renewal.due_at().is_some_and(|due| due <= boot_time(*started));
            if is_to_be_replaced && flights.is_empty() {
                return None;
            }
            if unwritten.load(Ordering::Relaxed) == 0 && !is_to_be_replaced && pace.may_send(window) {
                let places = window.send(boot_time(*started), BATCH_MAX);
                let batch = encode(window, events, places, &user, frame_max);
                unwritten.store(batch.len(), Ordering::Relaxed);
                let fly = |(place, outgoing, mandatory)| fly(channel, &unwritten, place, outgoing, mandatory);
                flights.extend(batch.into_iter().map(fly));
            }
            if *drained && window.is_empty() {
                return Some(Ending::Closed);
            }
            tally.window(window);
            let room = window.room().min((2 * BATCH_MAX).saturating_sub(window.unsent()));
            tokio::select! {
                landed = progress(&mut flights, &unwritten), if !flights.is_empty() => {
                    let heard = hear(window, channel, &mut flights, landed, told);
                    *has_gap |= heard.has_gap;
                    if heard.refusals > 0 || heard.has_gap {
                        renewal.refused();
                    }
                    events.done(window.settle());
                    if let Some(error) = heard.error {
                        break reason(&error, notices.as_mut()).await;
                    }
                }
                count = published.recv_many(&mut taken, room), if room > 0 && !*drained && events.is_empty() => {
                    *drained = count == 0;
                    taken.drain(..).for_each(|publish| window.push(publish));
                }
                Some(notice) = notices.next() => match notice {
                    Event::ConnectionBlocked(reason) => {
                        pace.blocked = true;
                        events.push(PublisherEvent::Blocked { reason });
                    }
                    Event::ConnectionUnblocked => {
                        (pace.blocked, pace.quiet_since) = (false, boot_time(*started));
                        events.push(PublisherEvent::Unblocked);
                    }
                    Event::Error(error) => break DownReason::of("publishing", &error),
                    _ => {}
                },
                () = events.flush(), if !events.is_empty() => {}
                () = pace.linger(), if pace.linger_until.is_some() => pace.linger_until = Some(Instant::now()),
                _ = watch.tick() => if pace.is_overdue(window, boot_time(*started), timeout) {
                    break DownReason::TimedOut { what: "confirming".to_owned(), after: timeout };
                },
                until = closed(close, timeout), if deadline.is_none() => {
                    *deadline = Some(until);
                    published.close();
                }
                () = sleep_until(*deadline), if deadline.is_some() => return Some(Ending::Closed),
            }
        };
        // What the broker confirmed before the end is not published again.
        hear(window, channel, &mut flights, None, told);
        events.done(window.settle());
        Some(Ending::Lost(down))
    }
}

/// What outlives a channel of a link.
struct Course {
    pace: Pace,
    renewal: Renewal,
    /// Until when the publisher, which was closed, goes on.
    deadline: Option<Instant>,
    /// Nothing more is published.
    drained: bool,
    /// A queue of the topology, or its binding, is not there any more.
    has_gap: bool,
}

/// When to send, and how long a confirm may take.
struct Pace {
    /// The broker takes nothing for now.
    blocked: bool,
    /// Since when it could have confirmed: a blocked connection confirms nothing, for no fault of anybody's.
    quiet_since: BootTime,
    linger_until: Option<Instant>,
}

impl Pace {
    fn may_send(&mut self, window: &Window) -> bool {
        if self.blocked || window.unsent() == 0 {
            return false;
        }
        let until = *self.linger_until.get_or_insert_with(|| Instant::now() + LINGER);
        let send = window.unsent() >= BATCH_MAX || window.in_flight() == 0 || until <= Instant::now();
        if send {
            self.linger_until = None;
        }
        send
    }

    async fn linger(&self) {
        sleep_until(self.linger_until).await;
    }

    fn is_overdue(&self, window: &Window, now: BootTime, timeout: Duration) -> bool {
        let oldest = window.oldest_sent_at().map(|sent_at| sent_at.max(self.quiet_since));
        !self.blocked && oldest.is_some_and(|since| now.since(since) > timeout)
    }
}

/// The places' messages as lapin takes them; what AMQP cannot carry has its outcome.
fn encode(
    window: &mut Window,
    events: &mut Outbox,
    places: Vec<Place>,
    user: &str,
    frame_max: usize,
) -> Vec<(Place, Outgoing, bool)> {
    let mut batch = Vec::with_capacity(places.len());
    for place in places {
        let Some(publish) = window.at(place) else { continue };
        match Outgoing::new(&publish.message, user, frame_max) {
            Ok(outgoing) => batch.push((place, outgoing, publish.mandatory)),
            Err(error) => events.done(window.refuse(place, error.to_string()).into_iter().collect()),
        }
    }
    batch
}

/// What a flight ends with.
struct Landed {
    place: Place,
    confirmation: Result<Confirmation, Error>,
}

/// One message on its way: written, then confirmed. First polls happen in the order in which flights are added, and that is the
/// order on the wire.
async fn fly(
    channel: &Channel,
    unwritten: &AtomicUsize,
    place: Place,
    outgoing: Outgoing,
    mandatory: bool,
) -> Landed {
    let Outgoing { exchange, routing_key, properties, body } = outgoing;
    let options = BasicPublishOptions { mandatory, ..BasicPublishOptions::default() };
    let written = channel.basic_publish(exchange, routing_key, options, &body, properties).await;
    unwritten.fetch_sub(1, Ordering::Relaxed);
    let confirmation = match written {
        Ok(confirm) => confirm.await,
        Err(error) => Err(error),
    };
    Landed { place, confirmation }
}

/// Waits for a landing, or (`None`) until a batch that is being written is written.
async fn progress<F>(flights: &mut FuturesUnordered<F>, unwritten: &AtomicUsize) -> Option<Landed>
where
    F: Future<Output = Landed>,
{
    let writing = unwritten.load(Ordering::Relaxed) > 0;
    std::future::poll_fn(|context| match flights.poll_next_unpin(context) {
        Poll::Ready(landed) => Poll::Ready(landed),
        Poll::Pending if writing && unwritten.load(Ordering::Relaxed) == 0 => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// Reads every confirm that is there, and every return that belongs to one of them.
///
/// lapin hangs the oldest waiting return onto whichever confirm it completes next, and completes an acknowledgement of many
/// in no order. So a return may hang on another message's confirm. But it always hangs on one that was completed
/// before the end of the frame that acknowledged its own message, since brokers send a return before its
/// confirm and confirms in ascending order. Thus: read all confirms that are there; if a return hung on one of them, wait
/// until lapin is through with its frame, and read again, until none comes with a return. Then no return is missing. (For
/// this the set must hold all that is in flight, also what is still being written.) It ends, since nothing is sent meanwhile.
fn hear<F>(
    window: &mut Window,
    channel: &Channel,
    flights: &mut FuturesUnordered<F>,
    first: Option<Landed>,
    told: Told<'_>,
) -> Heard
where
    F: Future<Output = Landed>,
{
    let heard = Heard::default();
    let mut round = Round { window, heard, returns: 0, told, now: boot_time(told.started) };
    first.into_iter().for_each(|landed| round.note(landed));
    loop {
        round.drain(flights);
        if std::mem::take(&mut round.returns) == 0 {
            break;
        }
        // lapin handles a frame of confirms under one lock, which this call takes for a moment; it is never awaited.
        let _ = channel.wait_for_confirms().now_or_never();
    }
    round.heard
}

/// What a round of confirms says of the channel.
#[derive(Default)]
struct Heard {
    /// The first one.
    error: Option<Error>,
    /// How many messages the broker refused.
    refusals: usize,
    /// Whether one came back for which the topology has a queue.
    has_gap: bool,
}

/// Where confirms are timed, and what returns are compared with.
#[derive(Clone, Copy)]
struct Told<'a> {
    tally: &'a Tally,
    started: Instant,
    topology: &'a Topology,
}

/// Confirms that are read together.
struct Round<'a> {
    told: Told<'a>,
    /// All that is there is taken to have come now.
    now: BootTime,
    window: &'a mut Window,
    heard: Heard,
    returns: usize,
}

impl Round<'_> {
    fn drain<F>(&mut self, flights: &mut FuturesUnordered<F>)
    where
        F: Future<Output = Landed>,
    {
        // Twice: the set stops early now and then, to let others run.
        for _ in 0..2 {
            while let Some(Some(landed)) = flights.next().now_or_never() {
                self.note(landed);
            }
        }
    }

    fn note(&mut self, Landed { place, confirmation }: Landed) {
        let (heard, returned) = match confirmation {
            Ok(Confirmation::Ack(returned)) => (Confirm::Ack, returned),
            Ok(Confirmation::Nack(returned)) => (Confirm::Nack, returned),
            Ok(Confirmation::NotRequested) => return,
            Err(error) => {
                self.heard.error.get_or_insert(error);
                return;
            }
        };
        if let Some(sent_at) = self.window.sent_at(place) {
            let took = self.now.since(sent_at);
            self.told.tally.note(|figures| figures.confirms.observe(took));
        }
        self.heard.refusals += usize::from(heard == Confirm::Nack);
        self.window.confirmed(place, heard);
        if let Some(returned) = returned {
            self.returns += 1;
            let (code, text) = (returned.reply_code, returned.reply_text.to_string());
            let Delivery { exchange, routing_key, properties, data, .. } = returned.delivery;
            let message = incoming(exchange.as_str(), routing_key.as_str(), &properties, data.into());
            self.heard.has_gap |= self.told.topology.has_place_for(&message.exchange, &message.routing_key);
            if !self.window.returned(code, &text, &message) {
                tracing::error!(code, text, "the broker returned a message that is not in flight");
            }
        }
    }
}

/// Why the link is lost. lapin refuses further publishes as soon as it reads that a channel is being closed, and says why a
/// moment later.
async fn reason(error: &Error, mut notices: Pin<&mut impl Stream<Item = Event>>) -> DownReason {
    let is_consequence =
        matches!(error.kind(), ErrorKind::InvalidChannelState(..) | ErrorKind::InvalidConnectionState(_));
    let cause = async {
        while let Some(notice) = notices.next().await {
            if let Event::Error(error) = notice {
                return Some(error);
            }
        }
        None
    };
    let cause = match is_consequence {
        true => tokio::time::timeout(Duration::from_secs(1), cause).await.ok().flatten(),
        false => None,
    };
    DownReason::of("publishing", cause.as_ref().unwrap_or(error))
}

/// The time since the task began: only differences matter.
fn boot_time(started: Instant) -> BootTime {
    BootTime::default() + started.elapsed()
}

#[cfg(test)]
mod tests {
    use roost_wire::Message;

    use super::*;
    use crate::window::{OnLoss, Publish};

    const TIMEOUT: Duration = Duration::from_secs(1);

    fn in_flight_since(millis: u64) -> Window {
        let message = Message {
            exchange: String::new(),
            routing_key: String::new(),
            properties: roost_wire::Properties::default(),
            body: bytes::Bytes::new(),
        };
        let mut window = Window::new(9);
        window.push(Publish { message, mandatory: false, on_loss: OnLoss::Report, token: 0 });
        window.send(at(millis), 1);
        window
    }

    fn at(millis: u64) -> BootTime {
        BootTime::from_micros(millis * 1_000)
    }

    #[test]
    fn a_confirm_is_overdue_after_the_timeout_but_not_while_blocked_nor_right_after() {
        let window = in_flight_since(500);
        let mut pace = Pace { blocked: false, quiet_since: at(0), linger_until: None };
        assert!(!pace.is_overdue(&window, at(1_500), TIMEOUT));
        assert!(pace.is_overdue(&window, at(1_501), TIMEOUT));
        pace.blocked = true;
        assert!(!pace.is_overdue(&window, at(900_000), TIMEOUT));
        (pace.blocked, pace.quiet_since) = (false, at(900_000));
        assert!(!pace.is_overdue(&window, at(901_000), TIMEOUT));
        assert!(pace.is_overdue(&window, at(901_001), TIMEOUT));
        assert!(
            !pace.is_overdue(&Window::new(1), at(901_001), TIMEOUT),
            "nothing in flight is nothing overdue"
        );
    }
}
