//! A gateway that starts, or was cut off, learns from another one which retained broadcasts it has missed.
//!
//! ```text
//!   the link is up ──► ask, to all ──► offers, for a second ─┬─ none: nobody is there to learn from
//!                       ▲                                    └─ the eldest's ──► give ◄──────────┐
//!                       └──── no answer, three times at most ◄──────────────────┤                │
//!                                                            learned ◄── end ◄──┴── a page ── end, with where to go on
//! ```
//! All of it goes through the backend: a question to every queue of broadcasts, the rest from queue to queue. What comes is taken as any
//! broadcast is, if it is newer than what is here; so nothing is lost by a page that comes twice, late or not at all.

use std::time::Duration;

use roost_backend::contract;
use roost_wire::envelope::header;
use roost_wire::{BootTime, Broadcast, Device, Message, Now, Properties, Topic, WallTime};

use super::{Backend, Shard, TimerFor};
use crate::retained::{Page, Stamp};
use crate::{Count, OnLoss, Publication, ShardIndex};

/// What a message of gateways to each other is, in AMQP's `type`.
mod kind {
    pub(super) const PREFIX: &str = "roost.retained.";
    pub(super) const ASK: &str = "roost.retained.ask";
    pub(super) const OFFER: &str = "roost.retained.offer";
    pub(super) const GIVE: &str = "roost.retained.give";
    pub(super) const KEPT: &str = "roost.retained.kept";
    pub(super) const END: &str = "roost.retained.end";
}

/// The key in [`contract::FANOUT`] of the question: no topic has it, since a level's `%` is escaped.
pub(crate) const ASK_KEY: &str = "%ask";

/// Where a page begins, or goes on.
const AFTER: &str = "roost-after";
/// For how long the one that offers has been there, in milliseconds.
const AGE: &str = "roost-age";
/// Which of two retained broadcasts is the newer one.
const STAMP: &str = "roost-stamp";

/// How long offers are waited for: gateways answer within a round trip to the backend.
const OFFERS: Duration = Duration::from_secs(1);
/// How long a page is waited for.
const PAGE: Duration = Duration::from_secs(5);
/// How often it is asked anew where no page comes. Then what was missed stays so until it is published again.
const ATTEMPTS: u32 = 3;

/// How far it is.
#[derive(Debug, Default)]
pub(super) struct Learning {
    /// When this gateway was first connected.
    began_at: Option<BootTime>,
    /// The queue of broadcasts of the present link.
    queue: Option<String>,
    /// Whether something may have been missed.
    is_due: bool,
    attempts: u32,
    until: BootTime,
    step: Step,
}

#[derive(Debug, Default)]
enum Step {
    #[default]
    Idle,
    Asking {
        /// The eldest so far: its age in milliseconds, and its queue.
        eldest: Option<(u64, String)>,
    },
    Pulling,
}

/// A retained broadcast of another gateway.
pub(super) struct Lesson {
    pub(super) broadcast: Broadcast,
    pub(super) stamp: Stamp,
    pub(super) publisher: Option<Device>,
}

impl Lesson {
    /// `None` if it is none, or not readable.
    pub(super) fn from_message(message: &Message) -> Option<Self> {
        let p = &message.properties;
        let (at, origin) = p.text(STAMP)?.split_once('.')?;
        let stamp = Stamp {
            at: WallTime::from_millis(at.parse().ok()?),
            origin: u64::from_str_radix(origin, 16).ok()?,
        };
        let name = |header| p.text(header);
        let publisher = name(header::TENANT)
            .zip(name(header::DEVICE))
            .and_then(|(tenant, device)| Some(Device::new(tenant.parse().ok()?, device.parse().ok()?)));
        Some(Self { broadcast: Broadcast::from_message(message).ok()?, stamp, publisher })
    }
}

impl Shard {
    /// The link is up, with that queue of broadcasts, or it is lost.
    pub(super) fn broadcasts_link(&mut self, now: Now, queue: Option<String>) {
        if self.config.broadcasts.is_empty() {
            return;
        }
        self.learning.began_at.get_or_insert(now.boot);
        self.learning.is_due = queue.is_some() && self.speaks_for_the_gateway();
        self.learning.queue = queue;
        self.learning.attempts = 0;
        self.learning.step = Step::Idle;
        self.ask_for_retained(now);
    }

    /// All shards of a process keep the same: one of them asks and answers for all. What it is given comes to each.
    pub(super) fn speaks_for_the_gateway(&self) -> bool {
        self.config.placement.index() == ShardIndex(0)
    }

    /// Whether it is a word of another gateway, which is heard.
    pub(super) fn hears_of_retained(&mut self, now: Now, message: &Message) -> bool {
        let kind = message.properties.kind.as_deref().filter(|kind| kind.starts_with(kind::PREFIX));
        let reply_to =
            message.properties.reply_to.clone().filter(|queue| Some(queue) != self.learning.queue.as_ref());
        match (kind, reply_to) {
            (None | Some(kind::KEPT), _) => return false,
            (Some(_), _) if !self.speaks_for_the_gateway() => {}
            (Some(kind::ASK), Some(queue)) => self.offer_retained(now, &queue),
            (Some(kind::OFFER), Some(queue)) => self.retained_offered(message, queue),
            (Some(kind::GIVE), Some(queue)) => self.give_retained(now, message, &queue),
            (Some(kind::END), Some(queue)) => self.retained_page_ended(now, message, &queue),
            // Its own question, or a word of another version.
            (Some(_), _) => {}
        }
        true
    }

    /// The time for offers, or for a page, is over.
    pub(super) fn learning_due(&mut self, now: Now) {
        if self.learning.until > now.boot {
            return self.timers.set(TimerFor::Learn, self.learning.until);
        }
        match std::mem::take(&mut self.learning.step) {
            Step::Idle => {}
            Step::Asking { eldest: None } => {
                self.learning.is_due = false;
                self.count(Count::LearnedNobody);
            }
            Step::Asking { eldest: Some((_, queue)) } => self.pull_retained(now, &queue, ""),
            Step::Pulling => {
                self.count(Count::LearnedTimedOut);
                self.ask_for_retained(now);
            }
        }
    }

    /// Asks, if something may have been missed, and it can.
    pub(super) fn ask_for_retained(&mut self, now: Now) {
        let Learning { is_due, attempts, ref step, .. } = self.learning;
        if !is_due || self.backend == Backend::Away || !matches!(step, Step::Idle) {
            return;
        }
        if attempts >= ATTEMPTS {
            self.learning.is_due = false;
            return;
        }
        self.learning.attempts += 1;
        self.learning.step = Step::Asking { eldest: None };
        self.wait_to_learn(now, OFFERS);
        self.say(kind::ASK, None, Properties::default());
    }

    fn offer_retained(&mut self, now: Now, queue: &str) {
        let age = self.learning.began_at.map_or(Duration::ZERO, |at| now.boot.since(at));
        let mut properties = Properties::default();
        properties.set(AGE, u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        self.say(kind::OFFER, Some(queue), properties);
    }

    fn retained_offered(&mut self, message: &Message, queue: String) {
        let Step::Asking { eldest } = &mut self.learning.step else { return };
        let age = message.properties.int(AGE).and_then(|age| u64::try_from(age).ok()).unwrap_or(0);
        if eldest.as_ref().is_none_or(|(other, _)| *other < age) {
            *eldest = Some((age, queue));
        }
    }

    fn pull_retained(&mut self, now: Now, queue: &str, after: &str) {
        self.learning.step = Step::Pulling;
        self.wait_to_learn(now, PAGE);
        let mut properties = Properties::default();
        properties.set(AFTER, after);
        self.say(kind::GIVE, Some(queue), properties);
    }

    /// One page: who asks for the next one has read it.
    fn give_retained(&mut self, now: Now, message: &Message, queue: &str) {
        let Some(after) = message.properties.text(AFTER) else { return };
        let Page { found, next } = self.retained.page(after);
        // With several shards there are stamps also on what is this gateway's alone.
        for kept in found.into_iter().filter(|kept| self.is_broadcast(&kept.topic)).collect::<Vec<_>>() {
            let (topic, message, stamp) = (kept.topic, kept.message, kept.stamp);
            let broadcast = match message {
                Some(message) => message.to_broadcast(now.boot, kept.qos),
                None => Topic::parse(&topic).ok().map(|topic| Broadcast::new(topic, bytes::Bytes::new())),
            };
            let Some(broadcast) = broadcast else { continue };
            let mut message = Broadcast { retain: true, ..broadcast }.into_message(contract::MESH);
            queue.clone_into(&mut message.routing_key);
            let properties = &mut message.properties;
            properties.kind = Some(kind::KEPT.to_owned());
            properties.set(STAMP, format!("{}.{:x}", stamp.at.as_millis(), stamp.origin));
            if let Some(device) = kept.publisher {
                properties.set(header::TENANT, device.tenant.as_str());
                properties.set(header::DEVICE, device.id.as_str());
            }
            self.send_word(message);
        }
        let mut properties = Properties::default();
        if let Some(next) = next {
            properties.set(AFTER, next);
        }
        self.say(kind::END, Some(queue), properties);
    }

    fn retained_page_ended(&mut self, now: Now, message: &Message, queue: &str) {
        if !matches!(self.learning.step, Step::Pulling) {
            return;
        }
        match message.properties.text(AFTER) {
            Some(after) => self.pull_retained(now, queue, after),
            None => {
                self.learning.step = Step::Idle;
                self.learning.is_due = false;
                self.count(Count::Learned);
            }
        }
    }

    fn wait_to_learn(&mut self, now: Now, time: Duration) {
        self.learning.until = now.boot + time;
        self.timers.set(TimerFor::Learn, self.learning.until);
    }

    /// A word to the queue of one gateway, or to all.
    fn say(&mut self, kind: &str, queue: Option<&str>, properties: Properties) {
        let Some(own) = self.learning.queue.clone() else { return };
        let (exchange, key) = match queue {
            Some(queue) => (contract::MESH, queue),
            None => (contract::FANOUT, ASK_KEY),
        };
        let properties = Properties { kind: Some(kind.to_owned()), reply_to: Some(own), ..properties };
        self.send_word(Message {
            exchange: exchange.to_owned(),
            routing_key: key.to_owned(),
            properties,
            body: bytes::Bytes::new(),
        });
    }

    /// What is lost is asked for again: its outcome is nobody's.
    fn send_word(&mut self, message: Message) {
        let publication = Publication {
            token: self.uplink.unanswered_token(),
            message,
            mandatory: false,
            on_loss: OnLoss::Report,
        };
        self.publish_to_backend(Box::new(publication));
    }

    /// What a lesson is worth: nothing, if that or something newer is here.
    pub(super) fn knows(&mut self, now: Now, lesson: &crate::message::Message, stamp: Stamp) -> bool {
        self.retained.has_newer(now.boot, &lesson.topic, stamp)
            || self.retained.has_same(&lesson.topic, &lesson.payload)
    }
}
