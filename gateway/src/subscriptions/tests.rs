//! The tree does what a list of filters, matched one by one, does.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::packet::RetainHandling;
use crate::tests::WILDCARDS;

fn filter(text: &str) -> TopicFilter {
    TopicFilter::parse(text).unwrap()
}

fn granted(qos: QoS) -> Subscription {
    Subscription { options: SubscribeOptions { qos, ..SubscribeOptions::default() }, subscription_id: None }
}

fn tree_of(filters: &[(u32, &str)]) -> SubscriptionTree<u32> {
    let mut tree = SubscriptionTree::new(7, 1_000);
    for (key, text) in filters {
        tree.insert(*key, &filter(text), granted(QoS::AtLeastOnce)).unwrap();
    }
    tree
}

fn matching_keys(tree: &SubscriptionTree<u32>, topic: &str) -> Vec<u32> {
    let mut keys = Vec::new();
    tree.visit_matches(topic, |key, _| keys.push(*key));
    keys.sort_unstable();
    keys
}

#[test]
fn wildcards_match_as_the_specification_says() {
    for (text, topic, expected) in WILDCARDS {
        let tree = tree_of(&[(1, text)]);
        assert_eq!(matching_keys(&tree, topic) == [1], expected, "{text} on {topic}");
        assert_eq!(tree.granted_qos(&1, topic).is_some(), expected, "own {text} on {topic}");
    }
}

#[test]
fn overlapping_filters_of_one_subscriber_are_each_visited() {
    let tree = tree_of(&[(1, "a/b"), (1, "a/+"), (1, "#"), (2, "a/b"), (2, "x")]);
    assert_eq!(matching_keys(&tree, "a/b"), [1, 1, 1, 2]);
}

#[test]
fn the_highest_granted_qos_of_ones_own_filters_counts() {
    let mut tree = SubscriptionTree::new(7, 10);
    tree.insert(1, &filter("a/#"), granted(QoS::AtMostOnce)).unwrap();
    tree.insert(1, &filter("a/+"), granted(QoS::AtLeastOnce)).unwrap();
    tree.insert(2, &filter("a/b"), granted(QoS::ExactlyOnce)).unwrap();
    assert_eq!(tree.granted_qos(&1, "a/b"), Some(QoS::AtLeastOnce));
    assert_eq!(tree.granted_qos(&1, "a/b/c"), Some(QoS::AtMostOnce));
    assert_eq!(tree.granted_qos(&1, "b"), None);
    assert_eq!(tree.granted_qos(&3, "a/b"), None);
}

#[test]
fn subscribing_again_replaces_the_options_in_place() {
    let mut tree = tree_of(&[(1, "a/+"), (2, "a/+")]);
    let options = SubscribeOptions {
        qos: QoS::ExactlyOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::DoNotSend,
    };
    let newer = Subscription { options, subscription_id: SubscriptionId::new(9) };
    let replaced = tree.insert(1, &filter("a/+"), newer);
    assert_eq!(replaced, Ok(Inserted::Replaced(granted(QoS::AtLeastOnce))));
    assert_eq!(tree.len(), 2);
    assert_eq!(tree.subscription(&1, &filter("a/+")), Some(&newer));
    assert_eq!(tree.subscription(&2, &filter("a/+")), Some(&granted(QoS::AtLeastOnce)));
    assert_eq!(tree.subscription(&2, &filter("a/b")), None);
}

#[test]
fn a_full_tree_refuses_new_subscriptions_and_still_replaces() {
    let mut tree = SubscriptionTree::new(7, 2);
    for text in ["a", "b"] {
        assert_eq!(tree.insert(1, &filter(text), Subscription::default()), Ok(Inserted::New));
    }
    let nodes = tree.nodes.len();
    assert_eq!(tree.insert(1, &filter("c/d"), Subscription::default()), Err(TreeFull { max: 2 }));
    assert_eq!(tree.nodes.len(), nodes);
    assert!(tree.insert(1, &filter("a"), granted(QoS::AtLeastOnce)).is_ok());
    assert!(tree.remove(&1, &filter("a")).is_some());
    assert_eq!(tree.insert(1, &filter("c/d"), Subscription::default()), Ok(Inserted::New));
}

#[test]
fn what_is_removed_leaves_no_node_behind() {
    let mut tree = tree_of(&[(1, "a/b/c"), (1, "a/+/#"), (2, "a/b"), (2, "#")]);
    assert_eq!(tree.remove(&2, &filter("a/b/c")), None);
    assert_eq!(tree.remove(&2, &filter("a")), None);
    assert_eq!(tree.remove_all(&1), 2);
    assert_eq!(tree.remove_all(&1), 0);
    assert_eq!(matching_keys(&tree, "a/b"), [2, 2]);
    assert_eq!(tree.remove(&2, &filter("a/b")), Some(granted(QoS::AtLeastOnce)));
    assert_eq!(tree.remove(&2, &filter("#")), Some(granted(QoS::AtLeastOnce)));
    assert!(tree.is_empty());
    assert_eq!(tree.nodes.len(), 1, "only the root");
}

#[test]
fn a_subscribers_filters_can_be_listed() {
    let tree = tree_of(&[(1, "/a//+"), (1, "$SYS/#"), (2, "b"), (1, "a-level-of-more-than-22-bytes/é")]);
    let mut filters: Vec<String> =
        tree.subscriptions_of(&1).map(|(filter, _)| filter.as_str().to_owned()).collect();
    filters.sort_unstable();
    assert_eq!(filters, ["$SYS/#", "/a//+", "a-level-of-more-than-22-bytes/é"]);
}

#[test]
fn the_deepest_filter_is_matched() {
    let text = ["+"; 64].join("/");
    let topic = ["t"; 64].join("/");
    let tree = tree_of(&[(1, &text)]);
    assert_eq!(matching_keys(&tree, &topic), [1]);
    assert_eq!(tree.granted_qos(&1, &topic), Some(QoS::AtLeastOnce));
    assert_eq!(matching_keys(&tree, &format!("{topic}/t")), [0; 0]);
    assert_eq!(tree.granted_qos(&1, &format!("{topic}/t")), None);
}

#[test]
fn a_subscription_of_a_large_fleet_takes_at_most_200_bytes() {
    let count = 100_000;
    let mut tree = SubscriptionTree::<u64>::new(7, count);
    for device in 0..count {
        let text = format!("devices/sensor-{device:08}/cmd");
        tree.insert(u64::from(device), &filter(&text), granted(QoS::AtLeastOnce)).unwrap();
    }
    let bytes = tree.allocated_bytes() / count as usize;
    assert!(bytes <= 200, "{bytes} bytes for each subscription");
}

/// One step on tree and model alike.
#[derive(Debug, Clone)]
enum Step {
    Insert(u32, String, QoS),
    Remove(u32, String),
    RemoveAll(u32),
}

fn filter_text() -> impl Strategy<Value = String> {
    let level = proptest::sample::select(vec!["a", "b", "", "+", "$x", "a-level-of-more-than-22-bytes"]);
    (vec(level, 1..5), any::<bool>())
        .prop_map(|(levels, rest)| {
            let text = levels.join("/");
            if rest { format!("{text}/#") } else { text }
        })
        .prop_filter("not empty", |text| !text.is_empty())
}

fn topic_text() -> impl Strategy<Value = String> {
    let level = proptest::sample::select(vec!["a", "b", "c", "", "$x", "a-level-of-more-than-22-bytes"]);
    vec(level, 1..6).prop_map(|levels| levels.join("/")).prop_filter("not empty", |text| !text.is_empty())
}

fn step() -> impl Strategy<Value = Step> {
    let qos = prop_oneof![Just(QoS::AtMostOnce), Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)];
    let text = prop_oneof![9 => filter_text(), 1 => Just("#".to_owned())];
    prop_oneof![
        6 => (0..5u32, text.clone(), qos).prop_map(|(key, text, qos)| Step::Insert(key, text, qos)),
        3 => (0..5u32, text).prop_map(|(key, text)| Step::Remove(key, text)),
        1 => (0..5u32).prop_map(Step::RemoveAll),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn the_tree_equals_a_list_matched_one_by_one(
        steps in vec(step(), 0..60),
        topics in vec(topic_text(), 1..8),
        seed in any::<u64>(),
    ) {
        let mut tree = SubscriptionTree::new(seed, 1_000);
        let mut model: BTreeMap<(u32, String), QoS> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Insert(key, text, qos) => {
                    let expected = model.insert((key, text.clone()), qos);
                    let inserted = tree.insert(key, &filter(&text), granted(qos)).unwrap();
                    let expected = expected.map_or(Inserted::New, |qos| Inserted::Replaced(granted(qos)));
                    prop_assert_eq!(inserted, expected);
                }
                Step::Remove(key, text) => {
                    let expected = model.remove(&(key, text.clone())).map(granted);
                    prop_assert_eq!(tree.remove(&key, &filter(&text)), expected);
                }
                Step::RemoveAll(key) => {
                    let before = model.len();
                    model.retain(|(owner, _), _| *owner != key);
                    prop_assert_eq!(tree.remove_all(&key), before - model.len());
                }
            }
            prop_assert_eq!(tree.len(), model.len());
        }
        for topic in topics {
            let mut visited = Vec::new();
            tree.visit_matches(&topic, |key, subscription| visited.push((*key, subscription.options.qos)));
            visited.sort_unstable();
            let matches = |text: &str| filter(text).matches(&topic);
            let mut expected: Vec<_> =
                model.iter().filter(|((_, text), _)| matches(text)).map(|((key, _), qos)| (*key, *qos)).collect();
            expected.sort_unstable();
            prop_assert_eq!(&visited, &expected, "{}", topic);
            for key in 0..5 {
                let own = expected.iter().filter(|(owner, _)| *owner == key).map(|(_, qos)| *qos).max();
                prop_assert_eq!(tree.granted_qos(&key, &topic), own);
            }
        }
        for key in 0..5 {
            let mut listed: Vec<String> =
                tree.subscriptions_of(&key).map(|(filter, _)| filter.as_str().to_owned()).collect();
            listed.sort_unstable();
            let expected: Vec<String> =
                model.keys().filter(|(owner, _)| *owner == key).map(|(_, text)| text.clone()).collect();
            prop_assert_eq!(listed, expected);
            tree.remove_all(&key);
        }
        prop_assert_eq!(tree.nodes.len(), 1, "only the root is left");
    }
}
