//! The bindings of a topic exchange, matched level by level.

use super::identity::QueueId;
use std::collections::{BTreeMap, BTreeSet};

/// Which queues a routing key reaches, where patterns have `*` for one word and `#` for any number of words.
///
/// A trie walked with a *set* of nodes, so that a pattern with many `#` costs its length for each word and never
/// the number of ways in which it can match.
#[derive(Debug)]
pub(crate) struct TopicIndex {
    nodes: Vec<Node>,
    free: Vec<usize>,
}

#[derive(Debug, Default)]
struct Node {
    parent: usize,
    word: Box<str>,
    children: BTreeMap<Box<str>, usize>,
    queues: BTreeSet<QueueId>,
}

const ROOT: usize = 0;

impl Default for TopicIndex {
    fn default() -> Self {
        Self { nodes: vec![Node::default()], free: Vec::new() }
    }
}

impl TopicIndex {
    pub(crate) fn insert(&mut self, pattern: &str, queue: QueueId) {
        let mut node = ROOT;
        for word in pattern.split('.') {
            node = match self.nodes[node].children.get(word) {
                Some(&child) => child,
                None => self.add_child(node, word),
            };
        }
        self.nodes[node].queues.insert(queue);
    }

    pub(crate) fn remove(&mut self, pattern: &str, queue: QueueId) {
        let mut node = ROOT;
        for word in pattern.split('.') {
            let Some(&child) = self.nodes[node].children.get(word) else { return };
            node = child;
        }
        self.nodes[node].queues.remove(&queue);
        self.prune(node);
    }

    /// Adds every queue that a pattern matching `key` belongs to.
    pub(crate) fn matches(&self, key: &str, found: &mut BTreeSet<QueueId>) {
        let mut active = vec![ROOT];
        self.close_over_hashes(&mut active);
        let mut next = Vec::new();
        for word in key.split('.') {
            for &node in &active {
                self.step(node, word, &mut next);
            }
            next.sort_unstable();
            next.dedup();
            self.close_over_hashes(&mut next);
            std::mem::swap(&mut active, &mut next);
            next.clear();
            if active.is_empty() {
                return;
            }
        }
        for node in active {
            found.extend(self.nodes[node].queues.iter().copied());
        }
    }

    /// The nodes that stand after `node` when it has taken one more word.
    fn step(&self, node: usize, word: &str, next: &mut Vec<usize>) {
        let here = &self.nodes[node];
        if node != ROOT && &*here.word == "#" {
            next.push(node);
        }
        // A key may hold the words `*` and `#` themselves: they are no wildcards there, and only wildcards match them.
        if word != "*" && word != "#" {
            next.extend(here.children.get(word));
        }
        next.extend(here.children.get("*"));
    }

    /// `#` matches no word as well: from each node its `#` child is reached for nothing.
    fn close_over_hashes(&self, active: &mut Vec<usize>) {
        let mut index = 0;
        while index < active.len() {
            if let Some(&hash) = self.nodes[active[index]].children.get("#")
                && !active.contains(&hash)
            {
                active.push(hash);
            }
            index += 1;
        }
    }

    fn add_child(&mut self, parent: usize, word: &str) -> usize {
        let node = Node { parent, word: word.into(), ..Node::default() };
        let child = match self.free.pop() {
            Some(index) => {
                self.nodes[index] = node;
                index
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() - 1
            }
        };
        self.nodes[parent].children.insert(word.into(), child);
        child
    }

    fn prune(&mut self, mut node: usize) {
        while node != ROOT && self.nodes[node].queues.is_empty() && self.nodes[node].children.is_empty() {
            let Node { parent, word, .. } = std::mem::take(&mut self.nodes[node]);
            self.nodes[parent].children.remove(&word);
            self.free.push(node);
            node = parent;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn naive(pattern: &[&str], key: &[&str]) -> bool {
        match (pattern.split_first(), key.split_first()) {
            (None, None) => true,
            (None, Some(_)) => false,
            (Some((&"#", rest)), None) => naive(rest, key),
            (Some((&"#", rest)), Some((_, key_rest))) => naive(rest, key) || naive(pattern, key_rest),
            (Some(_), None) => false,
            (Some((&"*", rest)), Some((_, key_rest))) => naive(rest, key_rest),
            (Some((word, rest)), Some((key_word, key_rest))) => word == key_word && naive(rest, key_rest),
        }
    }

    fn matched(index: &TopicIndex, key: &str) -> BTreeSet<QueueId> {
        let mut found = BTreeSet::new();
        index.matches(key, &mut found);
        found
    }

    #[test]
    fn patterns_match_as_the_specification_says() {
        for (pattern, key, matches) in [
            ("a.b", "a.b", true),
            ("a.b", "a.b.c", false),
            ("a.*", "a.b", true),
            ("a.*", "a", false),
            ("a.*", "a.", true),
            ("a.#", "a", true),
            ("a.#", "a.b.c", true),
            ("#", "", true),
            ("#", "a.b", true),
            ("*", "", true),
            ("", "", true),
            ("#.b", "b", true),
            ("#.b.#", "a.b.c.b.d", true),
            ("*.#.*", "a", false),
            ("#.#", "a", true),
        ] {
            let mut index = TopicIndex::default();
            index.insert(pattern, QueueId(1));
            assert_eq!(!matched(&index, key).is_empty(), matches, "{pattern} {key}");
        }
    }

    #[test]
    fn a_hostile_pattern_costs_its_length_only() {
        let mut index = TopicIndex::default();
        let pattern = vec!["#"; 126].join(".") + ".x";
        index.insert(&pattern, QueueId(1));
        let key = vec!["a"; 127].join(".");
        assert!(matched(&index, &key).is_empty());
    }

    #[test]
    fn what_is_removed_leaves_nothing_behind() {
        let mut index = TopicIndex::default();
        index.insert("a.b.c", QueueId(1));
        index.insert("a.b", QueueId(2));
        index.remove("a.b.c", QueueId(1));
        assert_eq!(index.free.len(), 1);
        assert_eq!(matched(&index, "a.b"), BTreeSet::from([QueueId(2)]));
        index.remove("a.b", QueueId(2));
        assert_eq!(index.free.len(), 3);
        assert!(index.nodes[ROOT].children.is_empty());
    }

    proptest! {
        #[test]
        fn the_index_matches_like_the_naive_rule(
            patterns in prop::collection::vec(prop::collection::vec("[ab*#]", 0..6), 1..12),
            removed in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
            keys in prop::collection::vec(prop::collection::vec("[ab]", 0..6), 1..8),
        ) {
            let mut index = TopicIndex::default();
            let mut kept: BTreeMap<QueueId, String> = BTreeMap::new();
            for (number, words) in patterns.iter().enumerate() {
                let queue = QueueId(number as u64);
                index.insert(&words.join("."), queue);
                kept.insert(queue, words.join("."));
            }
            for which in removed {
                let queue = QueueId(which.index(patterns.len()) as u64);
                if let Some(pattern) = kept.remove(&queue) {
                    index.remove(&pattern, queue);
                }
            }
            for words in keys {
                let key = words.join(".");
                let expected: BTreeSet<QueueId> = kept
                    .iter()
                    .filter(|(_, pattern)| {
                        let pattern: Vec<&str> = pattern.split('.').collect();
                        let key: Vec<&str> = key.split('.').collect();
                        naive(&pattern, &key)
                    })
                    .map(|(queue, _)| *queue)
                    .collect();
                prop_assert_eq!(matched(&index, &key), expected, "{}", key);
            }
        }
    }
}
