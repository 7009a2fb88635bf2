//! Who subscribes to what: a tree of topic levels, matched without collecting or allocating anything.
//!
//! Each level of a filter is one node; the filters `a/b/c` and `a/+/#` share the node `a`. Nodes and subscriptions are
//! numbered slots (four bytes instead of a pointer), a node's named children are found in one table for the whole tree,
//! and its `+` and `#` children by number. A subscription is in two lists, its node's and its owner's. So a filter like
//! `devices/d-1/cmd` costs 100 to 200 bytes, and a match looks up one table entry for each level.

mod label;
mod slab;
mod slot_index;
#[cfg(test)]
mod tests;

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use label::Label;
use roost_wire::{Topic, TopicFilter};
use slab::{Slab, Slot};
use slot_index::SlotIndex;

use crate::packet::{QoS, SubscribeOptions, SubscriptionId};

/// What a subscriber was granted for one filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Subscription {
    /// The options; the quality of service is the granted one.
    pub options: SubscribeOptions,
    /// Comes back with each message that the filter matches.
    pub subscription_id: Option<SubscriptionId>,
}

/// What [`SubscriptionTree::insert`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// There was no such subscription of this subscriber.
    New,
    /// It replaced this one [MQTT-3.8.4-3].
    Replaced(Subscription),
}

/// The tree holds as many subscriptions as it may. Answer with reason code 0x97, quota exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the gateway holds {max} subscriptions already")]
pub struct TreeFull {
    /// The limit.
    pub max: u32,
}

/// The subscriptions of many subscribers, each known by a small key such as the number of its session.
///
/// One subscriber may have several filters that match the same topic. Each is then visited, one after another but not
/// side by side; the caller merges them: the highest quality of service and all subscription identifiers
/// [MQTT-3.3.4-2], [MQTT-3.3.4-4].
///
/// A shared subscription (`$share/…`) is not special here: its owner strips group and prefix first.
pub struct SubscriptionTree<K> {
    hash_seed: u64,
    subscriptions_max: u32,
    nodes: Slab<Node>,
    named_children: SlotIndex,
    entries: Slab<Entry<K>>,
    entry_of_node_and_key: SlotIndex,
    first_entry_of_key: SlotIndex,
    /// How often anything in it was changed.
    version: u64,
}

/// One level of one or more filters. The root stands before the first level.
#[derive(Debug)]
struct Node {
    label: Label,
    parent: Option<Slot>,
    /// Of parent and label; kept, so that a growing table does not have to read the texts.
    hash: u32,
    /// The child `+`.
    plus: Option<Slot>,
    /// The child `#`.
    rest: Option<Slot>,
    /// How many other children there are.
    named_children: u32,
    first_entry: Option<Slot>,
}

/// One subscriber's subscription to one filter.
#[derive(Debug)]
struct Entry<K> {
    key: K,
    subscription: Subscription,
    /// The last level of the filter.
    node: Slot,
    of_node: Links,
    of_key: Links,
}

/// A place in a doubly linked list.
#[derive(Debug, Clone, Copy, Default)]
struct Links {
    previous: Option<Slot>,
    next: Option<Slot>,
}

const ROOT: Slot = Slot::FIRST;
const PLUS: &str = "+";
const REST: &str = "#";

impl<K: Copy + Eq + Hash> SubscriptionTree<K> {
    /// An empty tree for at most `subscriptions_max` subscriptions. Devices choose the filters, so the hash of their
    /// levels is seeded with a number they cannot know; it has no influence on what matches or in which order.
    pub fn new(hash_seed: u64, subscriptions_max: u32) -> Self {
        let mut nodes = Slab::new();
        let root = nodes.insert(Node::new("", None, 0));
        debug_assert_eq!(root, ROOT);
        Self {
            hash_seed,
            subscriptions_max,
            nodes,
            named_children: SlotIndex::new(),
            entries: Slab::new(),
            entry_of_node_and_key: SlotIndex::new(),
            first_entry_of_key: SlotIndex::new(),
            version: 0,
        }
    }

    /// What it stands for is the same for as long as this number is.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// How many subscriptions there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Subscribes, or replaces the subscriber's subscription to the same filter [MQTT-3.8.4-3].
    ///
    /// # Errors
    /// [`TreeFull`] if it would be one too many; nothing is changed then.
    pub fn insert(
        &mut self,
        key: K,
        filter: &TopicFilter,
        subscription: Subscription,
    ) -> Result<Inserted, TreeFull> {
        if let Some(entry) = self.find_entry(&key, filter) {
            let old = std::mem::replace(&mut self.entries[entry].subscription, subscription);
            self.version += 1;
            return Ok(Inserted::Replaced(old));
        }
        if self.len() >= self.subscriptions_max as usize {
            return Err(TreeFull { max: self.subscriptions_max });
        }
        let node = filter.levels().fold(ROOT, |node, level| self.child_or_new(node, level));
        self.add_entry(key, node, subscription);
        Ok(Inserted::New)
    }

    /// Ends the subscriber's subscription to this very filter [MQTT-3.10.4-1], and gives it back; `None` if there
    /// was none.
    pub fn remove(&mut self, key: &K, filter: &TopicFilter) -> Option<Subscription> {
        let entry = self.find_entry(key, filter)?;
        Some(self.remove_entry(entry))
    }

    /// Ends all subscriptions of a subscriber, and tells how many there were.
    pub fn remove_all(&mut self, key: &K) -> usize {
        let mut removed = 0;
        while let Some(entry) = self.first_of_key(key) {
            self.remove_entry(entry);
            removed += 1;
        }
        removed
    }

    /// The subscriber's subscription to this very filter.
    pub fn subscription(&self, key: &K, filter: &TopicFilter) -> Option<&Subscription> {
        self.find_entry(key, filter).map(|entry| &self.entries[entry].subscription)
    }

    /// Visits each subscription whose filter matches the topic, a valid topic name. A topic that begins with `$` is
    /// not matched by a filter that begins with a wildcard [MQTT-4.7.2-1]. Allocates nothing.
    pub fn visit_matches(&self, topic: &str, mut visit: impl FnMut(&K, &Subscription)) {
        let wildcards_match = !topic.starts_with('$');
        self.descend(ROOT, Some(topic), wildcards_match, &mut visit);
    }

    /// Visits each subscription of one subscriber whose filter matches the topic, as [`SubscriptionTree::visit_matches`]
    /// does, but by looking at that subscriber's filters only: for what is addressed to one device.
    pub fn visit_own_matches(&self, key: &K, topic: &str, mut visit: impl FnMut(&Subscription)) {
        for entry in self.entries_of(key).filter(|entry| self.filter_matches(entry.node, topic)) {
            visit(&entry.subscription);
        }
    }

    /// The highest quality of service with which the subscriber gets this topic; `None` if no filter of it matches.
    pub fn granted_qos(&self, key: &K, topic: &str) -> Option<QoS> {
        let mut granted = None;
        self.visit_own_matches(key, topic, |own| granted = granted.max(Some(own.options.qos)));
        granted
    }

    /// As [`SubscriptionTree::granted_qos`], with the identifiers of all its filters that match.
    pub fn granted_with_ids(&self, key: &K, topic: &str) -> Option<(QoS, Vec<SubscriptionId>)> {
        let (mut granted, mut ids) = (None, Vec::new());
        self.visit_own_matches(key, topic, |own| {
            granted = granted.max(Some(own.options.qos));
            ids.extend(own.subscription_id);
        });
        Some((granted?, ids))
    }

    /// Whether any filter begins with this very level.
    pub fn has_level(&self, level: &str) -> bool {
        self.child(ROOT, level).is_some()
    }

    /// What one subscriber subscribes to, the newest first.
    pub fn subscriptions_of(&self, key: &K) -> impl Iterator<Item = (TopicFilter, &Subscription)> {
        self.entries_of(key).map(|entry| (self.filter(entry.node), &entry.subscription))
    }

    /// The memory that it holds, in bytes.
    pub fn allocated_bytes(&self) -> usize {
        self.nodes.allocated_bytes()
            + self.nodes.iter().map(|node| node.label.allocated_bytes()).sum::<usize>()
            + self.named_children.allocated_bytes()
            + self.entries.allocated_bytes()
            + self.entry_of_node_and_key.allocated_bytes()
            + self.first_entry_of_key.allocated_bytes()
    }

    // --- matching

    /// Visits what matches below a node. `rest` is the part of the topic behind it, `None` at the topic's end. As deep
    /// as filters are, which is at most [`TopicFilter`]'s bound.
    fn descend(
        &self,
        at: Slot,
        rest: Option<&str>,
        wildcards_match: bool,
        visit: &mut impl FnMut(&K, &Subscription),
    ) {
        let node = &self.nodes[at];
        // `a/#` matches `a` as well (MQTT5 §4.7.1.2).
        if let (Some(child), true) = (node.rest, wildcards_match) {
            self.visit_node(child, visit);
        }
        let Some(rest) = rest else { return self.visit_node(at, visit) };
        let (level, rest) = match rest.split_once('/') {
            Some((level, rest)) => (level, Some(rest)),
            None => (rest, None),
        };
        if let Some(child) = self.named_child(at, level) {
            self.descend(child, rest, true, visit);
        }
        if let (Some(child), true) = (node.plus, wildcards_match) {
            self.descend(child, rest, true, visit);
        }
    }

    fn visit_node(&self, node: Slot, visit: &mut impl FnMut(&K, &Subscription)) {
        let mut next = self.nodes[node].first_entry;
        while let Some(slot) = next {
            let entry = &self.entries[slot];
            visit(&entry.key, &entry.subscription);
            next = entry.of_node.next;
        }
    }

    /// The nodes of the filter that ends at `node`, the last level first.
    fn path(&self, node: Slot) -> impl Iterator<Item = &Node> {
        let parent_of = |node: &&Node| node.parent.map(|parent| &self.nodes[parent]);
        std::iter::successors(Some(&self.nodes[node]), parent_of).filter(|node| node.parent.is_some())
    }

    fn filter_matches(&self, node: Slot, topic: &str) -> bool {
        let mut labels: [&[u8]; Topic::LEVELS_MAX] = [&[]; Topic::LEVELS_MAX];
        let mut depth = 0;
        for (label, node) in labels.iter_mut().zip(self.path(node)) {
            *label = node.label.bytes();
            depth += 1;
        }
        let mut labels = labels[..depth].iter().rev().copied();
        let mut levels = topic.split('/').map(str::as_bytes);
        let mut wildcard_allowed = !topic.starts_with('$');
        loop {
            let label = labels.next();
            if label == Some(REST.as_bytes()) && wildcard_allowed {
                return true;
            }
            match (label, levels.next()) {
                (Some(label), Some(level)) if label == level => {}
                (Some(label), Some(_)) if label == PLUS.as_bytes() && wildcard_allowed => {}
                (None, None) => return true,
                _ => return false,
            }
            wildcard_allowed = true;
        }
    }

    fn filter(&self, node: Slot) -> TopicFilter {
        let mut levels: Vec<&str> = self.path(node).map(|node| node.label.text()).collect();
        levels.reverse();
        TopicFilter::parse(&levels.join("/")).expect("it was a filter when it was inserted")
    }

    // --- nodes

    fn find_node(&self, filter: &TopicFilter) -> Option<Slot> {
        filter.levels().try_fold(ROOT, |node, level| self.child(node, level))
    }

    fn child(&self, parent: Slot, level: &str) -> Option<Slot> {
        match level {
            PLUS => self.nodes[parent].plus,
            REST => self.nodes[parent].rest,
            _ => self.named_child(parent, level),
        }
    }

    fn named_child(&self, parent: Slot, level: &str) -> Option<Slot> {
        // Most nodes are leaves: the table is not asked for them.
        if self.nodes[parent].named_children == 0 {
            return None;
        }
        self.named_children.find(self.hash(&(parent, level)), |slot| {
            let node = &self.nodes[slot];
            node.parent == Some(parent) && node.label.bytes() == level.as_bytes()
        })
    }

    fn child_or_new(&mut self, parent: Slot, level: &str) -> Slot {
        if let Some(child) = self.child(parent, level) {
            return child;
        }
        let hash = self.hash(&(parent, level));
        let child = self.nodes.insert(Node::new(level, Some(parent), hash));
        match level {
            PLUS => self.nodes[parent].plus = Some(child),
            REST => self.nodes[parent].rest = Some(child),
            _ => {
                self.nodes[parent].named_children += 1;
                let nodes = &self.nodes;
                self.named_children.insert(hash, child, |slot| nodes[slot].hash);
            }
        }
        child
    }

    /// Removes a node that nothing needs any more, and then its ancestors likewise.
    fn prune(&mut self, mut at: Slot) {
        while let Some(parent) = self.nodes[at].parent.filter(|_| self.nodes[at].is_unused()) {
            let node = self.nodes.remove(at);
            let parent_node = &mut self.nodes[parent];
            match node.label.text() {
                PLUS => parent_node.plus = None,
                REST => parent_node.rest = None,
                _ => {
                    parent_node.named_children -= 1;
                    self.named_children.remove(node.hash, at);
                }
            }
            at = parent;
        }
    }

    // --- entries

    fn find_entry(&self, key: &K, filter: &TopicFilter) -> Option<Slot> {
        let node = self.find_node(filter)?;
        self.entry_of_node_and_key.find(self.hash(&(node, key)), |slot| {
            let entry = &self.entries[slot];
            entry.node == node && entry.key == *key
        })
    }

    fn first_of_key(&self, key: &K) -> Option<Slot> {
        self.first_entry_of_key.find(self.hash(key), |slot| self.entries[slot].key == *key)
    }

    fn entries_of(&self, key: &K) -> impl Iterator<Item = &Entry<K>> {
        let first = self.first_of_key(key).map(|slot| &self.entries[slot]);
        std::iter::successors(first, |entry| entry.of_key.next.map(|slot| &self.entries[slot]))
    }

    /// Adds an entry at the head of both its lists.
    fn add_entry(&mut self, key: K, node: Slot, subscription: Subscription) {
        self.version += 1;
        let of_node = Links { previous: None, next: self.nodes[node].first_entry };
        let of_key = Links { previous: None, next: self.first_of_key(&key) };
        let slot = self.entries.insert(Entry { key, subscription, node, of_node, of_key });
        self.nodes[node].first_entry = Some(slot);
        if let Some(next) = of_node.next {
            self.entries[next].of_node.previous = Some(slot);
        }
        let key_hash = self.hash(&key);
        let hasher = SeededHasher(self.hash_seed);
        let entries = &self.entries;
        match of_key.next {
            Some(next) => {
                self.first_entry_of_key.replace(key_hash, next, slot);
                self.entries[next].of_key.previous = Some(slot);
            }
            None => {
                self.first_entry_of_key.insert(key_hash, slot, |slot| hasher.hash(&entries[slot].key));
            }
        }
        let entries = &self.entries;
        self.entry_of_node_and_key.insert(hasher.hash(&(node, &key)), slot, |slot| {
            hasher.hash(&(entries[slot].node, &entries[slot].key))
        });
    }

    fn remove_entry(&mut self, slot: Slot) -> Subscription {
        self.version += 1;
        let entry = self.entries.remove(slot);
        self.entry_of_node_and_key.remove(self.hash(&(entry.node, &entry.key)), slot);

        match entry.of_node.previous {
            Some(previous) => self.entries[previous].of_node.next = entry.of_node.next,
            None => self.nodes[entry.node].first_entry = entry.of_node.next,
        }
        if let Some(next) = entry.of_node.next {
            self.entries[next].of_node.previous = entry.of_node.previous;
        }

        let key_hash = self.hash(&entry.key);
        match (entry.of_key.previous, entry.of_key.next) {
            (Some(previous), next) => self.entries[previous].of_key.next = next,
            (None, Some(next)) => self.first_entry_of_key.replace(key_hash, slot, next),
            (None, None) => self.first_entry_of_key.remove(key_hash, slot),
        }
        if let Some(next) = entry.of_key.next {
            self.entries[next].of_key.previous = entry.of_key.previous;
        }

        self.prune(entry.node);
        entry.subscription
    }

    fn hash(&self, value: &impl Hash) -> u32 {
        SeededHasher(self.hash_seed).hash(value)
    }
}

impl<K> fmt::Debug for SubscriptionTree<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubscriptionTree")
            .field("subscriptions", &self.entries.len())
            .field("nodes", &self.nodes.len())
            .finish_non_exhaustive()
    }
}

impl Node {
    fn new(level: &str, parent: Option<Slot>, hash: u32) -> Self {
        let label = Label::new(level);
        Self { label, parent, hash, plus: None, rest: None, named_children: 0, first_entry: None }
    }

    fn is_unused(&self) -> bool {
        self.named_children == 0 && self.plus.is_none() && self.rest.is_none() && self.first_entry.is_none()
    }
}

/// SipHash that has the seed as its first word.
#[derive(Clone, Copy)]
struct SeededHasher(u64);

impl SeededHasher {
    fn hash(self, value: &impl Hash) -> u32 {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        value.hash(&mut hasher);
        let hash = hasher.finish();
        (hash ^ hash >> 32) as u32
    }
}
