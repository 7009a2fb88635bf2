//! The store does what a plain map does whose topics are matched one by one.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::packet::{Delivery, Publish, PublishProperties, Text};
use crate::tests::WILDCARDS;

fn message(topic: &str, payload: &[u8], expiry_s: Option<u32>) -> Arc<Message> {
    let properties = PublishProperties { message_expiry_s: expiry_s, ..PublishProperties::default() };
    let publish = Publish {
        topic: Text::parse(topic).unwrap(),
        delivery: Delivery::AtMostOnce,
        retain: true,
        payload: Bytes::copy_from_slice(payload),
        properties: expiry_s.map(|_| Box::new(properties)),
    };
    Arc::new(Message::from_publish(BootTime::default(), publish))
}

fn set(store: &mut Retained, topic: &str, payload: &[u8]) -> Result<(), Full> {
    store.set(message(topic, payload, None), QoS::AtLeastOnce, "d".parse().ok(), None)
}

fn store_of(topics: &[&str]) -> Retained {
    let mut store = Retained::new(1_000_000, 1_000_000_000);
    for topic in topics {
        set(&mut store, topic, b"x").unwrap();
    }
    store
}

fn filter(text: &str) -> TopicFilter {
    TopicFilter::parse(text).unwrap()
}

/// The topics that match, and how many were looked at.
fn matching(store: &Retained, text: &str) -> (Vec<String>, usize) {
    let (mut walk, mut steps, mut found) = (Walk::new(filter(text)), usize::MAX, Vec::new());
    while let Next::Found(kept) = store.next_match(&mut walk, &mut steps) {
        found.push(kept.message.topic.to_string());
    }
    (found, usize::MAX - steps)
}

#[test]
fn wildcards_match_as_the_specification_says() {
    for (text, topic, expected) in WILDCARDS {
        let store = store_of(&[topic, "zz", "$zz", "!"]);
        let found = matching(&store, text).0;
        assert_eq!(found.contains(&topic.to_owned()), expected, "{text} on {topic}");
    }
}

#[test]
fn what_cannot_match_is_not_looked_at() {
    let mut store = Retained::new(1_000_000, 1_000_000_000);
    for device in 0..1_000 {
        for value in 0..10 {
            set(&mut store, &format!("devices/d{device:04}/value/{value}"), b"x").unwrap();
        }
        set(&mut store, &format!("devices/d{device:04}/name"), b"x").unwrap();
    }
    for (text, found, steps_max) in [
        ("devices/d0500/value/3", 1, 8),
        ("devices/d0500/#", 11, 20),
        ("nothing/#", 0, 3),
        ("devices/+/name", 1_000, 4_000),
        ("+/d0500/+", 1, 8),
        ("#", 11_000, 11_001),
    ] {
        let (topics, steps) = matching(&store, text);
        assert_eq!(topics.len(), found, "{text}");
        assert!(steps <= steps_max, "{text}: {steps}");
    }
}

#[test]
fn a_message_is_replaced_and_deleted() {
    let mut store = store_of(&["a", "a/b"]);
    let bytes = store.bytes();
    set(&mut store, "a", b"longer").unwrap();
    assert_eq!((store.len(), store.bytes()), (2, bytes + 5));
    assert!(store.delete("a") && !store.delete("a"));
    assert_eq!(matching(&store, "#").0, ["a/b"], "what is below it stays");
    assert!(store.delete("a/b"));
    assert_eq!((store.len(), store.bytes()), (0, 0));
}

#[test]
fn what_does_not_fit_changes_nothing() {
    let mut store = Retained::new(2, 10);
    set(&mut store, "a", b"123").unwrap();
    set(&mut store, "b", b"123").unwrap();
    assert_eq!(set(&mut store, "c", b""), Err(Full::Messages));
    assert_eq!(set(&mut store, "a", b"123456"), Err(Full::Bytes));
    assert_eq!((store.len(), store.bytes()), (2, 8));
    set(&mut store, "a", b"12345").unwrap();
    assert_eq!(store.bytes(), 10, "it has the place of the one before");
}

#[test]
fn what_expires_is_deleted_at_its_time() {
    let mut store = Retained::new(10, 1_000);
    let at = |s: u64| BootTime::from_micros(s * 1_000_000);
    for (topic, expiry_s) in [("a", Some(30)), ("b", Some(10)), ("c", None), ("d", Some(10))] {
        store.set(message(topic, b"x", expiry_s), QoS::AtMostOnce, "d".parse().ok(), None).unwrap();
    }
    // Replaced by one that does not expire.
    set(&mut store, "d", b"y").unwrap();
    assert_eq!(store.next_expiry(), Some(at(10)));
    assert_eq!((store.expire(at(9)), store.expire(at(10))), (0, 1));
    assert_eq!(store.next_expiry(), Some(at(30)));
    assert_eq!(store.expire(at(1_000)), 1);
    assert_eq!(matching(&store, "#").0, ["c", "d"]);
    assert_eq!((store.next_expiry(), store.bytes()), (None, 4));
}

#[test]
fn a_walk_pauses_and_goes_on_whatever_happened_meanwhile() {
    let mut store = store_of(&["a/1", "a/2", "a/3", "b/1"]);
    let mut walk = Walk::new(filter("a/+"));
    let next = |store: &Retained, walk: &mut Walk| match store.next_match(walk, &mut 100) {
        Next::Found(kept) => Some(kept.message.topic.to_string()),
        Next::Paused | Next::End => None,
    };
    assert!(matches!(store.next_match(&mut walk, &mut 0), Next::Paused));
    assert_eq!(next(&store, &mut walk).as_deref(), Some("a/1"));
    store.delete("a/1");
    store.delete("a/2");
    set(&mut store, "a/0", b"x").unwrap();
    assert_eq!(next(&store, &mut walk).as_deref(), Some("a/3"));
    assert_eq!(next(&store, &mut walk), None);
}

fn level() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("a"), Just("b"), Just("a-"), Just("a\u{1}"), Just(""), Just("$x"), Just("ü")]
}

fn topic() -> impl Strategy<Value = String> {
    vec(level(), 1..5).prop_map(|levels| levels.join("/")).prop_filter("not empty", |topic| !topic.is_empty())
}

fn any_filter() -> impl Strategy<Value = String> {
    let part = prop_oneof![3 => level(), 2 => Just("+")];
    (vec(part, 1..5), any::<bool>())
        .prop_map(|(levels, rest)| levels.join("/") + if rest { "/#" } else { "" })
        .prop_filter("not empty", |filter| !filter.is_empty())
}

proptest! {
    #[test]
    fn it_finds_what_a_plain_map_does(
        changes in vec((topic(), any::<bool>()), 1..60),
        filters in vec(any_filter(), 1..10),
    ) {
        let mut store = Retained::new(1_000, 1_000_000);
        let mut model = BTreeMap::new();
        for (n, (topic, is_set)) in changes.into_iter().enumerate() {
            if is_set {
                set(&mut store, &topic, n.to_string().as_bytes()).unwrap();
                model.insert(topic, n.to_string());
            } else {
                prop_assert_eq!(store.delete(&topic), model.remove(&topic).is_some());
            }
        }
        prop_assert_eq!(store.len(), model.len());
        prop_assert_eq!(store.bytes(), model.iter().map(|(topic, payload)| topic.len() + payload.len()).sum::<usize>());
        for text in filters.iter().map(String::as_str).chain(["#"]) {
            let expected: Vec<&String> = model.keys().filter(|topic| filter(text).matches(topic)).collect();
            let (mut found, _) = matching(&store, text);
            let in_order = found.clone();
            found.sort();
            prop_assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{}", text);
            prop_assert!(in_order.is_sorted_by_key(|topic| key_of(topic)));
        }
    }
}

/// One after the other, until there is no next one.
fn pages(store: &Retained) -> Vec<Page> {
    let mut pages = vec![store.page("")];
    while let Some(next) = pages.last().and_then(|page| page.next.clone()) {
        pages.push(store.page(&next));
    }
    pages
}

#[test]
fn pages_hold_every_broadcast_and_every_deletion_once_and_are_bounded() {
    let stamp = |n: u64| Stamp { at: WallTime::from_millis(n), origin: n % 3 };
    let mut store = Retained::new(1_000_000, 1_000_000_000);
    let mut expected = Vec::new();
    for n in 0..300_u64 {
        let topic = format!("b/{n:03}/x");
        if n % 10 == 0 {
            store.remember_deleted(BootTime::default(), &topic, stamp(n));
        } else {
            store.set(message(&topic, b"x", None), QoS::AtMostOnce, None, Some(stamp(n))).unwrap();
        }
        expected.push((topic, n % 10 != 0, stamp(n)));
    }
    // So many others that a page of nothing but them ends as well.
    for n in 0..5_000 {
        set(&mut store, &format!("b/100/y/{n}"), b"x").unwrap();
    }
    let pages = pages(&store);
    assert!(pages.iter().all(|page| page.found.len() <= PAGE_MESSAGES));
    assert!(pages.iter().any(|page| page.found.is_empty()), "{}", pages.len());
    let found = pages.into_iter().flat_map(|page| page.found);
    let found: Vec<_> = found.map(|it| (it.topic, it.message.is_some(), it.stamp)).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_page_is_bounded_in_bytes() {
    let mut store = Retained::new(1_000, 1_000_000_000);
    let large = vec![0; PAGE_BYTES / 4];
    for n in 0..10 {
        let stamp = Stamp { at: WallTime::from_millis(1), origin: 0 };
        store.set(message(&format!("{n}"), &large, None), QoS::AtMostOnce, None, Some(stamp)).unwrap();
    }
    let sizes: Vec<usize> = pages(&store).iter().map(|page| page.found.len()).collect();
    assert_eq!(sizes, [4, 4, 2]);
}
