//! What is published and not yet confirmed: the bookkeeping of one publishing link, as a pure state machine.
//!
//! ```text
//!              send              ack, no return ── Confirmed
//!  push → unsent ──→ in flight ──→ ack and return ─ Returned
//!            ↑          │          nack ─────────── Nacked
//!            │          │ lost:
//!            └──────────┤ PublishAgain (in order, before newer ones, `roost-replayed` becomes true)
//!                       ├ Report ────────────────── Lost
//!                       └ suspect, alone in flight ─ Refused
//! ```
//!
//! **Suspects.** A broker that cannot take a message does not say which one it was: it closes the channel, or the connection,
//! on everything in flight. Publishing all of it again would do that for ever. So after such a close everything that
//! was in flight is suspect, and goes out one at a time; the one that is alone when it happens again is refused, and the
//! rest is free. (After the first time the topology is declared again, so an exchange that somebody deleted costs nothing.)

use std::collections::BTreeMap;

use roost_wire::envelope::header;
use roost_wire::{BootTime, HeaderValue, Message};

/// A message to be published, and what to do about it when things go wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Publish {
    /// The message. Its `user_id` is set to the link's user.
    pub message: Message,
    /// Whether it comes back ([`Published::Returned`]) if no queue wants it (AMQP `basic.publish`, bit mandatory).
    pub mandatory: bool,
    /// What happens to it if the link is lost before it was confirmed.
    pub on_loss: OnLoss,
    /// The publisher's own name for it: its one outcome carries the same number.
    pub token: u64,
}

/// What happens to a message if the link is lost after it was sent and before it was confirmed. A message that was not
/// sent yet waits for the next link in both cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnLoss {
    /// It is published again on the next link: in order, before newer ones, and with header `roost-replayed` set to true if
    /// it has that header. It may then be there twice.
    PublishAgain,
    /// Its outcome is [`Published::Lost`].
    Report,
}

/// The one outcome of a publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// The broker has it in every queue that wants it, on disk where that was asked for.
    Confirmed,
    /// Mandatory, and no queue wanted it.
    Returned {
        /// AMQP's reply code, 312 for no route.
        code: u16,
        /// AMQP's reply text.
        text: String,
    },
    /// A queue refused it, for example a full one with `x-overflow: reject-publish`. Other queues may have it.
    Nacked,
    /// The link was lost while it was in flight ([`OnLoss::Report`]): it may or may not have arrived.
    Lost,
    /// It cannot be published at all, now or later: AMQP cannot carry it, or the broker closed the channel for it.
    Refused {
        /// Why, for a person.
        reason: String,
    },
}

/// Why a link ended, as far as it matters for what was in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loss {
    /// The connection broke, or was closed for no fault of a message.
    Broken,
    /// The broker closed it because of something in flight.
    Refused {
        /// What it said.
        reason: String,
    },
}

/// What the broker said about one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirm {
    /// `basic.ack`
    Ack,
    /// `basic.nack`
    Nack,
}

/// A message's place in the order of publishing; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(u64);

/// The window. It never holds more than its bound; whoever pushes looks at [`Window::room`] first.
#[derive(Debug)]
pub struct Window {
    max: usize,
    /// Boxed, since a map moves its neighbours whenever one comes or goes.
    entries: BTreeMap<Place, Box<Entry>>,
    next: Place,
    /// Every entry before this place is in flight, every other unsent.
    unsent: Place,
    /// How many are in flight.
    in_flight: usize,
    /// Entries before this place go out one at a time.
    suspects_end: Place,
    /// Confirmed or nacked since the last [`Window::settle`].
    heard: Vec<(Place, Confirm)>,
}

#[derive(Debug)]
struct Entry {
    publish: Publish,
    sent_at: BootTime,
    returned: Option<(u16, String)>,
}

impl Window {
    /// For so many messages at most.
    #[must_use]
    pub fn new(max: usize) -> Self {
        let start = Place(0);
        Self {
            max,
            entries: BTreeMap::new(),
            next: start,
            unsent: start,
            in_flight: 0,
            suspects_end: start,
            heard: Vec::new(),
        }
    }

    /// How many more it takes.
    #[must_use]
    pub fn room(&self) -> usize {
        self.max.saturating_sub(self.entries.len())
    }

    /// Whether everything has its outcome.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many are sent and not answered.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// How many wait to be sent.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.entries.len() - self.in_flight
    }

    /// Takes one more, behind all others.
    pub fn push(&mut self, publish: Publish) {
        debug_assert!(self.room() > 0, "whoever pushes looks at the room first");
        let entry = Entry { publish, sent_at: BootTime::default(), returned: None };
        self.entries.insert(self.next, Box::new(entry));
        self.next = self.next.after();
    }

    /// The next ones to publish, at most `max`, in order; they are in flight from now on.
    pub fn send(&mut self, now: BootTime, max: usize) -> Vec<Place> {
        let suspicious = self.first_unsent().is_some_and(|place| place < self.suspects_end);
        let max = match (suspicious, self.in_flight) {
            (false, _) => max,
            (true, 0) => max.min(1),
            (true, _) => 0,
        };
        let mut places = Vec::with_capacity(max.min(self.unsent()));
        for (place, entry) in self.entries.range_mut(self.unsent..).take(max) {
            entry.sent_at = now;
            places.push(*place);
        }
        if let Some(last) = places.last() {
            self.unsent = last.after();
            self.in_flight += places.len();
        }
        places
    }

    /// What stands at a place that [`Window::send`] gave.
    #[must_use]
    pub fn at(&self, place: Place) -> Option<&Publish> {
        self.entries.get(&place).map(|entry| &entry.publish)
    }

    /// The broker said what became of a message. It is not an outcome yet: its return may stand in the same answer.
    pub fn confirmed(&mut self, place: Place, confirm: Confirm) {
        self.heard.push((place, confirm));
    }

    /// The broker returned a message. AMQP does not say which publish it was, but returns come in the order of
    /// publishing: it is the first one in flight that looks like it. `false` if none does.
    pub fn returned(&mut self, code: u16, text: &str, message: &Message) -> bool {
        let in_flight = self.entries.range_mut(..self.unsent).map(|(_, entry)| entry);
        let mut candidates = in_flight.filter(|entry| entry.publish.mandatory && entry.returned.is_none());
        let Some(entry) = candidates.find(|entry| is_same(&entry.publish.message, message)) else {
            return false;
        };
        entry.returned = Some((code, text.to_owned()));
        true
    }

    /// The outcomes of all that was heard, once no return that belongs to it can still come.
    pub fn settle(&mut self) -> Vec<(u64, Published)> {
        let heard = std::mem::take(&mut self.heard);
        heard.into_iter().filter_map(|(place, confirm)| self.outcome(place, confirm)).collect()
    }

    /// A message that cannot be encoded.
    pub fn refuse(&mut self, place: Place, reason: String) -> Option<(u64, Published)> {
        self.remove(place).map(|entry| (entry.publish.token, Published::Refused { reason }))
    }

    /// The link is lost: what was in flight waits to be published again, or has an outcome.
    pub fn lost(&mut self, loss: &Loss) -> Vec<(u64, Published)> {
        let mut outcomes = self.settle();
        let in_flight: Vec<Place> = self.entries.range(..self.unsent).map(|(place, _)| *place).collect();
        if let Loss::Refused { reason } = loss {
            match in_flight.as_slice() {
                [alone] if *alone < self.suspects_end => outcomes.extend(self.refuse(*alone, reason.clone())),
                _ => self.suspects_end = self.suspects_end.max(self.unsent),
            }
        }
        for place in in_flight {
            match self.entries.get_mut(&place) {
                None => {}
                Some(entry) if entry.publish.on_loss == OnLoss::PublishAgain => entry.again(),
                Some(_) => {
                    outcomes.extend(self.remove(place).map(|entry| (entry.publish.token, Published::Lost)))
                }
            }
        }
        self.in_flight = 0;
        self.unsent = self.entries.keys().next().copied().unwrap_or(self.next);
        outcomes
    }

    /// When the oldest one in flight was sent.
    #[must_use]
    pub fn oldest_sent_at(&self) -> Option<BootTime> {
        self.entries.range(..self.unsent).next().map(|(_, entry)| entry.sent_at)
    }

    /// When this one was sent; `None` once it has its outcome.
    #[must_use]
    pub fn sent_at(&self, place: Place) -> Option<BootTime> {
        self.entries.get(&place).map(|entry| entry.sent_at)
    }

    /// The tokens of all that has no outcome, in order.
    #[must_use]
    pub fn tokens(&self) -> Vec<u64> {
        self.entries.values().map(|entry| entry.publish.token).collect()
    }

    fn first_unsent(&self) -> Option<Place> {
        self.entries.range(self.unsent..).next().map(|(place, _)| *place)
    }

    fn outcome(&mut self, place: Place, confirm: Confirm) -> Option<(u64, Published)> {
        let entry = self.remove(place)?;
        let outcome = match (confirm, entry.returned) {
            (Confirm::Nack, _) => Published::Nacked,
            (Confirm::Ack, Some((code, text))) => Published::Returned { code, text },
            (Confirm::Ack, None) => Published::Confirmed,
        };
        Some((entry.publish.token, outcome))
    }

    fn remove(&mut self, place: Place) -> Option<Box<Entry>> {
        let entry = self.entries.remove(&place)?;
        if place < self.unsent {
            self.in_flight -= 1;
        }
        Some(entry)
    }
}

impl Entry {
    fn again(&mut self) {
        self.returned = None;
        if let Some(replayed) = self.publish.message.properties.headers.get_mut(header::REPLAYED) {
            *replayed = HeaderValue::Bool(true);
        }
    }
}

impl Place {
    fn after(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Whether a returned message is this one. Two that are equal here are the same to everybody but their sender. Headers are left
/// out: brokers may write the same value in another way.
fn is_same(sent: &Message, returned: &Message) -> bool {
    let ids = |message: &Message| {
        let Message { properties, .. } = message;
        (properties.message_id.clone(), properties.correlation_id.clone(), properties.kind.clone())
    };
    sent.exchange == returned.exchange
        && sent.routing_key == returned.routing_key
        && sent.body == returned.body
        && ids(sent) == ids(returned)
}

#[cfg(test)]
mod tests;
