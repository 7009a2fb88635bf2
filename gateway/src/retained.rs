//! Retained messages: the last one of each topic, kept for who subscribes later [MQTT-3.3.1-5].
//!
//! They lie in one sorted map, in which a topic stands right before the topics below it. A filter is matched by leaps: [`Walk`] looks at
//! one topic, and if that one does not match it knows the next that may; so it sees what a walk down a tree of levels would see, and never
//! all that there is. It may be left and gone on with later, whatever was set and deleted meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use roost_wire::{BootTime, Device, TopicFilter};

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
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) message: Arc<Message>,
    /// The quality of service that it was published with.
    pub(crate) qos: QoS,
    pub(crate) publisher: Device,
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
    pub(crate) fn set(&mut self, message: Arc<Message>, qos: QoS, publisher: Device) -> Result<(), Full> {
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
        self.kept.insert(key, Kept { message, qos, publisher, number });
        Ok(())
    }

    /// Deletes the message of a topic; whether there was one.
    pub(crate) fn delete(&mut self, topic: &str) -> bool {
        self.remove(&key_of(topic))
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
        self.bytes -= kept.message.bytes();
        if let Some(at) = kept.message.expires_at {
            self.expiries.remove(&(at, key.to_owned()));
        }
        true
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
