//! Retained messages: the last one of each topic, kept for who subscribes later [MQTT-3.3.1-5].
//!
//! They lie in one sorted map, in which a topic stands right before the topics below it. A filter is matched by leaps: [`Walk`] looks at
//! one topic, and if that one does not match it knows the next that may; so it sees what a walk down a tree of levels would see, and never
//! all that there is. It may be left and gone on with later, whatever was set and deleted meanwhile.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use roost_wire::{BootTime, Device, TopicFilter, WallTime};

use crate::Count;
use crate::message::Message;
use crate::packet::QoS;

#[cfg(test)]
mod tests;

/// The retained messages of a gateway. A set and a delete with their arguments are all that another copy of it needs.
#[derive(Debug)]
pub(crate) struct Retained {
    messages_max: usize,
    bytes_max: usize,
    /// By the topic with its levels divided by [`SEPARATOR`], so that bytes compare as levels do.
    kept: BTreeMap<String, Kept>,
    bytes: usize,
    expiries: BTreeSet<(BootTime, String)>,
    next_number: u64,
    /// Broadcasts that were deleted not long ago, and with what.
    deleted: BTreeMap<String, Stamp>,
    /// The same, as they are forgotten.
    deletions: VecDeque<(BootTime, String, Stamp)>,
    /// For their copies on disk: whose messages have changed since somebody asked; none if nobody does.
    changed: Option<BTreeSet<String>>,
}

/// When a broadcast was published. Of two with the same topic the one with the greater stamp is kept, at every gateway; of two with the
/// same stamp, which are of one origin, the one that came later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp {
    pub(crate) at: WallTime,
    /// The incarnation of the gateway that a device has published it to; 0 for a service. Of what is no broadcast, and kept by several
    /// shards: how many came before in that millisecond, and which shard.
    pub(crate) origin: u64,
}

/// A part of the broadcasts that are kept, and of those that were deleted, in the order of topics.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) found: Vec<Found>,
    /// The topic behind which it goes on; none at the end.
    pub(crate) next: Option<String>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) topic: String,
    /// None if it was deleted.
    pub(crate) message: Option<Arc<Message>>,
    pub(crate) stamp: Stamp,
    pub(crate) publisher: Option<Device>,
    pub(crate) qos: QoS,
}

/// The most that are in a page, in messages and, but for the last of them, in bytes; and how many topics are looked at for it.
const PAGE_MESSAGES: usize = 64;
const PAGE_BYTES: usize = 1024 * 1024;
const PAGE_STEPS: usize = 2_000;

/// For how long a deletion is remembered, so that an older broadcast that comes late brings nothing back. A link that was lost is
/// there again within seconds, and what was published meanwhile comes within seconds more.
const DELETED_FOR: Duration = Duration::from_secs(10 * 60);

/// The most deletions that are remembered: 2 MB. The oldest are forgotten for newer ones.
const DELETED_MAX: usize = 10_000;

/// One of them.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) message: Arc<Message>,
    /// The quality of service that it was published with.
    pub(crate) qos: QoS,
    /// None for a service.
    pub(crate) publisher: Option<Device>,
    /// Of a broadcast.
    stamp: Option<Stamp>,
    /// Greater than that of all that were set before.
    pub(crate) number: u64,
}

/// Which bound a message is too much for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    Messages,
    Bytes,
}

/// A way along the messages that match a filter.
#[derive(Debug)]
pub(crate) struct Walk {
    filter: TopicFilter,
    /// What stands before it in the order of the store is done with.
    from: String,
}

/// What a step along a walk leads to.
#[derive(Debug)]
pub(crate) enum Next<'a> {
    Found(&'a Kept),
    /// As many topics were looked at as should be; go on later.
    Paused,
    End,
}

/// Less than all that may stand in a topic, and in none [MQTT-1.5.4-2].
const SEPARATOR: char = '\0';
/// Follows on [`SEPARATOR`]: behind a topic with it stands what is not below the topic.
const BEHIND: char = '\u{1}';
/// Follows on `$`.
const BEHIND_DOLLAR: &str = "%";

/// Where a walk has to go on from a topic.
#[derive(Debug, PartialEq, Eq)]
enum Leap {
    Match,
    To(String),
    End,
}

impl Retained {
    /// An empty store with these bounds.
    pub(crate) fn new(messages_max: usize, bytes_max: usize) -> Self {
        Self {
            messages_max,
            bytes_max,
            kept: BTreeMap::new(),
            bytes: 0,
            expiries: BTreeSet::new(),
            next_number: 0,
            deleted: BTreeMap::new(),
            deletions: VecDeque::new(),
            changed: None,
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    /// The bytes of their topics, payloads and properties.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number that the next message gets.
    pub(crate) fn next_number(&self) -> u64 {
        self.next_number
    }

    /// Puts a message in the place of its topic's last one [MQTT-3.3.1-5].
    ///
    /// # Errors
    /// [`Full`] if it does not fit; then nothing has changed.
    pub(crate) fn set(
        &mut self,
        message: Arc<Message>,
        qos: QoS,
        publisher: Option<Device>,
        stamp: Option<Stamp>,
    ) -> Result<(), Full> {
        let key = key_of(&message.topic);
        let before = self.kept.get(&key).map(|kept| kept.message.bytes());
        if before.is_none() && self.kept.len() >= self.messages_max {
            return Err(Full::Messages);
        }
        let bytes = self.bytes - before.unwrap_or(0) + message.bytes();
        if bytes > self.bytes_max {
            return Err(Full::Bytes);
        }
        self.remove(&key);
        self.bytes = bytes;
        if let Some(at) = message.expires_at {
            self.expiries.insert((at, key.clone()));
        }
        let number = self.next_number;
        self.next_number += 1;
        self.note_changed(&key);
        self.kept.insert(key, Kept { message, qos, publisher, stamp, number });
        Ok(())
    }

    /// From now on it is noted what changes.
    pub(crate) fn keep_log(&mut self) {
        self.changed = Some(BTreeSet::new());
    }

    /// The topics whose messages have changed since the last call.
    pub(crate) fn take_changed(&mut self) -> impl Iterator<Item = String> + use<> {
        self.changed.as_mut().map(std::mem::take).unwrap_or_default().into_iter().map(|key| topic_of(&key))
    }

    /// What is kept of a topic.
    pub(crate) fn of_topic(&self, topic: &str) -> Option<&Kept> {
        self.kept.get(&key_of(topic))
    }

    fn note_changed(&mut self, key: &str) {
        if let Some(changed) = &mut self.changed {
            changed.insert(key.to_owned());
        }
    }

    /// Deletes the message of a topic; whether there was one.
    pub(crate) fn delete(&mut self, topic: &str) -> bool {
        self.remove(&key_of(topic))
    }

    /// Whether a newer broadcast of this topic is kept, or has deleted it not long ago.
    pub(crate) fn has_newer(&mut self, now: BootTime, topic: &str, stamp: Stamp) -> bool {
        self.forget_deleted(now);
        let key = key_of(topic);
        let kept = self.kept.get(&key).and_then(|kept| kept.stamp);
        kept.max(self.deleted.get(&key).copied()) > Some(stamp)
    }

    /// Whether what is kept of this topic has that payload, or nothing is kept and there is none.
    pub(crate) fn has_same(&self, topic: &str, payload: &[u8]) -> bool {
        match self.kept.get(&key_of(topic)) {
            Some(kept) => *kept.message.payload == *payload,
            None => payload.is_empty(),
        }
    }

    /// The broadcasts behind that topic, or from the first on if it is empty.
    pub(crate) fn page(&self, after: &str) -> Page {
        // The first key that may stand behind it.
        let from = if after.is_empty() { String::new() } else { key_of(after) + "\0" };
        let mut kept = self.kept.range::<String, _>(&from..).peekable();
        let mut deleted = self.deleted.range::<String, _>(&from..).peekable();
        let (mut found, mut bytes, mut last) = (Vec::new(), 0, None);
        for _ in 0..PAGE_STEPS {
            let is_kept = match (kept.peek(), deleted.peek()) {
                (None, None) => return Page { found, next: None },
                (Some((key, _)), Some((other, _))) => key <= other,
                (first, _) => first.is_some(),
            };
            if is_kept && let Some((key, Kept { message, qos, publisher, stamp, .. })) = kept.next() {
                last = Some(topic_of(key));
                let (topic, publisher) = (topic_of(key), publisher.clone());
                if let Some(stamp) = *stamp {
                    bytes += message.bytes();
                    found.push(Found {
                        topic,
                        message: Some(Arc::clone(message)),
                        stamp,
                        publisher,
                        qos: *qos,
                    });
                }
            } else if let Some((key, stamp)) = deleted.next() {
                last = Some(topic_of(key));
                let (topic, stamp, qos) = (topic_of(key), *stamp, QoS::AtLeastOnce);
                found.push(Found { topic, message: None, stamp, publisher: None, qos });
            }
            if found.len() >= PAGE_MESSAGES || bytes >= PAGE_BYTES {
                break;
            }
        }
        Page { found, next: last }
    }

    /// A broadcast has deleted this topic's message, whether there was one or not.
    pub(crate) fn remember_deleted(&mut self, now: BootTime, topic: &str, stamp: Stamp) {
        let key = key_of(topic);
        self.deleted.insert(key.clone(), stamp);
        self.deletions.push_back((now + DELETED_FOR, key, stamp));
        self.forget_deleted(now);
    }

    fn forget_deleted(&mut self, now: BootTime) {
        let is_over = |until: BootTime, len: usize| until <= now || len > DELETED_MAX;
        while self.deletions.front().is_some_and(|(until, ..)| is_over(*until, self.deletions.len())) {
            let Some((_, key, stamp)) = self.deletions.pop_front() else { return };
            // Another deletion of the topic has its own time.
            if self.deleted.get(&key) == Some(&stamp) {
                self.deleted.remove(&key);
            }
        }
    }

    /// Deletes what has expired, and says how many those were.
    pub(crate) fn expire(&mut self, now: BootTime) -> u64 {
        let mut expired = 0;
        while let Some((_, key)) = self.expiries.first().filter(|(at, _)| *at <= now).cloned() {
            expired += u64::from(self.remove(&key));
        }
        expired
    }

    /// When the next one expires.
    pub(crate) fn next_expiry(&self) -> Option<BootTime> {
        self.expiries.first().map(|(at, _)| *at)
    }

    /// The next message on the way, in the order of topics; each topic that is looked at takes one of `steps`.
    pub(crate) fn next_match(&self, walk: &mut Walk, steps: &mut usize) -> Next<'_> {
        while *steps > 0 {
            *steps -= 1;
            let Some((key, kept)) = self.kept.range::<String, _>(&walk.from..).next() else {
                return Next::End;
            };
            match leap(&walk.filter, key) {
                Leap::Match => {
                    walk.from.clone_from(key);
                    walk.from.push(SEPARATOR);
                    return Next::Found(kept);
                }
                Leap::To(key) => walk.from = key,
                Leap::End => return Next::End,
            }
        }
        Next::Paused
    }

    fn remove(&mut self, key: &str) -> bool {
        let Some(kept) = self.kept.remove(key) else { return false };
        self.note_changed(key);
        self.bytes -= kept.message.bytes();
        if let Some(at) = kept.message.expires_at {
            self.expiries.remove(&(at, key.to_owned()));
        }
        true
    }
}

impl Full {
    /// As it is counted.
    pub(crate) const fn count(self) -> Count {
        match self {
            Self::Messages => Count::RetainedMessagesFull,
            Self::Bytes => Count::RetainedBytesFull,
        }
    }
}

impl Kept {
    /// When it was published, if it is a broadcast.
    pub(crate) const fn stamp(&self) -> Option<Stamp> {
        self.stamp
    }
}

impl Walk {
    /// A way along all that match, from the first on.
    pub(crate) fn new(filter: TopicFilter) -> Self {
        Self { filter, from: String::new() }
    }

    pub(crate) fn filter(&self) -> &TopicFilter {
        &self.filter
    }
}

fn topic_of(key: &str) -> String {
    key.replace(SEPARATOR, "/")
}

fn key_of(topic: &str) -> String {
    topic.replace('/', "\0")
}

/// Whether the topic matches, and if not, the first one behind it that may.
fn leap(filter: &TopicFilter, key: &str) -> Leap {
    let mut levels = key.split(SEPARATOR);
    // The part of the key that the filter's levels before have matched.
    let mut matched = "";
    for (depth, wanted) in filter.levels().enumerate() {
        let is_wildcard = matches!(wanted, "+" | "#");
        let level = levels.next();
        match (wanted, level) {
            // [MQTT-4.7.2-1]
            (_, Some(level)) if is_wildcard && depth == 0 && level.starts_with('$') => {
                return Leap::To(BEHIND_DOLLAR.to_owned());
            }
            ("#", _) => return Leap::Match,
            (_, None) => {
                let below = if is_wildcard { "" } else { wanted };
                return Leap::To(format!("{key}{SEPARATOR}{below}"));
            }
            ("+", Some(_)) => {}
            (_, Some(level)) if level < wanted && depth == 0 => return Leap::To(wanted.to_owned()),
            (_, Some(level)) if level < wanted => {
                return Leap::To(format!("{matched}{SEPARATOR}{wanted}"));
            }
            (_, Some(level)) if level > wanted => return behind(matched, depth),
            (_, Some(_)) => {}
        }
        let separator = usize::from(depth > 0);
        matched = &key[..matched.len() + separator + level.map_or(0, str::len)];
    }
    if matched.len() == key.len() { Leap::Match } else { Leap::To(format!("{matched}{BEHIND}")) }
}

/// Nothing more matches below `matched`, which is that many levels.
fn behind(matched: &str, levels: usize) -> Leap {
    if levels == 0 { Leap::End } else { Leap::To(format!("{matched}{BEHIND}")) }
}
