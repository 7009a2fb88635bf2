//! Any sequence of subscribing and unsubscribing: the tree matches what a list of filters matches one by one, and is
//! empty when all have left.

#![no_main]

use std::collections::BTreeSet;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use roost_gateway::subscriptions::{Subscription, SubscriptionTree};
use roost_wire::{Topic, TopicFilter};

#[derive(Debug, Arbitrary)]
enum Step {
    Insert(u8, String),
    Remove(u8, String),
    RemoveAll(u8),
    Publish(String),
}

fuzz_target!(|steps: Vec<Step>| {
    let mut tree = SubscriptionTree::<u8>::new(7, 10_000);
    let mut model = BTreeSet::<(u8, TopicFilter)>::new();
    for step in steps {
        match step {
            Step::Insert(key, text) => {
                let Ok(filter) = TopicFilter::parse(&text) else { continue };
                tree.insert(key, &filter, Subscription::default()).expect("fewer than its limit");
                model.insert((key, filter));
            }
            Step::Remove(key, text) => {
                let Ok(filter) = TopicFilter::parse(&text) else { continue };
                assert_eq!(tree.remove(&key, &filter).is_some(), model.remove(&(key, filter)));
            }
            Step::RemoveAll(key) => {
                let before = model.len();
                model.retain(|(owner, _)| *owner != key);
                assert_eq!(tree.remove_all(&key), before - model.len());
            }
            Step::Publish(text) => {
                let Ok(topic) = Topic::parse(&text) else { continue };
                let mut visited = Vec::new();
                tree.visit_matches(topic.as_str(), |key, _| visited.push(*key));
                visited.sort_unstable();
                let matching = model.iter().filter(|(_, filter)| filter.matches(topic.as_str()));
                assert_eq!(visited, matching.map(|(key, _)| *key).collect::<Vec<_>>());
            }
        }
    }
    for key in 0..=u8::MAX {
        tree.remove_all(&key);
    }
    assert!(tree.is_empty());
});
