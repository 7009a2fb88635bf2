//! Any sequence of subscribing and unsubscribing: the tree matches what a list of filters matches one by one, and is
//! empty when all have left.

use std::collections::BTreeSet;

use roost_gateway::subscriptions::{Subscription, SubscriptionTree};
use roost_wire::{Topic, TopicFilter};

/// What topics and filters are made of: few letters, so that they meet.
const LETTERS: [char; 8] = ['a', 'b', '/', '/', '+', '#', '$', 'é'];

const KEYS: u8 = 8;

/// Runs a sequence of steps, each of one byte, and of a text of letters of three bits each where it needs one. How many there were.
///
/// # Panics
/// If tree and list differ.
#[must_use]
pub fn check(input: &[u8]) -> u64 {
    let mut tree = SubscriptionTree::<u8>::new(7, 10_000);
    let mut model = BTreeSet::<(u8, TopicFilter)>::new();
    let mut bytes = input.iter().copied();
    let mut steps = 0;
    while let Some(step) = bytes.next() {
        steps += 1;
        let key = step >> 3 & (KEYS - 1);
        let mut text = || -> String {
            let len = bytes.next().unwrap_or(0) % 10;
            bytes.by_ref().take(len.into()).map(|byte| LETTERS[usize::from(byte & 7)]).collect()
        };
        match step & 7 {
            0..=2 => {
                let Ok(filter) = TopicFilter::parse(&text()) else { continue };
                tree.insert(key, &filter, Subscription::default()).expect("fewer than its limit");
                model.insert((key, filter));
            }
            3 => {
                let Ok(filter) = TopicFilter::parse(&text()) else { continue };
                assert_eq!(tree.remove(&key, &filter).is_some(), model.remove(&(key, filter)));
            }
            4 => {
                let before = model.len();
                model.retain(|(owner, _)| *owner != key);
                assert_eq!(tree.remove_all(&key), before - model.len());
            }
            _ => {
                let Ok(topic) = Topic::parse(&text()) else { continue };
                let mut visited = Vec::new();
                tree.visit_matches(topic.as_str(), |key, _| visited.push(*key));
                visited.sort_unstable();
                let matching = model.iter().filter(|(_, filter)| is_match(filter.as_str(), topic.as_str()));
                assert_eq!(visited, matching.map(|(key, _)| *key).collect::<Vec<_>>());
            }
        }
        assert_eq!(tree.len(), model.len());
    }
    for key in 0..KEYS {
        tree.remove_all(&key);
    }
    assert!(tree.is_empty());
    steps
}

/// By the words of MQTT 5, 4.7: level by level, and no wildcard in front matches a topic that begins with `$`.
pub(crate) fn is_match(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        match (wanted, levels.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (wanted, Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}
