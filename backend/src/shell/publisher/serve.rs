//! Publishing over one link, as long as it lasts.

use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use futures_util::future::{Fuse, FusedFuture, join_all};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, Stream, StreamExt};
use lapin::options::BasicPublishOptions;
use lapin::{Channel, Confirmation, Error, ErrorKind, Event, PublisherConfirm};
use roost_wire::BootTime;

use super::outbox::Outbox;
use super::{Desk, Ending, PublisherEvent, closed};
use crate::shell::convert::{Outgoing, incoming};
use crate::shell::link::{Link, Trouble};
use crate::window::{Confirm, Place, Window};

/// How many messages are given to lapin at once: measured to cost 6 to 7 µs of CPU each, against 64 to 80 µs one by one.
const BATCH_MAX: usize = 64;

/// How long a message waits for company while others are in flight. Nothing waits on an idle link.
const LINGER: Duration = Duration::from_millis(1);

impl Desk {
    /// Publishes until the link is lost, or the publisher was closed and is done.
    pub(super) async fn serve(&mut self, link: &Link, channel: &Channel) -> Ending {
        let (timeout, user, frame_max) =
            (self.link.timeout, self.link.address.user().to_owned(), link.frame_max());
        let Self { window, published, events, close, started, .. } = self;
        let mut notices = pin!(link.events());
        let mut sending = pin!(Fuse::terminated());
        let mut confirms = FuturesUnordered::new();
        let mut watch =
            tokio::time::interval((timeout / 10).clamp(Duration::from_millis(5), Duration::from_secs(1)));
        let mut pace = Pace { blocked: false, quiet_since: boot_time(*started), linger_until: None };
        let (mut deadline, mut drained) = (None, false);
        let mut taken = Vec::with_capacity(BATCH_MAX);
        let trouble = loop {
            if sending.is_terminated() && pace.may_send(window) {
                let places = window.send(boot_time(*started), BATCH_MAX);
                let batch = encode(window, events, places, &user, frame_max);
                if !batch.is_empty() {
                    let batch = batch
                        .into_iter()
                        .map(|(place, outgoing, mandatory)| publish(channel, place, outgoing, mandatory));
                    sending.set(join_all(batch).fuse());
                }
            }
            if drained && window.is_empty() && sending.is_terminated() {
                return Ending::Closed;
            }
            let room = window.room().min((2 * BATCH_MAX).saturating_sub(window.unsent()));
            tokio::select! {
                results = &mut sending, if !sending.is_terminated() => {
                    let mut failed = None;
                    for (place, result) in results {
                        match result {
                            Ok(confirm) => confirms.push(confirm.map(move |confirm| (place, confirm))),
                            Err(error) => failed = failed.or(Some(error)),
                        }
                    }
                    if let Some(error) = failed {
                        break reason("publishing", &error, notices.as_mut()).await;
                    }
                }
                Some(first) = confirms.next(), if !confirms.is_empty() => {
                    let failed = hear(window, channel, &mut confirms, Some(first));
                    events.done(window.settle());
                    if let Some(error) = failed {
                        break reason("confirming", &error, notices.as_mut()).await;
                    }
                }
                count = published.recv_many(&mut taken, room), if room > 0 && !drained && events.is_empty() => {
                    drained = count == 0;
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
                    Event::Error(error) => break Trouble::new("publishing", &error),
                    _ => {}
                },
                () = events.flush(), if !events.is_empty() => {}
                () = pace.linger(), if pace.linger_until.is_some() => pace.linger_until = Some(Instant::now()),
                _ = watch.tick() => if pace.is_overdue(window, boot_time(*started), timeout) {
                    break Trouble::Silent { what: "confirming".to_owned(), after: timeout };
                },
                until = closed(close, timeout), if deadline.is_none() => {
                    deadline = Some(until);
                    published.close();
                }
                () = sleep_until(deadline), if deadline.is_some() => return Ending::Closed,
            }
        };
        // What the broker confirmed before the end is not published again.
        hear(window, channel, &mut confirms, None);
        events.done(window.settle());
        Ending::Lost(trouble)
    }
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

async fn publish(
    channel: &Channel,
    place: Place,
    outgoing: Outgoing,
    mandatory: bool,
) -> (Place, Result<PublisherConfirm, Error>) {
    let Outgoing { exchange, routing_key, properties, body } = outgoing;
    let options = BasicPublishOptions { mandatory, ..BasicPublishOptions::default() };
    (place, channel.basic_publish(exchange, routing_key, options, &body, properties).await)
}

/// Reads every confirm that is there, and every return that belongs to one of them; gives the first error.
///
/// lapin hangs the oldest waiting return onto whichever confirm it completes next, and completes an acknowledgement of many
/// in no order. So a return may hang on another message's confirm. But it always hangs on one that was completed
/// before the end of the frame that acknowledged its own message, since brokers send a return before its
/// confirm and confirms in ascending order. Thus: read all confirms that are there; if a return hung on one of them, wait
/// until lapin is through with its frame, and read again. Then no return is missing.
fn hear<F>(
    window: &mut Window,
    channel: &Channel,
    confirms: &mut FuturesUnordered<F>,
    first: Option<(Place, Result<Confirmation, Error>)>,
) -> Option<Error>
where
    F: Future<Output = (Place, Result<Confirmation, Error>)>,
{
    let mut round = Round { window, error: None, returns: 0 };
    first.into_iter().for_each(|confirm| round.note(confirm));
    round.drain(confirms);
    if round.returns > 0 {
        // lapin handles a frame of confirms under one lock, which this call takes for a moment; it is never awaited.
        let _ = channel.wait_for_confirms().now_or_never();
        round.drain(confirms);
    }
    round.error
}

/// Confirms that are read together.
struct Round<'a> {
    window: &'a mut Window,
    error: Option<Error>,
    returns: usize,
}

impl Round<'_> {
    fn drain<F>(&mut self, confirms: &mut FuturesUnordered<F>)
    where
        F: Future<Output = (Place, Result<Confirmation, Error>)>,
    {
        // Twice: the set stops early now and then, to let others run.
        for _ in 0..2 {
            while let Some(Some(confirm)) = confirms.next().now_or_never() {
                self.note(confirm);
            }
        }
    }

    fn note(&mut self, (place, confirm): (Place, Result<Confirmation, Error>)) {
        let (heard, returned) = match confirm {
            Ok(Confirmation::Ack(returned)) => (Confirm::Ack, returned),
            Ok(Confirmation::Nack(returned)) => (Confirm::Nack, returned),
            Ok(Confirmation::NotRequested) => return,
            Err(error) => {
                self.error.get_or_insert(error);
                return;
            }
        };
        self.window.confirmed(place, heard);
        if let Some(returned) = returned {
            self.returns += 1;
            let (code, text) = (returned.reply_code, returned.reply_text.to_string());
            if !self.window.returned(code, &text, &incoming(returned.delivery)) {
                tracing::error!(code, text, "the broker returned a message that is not in flight");
            }
        }
    }
}

/// Why the link is lost. lapin refuses further publishes as soon as it reads that a channel is being closed, and says why a
/// moment later.
async fn reason(what: &str, error: &Error, mut notices: Pin<&mut impl Stream<Item = Event>>) -> Trouble {
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
    Trouble::new(what, cause.as_ref().unwrap_or(error))
}

/// The time since the task began: only differences matter.
fn boot_time(started: Instant) -> BootTime {
    BootTime::default() + started.elapsed()
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}
