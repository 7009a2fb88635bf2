//! An exchange: its kind, its bindings, and which queues a routing key reaches.

use super::identity::QueueId;
use super::topic_index::TopicIndex;
use amq_protocol::types::FieldTable;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The kinds of exchange this broker has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExchangeKind {
    /// The binding's key equals the message's.
    Direct,
    /// Every bound queue.
    Fanout,
    /// The binding's pattern matches the message's key.
    Topic,
}

impl ExchangeKind {
    /// The kind of that name.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "direct" => Some(Self::Direct),
            "fanout" => Some(Self::Fanout),
            "topic" => Some(Self::Topic),
            _ => None,
        }
    }

    /// Its name in `exchange.declare`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Fanout => "fanout",
            Self::Topic => "topic",
        }
    }
}

/// What an exchange was declared with.
#[derive(Clone, Debug, PartialEq)]
pub struct ExchangeDefinition {
    /// Its name.
    pub name: Arc<str>,
    /// Its kind.
    pub kind: ExchangeKind,
    /// It survives a restart.
    pub durable: bool,
    /// It ends with its last binding.
    pub auto_delete: bool,
    /// Clients may not publish to it.
    pub internal: bool,
    /// Its arguments as they came.
    pub arguments: FieldTable,
}

/// An exchange with its bindings.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) definition: ExchangeDefinition,
    /// Where it sends what no queue of its own wants.
    pub(crate) alternate: Option<Arc<str>>,
    bindings: BTreeMap<(QueueId, Arc<str>), Vec<FieldTable>>,
    index: Index,
}

#[derive(Debug)]
enum Index {
    Direct(BTreeMap<Arc<str>, BTreeSet<QueueId>>),
    Fanout(BTreeMap<QueueId, usize>),
    Topic(TopicIndex),
}

impl Exchange {
    pub(crate) fn new(definition: ExchangeDefinition, alternate: Option<Arc<str>>) -> Self {
        let index = match definition.kind {
            ExchangeKind::Direct => Index::Direct(BTreeMap::new()),
            ExchangeKind::Fanout => Index::Fanout(BTreeMap::new()),
            ExchangeKind::Topic => Index::Topic(TopicIndex::default()),
        };
        Self { definition, alternate, bindings: BTreeMap::new(), index }
    }

    /// Adds a binding; false if it was there already.
    pub(crate) fn bind(&mut self, queue: QueueId, key: &Arc<str>, arguments: &FieldTable) -> bool {
        let same = self.bindings.entry((queue, Arc::clone(key))).or_default();
        if same.contains(arguments) {
            return false;
        }
        same.push(arguments.clone());
        if same.len() == 1 {
            self.index.insert(queue, key);
        }
        true
    }

    /// Removes a binding; false if it was not there.
    pub(crate) fn unbind(&mut self, queue: QueueId, key: &Arc<str>, arguments: &FieldTable) -> bool {
        let identity = (queue, Arc::clone(key));
        let Some(same) = self.bindings.get_mut(&identity) else { return false };
        let Some(place) = same.iter().position(|one| one == arguments) else { return false };
        same.swap_remove(place);
        if same.is_empty() {
            self.bindings.remove(&identity);
            self.index.remove(queue, key);
        }
        true
    }

    /// Removes every binding of a queue; how many there were.
    pub(crate) fn unbind_queue(&mut self, queue: QueueId) -> usize {
        let first = (queue, Arc::from(""));
        let keys: Vec<Arc<str>> = self
            .bindings
            .range(first..)
            .take_while(|((id, _), _)| *id == queue)
            .map(|((_, key), _)| Arc::clone(key))
            .collect();
        let mut removed = 0;
        for key in keys {
            removed += self.bindings.remove(&(queue, Arc::clone(&key))).map_or(0, |same| same.len());
            self.index.remove(queue, &key);
        }
        removed
    }

    pub(crate) fn binding_count(&self) -> usize {
        self.bindings.values().map(Vec::len).sum()
    }

    pub(crate) fn has_bindings(&self) -> bool {
        !self.bindings.is_empty()
    }

    /// Adds the queues that the key reaches.
    pub(crate) fn route(&self, key: &str, found: &mut BTreeSet<QueueId>) {
        match &self.index {
            Index::Direct(keys) => found.extend(keys.get(key).into_iter().flatten().copied()),
            Index::Fanout(queues) => found.extend(queues.keys().copied()),
            Index::Topic(index) => index.matches(key, found),
        }
    }
}

impl Index {
    fn insert(&mut self, queue: QueueId, key: &Arc<str>) {
        match self {
            Self::Direct(keys) => {
                keys.entry(Arc::clone(key)).or_default().insert(queue);
            }
            Self::Fanout(queues) => *queues.entry(queue).or_default() += 1,
            Self::Topic(index) => index.insert(key, queue),
        }
    }

    fn remove(&mut self, queue: QueueId, key: &Arc<str>) {
        match self {
            Self::Direct(keys) => {
                if let Some(queues) = keys.get_mut(key) {
                    queues.remove(&queue);
                    if queues.is_empty() {
                        keys.remove(key);
                    }
                }
            }
            Self::Fanout(queues) => {
                if let Some(count) = queues.get_mut(&queue) {
                    *count -= 1;
                    if *count == 0 {
                        queues.remove(&queue);
                    }
                }
            }
            Self::Topic(index) => index.remove(key, queue),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(kind: ExchangeKind) -> Exchange {
        let definition = ExchangeDefinition {
            name: "e".into(),
            kind,
            durable: true,
            auto_delete: false,
            internal: false,
            arguments: FieldTable::default(),
        };
        Exchange::new(definition, None)
    }

    fn routed(exchange: &Exchange, key: &str) -> Vec<u64> {
        let mut found = BTreeSet::new();
        exchange.route(key, &mut found);
        found.into_iter().map(|queue| queue.0).collect()
    }

    #[test]
    fn each_kind_routes_by_its_rule() {
        for (kind, bound, key, reached) in [
            (ExchangeKind::Direct, "a", "a", true),
            (ExchangeKind::Direct, "a", "b", false),
            (ExchangeKind::Direct, "*", "b", false),
            (ExchangeKind::Fanout, "a", "b", true),
            (ExchangeKind::Topic, "a.*", "a.b", true),
            (ExchangeKind::Topic, "a.*", "b.b", false),
        ] {
            let mut exchange = exchange(kind);
            exchange.bind(QueueId(1), &bound.into(), &FieldTable::default());
            assert_eq!(routed(&exchange, key) == [1], reached, "{kind:?} {bound} {key}");
        }
    }

    #[test]
    fn a_binding_made_twice_with_other_arguments_is_removed_twice() {
        for kind in [ExchangeKind::Direct, ExchangeKind::Fanout, ExchangeKind::Topic] {
            let mut exchange = exchange(kind);
            let mut other = FieldTable::default();
            other.insert("n".into(), amq_protocol::types::AMQPValue::LongInt(1));
            let key: Arc<str> = "k".into();
            assert!(exchange.bind(QueueId(1), &key, &FieldTable::default()));
            assert!(!exchange.bind(QueueId(1), &key, &FieldTable::default()));
            assert!(exchange.bind(QueueId(1), &key, &other));
            assert!(exchange.unbind(QueueId(1), &key, &FieldTable::default()));
            assert_eq!(routed(&exchange, "k"), [1], "one of the two is left");
            assert!(exchange.unbind(QueueId(1), &key, &other));
            assert!(!exchange.unbind(QueueId(1), &key, &other));
            assert!(routed(&exchange, "k").is_empty());
        }
    }

    #[test]
    fn a_queue_that_goes_takes_its_bindings_along() {
        let mut exchange = exchange(ExchangeKind::Topic);
        for (queue, key) in [(1, "a"), (2, "a"), (2, "#"), (3, "a")] {
            exchange.bind(QueueId(queue), &key.into(), &FieldTable::default());
        }
        assert_eq!(exchange.unbind_queue(QueueId(2)), 2);
        assert_eq!(routed(&exchange, "a"), [1, 3]);
        assert_eq!(exchange.binding_count(), 2);
    }
}
